"""The page of results, made from committed report files and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .base import Report
from .html import page
from .report import summary
from .runner import read_reports

__all__ = ["INTRODUCTION", "leaderboard_html", "leaderboard_markdown", "pack_results"]

INTRODUCTION = (
    "Every row was measured by pinyon's own harness, on one machine, from the same passages and questions; systems that"
    " take an embedder got the same one. No model writes, reads or judges anything. Brackets hold 95 % intervals."
    " Milliseconds rise with the load of the machine, which stands beside them, as does the version of pinyon."
)


def pack_results(reports: Sequence[Report]) -> str:
    """Return reports as one JSON file fit to be committed: figures without questions.

    Raises:
        BadInput: There are none.
    """
    return json.dumps({"reports": [report.without_items().to_json() for report in reports]}, indent=1) + "\n"


def leaderboard_markdown(files: Sequence[Path]) -> str:
    """Return the page as Markdown.

    Args:
        files: As `pack_results` made them.

    Raises:
        BadInput: One of them holds no reports.
    """
    made = "<!-- Made by `python benchmarks/measure.py --leaderboard`; not edited by hand. -->"
    head = f"# Leaderboard\n\n{made}\n\n{INTRODUCTION}\n\n"
    return head + summary(_best_first(read_reports(files))).rstrip() + "\n"


def leaderboard_html(files: Sequence[Path]) -> str:
    """Return the page as HTML with charts; see `leaderboard_markdown`."""
    return page("pinyon: leaderboard", _best_first(read_reports(files)), introduction=INTRODUCTION)


def _best_first(reports: Sequence[Report]) -> list[Report]:
    """Return the reports of each measure by their chief figure; those that failed come last."""
    order = list(dict.fromkeys(report.name for report in reports))
    return sorted(reports, key=lambda report: (order.index(report.name), -_chief(report)))


def _chief(report: Report) -> float:
    try:
        return report.value("recall@10")
    except KeyError:
        return report.metrics[0].value if report.metrics else -1.0
