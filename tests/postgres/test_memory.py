"""The facade and the command line over a server."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner
from pg_server import Server

from pinyon import Memory
from pinyon.errors import BadInput
from pinyon.serve.cli import main
from pinyon.store.postgres import PostgresEngine

pytestmark = pytest.mark.postgres
psycopg = pytest.importorskip("psycopg")


def test_a_memory_on_a_server_is_like_any_other(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Memory.open(address, user="ann") as memory:
        cube = memory.add("The key hangs in the hall.").cubes[0]
        before = memory.store.engine.head()
        memory.update(cube.id, text="The key hangs in the shed.")
        assert [hit.cube.text for hit in memory.search("Where is the key?").hits] == ["The key hangs in the shed."]
        assert memory.store.engine.by_rows([cube.row], before.seq)[cube.row].text == "The key hangs in the hall."
        memory.rights.grant(cube.id, read=["user:bob"])
        assert memory.at(user="bob").ask("Where is the key?").is_known
        assert not memory.search("key", user="eve").hits
        memory.forget([cube.id])
        assert not memory.search("key").hits
        assert memory.verify().is_sound
    with pytest.raises(BadInput, match="server keeps"):
        Memory.open(address, key=bytes(32))


def test_a_file_moves_onto_a_server_and_answers_the_same(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Memory.open(tmp_path / "m.db") as memory:
        for n in range(30):
            memory.add(f"note {n} about bees and mills")
        found = [hit.cube.id for hit in memory.search("note 7 bees").hits]
    told = CliRunner().invoke(main, ["--path", str(tmp_path / "m.db"), "migrate", address])
    assert told.exit_code == 0, told.output
    assert "30 memories" in told.output
    told = CliRunner().invoke(main, ["--path", address, "stats"])
    assert told.exit_code == 0, told.output
    with Memory.open(address) as memory:
        assert [hit.cube.id for hit in memory.search("note 7 bees").hits] == found


def test_an_address_names_a_replica_and_a_role_behind_which_the_database_stands(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Memory.open(address, user="ann") as memory:
        memory.add("The key hangs in the hall.")
        told = CliRunner().invoke(main, ["--path", address, "servers", "--walls", "pinyon_named", "--json"])
        assert told.exit_code == 0, told.output
        assert {part["server"] for part in json.loads(told.stdout)} == {""}
        plain = address.partition("?")[0]
        with Memory.open(f"{address}&role=pinyon_named&read={plain}", user="ann") as walled:
            engine = walled.store.engine
            assert isinstance(engine, PostgresEngine)
            assert (engine._role, engine._replica is None) == ("pinyon_named", False)
            assert len(walled.search("key").hits) == 1
            assert walled.search("key", user="bob").hits == ()
            assert walled.stats(user="bob").cubes == 0
    for wrong in (f"{address}&read=elsewhere.db", f"{address}&read=mysql://x/y"):
        with pytest.raises(BadInput, match="read="):
            Memory.open(wrong)
    for words in (
        ("--attach", "east"),
        ("--onto", "east"),
        ("--move-bucket", "99"),
        ("--move-space", "main", "--onto", "no"),
    ):
        assert CliRunner().invoke(main, ["--path", address, "servers", *words]).exit_code, words
    file = str(tmp_path / "m.db")
    Memory.open(file).close()
    assert "lies on no server" in CliRunner().invoke(main, ["--path", file, "servers"]).output


def test_a_follower_is_told_by_the_server(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    stop = threading.Event()
    with Memory.open(address, user="ann") as memory, Memory.open(address, user="ann") as other:
        writer = threading.Timer(0.3, lambda: other.add("The key hangs in the hall."))
        writer.start()
        (line,) = [(stop.set(), line)[1] for line in memory.follow(stop=stop, idle_s=30)]
        writer.join()
        assert (line.op, line.actor.user) == ("create", "ann")


def test_a_memory_moves_onto_the_server_that_the_environment_names_and_back(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = f"moved_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.address, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    parts = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres", "PGDATABASE": name}
    for variable, value in parts.items():
        monkeypatch.setenv(variable, value)
    first, second = tmp_path / "m.db", tmp_path / "n.db"
    with Memory.open(first) as memory:
        memory.add("The key hangs in the hall.")
    for path, words in ((first, ("sqlite", "--to", "postgres")), (second, ("postgres", "--to", "sqlite"))):
        told = CliRunner().invoke(main, ["--path", str(path), "migrate", "--from", *words])
        assert told.exit_code == 0, told.output
    with Memory.open(second) as memory:
        assert len(memory.search("key").hits) == 1
