"""A whole store from one engine into another, whichever the two are: the same journal, cubes, versions, and the rest.

The journal leads. Its entries are written into the target as they are, a batch a transaction, and with each batch the
cubes that it names, as they are now with all versions they had. So the target's own last entry says how far it has
come: a migration that was killed goes on from there, and one that runs while the source is written catches up.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from ..core.cube import Cube
from ..core.events import Event
from ..core.payload import Delta, State
from ..core.scope import Scope
from ..errors import BadInput, Conflict, Damaged
from .base import Engine, SourceMark, Transaction, VectorRows
from .side import AuditEntry, Job
from .store import Store

__all__ = ["Migrated", "ReadSource", "Rest", "migrate"]

_BATCH = 500  # entries a transaction
_ROWS = 2_000  # rows a comparison of vectors


@dataclass(frozen=True, slots=True)
class Migrated:
    """What lies in the target, and was compared with the source.

    Args:
        entries: Of the journal.
        cubes: That are there.
        versions: Earlier ones of these.
        vectors: Of all embedders.
        audit: Lines of the audit.
        jobs: In any state.
        chain: Chain value of the journal's last entry, the same in both.
    """

    entries: int
    cubes: int
    versions: int
    vectors: int
    audit: int
    jobs: int
    chain: str


@dataclass(frozen=True, slots=True)
class ReadSource:
    """The mark of a source, with the place it was read into."""

    space: str
    owner: Scope
    mark: SourceMark


class Rest(Protocol):
    """What a migration needs of an engine beyond `Engine`: what cannot be listed there, and what it writes as it is."""

    def settings(self) -> dict[str, str]:
        """Return all notes of the store about itself, but those that are this store's alone."""
        ...

    def sources(self) -> list[ReadSource]:
        """Return the marks of all sources."""
        ...

    def tenants(self) -> list[str | None]:
        """Return whom the audit knows."""
        ...

    def mark_forgotten(self, tx: Transaction, rows: Mapping[str, int]) -> None:
        """Note inside a transaction that ids were forgotten, with the rows they had."""
        ...

    def put_jobs(self, jobs: Sequence[Job]) -> None:
        """Write jobs with their numbers."""
        ...


def migrate(source: Engine, target: Engine, *, progress: Callable[[int, int], None] | None = None) -> Migrated:
    """Copy a store into an empty one, or go on with a copy that was cut off, and verify it.

    Nothing of the source is changed. What is written into it meanwhile is copied too; to be sure that nothing comes
    after the end, let nobody write.

    Args:
        source: What is copied.
        target: Empty, or the beginning of the source.
        progress: Called after each batch with the number of entries that are there and that there are.

    Returns:
        What was compared at the end.

    Raises:
        BadInput: Source and target are one.
        Conflict: The target holds something else.
        Damaged: The copy is not what the source is.
    """
    if source.identity == target.identity:
        raise BadInput(f"{source.location} cannot be migrated into itself")
    _check_beginning(source, target)
    while (done := target.head().seq) < (total := source.head().seq):
        _entries(source, target, done)
        if progress is not None:
            progress(min(done + _BATCH, total), total)
    _vectors(source, target)
    _beside(source, target)
    return _verified(source, target)


def _check_beginning(source: Engine, target: Engine) -> None:
    head = target.head()
    if head.seq == 0:
        return
    there = source.journal(head.seq - 1, 1)
    if not there or there[0].chain != head.chain:
        raise Conflict(
            f"{target.location} holds memories that are not those of {source.location}",
            hint="migrate into an empty store; `pinyon import` adds to one that is not",
        )


def _entries(source: Engine, target: Engine, after: int) -> None:
    """Write a batch of entries and everything they name."""
    events = source.journal(after, _BATCH)
    rows = sorted({event.row for event in events if event.row})
    chains = _chains(source, rows)
    for cube in (cube for chain in chains.values() for cube in chain):
        _copy_blobs(source, target, cube)
    with target.transaction() as tx:
        _write(tx, chains)
        _forget(tx, target, events)
        tx.append(events)
        for fingerprint in source.fingerprints():
            found = source.vectors(fingerprint, rows)
            if len(found.rows):
                tx.put_vectors(fingerprint, found)


def _chains(source: Engine, rows: Sequence[int]) -> dict[int, list[Cube]]:
    """Return all versions of each cube that is there, oldest first.

    A cube that is changed between the two reads has only more versions in the second; one that is forgotten lacks some,
    and an entry that is still to come says so.
    """
    now = source.by_rows(rows)
    chains: dict[int, list[Cube]] = {row: [] for row in sorted(now)}
    for cube in source.past(sorted(now)):
        if cube.version < now[cube.row].version:
            chains[cube.row].append(cube)
    for row, cube in now.items():
        chains[row].append(cube)
    return {row: chain for row, chain in chains.items() if len(chain) == chain[-1].version}


def _write(tx: Transaction, chains: Mapping[int, Sequence[Cube]]) -> None:
    live = tx.live([chain[-1].id for chain in chains.values()])
    tx.insert([chain[0] for chain in chains.values() if chain[-1].id not in live])
    for chain in chains.values():
        have = live[chain[-1].id].version if chain[-1].id in live else 1
        for cube in chain:
            if cube.version > have:
                tx.replace([cube])


def _forget(tx: Transaction, target: Engine, events: Sequence[Event]) -> None:
    gone = {event.cube: event.row for event in events if event.row and not event.version}
    if not gone:
        return
    live = tx.live(list(gone))
    tx.erase(list(live.values()))
    rest_of(target).mark_forgotten(tx, {id: row for id, row in gone.items() if id not in live})


