"""A file that is opened for reading alone, though it could be written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.core.access import Access
from pinyon.core.where import View
from pinyon.errors import StoreError
from pinyon.store import SqliteEngine
from pinyon.store._connections import Moved


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with Memory.open(tmp_path / "m.db") as memory:
        memory.add("The hives stand behind the mill.")
    return tmp_path / "m.db"


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteEngine(tmp_path / "none" / "m.db", is_read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_every_write_is_refused(file: Path) -> None:
    engine = SqliteEngine(file, is_read_only=True)
    assert engine.is_read_only
    with pytest.raises(StoreError, match="cannot be written"):
        engine.set_setting("a", "b")
    with pytest.raises(StoreError, match="cannot be written"), engine.transaction() as tx:
        tx.set_setting("a", "b")
    engine.close()
    assert [each.name for each in file.parent.iterdir()] == ["m.db"]


def test_a_read_during_which_the_file_is_written_is_not_trusted(file: Path) -> None:
    engine = SqliteEngine(file, is_read_only=True)

    def read_slowly() -> None:
        with engine._connections.reading() as db:
            db.execute("SELECT count(*) FROM cubes").fetchone()
            other = sqlite3.connect(file)
            with other:
                other.execute("INSERT INTO meta VALUES ('a', 'b')")
            other.close()

    with pytest.raises(Moved, match="was written while it was read"):
        read_slowly()
    assert engine.setting("a") == "b"  # the next one sees what was written
    engine.close()


def test_a_log_that_others_write_is_read_too(file: Path) -> None:
    engine = SqliteEngine(file, is_read_only=True)
    with Memory.open(file) as memory:
        for number in range(3):
            memory.add(f"Bees swarm {number}.")
            assert engine.head().seq == number + 2
            assert engine.count(View(access=Access.steward(None, memory.caller.now()))) == number + 2
    assert engine.head().seq == 4
    engine.close()
