"""Who may do what with which cube: one decision, taken inside the store before anything is ranked or counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from ..errors import BadInput
from .header import Bound, Life, Rights, rights_from_json, rights_to_json
from .payload import Json
from .scope import Scope, check_name

__all__ = [
    "ACTIONS",
    "EVERYONE",
    "OPEN",
    "Access",
    "Action",
    "Call",
    "Decision",
    "Limit",
    "Policy",
    "RateAction",
    "Reading",
    "SpaceRights",
    "check_principal",
    "decide",
    "policy_from_json",
    "policy_to_json",
]

Action = Literal["read", "write", "share", "freeze"]
ACTIONS: tuple[Action, ...] = get_args(Action)
RateAction = Literal["read", "write"]
EVERYONE = "*"
_KINDS = ("user", "agent", "session", "group", "role")


def check_principal(text: str) -> str:
    """Return a principal unchanged when it is one: ``user:ann``, ``group:sales``, ``*`` …

    Raises:
        BadInput: It is written otherwise.
    """
    kind, found, name = text.partition(":") if isinstance(text, str) else ("", "", "")
    if text == EVERYONE or (found and kind in _KINDS):
        if text != EVERYONE:
            check_name(name, kind)
        return text
    raise BadInput(
        f"{text!r} is no principal", hint="write user:ann, agent:bot, session:s1, group:sales, role:auditor or *"
    )


@dataclass(frozen=True, slots=True)
class SpaceRights:
    """Rights to a space.

    Args:
        rights: As on a cube, for the cubes of the space that have no owner; ``write`` also lets one add. Its
            ``deny``, its conditions and its ``sensitivity`` hold for every cube of the space.
        reach: Principals whose rights here extend to what others own.
    """

    rights: Rights = Rights()
    reach: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limit:
    """How often each caller may read or write; the last condition, after all rights.

    Args:
        principal: Whom it concerns; each member of a group and each holder of a role counts by itself.
        action: What is counted: verbs that read, or verbs that write.
        calls: Most of them, >= 0.
        per_s: In any stretch of so many seconds, >= 1.
        space: Where; None for all spaces together.
    """

    principal: str
    action: RateAction
    calls: int
    per_s: int
    space: str | None = None

    def concerns(self, access: Access, action: str, space: str) -> bool:
        """Return whether a caller's verb in a space is counted."""
        is_here = self.space is None or self.space == space
        return is_here and self.action == action and self.principal in access.principals


