"""Forgetting that follows lineage: the closure of what was made of something, a plan, and a receipt.

Source: MemOS §2 "Lineage and deletion" and §5; the plan and the receipt are ours.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, get_args

from ..core.access import Access
from ..core.cube import Cube
from ..core.events import EventOp
from ..core.payload import Json, Kind
from ..core.scope import Scope
from ..core.where import EVERY_STATE, LIVE_STATES, View, Where
from ..errors import BadInput, Denied, NotFound
from ..store import Engine, Store
from .about import Subject, pages, subject_cubes, whole_view
from .receipts import Erased, Receipt, Retained, blinded, copies_of, sign

__all__ = [
    "Closure",
    "Derived",
    "Follow",
    "ForgetPlan",
    "Holds",
    "carry_out",
    "closure",
    "plan_cubes",
    "plan_forgetting",
]

Derived = Literal["forget", "stale"]
"""What becomes of something made of several cubes of which some stay."""

Follow = Literal["all", "states"]
"""How far lineage is followed: to everything, or to states of models alone, which are copies and no memories."""

Holds = Callable[[Sequence[Cube]], Mapping[str, str]]
"""Gives the cubes that a rule holds, by id, with the name of the rule; `Retention.held` at one time."""

_Change = tuple[str, Callable[[Cube], Cube], EventOp, Mapping[str, Json]]

_BATCH = 1000  # cubes a transaction
_TRIES = 3  # looks at cubes that others change meanwhile
_FOLLOWED = ("derived", "merged", "converted", "copied")  # what supersedes a cube holds nothing of it


@dataclass(frozen=True, slots=True)
class Closure:
    """Cubes and everything that was made of them.

    Args:
        roots: Ids at which it begins.
        derived: What was made of them, of what was made of them …, nearest first; none of the roots.
        parents: For each cube of `derived`, the ids of its parents inside the closure.
    """

    roots: tuple[str, ...]
    derived: tuple[Cube, ...]
    parents: Mapping[str, tuple[str, ...]]


def closure(engine: Engine, ids: Iterable[str], follow: Follow = "all") -> Closure:
    """Follow lineage downwards from some cubes, whoever owns what is found; cycles end where they began.

    Args:
        engine: The store.
        ids: Where to begin; they may be forgotten already.
        follow: How far.

    Cost: one query for each generation.
    """
    roots = tuple(dict.fromkeys(ids))
    found: dict[str, Cube] = {}
    edge = list(roots)
    begun = set(roots)
    while edge:
        made = (child for child in engine.children(edge) if not begun.isdisjoint(_sources(child)))
        fresh = {child.id: child for child in made if child.id not in begun}
        if follow == "states":
            fresh = {id: child for id, child in fresh.items() if child.kind is Kind.STATE}
        begun |= fresh.keys()
        found |= fresh
        edge = list(fresh)
    parents = {id: tuple(p for p in _sources(cube) if p in begun) for id, cube in found.items()}
    return Closure(roots, tuple(found.values()), parents)


def _sources(cube: Cube) -> tuple[str, ...]:
    """Return the cubes that something holds parts of, without repeats."""
    return tuple(dict.fromkeys(p.id for p in cube.header.lineage.parents if p.relation in _FOLLOWED))


@dataclass(frozen=True, slots=True)
class ForgetPlan:
    """What forgetting would do; nothing has been done.

    Args:
        view: Who asks.
        asked: What was asked; the receipt says filters and names only as digests.
        targets: Cubes that were asked for and will go.
        derived: Cubes that will go because they were made of those, nearest first.
        stale: Cubes that stay, marked stale, to be made again without what goes.
        held: Cubes that stay because they are frozen or a rule holds them.
        not_allowed: Cubes that stay because the caller may read but not change them; what was made of something that
            goes becomes stale, and states of models go all the same.
        shared_parents: For each cube of `derived` and `stale` that was also made of something that stays: those ids.
        mentions: Cubes that name the person and were not asked for.
        policy: What becomes of something made of several cubes.
        follow: How far lineage is followed.
        has_unseen: Whether something was made of them that the caller may not read; it is treated as `not_allowed`.
        holds: Asked again for what was made in the meantime.
    """

    view: View
    asked: Mapping[str, Json]
    targets: tuple[Cube, ...] = ()
    derived: tuple[Cube, ...] = ()
    stale: tuple[Cube, ...] = ()
    held: tuple[Retained, ...] = ()
    not_allowed: tuple[Retained, ...] = ()
    shared_parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mentions: tuple[Cube, ...] = ()
    policy: Derived = "forget"
    follow: Follow = "all"
    has_unseen: bool = False
    holds: Holds | None = field(default=None, repr=False, compare=False)


def plan_forgetting(
    store: Store,
    view: View,
    *,
    ids: Sequence[str] = (),
    where: Where | None = None,
    subject: Subject | None = None,
    mentions: bool = False,
    whole_space: bool = False,
    derived: Derived = "forget",
    holds: Holds | None = None,
) -> ForgetPlan:
    """Return what forgetting would do: what was asked for, and what was made of it.

    Args:
        store: The store.
        view: Who asks, and in which spaces `ids` and `where` look; a subject is looked for in all of them.
        ids: Whole ids; those that the caller cannot see are passed over.
        where: Everything that a filter admits; needs at least one condition. Cubes in every state where none is named.
        subject: Everything about a person.
        mentions: Forget also what merely names the person.
        whole_space: Everything in the spaces of the view.
        derived: What becomes of something made of several cubes of which some stay: ``forget`` it, or mark it
            ``stale`` until it is made again. A state of a model always goes: it cannot be mended.
        holds: Says what rules of retention hold, or None when there are none.

    Raises:
        BadInput: Nothing, or everything, is asked for.
    """
    engine, whole = store.engine, whole_view(view)
    found: dict[str, Cube] = {}
    about: tuple[Cube, ...] = ()
    asked: dict[str, Json] = {}
    if ids:
        asked["ids"] = list(dict.fromkeys(ids))
        found.update((id, cube) for id in ids if (cube := engine.get(id, whole)) is not None)
    if where is not None:
        if where == Where():
            raise BadInput("a filter that admits everything forgets nothing", hint="name a source, a tag, a time …")
        asked["where"] = repr(where)
        wanted = replace(where, states=EVERY_STATE) if where.states == LIVE_STATES else where
        found.update((cube.id, cube) for page in pages(engine, replace(whole, where=wanted)) for cube in page)
    if whole_space:
        asked["spaces"] = list(view.spaces)
        found.update((cube.id, cube) for page in pages(engine, whole) for cube in page)
    if subject is not None:
        asked |= {"subject": subject.name, "mentions": mentions}
        told = subject_cubes(engine, view, subject)
        groups = (told.owned, told.spoken, told.named, told.mentions if mentions else ())
        found.update((cube.id, cube) for group in groups for cube in group)
        about = () if mentions else tuple(cube for cube in told.mentions if cube.id not in found)
    if not asked:
        raise BadInput("nothing says what to forget", hint="give ids, a filter, a subject or the whole space")
    plan = plan_cubes(store, view, list(found.values()), asked=asked, derived=derived, holds=holds)
    going = {cube.id for cube in (*plan.targets, *plan.derived)}
    return replace(plan, mentions=tuple(cube for cube in about if cube.id not in going))


def plan_cubes(
    store: Store,
    view: View,
    cubes: Sequence[Cube],
    *,
    asked: Mapping[str, Json],
    derived: Derived = "forget",
    follow: Follow = "all",
    holds: Holds | None = None,
) -> ForgetPlan:
    """Return what forgetting these cubes would do.

    Args:
        store: The store.
        view: Who asks.
        cubes: Which; the caller may see them.
        asked: What was asked, for the receipt.
        derived: As for `plan_forgetting`.
        follow: How far lineage is followed.
        holds: As for `plan_forgetting`.
    """
    if derived not in get_args(Derived):
        raise BadInput(f"what is derived cannot be {derived!r}", hint=f"use one of {', '.join(get_args(Derived))}")
    engine = store.engine
    targets, kept = _sorted_out(view, cubes, holds)
    going = {cube.id for cube in targets}
    made = closure(engine, sorted(going), follow).derived
    readable = [cube for cube in made if view.allows(cube).allowed]
    doomed, kept_made = _sorted_out(view, readable, holds)
    going |= _going(engine, going, doomed, derived)
    every = {each.id: each for each in (*kept, *kept_made)}.values()  # one that was asked for may also be made of one
    return ForgetPlan(
        view=view,
        asked=asked,
        targets=tuple(targets),
        derived=tuple(cube for cube in doomed if cube.id in going),
        stale=tuple(cube for cube in doomed if cube.id not in going),
        held=tuple(each for each in every if not each.reason.startswith("not allowed")),
        not_allowed=tuple(each for each in every if each.reason.startswith("not allowed")),
        shared_parents=_shared(engine, doomed, going),
        policy=derived,
        follow=follow,
        has_unseen=len(readable) < len(made),
        holds=holds,
    )


def _sorted_out(view: View, cubes: Sequence[Cube], holds: Holds | None) -> tuple[list[Cube], list[Retained]]:
    """Return the cubes that may go, and those that stay with the reason."""
    held = holds(cubes) if holds is not None and cubes else {}
    going: list[Cube] = []
    kept: list[Retained] = []
    for cube in cubes:
        reason = _reason(view, cube, held)
        if reason:
            kept.append(Retained(cube.id, cube.space, reason))
        else:
            going.append(cube)
    return going, kept


def _reason(view: View, cube: Cube, held: Mapping[str, str]) -> str:
    if cube.header.life.state == "frozen":
        return "frozen"
    decision = view.allows(cube, "write")
    if not decision.allowed:
        return f"not allowed: {decision.rule}"
    return f"hold: {held[cube.id]}" if cube.id in held else ""


def _going(engine: Engine, gone: set[str], doomed: Sequence[Cube], policy: Derived) -> set[str]:
    """Return which derived cubes go with those that go; the others are marked stale."""
    if policy == "forget":
        return {cube.id for cube in doomed}
    there = _there(engine, {id for cube in doomed for id in _sources(cube)})
    going = set(gone)
    size = -1
    while len(going) != size:
        size = len(going)
        for cube in doomed:
            if cube.kind is Kind.STATE or there.intersection(_sources(cube)) <= going:
                going.add(cube.id)
    return going - gone


def _there(engine: Engine, ids: Iterable[str]) -> set[str]:
    """Return which ids are cubes of the store, whoever owns them."""
    return {id for id in ids if engine.events_of(id)}


def _shared(engine: Engine, derived: Sequence[Cube], going: set[str]) -> dict[str, tuple[str, ...]]:
    others = {cube.id: [id for id in _sources(cube) if id not in going] for cube in derived}
    there = _there(engine, {id for ids in others.values() for id in ids})
    return {id: kept for id, ids in others.items() if (kept := tuple(each for each in ids if each in there))}


def carry_out(
    store: Store, plan: ForgetPlan, *, actor: Scope, now: datetime, drop_index: Callable[[], object] | None = None
) -> Receipt:
    """Forget what a plan says and what was made of it since, and return the signed receipt.

    What is derived goes before what it was made of, some thousand in a transaction, so that a forgetting that was
    killed is completed by doing it again. Every cube is looked at again inside its transaction: what has been frozen,
    or taken out of the caller's reach, since the plan was made stays and is named.

    Args:
        store: The store.
        plan: What to do.
        actor: Who does it.
        now: Record time.
        drop_index: Drops the snapshots of an index, which hold words and vectors of what goes; None where there is
            none, or where they are dropped later.
    """
    work = _Work(store, plan, actor, now)
    work.mark_stale(plan.stale, plan.view)
    work.remove(plan.derived[::-1], plan.view, asked=False)
    work.remove(plan.targets, plan.view, asked=True)
    work.follow()
    return sign(work.receipt(drop_index), store.engine)


class _Work:
    """One forgetting: what it removed so far, and what turned out to stay."""

    def __init__(self, store: Store, plan: ForgetPlan, actor: Scope, now: datetime) -> None:
        self._store = store
        self._engine = store.engine
        self._plan = plan
        self._actor = actor
        self._now = now
        self._id = secrets.token_hex(16)
        self._erased: list[Erased] = []
        self._kept: dict[str, Retained] = {each.id: each for each in (*plan.held, *plan.not_allowed)}
        self._steward = Access.steward(plan.view.scope.tenant, now)

    def remove(self, cubes: Sequence[Cube], view: View, *, asked: bool) -> None:
        """Forget cubes as far as the view allows it now."""
        for start in range(0, len(cubes), _BATCH):
            part = cubes[start : start + _BATCH]
            for _ in range(_TRIES):
                if self._try(part, view, asked):
                    break
            else:
                for cube in part:
                    self._kept.setdefault(cube.id, Retained(cube.id, cube.space, "changed"))

    def _try(self, part: Sequence[Cube], view: View, asked: bool) -> bool:
        """Forget those of some cubes that may go; return False when another one froze or closed one meanwhile."""
        now = self._engine.by_rows([cube.row for cube in part])
        going, kept = _sorted_out(view, [now[cube.row] for cube in part if cube.row in now], self._plan.holds)
        self._kept |= {each.id: each for each in kept}
        if not going:
            return True
        copies = copies_of(self._engine, going, asked=asked)
        seq = self._engine.head().seq
        detail: dict[str, Json] = {"why": "asked" if asked else "derived", "receipt": self._id}
        try:
            gone = self._store.remove(
                [cube.id for cube in going], view=_over(view, going), actor=self._actor, now=self._now, detail=detail
            )
        except Denied:
            return False
        self._note(going, gone, copies, seq)
        return True

    def _note(self, part: Sequence[Cube], gone: Sequence[Cube], copies: Mapping[str, Erased], seq: int) -> None:
        last = {cube.id: cube.version for cube in gone}
        entries: dict[str, list[int]] = {}
        for event in self._store.journal(seq):
            if event.cube in last:
                entries.setdefault(event.cube, []).append(event.seq)
        for cube in part:
            if cube.id not in last:  # somebody else forgot it
                continue
            copy = copies[cube.id]
            kept = tuple(name for name in copy.blobs if self._engine.names_blob(name))
            self._erased.append(
                replace(
                    copy,
                    versions=copy.versions + last[cube.id] - cube.version,
                    blobs=tuple(name for name in copy.blobs if name not in kept),
                    blobs_kept=kept,
                    journal=tuple(sorted({*copy.journal, *entries.get(cube.id, ())})),
                )
            )

    def follow(self) -> None:
        """See to what else was made of what went: in the meantime, or out of the caller's reach."""
        plan = self._plan
        seen = {each.id for each in plan.held} | {cube.id for cube in (*plan.stale, *plan.derived, *plan.targets)}
        while True:
            gone = [each.id for each in self._erased]
            made = closure(self._engine, gone, plan.follow).derived
            fresh = [cube for cube in made if cube.id not in seen]
            if not fresh:
                return
            seen.update(cube.id for cube in fresh)
            mine, _ = _sorted_out(plan.view, fresh, plan.holds)
            going = _going(self._engine, set(gone), mine, plan.policy)
            self.remove([cube for cube in mine if cube.id in going], plan.view, asked=False)
            self.mark_stale([cube for cube in mine if cube.id not in going], plan.view)
            self._follow_others([cube for cube in fresh if cube not in mine])

    def _follow_others(self, cubes: Sequence[Cube]) -> None:
        """Drop states of models that are not the caller's to drop, and mark everything else stale."""
        if not cubes:
            return
        view = replace(whole_view(self._plan.view), access=self._steward)
        known = dict(self._kept)
        self.remove([cube for cube in cubes if cube.kind is Kind.STATE], view, asked=False)
        self.mark_stale([cube for cube in cubes if cube.kind is not Kind.STATE], view)
        gone = {each.id for each in self._erased}
        unseen = {cube.id for cube in cubes if not self._plan.view.allows(cube).allowed}
        kept = {id: each for id, each in self._kept.items() if id not in unseen and id not in gone}
        self._kept = kept | {id: each for id, each in known.items() if id not in gone}

    def mark_stale(self, cubes: Sequence[Cube], view: View) -> None:
        """Take cubes out of every search until they are made again."""
        for start in range(0, len(cubes), _BATCH):
            part = cubes[start : start + _BATCH]
            try:
                self._spoil(part, view)
            except (Denied, NotFound):  # one of them was frozen, closed or forgotten meanwhile
                for cube in part:
                    with suppress(NotFound):
                        self._spoil_one(cube, view)

    def _spoil_one(self, cube: Cube, view: View) -> None:
        try:
            self._spoil([cube], view)
        except Denied:
            self._kept.setdefault(cube.id, Retained(cube.id, cube.space, "changed"))

    def _spoil(self, cubes: Sequence[Cube], view: View) -> None:
        detail: dict[str, Json] = {"why": "stale", "receipt": self._id}
        changes: list[_Change] = [(cube.id, _stale, "state", detail) for cube in cubes]
        self._store.change(changes, view=_over(view, cubes), actor=self._actor, now=self._now)
        for cube in cubes:
            self._kept.setdefault(cube.id, Retained(cube.id, cube.space, "stale"))

    def receipt(self, drop_index: Callable[[], object] | None) -> Receipt:
        """Drop the snapshots of the index where something went, and say everything that was done."""
        has_dropped = bool(self._erased) and drop_index is not None
        if self._erased and drop_index is not None:
            drop_index()
        plan, head = self._plan, self._engine.head()
        asked = dict(plan.asked)
        for name in ("where", "subject"):
            if name in asked:
                asked[name] = blinded(self._engine, asked[name])
        return Receipt(
            id=self._id,
            store=self._engine.identity,
            time=self._now,
            actor=self._actor,
            asked=asked,
            erased=tuple(self._erased),
            retained=tuple(self._kept.values()),
            is_complete=not plan.has_unseen,
            index=has_dropped,
            seq=head.seq,
            chain=head.chain,
        )


def _over(view: View, cubes: Sequence[Cube]) -> View:
    """Return what a caller may do with cubes, wherever they lie and whatever state they are in."""
    return replace(whole_view(view), spaces=tuple(sorted({cube.space for cube in cubes})))


def _stale(old: Cube) -> Cube:
    return replace(old, header=replace(old.header, life=replace(old.header.life, stale=True)))
