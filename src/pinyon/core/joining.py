"""What holds for something made of several cubes: no more rights than those of any, and no longer life.

Source: MemOS §2 "Lineage and deletion": access is the intersection, life the minimum, sensitivity the union.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime

from ..errors import Denied
from .access import EVERYONE
from .cube import Cube
from .header import Bound, Rights
from .scope import Scope

__all__ = [
    "DAY_MINUTES",
    "NAMED",
    "NOT_MADE_OF",
    "bounds_after",
    "bounds_from",
    "forbidding",
    "is_made_of",
    "joined_expiry",
    "joined_rights",
    "narrowed",
    "no_wider",
    "withheld",
]

DAY_MINUTES = 24 * 60
NAMED = ("read", "write", "share", "freeze", "deny")
"""Lists of rights that hold principals."""
NOT_MADE_OF = ("supersedes", "copied")
"""What lineage says of cubes that another does not speak for."""
_NO_PURPOSE = "these memories may never be used for the same purpose"
_NO_TASK = "these memories may never be used at the same task"
_ADDED_UP = ("deny", "sensitivity")


def is_made_of(cube: Cube, ids: Sequence[str], *, or_copied: bool = False) -> bool:
    """Return whether a cube was made of one of some others, so that it says something of what they say.

    Args:
        cube: Which.
        ids: Of the others.
        or_copied: Whether the copy that a branch made counts.
    """
    others = ("supersedes",) if or_copied else NOT_MADE_OF
    return any(parent.id in ids and parent.relation not in others for parent in cube.header.lineage.parents)


def forbidding(rights: Rights) -> Rights:
    """Return what rights forbid, without what they grant and without bounds: all that leaves with a cube."""
    return replace(rights, read=(), write=(), share=(), freeze=(), bounds=())


def joined_rights(parents: Sequence[Cube]) -> Rights:
    """Return the rights of something made of several cubes: no wider than those of any of them.

    Who may do something is whoever may do it with all; denials and labels add up; every condition holds. Bounds are
    not among them: the store gives these, from what is there when it writes.

    Raises:
        Denied: Their purposes, tasks or times exclude each other, so that nobody could ever use the product.
    """
    if not parents:
        return Rights()
    rights = replace(parents[0].header.rights, bounds=())
    for parent in parents[1:]:
        rights = no_wider(rights, parent.header.rights)
    return rights


def joined_expiry(parents: Sequence[Cube]) -> datetime | None:
    """Return when the first of several cubes expires, or None."""
    return min((at for cube in parents if (at := cube.header.life.expires) is not None), default=None)


def no_wider(one: Rights, two: Rights) -> Rights:
    """Return the rights that two allow both.

    Raises:
        Denied: Their purposes, tasks or times exclude each other.
    """
    both: dict[str, object] = {}
    for field in fields(Rights):
        mine, theirs = getattr(one, field.name), getattr(two, field.name)
        if field.name in _ADDED_UP:
            both[field.name] = tuple(dict.fromkeys((*mine, *theirs)))
        elif field.name in NAMED:
            both[field.name] = _common(mine, theirs)
    both["purposes"] = _stated(one.purposes, two.purposes, _NO_PURPOSE)
    both["tasks"] = _stated(one.tasks, two.tasks, _NO_TASK)
    both["opens"] = max((at for at in (one.opens, two.opens) if at is not None), default=None)
    both["closes"] = min((at for at in (one.closes, two.closes) if at is not None), default=None)
    both["hours"] = _hours(one.hours, two.hours)
    if both["opens"] is not None and both["closes"] is not None and both["opens"] >= both["closes"]:  # type: ignore[operator]
        raise Denied("these memories may never be used at the same time", hint="make it of fewer of them")
    return Rights(**both)  # type: ignore[arg-type]  # the fields of Rights


def _common(one: tuple[str, ...], two: tuple[str, ...]) -> tuple[str, ...]:
    """Return the principals that two lists name, where everyone is whoever the other one names."""
    mine = [name for name in one if name in two or EVERYONE in two]
    theirs = [name for name in two if EVERYONE in one]
    return tuple(dict.fromkeys((*mine, *theirs)))


def _stated(one: tuple[str, ...], two: tuple[str, ...], trouble: str) -> tuple[str, ...]:
    if not one or not two:
        return one or two
    common = tuple(name for name in one if name in two)
    if not common:
        raise Denied(trouble, hint="make it of fewer of them")
    return common


def _hours(one: tuple[int, int] | None, two: tuple[int, int] | None) -> tuple[int, int] | None:
    if one is None or two is None or one == two:
        return one or two
    open_minutes = [_within(minute, one) and _within(minute, two) for minute in range(DAY_MINUTES)]
    if all(open_minutes):
        return None
    starts = [minute for minute in range(DAY_MINUTES) if open_minutes[minute] and not open_minutes[minute - 1]]
    if len(starts) != 1:
        raise Denied("the hours of these memories have no single stretch in common", hint="make it of fewer of them")
    (start,) = starts
    length = next(n for n in range(1, DAY_MINUTES + 1) if not open_minutes[(start + n) % DAY_MINUTES])
    return start, (start + length) % DAY_MINUTES or DAY_MINUTES


def _within(minute: int, hours: tuple[int, int]) -> bool:
    start, end = hours
    return start <= minute < end if start <= end else minute >= start or minute < end


def narrowed(rights: Rights, bounds: Sequence[Rights]) -> Rights:
    """Return rights cut to those that all of several others allow; closed to everyone where these exclude each other.

    Args:
        rights: Of something made of several cubes.
        bounds: Of these cubes.
    """
    try:
        for bound in bounds:
            rights = no_wider(rights, bound)
    except Denied:
        return replace(rights, deny=tuple(dict.fromkeys((*rights.deny, EVERYONE))))
    return rights


def bounds_from(parent: Cube, rights: Rights, space: str, owner: Scope, *, is_copy: bool = False) -> dict[Bound, None]:
    """Return what a cube made of another is bound by.

    What rests where the cube does, belongs to whom it belongs and allows no less needs no bound. A copy rests where it
    was put on purpose, and is bound by what its original was made of alone.

    Args:
        parent: The other.
        rights: Of the cube.
        space: Where the cube rests.
        owner: Whose it is.
        is_copy: Whether it is a copy.
    """
    own = replace(parent.header.rights, bounds=())
    all_bounds = [] if is_copy else [Bound(parent.space, parent.owner.user, parent.owner.agent, own)]
    all_bounds += parent.header.rights.bounds
    place, mine = (space, owner.user, owner.agent), replace(rights, bounds=())
    return {
        each: None
        for each in all_bounds
        if each.gone or (each.space, each.user, each.agent) != place or narrowed(mine, [each.rights]) != mine
    }


def bounds_after(made: Cube, bounds: Sequence[Bound], gone: Cube, *, is_copy: bool = False) -> tuple[Bound, ...]:
    """Return bounds when one source is forgotten: what it had last holds on, under its id.

    Args:
        made: What is bound.
        bounds: Before.
        gone: The source, as it was.
        is_copy: Whether what is bound is a copy of it.
    """
    last = replace(gone.header.rights, bounds=())
    places = [(each.space, each.owner.user, each.owner.agent) for each in (made, gone)]
    is_silent = last == Rights() and places[0] == places[1]  # whoever reads the one could read the other
    own = () if is_copy or is_silent else (Bound(*places[1], last),)
    kept = [replace(each, gone=tuple(sorted({*each.gone, gone.id}))) for each in (*own, *gone.header.rights.bounds)]
    return tuple(dict.fromkeys((*bounds, *kept)))


def withheld(old: Rights, wanted: Rights, bounds: Sequence[Rights]) -> tuple[str, ...]:
    """Return which lists of rights cannot be changed as wanted, because what something was made of says otherwise."""
    given = narrowed(wanted, bounds)
    out = []
    for field in fields(Rights):
        before, asked, after = (getattr(each, field.name) for each in (old, wanted, given))
        if before == asked:
            continue
        if field.name in _ADDED_UP:
            is_cut = not (set(before) - set(asked)).isdisjoint(after)
        elif field.name in NAMED:
            is_cut = not (set(asked) - set(before)) <= set(after)
        else:
            is_cut = after != asked
        if is_cut:
            out.append(field.name)
    return tuple(out)
