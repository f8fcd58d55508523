"""The sweeper: moves every cube whose time has come, in small transactions, beside other writers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
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
from .moves import LIVE, Trigger, life_after, move_for

__all__ = ["SWEEPER", "Forget", "LifecycleConfig", "Moved", "Rules", "Ruling", "Sweeper", "Swept", "due"]

SWEEPER = "sweeper"
"""Agent in whose name cubes move by themselves."""

_TRIES = 3  # looks at a cube that others keep changing, before it is left to the next sweep
_NEVER_USED = Usage()


@dataclass(frozen=True, slots=True)
class LifecycleConfig:
    """When cubes move by themselves; None for never.

    Args:
        archive_after: Idle time after which a cube is archived.
        expire_after: Time in the archive after which it expires.
        purge_after: Time since it expired after which it is forgotten for good.
        capacity: Most cubes of a tenant at work in one space; those of the lowest priority, and among them those that
            were used longest ago, are archived first.
    """

    archive_after: timedelta | None = timedelta(days=30)  # memos §5, ours
    expire_after: timedelta | None = timedelta(days=365)  # memos §5, ours
    purge_after: timedelta | None = timedelta(days=30)  # ours: a month in which somebody may notice
    capacity: int | None = None

    def __post_init__(self) -> None:
        for name in ("archive_after", "expire_after", "purge_after"):
            span = getattr(self, name)
            if span is not None and span <= timedelta(0):
                raise BadInput(f"{name} must be above zero, got {span}")
        if self.capacity is not None and self.capacity < 0:
            raise BadInput(f"a capacity of {self.capacity} cubes is not possible", hint="0 or more, or None")


class Ruling(Protocol):
    """What the rules of retention say about one cube."""

    @property
    def rule(self) -> str:
        """Name of the rule that decided."""
        ...

    @property
    def action(self) -> str:
        """``archive``, ``expire``, ``forget``, ``hold``, or ``wait`` where the rule is not due yet."""
        ...


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

    def told(self) -> Moved:
        after = move_for(self.trigger).after
        return Moved(self.cube.id, self.cube.space, self.cube.header.life.state, after, self.trigger, self.why)


def last_use(cube: Cube, usage: Usage) -> datetime:
    """Return when a cube was last used or changed."""
    return cube.updated if usage.last is None else max(usage.last, cube.updated)


def due(
    cube: Cube, usage: Usage, ruling: Ruling | None, now: datetime, config: LifecycleConfig
) -> tuple[Trigger, str] | None:
    """Return the move that is due for a cube by itself, with the reason, or None.

    Args:
        cube: As it is.
        usage: How it is used.
        ruling: What the rules of retention say about it, or None.
        now: The present.
        config: The defaults.
    """
    life = cube.header.life
    if life.state == "frozen":
        return None
    is_kept = life.pinned or (ruling is not None and ruling.action == "hold")
    found = None if is_kept else _drop(cube, usage, ruling, now, config)
    if found is None and life.state in ("generated", "merged") and usage.count > 0:
        return "used", f"used {usage.count} times"
    return found


def _drop(
    cube: Cube, usage: Usage, ruling: Ruling | None, now: datetime, config: LifecycleConfig
) -> tuple[Trigger, str] | None:
    life = cube.header.life
    if life.state != "expired" and life.expires is not None and life.expires <= now:
        return "ttl", f"its time ended at {life.expires.isoformat()}"
    if ruling is not None:
        return _by_rule(ruling)
    if life.state == "expired":
        return _aged("purge", "expired", cube.updated, now, config.purge_after)
    if life.state == "archived":
        return _aged("age", "archived", cube.updated, now, config.expire_after)
    return _aged("idle", "idle", last_use(cube, usage), now, config.archive_after)


def _by_rule(ruling: Ruling) -> tuple[Trigger, str] | None:
    triggers: dict[str, Trigger] = {"archive": "rule_archive", "expire": "rule_expire", "forget": "rule_forget"}
    if ruling.action not in triggers:
        return None
    return triggers[ruling.action], f"rule {ruling.rule}"


def _aged(
    trigger: Trigger, word: str, since: datetime, now: datetime, most: timedelta | None
) -> tuple[Trigger, str] | None:
    if most is None or now - since < most:
        return None
    return trigger, f"{word} since {since.isoformat()}"


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
    """

    def __init__(self, store: Store, forget: Forget, rules: Rules | None, config: LifecycleConfig) -> None:
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

        Cost: one read of every cube, one transaction a tenant for each batch in which something moves.
        """
        if batch < 1 or (limit is not None and limit < 1):
            raise BadInput(f"a batch of {batch} and a limit of {limit} cubes are not possible", hint="1 or more")
        tally = _Tally(reached=after)
        for cubes, last in self._windows(after, batch):
            wanted = self._due(cubes, now)
            room = len(wanted) if limit is None else limit - len(tally.moves)
            self._apply(wanted[:room], now, tally, dry_run)
            tally.looked += len(cubes)
            if progress is not None:
                progress(len(cubes))
            if len(wanted) > room:
                tally.reached = wanted[room - 1].cube.row if room else tally.reached
                return _swept(tally, is_done=False)
            tally.reached = last
        is_done = self._make_room(now, batch, limit, tally, dry_run)
        return _swept(tally, is_done)

    def _windows(self, after: int, batch: int) -> Iterator[tuple[list[Cube], int]]:
        """Yield all cubes in order of their rows; rows are numbers of the journal, so their end is known."""
        end = self._engine.head().seq
        for start in range(after + 1, end + 1, batch):
            last = min(start + batch - 1, end)
            found = self._engine.by_rows(range(start, last + 1))
            yield [found[row] for row in sorted(found)], last

    def _due(self, cubes: Sequence[Cube], now: datetime) -> list[_Due]:
        usage = self._engine.usage.of([cube.row for cube in cubes])
        rulings = self._rulings(cubes, usage, now)
        out: list[_Due] = []
        for cube in cubes:
            used = usage.get(cube.row, _NEVER_USED)
            found = due(cube, used, rulings.get(cube.row), now, self.config)
            if found is not None:
                out.append(_Due(cube, *found))
        return out

    def _rulings(self, cubes: Sequence[Cube], usage: Mapping[int, Usage], now: datetime) -> Mapping[int, Ruling]:
        if self._rules is None:
            return {}
        return self._rules.rulings([(cube, last_use(cube, usage.get(cube.row, _NEVER_USED))) for cube in cubes], now)

    def _make_room(self, now: datetime, batch: int, limit: int | None, tally: _Tally, dry_run: bool) -> bool:
        """Archive what exceeds the capacity; return whether the limit allowed it all."""
        if self.config.capacity is None:
            return True
        wanted = self._crowded(
            now, batch, self.config.capacity, {move.id for move in tally.moves if move.after not in LIVE}
        )
        room = len(wanted) if limit is None else limit - len(tally.moves)
        for start in range(0, min(room, len(wanted)), batch):
            self._apply(wanted[start : min(room, start + batch)], now, tally, dry_run)
        return len(wanted) <= room

    def _crowded(self, now: datetime, batch: int, capacity: int, gone: set[str]) -> list[_Due]:
        sizes: dict[tuple[str | None, str], int] = {}
        ranked: dict[tuple[str | None, str], list[tuple[float, datetime, int]]] = {}
        for cubes, _ in self._windows(0, batch):
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
