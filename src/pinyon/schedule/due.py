"""Which move is due for a cube by itself: arithmetic on what is known of it, so that it can be decided again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ..core.cube import Cube
from ..core.payload import canonical
from ..errors import BadInput, Damaged
from ..store.side import Usage
from .moves import Trigger

__all__ = ["LifecycleConfig", "Ruling", "Seen", "due", "moves_again"]

_SPANS = ("archive_after", "expire_after", "purge_after")


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
        for name, span in self._spans().items():
            if span is not None and span <= timedelta(0):
                raise BadInput(f"{name} must be above zero, got {span}")
        if self.capacity is not None and self.capacity < 0:
            raise BadInput(f"a capacity of {self.capacity} cubes is not possible", hint="0 or more, or None")

    def text(self) -> str:
        """Return it as a setting of a store, with times in seconds; `from_text` is the inverse."""
        spans = {name: span if span is None else span.total_seconds() for name, span in self._spans().items()}
        return canonical({**spans, "capacity": self.capacity})

    @classmethod
    def from_text(cls, text: str) -> LifecycleConfig:
        """Read what `text` wrote.

        Raises:
            Damaged: It is nothing of the kind.
        """
        try:
            said = json.loads(text)
            spans = {name: None if said[name] is None else timedelta(seconds=said[name]) for name in _SPANS}
            return cls(**spans, capacity=said["capacity"])
        except (ValueError, TypeError, KeyError, OverflowError, BadInput) as error:
            raise Damaged("the setting of the store that says when memories move cannot be read") from error

    def _spans(self) -> dict[str, timedelta | None]:
        return {name: getattr(self, name) for name in _SPANS}


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


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything about one cube that decides whether it moves by itself.

    Args:
        id: Its id.
        state: Of its life.
        expires: When its time is up, or None.
        pinned: Whether it is kept from every automatic drop.
        updated: When it was last changed.
        count: Times it was used.
        last: When it was last used or looked at, or None.
        action: What the rules of retention say, or None.
        rule: Name of the rule that says so.
    """

    id: str
    state: str
    expires: datetime | None
    pinned: bool
    updated: datetime
    count: int = 0
    last: datetime | None = None
    action: str | None = None
    rule: str = ""

    @classmethod
    def of(cls, cube: Cube, usage: Usage, ruling: Ruling | None) -> Seen:
        """Return what is known of a cube."""
        life = cube.header.life
        action, rule = (None, "") if ruling is None else (ruling.action, ruling.rule)
        return cls(cube.id, life.state, life.expires, life.pinned, cube.updated, usage.count, usage.last, action, rule)


def due(seen: Seen, now: datetime, config: LifecycleConfig) -> tuple[Trigger, str] | None:
    """Return the move that is due for a cube by itself, with the reason, or None.

    Args:
        seen: As it is.
        now: The present.
        config: The defaults.
    """
    if seen.state == "frozen":
        return None
    found = None if seen.pinned or seen.action == "hold" else _drop(seen, now, config)
    if found is None and seen.state in ("generated", "merged") and seen.count > 0:
        return "used", f"used {seen.count} times"
    return found


def moves_again(seen: Sequence[Seen], now: datetime, config: LifecycleConfig) -> list[list[str | None]]:
    """Decide again about cubes that were to move: id, trigger and reason of each."""
    return [[one.id, *(due(one, now, config) or (None, None))] for one in seen]


def _drop(seen: Seen, now: datetime, config: LifecycleConfig) -> tuple[Trigger, str] | None:
    if seen.state != "expired" and seen.expires is not None and seen.expires <= now:
        return "ttl", f"its time ended at {seen.expires.isoformat()}"
    if seen.action is not None:
        return _by_rule(seen.action, seen.rule)
    if seen.state == "expired":
        return _aged("purge", "expired", seen.updated, now, config.purge_after)
    if seen.state == "archived":
        return _aged("age", "archived", seen.updated, now, config.expire_after)
    last = seen.updated if seen.last is None else max(seen.last, seen.updated)
    return _aged("idle", "idle", last, now, config.archive_after)


def _by_rule(action: str, rule: str) -> tuple[Trigger, str] | None:
    triggers: dict[str, Trigger] = {"archive": "rule_archive", "expire": "rule_expire", "forget": "rule_forget"}
    return (triggers[action], f"rule {rule}") if action in triggers else None


def _aged(
    trigger: Trigger, word: str, since: datetime, now: datetime, most: timedelta | None
) -> tuple[Trigger, str] | None:
    if most is None or now - since < most:
        return None
    return trigger, f"{word} since {since.isoformat()}"
