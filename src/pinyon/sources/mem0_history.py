"""The history that mem0 keeps beside its vectors, a SQLite database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import ClassVar, Final

from ..core.clock import Clock, SystemClock
from ..core.experience import Experience, Note
from ..core.payload import Json
from ..errors import UnreadableSource
from ._dump import Origin, ended
from ._json import moment
from .base import Found

__all__ = ["Mem0History"]

_COLUMNS: Final = (
    "memory_id",
    "old_memory",
    "new_memory",
    "event",
    "created_at",
    "updated_at",
    "is_deleted",
    "actor_id",
    "role",
)
_WRITE_AHEAD: Final = slice(18, 20)  # of the header: with 2 there, SQLite looks for a second file
_Row = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Mem0History:
    """Read what memories say and what they said before; those that were deleted stay deleted.

    The database knows no users: `Memory.get_all` says more, and names the same memories by the same ids.
    """

    clock: Clock = field(default_factory=SystemClock)
    name: ClassVar[str] = "mem0 history"
    suffixes: ClassVar[frozenset[str]] = frozenset()  # databases are known by their first bytes

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return the memories, each after its former words."""
        return self.look(data, name).experiences

    def look(self, data: bytes, name: str) -> Found:
        """Return the memories, and whose they are."""
        origin = Origin("mem0", name, self.clock.now())
        memories: dict[str, list[_Row]] = {}
        for row in _rows(data, name):
            if isinstance(row["memory_id"], str) and row["memory_id"]:
                memories.setdefault(row["memory_id"], []).append(row)
        return Found("mem0", [note for rows in memories.values() for note in _notes(rows, origin)])


def _rows(data: bytes, name: str) -> list[_Row]:
    head = bytearray(data[: _WRITE_AHEAD.stop])
    head[_WRITE_AHEAD] = b"\x01\x01"
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(bytes(head) + data[_WRITE_AHEAD.stop :])
            for rule in ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON"):
                database.execute(f"PRAGMA {rule}")
            table = database.execute("SELECT type FROM sqlite_master WHERE name = 'history'").fetchone()
            columns = {row[1] for row in database.execute("PRAGMA table_info(history)")} if table else set()
            if table != ("table",) or not columns.issuperset(_COLUMNS):
                raise UnreadableSource(
                    f"{name!r} is a SQLite database, which no reader can open", hint="export the tables as CSV"
                )
            return _whole(database.execute(f"SELECT {', '.join(_COLUMNS)} FROM history ORDER BY rowid"), len(data))
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise UnreadableSource(
            f"{name!r} is broken: not a whole SQLite database", hint="copy it again while mem0 is closed"
        ) from error


def _whole(rows: Iterable[tuple[Json, ...]], size: int) -> list[_Row]:
    """Return the rows; pages that lead back to themselves would give them for ever."""
    found: list[_Row] = []
    for row in rows:
        size -= 1 + sum(len(value) for value in row if isinstance(value, str))
        if size < 0:
            raise OverflowError("the rows hold more than the file")
        found.append(dict(zip(_COLUMNS, row, strict=True)))
    return found


def _notes(rows: list[_Row], origin: Origin) -> Iterator[Note]:
    last = rows[-1]
    if last["event"] == "DELETE" or last["is_deleted"]:
        return
    for place, row in enumerate(rows):
        text = row["new_memory"]
        is_last = place == len(rows) - 1
        if not isinstance(text, str) or not text.strip() or (not is_last and text == last["new_memory"]):
            continue
        said: dict[str, Json] = {"id": row["memory_id"], "created_at": row["created_at"]}
        yield origin.note(
            text,
            {**said, "updated_at": row["updated_at"]},
            identity=str(row["memory_id"]),
            time=moment(row["created_at"] if is_last else row["updated_at"]) or moment(row["created_at"]),
            speaker=row["actor_id"],
            role=row["role"],
            life=None if is_last else ended(moment(rows[place + 1]["updated_at"])),
        )
