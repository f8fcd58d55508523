"""Rules of retention: what is archived, expired or forgotten by tag, age, idle time, space and source, and what stays.

Source: MemOS §5 for the moves; the rules themselves are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal, get_args

from ..core.access import Access
from ..core.cube import Cube
from ..core.payload import Json, Kind, canonical
from ..core.scope import check_name
from ..core.where import EVERY_STATE, LIVE_STATES, Condition, Where
from ..errors import BadInput, Denied
from ..store import Engine, Store
from .rights import ADMIN

__all__ = [
    "Drop",
    "Retention",
    "RetentionLine",
    "RetentionReport",
    "Rule",
    "Ruling",
    "report",
    "rules_from_json",
    "rules_to_json",
    "use_of",
]

Drop = Literal["archive", "expire", "forget"]
"""What a rule does, from the mildest."""

_REACHED: Mapping[Drop, frozenset[str]] = {
    "archive": frozenset(("archived", "expired", "frozen")),
    "expire": frozenset(("expired", "frozen")),
    "forget": frozenset(("frozen",)),
}
"""States in which an action has nothing more to do."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of some cubes, or that they stay.

    Args:
        name: Its name, unique among the rules of a tenant.
        where: Which cubes; cubes in every state where none is asked for.
        spaces: Where they lie; empty for everywhere.
        max_age: Time since they were recorded after which the rule is due, or None.
        max_idle: Time since they were last used or changed after which it is due, or None. With both, both must have
            passed; with neither, it is due at once.
        action: What is done when it is due: ``archive``, ``expire`` or ``forget``.
        hold: Keep them from every automatic drop instead, for as long as it is not due where it has a time.
        reason: For the journal and for people.

    Raises:
        BadInput: A time is not above zero, or the action is unknown.
    """

    name: str
    where: Where = Where()
    spaces: tuple[str, ...] = ()
    max_age: timedelta | None = None
    max_idle: timedelta | None = None
    action: Drop = "archive"
    hold: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "rule")
        if self.action not in get_args(Drop):
            raise BadInput(f"a rule cannot {self.action!r}", hint=f"use one of {', '.join(get_args(Drop))}")
        for what in ("max_age", "max_idle"):
            span = getattr(self, what)
            if span is not None and span <= timedelta(0):
                raise BadInput(f"{what} of rule {self.name!r} must be above zero, got {span}")

    @property
    def drops_everything(self) -> bool:
        """Whether it ends every memory as soon as it stands."""
        is_bound = self.where != Where() or self.spaces or self.max_age is not None or self.max_idle is not None
        return not is_bound and not self.hold and self.action != "archive"

    def admits(self, cube: Cube) -> bool:
        """Return whether the rule is about a cube, due or not."""
        where = self.where if self.where.states != LIVE_STATES else replace(self.where, states=EVERY_STATE)
        return (not self.spaces or cube.space in self.spaces) and where.matches(cube)

    def is_due(self, cube: Cube, used: datetime, now: datetime) -> bool:
        """Return whether its times have passed.

        Args:
            cube: Which one.
            used: When it was last used or changed.
            now: The present.
        """
        return (self.max_age is None or now - cube.created >= self.max_age) and (
            self.max_idle is None or now - used >= self.max_idle
        )

    def holds(self, cube: Cube, used: datetime, now: datetime) -> bool:
        """Return whether it keeps a cube from being dropped now."""
        if not self.hold or not self.admits(cube):
            return False
        is_endless = self.max_age is None and self.max_idle is None
        return is_endless or not self.is_due(cube, used, now)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say about one cube.

    Args:
        rule: Name of the rule that decided.
        action: ``archive``, ``expire``, ``forget``, ``hold`` or, where the rule is not due yet, ``wait``.
        why: One sentence.
    """

    rule: str
    action: str
    why: str


