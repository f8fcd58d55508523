"""Filters: which cubes a question is about."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from ..errors import BadInput
from .access import Access, Action, Decision, decide
from .clock import instant
from .cube import Cube
from .header import Header
from .payload import Json, Kind
from .scope import DEFAULT_SPACE, Scope

__all__ = [
    "EVERY_STATE",
    "LIVE_STATES",
    "TAG_KEY",
    "Condition",
    "Facet",
    "Op",
    "View",
    "Where",
    "conditions_from",
    "facets",
    "where_from",
]

Op = Literal["eq", "ne", "in", "gt", "ge", "lt", "le"]
OPS: tuple[Op, ...] = ("eq", "ne", "in", "gt", "ge", "lt", "le")
TAG_KEY = "\x00tag"
"""Key under which tags stand among the facets; metadata of this name is kept but cannot be filtered on."""
_DEEPEST = 16  # levels of nested metadata that can be filtered on; what lies deeper is kept but not indexed


@dataclass(frozen=True, slots=True)
class Facet:
    """One scalar of a cube's metadata, or one tag, in the form it is compared in.

    Args:
        key: Path of the scalar, levels joined by dots; `TAG_KEY` for a tag.
        value: Its JSON text, numbers in one spelling.
        number: The number, when it is one.
    """

    key: str
    value: str
    number: float | None = None


def facets(header: Header) -> tuple[Facet, ...]:
    """Return everything of a header that conditions can ask about, without repeats; lists give one facet an element."""
    if not header.tags and not header.metadata:
        return ()
    found = {Facet(TAG_KEY, _spell(tag)[0]): None for tag in header.tags}
    for facet in _flatten("", dict(header.metadata), 0):
        if facet.key != TAG_KEY:
            found.setdefault(facet)
    return tuple(found)


def _flatten(path: str, value: Json, depth: int) -> Iterator[Facet]:
    if isinstance(value, dict):
        if depth < _DEEPEST:
            for key, inner in value.items():
                yield from _flatten(f"{path}.{key}" if path else key, inner, depth + 1)
    elif isinstance(value, list):
        if depth < _DEEPEST:
            for inner in value:
                yield from _flatten(path, inner, depth + 1)
    else:
        yield Facet(path, *_spell(value))


_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}


def _spell(value: Json) -> tuple[str, float | None]:
    """Return one JSON text for equal scalars (1 and 1.0 are equal; true and 1 are not), and the number if it is one."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False), None
    if isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:
            return _digits(value), None
        if not math.isfinite(number):
            raise BadInput(f"a filter compares with finite numbers, got {value!r}")
        exact = int(value) if number.is_integer() else value
        return json.dumps(exact), number
    raise BadInput(f"a filter compares with a text, number, true, false or null, got {value!r}")


