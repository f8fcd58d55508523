"""What the benchmarks say of the project's limits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pinyon.measure.base import Metric, Report

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from _report import limits, tables
from retrieval import verdicts

CELLS = {
    "numpy@6000": {"ms": 1.0}, "fts5@6000": {"ms": 10.0}, "fts5-content@6000": {"ms": 2.0},
    "pinyon-search@6000": {"ms": 5.0, "p95_ms": 6.0, "rss_bytes": 1, "anonymous_bytes": 1, "disk_bytes": 1},
}  # fmt: skip


def test_a_search_is_held_against_the_full_and_the_strict_legs() -> None:
    found = {limit.name: limit for limit in limits(CELLS, [6000])}
    plain = found["search at 6,000 / slowest leg (fts5, numpy)"]
    strict = found["search at 6,000 / slowest leg (fts5-content, numpy)"]
    assert (plain.measured, plain.is_met) == (0.5, True)
    assert (strict.measured, strict.is_met) == (2.5, False)
    assert strict.bound == plain.bound


def test_both_rows_are_printed() -> None:
    said = tables({key: {"p95_ms": 1, **dict.fromkeys(("rss_bytes", "anonymous_bytes", "disk_bytes"), 1), **cell}
                   for key, cell in CELLS.items()}, [6000]).split("Limits")[1]  # fmt: skip
    lines = [line for line in said.splitlines() if "slowest leg" in line]
    assert ["NOT MET" in line for line in lines] == [False, True]


def report(at_10: float, at_50: float | None) -> Report:
    metrics = [Metric("recall@10", "overall", at_10, 0.0, 1.0, 9), Metric("recall@10", "temporal", 0.1, 0.0, 1.0, 9)]
    if at_50 is not None:
        metrics.append(Metric("recall@50", "overall", at_50, 0.0, 1.0, 9))
    return Report("locomo", "default", tuple(metrics), 9, 1.0)


@pytest.mark.parametrize(("at_10", "at_50", "said"), [
    (0.74, 0.86999, ["met", "NOT MET"]),
    (0.7399, 0.87, ["NOT MET", "met"]),
    (0.9, None, ["met", "not measured"]),
])  # fmt: skip
def test_recall_is_held_against_the_limits_of_the_project(at_10: float, at_50: float | None, said: list[str]) -> None:
    rows = [line for line in verdicts(report(at_10, at_50)).splitlines() if line.startswith("| recall")]
    assert [row.split("|")[4].strip() for row in rows] == said