def _copy_blobs(source: Engine, target: Engine, cube: Cube) -> None:
    if isinstance(cube.payload, (State, Delta)):
        for blob in cube.payload.blobs:
            target.blobs.put(source.blobs.get(blob), role=blob.role)


def _vectors(source: Engine, target: Engine) -> None:
    """Copy the vectors that were made after their cubes were copied, and drop those that the source dropped."""
    theirs = source.fingerprints()
    for fingerprint in target.fingerprints():
        if fingerprint not in theirs:
            target.drop_vectors(fingerprint)
    last = source.head().seq
    for fingerprint in theirs:
        for start in range(1, last + 1, _ROWS):
            rows = range(start, min(start + _ROWS, last + 1))
            given, have = source.vectors(fingerprint, rows), target.vectors(fingerprint, rows)
            late = ~np.isin(_pairs(given), _pairs(have))
            if late.any():
                with target.transaction() as tx:
                    tx.put_vectors(fingerprint, VectorRows(given.rows[late], given.versions[late], given.data[late]))


def _pairs(vectors: VectorRows) -> np.ndarray[tuple[int], np.dtype[np.complex128]]:
    """Return row and version of each vector as one number."""
    return vectors.rows.astype(np.complex128) + 1j * vectors.versions


def _beside(source: Engine, target: Engine) -> None:
    """Copy what is not memory: settings, marks of sources, usage, audit, jobs."""
    theirs, ours = rest_of(source), rest_of(target)
    with target.transaction() as tx:
        for key, value in theirs.settings().items():
            tx.set_setting(key, value)
        for read in theirs.sources():
            tx.mark_source(read.space, read.owner, read.mark)
    after = 0
    while page := source.usage.every(after, _ROWS):
        after = page[-1][0]
        given = dict(page)
        target.usage.change(list(given), lambda _, given=given: given)  # type: ignore[misc]  # bound at once
    have = sum(1 for _ in _audit(target))
    lines = (entry.line for entry in islice(_audit(source), have, None))
    while part := list(islice(lines, _BATCH)):
        target.audit.append(part)
    after = 0
    while jobs := source.jobs.find(limit=_BATCH, after=after):
        after = jobs[-1].id
        ours.put_jobs(jobs)


def _audit(engine: Engine) -> Iterator[AuditEntry]:
    """Yield all entries of the audit in their order."""

    def of(tenant: str | None) -> Iterator[AuditEntry]:
        after = 0
        while page := engine.audit.read(after, _BATCH, tenant=tenant):
            yield from page
            after = page[-1].seq

    return heapq.merge(*(of(tenant) for tenant in rest_of(engine).tenants()), key=lambda entry: entry.seq)


def _verified(source: Engine, target: Engine) -> Migrated:
    """Compare both, and hash everything of the target again.

    Raises:
        Damaged: They differ.
    """
    one, two = _figures(source), _figures(target)
    wrong = [name for name, value in one.items() if two[name] != value]
    if wrong:
        raise Damaged(
            f"{target.location} differs from {source.location} in {', '.join(wrong)}",
            hint="was somebody writing? migrate once more, it goes on from here",
        )
    problems = Store(target).check()
    if problems:
        raise Damaged(f"the copy in {target.location} is not sound: {problems[0]}", hint="migrate into an empty store")
    cubes, versions = (int(part) for part in one["cubes"].split("/"))
    return Migrated(
        source.head().seq,
        cubes,
        versions,
        sum(source.fingerprints().values()),
        sum(1 for _ in _audit(target)),
        sum(target.jobs.counts().values()),
        one["journal"],
    )


def _figures(engine: Engine) -> dict[str, str]:
    """Return what must be equal in both, each as a text."""
    head = engine.head()
    cubes = versions = 0
    for start in range(1, head.seq + 1, _ROWS):
        found = engine.by_rows(range(start, min(start + _ROWS, head.seq + 1)))
        cubes += len(found)
        versions += sum(cube.version - 1 for cube in found.values())
    rest = rest_of(engine)
    last = None
    for entry in _audit(engine):
        last = entry
    usage, after = 0, 0
    while page := engine.usage.every(after, _ROWS):
        usage, after = usage + len(page), page[-1][0]
    return {
        "journal": head.chain,
        "cubes": f"{cubes}/{versions}",
        "vectors": str(sorted(engine.fingerprints().items())),
        "settings": str(sorted(rest.settings().items())),
        "sources": str(sorted(map(repr, rest.sources()))),
        "usage": str(usage),
        "audit": "" if last is None else f"{last.seq} {last.chain}",
        "jobs": str(engine.jobs.counts()),
    }


def rest_of(engine: Engine) -> Rest:
    """Return what a migration needs of an engine beyond its contract.

    Raises:
        BadInput: It is none of the engines of this package.
    """
    from ._memory_restore import MemoryRest
    from ._pg_restore import PostgresRest
    from ._sqlite_restore import SqliteRest
    from .held import Held
    from .inmemory import MemoryEngine
    from .postgres import PostgresEngine
    from .sqlite import SqliteEngine

    match engine:
        case MemoryEngine():
            return MemoryRest(engine)
        case SqliteEngine():
            return SqliteRest(engine)
        case PostgresEngine():
            return PostgresRest(engine)
        case Held():
            return rest_of(engine.beneath)
    raise BadInput(f"{type(engine).__name__} cannot be migrated")
