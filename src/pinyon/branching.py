"""What-if spaces: a copy of a space as it was at an instant, that changes nothing until it is merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from .core.clock import micros
from .core.cube import Cube, Draft, seal_hash, seal_id
from .core.header import Header, Lineage, Origin, Parent
from .core.payload import Json, Kind, Payload, State
from .core.scope import Scope, check_name
from .core.where import EVERY_STATE, View, Where
from .errors import BadInput, Conflict, Denied
from .store import Store, may_add

__all__ = ["Branched", "MergeConflict", "MergePolicy", "Merged", "branch", "merge_branch"]

MergePolicy = Literal["newer", "ours", "theirs"]
"""Of two versions the later one, that of the space merged into, or that of the branch."""

_BATCH = 500  # cubes a transaction


@dataclass(frozen=True, slots=True)
class Branched:
    """A what-if space.

    Args:
        space: Its name.
        at: Number of the journal's entry after which its cubes were taken.
        cubes: How many it holds.
        left_out: How many of what the caller sees it could not take, because the caller may not write as their owner.
    """

    space: str
    at: int
    cubes: int
    left_out: int


def branch(store: Store, view: View, at_seq: int, into_space: str, *, actor: Scope, now: datetime) -> Branched:
    """Copy what the caller sees of a space, as it was at an instant, into a space of its own.

    Copies have ids of their own and name what they were made of; their rights are those of today. Nothing that is done
    to them reaches the originals but by `merge_branch`, and what is forgotten there is forgotten here. The copy of a
    state of a model is bound to the copies of its texts: it is attached to questions there, and stale when one of them
    changes.

    Args:
        store: The store.
        view: Who asks, and for what; archived cubes come along when its filter names them.
        at_seq: Number of the entry after which the instant lies.
        into_space: The space to make; the caller must see nothing in it.
        actor: Who does it.
        now: Record time.

    Raises:
        BadInput: The name is none, or that of the space itself.
        Conflict: The space holds something already.
        Denied: The caller may not write into it.
    """
    check_name(into_space, "space")
    if into_space in view.spaces:
        raise BadInput(f"a branch of {into_space!r} cannot lie in {into_space!r}", hint="name another space")
    there = View(view.scope, (into_space,), Where(states=EVERY_STATE), view.access)
    if store.engine.count(there):
        raise Conflict(f"the space {into_space!r} holds memories already", hint="name one that does not")
    if not may_add(view.holds, into_space, replace(actor, session=None)):
        raise Denied(f"this caller may not write into the space {into_space!r}")
    work = _Branch(store, replace(view, at=at_seq), at_seq, into_space, actor, now)
    states = work.states()
    for page in _pages(store, work.view):
        work.take([cube for cube in page if not isinstance(cube.payload, State)])
    for start in range(0, len(states), _BATCH):  # after their texts, whose copies they name
        work.take(states[start : start + _BATCH])
    return Branched(into_space, at_seq, work.cubes, work.left_out)


def _pages(store: Store, view: View) -> Iterator[list[Cube]]:
    after: tuple[int, int] | None = None
    while page := store.engine.find(view, newest_first=False, limit=_BATCH, after=after):
        yield page
        after = (micros(page[-1].time), page[-1].row)


@dataclass(slots=True)
class _Branch:
    """One branching under way."""

    store: Store
    view: View
    at: int
    space: str
    actor: Scope
    now: datetime
    cubes: int = 0
    left_out: int = 0
    copies: dict[str, str | None] = field(default_factory=dict)  # ids of texts that states are made of, and of the copy

    def states(self) -> list[Cube]:
        """Return the states that are to be copied, and remember which texts they were made of."""
        where = self.view.where
        if where.kinds and Kind.STATE not in where.kinds:
            return []
        view = replace(self.view, where=replace(where, kinds=(Kind.STATE,)))
        found = [cube for page in _pages(self.store, view) for cube in page]
        self.copies = {id: None for cube in found for id in _texts_of(cube)}
        return found

    def take(self, page: Sequence[Cube]) -> None:
        """Copy what of a page may be copied."""
        today = self.store.engine.by_rows([cube.row for cube in page])
        taken = [cube for cube in page if cube.row in today and self._may_take(cube)]
        self.left_out += len(page) - len(taken)
        copies = [_Copy(cube, today[cube.row].header, self._sources(cube)) for cube in taken]
        written = _write(self.store, copies, self.space, self.at, self.actor, self.now)
        self.cubes += len(written)
        self.copies |= {id: copy for id, copy in written.items() if id in self.copies}

    def _may_take(self, cube: Cube) -> bool:
        return may_add(self.view.holds, self.space, replace(cube.owner, session=None))

    def _sources(self, cube: Cube) -> Mapping[str, Parent]:
        """Return the texts of a state with their copies; nothing where one was not copied."""
        texts = _texts_of(cube) if isinstance(cube.payload, State) else ()
        found = {id: Parent(copy, 1, "converted") for id in texts if (copy := self.copies.get(id)) is not None}
        return found if len(found) == len(texts) else {}


def _texts_of(state: Cube) -> tuple[str, ...]:
    """Return the texts that a state was made of, in the order of their passages."""
    return tuple(parent.id for parent in state.header.lineage.parents if parent.relation == "converted")


@dataclass(frozen=True, slots=True)
class _Copy:
    """A cube to copy.

    Args:
        cube: It, as it was.
        today: Its header of today, whose rights hold.
        sources: Of a state: ids of the texts that it was made of, and what it is made of from now on.
    """

    cube: Cube
    today: Header
    sources: Mapping[str, Parent] = field(default_factory=dict)

    @property
    def payload(self) -> Payload:
        """What it says; a state names the texts that it is made of from now on."""
        payload = self.cube.payload
        spans = payload.details.get("spans") if isinstance(payload, State) else None
        if not isinstance(payload, State) or not isinstance(spans, (list, tuple)) or not self.sources:
            return payload
        return replace(payload, details={**payload.details, "spans": [self._renamed(span) for span in spans]})

    def _renamed(self, span: Json) -> Json:
        """Return where the words of a text stand, under the name that it has from now on."""
        if isinstance(span, (list, tuple)) and len(span) == 4 and span[0] in self.sources:
            text = self.sources[str(span[0])]
            return [text.id, text.version, *span[2:]]
        return span

    def chain(self, space: str, header: Header, key: str, nonce: int) -> list[Cube]:
        """Return the copy as a cube of one version."""
        cube = replace(self.cube, payload=self.payload)
        owner = replace(cube.owner, session=None)
        id = seal_id(Draft(cube.payload, key=key), owner, space, nonce=nonce)
        seal = seal_hash(cube.payload, header, "")
        return [replace(cube, id=id, version=1, space=space, header=header, hash=seal, parent="", updated=cube.updated)]


def _write(store: Store, copies: Sequence[_Copy], space: str, at: int, actor: Scope, now: datetime) -> dict[str, str]:
    """Write copies in one transaction and return their ids; ids that were forgotten there are passed by."""
    waiting = {copy.cube.id: copy for copy in copies}
    written: dict[str, str] = {}
    nonce = 0
    while waiting:
        chains = {
            id: copy.chain(space, _copied(copy), f"branch\x00{at}\x00{id}", nonce) for id, copy in waiting.items()
        }
        placed = store.adopt(list(chains.values()), actor=actor, now=now)
        done = {p.cube.id for p in placed}
        written |= {id: chains[id][0].id for id in waiting if chains[id][0].id in done}
        waiting = {id: copy for id, copy in waiting.items() if id not in written}
        nonce += 1
    return written


def _copied(copy: _Copy) -> Header:
    cube, header = copy.cube, copy.cube.header
    life = header.life
    if life.state == "frozen":
        life = replace(life, state=life.thaws_to or "activated", thaws_to=None)
    return replace(
        header,
        provenance=replace(header.provenance, origin=Origin.CONVERSION),
        rights=copy.today.rights,
        life=replace(life, superseded_by=None),
        lineage=Lineage((Parent(cube.id, cube.version, "copied"), *copy.sources.values())),
    )


# --- back -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """A memory that changed on both sides, or that cannot take what the branch says.

    Args:
        cube: Id of the memory in the space merged into.
        copy: Id of its copy in the branch.
        reason: ``changed`` on both sides, ``gone`` there, or ``closed`` to the caller there.
        kept: Whose version holds now.
    """

    cube: str
    copy: str
    reason: Literal["changed", "gone", "closed"]
    kept: Literal["ours", "theirs"]


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of a merge.

    Args:
        created: Memories that the branch alone held.
        updated: Memories that say now what the branch says.
        unchanged: Copies that say nothing else than their original.
        conflicts: What needed a decision, and how it was decided.
    """

    created: tuple[Cube, ...]
    updated: tuple[Cube, ...]
    unchanged: int
    conflicts: tuple[MergeConflict, ...]


