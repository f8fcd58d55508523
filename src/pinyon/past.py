"""The time machine: what was, what changed, going back, and what would be if.

Nothing here rewrites what was written: going back appends a version, and undoing is a change like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .branching import Branched, MergeConflict, Merged, MergePolicy, branch, merge_branch
from .core.access import Action
from .core.cube import Cube
from .core.events import Event, EventOp
from .core.header import Header
from .core.payload import Json
from .core.scope import Scope
from .core.where import EVERY_STATE, View, Where
from .errors import BadInput, Conflict, Denied, NotFound
from .store import Store

__all__ = [
    "Branched",
    "Diff",
    "LogLine",
    "MergeConflict",
    "MergePolicy",
    "Merged",
    "Undone",
    "as_of_view",
    "branch",
    "diff",
    "instant_seq",
    "log",
    "merge_branch",
    "rollback",
    "undo",
]

_PAGE = 512  # entries of the journal a look


# --- as of --------------------------------------------------------------------------------------------------------


def instant_seq(store: Store, moment: datetime) -> int:
    """Return the number of the last entry of the journal that is not after a moment (record time); 0 before all."""
    return store.engine.seq_at(moment)


def as_of_view(store: Store, view: View, moment: datetime) -> View:
    """Return a view of the store as it was at a moment of record time.

    What had expired by then is not there, nor what was forgotten since; rights are those of today.

    Args:
        store: The store.
        view: Who asks, for what.
        moment: When.
    """
    return replace(view, at=instant_seq(store, moment), moment=moment)


# --- going back -----------------------------------------------------------------------------------------------------


def rollback(store: Store, id: str, version: int, *, view: View, actor: Scope, now: datetime) -> Cube:
    """Append a version of a cube that says what an earlier one said; the history never shrinks.

    Args:
        store: Where it rests.
        id: Its id.
        version: The version to go back to, from 1.
        view: What the caller may see.
        actor: Who does it.
        now: Record time.

    Returns:
        The cube as it is now; unchanged when it says that already.

    Raises:
        NotFound: There is no such cube or version for this caller.
        Denied: The caller may not change it, or not restore the rights or the state that it had.
        Conflict: It has expired.
    """
    whole = _whole(view)
    current = store.engine.get(id, whole)
    if current is None:
        raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
    if current.header.life.state == "expired":
        raise Conflict(f"cube {id!r} has expired and does not come back", hint="add what it said again")
    wanted = next((c for c in (*store.engine.versions(id), current) if c.version == version), None)
    if wanted is None:
        raise NotFound(f"cube {id!r} has no version {version}", hint=f"it has 1 to {current.version}")
    _check_return(whole, current, wanted)
    return store.update(
        id,
        lambda old: replace(old, payload=wanted.payload, header=wanted.header),
        view=whole,
        actor=actor,
        now=now,
        op="restore",
        detail={"to": version},
        expected=current.version,
    )


def _check_return(view: View, current: Cube, wanted: Cube) -> None:
    """Refuse to bring back rights or a state that the caller could not give."""
    needed: list[Action] = []
    if replace(wanted.header.rights, bounds=()) != replace(current.header.rights, bounds=()):
        needed.append("share")
    if wanted.header.life.state == "frozen":
        needed.append("freeze")
    for action in needed:
        said = view.allows(current, action)
        if not said.allowed:
            raise Denied(
                f"version {wanted.version} of cube {wanted.id!r} cannot be restored: it needs the right to {action},"
                f" and the rule {said.rule!r} forbids it",
                rule=said.rule,
            )


def _whole(view: View) -> View:
    """Return a view without filter, expiry and past."""
    return replace(view, where=Where(states=EVERY_STATE), at=None, moment=None)


# --- what changed ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed between two instants, as one caller sees them.

    Args:
        created: Seen at the second, not at the first.
        changed: Seen at both, with another payload or header: before and after.
        moved: Seen at both, and only at another stage of life: before and after.
        gone: Seen at the first, not at the second; as they were.
    """

    created: tuple[Cube, ...] = ()
    changed: tuple[tuple[Cube, Cube], ...] = ()
    moved: tuple[tuple[Cube, Cube], ...] = ()
    gone: tuple[Cube, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.created or self.changed or self.moved or self.gone)


