"""Reports as one page that needs nothing beside itself: no script, no font, no address."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .base import OVERALL, Report
from .charts import Bar, bars_svg
from .report import by_measure, columns_of, number, surroundings_of

__all__ = ["charts_of", "page"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8886; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; margin: .5rem 0; display: block; }
small { display: block; opacity: .75; }
.ours { font-weight: bold; }
"""
_CHARTED = ("recall@10", "in 3,200 tokens")  # where a measure has them, else its first figure


def page(title: str, reports: Sequence[Report], *, introduction: str = "") -> str:
    """Return a whole HTML page.

    Args:
        title: Of the page.
        reports: Of any number of measures.
        introduction: A paragraph of plain text.
    """
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(introduction)}</p>" if introduction else ""]
    for name, several in by_measure(reports).items():
        parts.append(f"<h2>{escape(name)}</h2>")
        parts.extend(bars_svg(title, bars) for title, bars in charts_of(several))
        parts.append(_table(several))
        parts.append(_troubles(several))
        parts.append(f"<small>{escape(surroundings_of(several))}</small>")
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n'
        "</body>\n</html>\n"
    )


def charts_of(reports: Sequence[Report]) -> list[tuple[str, list[Bar]]]:
    """Return what is worth drawing of one measure: its chief figures, best first, and the time of a search."""
    good = [report for report in reports if report.metrics]
    names = columns_of(good)
    chosen = [name for name in _CHARTED if name in names] or names[:1]
    out: list[tuple[str, list[Bar]]] = []
    for name in chosen:
        found = [(m, report) for report in good for m in report.metrics if (m.name, m.group) == (name, OVERALL)]
        found.sort(key=lambda pair: -pair[0].value)
        bars = [
            Bar(report.system, m.value, m.low, m.high, number(m, with_interval=False), _is_ours(report))
            for m, report in found
        ]
        out.append((f"{name}, overall, with 95 % interval", bars))
    timed = sorted((report for report in good if report.search_ms), key=lambda report: report.search_ms)
    if timed:
        bars = [
            Bar(r.system, r.search_ms, r.search_ms, r.search_ms, f"{r.search_ms:.1f} ms", _is_ours(r)) for r in timed
        ]
        out.append(("median milliseconds of a search", bars))
    return out


def _is_ours(report: Report) -> bool:
    return report.system.startswith("pinyon")


def _table(reports: Sequence[Report]) -> str:
    names = columns_of(reports)
    costs = ("add ms", "search ms", "MB in memory", "MB on disk")
    head = "".join(f"<th>{escape(cell)}</th>" for cell in ("subject", "n", *names, *costs))
    rows = []
    for report in reports:
        cells = {m.name: m for m in report.metrics if m.group == OVERALL}
        row = [report.system, str(report.n), *(number(cells.get(name)) for name in names)]
        row += [f"{report.add_ms:.2f}", f"{report.search_ms:.1f}"]
        row += [f"{report.memory_bytes / 1e6:.1f}", f"{report.disk_bytes / 1e6:.1f}"]
        shown = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        rows.append(f'<tr class="ours">{shown}</tr>' if _is_ours(report) else f"<tr>{shown}</tr>")
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"


def _troubles(reports: Sequence[Report]) -> str:
    lines = [f"<li>{escape(r.system)} failed: {escape(r.error)}</li>" for r in reports if r.error]
    return f"<ul>{''.join(lines)}</ul>" if lines else ""
