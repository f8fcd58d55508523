"""The facade and the command line over a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pinyon import Memory
from pinyon.errors import BadInput
from pinyon.serve.cli import main

pytestmark = pytest.mark.postgres


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
