"""The desk at which rights are given: groups, roles, spaces, clearances, and single memories."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Unpack

from .configuring import redaction_of
from .core.access import Action, Call, Decision, Policy, RateAction, SpaceRights, check_principal
from .core.clock import Instant, instant
from .core.cube import Cube
from .core.header import Rights
from .core.joining import withheld
from .core.payload import Json, canonical
from .core.scope import check_name
from .errors import BadInput, Denied
from .govern.rights import Period, check_rights, limit_of, with_limit, with_named, with_space
from .parts import Caller, Who

if TYPE_CHECKING:
    from .govern.redact import RedactionRule
    from .govern.revisions import Revision

__all__ = ["RightsDesk"]

_LISTS = ("read", "write", "share", "freeze", "deny", "purposes", "tasks", "sensitivity")
_Names = Sequence[str]


@dataclass(frozen=True, slots=True)
class _Changes:
    """Names to add to each list of rights, names to take from each, and times that replace those before."""

    add: dict[str, _Names]
    remove: dict[str, _Names]
    times: dict[str, object]

    def of(self, rights: Rights) -> Rights:
        """Return rights with this done to them."""
        lists = {name: self._names(name, getattr(rights, name)) for name in _LISTS}
        return check_rights(replace(rights, **lists, **self.times))  # type: ignore[arg-type]  # fields of Rights

    def of_space(self, said: SpaceRights) -> SpaceRights:
        """Return rights to a space with this done to them."""
        return SpaceRights(self.of(said.rights), self._names("reach", said.reach))

    def _names(self, name: str, old: _Names) -> tuple[str, ...]:
        gone = set(self.remove.get(name, ()))
        return tuple(dict.fromkeys(each for each in (*old, *self.add.get(name, ())) if each not in gone))


class RightsDesk:
    """Who may do what, for one caller of a memory.

    As soon as ``role:admin`` has a holder, only its holders change groups, roles, clearances and the rights to spaces.
    Rights to a single memory are changed by its owner and by whoever may share it.

    Args:
        caller: Who rules.
        change_cube: Writes the next version of one cube, as the memory does it.
    """

    def __init__(self, caller: Caller, change_cube: Callable[[str, Callable[[Cube], Cube], Caller], Cube]) -> None:
        self._caller = caller
        self._change_cube = change_cube

    def policy(self, **who: Unpack[Who]) -> Policy:
        """Return everything that is ruled for the caller's tenant."""
        caller = self._caller.narrowed(who)
        return caller.parts.rules_of(caller.scope.tenant).policy()

    def group(self, name: str, *, add: _Names = (), remove: _Names = (), **who: Unpack[Who]) -> Policy:
        """Change who belongs to a group.

        Args:
            name: Of the group.
            add: Principals that belong to it from now on, groups too.
            remove: Principals that do no longer.
            who: Who rules.

        Example:
            >>> from pinyon import Memory
            >>> memory = Memory.open(":memory:")
            >>> memory.rights.group("care", add=["user:ann"]).groups
            (('care', ('user:ann',)),)
        """
        return self._named("groups", check_name(name, "group"), add, remove, who)

    def role(self, name: str, *, add: _Names = (), remove: _Names = (), **who: Unpack[Who]) -> Policy:
        """Change who holds a role; arguments as for `group`."""
        return self._named("roles", check_name(name, "role"), add, remove, who)

    def clear(self, principal: str, *, add: _Names = (), remove: _Names = (), **who: Unpack[Who]) -> Policy:
        """Change which labels of sensitivity a principal may see; with the first clearance all labels begin to close.

        Args:
            principal: Whom.
            add: Labels it may see from now on.
            remove: Labels it may see no longer.
            who: Who rules.
        """
        return self._named("clearances", check_principal(principal), add, remove, who, is_label=True)

    def grant(
        self,
        id: str | None = None,
        *,
        read: _Names = (),
        write: _Names = (),
        share: _Names = (),
        freeze: _Names = (),
        deny: _Names = (),
        reach: _Names = (),
        purposes: _Names = (),
        tasks: _Names = (),
        labels: _Names = (),
        opens: Instant | None = None,
        closes: Instant | None = None,
        hours: tuple[int, int] | None = None,
        **who: Unpack[Who],
    ) -> Cube | Policy:
        """Give rights to one memory, or to the caller's space; from its first rights on, a space denies the rest.

        Args:
            id: Of the memory, or its first characters; None for the space.
            read: Principals that may read.
            write: Principals that may add, change, archive and forget.
            share: Principals that may change the rights of single memories.
            freeze: Principals that may freeze and thaw.
            deny: Principals that may do nothing, whatever else they hold.
            reach: Principals whose rights to the space extend to what others own in it.
            purposes: Purposes one of which everybody must state.
            tasks: Tasks at one of which everybody must be.
            labels: Labels of sensitivity, for which all but the owner must be cleared.
            opens: Nobody uses it before.
            closes: Nobody uses it from then on.
            hours: Minutes of the UTC day between which it may be used.
            who: Who rules, and which space.

        Raises:
            Denied: The caller may not rule here.

        Example:
            >>> from pinyon import Memory, Scope
            >>> memory = Memory.open(":memory:")
            >>> policy = memory.rights.grant(read=["group:care"], space="ward")
            >>> memory.rights.group("care", add=["user:ann"]).principals(Scope(user="ann")) >= {"group:care"}
            True
        """
        add = {
            "read": read,
            "write": write,
            "share": share,
            "freeze": freeze,
            "deny": deny,
            "reach": reach,
            "purposes": purposes,
            "tasks": tasks,
            "sensitivity": labels,
        }
        times = {
            "opens": None if opens is None else instant(opens),
            "closes": None if closes is None else instant(closes),
            "hours": hours,
        }
        given: dict[str, object] = {name: value for name, value in times.items() if value is not None}
        return self._give(id, _Changes(add, {}, given), who)

    def revoke(
        self,
        id: str | None = None,
        *,
        read: _Names = (),
        write: _Names = (),
        share: _Names = (),
        freeze: _Names = (),
        deny: _Names = (),
        reach: _Names = (),
        purposes: _Names = (),
        tasks: _Names = (),
        labels: _Names = (),
        times: bool = False,
        **who: Unpack[Who],
    ) -> Cube | Policy:
        """Take rights to one memory, or to the caller's space, back.

        Args:
            id: Of the memory, or its first characters; None for the space.
            read: Principals to take from those that may read; so for the lists that follow.
            write: As for `grant`.
            share: As for `grant`.
            freeze: As for `grant`.
            deny: As for `grant`.
            reach: As for `grant`.
            purposes: As for `grant`.
            tasks: As for `grant`.
            labels: As for `grant`.
            times: Whether to take away the moments and hours it is bound to.
            who: Who rules, and which space.
        """
        gone = {
            "read": read,
            "write": write,
            "share": share,
            "freeze": freeze,
            "deny": deny,
            "reach": reach,
            "purposes": purposes,
            "tasks": tasks,
            "sensitivity": labels,
        }
        none = {"opens": None, "closes": None, "hours": None} if times else {}
        return self._give(id, _Changes({}, gone, dict(none)), who)

    def _give(self, id: str | None, changes: _Changes, who: Who) -> Cube | Policy:
        caller = replace(self._caller.narrowed(who), call=Call("write"))
        if id is None:
            what: dict[str, Json] = {"space": caller.space}
            what |= {
                "add": _plain(changes.add),
                "remove": _plain(changes.remove),
                "times": list[Json](sorted(changes.times)),
            }
            return self._rule(lambda policy: with_space(policy, caller.space, changes.of_space), caller, what)
        if changes.add.get("reach") or changes.remove.get("reach"):
            raise BadInput("a single memory has no reach", hint="reach belongs to the rights to a space")

        def change(old: Cube) -> Cube:
            return replace(old, header=replace(old.header, rights=changes.of(old.header.rights)))

        self._check_lineage(caller.parts.one(id, caller, "share"), changes, caller)
        return self._change_cube(id, change, caller)

    @staticmethod
    def _check_lineage(cube: Cube, changes: _Changes, caller: Caller) -> None:
        """Refuse what would give something made of others more rights than these have.

        Raises:
            Denied: It would.
        """
        old = cube.header.rights
        bounds = [source.header.rights for source in caller.parts.store.sources(cube)]
        if cut := withheld(old, changes.of(old), bounds):
            with caller.audited("share", [cube]):
                raise Denied(
                    f"memory {cube.id[:10]} was made of others and has no more rights than these: {', '.join(cut)}"
                    " cannot be changed so",
                    hint="change the rights of what it was made of first",
                    rule="lineage",
                )

    def limit(
        self,
        principal: str,
        action: RateAction = "read",
        *,
        calls: int | None,
        per: Period | float = "minute",
        everywhere: bool = False,
        **who: Unpack[Who],
    ) -> Policy:
        """Say how often somebody may read or write in the caller's space; the last rule that is asked.

        Each member of a group and each holder of a role counts by itself, over all sessions and processes. A call that
        is refused does not count.

        Args:
            principal: Whom it concerns, ``*`` for everyone of the tenant.
            action: Which verbs are counted, ``read`` or ``write``.
            calls: Most of them in any such stretch of time; None ends the limit.
            per: How long that is: ``second``, ``minute``, ``hour``, ``day``, or a number of seconds, at least 1.
            everywhere: Whether all spaces count together, instead of the caller's alone.
            who: Who rules, and which space.

        Raises:
            BadInput: Something of it cannot be.
            Denied: The caller may not rule here.

        Example:
            >>> from pinyon import Memory
            >>> memory = Memory.open(":memory:")
            >>> memory.rights.limit("role:guest", "read", calls=100, per="minute").limits[0].per_s
            60
        """
        caller = self._caller.narrowed(who)
        limit = limit_of(principal, action, calls, per, None if everywhere else caller.space)
        what: dict[str, Json] = {
            "limit": principal, "action": action, "calls": calls, "per_s": limit.per_s, "in": limit.space
        }  # fmt: skip
        return self._rule(lambda policy: with_limit(policy, limit, is_on=calls is not None), caller, what)

    def report(
        self, *, since: Instant | None = None, until: Instant | None = None, **who: Unpack[Who]
    ) -> tuple[Revision, ...]:
        """Return who gained or lost what, when, and by whom, oldest first: what really changed, from the journal.

        Args:
            since: Earliest time, inclusive.
            until: Latest time, exclusive.
            who: Who looks, and of which tenant.

        Raises:
            Denied: There is an administrator, and the caller is none.

        Example:
            >>> from pinyon import Memory
            >>> memory = Memory.open(":memory:")
            >>> _ = memory.rights.grant(read=["group:care"], space="ward")
            >>> _ = memory.rights.group("care", add=["user:ann"])
            >>> change = memory.rights.report()[-1]
            >>> change.principal, change.change, change.where, change.carries
            ('user:ann', 'gained', 'group care', ('read in space ward',))
        """
        from .govern.revisions import revisions

        caller = self._caller.narrowed(who)
        caller.check_admin("audit")
        store = caller.check_open().store
        bounds = [None if moment is None else instant(moment) for moment in (since, until)]
        tenant = caller.scope.tenant
        return tuple(revisions(store.engine, store.journal(), tenant, since=bounds[0], until=bounds[1]))

    def bind(self, **who: Unpack[Who]) -> int:
        """Let the rules of their sources hold for memories that an earlier version of pinyon made of others.

        What is made now carries them; for the rest once is enough, and doing it again changes nothing.

        Args:
            who: Who does it.

        Returns:
            How many memories lacked some.

        Raises:
            Denied: Somebody has rules here, and the caller is no administrator of the whole memory.
        """
        caller = self._caller.narrowed(who)
        caller.check_keeper("bind")
        parts = caller.check_now()
        with caller.audited("bind"):
            done = parts.store.bind(actor=caller.scope, now=caller.now())
        parts.finder.wrote()
        return done

    def open_space(self, **who: Unpack[Who]) -> Policy:
        """Take all rights from the caller's space, which makes it open to everyone of the tenant again."""
        caller = self._caller.narrowed(who)
        return self._rule(
            lambda policy: with_space(policy, caller.space, lambda _: None), caller, {"open": caller.space}
        )

    def close_others(self, is_closed: bool = True, **who: Unpack[Who]) -> Policy:
        """Say whether spaces without rights of their own admit owners alone.

        Args:
            is_closed: Whether they do.
            who: Who rules.
        """
        caller = self._caller.narrowed(who)
        return self._rule(lambda policy: replace(policy, is_closed=is_closed), caller, {"closed": is_closed})

    def redaction(self, **who: Unpack[Who]) -> tuple[RedactionRule, ...]:
        """Return what the caller's tenant has ruled to be labelled, covered or refused in everything that is added.

        What is ruled without a tenant holds for every tenant, before its own.
        """
        from .govern.redact import RedactionRule

        caller = self._caller.narrowed(who)
        said = caller.check_open().root_engine.setting(redaction_of(caller.scope.tenant))
        return tuple(RedactionRule(**each) for each in json.loads(said)) if said else ()

    def redact(self, rules: Sequence[RedactionRule], **who: Unpack[Who]) -> tuple[RedactionRule, ...]:
        """Say what is labelled, covered or refused in everything that is added from now on, in the caller's tenant.

        Of a caller without a tenant it holds for every tenant, before what that has ruled itself.

        Args:
            rules: All of them; none ends it. `default_rules` of `pinyon.govern.redact` covers every kind.
            who: Who rules.

        Raises:
            BadInput: Two rules for one kind, or an expression that could be slow.
            Denied: There is an administrator, and the caller is none; or the caller has no tenant, and is not allowed
                what concerns all of them.

        Example:
            >>> from pinyon import Memory
            >>> from pinyon.govern import RedactionRule
            >>> memory = Memory.open(":memory:")
            >>> _ = memory.rights.redact([RedactionRule("email", "mask")])
            >>> memory.add("Write to ann@example.com.").cubes[0].text
            'Write to [email].'
        """
        from .govern.redact import Redactor

        caller = self._caller.narrowed(who)
        caller.check_now()
        tenant = caller.scope.tenant
        caller.check_keeper("policy") if tenant is None else caller.check_admin("policy")
        Redactor(rules, key=bytes(16))  # says what cannot be used
        text = canonical([asdict(rule) for rule in rules])
        what: dict[str, Json] = {"redaction": [rule.kind for rule in rules]}
        store = (caller.parts.root or caller.parts).store
        with caller.audited("policy"):
            store.rule(redaction_of(tenant), text, actor=caller.scope, now=caller.now(), detail=what)
        return tuple(rules)

    def decide(self, id: str, action: Action = "read", **who: Unpack[Who]) -> Decision:
        """Return whether a caller may do something with a memory that it may read, and which rule says so.

        Args:
            id: Its id, or the first characters of it.
            action: ``read``, ``write``, ``share`` or ``freeze``.
            who: Of whom it is asked.
        """
        asked = Call("read")  # of whoever asks; of whom it is asked is not counted
        cube = self._caller.parts.one(id, replace(self._caller, call=asked))
        caller = replace(self._caller.narrowed(who), call=asked)
        return caller.whole_view().allows(cube, action)

    def _named(self, what: str, name: str, add: _Names, remove: _Names, who: Who, *, is_label: bool = False) -> Policy:
        for value in add:
            if is_label:
                check_name(value, "label")
            else:
                check_principal(value)
        gone = set(remove)

        def change(policy: Policy) -> Policy:
            old = dict(getattr(policy, what)).get(name, ())
            changed = with_named(policy, what, name, [value for value in (*old, *add) if value not in gone])
            if what == "groups" and _contains(changed, name, name):
                raise BadInput(f"the group {name!r} would belong to itself", hint="leave out what leads back to it")
            return changed

        said: dict[str, Json] = {what: name, "add": list(add), "remove": list(remove)}
        return self._rule(change, self._caller.narrowed(who), said)

    def _rule(self, change: Callable[[Policy], Policy], caller: Caller, what: dict[str, Json]) -> Policy:
        parts = caller.check_now()
        rules = parts.rules_of(caller.scope.tenant)
        with caller.audited("policy"):
            return rules.change(change, access=caller.held(), now=caller.now(), what=what)


def _contains(policy: Policy, group: str, wanted: str) -> bool:
    """Return whether a group belongs to another one, itself or by way of others."""
    members = dict(policy.groups)
    waiting, seen = [group], set[str]()
    while waiting:
        for value in members.get(waiting.pop(), ()):
            inner = value.removeprefix("group:")
            if value == f"group:{wanted}":
                return True
            if inner != value and inner not in seen:
                seen.add(inner)
                waiting.append(inner)
    return False


def _plain(lists: dict[str, _Names]) -> dict[str, Json]:
    return {name: list(names) for name, names in lists.items() if names}
