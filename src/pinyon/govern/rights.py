"""What a tenant has ruled, where it is kept, and what follows for what is made of several cubes.

Source: MemOS §6 (MemGovernance) for the order of the decision, which `core.access` takes; the rest is ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Literal, get_args

from ..core.access import (
    OPEN,
    Access,
    Limit,
    Policy,
    RateAction,
    SpaceRights,
    check_principal,
    policy_from_json,
    policy_to_json,
)
from ..core.cube import Cube
from ..core.header import Rights
from ..core.joining import DAY_MINUTES, NAMED, joined_expiry, joined_rights, no_wider
from ..core.payload import Json, canonical
from ..core.scope import Scope, check_name
from ..errors import BadInput, Denied
from ..store import Engine, Store

__all__ = [
    "ADMIN",
    "Period",
    "Rules",
    "check_keeper",
    "check_owner",
    "check_rights",
    "has_admin",
    "joined_expiry",
    "joined_rights",
    "limit_of",
    "no_wider",
    "policies_of",
    "with_limit",
    "with_named",
    "with_space",
]

Period = Literal["second", "minute", "hour", "day"]
_SECONDS: dict[object, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_MOST_CALLS = 1_000_000_000
_LONGEST = 366 * 86_400  # seconds
ADMIN = "role:admin"
"""Who may change the rules, as soon as the role has a holder; until then everybody may."""
_POLICY = "policy"


class Rules:
    """The rules of one tenant, kept as a setting of the store and changed through its journal.

    Args:
        store: Where they are kept.
        tenant: Whose they are; None for those without one.
    """

    def __init__(self, store: Store, tenant: str | None) -> None:
        self._store = store
        self.key = _POLICY if tenant is None else f"{_POLICY}:{tenant}"

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
            wanted = change(policy)
            if has_admin(wanted) and not has_admin(policy):
                self._check_first(access.scope)
            return canonical(policy_to_json(wanted))

        return _parsed(self._store.rule(self.key, text, actor=access.scope, now=now, detail=what))

    def _check_first(self, scope: Scope) -> None:
        """Refuse that a user or agent makes the first administrator of the whole store over tenants that have one."""
        is_named = scope.user is not None or scope.agent is not None
        if self.key == _POLICY and is_named and any(map(has_admin, policies_of(self._store.engine).values())):
            raise Denied(
                "tenants of this memory have administrators of their own, and nobody may put themselves above them",
                hint="name no user and no agent to appoint the first administrator of the whole memory",
                rule="admin",
            )


def policies_of(engine: Engine) -> dict[str | None, Policy]:
    """Return the rules of every tenant that has any, by tenant; None for those without one."""
    from ..store.migrate import rest_of  # all engines, which few verbs need

    settings = rest_of(engine).settings()
    return {
        key.partition(":")[2] or None: _parsed(text)
        for key, text in settings.items()
        if key.partition(":")[0] == _POLICY and text
    }


def check_keeper(engine: Engine, scope: Scope) -> None:
    """Refuse what concerns the memories of every tenant to all but administrators of the whole store.

    These are administrators without a tenant. While nobody is one, everybody may, unless a tenant has an administrator
    or another tenant than the caller's has rules.

    Args:
        engine: The store itself, not a room of it.
        scope: Who asks.

    Raises:
        Denied: The caller is none.
    """
    policies = policies_of(engine)
    whole = policies.get(None, OPEN)
    if has_admin(whole):
        is_keeper = scope.tenant is None and ADMIN in whole.principals(scope)
    else:
        is_keeper = not any(
            has_admin(policy) or (tenant != scope.tenant and policy != OPEN) for tenant, policy in policies.items()
        )
    if not is_keeper:
        raise Denied(
            "this concerns the memories of every tenant and is for administrators of the whole memory alone",
            hint="ask a holder of role:admin without a tenant; `pinyon role admin --add user:NAME`, by nobody in"
            " particular, appoints the first",
            rule="admin",
        )


def has_admin(policy: Policy) -> bool:
    """Return whether anybody holds the role of an administrator."""
    return any(f"role:{name}" == ADMIN and holders for name, holders in policy.roles)


@lru_cache(maxsize=64)
def _parsed(text: str) -> Policy:
    return policy_from_json(json.loads(text))


def check_rights(rights: Rights) -> Rights:
    """Return rights unchanged when every part of them can be used.

    Raises:
        BadInput: A principal, purpose, task, label or time cannot.
    """
    for name in NAMED:
        for principal in getattr(rights, name):
            check_principal(principal)
    for label in rights.sensitivity:
        check_name(label, "label")
    for purpose in rights.purposes:
        check_name(purpose, "purpose")
    for task in rights.tasks:
        check_name(task, "task")
    if rights.opens is not None and rights.closes is not None and rights.opens >= rights.closes:
        raise BadInput("rights that close before they open allow nothing", hint="exchange the two moments")
    if rights.hours is not None and not all(0 <= minute <= DAY_MINUTES for minute in rights.hours):
        raise BadInput(f"hours are minutes of a day, 0 to {DAY_MINUTES}, got {rights.hours}")
    return rights


def check_owner(scope: Scope, parents: Sequence[Cube]) -> None:
    """Refuse to make something that everyone sees of what only some see.

    Raises:
        Denied: Something private is among the parents, and the caller is nobody in particular.
    """
    if scope.user is None and scope.agent is None and any(p.owner.user or p.owner.agent for p in parents):
        raise Denied("what is made of private memories needs an owner", hint="say for which user or agent it is made")


def with_space(policy: Policy, name: str, change: Callable[[SpaceRights], SpaceRights | None]) -> Policy:
    """Return a policy with other rights to a space; None takes them away."""
    spaces = dict(policy.spaces)
    new = change(spaces.get(name, SpaceRights()))
    spaces.pop(name, None)
    if new is not None:
        check_rights(new.rights)
        spaces[name] = SpaceRights(new.rights, tuple(map(check_principal, new.reach)))
    return replace(policy, spaces=tuple(sorted(spaces.items(), key=lambda pair: pair[0])))


def limit_of(principal: str, action: RateAction, calls: int | None, per: Period | float, space: str | None) -> Limit:
    """Return a limit of calls; without a number, one that nobody passes.

    Raises:
        BadInput: It cannot be kept.
    """
    check_principal(principal)
    if action not in get_args(RateAction):
        raise BadInput(f"{action!r} is nothing that is counted", hint=f"use one of {', '.join(get_args(RateAction))}")
    number = 0 if calls is None else calls
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST_CALLS:
        raise BadInput(f"{calls!r} is no number of calls", hint=f"0 to {_MOST_CALLS}")
    seconds = _SECONDS.get(per, per)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 1 <= seconds <= _LONGEST:
        raise BadInput(
            f"{per!r} is no time in which calls are counted",
            hint=f"use {', '.join(get_args(Period))}, or 1 to {_LONGEST} seconds",
        )
    return Limit(principal, action, number, int(seconds), space)


def with_limit(policy: Policy, limit: Limit, *, is_on: bool) -> Policy:
    """Return a policy with a limit in place of that of the same principal, action and space, or without it."""
    kept = [
        each
        for each in policy.limits
        if (each.principal, each.action, each.space) != (limit.principal, limit.action, limit.space)
    ]
    if not is_on and len(kept) == len(policy.limits):
        raise BadInput(
            f"there is no limit of {limit.principal} to {limit.action} here", hint="`pinyon rights` shows what there is"
        )
    return replace(policy, limits=tuple(sorted([*kept, limit] if is_on else kept, key=repr)))


def with_named(policy: Policy, what: str, name: str, values: Sequence[str]) -> Policy:
    """Return a policy with other members of a group, holders of a role or labels of a clearance; none drops it."""
    table = dict(getattr(policy, what))
    table.pop(name, None)
    if values:
        table[name] = tuple(dict.fromkeys(values))
    return replace(policy, **{what: tuple(sorted(table.items()))})  # type: ignore[arg-type]  # groups, roles or clearances
