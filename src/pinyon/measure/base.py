"""What is asked, and what a measurement reports."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from .. import __version__
from ..core.cube import Cube
from ..core.experience import Experience
from ..core.payload import Json
from ..errors import BadInput
from .stats import Interval, bootstrap, median, percentile

__all__ = [
    "OVERALL", "Corpus", "Item", "Metric", "Question", "Report", "Room", "compare", "metric", "recall_metrics",
    "surroundings",
]  # fmt: skip

OVERALL = "overall"
_VERSIONS = ("pinyon", "numpy", "tokenizers", "wordllama", "PyStemmer")


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose evidence is known.

    Args:
        text: As it is put to the memory.
        evidence: Names of the passages that answer it, at least one; see `Corpus.names`.
        category: Kind of question, as its source calls it.
        answer: The right answer, or an empty text.
        is_counted: Whether it enters the overall figure.
    """

    text: str
    evidence: tuple[str, ...]
    category: str = ""
    answer: str = ""
    is_counted: bool = True


@dataclass(frozen=True, slots=True)
class Room:
    """What lies in one space, and the questions put to it.

    Args:
        space: Its name.
        experiences: What is added.
        questions: What is asked.
    """

    space: str
    experiences: tuple[Experience, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Spaces with questions, and how to recognise evidence in a hit.

    Args:
        name: For tables.
        rooms: Searched one by one.
        names: The names of evidence that a cube carries; most cubes carry one or none.
    """

    name: str
    rooms: tuple[Room, ...]
    names: Callable[[Cube], Collection[str]]

    @property
    def questions(self) -> int:
        """Number of questions in all rooms."""
        return sum(len(room.questions) for room in self.rooms)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number with its 95 % interval.

    Args:
        name: For example ``recall@10``.
        group: Kind of question, or ``overall``.
        value: A share, 0 to 1, or what `name` says.
        low: Lower end of the interval.
        high: Upper end.
        n: Questions it is the mean over.
    """

    name: str
    group: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one question.

    Args:
        room: Space it was put to.
        question: Its text.
        category: Its kind.
        ranks: Rank of each piece of evidence, from 1; 0 when not among those returned.
        ms: Milliseconds of the search.
        is_counted: Whether it enters the overall figure.
    """

    room: str
    question: str
    category: str
    ranks: tuple[int, ...]
    ms: float
    is_counted: bool = True

    def recall(self, k: int) -> float:
        """Return which share of the evidence is among the first k."""
        return sum(0 < rank <= k for rank in self.ranks) / len(self.ranks)


@dataclass(frozen=True, slots=True)
class Report:
    """A measured result that can be printed and kept.

    Args:
        name: What was measured.
        system: What was measured with it: the default, or a control.
        metrics: Numbers with intervals.
        n: Questions that count.
        seconds: Wall time of all of it, adding included.
        cubes: What lay in the memory.
        search_ms: Median time of a search.
        search_p95_ms: 95th percentile of it.
        command: What prints it again.
        machine: Processor and system.
        versions: Of the packages that matter.
        items: One a question.
        notes: Plain sentences on what the numbers mean.
        when: Day on which it was measured, as 2026-01-31.
        seed: Of every random choice.
        add_ms: Milliseconds to add one passage, on average.
        tokens: Tokens of a recalled context, on average; 0 when none was recalled.
        memory_bytes: Growth of the subject's process.
        disk_bytes: Files that the subject wrote.
        failed: Items at which the subject failed; they count as not found.
        skipped: Items that could not be asked, because their data are malformed.
        left_over: Items that were not asked, because the time was over.
        error: Last words of a subject that failed as a whole; empty when all is well.
        reason: What most of the failed items said.
        subject: What was measured, as the command line calls it.
        data: Name of the question set that was read, with its hash; empty when none was.
    """

    name: str
    system: str
    metrics: tuple[Metric, ...]
    n: int
    seconds: float
    cubes: int = 0
    search_ms: float = 0.0
    search_p95_ms: float = 0.0
    command: str = ""
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    items: tuple[Item, ...] = ()
    notes: tuple[str, ...] = ()
    when: str = ""
    seed: int = 0
    add_ms: float = 0.0
    tokens: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    failed: int = 0
    skipped: int = 0
    left_over: int = 0
    error: str = ""
    reason: str = ""
    subject: str = ""
    data: str = ""

    def value(self, name: str, group: str = OVERALL) -> float:
        """Return one number.

        Raises:
            KeyError: It was not measured.
        """
        for metric in self.metrics:
            if (metric.name, metric.group) == (name, group):
                return metric.value
        raise KeyError(f"{name} of {group}")

    def to_json(self) -> dict[str, Json]:
        """Return everything as a JSON object."""
        plain: dict[str, Json] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, data: object) -> Report:
        """Return a report as `to_json` wrote it.

        Raises:
            BadInput: It is none.
        """
        try:
            read = dict(cast("Mapping[str, Any]", data))  # checked field by field below
            metrics = tuple(Metric(**metric) for metric in read.pop("metrics"))
            items = tuple(Item(**{**item, "ranks": tuple(item["ranks"])}) for item in read.pop("items", ()))
            return cls(**{**read, "metrics": metrics, "items": items, "notes": tuple(read.get("notes", ()))})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadInput(
                f"this is no report of a measurement: {error}", hint="give a file that measure wrote"
            ) from error

    def without_items(self) -> Report:
        """Return the same numbers without the questions, which the licences of most question sets keep private."""
        return replace(self, items=())

    def to_markdown(self) -> str:
        """Return a table: one row a group of questions, one column a metric, in per cent with the interval."""
        names = list(dict.fromkeys(metric.name for metric in self.metrics))
        groups = list(dict.fromkeys(metric.group for metric in self.metrics))
        cells = {(m.group, m.name): m for m in self.metrics}
        rows = []
        for group in groups:
            found = [cells.get((group, name)) for name in names]
            n = next((m.n for m in found if m is not None), 0)
            rows.append([group, str(n), *("" if m is None else _cell(m) for m in found)])
        lines = [f"### {self.name}: {self.system}", "", *_table(["questions", "n", *names], rows), ""]
        lines.append(
            f"{self.cubes:,} cubes, {self.n:,} questions, {self.seconds:.1f} s; "
            f"a search takes {self.search_ms:.1f} ms (median), {self.search_p95_ms:.1f} ms (95th percentile)."
        )
        lines.extend(self.notes)
        return "\n".join(lines) + "\n"


def recall_metrics(items: Sequence[Item], ks: Sequence[int], *, seed: int = 0) -> tuple[Metric, ...]:
    """Return recall@k of every category and overall, with bootstrap intervals over the questions."""
    groups: dict[str, list[Item]] = {OVERALL: [item for item in items if item.is_counted]}
    for item in sorted(items, key=lambda i: (not i.is_counted, i.category)):
        groups.setdefault(item.category if item.is_counted else f"{item.category} (not counted)", []).append(item)
    if len(groups) == 2:  # a single category says the same twice
        groups = {OVERALL: groups[OVERALL]}
    return tuple(
        metric(f"recall@{k}", group, bootstrap([item.recall(k) for item in members], seed=seed))
        for group, members in groups.items()
        for k in ks
    )


def timings(items: Sequence[Item]) -> tuple[float, float]:
    """Return median and 95th percentile of the milliseconds of a search."""
    ms = [item.ms for item in items]
    return median(ms), percentile(ms, 95)


def compare(reports: Sequence[Report], names: Sequence[str]) -> str:
    """Return one table of several systems on the same questions, overall figures only."""
    rows = []
    for report in reports:
        cells = {m.name: m for m in report.metrics if m.group == OVERALL}
        shown = [_cell(cells[name]) if name in cells else "" for name in names]
        rows.append([report.system, *shown, f"{report.search_ms:.1f}", f"{report.search_p95_ms:.1f}"])
    title = f"### {reports[0].name}, {reports[0].n:,} questions" if reports else ""
    return "\n".join([title, "", *_table(["system", *names, "ms", "p95 ms"], rows)]) + "\n"


def surroundings() -> tuple[str, dict[str, str]]:
    """Return a line on the machine and the versions of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = __version__ if name == "pinyon" else version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}", found


def metric(name: str, group: str, found: Interval) -> Metric:
    """Return a number as a report holds it.

    Args:
        name: What it is, as ``recall@10``.
        group: Kind of question, or ``overall``.
        found: The number with its interval.
    """
    return Metric(name, group, found.value, found.low, found.high, found.n)


def _cell(metric: Metric) -> str:
    return f"{100 * metric.value:.1f} [{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = "|" + "|".join("---" if place == 0 else "---:" for place in range(len(head))) + "|"
    return [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]
