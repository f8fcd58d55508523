"""The contract of a place where cubes rest, and the verbs on it that every such place shares.

An *engine* (SQLite, memory) carries rows in transactions and knows nothing of rules. `Store` holds the rules once for
all engines: sealing, versions, the hash chain of the journal, and what counts as the same thing written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.clock import from_micros, micros
from ..core.cube import Cube, Draft, Version, seal_hash, seal_id
from ..core.events import Changes, Event, EventOp, Head, chain_of
from ..core.header import Header, Provenance
from ..core.payload import Blob, Delta, Json, Payload, State, Text
from ..core.scope import Scope
from ..core.where import View
from ..errors import Damaged, NotFound
from .blobs import Blobs

__all__ = ["Engine", "Outcome", "Place", "Placed", "SourceMark", "Store", "Transaction", "VectorRows"]

Outcome = Literal["created", "updated", "unchanged"]
_CHANGED_OPS: dict[Outcome, EventOp] = {"created": "create", "updated": "update"}


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of one draft."""

    cube: Cube
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class SourceMark:
    """That a source was read, so that reading the same bytes again costs nothing.

    Args:
        key: Name of the source within its space and owner.
        digest: SHA-256 of its bytes.
        cubes: Number of cubes it gave.
    """

    key: str
    digest: str
    cubes: int


