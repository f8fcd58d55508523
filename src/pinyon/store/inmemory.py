"""Cubes in plain Python objects: for tests, for throw-away memories, and as the oracle of the other stores."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.events import Changes, Event, Head
from ..core.payload import Delta, Kind, State
from ..core.scope import Scope
from ..core.where import View, Where
from .base import Place, SourceMark, VectorRows
from .blobs import MemoryBlobs

__all__ = ["MemoryEngine"]

_Vector = tuple[int, NDArray[np.float16]]
_SourceKey = tuple[str, str | None, str | None, str | None, str]


@dataclass(slots=True)
class _Tables:
    cubes: dict[int, Cube] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    versions: dict[str, list[Cube]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)
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

    @contextmanager
    def transaction(self) -> Iterator[_MemoryTransaction]:
        """Hold the store for writing; leaving by an exception undoes everything."""
        with self._lock:
            draft = _Tables(*(copy.copy(getattr(self._tables, name)) for name in _Tables.__slots__))
            draft.versions = {id: list(old) for id, old in draft.versions.items()}
            draft.vectors = {name: dict(rows) for name, rows in draft.vectors.items()}
            yield _MemoryTransaction(draft)
            self._tables = draft

    def head(self) -> Head:
        """Return the end of the journal."""
        return _head(self._tables)

    def get(self, id: str, view: View) -> Cube | None:
        """Return a cube that the caller may see, in any state of its life."""
        row = self._tables.ids.get(id)
        cube = None if row is None else self._tables.cubes[row]
        return cube if cube is not None and view.admits(cube) else None

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
        return sum(1 for _ in self._seen(view))

    def by_rows(self, rows: Sequence[int]) -> dict[int, Cube]:
        """Return cubes by their rows, whoever owns them: for indexes, never for callers."""
        cubes = self._tables.cubes
        return {int(row): cubes[int(row)] for row in rows if int(row) in cubes}

    def journal(self, after: int, limit: int) -> list[Event]:
        """Return entries of the journal after a number."""
        return self._tables.events[after : after + limit]

    def changes(self, after: int, limit: int) -> Changes:
        """Return which rows the entries after a number changed, without reading the entries whole."""
        entries = self.journal(after, limit)
        last = entries[-1] if entries else None
        rows = tuple(dict.fromkeys(e.row for e in entries))
        return Changes(rows, len(entries), last.seq if last else after, last.chain if last else "")

    def versions(self, id: str) -> list[Cube]:
        """Return the earlier versions of a cube, oldest first."""
        return list(self._tables.versions.get(id, ()))

    def events_of(self, id: str) -> list[Event]:
        """Return the journal of one cube that is still there."""
        row = self._tables.ids.get(id)
        return [e for e in self._tables.events if e.row == row]

    def spaces(self, scope: Scope) -> list[str]:
        """Return the spaces in which the caller may see a cube."""
        where = Where()
        seen = (c for c in self._tables.cubes.values() if scope.sees(c.owner) and where.matches(c))
        return sorted({c.space for c in seen})

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

    def _seen(self, view: View) -> Iterator[Cube]:
        return (cube for cube in self._tables.cubes.values() if view.admits(cube))


class _MemoryTransaction:
    """Write access to a copy of the tables, taken over when the transaction ends well."""

    def __init__(self, tables: _Tables) -> None:
        self._t = tables

    def head(self) -> Head:
        return _head(self._t)

    def live(self, ids: Sequence[str]) -> dict[str, Cube]:
        return {id: self._t.cubes[self._t.ids[id]] for id in ids if id in self._t.ids}

    def spent(self, ids: Sequence[str]) -> set[str]:
        return self._t.forgotten.intersection(ids)

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
            self._t.cubes[cube.row] = cube
            self._t.ids[cube.id] = cube.row

    def replace(self, cubes: Sequence[Cube]) -> None:
        for cube in cubes:
            self._t.versions.setdefault(cube.id, []).append(self._t.cubes[cube.row])
            self._t.cubes[cube.row] = cube

    def erase(self, cubes: Sequence[Cube]) -> None:
        for cube in cubes:
            del self._t.cubes[self._t.ids.pop(cube.id)]
            self._t.versions.pop(cube.id, None)
            self._t.forgotten.add(cube.id)
            for rows in self._t.vectors.values():
                rows.pop(cube.row, None)
            if cube.header.provenance.source is not None:
                self._t.sources.pop(_source_key(cube.space, cube.owner, cube.header.provenance.source), None)

    def append(self, events: Sequence[Event]) -> None:
        self._t.events.extend(events)

    def mark_source(self, space: str, owner: Scope, mark: SourceMark) -> None:
        self._t.sources[_source_key(space, owner, mark.key)] = mark

    def put_vectors(self, fingerprint: str, vectors: VectorRows) -> None:
        mine = self._t.vectors.setdefault(fingerprint, {})
        data = np.asarray(vectors.data, dtype=np.float16)
        for row, version, line in zip(vectors.rows, vectors.versions, data, strict=True):
            if int(row) in self._t.cubes:
                mine[int(row)] = (int(version), line.copy())


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
