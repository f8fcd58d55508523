from __future__ import annotations

import json

import pytest

from pinyon.measure import Item, Report, compare
from pinyon.measure.base import recall_metrics


def _report(system: str = "default") -> Report:
    items = (
        Item("a", "who?", "easy", (1,), 1.0),
        Item("a", "when?", "hard", (3, 0), 3.0),
        Item("a", "what?", "trap", (1,), 2.0, is_counted=False),
    )
    return Report("toy", system, recall_metrics(items, (1, 5)), n=2, seconds=0.5, cubes=9, items=items)


def test_recall_is_the_share_of_the_evidence_averaged_over_the_questions() -> None:
    report = _report()
    assert report.value("recall@1") == 0.5
    assert report.value("recall@5") == 0.75
    assert report.value("recall@5", "hard") == 0.5


def test_what_does_not_count_stands_beside_the_overall_figure() -> None:
    report = _report()
    assert report.value("recall@1", "trap (not counted)") == 1.0
    assert [m.n for m in report.metrics if m.group == "overall"] == [2, 2]


def test_an_unmeasured_number_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="recall@7"):
        _report().value("recall@7")


def test_json_keeps_every_item() -> None:
    plain = json.loads(json.dumps(_report().to_json()))
    assert [item["ranks"] for item in plain["items"]] == [[1], [3, 0], [1]]
    assert plain["metrics"][0]["name"] == "recall@1"


def test_markdown_has_a_row_a_group() -> None:
    lines = _report().to_markdown().splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == [
        "| questions",
        "| overall",
        "| easy",
        "| hard",
        "| trap (not counted)",
    ]


def test_compare_has_a_row_a_system() -> None:
    table = compare([_report("one"), _report("two")], ["recall@5"])
    assert "| one | 75.0 [" in table
    assert "| two | 75.0 [" in table