def diff(
    store: Store,
    view: View,
    from_seq: int,
    to_seq: int,
    *,
    moments: tuple[datetime | None, datetime | None] | None = None,
) -> Diff:
    """Return what changed between two instants, as the caller sees them today.

    What was forgotten since is in neither. The journal between the two is read, and nothing else.

    Args:
        store: The store.
        view: Who asks, and for what.
        from_seq: Number of the entry after which the first instant lies, as `instant_seq` gives it.
        to_seq: That of the second, not before the first.
        moments: The two instants; what had expired by then was not there. None for the moment of the view.

    Raises:
        BadInput: The second lies before the first.
    """
    if to_seq < from_seq:
        raise BadInput(f"the second instant (entry {to_seq}) lies before the first ({from_seq})", hint="swap them")
    first, second = moments or (view.moment, view.moment)
    created: list[Cube] = []
    changed: list[tuple[Cube, Cube]] = []
    moved: list[tuple[Cube, Cube]] = []
    gone: list[Cube] = []
    for rows in _changed_rows(store, from_seq, to_seq):
        today = store.engine.by_rows(rows)
        before = _seen(replace(view, at=from_seq, moment=first), store.engine.by_rows(rows, from_seq), today)
        after = _seen(replace(view, at=to_seq, moment=second), store.engine.by_rows(rows, to_seq), today)
        for row in rows:
            old, new = before.get(row), after.get(row)
            if old is None and new is not None:
                created.append(new)
            elif old is not None and new is None:
                gone.append(old)
            elif old is not None and new is not None and _content(old) != _content(new):
                (moved if _staged(old) == _staged(new) else changed).append((old, new))
    return Diff(tuple(created), tuple(changed), tuple(moved), tuple(gone))


def _changed_rows(store: Store, from_seq: int, to_seq: int) -> Iterator[list[int]]:
    """Yield rows that the journal between two entries names, each once, some at a time."""
    known: set[int] = {0}
    after = from_seq
    while after < to_seq:
        changes = store.engine.changes(after, min(_PAGE, to_seq - after))
        if not changes.entries:
            return
        fresh = [row for row in changes.rows if row not in known]
        known.update(fresh)
        if fresh:
            yield fresh
        after = changes.seq


def _seen(view: View, cubes: Mapping[int, Cube], today: Mapping[int, Cube]) -> dict[int, Cube]:
    return {row: cube for row, cube in cubes.items() if row in today and view.admits(cube, today[row])}


def _content(cube: Cube) -> tuple[object, Header]:
    return cube.payload, cube.header


def _staged(cube: Cube) -> tuple[object, Header]:
    """Return the content of a cube without the stage of its life."""
    life = cube.header.life
    plain = replace(life, state="generated", stale=False, thaws_to=None, superseded_by=None)
    return cube.payload, replace(cube.header, life=plain)


# --- what was done --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogLine:
    """An entry of the journal as one caller may see it.

    Args:
        time: Record time, UTC.
        op: What was done.
        actor: Who did it.
        space: Where.
        cube: Id of the cube.
        version: Its version after the change; 0 when it was forgotten.
        detail: What else the journal says.
    """

    time: datetime
    op: EventOp
    actor: Scope
    space: str
    cube: str
    version: int
    detail: Mapping[str, Json]


