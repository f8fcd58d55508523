"""The verbs of a memory as one table; the command line and its reference are made from it, and services may be too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from ..errors import BadInput
from . import _later
from .outcomes import Exported, Health, Past

if TYPE_CHECKING:
    from datetime import datetime

    from ..core.cube import Cube
    from ..core.where import Where
    from ..memory import Memory
    from ..results import Added, Answer, Forgotten, Imported, Page, Recall, Stats
    from ..text.base import Hits

__all__ = ["FILTERS", "SCOPE", "VERBS", "Given", "Parameter", "Role", "Sort", "Verb"]

Sort = Literal["words", "text", "integer", "flag", "moment", "pair", "condition", "choice", "file", "bytes"]
"""What a parameter takes: ``words`` are a text that needs no quotes, a ``pair`` is one entry of metadata."""

Role = Literal["argument", "option", "filter", "scope", "edge", "input"]
"""Where a parameter goes: ``argument`` and ``option`` to the Python function, ``filter`` into its `Where`, ``scope``
into its `Who`; an ``edge`` parameter ends at the edge, and ``input`` is what a caller sends along."""

Action = Callable[["Memory", "Given"], object]
_T = TypeVar("_T")


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
        named = {p.name: self.values.get(p.name) for p in (*FILTERS, STATES)}
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


# --- parameters that several verbs share ---------------------------------------------------------------------------

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
)
"""Who asks, and where; every verb takes these."""

FILTERS = (
    Parameter("since", "Only from this moment on", "moment", "filter", ("--since",), "TIME"),
    Parameter("until", "Only before this moment", "moment", "filter", ("--until",), "TIME"),
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
    choices=("generated", "activated", "merged", "archived", "expired", "frozen"),
)

_TIME = Parameter(
    "time", "When it happened, as 2023-05-08 or 2023-05-08T13:56+02:00", "moment", "option", ("--time",), "TIME"
)
_TAGS = Parameter("tags", "Label to filter by; give it again for more", "text", "option", ("--tag",), is_many=True)
_METADATA = Parameter(
    "metadata", "Entry to filter by; the value is JSON when it can be read as JSON, else text; give it again for more",
    "pair", "option", ("--meta",), "KEY=VALUE", is_many=True,
)  # fmt: skip
_QUESTION = Parameter("question", "Any text; quotes around it are optional", "words", "argument", is_required=True)
_ID = Parameter("id", "Id of a memory, or at least its first four characters", "text", "argument", is_required=True)
_WHY = Parameter("why", "Show how it was found: each way of looking, its rank and time", "flag", "edge", ("--why",))
_BUDGET = Parameter(
    "budget_tokens", "Most tokens of the passages", "integer", "option", ("--budget",), "TOKENS", 2000, least=1
)


def _k(help: str) -> Parameter:
    return Parameter("k", help, "integer", "option", ("-k",), "N", 10, least=1)


# --- actions -------------------------------------------------------------------------------------------------------


def _add(memory: Memory, given: Given) -> Added:
    what = given.values.get("what")
    speaker, role = given.maybe("speaker", str), given.maybe("role", str)
    if speaker is not None or role is not None:
        if not isinstance(what, str):
            raise BadInput("messages say themselves who speaks", hint="leave out the speaker and the role")
        if what.strip():  # of an empty text `Memory.add` speaks more plainly when it is no turn
            what = _later.Conversation((_later.Turn(what, speaker=speaker, role=role),))
    return memory.add(
        cast("str", what),  # whatever it is; `Memory.add` says what it cannot take
        time=given.moment("time"),
        tags=given.texts("tags"),
        metadata=given.metadata(),
    )


def _import(memory: Memory, given: Given) -> Imported:
    importer = _later.Importer(given.texts("tags"), given.metadata())
    data = given.maybe("data", bytes)
    if data is not None:
        return _later.import_stream(memory, data, given.text("name") or "stdin", importer=importer)
    return _later.import_files(memory, given.texts("paths"), importer=importer, progress=given.progress)


def _search(memory: Memory, given: Given) -> Hits:
    return memory.search(given.text("question"), k=given.integer("k"), where=given.where())


def _recall(memory: Memory, given: Given) -> Recall:
    return memory.recall(given.text("question"), budget_tokens=given.integer("budget_tokens"), where=given.where())


def _ask(memory: Memory, given: Given) -> Answer:
    settings = _later.load_settings()
    spec = given.maybe("generator", str) or settings.generator
    generator = None if spec in (None, "none") else _later.generator_from(spec, api_key=settings.api_key)
    return memory.ask(
        given.text("question"),
        generator=generator,
        budget_tokens=given.integer("budget_tokens"),
        where=given.where(),
    )


def _get(memory: Memory, given: Given) -> Cube:
    return memory.get(given.text("id"))


def _list(memory: Memory, given: Given) -> Page:
    return memory.list(
        where=given.where(),
        limit=given.integer("limit"),
        cursor=given.maybe("cursor", str),
        newest_first=given.is_set("newest_first"),
    )


def _update(memory: Memory, given: Given) -> Cube:
    return memory.update(
        given.text("id"),
        text=given.maybe("text", str),
        time=given.moment("time"),
        tags=given.texts("tags") or None,
        metadata=given.metadata(),
    )


def _forget(memory: Memory, given: Given) -> Forgotten:
    verb = memory.plan_forget if given.is_set("dry_run") else memory.forget
    return verb(given.texts("ids"), where=given.where(), query=given.maybe("query", str), k=given.integer("k"))


def _history(memory: Memory, given: Given) -> Past:
    cube = memory.get(given.text("id"))
    return Past(cube.id, tuple(memory.history(cube.id)))


def _export(memory: Memory, given: Given) -> Exported:
    path = Path(given.text("path")).expanduser()
    return Exported(str(path), _later.export(memory, path, where=given.where()))


def _stats(memory: Memory, _: Given) -> Stats:
    return memory.stats()


def _doctor(memory: Memory, given: Given) -> Health:
    return _later.examine(memory, repair=given.is_set("repair"), progress=given.progress)


# --- the table -----------------------------------------------------------------------------------------------------

VERBS: tuple[Verb, ...] = (
    Verb(
        "add",
        "Remember a text, word for word.",
        "Without a text, or with -, the text is read from standard input. Words need no quotes; they are joined by"
        " spaces. The same text again is the same memory.",
        (
            'pinyon add "The spare key hangs behind the blue door." --tag home',
            "pinyon add --speaker Ann --time 2023-05-08 I am allergic to peanuts.",
            "pinyon add --messages chat.json --session monday",
        ),
        (
            Parameter("what", "The text, or - for standard input", "words", "argument", shown="TEXT"),
            _TIME,
            _TAGS,
            _METADATA,
            Parameter("speaker", "Who said it; makes it a turn of a conversation", "text", "option", ("--speaker",),
                      "NAME"),
            Parameter("role", "Role in a chat; makes it a turn of a conversation", "choice", "option", ("--role",),
                      choices=("user", "assistant", "system", "tool")),
            Parameter("messages", 'JSON chat messages ({"role": …, "content": …}) instead of a text; - for standard'
                      " input", "file", "edge", ("--messages",), "FILE"),
        ),
        ("pinyon.memory:Memory.add", "pinyon.core.experience:Turn"),
        _add,
        can_create=True,
    ),
    Verb(
        "import",
        "Read files, folders and archives into the memory.",
        "A file that was read before and has not changed is passed over; one that changed replaces what it said. A file"
        " that cannot be read is named, and the rest goes in.",
        (
            "pinyon import notes/ 'mail/**/*.eml' --tag work",
            "cat chat.json | pinyon import - --name chat.json",
            "pinyon import notes/ --watch",
        ),
        (
            Parameter("paths", "Files, folders (read in depth) and globs; - for standard input", "file", "argument",
                      is_many=True, is_required=True),
            Parameter("data", "The bytes of a source, instead of paths", "bytes", "input"),
            Parameter("name", "Name of what comes from standard input; its ending helps to tell what it is",
                      "text", "option", ("--name",)),
            _TAGS,
            _METADATA,
            Parameter("watch", "Go on, and import again whenever a file changes", "flag", "edge", ("--watch",)),
        ),
        (
            "pinyon.importing:import_files",
            "pinyon.importing:import_stream",
            "pinyon.importing:Importer",
            "pinyon.importing:watch_files",
        ),
        _import,
        can_create=True,
    ),
    Verb(
        "search",
        "Show the memories that fit a question best.",
        "Finds by words and by meaning, without any language model. A text in double quotes must stand in a memory as"
        " it is, if any holds it.",
        ("pinyon search where is the spare key", "pinyon search bees --speaker Ann --since 2023-01-01 --why"),
        (_QUESTION, _k("How many"), *FILTERS, _WHY),
        ("pinyon.memory:Memory.search",),
        _search,
    ),
    Verb(
        "recall",
        "Print what a prompt needs to answer a question, within a token budget.",
        "Everything, in order, when it fits; else what fits the question best. Each passage has a number, a date and a"
        " speaker.",
        ("pinyon recall what does Ann eat --budget 800",),
        (_QUESTION, _BUDGET, *FILTERS, _WHY),
        ("pinyon.memory:Memory.recall",),
        _recall,
    ),
    Verb(
        "ask",
        "Answer a question from the memory, with citations.",
        "Without a model the answer is quoted from the memories. When nothing is known about it, the answer says so.",
        (
            "pinyon ask what is Ann allergic to",
            "pinyon ask what is Ann allergic to --model openai:qwen3@http://localhost:8000/v1",
        ),
        (
            _QUESTION,
            Parameter("generator", "Model that writes the answer: openai:<model>@<base_url>, anthropic:<model> or"
                      " hf:<id>; none for quotations", "text", "option", ("--model",), "SPEC"),
            _BUDGET,
            *FILTERS,
            _WHY,
        ),
        ("pinyon.memory:Memory.ask",),
        _ask,
    ),
    Verb(
        "get",
        "Show one memory whole.",
        "",
        ("pinyon get 3f9a1c2b",),
        (_ID,),
        ("pinyon.memory:Memory.get",),
        _get,
    ),
    Verb(
        "list",
        "List memories in order of time, page by page.",
        "",
        ("pinyon list --limit 20 --tag work", "pinyon list --where 'year>=2024' --json"),
        (
            Parameter("limit", "Memories a page", "integer", "option", ("--limit",), "N", 50, least=1, most=10_000),
            Parameter("cursor", "Go on where the page before ended", "text", "option", ("--cursor",)),
            Parameter("newest_first", "Begin with the oldest", "flag", "option", ("--oldest-first",), default=True),
            *FILTERS,
            STATES,
        ),
        ("pinyon.memory:Memory.list",),
        _list,
    ),
    Verb(
        "update",
        "Write the next version of a memory.",
        "What is not given stays. The versions before stay in its history. Tags and metadata that are given replace"
        " those before.",
        ('pinyon update 3f9a1c2b --text "The spare key hangs in the shed."', "pinyon update 3f9a1c2b --tag home"),
        (
            _ID,
            Parameter("text", "Its words from now on; - for standard input", "text", "option", ("--text",)),
            _TIME,
            _TAGS,
            _METADATA,
        ),
        ("pinyon.memory:Memory.update",),
        _update,
    ),
    Verb(
        "forget",
        "Remove memories with all their versions.",
        "Shows what would go and asks. The journal keeps that something went, and not what.",
        ("pinyon forget 3f9a1c2b", "pinyon forget --source diary.md --dry-run", "pinyon forget --query peanuts -k 3"),
        (
            Parameter("ids", "Ids, or at least their first four characters", "text", "argument", is_many=True),
            Parameter("query", "The best hits of a question", "text", "option", ("--query",), "QUESTION"),
            _k("How many hits of the question"),
            *FILTERS,
            Parameter("dry_run", "Show what would go, and stop", "flag", "edge", ("--dry-run",)),
            Parameter("yes", "Do not ask", "flag", "edge", ("--yes", "-y")),
        ),
        ("pinyon.memory:Memory.forget", "pinyon.memory:Memory.plan_forget"),
        _forget,
    ),
    Verb(
        "history",
        "Show every version of a memory, oldest first.",
        "",
        ("pinyon history 3f9a1c2b",),
        (_ID,),
        ("pinyon.memory:Memory.history",),
        _history,
    ),
    Verb(
        "export",
        "Write memories into an archive that import reads.",
        "The archive holds every version and is one file of JSON lines. An archive that is there already is replaced"
        " when the new one is whole.",
        ("pinyon export backup.jsonl", "pinyon export work.jsonl --tag work"),
        (Parameter("path", "The archive", "file", "argument", shown="FILE", is_required=True), *FILTERS),
        ("pinyon.importing:export",),
        _export,
    ),
    Verb(
        "stats",
        "Show what is in the memory.",
        "",
        ("pinyon stats --json",),
        (),
        ("pinyon.memory:Memory.stats",),
        _stats,
    ),
    Verb(
        "doctor",
        "Check that the memory is sound.",
        "Verifies the journal, the database and the index. With --repair, missing vectors are made and the index is"
        " built again first; what was remembered is never changed.",
        ("pinyon doctor", "pinyon doctor --repair"),
        (Parameter("repair", "Build again what is derived from the memories", "flag", "edge", ("--repair",)),),
        ("pinyon.memory:Memory.check", "pinyon.memory:Memory.reindex", "pinyon.memory:Memory.catch_up"),
        _doctor,
    ),
)  # fmt: skip
"""Every verb, in the order in which help shows them."""
