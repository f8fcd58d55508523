"""Reports as tables: one a measure, its subjects below each other, what each costs beside what it finds."""

from __future__ import annotations

from collections.abc import Sequence

from .base import OVERALL, Metric, Report

__all__ = ["by_measure", "columns_of", "number", "summary", "surroundings_of", "table"]

_COSTS = ("add ms", "search ms", "p95 ms", "tokens", "MB in memory", "MB on disk", "load", "pinyon")
_LOAD = ", load "  # as `base.surroundings` writes it


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


def surroundings_of(reports: Sequence[Report]) -> str:
    """Return one paragraph: commands, data, machines with the range of their load, versions, seeds, days."""
    said = [f"`{command}`" for command in dict.fromkeys(r.command for r in reports if r.command)]
    said.extend(dict.fromkeys(f"data {r.data}" for r in reports if r.data))
    said.extend(_machines(reports))
    versions: dict[str, dict[str, None]] = {}
    for report in reports:
        for name, version in report.versions.items():
            if version != "not installed":
                versions.setdefault(name, {})[version] = None
    said.append(", ".join(f"{name} {' and '.join(several)}" for name, several in versions.items()))
    said.append(f"seed {', '.join(str(seed) for seed in dict.fromkeys(r.seed for r in reports))}")
    said.append(f"{sum(r.seconds for r in reports):,.0f} s in all")
    said.extend(dict.fromkeys(r.when for r in reports if r.when))
    return "; ".join(part for part in said if part) + "."


def _machines(reports: Sequence[Report]) -> list[str]:
    loads: dict[str, list[float]] = {}
    for report in reports:
        machine, _, load = report.machine.partition(_LOAD)
        if machine:
            loads.setdefault(machine, []).extend([float(load)] if load else [])
    return [machine + (_LOAD + _range(found) if found else "") for machine, found in loads.items()]


def _range(found: Sequence[float]) -> str:
    low, high = min(found), max(found)
    return f"{low:.1f}" if low == high else f"{low:.1f} to {high:.1f}"


def _figures(reports: Sequence[Report]) -> str:
    names = columns_of(reports)
    rows = []
    for report in reports:
        cells = {m.name: m for m in report.metrics if m.group == OVERALL}
        rows.append([report.system, str(report.n), *(number(cells.get(name)) for name in names)])
    return table(["subject", "n", *names], rows)


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
            report.machine.partition(_LOAD)[2],
            report.versions.get("pinyon", ""),
        ]
        for report in reports
        if report.metrics
    ]
    return table(["subject", *_COSTS], rows)


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
        tables.append(table([name, "n", *systems], rows))
    return "\n\n".join(tables)


def _troubles(reports: Sequence[Report]) -> str:
    said: dict[str, list[str]] = {}
    for report in reports:
        counts = [
            f"{count} {what}"
            for count, what in (
                (report.failed, f"failed, most of them with {report.reason!r}" if report.reason else "failed"),
                (report.skipped, "skipped as malformed"),
                (report.left_over, "left over when the time was over: the same command asks them"),
            )
            if count
        ]
        if counts:
            said.setdefault(", ".join(counts), []).append(report.system)
    lines = [f"- {', '.join(systems)}: {counts}." for counts, systems in said.items()]
    lines.extend(f"- {report.system} FAILED: {report.error}" for report in reports if report.error)
    return "\n".join(lines) + "\n" if lines else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    rule = "|" + "|".join("---" if place == 0 else "---:" for place in range(len(head))) + "|"
    lines = [f"| {' | '.join(head)} |", rule]
    lines.extend(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    return "\n".join(lines)