def log(
    store: Store,
    view: View,
    *,
    limit: int = 50,
    since: datetime | None = None,
    until: datetime | None = None,
    actor: Scope | None = None,
    op: EventOp | None = None,
) -> Iterator[LogLine]:
    """Yield entries of the journal as the caller may see them, the latest first.

    Entries of cubes that the caller may not read are left out, and nothing tells that they are there. Of what was
    forgotten, and of rules, everybody sees what they did themselves.

    Args:
        store: The store.
        view: Who asks, and in which spaces; its filter is not looked at.
        limit: Most lines, >= 1.
        since: Earliest record time, inclusive.
        until: Latest record time, inclusive.
        actor: Only what this one did; the walls it does not name, and its session, may be any.
        op: Only this.

    Raises:
        BadInput: The limit is below 1.
    """
    if limit < 1:
        raise BadInput(f"a log of {limit} lines is not possible", hint="1 or more")
    end = store.engine.head().seq if until is None else store.engine.seq_at(until)
    for events in _backwards(store, end if view.at is None else min(end, view.at)):
        today = store.engine.by_rows([event.row for event in events])
        for event in events:
            if since is not None and event.time < since:
                return
            if (op is not None and event.op != op) or (actor is not None and not _is_by(event.actor, actor)):
                continue
            if not _may_see(view, event, today.get(event.row)):
                continue
            yield _line(event)
            limit -= 1
            if not limit:
                return


def log_after(store: Store, view: View, after: int, until: int) -> Iterator[LogLine]:
    """Yield the entries of the journal after one, up to another, as the caller may see them, the earliest first.

    Args:
        store: The store.
        view: Who asks, and in which spaces; its filter is not looked at.
        after: Number of the entry.
        until: Number of the last one.
    """
    for start in range(after, until, _PAGE):
        events = store.engine.journal(start, min(_PAGE, until - start))
        today = store.engine.by_rows([event.row for event in events])
        for event in events:
            if _may_see(view, event, today.get(event.row)):
                yield _line(event)


def _line(event: Event) -> LogLine:
    return LogLine(event.time, event.op, event.actor, event.space, event.cube, event.version, dict(event.detail))


def _backwards(store: Store, end: int) -> Iterator[list[Event]]:
    """Yield the journal from an entry back to the first, some entries at a time, the latest first."""
    while end > 0:
        start = max(0, end - _PAGE)
        events = store.engine.journal(start, end - start)
        yield events[::-1]
        end = start


def _is_by(actor: Scope, wanted: Scope) -> bool:
    return wanted.given.items() <= actor.given.items()


def _may_see(view: View, event: Event, today: Cube | None) -> bool:
    if today is None:
        return _walls(event.actor) == _walls(view.scope) and (event.space in view.spaces or not event.space)
    return today.space in view.spaces and view.allows(today).allowed


def _walls(scope: Scope) -> tuple[str | None, str | None, str | None]:
    return scope.tenant, scope.user, scope.agent


