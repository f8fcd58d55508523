"""A memory on a server as a space of one in a file, and the other way round."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.errors import BadInput, Denied, StoreError

pytestmark = pytest.mark.postgres
psycopg = pytest.importorskip("psycopg")


def rows(address: str) -> list[tuple[str, int]]:
    """How much every table of a store holds, and has ever taken."""
    plain, _, schema = address.partition("?schema=")
    with psycopg.connect(plain, autocommit=True) as db:
        db.execute("SELECT pg_stat_force_next_flush()")
        names = [name for (name,) in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,))]
        found = [(name, db.execute(f"SELECT count(*) FROM {schema}.{name}").fetchone()[0]) for name in sorted(names)]
        meta = db.execute(f"SELECT md5(string_agg(key || value, ',' ORDER BY key)) FROM {schema}.meta").fetchone()
    return [*found, *meta]


def test_a_server_is_mounted_and_left_as_it_is(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Memory.open(address) as team:
        for text in ("The hives stand behind the mill.", "Bees swarm in May."):
            team.add(text, space="bees", user="ann")
        team.rights.grant(read=["user:ann"], write=["user:ann"], space="bees")
    before = rows(address)
    with Memory.open(tmp_path / "home.db", audit="all") as memory:
        memory.mount("experts", address, space="bees")
        ann = memory.at(space="experts", user="ann")
        assert ann.search("hives").hits[0].cube.text == "The hives stand behind the mill."
        assert "May" in ann.ask("When do bees swarm?").text
        cube = ann.list().cubes[0]
        assert ann.history(cube.id)[0].op == "create"
        assert len(ann.as_of("2999-01-01").list().cubes) == ann.stats().cubes == 2
        eve = memory.at(space="experts", user="eve")
        assert (eve.search("hives").considered, eve.list().cubes) == (0, ())
        with pytest.raises(Denied, match="reading alone"):
            ann.add("one more")
        with pytest.raises(StoreError):  # nor beneath the verbs
            ann._caller.parts.store.engine.set_setting("a", "b")
        assert memory.mounts()[0].trouble == ""
    assert rows(address) == before


def test_a_server_is_written_through_a_mount(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Memory.open(address):
        pass
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", address, writable=True)
        cube = memory.add("The hives stand behind the mill.", space="team").cubes[0]
        memory.update(cube.id, text="The hives are gone.", space="team")
        assert memory.search("hives", space="team").hits[0].cube.version == 2
        assert len(memory.forget([cube.id], space="team").cubes) == 1


def test_a_store_that_is_not_there_is_not_made(address: str, tmp_path: Path) -> None:
    with Memory.open(tmp_path / "home.db") as memory:
        with pytest.raises(StoreError, match="there is no store"):
            memory.mount("team", address)
        with pytest.raises(StoreError) as caught:
            memory.mount("team", "postgresql://127.0.0.1:9/nowhere")
        assert caught.value.hint
        assert memory.mounts() == ()
    plain, _, schema = address.partition("?schema=")
    with psycopg.connect(plain) as db:
        assert db.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone() == (None,)


def test_a_file_is_mounted_in_a_server(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with Memory.open(tmp_path / "team.db") as team:
        team.add("The hives stand behind the mill.")
    with Memory.open(address) as memory, Memory.open(address) as other:
        memory.mount("team", tmp_path / "team.db")
        assert other.search("hives", space="team").hits
        with pytest.raises(BadInput, match="in itself"):
            memory.mount("me", address)
        other.unmount("team")
        assert not memory.search("hives", space="team").hits