def merge_branch(
    store: Store,
    branch_space: str,
    into: str,
    *,
    view: View,
    actor: Scope,
    now: datetime,
    policy: MergePolicy = "newer",
) -> Merged:
    """Bring what was changed in a what-if space back; each memory is one transaction, and doing it again is no harm.

    Payload, tags, metadata, event time and stage of life come back; rights stay those of the original. What was
    forgotten in either space is left alone.

    Args:
        store: The store.
        branch_space: The what-if space.
        into: The space it was made from.
        view: Who asks.
        actor: Who does it.
        now: Record time.
        policy: What holds where both sides changed.

    Raises:
        BadInput: There is no such policy, or the two spaces are one.
        Denied: The caller may not write into the space.
    """
    if policy not in ("newer", "ours", "theirs"):
        raise BadInput(f"there is no policy {policy!r}", hint="use newer, ours or theirs")
    if branch_space == into:
        raise BadInput(
            f"the space {into!r} cannot be merged into itself", hint="name the branch, and the space it is of"
        )
    here = replace(view, spaces=(into,), where=Where(states=EVERY_STATE), at=None, moment=None)
    there = replace(here, spaces=(branch_space,))
    merge = _Merge(store, here, there, into, actor, now, policy)
    states: list[Cube] = []
    for page in _pages(store, there):
        states += [copy for copy in page if isinstance(copy.payload, State)]
        for copy in page:
            if not isinstance(copy.payload, State):
                merge.take(copy)
    for copy in states:  # after their texts, which they are bound to
        merge.take(copy)
    return Merged(tuple(merge.created), tuple(merge.updated), merge.unchanged, tuple(merge.conflicts))


