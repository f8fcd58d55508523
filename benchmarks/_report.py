"""Tables, limits and the plot of the speed benchmark, made from its cells alone."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _pinyon import LEGS, STRICT_LEGS

__all__ = ["Limit", "limits", "plot", "tables"]

Cells = dict[str, dict[str, Any]]
_SEARCHED = ("numpy", "usearch", "fts5", "fts5-content", "pinyon-search")


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure beside what it must be; `measured` is None when a cell it needs is missing."""

    name: str
    bound: str
    measured: float | None
    is_met: bool | None


def _figure(cells: Cells, key: str, name: str) -> float | None:
    found = cells.get(key, {}).get(name)
    return None if found is None else float(found)


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _rounds(cells: Cells, subject: str) -> dict[str, dict[str, Any]]:
    return {key.split("#")[1]: cell for key, cell in cells.items() if key.startswith(f"{subject}#") and "ms" in cell}


def _add_ratio(cells: Cells) -> float | None:
    """Return the median over the rounds of (pinyon's median add / the bare insert's), each pair measured in turn."""
    bare, ours = _rounds(cells, "sqlite-add"), _rounds(cells, "pinyon-add")
    ratios = [ours[number]["ms"] / bare[number]["ms"] for number in sorted(bare.keys() & ours.keys())]
    return statistics.median(ratios) if ratios else None


def _mem0_rate(cells: Cells) -> float | None:
    """Return the rival's best rate of adding: the better of single calls and one call with a list, at any count."""
    rates = [
        cell[name]
        for key, cell in cells.items()
        if key.startswith("mem0@")
        for name in ("single_per_s", "turns_per_s")
        if name in cell
    ]
    return max(rates, default=None)


def _slowest_leg(cells: Cells, size: int, legs_of: tuple[str, ...] = LEGS) -> float | None:
    legs = [_figure(cells, f"{leg}@{size}", "ms") for leg in legs_of]
    return None if any(leg is None for leg in legs) else max(leg for leg in legs if leg is not None)


def limits(cells: Cells, sizes: list[int]) -> list[Limit]:
    """Return each limit of the project with what was measured."""
    found: list[Limit] = []

    def at_most(name: str, bound: float, measured: float | None, unit: str = "") -> None:
        found.append(Limit(name, f"<= {bound:g}{unit}", measured, None if measured is None else measured <= bound))

    def at_least(name: str, bound: float, measured: float | None, unit: str = "") -> None:
        found.append(Limit(name, f">= {bound:g}{unit}", measured, None if measured is None else measured >= bound))

    at_most("single durable add / bare FTS5 insert", 2.0, _add_ratio(cells))
    for size in sizes:
        at_least(f"bulk add at {size:,}, turns a second", 3000, _figure(cells, f"pinyon-bulk@{size}", "turns_per_s"))
    rates = [r for size in sizes if (r := _figure(cells, f"pinyon-bulk@{size}", "turns_per_s")) is not None]
    at_least("bulk add / mem0 verbatim", 50, _ratio(max(rates, default=None), _mem0_rate(cells)))
    for size in sizes:
        ours = _figure(cells, f"pinyon-search@{size}", "ms")
        for legs in (LEGS, STRICT_LEGS):  # the second: FTS5 is spared the function words, as pinyon spares itself
            at_most(
                f"search at {size:,} / slowest leg ({', '.join(legs)})",
                1.5,
                _ratio(ours, _slowest_leg(cells, size, legs)),
            )
        if size == 100_000:
            at_most("search at 100,000", 30, ours, " ms")
            at_most("cold open and first search at 100,000", 1000, _figure(cells, f"pinyon-open@{size}", "ms"), " ms")
    return found


def _number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"


