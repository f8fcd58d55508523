"""Cubes in one SQLite file: the default store.

Write-ahead log, ``synchronous=FULL``, one ``BEGIN IMMEDIATE`` transaction a verb, several processes at once.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..core.clock import from_micros, micros
from ..core.cube import Cube
from ..core.events import Event, Head
from ..core.header import header_from_json, header_to_json
from ..core.payload import Text, canonical, payload_from_json, payload_to_json
from ..core.scope import Scope
from ..core.where import View, facets
from ..errors import BadInput, Busy, Damaged, StoreError, TooNew
from ._sql import clauses
from .base import Place, SourceMark, VectorRows
from .blobs import FileBlobs
from .migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION

__all__ = ["Durability", "SqliteEngine"]

Durability = Literal["full", "normal"]
_WAIT_S = 60.0  # longer than the longest transaction of an import (0.3 s) times many writers
_CUBE = (
    "row, id, version, space, tenant, user, agent, session, created, updated, content, payload, header, hash, parent"
)
_EVENT = "seq, time, op, tenant, user, agent, session, space, cube, row, version, hash, detail, chain"
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
        self._durability = durability
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[sqlite3.Connection] = []
        self._pid = os.getpid()
        self.blobs = FileBlobs(path.with_name(path.name + ".blobs"))
        with _errors(path):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
            self._migrate()
            self.identity: str = self._db.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()[0]

    @property
    def location(self) -> str:
        """The file."""
        return str(self._path)

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection of this thread and process."""
        if os.getpid() != self._pid:  # after a fork the parent's connections may not be used
            self._local = threading.local()
            self._open, self._pid = [], os.getpid()
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._connect()
            self._local.db = db
            self._open.append(db)
        return db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        db.execute(f"PRAGMA busy_timeout = {int(_WAIT_S * 1000)}")
        _patiently(lambda: db.execute("PRAGMA journal_mode = WAL").fetchone())
        db.execute(f"PRAGMA synchronous = {self._durability.upper()}")
        db.execute("PRAGMA secure_delete = ON")  # a forgotten text leaves no trace on its pages
        db.execute("PRAGMA cache_size = -65536")  # 64 MiB
        db.execute("PRAGMA mmap_size = 1073741824")  # read through the page cache, 1 GiB
        db.execute("PRAGMA temp_store = MEMORY")
        return db

    def _migrate(self) -> None:
        db = self._db
        version = db.execute("PRAGMA user_version").fetchone()[0]
        marked = db.execute("PRAGMA application_id").fetchone()[0]
        empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and marked != APPLICATION_ID:
            raise Damaged(f"{self._path} is a SQLite file but not one of pinyon's", hint="choose another path")
        if version > SCHEMA_VERSION:
            raise TooNew(
                f"{self._path} has schema {version}, this pinyon knows schema {SCHEMA_VERSION}",
                hint="pip install --upgrade pinyon",
            )
        if version == SCHEMA_VERSION:
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
            db.execute("ROLLBACK")
            raise

    @contextmanager
    def transaction(self) -> Iterator[_SqliteTransaction]:
        """Hold the database for writing; leaving by an exception undoes everything."""
        with self._lock, _errors(self._path):
            db = self._db
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
        with _errors(self._path):
            return _head(self._db)

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
        with _errors(self._path):
            found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def set_setting(self, key: str, value: str) -> None:
        """Keep a note about the store itself."""
        with self._lock, _errors(self._path):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def rows(self, view: View) -> NDArray[np.int64]:
        """Return the rows of all cubes of a view, ascending."""
        sql, values = clauses(view)
        with _errors(self._path):
            found = self._db.execute(f"SELECT row FROM cubes WHERE {sql} ORDER BY row", values)
            return np.fromiter((row for (row,) in found), dtype=np.int64)

    def count(self, view: View) -> int:
        """Return the number of cubes of a view."""
        sql, values = clauses(view)
        with _errors(self._path):
            return int(self._db.execute(f"SELECT count(*) FROM cubes WHERE {sql}", values).fetchone()[0])

    def by_rows(self, rows: Sequence[int]) -> dict[int, Cube]:
        """Return cubes by their rows, whoever owns them: for indexes, never for callers."""
        out: dict[int, Cube] = {}
        for part in _parts(rows):
            for cube in self._cubes(f"WHERE row IN ({_marks(part)})", part):
                out[cube.row] = cube
        return out

    def journal(self, after: int, limit: int) -> list[Event]:
        """Return entries of the journal after a number."""
        with _errors(self._path):
            found = self._db.execute(f"SELECT {_EVENT} FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
            return [_event(values) for values in found]

    def versions(self, id: str) -> list[Cube]:
        """Return the earlier versions of a cube, oldest first."""
        names = ", ".join(
            f"v.{n}"
            if n in ("version", "session", "updated", "content", "payload", "header", "hash", "parent")
            else f"c.{n}"
            for n in _CUBE.split(", ")
        )
        with _errors(self._path):
            found = self._db.execute(
                f"SELECT {names} FROM versions v JOIN cubes c ON c.id = v.id WHERE v.id = ? ORDER BY v.version", (id,)
            )
            return [_cube(values) for values in found]

    def events_of(self, id: str) -> list[Event]:
        """Return the journal of one cube that is still there."""
        with _errors(self._path):
            found = self._db.execute("SELECT row FROM cubes WHERE id = ?", (id,)).fetchone()
            if found is None:
                return []
            rows = self._db.execute(
                f"SELECT {_EVENT} FROM events WHERE seq = ? OR (row = ? AND row <> seq) ORDER BY seq", (found[0],) * 2
            )
            return [_event(values) for values in rows]

    def spaces(self, scope: Scope) -> list[str]:
        """Return the spaces in which the caller may see a cube."""
        sql, values = clauses(View(scope=scope), spaces=False)
        with _errors(self._path):
            found = self._db.execute(f"SELECT DISTINCT space FROM cubes WHERE {sql} ORDER BY space", values)
            return [name for (name,) in found]

    def source(self, space: str, owner: Scope, key: str) -> SourceMark | None:
        """Return what is known of a source by its name."""
        return self._source("key = ?", space, owner, key)

    def source_of(self, space: str, owner: Scope, digest: str) -> SourceMark | None:
        """Return a source that held these bytes."""
        return self._source("digest = ?", space, owner, digest)

    def _source(self, test: str, space: str, owner: Scope, value: str) -> SourceMark | None:
        with _errors(self._path):
            found = self._db.execute(
                "SELECT key, digest, cubes FROM sources"
                f" WHERE space = ? AND tenant = ? AND user = ? AND agent = ? AND {test} ORDER BY key LIMIT 1",
                (space, *_walls(owner), value),
            ).fetchone()
        return None if found is None else SourceMark(*found)

    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorRows:
        """Return the vectors of an embedder for these rows, ascending; rows without one are missing."""
        found: list[tuple[int, int, bytes]] = []
        with _errors(self._path):
            for part in _parts(sorted(rows)):
                found.extend(
                    self._db.execute(
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
        with _errors(self._path):
            found = self._db.execute(
                "SELECT fingerprint, (SELECT count(*) FROM vectors WHERE embedder = id) FROM embedders ORDER BY id"
            )
            return {name: number for name, number in found if number}

    def drop_vectors(self, fingerprint: str) -> None:
        """Remove every vector of an embedder."""
        with self._lock, _errors(self._path):
            self._db.execute(
                "DELETE FROM vectors WHERE embedder = (SELECT id FROM embedders WHERE fingerprint = ?)", (fingerprint,)
            )

    def problems(self) -> list[str]:
        """Return what SQLite's own check finds."""
        try:
            found = [str(text) for (text,) in self._db.execute("PRAGMA integrity_check(20)")]
        except sqlite3.DatabaseError as error:
            return [f"the database cannot be read: {error}"]
        return [] if found == ["ok"] else [text for text in found if text != "ok"]

    def bytes(self) -> int:
        """Return the bytes of the file and its log."""
        names = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    def close(self) -> None:
        """Close every connection of this process."""
        if os.getpid() == self._pid:
            for db in self._open:
                db.close()
        self._open = []
        self._local = threading.local()

    def _cubes(self, rest: str, values: Sequence[object]) -> list[Cube]:
        with _errors(self._path):
            return [_cube(row) for row in self._db.execute(f"SELECT {_CUBE} FROM cubes {rest}", list(values))]


class _SqliteTransaction:
    """Write access, between BEGIN IMMEDIATE and COMMIT."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def head(self) -> Head:
        return _head(self._db)

    def live(self, ids: Sequence[str]) -> dict[str, Cube]:
        out: dict[str, Cube] = {}
        for part in _parts(ids):
            for values in self._db.execute(f"SELECT {_CUBE} FROM cubes WHERE id IN ({_marks(part)})", part):
                cube = _cube(values)
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
                f"SELECT position FROM cubes WHERE {_AT_PLACE} ORDER BY position DESC LIMIT 1", _at(place)
            ).fetchone()
            if found is not None:
                out[place] = found[0]
        return out

    def standing(self, place: Place) -> list[Cube]:
        rows = self._db.execute(f"SELECT {_CUBE} FROM cubes WHERE {_AT_PLACE} ORDER BY position, row", _at(place))
        return [_cube(values) for values in rows]

    def insert(self, cubes: Sequence[Cube]) -> None:
        self._db.executemany(
            "INSERT INTO cubes (row, id, version, space, tenant, user, agent, session, kind, state, thread, position,"
            " speaker, source, time, created, updated, content, payload, header, hash, parent)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [_values(cube) for cube in cubes],
        )
        self._facets(cubes)

    def replace(self, cubes: Sequence[Cube]) -> None:
        kept = "id, version, session, updated, content, payload, header, hash, parent"
        for cube in cubes:
            self._db.execute(f"INSERT INTO versions ({kept}) SELECT {kept} FROM cubes WHERE id = ?", (cube.id,))
            v = _values(cube)
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
            f"INSERT INTO events ({_EVENT}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
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
        self._db.execute("INSERT OR IGNORE INTO embedders (fingerprint) VALUES (?)", (fingerprint,))
        (number,) = self._db.execute("SELECT id FROM embedders WHERE fingerprint = ?", (fingerprint,)).fetchone()
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


def _values(cube: Cube) -> tuple[object, ...]:
    p, o = cube.header.provenance, cube.owner
    payload = cube.payload
    plain = isinstance(payload, Text) and payload.format == "text"
    return (
        cube.row,
        cube.id,
        cube.version,
        cube.space,
        o.tenant,
        o.user,
        o.agent,
        o.session,
        cube.kind.value,
        cube.header.life.state,
        p.thread,
        p.position,
        p.speaker,
        p.source,
        micros(cube.time),
        micros(cube.created),
        micros(cube.updated),
        cube.text,
        None if plain else canonical(payload_to_json(payload) | ({"content": ""} if cube.text else {})),
        canonical(header_to_json(cube.header)),
        cube.hash,
        cube.parent,
    )


def _cube(values: Sequence[object]) -> Cube:
    row, id, version, space, tenant, user, agent, session, created, updated, content, payload, header, seal, parent = (
        values
    )
    if payload is None:
        body: object = Text(content)  # type: ignore[arg-type]  # columns are typed by STRICT tables
    else:
        data = json.loads(payload)  # type: ignore[arg-type]
        body = payload_from_json(data | {"content": content} if data["kind"] == "text" else data)
    return Cube(
        id,  # type: ignore[arg-type]
        row,  # type: ignore[arg-type]
        version,  # type: ignore[arg-type]
        space,  # type: ignore[arg-type]
        Scope(tenant, user, agent, session),  # type: ignore[arg-type]
        body,  # type: ignore[arg-type]
        header_from_json(json.loads(header)),  # type: ignore[arg-type]
        from_micros(created),  # type: ignore[arg-type]
        from_micros(updated),  # type: ignore[arg-type]
        seal,  # type: ignore[arg-type]
        parent,  # type: ignore[arg-type]
    )


def _event(values: Sequence[object]) -> Event:
    seq, moment, op, tenant, user, agent, session, space, cube, row, version, seal, detail, chain = values
    return Event(
        seq,  # type: ignore[arg-type]  # columns are typed by STRICT tables
        from_micros(moment),  # type: ignore[arg-type]
        op,  # type: ignore[arg-type]
        Scope(tenant, user, agent, session),  # type: ignore[arg-type]
        space,  # type: ignore[arg-type]
        cube,  # type: ignore[arg-type]
        row,  # type: ignore[arg-type]
        version,  # type: ignore[arg-type]
        seal,  # type: ignore[arg-type]
        json.loads(detail) if detail else {},  # type: ignore[arg-type]
        chain,  # type: ignore[arg-type]
    )


def _parts(things: Sequence[object]) -> Iterator[list[object]]:
    for start in range(0, len(things), _MOST_VARIABLES):
        yield list(things[start : start + _MOST_VARIABLES])


def _marks(things: Sequence[object]) -> str:
    return ",".join("?" * len(things))


def _patiently(step: object) -> None:
    """Run a step that SQLite refuses at once while another process does the same, until it works."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            step()  # type: ignore[operator]  # a callable without arguments
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Say in one sentence what SQLite or the system says."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _said(path, error) from error
    except UnicodeEncodeError as error:
        raise BadInput(f"not valid Unicode: {str(error.object)[:80]!r}") from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        if error.errno == errno.ENOSPC:
            raise StoreError(f"the disk of {path} is full", hint="free some space; nothing was lost") from error
        raise StoreError(f"{path} cannot be used: {error.strerror}", hint="choose another path") from error


def _said(path: Path, error: sqlite3.DatabaseError) -> StoreError | BadInput:
    text = str(error)
    if "locked" in text or "busy" in text:
        return Busy(f"another process has held {path} for {_WAIT_S:.0f} s", hint="end it, or try again")
    if "full" in text:
        return StoreError(f"the disk of {path} is full", hint="free some space; nothing was lost")
    if "readonly" in text or "read-only" in text:
        return StoreError(f"{path} cannot be written", hint="check the rights of the file and of its folder")
    if "unable to open" in text:
        return StoreError(f"{path} cannot be opened", hint="check that its folder exists and can be written")
    if "malformed" in text or "not a database" in text or "disk I/O" in text or "corrupt" in text:
        return Damaged(
            f"{path} is not a sound pinyon database ({text})",
            hint="keep a copy, then `pinyon doctor` says what is left",
        )
    return StoreError(f"{path}: {text}")
