"""Two reports of one measure beside each other: what differs, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from ..core.payload import Json
from ..errors import BadInput
from .base import OVERALL, Metric, Report
from .report import by_measure, number, table
from .stats import Interval, difference

__all__ = ["Difference", "compared", "differences", "pairs_of"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of two reports.

    Args:
        measure: What was measured.
        first: The first system.
        second: The second one; the same, or another.
        name: Of the number.
        group: Kind of question.
        one: The number of the first.
        other: The number of the second.
        gap: First less second, with its 95 % interval.
        is_paired: Whether it was taken question by question, which makes it much surer.
    """

    measure: str
    first: str
    second: str
    name: str
    group: str
    one: Metric
    other: Metric
    gap: Interval
    is_paired: bool

    def to_json(self) -> dict[str, Json]:
        """Return it as a JSON object."""
        ends = {side: {end: getattr(found, end) for end in ("value", "low", "high", "n")}
                for side, found in (("one", self.one), ("other", self.other))}  # fmt: skip
        names = {name: getattr(self, name) for name in ("measure", "first", "second", "name", "group", "is_paired")}
        return {**names, **ends, "difference": asdict(self.gap)}


def pairs_of(
    ours: Sequence[Report], theirs: Sequence[Report] | None, subjects: Sequence[str]
) -> list[tuple[Report, Report]]:
    """Return which reports are to be compared.

    Args:
        ours: Of the first file or folder.
        theirs: Of the second one; None compares subjects of the first with each other.
        subjects: As the command line or the tables call them. Within one folder the first of them that is there is
            compared with each of the others. Between two folders each is compared with itself, or, where a measure has
            a single subject in each, that one with the other.

    Raises:
        BadInput: There is nothing to compare.
    """
    pairs = _within(ours, subjects) if theirs is None else _between(ours, theirs)
    if not pairs:
        there = ", ".join(dict.fromkeys(f"{r.name}: {r.system}" for r in (*ours, *(theirs or ()))))
        raise BadInput(
            f"there is nothing to compare among {there}",
            hint="give two results of one measure, or one folder and --subjects with two of its subjects",
        )
    return pairs


def differences(pairs: Sequence[tuple[Report, Report]]) -> tuple[Difference, ...]:
    """Return all numbers that both reports of a pair have.

    Differences are paired by question where both kept the same ones; else the interval follows from both intervals
    (Newcombe 1998, method 10), which is right for other questions and too wide for the same ones.
    """
    return tuple(found for one, other in pairs for found in _of_pair(one, other))


def compared(found: Sequence[Difference]) -> str:
    """Return differences as a Markdown table."""
    rows = [
        [d.measure, d.first if d.first == d.second else f"{d.first} less {d.second}", d.group, d.name, number(d.one),
         number(d.other), number(_gap(d)), "yes" if d.is_paired else "no"]
        for d in found
    ]  # fmt: skip
    head = ["measure", "subject", "questions", "figure", "first", "second", "first less second", "paired"]
    return table(head, rows)


def _within(reports: Sequence[Report], subjects: Sequence[str]) -> list[tuple[Report, Report]]:
    pairs = []
    for several in by_measure(reports).values():
        named = [report for name in subjects for report in several if _is_called(report, name)]
        chosen = list({id(report): report for report in named}.values())
        pairs += [(chosen[0], other) for other in chosen[1:]]
    return pairs


def _between(ours: Sequence[Report], theirs: Sequence[Report]) -> list[tuple[Report, Report]]:
    pairs = []
    second = by_measure(theirs)
    for name, several in by_measure(ours).items():
        others = second.get(name, [])
        same = [(one, other) for one in several for other in others if one.system == other.system]
        pairs += same or ([(several[0], others[0])] if len(several) == len(others) == 1 else [])
    return pairs


def _is_called(report: Report, name: str) -> bool:
    return name.strip().lower() in (report.subject.lower(), report.system.lower())


def _of_pair(one: Report, other: Report) -> Iterator[Difference]:
    known = {(m.name, m.group): m for m in other.metrics}
    for metric in one.metrics:
        theirs = known.get((metric.name, metric.group))
        if theirs is not None:
            paired = _paired(one, other, metric, theirs)
            gap = paired or _apart(metric, theirs)
            yield Difference(
                one.name, one.system, other.system, metric.name, metric.group, metric, theirs, gap, paired is not None
            )


def _paired(one: Report, other: Report, metric: Metric, theirs: Metric) -> Interval | None:
    """Return the difference over the questions of both; None where the items do not say it."""
    kind, _, depth = metric.name.partition("@")
    if kind != "recall" or not depth.isdigit():
        return None
    if [(i.room, i.question) for i in one.items] != [(i.room, i.question) for i in other.items]:
        return None
    both = [
        (a, b)
        for a, b in zip(one.items, other.items, strict=True)
        if (a.is_counted if metric.group == OVERALL else a.category == metric.group)
    ]
    if not len(both) == metric.n == theirs.n:
        return None
    k = int(depth)
    return difference([a.recall(k) for a, _ in both], [b.recall(k) for _, b in both])


def _apart(one: Metric, other: Metric) -> Interval:
    gap = one.value - other.value
    low = gap - math.hypot(one.value - one.low, other.high - other.value)
    high = gap + math.hypot(one.high - one.value, other.value - other.low)
    return Interval(gap, low, high, min(one.n, other.n))


def _gap(found: Difference) -> Metric:
    """Return the difference as a number of a table, in the unit of the two."""
    return Metric(found.name, found.group, found.gap.value, found.gap.low, found.gap.high, found.gap.n)
