"""What the steps of a pipeline can do: a table of verbs, what each takes, and how that is checked beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ..core.clock import instant
from ..core.payload import Json
from ..core.where import where_from
from ..errors import BadInput

__all__ = ["OPERATIONS", "Operation", "Sort", "Takes", "check_meaning", "check_option", "fitted"]

Sort = Literal["words", "name", "names", "texts", "integer", "moment", "filter", "object", "choice"]
"""What an option takes. ``words`` and ``texts`` may be content of memories, ``name`` and ``names`` never are."""

Takes = Mapping[str, Sort]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a step can do.

    Args:
        help: What it does, without a full stop.
        takes: Its options, and what each takes.
        needs: Those it cannot do without.
        reads: Whether it works on what earlier steps gave.
        writes: Whether it changes the store.
    """

    help: str
    takes: Takes = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    reads: bool = True
    writes: bool = True


_WHY: Takes = {"why": "words"}
_EXTRA: Takes = {"tags": "texts", "metadata": "object", "expires": "moment", "priority": "name", "time": "moment"}
_ASKED: Takes = {"question": "words", "where": "filter"}

OPERATIONS: Final[Mapping[str, Operation]] = {
    "search": Operation("Give the best hits of a question", {**_ASKED, "k": "integer"}, ("question",), False, False),
    "list": Operation(
        "Give everything that a filter admits, oldest first", {"where": "filter", "limit": "integer"}, (), False, False
    ),
    "get": Operation("Give memories by their ids", {"ids": "names"}, ("ids",), False, False),
    "recall": Operation(
        "Give what a prompt would hold, and its text",
        {**_ASKED, "budget_tokens": "integer"},
        ("question",),
        False,
        False,
    ),
    "ask": Operation(
        "Give an answer as text, and the memories it cites",
        {**_ASKED, "generator": "name", "budget_tokens": "integer"},
        ("question",),
        False,
        False,
    ),
    "changed": Operation(
        "Give what was written or moved since a moment of record time",
        {"since": "moment", "until": "moment", "where": "filter"},
        ("since",),
        False,
        False,
    ),
    "pick": Operation(
        "Give those of earlier steps that a filter admits, the first so many",
        {"where": "filter", "limit": "integer"},
        writes=False,
    ),
    "repeats": Operation("Give those whose words a later one says again, whatever the case", writes=False),
    "condense": Operation(
        "Give one short text of several, by extraction or by a model", {"tokens": "integer", "by": "name"}, writes=False
    ),
    "add": Operation(
        "Add a text, made of the memories of earlier steps where there are some; without one, their text",
        {"text": "words", **_EXTRA},
    ),
    "copy": Operation("Copy texts into another space", {"to": "name", "tags": "texts"}, ("to",)),
    "update": Operation("Write the next version of each", {"text": "words", **_EXTRA}),
    "tag": Operation("Add labels to each", {"tags": "texts"}, ("tags",)),
    "untag": Operation("Take labels from each", {"tags": "texts"}, ("tags",)),
    "redact": Operation(
        "Cover what rules of redaction find in each, in its next version; the memory's own rules without kinds",
        {"kinds": "names", "keep_last": "integer"},
    ),
    "merge": Operation("Make one memory of several, and archive those", {"text": "words", **_WHY}),
    "archive": Operation("Put each away", _WHY),
    "restore": Operation("Bring each back from the archive", _WHY),
    "activate": Operation("Bring each to work", _WHY),
    "expire": Operation("End the life of each", _WHY),
    "freeze": Operation("Hold each as it is", _WHY),
    "thaw": Operation("Let each frozen one be what it was", _WHY),
    "pin": Operation("Keep each from being archived by itself", _WHY),
    "unpin": Operation("Let each be archived by itself again", _WHY),
    "rollback": Operation(
        "Let each say what it said at a moment of record time, and archive what was made later",
        {"to": "moment"},
        ("to",),
    ),
    "forget": Operation("Forget each, and what was made of it", {"derived": "choice"}),
    "convert": Operation(
        "Let a local model read them once and keep what it then knows", {"backbone": "name", "form": "name"}
    ),
}
"""What the steps of a file can do. Every step may also name the ``space`` it works in."""


def check_option(step: str, option: str, sort: Sort, value: Json) -> None:
    """Refuse what an option does not take; a text that names a value is looked at again when it is in place."""
    if isinstance(value, str) and "${" in value:
        return
    is_fit = {
        "integer": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        "filter": isinstance(value, dict),
        "object": isinstance(value, dict),
        "names": isinstance(value, str) or _is_texts(value),
        "texts": isinstance(value, str) or _is_texts(value),
    }.get(sort, isinstance(value, str))
    if not is_fit:
        raise BadInput(f"step {step!r}: {option} takes {_SORTS[sort]}, got {value!r}")


_SORTS: Mapping[Sort, str] = {
    "integer": "a whole number of at least 0", "filter": "a table", "object": "a table",
    "names": "a list of names", "texts": "a list of texts", "words": "a text", "name": "a name",
    "moment": "a moment, as \"2024-05-01\"", "choice": "a word",
}  # fmt: skip


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def check_meaning(step: str, operation: Operation, options: Mapping[str, Json]) -> None:
    """Refuse filters and moments that cannot be read, with every value in place.

    Raises:
        BadInput: One cannot.
    """
    for option, value in options.items():
        sort = operation.takes.get(option)
        try:
            if sort == "filter" and isinstance(value, dict):
                where_from(value)
            elif sort == "moment" and isinstance(value, str):
                instant(value)
        except BadInput as error:
            raise BadInput(f"step {step!r}: {option}: {error.message}", hint=error.hint) from error


def fitted(sort: Sort | None, value: Json) -> Json:
    """Return a value as an option takes it: a text of digits is a number where one is wanted, a number is a text."""
    if sort == "integer" and isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    if (
        sort in ("words", "name", "moment", "choice")
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
    ):
        return str(value)
    if sort in ("names", "texts") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return [str(value)]
    return value
