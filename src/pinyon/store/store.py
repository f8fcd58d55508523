"""The verbs of a store, the same over every engine: what sealing, versions and the journal ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ..core.access import Access, Action
from ..core.cube import Cube, Draft, Version
from ..core.events import Event, EventOp
from ..core.header import Header
from ..core.joining import is_made_of
from ..core.payload import Blob, Delta, Json, State
from ..core.scope import Scope
from ..core.where import View
from ..errors import Conflict, Denied, NotFound
from ._check import RULES_END, Check, ruled
from ._writer import Writer, is_same
from .base import Engine, Placed, SourceMark, Transaction, VectorRows

__all__ = ["Change", "Store"]


_BATCH = 500  # cubes a transaction
Change = tuple[str, Callable[[Cube], Cube], EventOp, Mapping[str, Json]]
"""Id, what makes the next version of the present one, what the journal calls it, and what else it says."""


@dataclass(slots=True)
class Store:
    """Where cubes rest, with one transaction a verb.

    Args:
        engine: What carries the rows.
    """

    engine: Engine

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
        access: Access | None = None,
        then: Callable[[Sequence[Placed]], Sequence[Change]] | None = None,
        sources: Sequence[Cube] = (),
    ) -> list[Placed]:
        """Write drafts in one transaction.

        A draft whose cube is there already is left alone, or becomes its next version where its header changed; where
        it says nothing of rights, those of the cube stay. A frozen cube never changes. What is returned has reached
        the disk.

        Args:
            drafts: What to write, in order.
            owner: Who writes.
            space: Container to write into.
            now: Record time; taken as the journal's last time when it lies before it.
            embed: Gives the fingerprint and the rows (N, E) of the changed cubes, to be stored with them, or None
                when a background job is to do it.
            source: Mark that this source was read.
            retire: Archive every other live cube of this thread: the source was read again and no longer says them.
            access: What the writer holds; None asks nothing.
            then: Given what became of the drafts, says what else is changed with them, as for `change`; what is not
                there any more, or may not be changed, is passed over.
            sources: What the drafts were made of, at the versions they were made of.

        Raises:
            Conflict: One of the sources was changed or forgotten meanwhile; nothing is written.
            Denied: The writer may not write into this space, or not change a cube that is there already; nothing is
                written.
        """
        if access is not None:
            _check_space(access, owner, space)
        with self.engine.transaction() as tx:
            _check_sources(tx, sources)
            writer = Writer(tx, owner, space, now, access=access)
            placed = writer.put(drafts)
            changed = [p.cube for p in placed if p.outcome != "unchanged"]
            if retire is not None:
                changed.extend(writer.retire(retire, {p.cube.id for p in placed}))
            if then is not None:
                _follow(tx, writer, then(placed))
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
        op: EventOp = "overwrite",
        action: Action = "write",
        detail: Mapping[str, Json] | None = None,
        expected: int | None = None,
        embed: Callable[[Sequence[Cube]], tuple[str, NDArray[np.float16]] | None] | None = None,
    ) -> Cube:
        """Write the next version of a cube in one transaction: read, change, write, with nobody in between.

        Where its payload changes, everything that was made of it becomes stale in the same transaction.

        Args:
            id: Its id.
            change: Returns the cube with another payload or header; its other fields are ignored.
            view: What the caller may see.
            actor: Who does it.
            now: Record time; taken as the journal's last time when it lies before it.
            op: What the journal calls it.
            action: What the caller must be allowed to do with it.
            detail: What else the journal is to say.
            expected: Version that it must have now; None for any.
            embed: As for `put`.

        Raises:
            NotFound: There is no such cube for this caller.
            Denied: The caller may not do this with it.
            Conflict: It has another version than expected.
        """
        with self.engine.transaction() as tx:
            writer = Writer(tx, actor, view.spaces[0], now)
            old = _admitted(tx, id, view)
            _check_allowed(view, old, action)
            if expected is not None and old.version != expected:
                raise Conflict(
                    f"cube {id!r} has version {old.version}, expected {expected}", hint="read it again and decide anew"
                )
            cube = _revised(writer, old, change, op, detail or {})
            if cube is old:
                return old
            if cube.payload != old.payload:
                writer.spoil([cube])
            writer.finish()
            made = embed([cube]) if embed is not None else None
            if made is not None:
                tx.put_vectors(made[0], _vector_rows([cube], made[1]))
        return cube

    def change(
        self,
        changes: Sequence[Change],
        *,
        view: View,
        actor: Scope,
        now: datetime,
        action: Action = "write",
    ) -> list[Cube]:
        """Update several cubes in one transaction, all of them or none.

        Args:
            changes: Id, what makes the next version of the present one, what the journal calls it and what else it
                says, for each; a cube that is named twice is changed twice.
            view: What the caller may see.
            actor: Who does it.
            now: Record time; taken as the journal's last time when it lies before it.
            action: What the caller must be allowed to do with each.

        Returns:
            The cubes as each change left them, in order.

        Raises:
            NotFound: One of them is not there for this caller.
            Denied: The caller may not do this with one of them.
        """
        out: list[Cube] = []
        with self.engine.transaction() as tx:
            writer = Writer(tx, actor, view.spaces[0], now)
            latest: dict[str, Cube] = {}
            anew: dict[str, Cube] = {}
            for id, change, op, detail in changes:
                old = latest.get(id) or _admitted(tx, id, view)
                _check_allowed(view, old, action)
                cube = latest[id] = _revised(writer, old, change, op, detail)
                if cube.payload != old.payload:
                    anew[id] = cube
                out.append(cube)
            writer.spoil(anew.values())
            writer.finish()
        return out

    def rule(
        self,
        key: str,
        value: str | Callable[[str | None], str],
        *,
        actor: Scope,
        now: datetime,
        detail: Mapping[str, Json],
    ) -> str:
        """Keep a setting that is a rule, and say so in the journal, in one transaction; return the setting.

        Args:
            key: Name of the setting.
            value: What it is from now on, or what gives it from what it was; the journal keeps its SHA-256.
            actor: Who rules.
            now: Record time; taken as the journal's last time when it lies before it.
            detail: What else the journal is to say.
        """
        with self.engine.transaction() as tx:
            text = value if isinstance(value, str) else value(tx.setting(key))
            writer = Writer(tx, actor, "", now)
            tx.set_setting(key, text)
            said = writer.announce({**detail, **ruled(key, text)})
            writer.finish()
            tx.set_setting(RULES_END, f"{said.seq} {said.chain}")
        return text

    def remove(
        self,
        ids: Iterable[str],
        *,
        view: View,
        actor: Scope,
        now: datetime,
        detail: Mapping[str, Json] | None = None,
    ) -> list[Cube]:
        """Forget cubes in one transaction: payload, versions, vectors and usage go, the journal keeps ids and seals.

        Args:
            ids: Which.
            view: What the caller may see.
            actor: Who does it.
            now: Record time; taken as the journal's last time when it lies before it.
            detail: What else the journal is to say of each.

        Returns:
            The cubes that went; ids that the caller cannot see are passed over.

        Raises:
            Denied: The caller may not change one of them, or it is frozen; then none goes.
        """
        wanted = list(dict.fromkeys(ids))
        with self.engine.transaction() as tx:
            found = tx.live(wanted)
            gone = [found[id] for id in wanted if id in found and view.admits(found[id])]
            for cube in gone:
                _check_allowed(view, cube, "write")
            blobs = self._blobs(gone)
            if gone:
                writer = Writer(tx, actor, view.spaces[0], now)
                for cube in gone:
                    writer.note("forget", cube, version=0, seal="", detail=detail)
                writer.outlived(gone)
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

    def bind(self, *, actor: Scope, now: datetime) -> int:
        """Give whatever was made of other cubes the bounds that follow from these, and return how many lacked some.

        For stores in which an earlier version of pinyon wrote; what is written now has them.

        Args:
            actor: Who does it.
            now: Record time; taken as the journal's last time when it lies before it.
        """
        done, rows = 0, sorted({row for event in self.journal() if (row := event.row)})
        for start in range(0, len(rows), _BATCH):
            found = self.engine.by_rows(rows[start : start + _BATCH])
            made = [cube.id for _, cube in sorted(found.items()) if cube.header.lineage.parents]
            if not made:
                continue
            with self.engine.transaction() as tx:
                writer = Writer(tx, actor, "", now)
                live = tx.live(made)
                done += len(writer.bind(live[id] for id in made if id in live))
                writer.finish()
        return done

    def history(self, id: str, view: View) -> list[Version]:
        """Return everything that was done to a cube, oldest first; at a time, until then.

        Raises:
            NotFound: There is no such cube for this caller.
        """
        current = self.engine.get(id, view)
        if current is None:
            raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
        cubes = {cube.version: cube for cube in [*self.engine.versions(id), current]}
        events = [e for e in self.engine.events_of(id) if view.at is None or e.seq <= view.at]
        return [Version(cubes.get(e.version), e.op, e.time, e.actor) for e in events]

    def sources(self, cube: Cube) -> list[Cube]:
        """Return what a cube was made of, as far as it is there, whoever owns it: for bounds, never for callers."""
        ids = [p.id for p in cube.header.lineage.parents if is_made_of(cube, [p.id])]
        rows = [events[0].row for id in dict.fromkeys(ids) if (events := self.engine.events_of(id))]
        return list(self.engine.by_rows(rows).values())

    def journal(self, after: int = 0, *, batch: int = 2048) -> Iterator[Event]:
        """Yield the entries of the journal after a number, in order."""
        while events := self.engine.journal(after, batch):
            yield from events
            after = events[-1].seq

    def check(self) -> list[str]:
        """Return every problem found: engine, hash chain, seals, blobs, rules; an empty list when all is sound."""
        return Check(self.engine).problems()


def _follow(tx: Transaction, writer: Writer, changes: Sequence[Change]) -> None:
    """Change cubes beside those that were put, as far as they are there and the writer may change them."""
    live = tx.live([id for id, *_ in changes])
    for id, change, op, detail in changes:
        old = writer.created.get(id) or writer.revised.get(id) or live.get(id)
        if old is not None and writer.may("write", old):
            _revised(writer, old, change, op, detail)


def _check_sources(tx: Transaction, sources: Sequence[Cube]) -> None:
    """Refuse to write what was made of something that is not so any more."""
    live = tx.live([cube.id for cube in sources]) if sources else {}
    for cube in sources:
        if cube.id not in live or live[cube.id].version != cube.version:
            raise Conflict(f"cube {cube.id!r} was changed or forgotten meanwhile", hint="do it again")


def _check_space(access: Access, owner: Scope, space: str) -> None:
    """Refuse what may not be written into a space at all."""
    may = access.reading(space, "write")
    is_shared = owner.user is None and owner.agent is None
    if may.is_barred:
        rule = _barring(access, space)
    elif may.is_ruled and not may.shared:
        rule = "space"
    elif not may.shared and is_shared:
        rule = "default"
    else:
        return
    raise Denied(f"nothing may be added to the space {space!r}: the rule {rule!r} forbids it", rule=rule)


def _barring(access: Access, space: str) -> str:
    """Return the rule that closes a space to a caller altogether."""
    said = access.policy.space(space)
    if said is None or access.is_named(said.rights.deny):
        return "deny"
    return access.failing(said.rights)


def _admitted(tx: Transaction, id: str, view: View) -> Cube:
    """Return a cube as it is now.

    Raises:
        NotFound: There is no such cube for this caller.
    """
    found = tx.live([id]).get(id)
    if found is None or not view.admits(found):
        raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
    return found


def _check_allowed(view: View, cube: Cube, action: Action) -> None:
    said = view.allows(cube, action)
    if not said.allowed:
        verb = {"read": "read", "write": "changed", "share": "shared", "freeze": "frozen or thawed"}[action]
        raise Denied(f"cube {cube.id!r} may not be {verb}: the rule {said.rule!r} forbids it", rule=said.rule)


def _revised(
    writer: Writer, old: Cube, change: Callable[[Cube], Cube], op: EventOp, detail: Mapping[str, Json]
) -> Cube:
    """Return the next version of a cube, or the cube itself when nothing would change."""
    wanted = change(old)
    header = wanted.header
    if wanted.payload != old.payload and old.header.life.stale and header.life.stale:
        header = _fresh(header)
    _check_frozen(old, wanted)
    header = writer.bounded(old, header)
    if is_same(old, wanted.payload, header):
        return old
    return writer.revise(old, wanted.payload, header, op, detail)


def _check_frozen(old: Cube, wanted: Cube) -> None:
    """Refuse to change anything of a frozen cube but whether it is frozen, and its rights."""
    life = old.header.life
    if life.state != "frozen":
        return
    moved = replace(wanted.header.life, state=life.state, thaws_to=life.thaws_to)
    if wanted.payload != old.payload or replace(wanted.header, rights=old.header.rights, life=moved) != old.header:
        raise Denied(f"cube {old.id!r} is frozen and stays as it is", hint="thaw it first", rule="frozen")


def _fresh(header: Header) -> Header:
    return replace(header, life=replace(header.life, stale=False))


def _vector_rows(cubes: Sequence[Cube], data: NDArray[np.float16]) -> VectorRows:
    return VectorRows(
        np.array([cube.row for cube in cubes], dtype=np.int64),
        np.array([cube.version for cube in cubes], dtype=np.int64),
        data,
    )