@dataclass(slots=True)
class Call:
    """One verb of a memory under way, that is counted once where a limit holds.

    Args:
        action: Whether it reads or writes.
        is_counted: Whether it was counted.
    """

    action: RateAction
    is_counted: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a tenant has ruled: groups, roles, rights to spaces, clearances.

    A space without rights of its own is open: what nobody owns, everybody of the tenant reads and writes.

    Args:
        groups: Members of each group, as principals; a group may hold groups.
        roles: Holders of each role, as principals.
        spaces: Rights to each space that has any.
        clearances: Labels of sensitivity that each principal may see. While there are none, labels close nothing.
        is_closed: Whether spaces without rights of their own admit owners alone.
        limits: How often callers may read and write.
    """

    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    roles: tuple[tuple[str, tuple[str, ...]], ...] = ()
    spaces: tuple[tuple[str, SpaceRights], ...] = ()
    clearances: tuple[tuple[str, tuple[str, ...]], ...] = ()
    is_closed: bool = False
    limits: tuple[Limit, ...] = ()
    _by_space: dict[str, SpaceRights] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_space.update(self.spaces)

    def space(self, name: str) -> SpaceRights | None:
        """Return the rights to a space, or None when it has none of its own."""
        return self._by_space.get(name)

    def principals(self, scope: Scope) -> frozenset[str]:
        """Return everything a caller is: itself, its groups, its roles, and everyone."""
        named = (("user", scope.user), ("agent", scope.agent), ("session", scope.session))
        mine = {EVERYONE, *(f"{kind}:{name}" for kind, name in named if name is not None)}
        waiting = [(f"group:{name}", members) for name, members in self.groups]
        waiting += [(f"role:{name}", members) for name, members in self.roles]
        size = 0
        while len(mine) != size:
            size = len(mine)
            mine.update(name for name, members in waiting if not mine.isdisjoint(members))
        return frozenset(mine)


OPEN = Policy()
"""No rules but the walls of scopes."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller holds in the moment of a call.

    Args:
        scope: Who asks.
        principals: Everything it is.
        policy: What its tenant has ruled.
        cleared: Labels it may see; None for all of them.
        purpose: What it says it asks for, or None.
        moment: When it asks; None when no time is known, and then what is bound to a time is closed.
        is_steward: Whether the memory itself is at work, as the sweeper is: everything of the tenant is open to it
            but what is frozen. No caller is ever given this.
        task: What it says it is at, or None.
    """

    scope: Scope = Scope()
    principals: frozenset[str] = frozenset((EVERYONE,))
    policy: Policy = OPEN
    cleared: frozenset[str] | None = None
    purpose: str | None = None
    moment: datetime | None = None
    is_steward: bool = False
    task: str | None = None
    _passed: dict[Bound, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def steward(cls, tenant: str | None, moment: datetime) -> Access:
        """Return what the memory itself holds while it keeps house for a tenant."""
        return cls(Scope(tenant=tenant), frozenset(), moment=moment, is_steward=True)

    @classmethod
    def of(
        cls,
        scope: Scope,
        policy: Policy = OPEN,
        *,
        purpose: str | None = None,
        task: str | None = None,
        moment: datetime | None = None,
    ) -> Access:
        """Return what a caller holds under a policy."""
        principals = policy.principals(scope)
        cleared = None
        if policy.clearances:
            cleared = frozenset(label for who, labels in policy.clearances if who in principals for label in labels)
        return cls(scope, principals, policy, cleared, purpose, moment, task=task)

    def is_named(self, names: Iterable[str]) -> bool:
        """Return whether the caller is one of these principals."""
        return not self.principals.isdisjoint(names)

    def is_cleared(self, rights: Rights) -> bool:
        """Return whether the caller may see every label."""
        return self.cleared is None or self.cleared.issuperset(rights.sensitivity)

    def failing(self, rights: Rights) -> str:
        """Return the condition that closes something to the caller now: purpose, task, time, or nothing."""
        if rights.purposes and self.purpose not in rights.purposes:
            return "purpose"
        if rights.tasks and self.task not in rights.tasks:
            return "task"
        if rights.is_timed and not _is_open(rights, self.moment):
            return "time"
        return ""

    def reading(self, space: str, action: Action = "read") -> Reading:
        """Return what this caller's rights to a space come to, before any cube of it is looked at."""
        if self.is_steward:
            return Reading(is_ruled=True, shared=True, reach=True)
        ruled = self.policy.space(space)
        if ruled is None:
            return Reading(is_ruled=False, shared=not self.policy.is_closed)
        if self.is_named(ruled.rights.deny) or self.failing(ruled.rights):
            return Reading(is_ruled=True, is_barred=True)
        holds = self.is_named(getattr(ruled.rights, action))
        return Reading(
            is_ruled=True,
            shared=holds,
            reach=holds and self.is_named(ruled.reach),
            is_cleared=self.is_cleared(ruled.rights),
        )

    def bars(self, rights: Rights) -> bool:
        """Return whether rights of a cube close it to the caller, whoever owns it."""
        if self.is_steward:
            return False
        if self.is_named(rights.deny) or self.failing(rights):
            return True
        return bool(rights.bounds) and not self.passes(rights)

    def passes(self, rights: Rights) -> bool:
        """Return whether the caller may read, today, everything that bounds a cube with these rights."""
        return all(self._may_pass(bound) for bound in rights.bounds)

    def _may_pass(self, bound: Bound) -> bool:
        known = self._passed.get(bound)
        if known is None:
            owner = Scope(tenant=self.scope.tenant, user=bound.user, agent=bound.agent)
            said = decide("read", self, space=bound.space, owner=owner, rights=bound.rights, life=_ALIVE)
            known = self._passed[bound] = said.allowed
        return known

    def grants(self, rights: Rights, action: Action = "read") -> bool:
        """Return whether rights of a cube name the caller."""
        return self.is_named(getattr(rights, action))


_ALIVE = Life()


