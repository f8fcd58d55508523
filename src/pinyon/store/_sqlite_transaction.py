"""Write access to a SQLite store, between BEGIN IMMEDIATE and COMMIT."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ..core.clock import micros
from ..core.cube import Cube
from ..core.events import Event, Head
from ..core.scope import Scope
from ..core.where import facets
from ._derive import derive
from ._derived import parents_of, same_vector
from ._rights import code_of, said_rights
from ._rows import (
    CHANGING_COLUMNS,
    CUBE_COLUMNS,
    EVENT_COLUMNS,
    VALUE_COLUMNS,
    VERSION_COLUMNS,
    changing,
    cube_of,
    event_values,
    values_of,
)
from .base import Place, SourceMark, VectorRows

__all__ = ["SqliteTransaction", "children_in", "head_of", "marks", "parts", "walls"]

_MOST_VARIABLES = 500  # ids per statement, below SQLite's oldest limit of 999
_INSERT = f"INSERT INTO cubes ({VALUE_COLUMNS}) VALUES ({','.join('?' * len(VALUE_COLUMNS.split(', ')))})"
_CUBE_OF_NAMED = ", ".join(f"cubes.{name}" for name in CUBE_COLUMNS.split(", "))
_REPLACE = f"UPDATE cubes SET version = ?, {', '.join(f'{name} = ?' for name in CHANGING_COLUMNS[1:])} WHERE row = ?"
_KEEP = f"INSERT INTO versions ({VERSION_COLUMNS}, next) SELECT {VERSION_COLUMNS}, ? FROM cubes WHERE row = ?"
_AT_PLACE = "thread = ? AND space = ? AND tenant IS ? AND user IS ? AND agent IS ?"
_APPEND = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_TOGETHER = 20  # entries of the journal that one statement writes


def _alike_row(place: int) -> str:
    """Return the values of one of several entries that differ in nothing but six; the seven others are bound once."""
    seq, cube, row, version, seal, chain = (f"?{8 + 6 * place + n}" for n in range(6))
    return f"({seq},?1,?2,?3,?4,?5,?6,?7,{cube},{row},{version},{seal},NULL,{chain})"


_APPEND_ALIKE = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES {','.join(map(_alike_row, range(_TOGETHER)))}"


class SqliteTransaction:
    """Write access, between BEGIN IMMEDIATE and COMMIT."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._codes: dict[str, int] = {}  # of rights, by what they say

    @contextmanager
    def nested(self) -> Iterator[SqliteTransaction]:
        db = self._db
        db.execute("SAVEPOINT part")
        try:
            yield SqliteTransaction(db)
            db.execute("RELEASE part")
        except BaseException:
            if db.in_transaction:  # a full disk ends the whole transaction by itself
                db.execute("ROLLBACK TO part")
                db.execute("RELEASE part")
            raise

    def head(self) -> Head:
        return head_of(self._db)

    def live(self, ids: Sequence[str]) -> dict[str, Cube]:
        out: dict[str, Cube] = {}
        for part in parts(ids):
            # A join with values: for many ids half the time of IN, which sorts them first.
            named = f"WITH named(id) AS (VALUES {','.join(['(?)'] * len(part))})"
            found = f"{named} SELECT {_CUBE_OF_NAMED} FROM named CROSS JOIN cubes ON cubes.id = named.id"
            for values in self._db.execute(found, part):
                cube = cube_of(values)
                out[cube.id] = cube
        return out

    def spent(self, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        if len(ids) > 1 and self._db.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone() is None:
            return found  # nothing was ever forgotten here, which is so for most imports
        for part in parts(ids):
            rows = self._db.execute(f"SELECT id FROM forgotten WHERE id IN ({marks(part)})", part)
            found.update(id for (id,) in rows)
        return found

    def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        out: dict[Place, int] = {}
        for place in places:
            found = self._db.execute(
                f"SELECT position FROM cubes WHERE {_AT_PLACE} AND position IS NOT NULL ORDER BY position DESC LIMIT 1",
                _at(place),
            ).fetchone()
            if found is not None:
                out[place] = found[0]
        return out

    def standing(self, place: Place) -> list[Cube]:
        rows = self._db.execute(
            f"SELECT {CUBE_COLUMNS} FROM cubes WHERE {_AT_PLACE} ORDER BY position, row", _at(place)
        )
        return [cube_of(values) for values in rows]

    def insert(self, cubes: Sequence[Cube]) -> None:
        self._db.executemany(_INSERT, (values_of(cube, self._code(cube)) for cube in cubes))
        self._derived(cubes)

    def replace(self, cubes: Sequence[Cube]) -> None:
        for cube in cubes:
            before = self._db.execute(f"SELECT {CUBE_COLUMNS} FROM cubes WHERE row = ?", (cube.row,)).fetchone()
            self._db.execute(_KEEP, (cube.seq, cube.row))
            self._db.execute(_REPLACE, (*changing(values_of(cube, self._code(cube))), cube.row))
            self._db.execute("DELETE FROM facets WHERE row = ?", (cube.row,))
            self._db.execute("DELETE FROM parents WHERE row = ?", (cube.row,))
            if before is not None and same_vector(cube_of(before), cube):
                self._db.execute(
                    "UPDATE vectors SET version = ? WHERE row = ? AND version = ?"
                    " AND embedder IN (SELECT id FROM embedders)",
                    (cube.version, cube.row, cube.version - 1),
                )
        self._derived(cubes)

    def _code(self, cube: Cube) -> int:
        said = said_rights(cube.header.rights)
        code = self._codes.get(said)
        if code is None:
            code = self._codes[said] = code_of(self._db, cube.header.rights)
        return code

    def _derived(self, cubes: Sequence[Cube]) -> None:
        """Keep what filters and lineage look up by other things than the row."""
        found = [(f.key, f.value, cube.row, f.number) for cube in cubes for f in facets(cube.header)]
        if found:
            self._db.executemany("INSERT INTO facets (key, value, row, number) VALUES (?,?,?,?)", found)
        edges = [(id, cube.row) for cube in cubes if cube.header.lineage.parents for id in parents_of(cube.header)]
        if edges:
            self._db.executemany("INSERT INTO parents VALUES (?, ?)", edges)

    def erase(self, cubes: Sequence[Cube]) -> None:
        for cube in cubes:
            for table in ("facets", "parents", "usage"):
                self._db.execute(f"DELETE FROM {table} WHERE row = ?", (cube.row,))
            self._db.execute("DELETE FROM versions WHERE id = ?", (cube.id,))
            self._db.execute(
                "DELETE FROM vectors WHERE row = ? AND embedder IN (SELECT id FROM embedders)", (cube.row,)
            )
            self._db.execute("DELETE FROM cubes WHERE id = ?", (cube.id,))
            self._db.execute("INSERT OR IGNORE INTO forgotten VALUES (?, ?)", (cube.id, cube.row))
            source = cube.header.provenance.source
            if source is not None:
                self._db.execute(
                    "DELETE FROM sources WHERE space=? AND tenant=? AND user=? AND agent=? AND key=?",
                    (cube.space, *walls(cube.owner), source),
                )

    def append(self, events: Sequence[Event]) -> None:
        for start in range(0, len(events), _TOGETHER):  # several rows a statement: a third of the time of one
            part = events[start : start + _TOGETHER]
            if len(part) == _TOGETHER and _are_alike(part):
                self._db.execute(_APPEND_ALIKE, _alike_values(part))
            else:
                self._db.executemany(_APPEND, map(event_values, part))

    def mark_source(self, space: str, owner: Scope, mark: SourceMark) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO sources VALUES (?,?,?,?,?,?,?)",
            (space, *walls(owner), mark.key, mark.digest, mark.cubes),
        )

    def put_vectors(self, fingerprint: str, vectors: VectorRows) -> None:
        find = "SELECT id FROM embedders WHERE fingerprint = ?"
        found = self._db.execute(find, (fingerprint,)).fetchone()
        if found is None:
            self._db.execute("INSERT INTO embedders (fingerprint) VALUES (?)", (fingerprint,))
            found = self._db.execute(find, (fingerprint,)).fetchone()
        (number,) = found
        data = np.ascontiguousarray(vectors.data, dtype=np.float16)
        self._db.executemany(
            "INSERT OR REPLACE INTO vectors (embedder, row, version, data)"
            " SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM cubes WHERE row = ?2)",
            [
                (number, int(row), int(version), line.tobytes())
                for row, version, line in zip(vectors.rows, vectors.versions, data, strict=True)
            ],
        )

    def children(self, ids: Sequence[str]) -> list[Cube]:
        return children_in(self._db, ids)

    def setting(self, key: str) -> str | None:
        found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def set_setting(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def derive(self, ids: Sequence[str]) -> int:
        return derive(self._db, ids)


def children_in(db: sqlite3.Connection, ids: Sequence[str]) -> list[Cube]:
    """Return the cubes that name one of the ids among their parents, in order of row."""
    found: dict[int, Cube] = {}
    for part in parts(ids):
        rows = f"SELECT row FROM parents WHERE parent IN ({marks(part)})"
        for values in db.execute(f"SELECT {CUBE_COLUMNS} FROM cubes WHERE row IN ({rows})", part):
            cube = cube_of(values)
            found[cube.row] = cube
    return [found[row] for row in sorted(found)]


def head_of(db: sqlite3.Connection) -> Head:
    """Return the end of the journal."""
    found = db.execute("SELECT seq, chain, time FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return Head() if found is None else Head(*found)


def walls(owner: Scope) -> tuple[str, str, str]:
    """Return tenant, user and agent with NULL spelled as an empty text, which no name can be."""
    return owner.tenant or "", owner.user or "", owner.agent or ""


def parts(things: Sequence[object]) -> Iterator[list[object]]:
    """Yield things in lists that one statement can name."""
    for start in range(0, len(things), _MOST_VARIABLES):
        yield list(things[start : start + _MOST_VARIABLES])


def marks(things: Sequence[object]) -> str:
    """Return a mark for each thing."""
    return ",".join("?" * len(things))


def _at(place: Place) -> tuple[str | None, ...]:
    return place.thread, place.space, place.tenant, place.user, place.agent


def _are_alike(events: Sequence[Event]) -> bool:
    """Return whether entries say the same of everything but their cube, and no more than that."""
    _, time, op, actor, space, *_ = events[0]
    for _, each_time, each_op, each_actor, each_space, *_, detail, _ in events:
        if each_time is not time or each_op != op or each_actor is not actor or each_space != space or detail:
            return False
    return True


def _alike_values(events: Sequence[Event]) -> list[object]:
    """Return the values of `_APPEND_ALIKE`."""
    _, time, op, actor, space, *_ = events[0]
    values: list[object] = [micros(time), op, actor.tenant, actor.user, actor.agent, actor.session, space]
    for seq, _, _, _, _, cube, row, version, seal, _, chain in events:
        values += (seq, cube, row, version, seal, chain)
    return values