class Retention:
    """The rules of every tenant of a store, each kept as a setting and changed through the journal.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def rules(self, tenant: str | None) -> tuple[Rule, ...]:
        """Return the rules of a tenant, in order."""
        return _rules_of(self._store.engine, tenant)

    def change(self, rules: Sequence[Rule], *, access: Access, now: datetime) -> tuple[Rule, ...]:
        """Replace the rules of the caller's tenant, in one transaction with the journal's entry.

        Args:
            rules: All of them, the first that is about a cube decides.
            access: Who does it.
            now: Record time.

        Raises:
            BadInput: Two of them have one name.
            Denied: There is an administrator, and the caller is none.
        """
        names = [rule.name for rule in rules]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadInput(f"two rules are named {twice!r}")
        if any(f"role:{name}" == ADMIN and holders for name, holders in access.policy.roles) and not access.is_named(
            (ADMIN,)
        ):
            raise Denied(
                "the rules are changed by administrators alone", hint="ask a holder of role:admin", rule="admin"
            )
        text = canonical(rules_to_json(rules))
        what: dict[str, Json] = {"retention": list(names)}
        self._store.rule(_setting(access.scope.tenant), text, actor=access.scope, now=now, detail=what)
        return _parsed(text)

    def rulings(self, used: Iterable[tuple[Cube, datetime]], now: datetime) -> dict[int, Ruling]:
        """Return what the rules say about cubes, by row; those that no rule is about are missing.

        The first rule that is about a cube and has something left to do decides: where it is not due, later rules and
        the defaults of the lifecycle wait with it.

        Args:
            used: Cubes, each with the time it was last used or changed.
            now: The present.
        """
        found: dict[int, Ruling] = {}
        known: dict[str | None, tuple[Rule, ...]] = {}
        for cube, last in used:
            tenant = cube.owner.tenant
            if tenant not in known:
                known[tenant] = self.rules(tenant)
            ruling = _ruling(known[tenant], cube, last, now)
            if ruling is not None:
                found[cube.row] = ruling
        return found

    def held(self, cubes: Iterable[Cube], now: datetime) -> dict[str, str]:
        """Return which cubes a rule holds, by id, with the name of the rule."""
        every = list(cubes)
        used = use_of(self._store.engine, every)
        return {
            cube.id: rule.name
            for cube in every
            for rule in [_holding(self.rules(cube.owner.tenant), cube, used[cube.row], now)]
            if rule is not None
        }


def _holding(rules: Sequence[Rule], cube: Cube, used: datetime, now: datetime) -> Rule | None:
    for rule in rules:
        if rule.hold:
            if rule.holds(cube, used, now):
                return rule
        elif rule.admits(cube) and cube.header.life.state not in _REACHED[rule.action]:
            return None  # an earlier rule decides
    return None


def _ruling(rules: Sequence[Rule], cube: Cube, used: datetime, now: datetime) -> Ruling | None:
    for rule in rules:
        if rule.hold:
            if rule.holds(cube, used, now):
                return Ruling(rule.name, "hold", f"rule {rule.name} holds it")
            continue
        if cube.header.life.state in _REACHED[rule.action] or not rule.admits(cube):
            continue
        if rule.is_due(cube, used, now):
            return Ruling(rule.name, rule.action, f"rule {rule.name} is due")
        return Ruling(rule.name, "wait", f"rule {rule.name} is not due yet")
    return None


def use_of(engine: Engine, cubes: Sequence[Cube]) -> dict[int, datetime]:
    """Return when cubes were last used or changed, by row."""
    usage = engine.usage.of([cube.row for cube in cubes])
    found: dict[int, datetime] = {}
    for cube in cubes:
        last = usage[cube.row].last if cube.row in usage else None
        found[cube.row] = cube.updated if last is None else max(last, cube.updated)
    return found


@dataclass(frozen=True, slots=True)
class RetentionLine:
    """What would become of one cube.

    Args:
        id: Its id.
        space: Where it lies.
        state: What it is now.
        action: What a rule does with it: ``archive``, ``expire``, ``forget``, ``hold`` or ``wait``.
        rule: Name of the rule.
        why: One sentence.
    """

    id: str
    space: str
    state: str
    action: str
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What rules say about cubes at one time.

    Args:
        time: When.
        lines: One for each cube that a rule is about, in the order of the cubes.
    """

    time: datetime
    lines: tuple[RetentionLine, ...]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of cubes by rule and action."""
        found: dict[str, dict[str, int]] = {}
        for line in self.lines:
            by_action = found.setdefault(line.rule, {})
            by_action[line.action] = by_action.get(line.action, 0) + 1
        return found

    @property
    def due(self) -> tuple[RetentionLine, ...]:
        """What would happen now."""
        return tuple(line for line in self.lines if line.action in get_args(Drop))


def report(rules: Sequence[Rule], engine: Engine, cubes: Iterable[Cube], now: datetime) -> RetentionReport:
    """Return what rules would do with cubes, without doing it; the rules need not be those that stand.

    Args:
        rules: In order.
        engine: Knows how cubes are used.
        cubes: Which ones; those that the caller may see.
        now: The present.
    """
    every = list(cubes)
    used = use_of(engine, every)
    lines: list[RetentionLine] = []
    for cube in every:
        ruling = _ruling(rules, cube, used[cube.row], now)
        if ruling is not None:
            is_kept = ruling.action in get_args(Drop) and cube.header.life.pinned
            action, why = ("hold", "it is pinned") if is_kept else (ruling.action, ruling.why)
            lines.append(RetentionLine(cube.id, cube.space, cube.header.life.standing, action, ruling.rule, why))
    return RetentionReport(now, tuple(lines))


def _setting(tenant: str | None) -> str:
    return "retention" if tenant is None else f"retention:{tenant}"


def _rules_of(engine: Engine, tenant: str | None) -> tuple[Rule, ...]:
    text = engine.setting(_setting(tenant))
    return _parsed(text) if text else ()


@lru_cache(maxsize=64)
def _parsed(text: str) -> tuple[Rule, ...]:
    return rules_from_json(json.loads(text))


def rules_to_json(rules: Iterable[Rule]) -> list[Json]:
    """Return rules as a JSON list; `rules_from_json` is its inverse."""
    return [_rule_to_json(rule) for rule in rules]


def _rule_to_json(rule: Rule) -> dict[str, Json]:
    out: dict[str, Json] = {"name": rule.name, "action": rule.action}
    where = _where_to_json(rule.where)
    if where:
        out["where"] = where
    if rule.spaces:
        out["spaces"] = list(rule.spaces)
    for what in ("max_age", "max_idle"):
        span: timedelta | None = getattr(rule, what)
        if span is not None:
            out[f"{what}_s"] = span.total_seconds()
    if rule.hold:
        out["hold"] = True
    if rule.reason:
        out["reason"] = rule.reason
    return out


def _where_to_json(where: Where) -> dict[str, Json]:
    out: dict[str, Json] = {}
    plain = Where()
    for each in fields(Where):
        value = getattr(where, each.name)
        if value == getattr(plain, each.name):
            continue
        if each.name == "metadata":
            out[each.name] = [[c.key, c.op, c.value] for c in where.metadata]
        elif isinstance(value, datetime):
            out[each.name] = value.isoformat()
        elif isinstance(value, tuple):
            out[each.name] = [str(item) for item in value]
        else:
            out[each.name] = value
    return out


def rules_from_json(data: object) -> tuple[Rule, ...]:
    """Return the rules that `rules_to_json` wrote.

    Raises:
        BadInput: They are no rules.
    """
    try:
        return tuple(_rule(each) for each in data)  # type: ignore[attr-defined]  # whatever it is, it is caught below
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"not rules of retention: {str(data)[:200]!r}") from error


def _rule(data: dict) -> Rule:  # type: ignore[type-arg]  # JSON; whoever calls catches what does not fit
    known = {"name", "action", "where", "spaces", "max_age_s", "max_idle_s", "hold", "reason"}
    strange = sorted(set(data) - known)
    if strange:
        raise BadInput(f"a rule has no {strange[0]!r}", hint=f"use {', '.join(sorted(known))}")
    spans = {what: timedelta(seconds=data[f"{what}_s"]) for what in ("max_age", "max_idle") if f"{what}_s" in data}
    return Rule(
        data["name"],
        _where(data.get("where", {})),
        tuple(data.get("spaces", ())),
        action=data.get("action", "archive"),
        hold=data.get("hold", False),
        reason=data.get("reason", ""),
        **spans,
    )


def _where(data: Mapping[str, object]) -> Where:
    given: dict[str, object] = {}
    for name, value in data.items():
        if name == "metadata":
            given[name] = tuple(Condition(*each) for each in value)  # type: ignore[attr-defined]  # a JSON list
        elif name in ("since", "until", "valid_at"):
            given[name] = datetime.fromisoformat(value)  # type: ignore[arg-type]  # a text
        elif name == "kinds":
            given[name] = tuple(Kind(each) for each in value)  # type: ignore[attr-defined]
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    return Where(**given)  # type: ignore[arg-type]  # names as written above
