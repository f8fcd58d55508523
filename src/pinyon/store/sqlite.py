"""Cubes in one SQLite file: the default store.

Write-ahead log, ``synchronous=FULL``, one ``BEGIN IMMEDIATE`` transaction a verb, several processes at once.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.events import Changes, Event, Head
from ..core.header import Rights
from ..core.scope import Scope
from ..core.where import View
from ..errors import StoreError
from ._audit import audit
from ._cipher import Keys
from ._connections import Connections, check_schema
from ._log_room import LogRoom
from ._rights import KnownRights
from ._rows import CUBE_COLUMNS, EVENT_COLUMNS, PAST_COLUMNS, cube_of, event_of
from ._said import plainly
from ._sql import clauses, today
from ._sqlite_audit import SqliteAudit
from ._sqlite_jobs import SqliteJobs, SqliteUsage
from ._sqlite_transaction import SqliteTransaction, children_in, head_of, marks, parts, walls
from .base import SourceMark, VectorRows
from .blobs import FileBlobs
from .migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION

__all__ = ["Durability", "SqliteEngine"]

Durability = Literal["full", "normal"]
_SPACES = """
WITH RECURSIVE named(space) AS (
    SELECT min(space) FROM cubes
    UNION ALL SELECT (SELECT min(space) FROM cubes WHERE space > named.space) FROM named WHERE space IS NOT NULL
) SELECT space FROM named WHERE space IS NOT NULL
"""


class SqliteEngine:
    """Rows in a SQLite file.

    Args:
        path: The file; made with its folder when absent. Blobs lie in ``<file>.blobs``.
        durability: ``full`` survives loss of power, ``normal`` survives a killed process and is faster.
        keys: Of an encrypted file, as `Vault.keys` gives them; None for a plain one.
        is_read_only: Whether the file and its folder stay as they are to the last byte, though they could be written.

    Raises:
        Damaged: The file is no sound pinyon database.
        TooNew: It was written by a later version.
        Busy: Another process holds it for over a minute.
        StoreError: The disk is full or the folder cannot be written.
        WrongKey: The file is encrypted and there are no keys, or the other way round.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "full",
        keys: Keys | None = None,
        is_read_only: bool = False,
    ) -> None:
        self._path = path
        self.blobs = FileBlobs(path.with_name(path.name + ".blobs"), keys)
        with plainly(path):
            if not path.exists() and not is_read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            key = b"" if keys is None else keys.database
            self._connections = Connections(path, durability, key, is_read_only=is_read_only)
            self._rights = KnownRights()
            self._migrate()
            found = self._connections.db.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        self.identity: str = found[0]
        self._room = LogRoom(path.with_name(path.name + "-wal")) if durability == "full" else None
        self._audit = SqliteAudit(self._connections)
        self._usage = SqliteUsage(self._connections)
        self._jobs = SqliteJobs(self._connections)

    @property
    def location(self) -> str:
        """The file."""
        return str(self._path)

    @property
    def is_read_only(self) -> bool:
        """Whether the file or its folder may not be written; every write raises `StoreError` then."""
        return self._connections.is_read_only

    @property
    def audit(self) -> SqliteAudit:
        """What was asked for and decided."""
        return self._audit

    @property
    def usage(self) -> SqliteUsage:
        """How much each cube is used."""
        return self._usage

    @property
    def jobs(self) -> SqliteJobs:
        """Work that survives the process."""
        return self._jobs

    def _migrate(self) -> None:
        db = self._connections.db
        found = check_schema(db, self._path)
        if found == SCHEMA_VERSION:
            return
        if found and self.is_read_only:
            raise StoreError(
                f"{self._path} has schema {found}, needs {SCHEMA_VERSION}, and cannot be written",
                hint="open it once where it can be written",
            )
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
    def transaction(self) -> Iterator[SqliteTransaction]:
        """Hold the database for writing; leaving by an exception undoes everything."""
        with self._connections.writing, plainly(self._path):
            db = self._connections.db
            db.execute("BEGIN IMMEDIATE")
            try:
                if self._room is not None:
                    self._room.make()
                yield SqliteTransaction(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def head(self) -> Head:
        """Return the end of the journal."""
        with self._connections.reading() as db:
            return head_of(db)

    def get(self, id: str, view: View) -> Cube | None:
        """Return a cube that the caller may see, in any state of its life."""
        found = self.matching(id, view, 2)
        return found[0] if len(found) == 1 and found[0].id == id else None

    def matching(self, prefix: str, view: View, limit: int) -> list[Cube]:
        """Return cubes whose id begins with a prefix, in order of id."""
        upper = prefix + "\U0010ffff"
        with self._connections.snapshot() as db:
            known = self._known(db)
            sql, values = clauses(view, known)
            rest = f"WHERE id >= ? AND id < ? AND {sql} ORDER BY id LIMIT ?"
            found = self._cubes(db, rest, [prefix, upper, *values, limit])
            if view.at is not None:
                found += self._past(db, view, known, "AND v.id >= ? AND v.id < ?", [prefix, upper])
                found.sort(key=lambda cube: cube.id)
        return found[:limit]

    def find(self, view: View, *, newest_first: bool, limit: int, after: tuple[int, int] | None) -> list[Cube]:
        """Return cubes in order of time, from just after a cursor (time in microseconds, row)."""
        way, sign = ("DESC", "<") if newest_first else ("ASC", ">")
        cursor, place = ("", []) if after is None else (f" AND (time, row) {sign} (?, ?)", [*after])
        with self._connections.snapshot() as db:
            known = self._known(db)
            sql, values = clauses(view, known)
            rest = f"WHERE {sql}{cursor} ORDER BY time {way}, row {way} LIMIT ?"
            found = self._cubes(db, rest, [*values, *place, limit])
            if view.at is not None:
                for cube in self._past(db, view, known):
                    key = micros(cube.time), cube.row
                    if after is None or (key < after if newest_first else key > after):
                        found.append(cube)
        return _in_time(found, newest_first)[:limit] if view.at is not None else found

    def containing(self, text: str, view: View, limit: int) -> list[Cube]:
        """Return cubes whose text contains another, letter for letter, newest first."""
        with self._connections.snapshot() as db:
            known = self._known(db)
            sql, values = clauses(view, known)
            rest = f"WHERE {sql} AND instr(content, ?) > 0 ORDER BY time DESC, row DESC LIMIT ?"
            found = self._cubes(db, rest, [*values, text, limit])
            if view.at is not None:
                found += self._past(db, view, known, "AND instr(v.content, ?) > 0", [text])
        return _in_time(found, newest_first=True)[:limit] if view.at is not None else found

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
        with self._connections.snapshot() as db:
            known = self._known(db)
            sql, values = clauses(view, known)
            found = db.execute(f"SELECT row FROM cubes WHERE {sql} ORDER BY row", values)
            rows = np.fromiter((row for (row,) in found), dtype=np.int64)
            if view.at is not None:
                rows = np.sort(np.append(rows, [cube.row for cube in self._past(db, view, known)]).astype(np.int64))
        return rows

    def count(self, view: View) -> int:
        """Return the number of cubes of a view."""
        with self._connections.snapshot() as db:
            known = self._known(db)
            sql, values = clauses(view, known)
            number = int(db.execute(f"SELECT count(*) FROM cubes WHERE {sql}", values).fetchone()[0])
            return number if view.at is None else number + len(self._past(db, view, known))

    def by_rows(self, rows: Sequence[int], at: int | None = None) -> dict[int, Cube]:
        """Return cubes by their rows, whoever owns them: for indexes, never for callers."""
        out: dict[int, Cube] = {}
        with self._connections.snapshot() as db:
            for part in parts([int(row) for row in rows]):
                listed = f"row IN ({marks(part)})"
                if at is None:
                    found = self._cubes(db, f"WHERE {listed}", part)
                else:
                    found = self._cubes(db, f"WHERE {listed} AND seq <= ?", [*part, at])
                    found += self._earlier(db, f"c.{listed} AND v.seq <= ? AND v.next > ?", [*part, at, at])
                out.update((cube.row, cube) for cube in found)
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
        return Changes(tuple(dict.fromkeys(row for _, row, _ in entries if row)), len(entries), last[0], last[2])

    def versions(self, id: str) -> list[Cube]:
        """Return the earlier versions of a cube, oldest first."""
        with self._connections.reading() as db:
            return self._earlier(db, "c.id = ? ORDER BY v.version", [id])

    def past(self, rows: Sequence[int]) -> list[Cube]:
        """Return the earlier versions of rows, in order of row and version."""
        with self._connections.snapshot() as db:
            return [
                cube
                for part in parts(sorted({int(row) for row in rows}))
                for cube in self._earlier(db, f"c.row IN ({marks(part)}) ORDER BY c.row, v.version", part)
            ]

    def children(self, ids: Sequence[str]) -> list[Cube]:
        """Return the cubes that name one of the ids among their parents, in order of row."""
        with self._connections.snapshot() as db:
            return children_in(db, ids)

    def seq_at(self, moment: datetime) -> int:
        """Return the number of the last entry of the journal not after a moment; the times of entries never fall."""
        wanted = micros(moment)
        with self._connections.snapshot() as db:
            low, high = 0, head_of(db).seq
            while low < high:
                middle = (low + high + 1) // 2
                found = db.execute("SELECT max(seq), time FROM events WHERE seq <= ?", (middle,)).fetchone()
                if found[0] is None or found[1] <= wanted:
                    low = middle
                else:
                    high = middle - 1
        return low

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

    def spaces(self, view: View) -> list[str]:
        """Return the spaces of the whole store in which the view's caller sees any cube."""
        with self._connections.snapshot() as db:
            known = self._known(db)
            every = tuple(name for (name,) in db.execute(_SPACES))
            seen: set[str] = set()
            if view.at is not None:
                seen.update(cube.space for cube in self._past(db, replace(view, spaces=every), known))
            for name in every:
                sql, values = clauses(replace(view, spaces=(name,)), known)
                if name not in seen and db.execute(f"SELECT 1 FROM cubes WHERE {sql} LIMIT 1", values).fetchone():
                    seen.add(name)
        return sorted(seen)

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
                (space, *walls(owner), value),
            ).fetchone()
        return None if found is None else SourceMark(*found)

    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorRows:
        """Return the vectors of an embedder for these rows, ascending; rows without one are missing."""
        found: list[tuple[int, int, bytes]] = []
        with self._connections.reading() as db:
            for part in parts(sorted(rows)):
                found.extend(
                    db.execute(
                        "SELECT row, version, data FROM vectors WHERE embedder ="
                        f" (SELECT id FROM embedders WHERE fingerprint = ?) AND row IN ({marks(part)}) ORDER BY row",
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
        with self._connections.reading() as db:
            return self._cubes(
                db,
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
        found: list[str] = []
        try:
            with self._connections.reading() as db:
                found.extend(audit(db))  # what was found before reading fails stays
        except StoreError as error:
            found.append(f"the database cannot be read: {error.message}")
        return found

    def derive(self, ids: Sequence[str]) -> int:
        """Make again what follows from the headers of cubes, and return how many; what is sealed is not touched."""
        with self.transaction() as tx:
            return tx.derive(ids)

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

    def _known(self, db: sqlite3.Connection) -> Mapping[int, Rights]:
        return self._rights.read(db, is_committed=not self._connections.is_writing)

    def _cubes(self, db: sqlite3.Connection, rest: str, values: Sequence[object]) -> list[Cube]:
        return [cube_of(row) for row in db.execute(f"SELECT {CUBE_COLUMNS} FROM cubes {rest}", list(values))]

    def _earlier(self, db: sqlite3.Connection, test: str, values: Sequence[object]) -> list[Cube]:
        """Return earlier versions ``v`` of cubes ``c`` that are still there."""
        sql = f"SELECT {PAST_COLUMNS} FROM cubes AS c JOIN versions AS v ON v.id = c.id WHERE {test}"
        return [cube_of(row) for row in db.execute(sql, list(values))]

    def _past(
        self,
        db: sqlite3.Connection,
        view: View,
        known: Mapping[int, Rights],
        more: str = "",
        values: Sequence[object] = (),
    ) -> list[Cube]:
        """Return what a view at an earlier time admits of the cubes that have changed since, as they were then."""
        sql, said = today(view, known)
        found = db.execute(
            f"SELECT {PAST_COLUMNS} FROM versions AS v CROSS JOIN cubes AS c ON c.row = v.row"
            f" WHERE v.next > ? AND v.seq <= ? AND {sql} {more}",
            [view.at, view.at, *said, *values],
        )
        return [cube for cube in map(cube_of, found) if view.where.matches(cube) and not view.is_over(cube)]


def _in_time(cubes: list[Cube], newest_first: bool) -> list[Cube]:
    return sorted(cubes, key=lambda cube: (micros(cube.time), cube.row), reverse=newest_first)
