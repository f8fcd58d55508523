"""What a verb of the table is, what it is given, and the parameters that several verbs share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from ..errors import BadInput
from . import _later

if TYPE_CHECKING:
    from datetime import datetime

    from ..core.where import Where
    from ..memory import Memory

__all__ = [
    "BUDGET",
    "EXPIRES",
    "FILTERS",
    "ID",
    "KINDS",
    "METADATA",
    "PRIORITY",
    "QUESTION",
    "SCOPE",
    "STATES",
    "TAGS",
    "TIME",
    "WHY",
    "Given",
    "Parameter",
    "Role",
    "Sort",
    "Verb",
    "how_many",
    "span_of",
]

Sort = Literal["words", "text", "integer", "flag", "moment", "pair", "condition", "choice", "file", "bytes"]
"""What a parameter takes: ``words`` are a text that needs no quotes, a ``pair`` is one entry of metadata."""

Role = Literal["argument", "option", "filter", "scope", "edge", "input"]
"""Where a parameter goes: ``argument`` and ``option`` to the Python function, ``filter`` into its `Where`, ``scope``
into its `Who`; an ``edge`` parameter ends at the edge, and ``input`` is what a caller sends along."""

Action = Callable[["Memory", "Given"], object]
_T = TypeVar("_T")
_SPANS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1),
          "y": timedelta(days=365)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that a verb takes.

    Args:
        name: As in Python.
        help: What it is, without a full stop.
        sort: What it takes.
        role: Where it goes.
        flags: Its spelling on a command line; empty for arguments and what is sent along.
        shown: Name of its value in a help text.
        default: When it is not given.
        is_many: Whether it may be given several times.
        is_required: Whether the verb needs it.
        choices: The values of a choice.
        least: Smallest integer.
        most: Largest integer.
    """

    name: str
    help: str
    sort: Sort = "text"
    role: Role = "option"
    flags: tuple[str, ...] = ()
    shown: str = ""
    default: object = None
    is_many: bool = False
    is_required: bool = False
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller gave to a verb, by the names of its parameters.

    Args:
        values: Already of the sort that the parameter says; None or absent is not given.
        progress: Told of each step.
    """

    values: Mapping[str, object]
    progress: Callable[[object], object] | None = None

    def text(self, name: str) -> str:
        """Return a text, empty when it is not given."""
        return self.maybe(name, str) or ""

    def integer(self, name: str) -> int:
        """Return a number that has a default."""
        value = self.maybe(name, int)
        if value is None:
            raise BadInput(f"{name} is missing")
        return value

    def is_set(self, name: str) -> bool:
        """Return whether a flag is set."""
        return bool(self.values.get(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return everything that was given of a parameter that may be given several times."""
        return tuple(str(value) for value in self.many(name))

    def many(self, name: str) -> tuple[object, ...]:
        """Return all values of a parameter that may be given several times."""
        value = self.values.get(name)
        return tuple(value) if isinstance(value, (tuple, list)) else () if value is None else (value,)

    def maybe(self, name: str, kind: type[_T]) -> _T | None:
        """Return a value or None.

        Raises:
            BadInput: It is of another type.
        """
        value = self.values.get(name)
        if value is not None and not isinstance(value, kind):
            raise BadInput(f"{name} must be of type {kind.__name__}, got {value!r}")
        return value

    def moment(self, name: str) -> datetime | None:
        """Return a moment or None."""
        value = self.values.get(name)
        return None if value is None else _later.instant(cast("datetime", value))  # which says what it cannot read

    def metadata(self) -> dict[str, object] | None:
        """Return metadata from its entries, or None when there are none."""
        pairs = self.many("metadata")
        return dict(cast("tuple[tuple[str, object], ...]", pairs)) if pairs else None  # pairs of `words.pair_of`

    def where(self) -> Where | None:
        """Return the filters as one, or None when no filter is given."""
        named = {p.name: self.values.get(p.name) for p in (*FILTERS, STATES, KINDS)}
        filters = {name: value for name, value in named.items() if value is not None and value != ()}
        return _later.where_from(filters) if filters else None


