"""How long a measurement may take, and the file in which each item is noted as soon as it is done."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar, cast

from ..core.payload import Json
from ..errors import BadInput, ModelError
from ..files import whole_file
from .base import Report
from .subject import Subject

__all__ = ["ItemLog", "Logged", "Measure", "MeasureBudget", "forget_failures"]

_T = TypeVar("_T")
_IN_A_ROW = 10  # failures after which a subject is taken for dead
_LAST_WORDS = 300  # characters of an error that are kept


@dataclass(frozen=True, slots=True)
class MeasureBudget:
    """How much of a question set is asked, and for how long.

    Args:
        seconds_per_item: Longest time of one item; whoever takes longer is ended and the item counts as failed.
        seconds: Longest time of the whole; items that are left over are counted, not asked.
        items: Most items, drawn at random; None takes what the measure has.
        small: A sample that gives a first impression in a minute or two.
        seed: Of every random choice.

    Raises:
        BadInput: A number is not positive.
    """

    seconds_per_item: float = 60.0
    seconds: float = 3600.0
    items: int | None = None
    small: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seconds_per_item", "seconds", "items"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"a budget with {name} of {value!r} is not possible", hint="give a number above 0")

    def sample(self, things: Sequence[_T], small: int) -> list[_T]:
        """Return the things to ask, in their order: all of them, or a random sample.

        Args:
            things: All there are.
            small: Size of the sample when the budget is small and says no number.
        """
        most = self.items if self.items is not None else small if self.small else len(things)
        if most >= len(things):
            return list(things)
        places = sorted(random.Random(self.seed).sample(range(len(things)), most))
        return [things[place] for place in places]


@dataclass(frozen=True, slots=True)
class Logged:
    """What became of one item.

    Args:
        key: Names it within the measure.
        state: ``skipped`` items could not be asked, because their data are malformed.
        record: What the measure noted; empty when it failed or was skipped.
        why: One sentence when it failed or was skipped.
        cost: What it took, as whoever watched the subject says; a run that goes on adds to it.
    """

    key: str
    state: Literal["done", "failed", "skipped"]
    record: Mapping[str, Json]
    why: str = ""
    cost: Mapping[str, Json] = field(default_factory=dict)


class Measure(Protocol):
    """A question set with its scoring."""

    name: str

    def run(self, subject: Subject, budget: MeasureBudget, log: ItemLog) -> Report:
        """Put the questions to a subject, each through `ItemLog.run`, and score what is in the log."""
        ...


class ItemLog:
    """One JSON line an item, on the disk before the next item begins; what is there already is not done again.

    Args:
        path: The file, made when it is not there; None keeps everything in memory.
        seconds: After that many, `run` does nothing more.
        note: Told ``begin`` and ``end`` with the key of each item, for whoever watches the time.
        cost: Asked after each item what it took.

    Raises:
        BadInput: The file is no log of items.

    Example:
        >>> log = ItemLog()
        >>> log.run("2 + 2", lambda: {"right": 4})
        {'right': 4}
        >>> log.run("2 + 2", lambda: {"right": 5})
        {'right': 4}
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        seconds: float | None = None,
        note: Callable[[str, str], object] | None = None,
        cost: Callable[[], Mapping[str, Json]] = dict,
    ) -> None:
        self._cost = cost
        self._items: dict[str, Logged] = {}
        self._note = note
        self._until = None if seconds is None else time.monotonic() + seconds
        self._failures = 0
        self.left_over = 0
        self._file = None
        if path is not None:
            whole = _read(path, self._items) if path.exists() else 0
            self._file = path.open("ab")
            self._file.truncate(whole)  # a line that was cut off is written again

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def run(self, key: str, work: Callable[[], Mapping[str, Json]]) -> Mapping[str, Json] | None:
        """Do one item unless it is done, and return its record; None when it failed or was left over.

        Whatever the work raises is noted with the item, and the next one goes on.

        Args:
            key: Names the item; the same in every run of the same seed.
            work: Returns what is worth keeping of it, a JSON object.

        Raises:
            ModelError: Ten items failed one after the other.
        """
        if (known := self._items.get(key)) is not None:
            return known.record if known.state == "done" else None
        if self._until is not None and time.monotonic() > self._until:
            self.left_over += 1
            return None
        self._told("begin", key)
        try:
            record = dict(work())
        except Exception as error:  # the edge to foreign code: what it says is kept with the item
            self.fail(key, f"{type(error).__name__}: {error}")
            self._failures += 1
            if self._failures >= _IN_A_ROW:
                raise ModelError(f"{_IN_A_ROW} items failed one after the other: {last_words(str(error))}") from error
            return None
        self._failures = 0
        self._append(Logged(key, "done", record, cost=self._cost()))
        return record

    def skip(self, key: str, why: str) -> None:
        """Note that an item cannot be asked, once.

        Args:
            key: Names the item.
            why: One sentence on what is wrong with its data.
        """
        if key not in self._items:
            self._append(Logged(key, "skipped", {}, why))

    def fail(self, key: str, why: str) -> None:
        """Note that a subject failed at an item.

        Args:
            key: Names the item.
            why: Its last words.
        """
        if key not in self._items:
            self._append(Logged(key, "failed", {}, last_words(why), self._cost()))

    def expect(self, items: int) -> None:
        """Say how many items there are, for the progress bar."""
        self._told("expect", str(items))

    def has(self, key: str) -> bool:
        """Return whether an item needs no more work."""
        return key in self._items

    @property
    def items(self) -> tuple[Logged, ...]:
        """Everything noted so far, in the order in which it was."""
        return tuple(self._items.values())

    def count(self, state: str) -> int:
        """Return how many items are ``done``, ``failed`` or ``skipped``."""
        return sum(item.state == state for item in self._items.values())

    @property
    def reason(self) -> str:
        """What most of the failed items said, the first of them among equals; empty when none failed."""
        said = Counter(item.why for item in self._items.values() if item.state == "failed")
        return said.most_common(1)[0][0] if said else ""

    def _append(self, item: Logged) -> None:
        self._items[item.key] = item
        if self._file is not None:
            line = {"key": item.key, "state": item.state, "record": item.record, "why": item.why, "cost": item.cost}
            self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._told("end", item.key)

    def _told(self, what: str, key: str) -> None:
        if self._note is not None:
            self._note(what, key)


def forget_failures(path: Path) -> None:
    """Take the failed items out of a log, so that they are asked again.

    Raises:
        BadInput: The file is no log of items.
    """
    if not path.exists():
        return
    items: dict[str, Logged] = {}
    whole = _read(path, items)
    lines = path.read_bytes()[:whole].splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["state"] != "failed"]
    if len(kept) < len(lines):
        with whole_file(path) as file:
            file.writelines(kept)


def last_words(text: str) -> str:
    """Return the end of an error message as one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LAST_WORDS else f"… {line[-_LAST_WORDS:]}"


def _read(path: Path, items: dict[str, Logged]) -> int:
    """Fill in what a file holds and return up to which byte it is whole."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            read = json.loads(line)
            state = cast("Literal['done', 'failed', 'skipped']", read["state"])  # written by `_append`
            items[read["key"]] = Logged(read["key"], state, read["record"], read["why"], read.get("cost", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"line {number} of {path.name!r} is no item of a measurement", hint="give another folder for results"
            ) from error
    return whole