@dataclass(frozen=True, slots=True)
class Reading:
    """What one caller may do with the cubes of one space.

    Args:
        is_ruled: Whether the space has rights of its own.
        is_barred: Nothing at all.
        shared: What nobody owns.
        reach: What others own, too.
        is_cleared: Whether the labels of the space let it see what it does not own.
    """

    is_ruled: bool
    is_barred: bool = False
    shared: bool = False
    reach: bool = False
    is_cleared: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, and which rule says so.

    Args:
        allowed: Whether it is.
        rule: ``tenant``, ``frozen``, ``steward``, ``deny``, ``purpose``, ``task``, ``time``, ``lineage``, ``owner``,
            ``cube``, ``space``, ``reach``, ``shared``, ``clearance`` or ``default``.
    """

    allowed: bool
    rule: str


def decide(action: Action, access: Access, *, space: str, owner: Scope, rights: Rights, life: Life) -> Decision:
    """Return whether a caller may do something with a cube: the one rule that every store and index must agree with.

    In this order: the tenant; frozen cubes change only by being thawed or shared; an explicit deny on cube or space;
    conditions of purpose, task and time, which bind the owner too; what it was made of, all of which one must be
    allowed to read today; the owner; names on the cube; rights to the space for what nobody owns, or with reach for
    what others own; and of everything that is not one's own, labels that one is not cleared for. What nothing allows is
    denied. How often one may call is asked last, by the memory: see `Limit`. Freezing is no right of an owner where the
    space has rights of its own, for it serves to hold what its owner would rather forget.
    """
    scope = access.scope
    if owner.tenant != scope.tenant:
        return Decision(False, "tenant")
    if action == "write" and life.state == "frozen":
        return Decision(False, "frozen")
    if access.is_steward:
        return Decision(True, "steward")
    ruled = access.policy.space(space)
    both = (rights,) if ruled is None else (rights, ruled.rights)
    if any(access.is_named(each.deny) for each in both):
        return Decision(False, "deny")
    for each in both:
        if failing := access.failing(each):
            return Decision(False, failing)
    if rights.bounds and not access.passes(rights):
        return Decision(False, "lineage")
    is_owned = owner.user is not None or owner.agent is not None
    if is_owned and scope.sees(owner) and not (action == "freeze" and ruled is not None):
        return Decision(True, "owner")
    rule = _granted(action, access, ruled, rights, is_owned)
    if rule and not all(access.is_cleared(each) for each in both):
        return Decision(False, "clearance")
    return Decision(bool(rule), rule or "default")


def _granted(action: Action, access: Access, ruled: SpaceRights | None, rights: Rights, is_owned: bool) -> str:
    """Return which rule gives somebody a cube that is not its own, or nothing."""
    if access.is_named(getattr(rights, action)):
        return "cube"
    if ruled is None:
        return "shared" if not is_owned and not access.policy.is_closed else ""
    if not access.is_named(getattr(ruled.rights, action)):
        return ""
    if not is_owned:
        return "space"
    return "reach" if access.is_named(ruled.reach) else ""


def _is_open(rights: Rights, moment: datetime | None) -> bool:
    if moment is None:
        return False
    if (rights.opens is not None and moment < rights.opens) or (rights.closes is not None and moment >= rights.closes):
        return False
    if rights.hours is None:
        return True
    start, end = rights.hours
    minute = moment.astimezone(UTC).hour * 60 + moment.astimezone(UTC).minute
    return start <= minute < end if start <= end else minute >= start or minute < end


def policy_to_json(policy: Policy) -> dict[str, Json]:
    """Return a policy as a JSON object; `policy_from_json` is its inverse."""
    out: dict[str, Json] = {}
    for name in ("groups", "roles", "clearances"):
        if named := getattr(policy, name):
            out[name] = {key: list(values) for key, values in named}
    if policy.spaces:
        out["spaces"] = {
            name: rights_to_json(said.rights) | ({"reach": list(said.reach)} if said.reach else {})
            for name, said in policy.spaces
        }
    if policy.is_closed:
        out["closed"] = True
    if policy.limits:
        out["limits"] = [[each.principal, each.action, each.calls, each.per_s, each.space] for each in policy.limits]
    return out


def policy_from_json(data: Mapping[str, Json]) -> Policy:
    """Return the policy that `policy_to_json` wrote."""
    named = {
        name: tuple(sorted((key, tuple(values)) for key, values in data[name].items()))  # type: ignore[union-attr,arg-type]  # JSON objects
        for name in ("groups", "roles", "clearances")
        if name in data
    }
    spaces = tuple(
        (name, SpaceRights(rights_from_json(said), tuple(said.get("reach", ()))))
        for name, said in sorted(data.get("spaces", {}).items())  # type: ignore[union-attr]
    )
    limits = tuple(Limit(*said) for said in data.get("limits", ()))  # type: ignore[misc,union-attr]  # as written above
    return Policy(spaces=spaces, is_closed=bool(data.get("closed", False)), limits=limits, **named)