# --- undoing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of an undo.

    Args:
        cubes: As they are now.
        ops: What was undone, the latest first.
        kept: Ids of cubes that are left alone.
        reasons: Why, for each of those, in the same order: it was changed since, is frozen, …
    """

    cubes: tuple[Cube, ...]
    ops: tuple[EventOp, ...]
    kept: tuple[str, ...]
    reasons: tuple[str, ...] = ()


def undo(store: Store, *, view: View, actor: Scope, now: datetime, steps: int = 1) -> Undone:
    """Revert what the caller did last: what was created is archived, what was changed says again what it said before.

    An undo is a change like any other: undoing it does it again. What one verb wrote in one transaction is one step;
    the journal knows it by its time, so what was done at the same microsecond, also because the clock stood or went
    back, is one step too.

    Args:
        store: The store.
        view: What the caller may see; its spaces are those in which things are undone.
        actor: Who did it, and undoes it; the session may be any.
        now: Record time.
        steps: How many to undo, >= 1.

    Raises:
        BadInput: `steps` is below 1, there is nothing to undo, or one of them forgot something or changed rules.
    """
    if steps < 1:
        raise BadInput(f"{steps} steps cannot be undone", hint="1 or more")
    whole = _whole(view)
    groups = _last_steps(store, whole, actor, steps)
    if not groups:
        raise BadInput("there is nothing to undo here")
    mine = {event.seq for group in groups for event in group}
    firsts: dict[str, Event] = {}
    for group in groups:
        for event in group:
            if event.cube not in firsts or event.seq < firsts[event.cube].seq:
                firsts[event.cube] = event
    found = {id: _reversion(store, whole, first, mine) for id, first in firsts.items()}
    back = {id: reversion for id, reversion in found.items() if isinstance(reversion, _Reversion)}
    cubes = {cube.id: cube for cube in _write_back(store, list(back.values()), whole, actor, now)}
    kept = {id: reason for id, reason in found.items() if isinstance(reason, str)}
    return Undone(tuple(cubes.values()), tuple(group[0].op for group in groups), tuple(kept), tuple(kept.values()))


@dataclass(frozen=True, slots=True)
class _Reversion:
    """What a cube is to say again, what the journal calls that, and what else it says."""

    cube: Cube
    op: EventOp
    detail: Mapping[str, Json]

    def change(self, old: Cube) -> Cube:
        return replace(old, payload=self.cube.payload, header=self.cube.header)


def _write_back(store: Store, back: Sequence[_Reversion], view: View, actor: Scope, now: datetime) -> list[Cube]:
    """Write what cubes are to say again; what one makes stale by that, though it was made of what it says, is not."""
    out: list[Cube] = []
    while back:
        changes = [(each.cube.id, each.change, each.op, each.detail) for each in back]
        out.extend(store.change(changes, view=view, actor=actor, now=now))
        now_there = {each.cube.id: store.engine.get(each.cube.id, view) for each in back}
        spoilt = [(each, cube) for each in back if (cube := now_there[each.cube.id]) and cube.header.life.stale]
        back = [each for each, _ in spoilt if not each.cube.header.life.stale]
    return out


def _last_steps(store: Store, view: View, actor: Scope, steps: int) -> list[list[Event]]:
    """Return the last operations of somebody, the latest first, the entries of each the latest first."""
    groups: list[list[Event]] = []
    for events in _backwards(store, store.engine.head().seq):
        for event in events:
            if _walls(event.actor) != _walls(actor) or (event.space not in view.spaces and event.op != "policy"):
                continue
            if groups and groups[-1][0].time == event.time:
                groups[-1].append(event)
            elif len(groups) == steps:
                return groups
            else:
                groups.append([event])
            if event.op == "policy":
                raise BadInput(
                    f"rules were changed at {event.time.isoformat()}, and that is not undone by this",
                    hint="change them back, or roll single memories back to an earlier version",
                )
            if event.op == "forget":
                raise BadInput(
                    f"cube {event.cube!r} was forgotten at {event.time.isoformat()}, and that cannot be undone",
                    hint="roll single memories back to an earlier version",
                )
    return groups


def _reversion(store: Store, view: View, first: Event, mine: set[int]) -> _Reversion | str:
    """Return how a cube becomes what it was before an entry, or why it does not."""
    current = store.engine.get(first.cube, view)
    if current is None:
        return "is not there for this caller any more"
    state = current.header.life.state
    if any(event.seq > first.seq and event.seq not in mine for event in store.engine.events_of(first.cube)):
        return "was changed since"
    if state in ("frozen", "expired"):
        return f"is {state}" if state == "frozen" else "has expired"
    said = view.allows(current, "write")
    if not said.allowed:
        return f"may not be changed: {said.rule}"
    before = next((old for old in reversed(store.engine.versions(current.id)) if old.seq < first.seq), None)
    if before is None:
        life = replace(current.header.life, state="archived")
        gone = replace(current, header=replace(current.header, life=life))
        return _Reversion(gone, "state", {"undo": first.seq})
    try:
        _check_return(view, current, before)
    except Denied as error:
        return f"may not be what it was: {error.rule}"
    return _Reversion(before, "restore", {"to": before.version, "undo": first.seq})
