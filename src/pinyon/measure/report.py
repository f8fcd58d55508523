"""Reports as tables: one a measure, its subjects below each other, what each costs beside what it finds."""

from __future__ import annotations

from collections.abc import Sequence

from .base import OVERALL, Metric, Report
from .stats import difference

__all__ = ["by_measure", "columns_of", "compared", "number", "summary", "surroundings_of"]

_COSTS = ("add ms", "search ms", "p95 ms", "tokens", "MB in memory", "MB on disk")


def by_measure(reports: Sequence[Report]) -> dict[str, list[Report]]:
    """Return the reports of each measure, in the order in which they first come."""
    out: dict[str, list[Report]] = {}
    for report in reports:
        out.setdefault(report.name, []).append(report)
    return out


def columns_of(reports: Sequence[Report], group: str = OVERALL) -> list[str]:
    """Return the names of the numbers that any of the reports has, in their order."""
    return list(dict.fromkeys(m.name for report in reports for m in report.metrics if m.group == group))


def number(metric: Metric | None, *, with_interval: bool = True) -> str:
    """Return a number as a cell of a table: shares in per cent, all others as they are.

    Example:
        >>> number(Metric("recall@10", "overall", 0.5, 0.4, 0.6, 100))
        '50.0 [40.0, 60.0]'
    """
    if metric is None:
        return ""
    is_share = metric.low >= -1.0 and metric.high <= 1.0
    scale = 100.0 if is_share else 1.0
    value, low, high = (f"{scale * end:.1f}" for end in (metric.value, metric.low, metric.high))
    return f"{value} [{low}, {high}]" if with_interval else value


def summary(reports: Sequence[Report]) -> str:
    """Return everything as Markdown: for each measure figures, costs, and figures by group of questions."""
    parts: list[str] = []
    for name, several in by_measure(reports).items():
        good = [report for report in several if report.metrics]
        parts.append(f"## {name}\n")
        parts.append(_figures(several) + "\n")
        parts.append(_costs(several) + "\n")
        groups = [g for g in dict.fromkeys(m.group for r in good for m in r.metrics) if g != OVERALL]
        if groups and good:
            parts.append(_groups(good, groups) + "\n")
        parts.extend(f"- {note}" for note in dict.fromkeys(n for r in good for n in r.notes))
        parts.append(_troubles(several))
        parts.append(surroundings_of(several) + "\n")
    return "\n".join(part for part in parts if part)


def compared(ours: Sequence[Report], theirs: Sequence[Report]) -> str:
    """Return what changed between two sets of reports, for the measures and subjects that both have.

    Differences are paired by question where both kept their items; else the two intervals stand side by side.
    """
    known = {(report.name, report.system): report for report in theirs}
    rows: list[list[str]] = []
    for report in ours:
        other = known.get((report.name, report.system))
        if other is None:
            continue
        before = {(m.name, m.group): m for m in other.metrics}
        for metric in report.metrics:
            earlier = before.get((metric.name, metric.group))
            if earlier is not None:
                rows.append([report.name, report.system, metric.group, metric.name, number(metric), number(earlier),
                             _change(report, other, metric, earlier)])  # fmt: skip
    head = ["measure", "subject", "questions", "figure", "first", "second", "first less second"]
    return _table(head, rows)


def surroundings_of(reports: Sequence[Report]) -> str:
    """Return one paragraph: command, machine, versions, seed, days."""
    said = []
    for command in dict.fromkeys(r.command for r in reports if r.command):
        said.append(f"`{command}`")
    for machine in dict.fromkeys(r.machine.partition(", load")[0] for r in reports if r.machine):
        said.append(machine)
    versions = {name: version for r in reports for name, version in r.versions.items() if version != "not installed"}
    said.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    said.append(f"seed {', '.join(str(seed) for seed in dict.fromkeys(r.seed for r in reports))}")
    said.append(f"{sum(r.seconds for r in reports):,.0f} s in all")
    said.extend(dict.fromkeys(r.when for r in reports if r.when))
    return "; ".join(part for part in said if part) + "."


def _figures(reports: Sequence[Report]) -> str:
    names = columns_of(reports)
    rows = []
    for report in reports:
        cells = {m.name: m for m in report.metrics if m.group == OVERALL}
        rows.append([report.system, str(report.n), *(number(cells.get(name)) for name in names)])
    return _table(["subject", "n", *names], rows)


def _costs(reports: Sequence[Report]) -> str:
    rows = [
        [
            report.system,
            f"{report.add_ms:.2f}",
            f"{report.search_ms:.1f}",
            f"{report.search_p95_ms:.1f}",
            f"{report.tokens:,.0f}" if report.tokens else "",
            f"{report.memory_bytes / 1e6:.1f}",
            f"{report.disk_bytes / 1e6:.1f}",
        ]
        for report in reports
        if report.metrics
    ]
    return _table(["subject", *_COSTS], rows)


def _groups(reports: Sequence[Report], groups: Sequence[str]) -> str:
    """Return a table for recall@10 and recall@50, or else the first two figures: a row a group, a column a subject."""
    names = list(dict.fromkeys(name for group in groups for name in columns_of(reports, group)))
    chosen = [name for name in names if name in ("recall@10", "recall@50")] or names[:2]
    cells = {(r.system, m.group, m.name): m for r in reports for m in r.metrics}
    systems = list(dict.fromkeys(report.system for report in reports))
    tables = []
    for name in chosen:
        rows = []
        for group in groups:
            found = [cells.get((system, group, name)) for system in systems]
            n = next((metric.n for metric in found if metric is not None), 0)
            if any(found):
                rows.append([group, str(n), *(number(metric, with_interval=False) for metric in found)])
        tables.append(_table([name, "n", *systems], rows))
    return "\n\n".join(tables)


def _troubles(reports: Sequence[Report]) -> str:
    said: dict[str, list[str]] = {}
    for report in reports:
        counts = [
            f"{count} {what}"
            for count, what in (
                (report.failed, "failed"), (report.skipped, "skipped as malformed"), (report.left_over, "left over")
            )
            if count
        ]  # fmt: skip
        if counts:
            said.setdefault(", ".join(counts), []).append(report.system)
    lines = [f"- {', '.join(systems)}: {counts}." for counts, systems in said.items()]
    lines.extend(f"- {report.system} FAILED: {report.error}" for report in reports if report.error)
    return "\n".join(lines) + "\n" if lines else ""


def _change(ours: Report, theirs: Report, metric: Metric, earlier: Metric) -> str:
    """Return the difference, paired by question when both sides have the same ones."""
    kind, _, depth = metric.name.partition("@")
    both = ours.items and [i.question for i in ours.items] == [i.question for i in theirs.items]
    if both and kind == "recall" and depth.isdigit() and metric.group == OVERALL:
        pairs = [(a, b) for a, b in zip(ours.items, theirs.items, strict=True) if a.is_counted]
        k = int(depth)
        found = difference([a.recall(k) for a, _ in pairs], [b.recall(k) for _, b in pairs])
        return number(Metric("", "", found.value, found.low, found.high, found.n))
    is_apart = metric.low > earlier.high or metric.high < earlier.low
    change = metric.value - earlier.value
    scale = 100.0 if metric.low >= -1.0 and metric.high <= 1.0 else 1.0
    return f"{scale * change:+.1f}" + (", intervals apart" if is_apart else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = "|" + "|".join("---" if place == 0 else "---:" for place in range(len(head))) + "|"
    lines = [f"| {' | '.join(head)} |", rule]
    lines.extend(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    return "\n".join(lines)