def _digits(value: Json) -> str:
    try:
        return json.dumps(value)
    except ValueError as error:
        raise BadInput("a number of over 4,300 digits cannot be compared with") from error


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison with the metadata of a cube.

    Args:
        key: Path of the scalar, levels joined by dots.
        op: ``eq``, ``ne`` (also true where the key is absent), ``in``, ``gt``, ``ge``, ``lt``, ``le``.
        value: A scalar, or a list of scalars for ``in``. Texts compare by code point, numbers by value; the two never
            compare with each other.

    Raises:
        BadInput: Unknown `op`, or a value it cannot compare with.
    """

    key: str
    op: Op
    value: Json

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise BadInput(f"unknown comparison {self.op!r}", hint=f"use one of {', '.join(OPS)}")
        if self.op == "in" and not isinstance(self.value, list):
            raise BadInput(f"'in' needs a list, got {self.value!r}")
        if self.op in ("gt", "ge", "lt", "le") and (
            isinstance(self.value, bool) or not isinstance(self.value, (int, float, str))
        ):
            raise BadInput(f"{self.op!r} needs a number or a text, got {self.value!r}")
        spelled = self.spelled()
        if self.op in ("gt", "ge", "lt", "le") and spelled[0][1] is None and not isinstance(self.value, str):
            raise BadInput(f"{self.op!r} needs a number below 1e308, got one of {len(spelled[0][0])} digits")

    def __hash__(self) -> int:
        return hash((self.key, self.op, self.spelled()))  # a list has no hash of its own

    def spelled(self) -> tuple[tuple[str, float | None], ...]:
        """Return the values to compare with, in the spelling of `Facet`."""
        values = self.value if isinstance(self.value, list) else [self.value]
        return tuple(_spell(value) for value in values)

    def holds(self, found: tuple[Facet, ...]) -> bool:
        """Return whether the facets of a cube meet this condition."""
        mine = [facet for facet in found if facet.key == self.key]
        wanted = self.spelled()
        if self.op in ("eq", "in"):
            return any(facet.value == value for facet in mine for value, _ in wanted)
        if self.op == "ne":
            return not any(facet.value == value for facet in mine for value, _ in wanted)
        return any(self._compares(facet, *wanted[0]) for facet in mine)

    def _compares(self, facet: Facet, text: str, number: float | None) -> bool:
        if number is not None:
            left, right = facet.number, number
            if left is None:
                return False
            return _ORDER[self.op](left, right)
        if not facet.value.startswith('"'):
            return False
        return _ORDER[self.op](json.loads(facet.value), json.loads(text))


LIVE_STATES = ("generated", "activated", "merged", "frozen")
"""States in which a cube is found by ordinary search."""

EVERY_STATE = (*LIVE_STATES, "stale", "archived", "expired")
"""All that `Life.standing` can be."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which cubes, among those the caller may see. Everything given must hold; the default is all live cubes.

    Args:
        since: Earliest `Cube.time`, inclusive.
        until: Latest `Cube.time`, exclusive.
        speaker: Who said it, exactly.
        source: Where it was read from: the whole name, or its end after a slash.
        session: Session in which it was written.
        thread: Conversation or document it belongs to.
        tags: Tags it must have, all of them.
        metadata: Conditions on its metadata, all of them.
        kinds: Kinds of payload.
        states: Stages of life, as `Life.standing` says them.
        valid_at: Moment of event time at which it must hold: not before `Cube.time`, and before ``valid_to``. Where
            no states are named, that counts what held then and was archived since, as what was superseded is.
    """

    since: datetime | None = None
    until: datetime | None = None
    speaker: str | None = None
    source: str | None = None
    session: str | None = None
    thread: str | None = None
    tags: tuple[str, ...] = ()
    metadata: tuple[Condition, ...] = ()
    kinds: tuple[Kind, ...] = ()
    states: tuple[str, ...] = LIVE_STATES
    valid_at: datetime | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Tags and metadata as one list of conditions."""
        return tuple(Condition(TAG_KEY, "eq", tag) for tag in self.tags) + self.metadata

    @property
    def counts_ended(self) -> bool:
        """Whether archived cubes count whose ``valid_to`` is known: of them it is asked when they held."""
        return self.valid_at is not None and self.states == LIVE_STATES

    def _is_in_state(self, cube: Cube) -> bool:
        life = cube.header.life
        is_ended = life.state == "archived" and life.valid_to is not None
        return life.standing in self.states or (is_ended and self.counts_ended)

    def matches(self, cube: Cube) -> bool:
        """Return whether a cube meets every filter: the plain form that every store and index must agree with."""
        p = cube.header.provenance
        if (
            (self.since is not None and cube.time < self.since)
            or (self.until is not None and cube.time >= self.until)
            or (self.speaker is not None and p.speaker != self.speaker)
            or (self.source is not None and not _source_matches(p.source, self.source))
            or (self.session is not None and cube.owner.session != self.session)
            or (self.thread is not None and p.thread != self.thread)
            or (self.kinds and cube.kind not in self.kinds)
            or not self._is_in_state(cube)
            or (self.valid_at is not None and not _holds(cube, self.valid_at))
        ):
            return False
        if not self.tags and not self.metadata:
            return True
        found = facets(cube.header)
        return all(condition.holds(found) for condition in self.conditions)


def _holds(cube: Cube, moment: datetime) -> bool:
    end = cube.header.life.valid_to
    return cube.time <= moment and (end is None or moment < end)


def _source_matches(source: str | None, wanted: str) -> bool:
    return source is not None and (source == wanted or source.endswith("/" + wanted))