def _table(title: str, head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = [title, ""]
    for number, row in enumerate([head, *rows]):
        first = row[0].ljust(widths[0])
        lines.append(
            "| "
            + " | ".join([first, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
            + " |"
        )
        if number == 0:
            lines.append(
                "|" + "|".join("-" * (width + 1) + (":" if place else "-") for place, width in enumerate(widths)) + "|"
            )
    return "\n".join(lines) + "\n"


def _add_table(cells: Cells) -> str:
    rows = []
    base = None
    for subject in ("sqlite-add", "pinyon-add", "flush"):
        rounds = _rounds(cells, subject)
        if rounds:
            median = statistics.median(cell["ms"] for cell in rounds.values())
            base = base or median
            beside = _add_ratio(cells) if subject == "pinyon-add" else median / base
            worst = statistics.median(cell["p95_ms"] for cell in rounds.values())
            rows.append([subject, str(len(rounds)), _number(median, 3), _number(worst, 3), _number(beside)])
    for key in sorted((k for k in cells if k.startswith("mem0@")), key=lambda k: int(k.split("@")[1])):
        if "add_ms" in cells[key]:
            ms = cells[key]["add_ms"]
            rows.append([key, "1", _number(ms, 3), _number(cells[key]["add_p95_ms"], 3), _number(_ratio(ms, base))])
    return _table("Single durable add", ["subject", "rounds", "median ms", "p95 ms", "x bare"], rows)


def _bulk_table(cells: Cells, sizes: list[int]) -> str:
    rival = _mem0_rate(cells)
    keys = [f"{subject}@{size}" for size in sizes for subject in ("fts5", "usearch", "pinyon-bulk")]
    keys += sorted((k for k in cells if k.startswith("mem0@")), key=lambda k: int(k.split("@")[1]))
    rows = []
    for key in keys:
        rate = _figure(cells, key, "turns_per_s")
        if rate is not None:
            subject, size = key.split("@")
            rows.append([subject, f"{int(size):,}", _number(rate), _number(_ratio(rate, rival))])
    embedded = _figure(cells, f"embed@{sizes[0]}", "turns_per_s")
    if embedded is not None:
        rows.append(["embedding alone", "", _number(embedded), _number(_ratio(embedded, rival))])
    return _table(
        "Bulk add (fts5, usearch: that index alone, vectors given)", ["subject", "size", "turns/s", "x mem0"], rows
    )


def _search_table(cells: Cells, sizes: list[int]) -> str:
    rows = []
    for size in sizes:
        slowest, strict = _slowest_leg(cells, size), _slowest_leg(cells, size, STRICT_LEGS)
        for subject in _SEARCHED:
            cell = cells.get(f"{subject}@{size}", {})
            if "ms" in cell:
                rows.append(
                    [
                        subject,
                        f"{size:,}",
                        _number(cell["ms"]),
                        _number(cell["p95_ms"]),
                        _number(_ratio(cell["ms"], slowest)),
                        _number(_ratio(cell["ms"], strict)),
                        _number(cell.get("recall_at_10"), 3),
                        _number(cell["rss_bytes"] / size, 0),
                        _number(cell["anonymous_bytes"] / size, 0),
                        _number(cell["disk_bytes"] / size, 0),
                    ]
                )
    for key in sorted((k for k in cells if k.startswith("mem0@")), key=lambda k: int(k.split("@")[1])):
        cell = cells[key]
        if "ms" in cell:
            size = int(key.split("@")[1])
            disk = _number(cell["disk_bytes"] / size, 0)
            rows.append(["mem0", f"{size:,}", _number(cell["ms"]), _number(cell["p95_ms"]), *["-"] * 5, disk])
    title = (
        f"Search, k = 10 (x leg: beside the slowest of {', '.join(LEGS)}; x strict: of {', '.join(STRICT_LEGS)}; "
        "bytes a cube: resident, not file-backed, disk)"
    )
    return _table(
        title,
        ["subject", "size", "median ms", "p95 ms", "x leg", "x strict", "recall", "rss B", "anon B", "disk B"],
        rows,
    )


def _growth_table(cells: Cells, sizes: list[int]) -> str:
    """Show what one more cube costs between two sizes: what is loaded once (embedder, caches) drops out."""
    rows = []
    for small, large in itertools.pairwise(sizes):
        below, above = cells.get(f"pinyon-search@{small}", {}), cells.get(f"pinyon-search@{large}", {})
        if "ms" in below and "ms" in above:
            names = ("rss_bytes", "anonymous_bytes", "disk_bytes")
            costs = [_number((above[name] - below[name]) / (large - small), 0) for name in names]
            rows.append([f"{small:,} to {large:,}", *costs])
    return _table("One more cube in pinyon, bytes", ["between", "resident", "not file-backed", "disk"], rows)


def _open_table(cells: Cells) -> str:
    rows = []
    for key in sorted(cells):
        cell = cells[key]
        if key.startswith(("pinyon-open", "pinyon-command")) and "ms" in cell:
            subject, size = key.split("@")
            parts = [_number(cell.get(name), 0) for name in ("import_ms", "open_ms", "first_search_ms")]
            rows.append([subject, f"{int(size):,}", _number(cell["ms"], 0), *parts])
    return _table(
        "Opening in a fresh process (pinyon-open: open + first search, files dropped from the page cache; "
        "pinyon-open-warm: not dropped; pinyon-command: the whole command line)",
        ["subject", "size", "ms", "import", "open", "first search"],
        rows,
    )


def tables(cells: Cells, sizes: list[int]) -> str:
    """Return all tables and the limits as Markdown."""
    parts = [
        _add_table(cells),
        _bulk_table(cells, sizes),
        _search_table(cells, sizes),
        _growth_table(cells, sizes),
        _open_table(cells),
    ]
    words = {True: "met", False: "NOT MET", None: "not measured"}
    rows = [[limit.name, limit.bound, _number(limit.measured), words[limit.is_met]] for limit in limits(cells, sizes)]
    parts.append(_table("Limits", ["what", "limit", "measured", "verdict"], rows))
    failed = [f"- {key}: {cell['error']}" for key, cell in sorted(cells.items()) if "error" in cell]
    if failed:
        parts.append("Cells that failed\n\n" + "\n".join(failed) + "\n")
    return "\n".join(parts)


def plot(cells: Cells, sizes: list[int], path: Path) -> None:
    """Draw cost against size: search time, bulk rate, disk and memory a cube."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    bulk = ("fts5", "usearch", "pinyon-bulk")
    panels: tuple[
        tuple[Any, str, tuple[str, ...], str, float | None], ...
    ] = (  # axis … field, divisor (None: the size)
        (axes[0][0], "search, median ms", _SEARCHED, "ms", 1),
        (axes[0][1], "bulk add, turns a second", bulk, "turns_per_s", 1),
        (axes[1][0], "disk, bytes a cube", _SEARCHED, "disk_bytes", None),
        (axes[1][1], "resident memory, MB", _SEARCHED, "rss_bytes", 1e6),
    )
    for axis, title, subjects, name, divisor in panels:
        for subject in subjects:
            measured = {size: _figure(cells, f"{subject}@{size}", name) for size in sizes}
            points = [(size, value / (divisor or size)) for size, value in measured.items() if value is not None]
            if points:
                # The project's own line is solid and heavy, so that it is told apart without colour.
                own = subject.startswith("pinyon")
                across, up = zip(*points, strict=True)
                axis.plot(across, up, "o-" if own else "o--", linewidth=2.5 if own else 1.2, label=subject)
        axis.set(xscale="log", yscale="log", title=title, xlabel="cubes")
        axis.grid(True, which="both", alpha=0.25)
        if axis.lines:
            axis.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
