from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from pinyon.errors import BadInput, NotFound
from pinyon.extras import EXTRAS
from pinyon.measure.desk import measured
from pinyon.serve._measure_verbs import MEASURE_VERBS
from pinyon.serve.outcomes import Shown

DOUBLES = Path(__file__).with_name("doubles.py")
[VERB] = MEASURE_VERBS


def run(values: dict[str, object]) -> Shown:
    found = VERB.run(None, values)  # type: ignore[arg-type]  # it opens no memory
    assert isinstance(found, Shown)
    return found


def test_the_list_says_which_measures_have_their_data(tmp_path: Path) -> None:
    found = measured("list", data=str(tmp_path))
    lines = {line.split()[0]: line for line in found.text.splitlines()}
    assert "needs locomo/*.json" in lines["locomo"]
    assert "needs" not in lines["needles"]
    assert {"pinyon", "bm25", "mem0"} <= set(lines)
    (tmp_path / "locomo").mkdir()
    (tmp_path / "locomo" / "x.json").write_text("[]", encoding="utf-8")
    assert "needs" not in next(x for x in measured("list", data=str(tmp_path)).text.splitlines() if "  locomo " in x)


def test_a_run_is_reported_compared_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "matplotlib", "bench")
    out = tmp_path / "out"
    steps: list[object] = []
    found = measured(
        "run", [f"{DOUBLES}:Tens"], subjects=f"{DOUBLES}:Good, {DOUBLES}:Raising", out=str(out), progress=steps.append
    )
    assert found.is_good
    assert "| good | 10 | 100.0" in found.text
    assert "| raising | 10 | 90.0" in found.text
    assert sum(int(str(step)) for step in steps) == 20
    told = measured("report", [str(out)])
    assert "100.0" in told.text
    assert (out / "report.md").read_text(encoding="utf-8").startswith("## tens")
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    both = sorted(str(file) for file in out.glob("*.report.json"))
    assert measured("compare", both).text.count("\n") == 1  # nothing in common
    assert "+0.0" in measured("compare", [str(out), str(out)]).text


@pytest.mark.slow
def test_a_subject_that_failed_makes_the_command_fail(tmp_path: Path) -> None:
    shown = run({"task": "run", "names": (f"{DOUBLES}:Tens",), "subjects": f"{DOUBLES}:Unopened", "out": str(tmp_path)})
    assert not shown.is_good
    assert any("there is no server here" in line for line in shown.lines)
    assert json.dumps(shown.data)


def test_misuse_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing says what to measure"):
        measured("run")
    with pytest.raises(BadInput, match="1 results cannot be compared"):
        measured("compare", ["x"])
    with pytest.raises(BadInput, match="holds no report"):
        measured("report", [str(tmp_path / "none.json")])
    with pytest.raises(NotFound, match="no measure 'nothing'"):
        measured("run", ["nothing"], out=str(tmp_path))


def test_the_verb_takes_what_its_function_takes() -> None:
    signature = inspect.signature(measured).parameters
    assert {parameter.name for parameter in VERB.parameters} == set(signature) - {"progress"}
    for parameter in VERB.parameters:
        if parameter.default is not None:
            assert parameter.default == signature[parameter.name].default, parameter.name


def test_the_verb_shows_lines_and_data() -> None:
    shown = run({"task": "list"})
    assert shown.lines[0] == "measures:"
    assert {"measures", "subjects"} <= set(shown.data)  # type: ignore[arg-type]  # a JSON object