@dataclass(frozen=True, slots=True)
class View:
    """The part of a store that one call may touch: who asks with which rights, the spaces, a filter, and a time.

    Args:
        scope: Who asks.
        spaces: Containers to look into, at least one.
        where: Filter on top.
        access: What the caller holds; None for what the scope alone gives where nothing is ruled.
        at: Number of the journal's entry after which the store is looked at; None for now. What was forgotten since
            is not there; whoever may not read a cube today may not read what it was.
        moment: Cubes that expire at or before it are not there, unless they are frozen; None looks at no expiry. With
            `at`, the time of that entry: what expired later was still there.
    """

    scope: Scope = Scope()
    spaces: tuple[str, ...] = (DEFAULT_SPACE,)
    where: Where = Where()
    access: Access | None = None
    at: int | None = None
    moment: datetime | None = None

    @property
    def holds(self) -> Access:
        """What the caller holds."""
        return self.access or Access.of(self.scope)

    def allows(self, cube: Cube, action: Action = "read") -> Decision:
        """Return whether the caller may do something with a cube, whatever the filter says."""
        return decide(
            action,
            self.holds,
            space=cube.space,
            owner=cube.owner,
            rights=cube.header.rights,
            life=cube.header.life,
        )

    def is_over(self, cube: Cube) -> bool:
        """Return whether a cube's time is up; that of a frozen one stands still."""
        life = cube.header.life
        if life.expires is None or self.moment is None or life.state == "frozen":
            return False
        return life.expires <= self.moment

    def admits(self, cube: Cube, today: Cube | None = None) -> bool:
        """Return whether the caller may see the cube and asked for it: the plain form of every store and index.

        Args:
            cube: As it is, or as it was at `at`.
            today: As it is now, where `cube` is an earlier version: rights are those of today.
        """
        if cube.space not in self.spaces or not self.where.matches(cube):
            return False
        return self.allows(today or cube).allowed and not self.is_over(cube)


def conditions_from(metadata: Mapping[str, object]) -> tuple[Condition, ...]:
    """Read conditions from the short form of Python and JSON callers.

    Args:
        metadata: ``{"topic": "x"}`` for equality, ``{"pages": {"gt": 3, "lt": 9}}`` for comparisons.

    Example:
        >>> [(c.key, c.op) for c in conditions_from({"a": 1, "b": {"gt": 2}})]
        [('a', 'eq'), ('b', 'gt')]
    """
    out: list[Condition] = []
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            if not value:
                raise BadInput(f"the filter on {key!r} compares with nothing", hint=f"use one of {', '.join(OPS)}")
            out.extend(Condition(key, op, inner) for op, inner in value.items())
        else:
            out.append(Condition(key, "in" if isinstance(value, list) else "eq", value))  # type: ignore[arg-type]  # checked by Condition
    return tuple(out)


def where_from(filters: Mapping[str, object]) -> Where:
    """Read a filter from a plain mapping, as JSON callers write it.

    Args:
        filters: Any of the fields of `Where`; moments as `instant` takes them, metadata as `conditions_from` does.

    Raises:
        BadInput: A field has another name or cannot be read.

    Example:
        >>> where_from({"speaker": "Ann", "metadata": {"year": {"ge": 2024}}}).speaker
        'Ann'
    """
    known = {field.name for field in fields(Where)}
    strange = sorted(set(filters) - known)
    if strange:
        raise BadInput(f"there is no filter {strange[0]!r}", hint=f"use one of {', '.join(sorted(known))}")
    given = dict(filters)
    for name in ("since", "until", "valid_at"):
        if given.get(name) is not None:
            given[name] = instant(given[name])  # type: ignore[arg-type]  # whatever it is, instant says so
    for name in ("speaker", "source", "session", "thread"):
        if not isinstance(given.get(name), (str, type(None))):
            raise BadInput(f"the filter {name!r} compares with a text, got {given[name]!r}")
    if given.get("tags") is not None:
        given["tags"] = _texts("tags", given["tags"], ())
    if given.get("kinds") is not None:
        given["kinds"] = tuple(Kind(kind) for kind in _texts("kinds", given["kinds"], tuple(Kind)))
    if given.get("states") is not None:
        given["states"] = _texts("states", given["states"], EVERY_STATE)
    if isinstance(metadata := given.get("metadata"), Mapping):
        given["metadata"] = conditions_from(metadata)
    elif metadata is not None:
        given["metadata"] = _conditions(metadata)
    return Where(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # checked


def _texts(name: str, value: object, allowed: tuple[str, ...]) -> tuple[str, ...]:
    texts = value if isinstance(value, (list, tuple)) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise BadInput(f"the filter {name!r} takes texts, got {value!r}")
        if allowed and text not in allowed:
            raise BadInput(f"{text!r} is not among the {name}", hint=f"use one of {', '.join(allowed)}")
    return tuple(texts)


def _conditions(value: object) -> tuple[Condition, ...]:
    if isinstance(value, (list, tuple)) and all(isinstance(item, Condition) for item in value):
        return tuple(value)
    raise BadInput(f"the filter 'metadata' takes an object, got {value!r}", hint='for example {"topic": "x"}')
