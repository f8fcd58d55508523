"""Cubes in one SQLite file: the default store.

Write-ahead log, ``synchronous=FULL``, one ``BEGIN IMMEDIATE`` transaction a verb, several processes at once.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.events import Changes, Event, Head
from ..core.payload import canonical
from ..core.scope import Scope
from ..core.where import View, facets
from ..errors import StoreError
from ._audit import audit
from ._connections import Connections, check_schema
from ._rows import CUBE_COLUMNS, EVENT_COLUMNS, VALUE_COLUMNS, cube_of, event_of, values_of
from ._said import plainly
from ._sql import clauses
from .base import Place, SourceMark, VectorRows
from .blobs import FileBlobs
from .migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION

__all__ = ["Durability", "SqliteEngine"]

Durability = Literal["full", "normal"]
_MOST_VARIABLES = 500  # ids per statement, below SQLite's oldest limit of 999


class SqliteEngine:
    """Rows in a SQLite file.

    Args:
        path: The file; made with its folder when absent. Blobs lie in ``<file>.blobs``.
        durability: ``full`` survives loss of power, ``normal`` survives a killed process and is faster.

    Raises:
        Damaged: The file is no sound pinyon database.
        TooNew: It was written by a later version.
        Busy: Another process holds it for over a minute.
        StoreError: The disk is full or the folder cannot be written.
    """

    def __init__(self, path: Path, *, durability: Durability = "full") -> None:
        self._path = path
        self.blobs = FileBlobs(path.with_name(path.name + ".blobs"))
        with plainly(path):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connections = Connections(path, durability)
            self._migrate()
            found = self._connections.db.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        self.identity: str = found[0]

    @property
    def location(self) -> str:
        """The file."""
        return str(self._path)

    @property
    def is_read_only(self) -> bool:
        """Whether the file or its folder may not be written; every write raises `StoreError` then."""
        return self._connections.is_read_only

    def _migrate(self) -> None:
        db = self._connections.db
        if check_schema(db, self._path) == SCHEMA_VERSION:
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            done = db.execute("PRAGMA user_version").fetchone()[0]
            for step in MIGRATIONS[done:]:
                step.apply(db)
                db.execute("INSERT INTO migrations VALUES (?, ?)", (step.name, time.time_ns() // 1000))
            db.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    @contextmanager
    def transaction(self) -> Iterator[_SqliteTransaction]:
        """Hold the database for writing; leaving by an exception undoes everything."""
        with self._connections.writing, plainly(self._path):
            db = self._connections.db
            db.execute("BEGIN IMMEDIATE")
            try:
                yield _SqliteTransaction(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def head(self) -> Head:
        """Return the end of the journal."""
        with self._connections.reading() as db:
            return _head(db)

    def get(self, id: str, view: View) -> Cube | None:
        """Return a cube that the caller may see, in any state of its life."""
        found = self.matching(id, view, 2)
        return found[0] if len(found) == 1 and found[0].id == id else None

    def matching(self, prefix: str, view: View, limit: int) -> list[Cube]:
        """Return cubes whose id begins with a prefix, in order of id."""
        sql, values = clauses(view)
        upper = prefix + "\U0010ffff"
        return self._cubes(f"WHERE id >= ? AND id < ? AND {sql} ORDER BY id LIMIT ?", [prefix, upper, *values, limit])

    def find(self, view: View, *, newest_first: bool, limit: int, after: tuple[int, int] | None) -> list[Cube]:
        """Return cubes in order of time, from just after a cursor (time in microseconds, row)."""
        sql, values = clauses(view)
        way, sign = ("DESC", "<") if newest_first else ("ASC", ">")
        if after is not None:
            sql += f" AND (time, row) {sign} (?, ?)"
            values = [*values, *after]
        return self._cubes(f"WHERE {sql} ORDER BY time {way}, row {way} LIMIT ?", [*values, limit])

    def containing(self, text: str, view: View, limit: int) -> list[Cube]:
        """Return cubes whose text contains another, letter for letter, newest first."""
        sql, values = clauses(view)
        return self._cubes(
            f"WHERE {sql} AND instr(content, ?) > 0 ORDER BY time DESC, row DESC LIMIT ?", [*values, text, limit]
        )

    def setting(self, key: str) -> str | None:
        """Return a note that the store keeps about itself."""
        with self._connections.reading() as db:
            found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def set_setting(self, key: str, value: str) -> None:
        """Keep a note about the store itself."""
        with self._connections.writing, self._connections.reading() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def rows(self, view: View) -> NDArray[np.int64]:
        """Return the rows of all cubes of a view, ascending."""
        sql, values = clauses(view)
        with self._connections.reading() as db:
            found = db.execute(f"SELECT row FROM cubes WHERE {sql} ORDER BY row", values)
            return np.fromiter((row for (row,) in found), dtype=np.int64)

    def count(self, view: View) -> int:
        """Return the number of cubes of a view."""
        sql, values = clauses(view)
        with self._connections.reading() as db:
            return int(db.execute(f"SELECT count(*) FROM cubes WHERE {sql}", values).fetchone()[0])

    def by_rows(self, rows: Sequence[int]) -> dict[int, Cube]:
        """Return cubes by their rows, whoever owns them: for indexes, never for callers."""
        out: dict[int, Cube] = {}
        for part in _parts(rows):
            for cube in self._cubes(f"WHERE row IN ({_marks(part)})", part):
                out[cube.row] = cube
        return out

    def journal(self, after: int, limit: int) -> list[Event]:
        """Return entries of the journal after a number."""
        with self._connections.reading() as db:
            found = db.execute(f"SELECT {EVENT_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
            return [event_of(values) for values in found]

    def changes(self, after: int, limit: int) -> Changes:
        """Return which rows the entries after a number changed, without reading the entries whole."""
        with self._connections.reading() as db:
            found = db.execute("SELECT seq, row, chain FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
            entries = found.fetchall()
        last = entries[-1] if entries else (after, 0, "")
        return Changes(tuple(dict.fromkeys(row for _, row, _ in entries)), len(entries), last[0], last[2])

    def versions(self, id: str) -> list[Cube]:
        """Return the earlier versions of a cube, oldest first."""
        names = ", ".join(
            f"v.{n}"
            if n in ("version", "session", "updated", "content", "payload", "header", "hash", "parent")
            else f"c.{n}"
            for n in CUBE_COLUMNS.split(", ")
        )
        with self._connections.reading() as db:
            found = db.execute(
                f"SELECT {names} FROM versions v JOIN cubes c ON c.id = v.id WHERE v.id = ? ORDER BY v.version", (id,)
            )
            return [cube_of(values) for values in found]

    def events_of(self, id: str) -> list[Event]:
        """Return the journal of one cube that is still there."""
        with self._connections.reading() as db:
            found = db.execute("SELECT row FROM cubes WHERE id = ?", (id,)).fetchone()
            if found is None:
                return []
            rows = db.execute(
                f"SELECT {EVENT_COLUMNS} FROM events WHERE seq = ? OR (row = ? AND row <> seq) ORDER BY seq",
                (found[0],) * 2,
            )
            return [event_of(values) for values in rows]

    def spaces(self, scope: Scope) -> list[str]:
        """Return the spaces in which the caller may see a cube."""
        sql, values = clauses(View(scope=scope), spaces=False)
        with self._connections.reading() as db:
            found = db.execute(f"SELECT DISTINCT space FROM cubes WHERE {sql} ORDER BY space", values)
            return [name for (name,) in found]

    def source(self, space: str, owner: Scope, key: str) -> SourceMark | None:
        """Return what is known of a source by its name."""
        return self._source("key = ?", space, owner, key)

    def source_of(self, space: str, owner: Scope, digest: str) -> SourceMark | None:
        """Return a source that held these bytes."""
        return self._source("digest = ?", space, owner, digest)

    def _source(self, test: str, space: str, owner: Scope, value: str) -> SourceMark | None:
        with self._connections.reading() as db:
            found = db.execute(
                "SELECT key, digest, cubes FROM sources"
                f" WHERE space = ? AND tenant = ? AND user = ? AND agent = ? AND {test} ORDER BY key LIMIT 1",
                (space, *_walls(owner), value),
            ).fetchone()
        return None if found is None else SourceMark(*found)

    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorRows:
        """Return the vectors of an embedder for these rows, ascending; rows without one are missing."""
        found: list[tuple[int, int, bytes]] = []
        with self._connections.reading() as db:
            for part in _parts(sorted(rows)):
                found.extend(
                    db.execute(
                        "SELECT row, version, data FROM vectors WHERE embedder ="
                        f" (SELECT id FROM embedders WHERE fingerprint = ?) AND row IN ({_marks(part)}) ORDER BY row",
                        [fingerprint, *part],
                    )
                )
        data = np.frombuffer(b"".join(line for _, _, line in found), dtype=np.float16)
        return VectorRows(
            np.array([row for row, _, _ in found], dtype=np.int64),
            np.array([version for _, version, _ in found], dtype=np.int64),
            data.reshape(len(found), -1) if found else data.reshape(0, 0),
        )

    def missing_vectors(self, fingerprint: str, limit: int) -> list[Cube]:
        """Return text cubes that have no vector of this embedder for their present version."""
        return self._cubes(
            "AS c WHERE kind = 'text' AND NOT EXISTS (SELECT 1 FROM vectors AS v WHERE v.embedder ="
            " (SELECT id FROM embedders WHERE fingerprint = ?) AND v.row = c.row AND v.version = c.version)"
            " ORDER BY row LIMIT ?",
            [fingerprint, limit],
        )

    def fingerprints(self) -> dict[str, int]:
        """Return the embedders whose vectors are here, with their numbers of vectors."""
        with self._connections.reading() as db:
            found = db.execute(
                "SELECT fingerprint, (SELECT count(*) FROM vectors WHERE embedder = id) FROM embedders ORDER BY id"
            )
            return {name: number for name, number in found if number}

    def drop_vectors(self, fingerprint: str) -> None:
        """Remove every vector of an embedder."""
        with self._connections.writing, self._connections.reading() as db:
            db.execute(
                "DELETE FROM vectors WHERE embedder = (SELECT id FROM embedders WHERE fingerprint = ?)", (fingerprint,)
            )

    def problems(self) -> list[str]:
        """Return what SQLite's own check finds, and what the journal does not account for."""
        try:
            with self._connections.reading() as db:
                return list(audit(db))
        except StoreError as error:
            return [f"the database cannot be read: {error.message}"]

    def bytes(self) -> int:
        """Return the bytes of the file and its log."""
        names = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    def names_blob(self, sha256: str) -> bool:
        """Return whether any cube or earlier version names a blob."""
        sql = "SELECT EXISTS (SELECT 1 FROM {} WHERE payload IS NOT NULL AND instr(payload, ?) > 0)"
        with self._connections.reading() as db:
            return any(db.execute(sql.format(table), (sha256,)).fetchone()[0] for table in ("cubes", "versions"))

    def settle(self) -> None:
        """Fold the write-ahead log into the file and empty it, so that pages from before a change are gone.

        While another process reads an older state the log stays; the last one to close the file empties it.
        """
        with self._connections.writing, self._connections.reading() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Close every connection of this process."""
        self._connections.close()

    def _cubes(self, rest: str, values: Sequence[object]) -> list[Cube]:
        with self._connections.reading() as db:
            return [cube_of(row) for row in db.execute(f"SELECT {CUBE_COLUMNS} FROM cubes {rest}", list(values))]


class _SqliteTransaction:
    """Write access, between BEGIN IMMEDIATE and COMMIT."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def head(self) -> Head:
        return _head(self._db)

    def live(self, ids: Sequence[str]) -> dict[str, Cube]:
        out: dict[str, Cube] = {}
        for part in _parts(ids):
            for values in self._db.execute(f"SELECT {CUBE_COLUMNS} FROM cubes WHERE id IN ({_marks(part)})", part):
                cube = cube_of(values)
                out[cube.id] = cube
        return out

    def spent(self, ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for part in _parts(ids):
            rows = self._db.execute(f"SELECT id FROM forgotten WHERE id IN ({_marks(part)})", part)
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
        self._db.executemany(
            f"INSERT INTO cubes ({VALUE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [values_of(cube) for cube in cubes],
        )
        self._facets(cubes)

    def replace(self, cubes: Sequence[Cube]) -> None:
        kept = "id, version, session, updated, content, payload, header, hash, parent"
        for cube in cubes:
            self._db.execute(f"INSERT INTO versions ({kept}) SELECT {kept} FROM cubes WHERE id = ?", (cube.id,))
            v = values_of(cube)
            self._db.execute(
                "UPDATE cubes SET version=?, kind=?, state=?, thread=?, position=?, speaker=?, source=?, time=?,"
                " updated=?, content=?, payload=?, header=?, hash=?, parent=? WHERE id=?",
                (cube.version, *v[8:15], *v[16:22], cube.id),
            )
            self._db.execute("DELETE FROM facets WHERE row = ?", (cube.row,))
        self._facets(cubes)

    def _facets(self, cubes: Sequence[Cube]) -> None:
        found = [(f.key, f.value, cube.row, f.number) for cube in cubes for f in facets(cube.header)]
        if found:
            self._db.executemany("INSERT INTO facets (key, value, row, number) VALUES (?,?,?,?)", found)

    def erase(self, cubes: Sequence[Cube]) -> None:
        for cube in cubes:
            self._db.execute("DELETE FROM facets WHERE row = ?", (cube.row,))
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
                    (cube.space, *_walls(cube.owner), source),
                )

    def append(self, events: Sequence[Event]) -> None:
        self._db.executemany(
            f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    e.seq,
                    micros(e.time),
                    e.op,
                    e.actor.tenant,
                    e.actor.user,
                    e.actor.agent,
                    e.actor.session,
                    e.space,
                    e.cube,
                    e.row,
                    e.version,
                    e.hash,
                    canonical(dict(e.detail)) if e.detail else None,
                    e.chain,
                )
                for e in events
            ],
        )

    def mark_source(self, space: str, owner: Scope, mark: SourceMark) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO sources VALUES (?,?,?,?,?,?,?)",
            (space, *_walls(owner), mark.key, mark.digest, mark.cubes),
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


_AT_PLACE = "thread = ? AND space = ? AND tenant IS ? AND user IS ? AND agent IS ?"


def _at(place: Place) -> tuple[str | None, ...]:
    return place.thread, place.space, place.tenant, place.user, place.agent


def _walls(owner: Scope) -> tuple[str, str, str]:
    """Return tenant, user and agent with NULL spelled as an empty text, which no name can be."""
    return owner.tenant or "", owner.user or "", owner.agent or ""


def _head(db: sqlite3.Connection) -> Head:
    found = db.execute("SELECT seq, chain, time FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return Head() if found is None else Head(*found)


def _parts(things: Sequence[object]) -> Iterator[list[object]]:
    for start in range(0, len(things), _MOST_VARIABLES):
        yield list(things[start : start + _MOST_VARIABLES])


def _marks(things: Sequence[object]) -> str:
    return ",".join("?" * len(things))