@dataclass(frozen=True, slots=True)
class Place:
    """A thread in the order of which cubes stand: its space, the walls of its owner, its name."""

    space: str
    tenant: str | None
    user: str | None
    agent: str | None
    thread: str

    @classmethod
    def of(cls, space: str, owner: Scope, thread: str) -> Place:
        """Return the place of a thread written by an owner."""
        return cls(space, owner.tenant, owner.user, owner.agent, thread)


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Vectors of one embedder.

    Args:
        rows: Rows of the cubes, int64, ascending, (N,).
        versions: Versions of the cubes they were made from, int64, (N,).
        data: Half-precision unit rows, (N, E).
    """

    rows: NDArray[np.int64]
    versions: NDArray[np.int64]
    data: NDArray[np.float16]


class Transaction(Protocol):
    """Exclusive write access to an engine; leaving it by an exception undoes everything."""

    def head(self) -> Head: ...
    def live(self, ids: Sequence[str]) -> dict[str, Cube]: ...
    def spent(self, ids: Sequence[str]) -> set[str]: ...
    def ends(self, places: Sequence[Place]) -> dict[Place, int]: ...
    def standing(self, place: Place) -> list[Cube]: ...
    def insert(self, cubes: Sequence[Cube]) -> None: ...
    def replace(self, cubes: Sequence[Cube]) -> None: ...
    def erase(self, cubes: Sequence[Cube]) -> None: ...
    def append(self, events: Sequence[Event]) -> None: ...
    def mark_source(self, space: str, owner: Scope, mark: SourceMark) -> None: ...
    def put_vectors(self, fingerprint: str, vectors: VectorRows) -> None: ...


class Engine(Protocol):
    """Rows in transactions; `SqliteEngine` and `MemoryEngine` are the two of them.

    Attributes:
        identity: Names this store for good, so that derived files know whose they are.
        location: Path or name shown to people.
        is_read_only: Whether every write raises `StoreError`.
        blobs: Bytes named by their SHA-256.
    """

    @property
    def identity(self) -> str: ...
    @property
    def location(self) -> str: ...
    @property
    def is_read_only(self) -> bool: ...
    @property
    def blobs(self) -> Blobs: ...

    def transaction(self) -> AbstractContextManager[Transaction]: ...
    def head(self) -> Head: ...
    def get(self, id: str, view: View) -> Cube | None: ...
    def matching(self, prefix: str, view: View, limit: int) -> list[Cube]: ...
    def find(self, view: View, *, newest_first: bool, limit: int, after: tuple[int, int] | None) -> list[Cube]: ...
    def rows(self, view: View) -> NDArray[np.int64]: ...
    def count(self, view: View) -> int: ...
    def by_rows(self, rows: Sequence[int]) -> dict[int, Cube]: ...
    def journal(self, after: int, limit: int) -> list[Event]: ...
    def changes(self, after: int, limit: int) -> Changes: ...
    def versions(self, id: str) -> list[Cube]: ...
    def events_of(self, id: str) -> list[Event]: ...
    def spaces(self, scope: Scope) -> list[str]: ...
    def source(self, space: str, owner: Scope, key: str) -> SourceMark | None: ...
    def source_of(self, space: str, owner: Scope, digest: str) -> SourceMark | None: ...
    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorRows: ...
    def missing_vectors(self, fingerprint: str, limit: int) -> list[Cube]: ...
    def fingerprints(self) -> dict[str, int]: ...
    def containing(self, text: str, view: View, limit: int) -> list[Cube]: ...
    def setting(self, key: str) -> str | None: ...
    def set_setting(self, key: str, value: str) -> None: ...
    def drop_vectors(self, fingerprint: str) -> None: ...
    def problems(self) -> list[str]: ...
    def bytes(self) -> int: ...
    def names_blob(self, sha256: str) -> bool: ...
    def settle(self) -> None: ...
    def close(self) -> None: ...


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
            writer = _Writer(tx, owner, space, now)
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
            if _is_same(old, wanted.payload, wanted.header):
                return old
            writer = _Writer(tx, actor, old.space, now)
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
                writer = _Writer(tx, actor, view.spaces[0], now)
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
            writer = _Writer(tx, actor, "", now)
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


def _is_same(old: Cube, payload: Payload, header: Header) -> bool:
    """Return whether a version would say the same; the seal tells true from 1, which compare equal."""
    return payload == old.payload and header == old.header and seal_hash(payload, header, old.parent) == old.hash


def _positioned(header: Header, position: int) -> Header:
    """Return a header with its place in its thread; written out because `replace` takes five times as long."""
    p = header.provenance
    place = Provenance(
        p.origin, p.unit, p.source, p.title, p.thread, position, p.section, p.span, p.page, p.speaker, p.role
    )
    return Header(place, header.rights, header.life, header.lineage, header.tags, header.metadata)


class _Writer:
    """Seals drafts and writes the journal inside one transaction."""

    def __init__(self, tx: Transaction, actor: Scope, space: str, now: datetime) -> None:
        self.tx = tx
        self.actor = actor
        self.space = space
        head = tx.head()
        self.now = max(now, from_micros(head.time))
        self.now = from_micros(micros(self.now))
        self.seq = head.seq
        self.chain = head.chain
        self.events: list[Event] = []
        self.created: dict[str, Cube] = {}
        self.revised: dict[str, Cube] = {}
        self.known: dict[str, Cube] = {}  # as the database holds them now
        self.owners: dict[str | None, Scope] = {}  # by session

    def put(self, drafts: Sequence[Draft]) -> list[Placed]:
        ids = [seal_id(draft, self.actor, self.space) for draft in drafts]
        self.known = self.tx.live(ids)
        spent = self.tx.spent([id for id in ids if id not in self.known])
        ends = self._ends(drafts)
        return [self._place(draft, id, spent, ends) for draft, id in zip(drafts, ids, strict=True)]

    def _ends(self, drafts: Sequence[Draft]) -> dict[Place, int]:
        places = {
            Place.of(self.space, self.actor, p.thread)
            for p in (draft.header.provenance for draft in drafts)
            if p.thread is not None and p.position is None
        }
        return self.tx.ends(sorted(places, key=lambda p: p.thread)) if places else {}

    def _place(self, draft: Draft, id: str, spent: set[str], ends: dict[Place, int]) -> Placed:
        nonce = 0
        while True:
            old = self.created.get(id) or self.revised.get(id) or self.known.get(id)
            if old is None and id not in spent:
                cube = self._create(id, draft, ends)
                return Placed(cube, "created")
            if old is not None and old.payload == draft.payload:
                return self._again(old, draft)
            nonce += 1
            id = seal_id(draft, self.actor, self.space, nonce=nonce)
            if id not in self.known and id not in self.created:
                self.known.update(self.tx.live([id]))
                spent |= self.tx.spent([id])

    def _create(self, id: str, draft: Draft, ends: dict[Place, int]) -> Cube:
        header = draft.header
        p = header.provenance
        if p.thread is not None and p.position is None:
            place = Place.of(self.space, self.actor, p.thread)
            ends[place] = ends.get(place, -1) + 1
            header = _positioned(header, ends[place])
        seal = seal_hash(draft.payload, header, "")
        row = self.seq + 1
        owner = self._owner(draft.session)
        cube = Cube(id, row, 1, self.space, owner, draft.payload, header, self.now, self.now, seal)
        self.created[id] = cube
        self.note("create", cube, version=1, seal=seal)
        return cube

    def _owner(self, session: str | None) -> Scope:
        owner = self.owners.get(session)
        if owner is None:
            owner = self.owners[session] = self.actor if session is None else replace(self.actor, session=session)
        return owner

    def _again(self, old: Cube, draft: Draft) -> Placed:
        header = draft.header
        mine, theirs = header.provenance, old.header.provenance
        if mine.position is None and theirs.position is not None:
            header = replace(header, provenance=replace(mine, position=theirs.position))
        if header.life.state == "generated" and old.header.life.state in ("activated", "merged", "frozen"):
            header = replace(header, life=replace(header.life, state=old.header.life.state))
        if _is_same(old, draft.payload, header):
            return Placed(old, "unchanged")
        op: EventOp = "restore" if old.header.life.state in ("archived", "expired") else "update"
        return Placed(self.revise(old, draft.payload, header, op), "updated")

    def adopt(self, chain: Sequence[Cube], live: dict[str, Cube], spent: set[str]) -> list[Placed]:
        id = chain[-1].id
        if id in spent:
            return []
        if id in live:
            return [Placed(live[id], "unchanged")]
        row = self.seq + 1
        for number, cube in enumerate(chain):
            cube = replace(cube, row=row)
            if number == 0:
                o = cube.owner
                said: dict[str, Json] = {"created": micros(cube.created), "owner": [o.tenant, o.user, o.agent]}
                self.note("create", cube, version=cube.version, seal=cube.hash, detail=said)
                self.tx.insert([cube])
            else:
                self.note("update", cube, version=cube.version, seal=cube.hash)
                self.tx.replace([cube])
        live[id] = replace(chain[-1], row=row)
        return [Placed(live[id], "created")]

    def retire(self, thread: str, keep: set[str]) -> list[Cube]:
        retired: list[Cube] = []
        for cube in self.tx.standing(Place.of(self.space, self.actor, thread)):
            if cube.id not in keep and cube.header.life.state in ("generated", "activated", "merged"):
                life = replace(cube.header.life, state="archived")
                retired.append(self.revise(cube, cube.payload, replace(cube.header, life=life), "archive"))
        return retired

    def revise(self, old: Cube, payload: Payload, header: Header, op: EventOp) -> Cube:
        cube = replace(
            old, version=old.version + 1, payload=payload, header=header, updated=self.now, parent=old.hash, hash=""
        )
        cube = replace(cube, hash=seal_hash(cube.payload, cube.header, cube.parent))
        if old.id in self.created or old.id in self.revised:
            self._flush()
        self.revised[old.id] = cube
        self.note(op, cube, version=cube.version, seal=cube.hash)
        return cube

    def note(self, op: EventOp, cube: Cube, *, version: int, seal: str, detail: dict[str, Json] | None = None) -> None:
        self.seq += 1
        said = detail or {}
        self.chain = chain_of(
            self.chain,
            seq=self.seq,
            time=self.now,
            op=op,
            actor=self.actor,
            space=cube.space,
            cube=cube.id,
            row=cube.row,
            version=version,
            hash=seal,
            detail=said,
        )
        self.events.append(
            Event(self.seq, self.now, op, self.actor, cube.space, cube.id, cube.row, version, seal, said, self.chain)
        )

    def _flush(self) -> None:
        if self.created:
            self.tx.insert(list(self.created.values()))
        if self.revised:
            self.tx.replace(list(self.revised.values()))
        self.known |= self.created | self.revised
        self.created, self.revised = {}, {}

    def finish(self) -> None:
        self._flush()
        if self.events:
            self.tx.append(self.events)
            self.events = []
