"""What a tenant has ruled, where it is kept, and what follows for what is made of several cubes.

Source: MemOS §6 (MemGovernance) for the order of the decision, which `core.access` takes; the rest is ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import lru_cache

from ..core.access import OPEN, Access, Policy, SpaceRights, check_principal, policy_from_json, policy_to_json
from ..core.cube import Cube
from ..core.header import Rights
from ..core.payload import Json, canonical
from ..core.scope import Scope, check_name
from ..errors import BadInput, Denied
from ..store import Store

__all__ = [
    "ADMIN",
    "Rules",
    "check_owner",
    "check_rights",
    "has_admin",
    "joined_expiry",
    "joined_rights",
    "no_wider",
    "with_named",
    "with_space",
]

ADMIN = "role:admin"
"""Who may change the rules, as soon as the role has a holder; until then everybody may."""
_DAY = 24 * 60
_NAMED = ("read", "write", "share", "freeze", "deny")


class Rules:
    """The rules of one tenant, kept as a setting of the store and changed through its journal.

    Args:
        store: Where they are kept.
        tenant: Whose they are; None for those without one.
    """

    def __init__(self, store: Store, tenant: str | None) -> None:
        self._store = store
        self.key = "policy" if tenant is None else f"policy:{tenant}"

    def policy(self) -> Policy:
        """Return what is ruled now, by whatever process."""
        text = self._store.engine.setting(self.key)
        return OPEN if not text else _parsed(text)

    def change(
        self, change: Callable[[Policy], Policy], *, access: Access, now: datetime, what: dict[str, Json]
    ) -> Policy:
        """Write new rules in one transaction with the entry of the journal that says who changed what.

        Args:
            change: Gives the new rules from those that stand.
            access: Who does it.
            now: Record time.
            what: For the journal, no content.

        Raises:
            Denied: There is an administrator, and the caller is none.
        """

        def text(old: str | None) -> str:
            policy = _parsed(old) if old else OPEN
            if has_admin(policy) and ADMIN not in policy.principals(access.scope):
                raise Denied(
                    "the rules are changed by administrators alone", hint="ask a holder of role:admin", rule="admin"
                )
            return canonical(policy_to_json(change(policy)))

        return _parsed(self._store.rule(self.key, text, actor=access.scope, now=now, detail=what))


def has_admin(policy: Policy) -> bool:
    """Return whether anybody holds the role of an administrator."""
    return any(f"role:{name}" == ADMIN and holders for name, holders in policy.roles)


@lru_cache(maxsize=64)
def _parsed(text: str) -> Policy:
    return policy_from_json(json.loads(text))


def check_rights(rights: Rights) -> Rights:
    """Return rights unchanged when every part of them can be used.

    Raises:
        BadInput: A principal, purpose, label or time cannot.
    """
    for name in _NAMED:
        for principal in getattr(rights, name):
            check_principal(principal)
    for label in rights.sensitivity:
        check_name(label, "label")
    for purpose in rights.purposes:
        check_name(purpose, "purpose")
    if rights.opens is not None and rights.closes is not None and rights.opens >= rights.closes:
        raise BadInput("rights that close before they open allow nothing", hint="exchange the two moments")
    if rights.hours is not None and not all(0 <= minute <= _DAY for minute in rights.hours):
        raise BadInput(f"hours are minutes of a day, 0 to {_DAY}, got {rights.hours}")
    return rights


def joined_rights(parents: Sequence[Cube]) -> Rights:
    """Return the rights of something made of several cubes: no wider than those of any of them.

    Who may do something is whoever may do it with all; denials and labels add up; every condition holds.

    Raises:
        Denied: Their purposes or times exclude each other, so that nobody could ever use the product.
    """
    if not parents:
        return Rights()
    rights = parents[0].header.rights
    for parent in parents[1:]:
        rights = _joined(rights, parent.header.rights)
    return rights


def joined_expiry(parents: Sequence[Cube]) -> datetime | None:
    """Return when the first of several cubes expires, or None."""
    return min((at for cube in parents if (at := cube.header.life.expires) is not None), default=None)


def check_owner(scope: Scope, parents: Sequence[Cube]) -> None:
    """Refuse to make something that everyone sees of what only some see.

    Raises:
        Denied: Something private is among the parents, and the caller is nobody in particular.
    """
    if scope.user is None and scope.agent is None and any(p.owner.user or p.owner.agent for p in parents):
        raise Denied("what is made of private memories needs an owner", hint="say for which user or agent it is made")


def no_wider(rights: Rights, bound: Rights) -> Rights:
    """Return rights cut to those that another allows too."""
    return _joined(rights, bound)


def _joined(one: Rights, two: Rights) -> Rights:
    both: dict[str, object] = {}
    for field in fields(Rights):
        mine, theirs = getattr(one, field.name), getattr(two, field.name)
        if field.name in ("deny", "sensitivity"):
            both[field.name] = tuple(dict.fromkeys((*mine, *theirs)))
        elif field.name in _NAMED:
            both[field.name] = tuple(name for name in mine if name in theirs)
    both["purposes"] = _purposes(one.purposes, two.purposes)
    both["opens"] = max((at for at in (one.opens, two.opens) if at is not None), default=None)
    both["closes"] = min((at for at in (one.closes, two.closes) if at is not None), default=None)
    both["hours"] = _hours(one.hours, two.hours)
    if both["opens"] is not None and both["closes"] is not None and both["opens"] >= both["closes"]:  # type: ignore[operator]
        raise Denied("these memories may never be used at the same time", hint="make it of fewer of them")
    return Rights(**both)  # type: ignore[arg-type]  # the fields of Rights


def _purposes(one: tuple[str, ...], two: tuple[str, ...]) -> tuple[str, ...]:
    if not one or not two:
        return one or two
    common = tuple(purpose for purpose in one if purpose in two)
    if not common:
        raise Denied("these memories may never be used for the same purpose", hint="make it of fewer of them")
    return common


def _hours(one: tuple[int, int] | None, two: tuple[int, int] | None) -> tuple[int, int] | None:
    if one is None or two is None or one == two:
        return one or two
    open_minutes = [_within(minute, one) and _within(minute, two) for minute in range(_DAY)]
    if all(open_minutes):
        return None
    starts = [minute for minute in range(_DAY) if open_minutes[minute] and not open_minutes[minute - 1]]
    if len(starts) != 1:
        raise Denied("the hours of these memories have no single stretch in common", hint="make it of fewer of them")
    (start,) = starts
    length = next(n for n in range(1, _DAY + 1) if not open_minutes[(start + n) % _DAY])
    return start, (start + length) % _DAY or _DAY


def _within(minute: int, hours: tuple[int, int]) -> bool:
    start, end = hours
    return start <= minute < end if start <= end else minute >= start or minute < end


def with_space(policy: Policy, name: str, change: Callable[[SpaceRights], SpaceRights | None]) -> Policy:
    """Return a policy with other rights to a space; None takes them away."""
    spaces = dict(policy.spaces)
    new = change(spaces.get(name, SpaceRights()))
    spaces.pop(name, None)
    if new is not None:
        check_rights(new.rights)
        spaces[name] = SpaceRights(new.rights, tuple(map(check_principal, new.reach)))
    return replace(policy, spaces=tuple(sorted(spaces.items(), key=lambda pair: pair[0])))


def with_named(policy: Policy, what: str, name: str, values: Sequence[str]) -> Policy:
    """Return a policy with other members of a group, holders of a role or labels of a clearance; none drops it."""
    table = dict(getattr(policy, what))
    table.pop(name, None)
    if values:
        table[name] = tuple(dict.fromkeys(values))
    return replace(policy, **{what: tuple(sorted(table.items()))})  # type: ignore[arg-type]  # groups, roles or clearances
