"""The verbs of a store, the same over every engine: what sealing, versions and the journal ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ..core.cube import Cube, Draft, Version, seal_hash
from ..core.events import Event, EventOp, Head, chain_of
from ..core.payload import Blob, Delta, State, Text
from ..core.scope import Scope
from ..core.where import View
from ..errors import Damaged, NotFound
from ._writer import Writer, is_same
from .base import Engine, Placed, SourceMark, VectorRows

__all__ = ["Store"]


@dataclass(slots=True)
class Store:
    """Where cubes rest, with one transaction a verb.

    Args:
        engine: What carries the rows.
    """

    engine: Engine
    _last: int = field(default=0, repr=False)

    def put(
        self,
        drafts: Sequence[Draft],
        *,
        owner: Scope,
        space: str,
        now: datetime,
        embed: Callable[[Sequence[Cube]], tuple[str, NDArray[np.float16]] | None] | None = None,
        source: SourceMark | None = None,
        retire: str | None = None,
    ) -> list[Placed]:
        """Write drafts in one transaction.

        A draft whose cube is there already is left alone, or becomes its next version where its header changed. What
        is returned has reached the disk.

        Args:
            drafts: What to write, in order.
            owner: Who writes.
            space: Container to write into.
            now: Record time; taken as the journal's last time when it lies before it.
            embed: Gives the fingerprint and the rows (N, E) of the changed cubes, to be stored with them, or None
                when a background job is to do it.
            source: Mark that this source was read.
            retire: Archive every other live cube of this thread: the source was read again and no longer says them.
        """
        with self.engine.transaction() as tx:
            writer = Writer(tx, owner, space, now)
            placed = writer.put(drafts)
            changed = [p.cube for p in placed if p.outcome != "unchanged"]
            if retire is not None:
                changed.extend(writer.retire(retire, {p.cube.id for p in placed}))
            writer.finish()
            if embed is not None and changed:
                made = embed(changed)
                if made is not None:
                    tx.put_vectors(made[0], _vector_rows(changed, made[1]))
            if source is not None:
                tx.mark_source(space, owner, source)
        return placed

    def update(
        self,
        id: str,
        change: Callable[[Cube], Cube],
        *,
        view: View,
        actor: Scope,
        now: datetime,
        op: EventOp = "update",
        embed: Callable[[Sequence[Cube]], tuple[str, NDArray[np.float16]] | None] | None = None,
    ) -> Cube:
        """Write the next version of a cube in one transaction: read, change, write, with nobody in between.

        Args:
            id: Its id.
            change: Returns the cube with another payload or header; its other fields are ignored.
            view: What the caller may change.
            actor: Who does it.
            now: Record time; taken as the journal's last time when it lies before it.
            op: What the journal calls it.
            embed: As for `put`.

        Raises:
            NotFound: There is no such cube for this caller.
        """
        with self.engine.transaction() as tx:
            old = tx.live([id]).get(id)
            if old is None or not view.admits(old):
                raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
            wanted = change(old)
            if is_same(old, wanted.payload, wanted.header):
                return old
            writer = Writer(tx, actor, old.space, now)
            cube = writer.revise(old, wanted.payload, wanted.header, op)
            writer.finish()
            if embed is not None:
                made = embed([cube])
                if made is not None:
                    tx.put_vectors(made[0], _vector_rows([cube], made[1]))
        return cube

    def remove(self, ids: Iterable[str], *, view: View, actor: Scope, now: datetime) -> list[Cube]:
        """Forget cubes in one transaction: payload, versions and vectors go, the journal keeps ids and seals.

        Returns:
            The cubes that went; ids that the caller cannot see are passed over.
        """
        wanted = list(dict.fromkeys(ids))
        with self.engine.transaction() as tx:
            found = tx.live(wanted)
            gone = [found[id] for id in wanted if id in found and view.admits(found[id])]
            blobs = self._blobs(gone)
            if gone:
                writer = Writer(tx, actor, view.spaces[0], now)
                for cube in gone:
                    writer.note("forget", cube, version=0, seal="")
                tx.erase(gone)
                writer.finish()
        for blob in blobs:
            if not self.engine.names_blob(blob.sha256):
                self.engine.blobs.remove(blob)
        if gone:
            self.engine.settle()
        return gone

    def _blobs(self, cubes: Iterable[Cube]) -> set[Blob]:
        """Return every blob that cubes or their earlier versions name."""
        found: set[Blob] = set()
        for cube in cubes:
            for each in (cube, *(self.engine.versions(cube.id) if cube.version > 1 else ())):
                if isinstance(each.payload, (State, Delta)):
                    found.update(each.payload.blobs)
        return found

    def adopt(
        self,
        chains: Sequence[Sequence[Cube]],
        *,
        actor: Scope,
        now: datetime,
        embed: Callable[[Sequence[Cube]], tuple[str, NDArray[np.float16]] | None] | None = None,
    ) -> list[Placed]:
        """Take in cubes from elsewhere in one transaction, with their ids, versions and times.

        A cube whose id is here already, or was forgotten here, is left alone.

        Args:
            chains: All versions of a cube, oldest first, for each cube.
            actor: Who imports.
            now: Record time of the journal's entries.
            embed: As for `put`.
        """
        placed: list[Placed] = []
        with self.engine.transaction() as tx:
            writer = Writer(tx, actor, "", now)
            ids = [chain[-1].id for chain in chains]
            live, spent = tx.live(ids), tx.spent(ids)
            for chain in chains:
                placed.extend(writer.adopt(chain, live, spent))
            writer.finish()
            fresh = [p.cube for p in placed if p.outcome == "created"]
            made = embed(fresh) if embed is not None and fresh else None
            if made is not None:
                tx.put_vectors(made[0], _vector_rows(fresh, made[1]))
        return placed

    def history(self, id: str, view: View) -> list[Version]:
        """Return every version of a cube, oldest first.

        Raises:
            NotFound: There is no such cube for this caller.
        """
        current = self.engine.get(id, view)
        if current is None:
            raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
        cubes = {cube.version: cube for cube in [*self.engine.versions(id), current]}
        return [Version(cubes.get(e.version), e.op, e.time, e.actor) for e in self.engine.events_of(id)]

    def journal(self, after: int = 0, *, batch: int = 2048) -> Iterator[Event]:
        """Yield the entries of the journal after a number, in order."""
        while events := self.engine.journal(after, batch):
            yield from events
            after = events[-1].seq

    def check(self) -> list[str]:
        """Return every problem found: engine, hash chain, seals, blobs; an empty list when all is sound."""
        found = self.engine.problems()
        latest: dict[int, Event] = {}
        try:
            found.extend(self._chain(latest))
        except Damaged as error:
            return [*found, error.message]
        wrong = self._seals(latest)
        if wrong:  # what others wrote in the meantime is no problem
            last = max(e.seq for e in latest.values())
            for row in {e.row for e in self.journal(last)}:
                wrong.pop(row, None)
        return found + [problem for row in sorted(wrong) for problem in wrong[row]]

    def _chain(self, latest: dict[int, Event]) -> Iterator[str]:
        """Walk along the journal, keep the last entry of each row, and yield where the chain breaks."""
        chain = Head().chain
        expected = 1
        for e in self.journal():
            latest[e.row] = e
            if e.seq != expected:
                yield f"the journal misses the entries {expected} to {e.seq - 1}"
            chain = chain_of(
                chain,
                seq=e.seq,
                time=e.time,
                op=e.op,
                actor=e.actor,
                space=e.space,
                cube=e.cube,
                row=e.row,
                version=e.version,
                hash=e.hash,
                detail=e.detail,
            )
            if chain != e.chain:
                yield f"entry {e.seq} of the journal does not follow from the one before it"
                chain = e.chain
            expected = e.seq + 1

    def _seals(self, latest: dict[int, Event]) -> dict[int, list[str]]:
        """Return what is wrong with each living row: the cube, its earlier versions, its blobs."""
        found: dict[int, list[str]] = {}
        rows = [row for row, e in latest.items() if e.version]
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            cubes = self._readable(part, found)
            for row in part:
                if row not in found and (problems := list(self._wrong(latest[row], cubes.get(row)))):
                    found[row] = problems
        return found

    def _readable(self, rows: Sequence[int], found: dict[int, list[str]]) -> dict[int, Cube]:
        """Return the cubes of rows, and note those that cannot be read."""
        try:
            return self.engine.by_rows(rows)
        except Damaged as error:
            if len(rows) == 1:
                found[rows[0]] = [error.message]
                return {}
        half = len(rows) // 2
        return self._readable(rows[:half], found) | self._readable(rows[half:], found)

    def _wrong(self, last: Event, cube: Cube | None) -> Iterator[str]:
        if cube is None:
            yield f"the journal names a cube of row {last.row} that is not there"
        elif (cube.id, cube.version, cube.hash) != (last.cube, last.version, last.hash):
            yield f"cube {cube.id} is not the version that the journal names"
        elif seal_hash(cube.payload, cube.header, cube.parent) != cube.hash:
            yield f"cube {cube.id} was changed behind pinyon's back: its seal does not match"
        else:
            yield from self._earlier(cube)
            for blob in [] if isinstance(cube.payload, Text) else cube.payload.blobs:
                try:
                    self.engine.blobs.get(blob)
                except (Damaged, NotFound) as error:
                    yield f"cube {cube.id} lacks its {blob.role}: {error.message}"

    def _earlier(self, cube: Cube) -> Iterator[str]:
        """Yield what is wrong with the versions before this one."""
        if cube.version == 1:
            return
        try:
            versions = {old.version: old for old in self.engine.versions(cube.id)}
        except Damaged as error:
            yield error.message
            return
        for e in self.engine.events_of(cube.id):
            old = cube if e.version == cube.version else versions.get(e.version)
            if old is None:
                yield f"version {e.version} of cube {cube.id} is not there"
            elif old.hash != e.hash or seal_hash(old.payload, old.header, old.parent) != old.hash:
                yield f"version {e.version} of cube {cube.id} was changed behind pinyon's back: its seal does not match"


def _vector_rows(cubes: Sequence[Cube], data: NDArray[np.float16]) -> VectorRows:
    return VectorRows(
        np.array([cube.row for cube in cubes], dtype=np.int64),
        np.array([cube.version for cube in cubes], dtype=np.int64),
        data,
    )