class _Merge:
    """One merge under way."""

    def __init__(
        self, store: Store, here: View, there: View, into: str, actor: Scope, now: datetime, policy: MergePolicy
    ) -> None:
        self.store, self.here, self.there = store, here, there
        self.into, self.actor, self.now, self.policy = into, actor, now, policy
        self.created: list[Cube] = []
        self.updated: list[Cube] = []
        self.conflicts: list[MergeConflict] = []
        self.unchanged = 0

    def take(self, copy: Cube) -> None:
        """Bring one cube of the branch back."""
        source = next((p for p in copy.header.lineage.parents if p.relation == "copied"), None)
        origin = copy if copy.version == 1 else self.store.engine.versions(copy.id)[0]
        if source is None or origin.header.provenance.origin is not Origin.CONVERSION:
            self._create(copy)
            return
        ours = self.store.engine.get(source.id, self.here)
        told = [] if ours is None else [e for e in self.store.engine.events_of(ours.id) if e.detail.get("copy")]
        last = next((e for e in reversed(told) if e.detail.get("copy") == copy.id), None)
        base = origin if last is None else self._version(copy, last.detail.get("copy_version"))
        if _said(copy) == _said(base):
            self.unchanged += 1
        elif ours is None:
            self.conflicts.append(MergeConflict(source.id, copy.id, "gone", "ours"))
        elif _said(ours) == _said(copy):
            self.unchanged += 1
        else:
            is_untouched = ours.version == (source.version if last is None else last.version)
            self._update(ours, copy, is_untouched=is_untouched)

    def _version(self, copy: Cube, number: object) -> Cube:
        found = [old for old in (*self.store.engine.versions(copy.id), copy) if old.version == number]
        return found[0] if found else copy

    def _update(self, ours: Cube, copy: Cube, *, is_untouched: bool) -> None:
        takes_theirs = is_untouched or self.policy == "theirs"
        if not is_untouched and self.policy == "newer":
            takes_theirs = copy.updated > ours.updated
        try:
            if takes_theirs:
                self.updated.append(self._write(ours, copy))
        except (Denied, Conflict):
            self.conflicts.append(MergeConflict(ours.id, copy.id, "closed", "ours"))
            return
        if not is_untouched:
            kept: Literal["ours", "theirs"] = "theirs" if takes_theirs else "ours"
            self.conflicts.append(MergeConflict(ours.id, copy.id, "changed", kept))

    def _write(self, ours: Cube, copy: Cube) -> Cube:
        return self.store.update(
            ours.id,
            lambda old: replace(old, payload=copy.payload, header=_brought(old.header, copy.header)),
            view=self.here,
            actor=self.actor,
            now=self.now,
            op="merge",
            detail={"branch": copy.space, "copy": copy.id, "copy_version": copy.version},
            expected=ours.version,
        )

    def _create(self, copy: Cube) -> None:
        if copy.header.life.state in ("archived", "expired"):
            self.unchanged += 1
            return
        owner = replace(copy.owner, session=None)
        if not may_add(self.here.holds, self.into, owner):
            raise Denied(f"this caller may not write into the space {self.into!r}")
        sources = self._sources(copy)
        header = replace(
            copy.header,
            provenance=replace(copy.header.provenance, origin=Origin.MERGE),
            lineage=Lineage((Parent(copy.id, copy.version, "copied"), *sources.values())),
        )
        chain = _Copy(copy, copy.header, sources).chain(self.into, header, f"merge\x00{copy.id}", 0)
        for placed in self.store.adopt([chain], actor=self.actor, now=self.now):
            if placed.outcome == "created":
                self.created.append(placed.cube)
            else:
                self.unchanged += 1

    def _sources(self, copy: Cube) -> Mapping[str, Parent]:
        """Return the texts of a state of the branch with those that say the same here; nothing where one does not."""
        texts = _texts_of(copy) if isinstance(copy.payload, State) else ()
        brought = {parent.id: cube.id for cube in self.created for parent in cube.header.lineage.parents}
        found: dict[str, Parent] = {}
        for id in texts:
            theirs = self.store.engine.get(id, self.there)
            parents = () if theirs is None else theirs.header.lineage.parents
            original = brought.get(id) or next((p.id for p in parents if p.relation == "copied"), "")
            ours = self.store.engine.get(original, self.here) if original else None
            if theirs is None or ours is None or ours.payload != theirs.payload:
                return {}
            found[id] = Parent(ours.id, ours.version, "converted")
        return found


def _said(cube: Cube) -> tuple[object, ...]:
    """Return what a merge brings back of a cube."""
    header, life = cube.header, cube.header.life
    stage = life.thaws_to or life.state if life.state == "frozen" else life.state
    return cube.payload, header.tags, header.metadata, life.valid_from, life.valid_to, stage


def _brought(ours: Header, theirs: Header) -> Header:
    life = theirs.life
    kept = replace(ours.life, valid_from=life.valid_from, valid_to=life.valid_to, state=life.state)
    return replace(ours, tags=theirs.tags, metadata=theirs.metadata, life=kept)