@dataclass(frozen=True, slots=True)
class Verb:
    """Something to do with a memory.

    Args:
        name: The word.
        summary: One line.
        help: The rest, paragraphs divided by blank lines.
        examples: Command lines.
        parameters: What it takes beside the scope.
        targets: What it stands for in Python, as ``module:name``; the first one is called, the others hold parameters.
        action: Runs it.
        can_create: Whether it makes a memory that is not there.
    """

    name: str
    summary: str
    help: str
    examples: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    targets: tuple[str, ...]
    action: Action
    can_create: bool = False

    def run(
        self, memory: Memory, values: Mapping[str, object], progress: Callable[[object], object] | None = None
    ) -> object:
        """Do it and return the result.

        Args:
            memory: Already narrowed to the caller and the space.
            values: By names of parameters; what is missing takes its default.
            progress: Told of each step, where there are several.

        Raises:
            BadInput: A parameter has no such name, is missing, or cannot be used.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        strange = sorted(set(values) - set(known))
        if strange:
            raise BadInput(f"{self.name} takes no {strange[0]!r}", hint=f"it takes {', '.join(known)}")
        missing = [name for name, parameter in known.items() if parameter.is_required and values.get(name) is None]
        if missing:
            raise BadInput(f"{self.name} needs {missing[0]!r}")
        defaults = {name: p.default for name, p in known.items() if p.default is not None}
        return self.action(memory, Given({**defaults, **values}, progress))


SCOPE = (
    Parameter("space", "Container to work in", role="scope", flags=("--space",), shown="NAME"),
    Parameter("user", "Whose memory it is", role="scope", flags=("--user",), shown="NAME"),
    Parameter("agent", "Program acting for the user", role="scope", flags=("--agent",), shown="NAME"),
    Parameter(
        "session",
        "Conversation in which it is said; to filter by it, --in-session",
        role="scope",
        flags=("--session",),
        shown="NAME",
    ),
    Parameter("tenant", "Customer of a shared installation", role="scope", flags=("--tenant",), shown="NAME"),
    Parameter(
        "purpose",
        "What it is asked for; memories may be bound to purposes",
        role="scope",
        flags=("--purpose",),
        shown="NAME",
    ),
    Parameter(
        "task",
        "What one is at while asking; memories may be bound to tasks",
        role="scope",
        flags=("--task",),
        shown="NAME",
    ),
    Parameter(
        "as_of",
        "Answer as the memory would have answered at this moment",
        "moment",
        "scope",
        ("--as-of",),
        "TIME",
    ),
)
"""Who asks, where, what for and as of when; every verb takes these."""

FILTERS = (
    Parameter("since", "Only from this moment on", "moment", "filter", ("--since",), "TIME"),
    Parameter("until", "Only before this moment", "moment", "filter", ("--until",), "TIME"),
    Parameter("valid_at", "Only what held at this moment", "moment", "filter", ("--valid-at",), "TIME"),
    Parameter("speaker", "Only what this speaker said", "text", "filter", ("--speaker",), "NAME"),
    Parameter("source", "Only from this file: its whole name, or the end of it", "text", "filter", ("--source",)),
    Parameter("session", "Only what was said in this session", "text", "filter", ("--in-session",), "NAME"),
    Parameter("tags", "Only with this tag; give it again for more, all must hold", "text", "filter", ("--tag",), "TAG",
              is_many=True),
    Parameter(
        "metadata",
        "Only where the metadata meet this: 'key=value', 'key!=value', 'key>3', 'key>=3', 'key<3', 'key<=3' or"
        " 'key in a,b'; give it again for more, all must hold",
        "condition", "filter", ("--where",), "CONDITION", is_many=True,
    ),
)  # fmt: skip
"""Which memories a question is about; values are read by `where_from`."""

STATES = Parameter(
    "states",
    "Only in this stage of life; all but archived and expired ones when not given",
    "choice",
    "filter",
    ("--state",),
    is_many=True,
    choices=("generated", "activated", "merged", "frozen", "stale", "archived", "expired"),
)

KINDS = Parameter(
    "kinds",
    "Only of this kind; text is what was said, state is what a local model has read of it",
    "choice",
    "filter",
    ("--kind",),
    is_many=True,
    choices=("text", "state", "weights"),
)

TIME = Parameter(
    "time", "When it happened, as 2023-05-08 or 2023-05-08T13:56+02:00", "moment", "option", ("--time",), "TIME"
)
TAGS = Parameter("tags", "Label to filter by; give it again for more", "text", "option", ("--tag",), is_many=True)
METADATA = Parameter(
    "metadata", "Entry to filter by; the value is JSON when it can be read as JSON, else text; give it again for more",
    "pair", "option", ("--meta",), "KEY=VALUE", is_many=True,
)  # fmt: skip
EXPIRES = Parameter("expires", "From when on it is not found any more", "moment", "option", ("--expires",), "TIME")
PRIORITY = Parameter("priority", "What is low is archived first where room is short", "choice", "option",
                     ("--priority",), choices=("low", "middle", "high"))  # fmt: skip
QUESTION = Parameter("question", "Any text; quotes around it are optional", "words", "argument", is_required=True)
ID = Parameter("id", "Id of a memory, or at least its first four characters", "text", "argument", is_required=True)
WHY = Parameter("why", "Show how it was found: each way of looking, its rank and time", "flag", "edge", ("--why",))
BUDGET = Parameter(
    "budget_tokens", "Most tokens of the passages", "integer", "option", ("--budget",), "TOKENS", 2000, least=1
)


def span_of(text: str | None) -> timedelta | None:
    """Read ``90d``, ``12h``, ``2y`` as a span of time; None stays None.

    Raises:
        BadInput: It is written otherwise.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})\s*([mhdwy])", text.strip())
    if found is None:
        raise BadInput(f"{text!r} is no span of time", hint="write 30m, 12h, 90d, 8w or 2y")
    return int(found[1]) * _SPANS[found[2]]


def how_many(help: str) -> Parameter:
    """Return the parameter that says how many."""
    return Parameter("k", help, "integer", "option", ("-k",), "N", 10, least=1)
