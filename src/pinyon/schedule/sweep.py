"""The sweeper: moves every cube whose time has come, in small transactions, beside other writers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from ..core.access import Access
from ..core.cube import Cube
from ..core.events import EventOp
from ..core.payload import Json
from ..core.scope import Scope
from ..core.where import EVERY_STATE, View, Where
from ..errors import BadInput, Conflict, Denied, NotFound
from ..store import Store
from ..store.side import Usage
from ._record import written
from .due import LifecycleConfig, Ruling, Seen, due, moves_again
from .moves import LIVE, Trigger, life_after, move_for

__all__ = [
    "SWEEPER",
    "Forget",
    "LifecycleConfig",
    "Moved",
    "Rules",
    "Ruling",
    "Sweeper",
    "Swept",
]

SWEEPER = "sweeper"
"""Agent in whose name cubes move by themselves."""

_TRIES = 3  # looks at a cube that others keep changing, before it is left to the next sweep
_NEVER_USED = Usage()


class Rules(Protocol):
    """The rules of retention of every tenant."""

    def rulings(self, used: Iterable[tuple[Cube, datetime]], now: datetime) -> Mapping[int, Ruling]:
        """Return what they say about cubes, each with its last use, by row; those without a rule are missing."""
        ...


class Forget(Protocol):
    """Forgets in the name of the memory itself; what is frozen or held stays."""

    def forget(self, cubes: Sequence[Cube], *, why: str, now: datetime) -> Sequence[str]:
        """Forget cubes and everything that was made of them; return the ids of those cubes that went."""
        ...

    def forget_ended(self, cubes: Sequence[Cube], *, why: str, now: datetime) -> Sequence[str]:
        """Forget cubes whose life has ended, and the states of models made of them, but nothing else made of them."""
        ...

    def forget_states(self, cubes: Sequence[Cube], *, why: str, now: datetime) -> Sequence[str]:
        """Forget the states of models that were made of cubes, and none of the cubes."""
        ...


@dataclass(frozen=True, slots=True)
class Moved:
    """One cube that was moved, or would be.

    Args:
        id: Its id.
        space: Where it lies.
        before: State it was in.
        after: State it is in; None when it is forgotten.
        trigger: What caused it.
        why: One sentence.
    """

    id: str
    space: str
    before: str
    after: str | None
    trigger: Trigger
    why: str


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Args:
        moves: In the order they were made.
        looked: Cubes that were looked at.
        reached: Row up to which all is done; where the next sweep goes on when this one was limited.
        is_done: Whether everything was looked at.
        left: Ids of cubes that others kept changing; the next sweep looks at them again.
    """

    moves: tuple[Moved, ...]
    looked: int
    reached: int
    is_done: bool
    left: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of moves by trigger."""
        found: dict[str, int] = {}
        for move in self.moves:
            found[move.trigger] = found.get(move.trigger, 0) + 1
        return found


@dataclass(frozen=True, slots=True)
class _Due:
    """A cube as it was seen, and the move that is due."""

    cube: Cube
    trigger: Trigger
    why: str
    seen: Seen | None = None

    def told(self) -> Moved:
        after = move_for(self.trigger).after
        return Moved(self.cube.id, self.cube.space, self.cube.header.life.state, after, self.trigger, self.why)


def last_use(cube: Cube, usage: Usage) -> datetime:
    """Return when a cube was last used or changed."""
    return cube.updated if usage.last is None else max(usage.last, cube.updated)


@dataclass(slots=True)
class _Tally:
    """What a sweep has done so far."""

    moves: list[Moved] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    looked: int = 0
    reached: int = 0


class Sweeper:
    """Moves cubes by themselves.

    Args:
        store: Where they rest.
        forget: How they are forgotten.
        rules: Rules of retention, or None.
        config: The defaults.
        sink: Told what was decided with everything that went into it, as a JSON object; `replay` reads it. What is
            archived for want of room is not told: that stands in the journal.
    """

    def __init__(
        self,
        store: Store,
        forget: Forget,
        rules: Rules | None,
        config: LifecycleConfig,
        *,
        sink: Callable[[dict[str, Json]], object] | None = None,
    ) -> None:
        self._sink = sink
        self._store = store
        self._engine = store.engine
        self._forget = forget
        self._rules = rules
        self.config = config

    def sweep(
        self,
        now: datetime,
        *,
        batch: int = 1000,
        after: int = 0,
        limit: int | None = None,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
        within: Sequence[str | None] | None = None,
    ) -> Swept:
        """Move every cube that is due, of every tenant, in transactions of a bounded size.

        A sweep that was killed is completed by the next one; one that finds nothing due writes nothing. A cube that
        somebody changes meanwhile is looked at again.

        Args:
            now: The present.
            batch: Cubes a transaction, >= 1.
            after: Row after which to begin, `Swept.reached` of a sweep that was limited.
            limit: Most moves, or None.
            dry_run: Only say what would move.
            progress: Told the number of cubes looked at after each batch.
            within: Only cubes of these tenants; None for all.

        Cost: one read of every cube, one transaction a tenant for each batch in which something moves.
        """
        if batch < 1 or (limit is not None and limit < 1):
            raise BadInput(f"a batch of {batch} and a limit of {limit} cubes are not possible", hint="1 or more")
        tally = _Tally(reached=after)
        for cubes, last in self._windows(after, batch, within):
            wanted = self._due(cubes, now)
            room = len(wanted) if limit is None else limit - len(tally.moves)
            if not dry_run:
                self._tell(wanted[:room], now)
            self._apply(wanted[:room], now, tally, dry_run)
            tally.looked += len(cubes)
            if progress is not None:
                progress(len(cubes))
            if len(wanted) > room:
                tally.reached = wanted[room - 1].cube.row if room else tally.reached
                return _swept(tally, is_done=False)
            tally.reached = last
        is_done = self._make_room(now, batch, limit, tally, dry_run, within)
        return _swept(tally, is_done)

    def _tell(self, wanted: Sequence[_Due], now: datetime) -> None:
        """Say what was decided, before it is done."""
        seen = [each.seen for each in wanted if each.seen is not None]
        if self._sink is not None and seen:
            moves = moves_again(seen, now, self.config)
            self._sink(written("moves", {"seen": seen, "now": now, "config": self.config}, {"moves": moves}))

    def _windows(self, after: int, batch: int, within: Sequence[str | None] | None) -> Iterator[tuple[list[Cube], int]]:
        """Yield all cubes in order of their rows; rows are numbers of the journal, so their end is known."""
        end = self._engine.head().seq
        for start in range(after + 1, end + 1, batch):
            last = min(start + batch - 1, end)
            found = self._engine.by_rows(range(start, last + 1))
            cubes = [found[row] for row in sorted(found)]
            yield [cube for cube in cubes if within is None or cube.owner.tenant in within], last

    def _due(self, cubes: Sequence[Cube], now: datetime) -> list[_Due]:
        usage = self._engine.usage.of([cube.row for cube in cubes])
        rulings = self._rulings(cubes, usage, now)
        out: list[_Due] = []
        for cube in cubes:
            used = usage.get(cube.row, _NEVER_USED)
            seen = Seen.of(cube, used, rulings.get(cube.row))
            found = due(seen, now, self.config)
            if found is not None:
                out.append(_Due(cube, *found, seen))
        return out

    def _rulings(self, cubes: Sequence[Cube], usage: Mapping[int, Usage], now: datetime) -> Mapping[int, Ruling]:
        if self._rules is None:
            return {}
        return self._rules.rulings([(cube, last_use(cube, usage.get(cube.row, _NEVER_USED))) for cube in cubes], now)

    def _make_room(
        self,
        now: datetime,
        batch: int,
        limit: int | None,
        tally: _Tally,
        dry_run: bool,
        within: Sequence[str | None] | None,
    ) -> bool:
        """Archive what exceeds the capacity; return whether the limit allowed it all."""
        if self.config.capacity is None:
            return True
        gone = {move.id for move in tally.moves if move.after not in LIVE}
        wanted = self._crowded(now, batch, self.config.capacity, gone, within)
        room = len(wanted) if limit is None else limit - len(tally.moves)
        for start in range(0, min(room, len(wanted)), batch):
            self._apply(wanted[start : min(room, start + batch)], now, tally, dry_run)
        return len(wanted) <= room

    def _crowded(
        self, now: datetime, batch: int, capacity: int, gone: set[str], within: Sequence[str | None] | None
    ) -> list[_Due]:
        sizes: dict[tuple[str | None, str], int] = {}
        ranked: dict[tuple[str | None, str], list[tuple[float, datetime, int]]] = {}
        for cubes, _ in self._windows(0, batch, within):
            live = [cube for cube in cubes if cube.header.life.state in LIVE and cube.id not in gone]
            usage = self._engine.usage.of([cube.row for cube in live])
            rulings = self._rulings(live, usage, now)
            for cube in live:
                place = (cube.owner.tenant, cube.space)
                sizes[place] = sizes.get(place, 0) + 1
                ruling = rulings.get(cube.row)
                if not cube.header.life.pinned and (ruling is None or ruling.action != "hold"):
                    used = last_use(cube, usage.get(cube.row, _NEVER_USED))
                    ranked.setdefault(place, []).append((cube.header.life.priority, used, cube.row))
        rows = [
            row
            for place, size in sizes.items()
            if size > capacity
            for _, _, row in sorted(ranked.get(place, ()))[: size - capacity]
        ]
        found = self._engine.by_rows(rows)
        return [_Due(found[row], "capacity", f"over {capacity} cubes at work") for row in rows if row in found]

    def _apply(self, wanted: Sequence[_Due], now: datetime, tally: _Tally, dry_run: bool) -> None:
        if dry_run:
            tally.moves.extend(each.told() for each in wanted)
            return
        by_tenant: dict[str | None, list[_Due]] = {}
        for each in wanted:
            by_tenant.setdefault(each.cube.owner.tenant, []).append(each)
        for tenant, mine in by_tenant.items():
            leaving = self._dropped(mine, now, tally)
            staying = [each for each in mine if each not in leaving]
            try:
                tally.moves.extend(self._move(tenant, staying, now))
            except (Conflict, NotFound, Denied):  # somebody was faster: one by one, each looked at again
                for each in staying:
                    self._again(tenant, each, now, tally)

    def _dropped(self, wanted: Sequence[_Due], now: datetime, tally: _Tally) -> list[_Due]:
        """Forget what is to leave the store, and return all of that, gone or held."""
        out: list[_Due] = []
        for trigger, forget in (("rule_forget", self._forget.forget), ("purge", self._forget.forget_ended)):
            mine = [each for each in wanted if each.trigger == trigger]
            if mine:
                gone = set(forget([each.cube for each in mine], why=trigger, now=now))
                tally.moves.extend(each.told() for each in mine if each.cube.id in gone)
                out.extend(mine)
        return out

    def _again(self, tenant: str | None, wanted: _Due, now: datetime, tally: _Tally) -> None:
        for _ in range(_TRIES):
            cube = self._engine.by_rows([wanted.cube.row]).get(wanted.cube.row)
            if cube is None:
                return
            if wanted.trigger == "capacity":
                is_movable = cube.header.life.state in LIVE and not cube.header.life.pinned
                found = [replace(wanted, cube=cube)] if is_movable else []
            else:
                found = self._due([cube], now)
            if not found or self._dropped(found, now, tally):
                return
            try:
                tally.moves.extend(self._move(tenant, found, now))
                return
            except (Conflict, NotFound, Denied):
                continue
        tally.left.append(wanted.cube.id)

    def _move(self, tenant: str | None, wanted: Sequence[_Due], now: datetime) -> list[Moved]:
        """Make moves of one tenant in one transaction; what was made of cubes that end is forgotten before."""
        if not wanted:
            return []
        ending = [each.cube for each in wanted if move_for(each.trigger).after == "expired"]
        if ending:
            self._forget.forget_states(ending, why="expired", now=now)
        access = Access.steward(tenant, now)
        spaces = tuple({each.cube.space: None for each in wanted})
        view = View(access.scope, spaces, Where(states=EVERY_STATE), access)
        actor = Scope(tenant=tenant, agent=SWEEPER)
        self._store.change([_change(each) for each in wanted], view=view, actor=actor, now=now)
        return [each.told() for each in wanted]


def _change(wanted: _Due) -> tuple[str, Callable[[Cube], Cube], EventOp, Mapping[str, Json]]:
    seen = wanted.cube

    def change(old: Cube) -> Cube:
        if old.version != seen.version:
            raise Conflict(f"cube {seen.id!r} was changed while it was swept")
        return replace(old, header=replace(old.header, life=life_after(old, wanted.trigger)))

    after = move_for(wanted.trigger).after
    said: dict[str, Json] = {"trigger": wanted.trigger, "from": seen.header.life.state, "to": after, "why": wanted.why}
    return seen.id, change, "state", said


def _swept(tally: _Tally, is_done: bool) -> Swept:
    return Swept(tuple(tally.moves), tally.looked, tally.reached, is_done, tuple(tally.left))
