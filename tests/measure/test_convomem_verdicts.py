"""What `benchmarks/convomem.py` concludes from its tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pinyon.measure.stats import Interval

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import _convomem_curves as curves  # noqa: E402
import convomem  # noqa: E402


def row(what: str, *, holds: bool) -> dict[str, object]:
    return {"what": what, "limit": "all", "measured": "so much", "holds": holds}


def test_an_item_holds_when_all_its_statements_about_pinyon_do(capsys: pytest.CaptureFixture[str]) -> None:
    parts = {
        "dilution": {"rows": [row("falls", holds=True), row("control, hybrid against its leg", holds=False)]},
        "whole": {"rows": [row("pinyon against its leg", holds=True)]},
        "changing": {"rows": [row("final state", holds=True)]},
        "abstention": {"rows": [row("false answers", holds=False)]},
        "validity": {"rows": [row("right with the evidence", holds=True)]},
    }
    found = {one["item"][0]: one for one in convomem.verdicts(parts)}
    assert {item: one["holds"] for item, one in found.items()} == {"2": True, "3": True, "5": False}
    assert found["3"]["statements"] == 2
    assert found["5"]["missed"] == ["false answers: so much"]
    assert "| 5. changing facts and abstention | 1 of 2 | false answers: so much |" in capsys.readouterr().out
    del parts["whole"]
    assert "3. dilution" not in {one["item"] for one in convomem.verdicts(parts)}  # half measured is no verdict


def test_a_part_that_is_measured_again_leaves_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    file.write_text(json.dumps({"parts": {"validity": {"rows": [row("right", holds=False)]}}}), encoding="utf-8")
    assert convomem.main(["--only", "planner", "--json", str(file)]) == 0
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["parts"]["validity"]["rows"][0]["what"] == "right"
    assert kept["parts"]["planner"]["command"].startswith("python benchmarks/convomem.py --only planner")
    assert {one["item"][0]: one["holds"] for one in kept["verdicts"]} == {"2": False, "7": True}
    assert "100 conversations, 125,000 tokens | something else" in capsys.readouterr().out


def test_the_gap_to_the_better_leg_is_that_of_the_same_questions() -> None:
    def run(*ranks: list[int]) -> curves.Run:
        records = tuple(
            {"key": str(n), "ranks": each, "k": len(each), "size": 2, "category": "user_facts"}
            for n, each in enumerate(ranks)
        )
        return curves.Run(curves.Report("convomem", "", (), len(ranks), 0.0), records)

    runs = {"pinyon": run([1, 11], [2]), "a": run([1, 2], [0]), "b": run([0, 2], [3])}
    [found] = curves._against_legs(runs, "pinyon", ("a", "b"), (2,))
    assert found[0] == "pinyon against its better leg, b, N=2"
    assert found[3]  # half of one and all of the other, as b
    runs["pinyon"] = run([1, 11], [12])
    [found] = curves._against_legs(runs, "pinyon", ("a", "b"), (2,))
    assert not found[3]
    assert found[2].startswith("-50.0 [")
    assert curves.interval(Interval(0.5, 0.25, 1.0, 4)) == "50.0 [25.0, 100.0]"
