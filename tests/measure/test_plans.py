"""The plans of `benchmarks/measure.py`: what the small and the full run take, and how long."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pinyon.measure import MEASURES, SUBJECTS, Report

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REPORT = Report("needles", "BM25", (), 0, 1.0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, with a runner that does nothing."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PINYON_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PINYON_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "locomo").mkdir(parents=True)
    (tmp_path / "data" / "locomo" / "x.json").write_text("[]", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("measure_script", BENCHMARKS / "measure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "measure_script", module)  # where its dataclass looks for its names
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runs(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    told: list[SimpleNamespace] = []

    def run(measures: Any, subjects: Any, budget: Any, out: Path, **rest: Any) -> tuple[Report, ...]:
        out.mkdir(parents=True, exist_ok=True)
        told.append(SimpleNamespace(measure=measures[0], subjects=subjects, budget=budget, **rest))
        return (REPORT,)

    monkeypatch.setattr(bench, "run", run)
    return told


def main(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["measure.py", *words])
    code: int = bench.main()
    return code


def test_the_full_run_takes_every_measure_and_every_subject_of_ours(bench: ModuleType) -> None:
    assert {plan.measure for plan in bench.PLANS} == {known.name for known in MEASURES}
    assert all(plan.full for plan in bench.PLANS)
    named = {name for plan in bench.PLANS for name in (*plan.small, *plan.full)}
    known = {one.name for one in SUBJECTS}
    assert named <= known
    assert {one.name for one in SUBJECTS if one.make != "Rival"} <= named
    assert {"locomo", "locomo-merged"} <= set(bench.WITH_RIVALS)


def test_the_small_run_may_not_take_more_than_ten_minutes(
    bench: ModuleType, runs: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(plan.seconds * len(plan.small) for plan in bench.PLANS) <= bench.SMALL_SECONDS == 600
    assert main(bench, monkeypatch, "--small") == 0
    assert [run.measure for run in runs] == ["locomo", "sort", "convomem", "planted", "needles"]  # what is there
    assert all(run.budget.small for run in runs)
    runs.clear()
    clock = iter(range(0, 100_000, 290))  # each look at it finds five minutes gone
    monkeypatch.setattr(bench.time, "monotonic", lambda: float(next(clock)))
    assert main(bench, monkeypatch, "--small") == 0
    assert [(run.measure, run.budget.seconds) for run in runs] == [("locomo", 35), ("sort", 10.0)]


def test_the_full_run_takes_rivals_and_sizes_and_ends_with_the_scripts(
    bench: ModuleType, runs: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("mem0", "kvpress"):
        (tmp_path / "cache" / name).mkdir(parents=True)
        (tmp_path / "cache" / name / "recipe.json").touch()
    scripts: list[str] = []

    def script(words: list[str], *, env: dict[str, str], check: bool) -> SimpleNamespace:
        assert not check
        assert env["PINYON_DATA"] == str(tmp_path / "data")
        scripts.append(Path(words[1]).name)
        return SimpleNamespace(returncode=int(words[1].endswith("sort.py")))

    monkeypatch.setattr(bench.subprocess, "run", script)
    assert main(bench, monkeypatch, "--full", "--writer", "openai:m@http://host/v1") == 1  # one script was not content
    by_measure = {run.measure: run for run in runs}
    assert by_measure["locomo-merged"].subjects[-2:] == ("mem0", "mem0-llm")
    assert by_measure["locomo-merged"].choices.writer == "openai:m@http://host/v1"
    assert "--writer openai:m@http://host/v1" in by_measure["locomo-merged"].command
    assert by_measure["convomem"].choices.sizes == (1, 2, 3, 4, 5, 6, 10, 20, 30, 50, 70, 100, 150, 200, 300)
    assert by_measure["convomem"].choices.writer is None
    assert "longmemeval" not in by_measure  # whose data are not there
    assert scripts == ["hema.py", "convomem.py", "sort.py", "prefeval.py"]
    scripts.clear()
    assert main(bench, monkeypatch, "--full", "--only", "needles") == 0
    assert scripts == []
