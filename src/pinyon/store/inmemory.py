"""Cubes in plain Python objects: for tests, for throw-away memories, and as the oracle of the other stores."""

from __future__ import annotations

import bisect
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.events import Changes, Event, Head
from ..core.payload import Delta, Kind, State
from ..core.scope import Scope
from ..core.where import View
from ._derived import parents_of, same_vector
from ._memory_audit import MemoryAudit
from ._memory_jobs import MemoryJobs, MemoryUsage
from ._said import twice
from .base import Place, SourceMark, VectorRows
from .blobs import MemoryBlobs

__all__ = ["MemoryEngine"]

_Vector = tuple[int, NDArray[np.float16]]
_SourceKey = tuple[str, str | None, str | None, str | None, str]
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Tables:
    cubes: dict[int, Cube] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    versions: dict[str, tuple[Cube, ...]] = field(default_factory=dict)
    children: dict[str, frozenset[int]] = field(default_factory=dict)
    of_row: dict[int, tuple[Event, ...]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    forgotten: dict[str, int] = field(default_factory=dict)
    sources: dict[_SourceKey, SourceMark] = field(default_factory=dict)
    vectors: dict[str, dict[int, _Vector]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


class MemoryEngine:
    """Rows in dictionaries; everything is gone with the process."""

    def __init__(self) -> None:
        self.identity = uuid.uuid4().hex
        self.location = ":memory:"
        self.is_read_only = False
        self.blobs = MemoryBlobs()
        self._tables = _Tables()
        self._lock = threading.RLock()
        self._is_open = False  # a transaction; others wait for the lock
        self._audit = MemoryAudit()
        self._usage = MemoryUsage()
        self._jobs = MemoryJobs()

    @property
    def audit(self) -> MemoryAudit:
        """What was asked for and decided."""
        return self._audit

    @property
    def usage(self) -> MemoryUsage:
        """How much each cube is used."""
        return self._usage

    @property
    def jobs(self) -> MemoryJobs:
        """Work that ends with the process."""
        return self._jobs

    @contextmanager
    def transaction(self) -> Iterator[_MemoryTransaction]:
        """Hold the store for writing; leaving by an exception undoes everything."""
        with self._lock:
            if self._is_open:
                raise twice(self.location)
            tx, self._is_open = _MemoryTransaction(self._tables, self._jobs), True
            try:
                with self._jobs.transaction():
                    yield tx
            except BaseException:
                tx.undo()
                raise
            finally:
                self._is_open = False
            self._usage.remove(tx.erased)

    def head(self) -> Head:
        """Return the end of the journal."""
        with self._lock:
            return _head(self._tables)

    def get(self, id: str, view: View) -> Cube | None:
        """Return a cube that the caller may see, in any state of its life."""
        with self._lock:
            row = self._tables.ids.get(id)
            found = [] if row is None else self._admitted(view, [self._tables.cubes[row]])
        return found[0] if found else None

    def matching(self, prefix: str, view: View, limit: int) -> list[Cube]:
        """Return cubes whose id begins with a prefix, in order of id."""
        found = (cube for cube in self._seen(view) if cube.id.startswith(prefix))
        return sorted(found, key=lambda cube: cube.id)[:limit]

    def find(self, view: View, *, newest_first: bool, limit: int, after: tuple[int, int] | None) -> list[Cube]:
        """Return cubes in order of time, from just after a cursor (time in microseconds, row)."""
        keyed = sorted(((micros(c.time), c.row), c) for c in self._seen(view))
        if newest_first:
            keyed.reverse()
        if after is not None:
            keyed = [(key, c) for key, c in keyed if (key < after if newest_first else key > after)]
        return [cube for _, cube in keyed[:limit]]

    def containing(self, text: str, view: View, limit: int) -> list[Cube]:
        """Return cubes whose text contains another, letter for letter, newest first."""
        found = sorted(((micros(c.time), c.row), c) for c in self._seen(view) if text in c.text)
        return [cube for _, cube in reversed(found)][:limit]

    def setting(self, key: str) -> str | None:
        """Return a note that the store keeps about itself."""
        return self._tables.settings.get(key)

    def set_setting(self, key: str, value: str) -> None:
        """Keep a note about the store itself."""
        with self._lock:
            self._tables.settings[key] = value

    def rows(self, view: View) -> NDArray[np.int64]:
        """Return the rows of all cubes of a view, ascending."""
        return np.array(sorted(cube.row for cube in self._seen(view)), dtype=np.int64)

    def count(self, view: View) -> int:
        """Return the number of cubes of a view."""
        return len(self._seen(view))

    def by_rows(self, rows: Sequence[int], at: int | None = None) -> dict[int, Cube]:
        """Return cubes by their rows, whoever owns them: for indexes, never for callers."""
        with self._lock:
            cubes = self._tables.cubes
            found = [cubes[int(row)] for row in rows if int(row) in cubes]
            if at is not None:
                found = [then for cube in found if (then := self._then(cube, at)) is not None]
        return {cube.row: cube for cube in found}

    def journal(self, after: int, limit: int) -> list[Event]:
        """Return entries of the journal after a number."""
        with self._lock:  # what a transaction of another thread has written may yet be undone
            return self._tables.events[after : after + limit]

    def changes(self, after: int, limit: int) -> Changes:
        """Return which rows the entries after a number changed, without reading the entries whole."""
        entries = self.journal(after, limit)
        last = entries[-1] if entries else None
        rows = tuple(dict.fromkeys(e.row for e in entries if e.row))
        return Changes(rows, len(entries), last.seq if last else after, last.chain if last else "")

    def versions(self, id: str) -> list[Cube]:
        """Return the earlier versions of a cube, oldest first."""
        return list(self._tables.versions.get(id, ()))

    def past(self, rows: Sequence[int]) -> list[Cube]:
        """Return the earlier versions of rows, in order of row and version."""
        with self._lock:
            cubes = self._tables.cubes
            ids = [cubes[row].id for row in sorted({int(row) for row in rows}) if row in cubes]
            return [cube for id in ids for cube in self._tables.versions.get(id, ())]

    def children(self, ids: Sequence[str]) -> list[Cube]:
        """Return the cubes that name one of the ids among their parents, in order of row."""
        with self._lock:
            return _children(self._tables, ids)

    def seq_at(self, moment: datetime) -> int:
        """Return the number of the last entry of the journal not after a moment; the times of entries never fall."""
        return bisect.bisect_right(self._tables.events, moment, key=lambda event: event.time)

    def events_of(self, id: str) -> list[Event]:
        """Return the journal of one cube that is still there."""
        row = self._tables.ids.get(id)
        return [] if row is None else list(self._tables.of_row[row])

    def spaces(self, view: View) -> list[str]:
        """Return the spaces of the whole store in which the view's caller sees any cube."""
        every = tuple({cube.space for cube in list(self._tables.cubes.values())})
        return sorted({cube.space for cube in self._seen(replace(view, spaces=every))})

    def source(self, space: str, owner: Scope, key: str) -> SourceMark | None:
        """Return what is known of a source by its name."""
        return self._tables.sources.get(_source_key(space, owner, key))

    def source_of(self, space: str, owner: Scope, digest: str) -> SourceMark | None:
        """Return a source that held these bytes."""
        place = _source_key(space, owner, "")[:4]
        found = [m for k, m in self._tables.sources.items() if k[:4] == place and m.digest == digest]
        return min(found, key=lambda mark: mark.key, default=None)

    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorRows:
        """Return the vectors of an embedder for these rows, ascending; rows without one are missing."""
        mine = self._tables.vectors.get(fingerprint, {})
        found = sorted(row for row in rows if row in mine)
        data = np.stack([mine[row][1] for row in found]) if found else np.zeros((0, 0), dtype=np.float16)
        versions = np.array([mine[row][0] for row in found], dtype=np.int64)
        return VectorRows(np.array(found, dtype=np.int64), versions, data)

    def missing_vectors(self, fingerprint: str, limit: int) -> list[Cube]:
        """Return text cubes that have no vector of this embedder for their present version."""
        mine = self._tables.vectors.get(fingerprint, {})
        lacking = (
            cube
            for row, cube in sorted(self._tables.cubes.items())
            if cube.kind is Kind.TEXT and (row not in mine or mine[row][0] != cube.version)
        )
        return [cube for cube, _ in zip(lacking, range(limit), strict=False)]

    def fingerprints(self) -> dict[str, int]:
        """Return the embedders whose vectors are here, with their numbers of vectors."""
        return {name: len(rows) for name, rows in self._tables.vectors.items() if rows}

    def drop_vectors(self, fingerprint: str) -> None:
        """Remove every vector of an embedder."""
        with self._lock:
            self._tables.vectors.pop(fingerprint, None)

    def problems(self) -> list[str]:
        """Return nothing: there is no medium that could fail."""
        return []

    def bytes(self) -> int:
        """Return the bytes of all texts, the part of the footprint that can be known."""
        return sum(len(cube.text.encode()) for cube in self._tables.cubes.values())

    def names_blob(self, sha256: str) -> bool:
        """Return whether any cube or earlier version names a blob."""
        kept = chain(self._tables.cubes.values(), *self._tables.versions.values())
        return any(
            blob.sha256 == sha256 for c in kept if isinstance(c.payload, (State, Delta)) for blob in c.payload.blobs
        )

    def settle(self) -> None:
        """Do nothing; there is no log."""

    def close(self) -> None:
        """Do nothing; the store goes with its last reference."""

    def _seen(self, view: View) -> list[Cube]:
        with self._lock:
            return self._admitted(view, self._tables.cubes.values())

    def _admitted(self, view: View, cubes: Iterable[Cube]) -> list[Cube]:
        """Return what a view admits, as it is or as it was."""
        if view.at is None:
            return [cube for cube in cubes if view.admits(cube)]
        pairs = ((self._then(cube, view.at), cube) for cube in cubes)
        return [then for then, today in pairs if then is not None and view.admits(then, today)]

    def _then(self, cube: Cube, at: int) -> Cube | None:
        """Return a cube as it was after an entry of the journal, or None before it was made."""
        if cube.seq <= at:
            return cube
        earlier = [old for old in self._tables.versions.get(cube.id, ()) if old.seq <= at]
        return earlier[-1] if earlier else None


class _MemoryTransaction:
    """Write access to the tables, with a note of how to take back each step."""

    def __init__(self, tables: _Tables, jobs: MemoryJobs) -> None:
        self._t = tables
        self._jobs = jobs
        self._back: list[Callable[[], object]] = []
        self.erased: list[int] = []

    @contextmanager
    def nested(self) -> Iterator[_MemoryTransaction]:
        part = _MemoryTransaction(self._t, self._jobs)
        try:
            with self._jobs.transaction():
                yield part
        except BaseException:
            part.undo()
            raise
        self._back += part._back
        self.erased += part.erased

    def undo(self) -> None:
        for step in reversed(self._back):
            step()

    def _set(self, table: dict[_Key, _Value], key: _Key, value: _Value) -> None:
        if key in table:
            old = table[key]
            self._back.append(lambda: table.update({key: old}))
        else:
            self._back.append(lambda: table.pop(key, None))
        table[key] = value

    def _drop(self, table: dict[_Key, _Value], key: _Key) -> None:
        if key in table:
            old = table.pop(key)
            self._back.append(lambda: table.update({key: old}))

    def head(self) -> Head:
        return _head(self._t)

    def live(self, ids: Sequence[str]) -> dict[str, Cube]:
        return {id: self._t.cubes[self._t.ids[id]] for id in ids if id in self._t.ids}

    def spent(self, ids: Sequence[str]) -> set[str]:
        return {id for id in ids if id in self._t.forgotten}

    def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        wanted = set(places)
        out: dict[Place, int] = {}
        for cube in self._t.cubes.values():
            place, position = _place(cube), cube.header.provenance.position
            if place in wanted and position is not None:
                out[place] = max(out.get(place, position), position)
        return out

    def standing(self, place: Place) -> list[Cube]:
        found = (cube for cube in self._t.cubes.values() if _place(cube) == place)
        return sorted(found, key=lambda cube: (cube.header.provenance.position or 0, cube.row))

    def insert(self, cubes: Sequence[Cube]) -> None:
        for cube in cubes:
            self._set(self._t.cubes, cube.row, cube)
            self._set(self._t.ids, cube.id, cube.row)
            self._link(cube)

    def replace(self, cubes: Sequence[Cube]) -> None:
        for cube in cubes:
            old = self._t.cubes[cube.row]
            self._set(self._t.versions, cube.id, (*self._t.versions.get(cube.id, ()), old))
            self._unlink(old)
            self._set(self._t.cubes, cube.row, cube)
            self._link(cube)
            if same_vector(old, cube):
                for rows in self._t.vectors.values():
                    if cube.row in rows and rows[cube.row][0] == old.version:
                        self._set(rows, cube.row, (cube.version, rows[cube.row][1]))

    def _link(self, cube: Cube) -> None:
        for id in parents_of(cube.header):
            self._set(self._t.children, id, self._t.children.get(id, frozenset()) | {cube.row})

    def _unlink(self, cube: Cube) -> None:
        for id in parents_of(cube.header):
            self._set(self._t.children, id, self._t.children[id] - {cube.row})

    def erase(self, cubes: Sequence[Cube]) -> None:
        for cube in cubes:
            self._unlink(cube)
            self._drop(self._t.cubes, cube.row)
            self._drop(self._t.ids, cube.id)
            self._drop(self._t.versions, cube.id)
            self._drop(self._t.of_row, cube.row)
            self._set(self._t.forgotten, cube.id, cube.row)
            self.erased.append(cube.row)
            for rows in self._t.vectors.values():
                self._drop(rows, cube.row)
            if cube.header.provenance.source is not None:
                self._drop(self._t.sources, _source_key(cube.space, cube.owner, cube.header.provenance.source))

    def append(self, events: Sequence[Event]) -> None:
        length = len(self._t.events)
        self._back.append(lambda: self._t.events.__delitem__(slice(length, None)))
        self._t.events.extend(events)
        for event in events:
            if event.row in self._t.cubes:
                self._set(self._t.of_row, event.row, (*self._t.of_row.get(event.row, ()), event))

    def mark_source(self, space: str, owner: Scope, mark: SourceMark) -> None:
        self._set(self._t.sources, _source_key(space, owner, mark.key), mark)

    def put_vectors(self, fingerprint: str, vectors: VectorRows) -> None:
        if fingerprint not in self._t.vectors:
            self._set(self._t.vectors, fingerprint, {})
        mine = self._t.vectors[fingerprint]
        data = np.asarray(vectors.data, dtype=np.float16)
        for row, version, line in zip(vectors.rows, vectors.versions, data, strict=True):
            if int(row) in self._t.cubes:
                self._set(mine, int(row), (int(version), line.copy()))

    def children(self, ids: Sequence[str]) -> list[Cube]:
        return _children(self._t, ids)

    def setting(self, key: str) -> str | None:
        return self._t.settings.get(key)

    def set_setting(self, key: str, value: str) -> None:
        self._set(self._t.settings, key, value)


def _children(tables: _Tables, ids: Sequence[str]) -> list[Cube]:
    rows = {row for id in ids for row in tables.children.get(id, ())}
    return [tables.cubes[row] for row in sorted(rows)]


def _head(tables: _Tables) -> Head:
    if not tables.events:
        return Head()
    last = tables.events[-1]
    return Head(last.seq, last.chain, micros(last.time))


def _place(cube: Cube) -> Place | None:
    thread = cube.header.provenance.thread
    return None if thread is None else Place.of(cube.space, replace(cube.owner, session=None), thread)


def _source_key(space: str, owner: Scope, key: str) -> _SourceKey:
    return space, owner.tenant, owner.user, owner.agent, key
