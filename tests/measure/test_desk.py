from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pinyon.errors import BadInput, NotFound
from pinyon.extras import EXTRAS
from pinyon.measure.base import Report
from pinyon.measure.desk import measured
from pinyon.measure.registry import Places
from pinyon.serve._measure_verbs import MEASURE_VERBS
from pinyon.serve.cli import main
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
    assert "needs" not in lines["planted"]  # it runs without
    assert "uses books below --data when it is there" in lines["sort"]
    ready = {one["name"]: one["is_ready"] for one in found.data["measures"]}  # type: ignore[index,call-overload,union-attr]  # a JSON object
    assert (ready["locomo"], ready["convomem"]) == (False, True)
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
    assert "| tens | good less raising | overall | right | 100.0" in measured("compare", both).text
    within = measured("compare", [str(out)], subjects="raising, good")
    [one] = within.data["differences"]  # type: ignore[index,call-overload]  # a JSON object
    assert (one["first"], one["second"]) == ("raising", "good")  # type: ignore[index]  # so too
    assert one["difference"]["value"] == pytest.approx(-0.1)  # type: ignore[index]  # so too
    assert one["difference"]["low"] < -0.1 < one["difference"]["high"]  # type: ignore[index]  # so too
    assert measured("compare", [str(out), str(out)]).text.count("| 0.0 [") == 2


@pytest.mark.slow
def test_a_subject_that_failed_makes_the_command_fail(tmp_path: Path) -> None:
    shown = run({"task": "run", "names": (f"{DOUBLES}:Tens",), "subjects": f"{DOUBLES}:Unopened", "out": str(tmp_path)})
    assert not shown.is_good
    assert any("there is no server here" in line for line in shown.lines)
    assert json.dumps(shown.data)


def test_misuse_is_told(tmp_path: Path) -> None:
    there = tmp_path / "data"
    (there / "prefeval").mkdir(parents=True)
    with pytest.raises(BadInput, match="nothing says what to measure"):
        measured("run")
    with pytest.raises(BadInput, match="3 results cannot be compared"):
        measured("compare", ["x", "y", "z"])
    with pytest.raises(BadInput, match="no subject is named"):
        measured("run", ["needles"], subjects=" , ", out=str(tmp_path))
    with pytest.raises(NotFound, match=r"no file 'nowhere/mine\.py'"):
        measured("run", ["needles"], subjects="bm25,nowhere/mine.py:Mine", out=str(tmp_path))
    with pytest.raises(NotFound, match=r"no file 'nowhere\.toml'"):
        measured("run", ["needles"], subjects="nowhere.toml", out=str(tmp_path))
    for sizes in ("", "0", "2,x", "-1"):
        with pytest.raises(BadInput, match="--sizes takes numbers"):
            measured("run", ["needles"], sizes=sizes, out=str(tmp_path))
    with pytest.raises(BadInput, match=r"(?s)prefeval takes no sizes.*--sizes is for needles, convomem"):
        measured("run", ["needles", "prefeval"], sizes="3", data=str(there), out=str(tmp_path))
    with pytest.raises(BadInput, match="none of the subjects takes a writer"):
        measured("run", ["needles"], writer="openai:x@http://host/v1", out=str(tmp_path))
    with pytest.raises(BadInput, match="unknown generator 'gpt'"):
        measured("run", ["convomem"], reader="gpt", out=str(tmp_path))
    assert list(tmp_path.iterdir()) == [there]
    with pytest.raises(BadInput, match="holds no report"):
        measured("report", [str(tmp_path / "none.json")])
    with pytest.raises(NotFound, match="no measure 'nothing'"):
        measured("run", ["nothing"], out=str(tmp_path))


Run = dict[str, object]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """What the runner is called with; nothing is run."""
    told: Run = {}

    def run(measures: object, subjects: object, budget: object, out: object, **rest: object) -> tuple[Report, ...]:
        told.update(rest, measures=measures, subjects=subjects, budget=budget, out=out)
        return ()

    monkeypatch.setattr("pinyon.measure.desk.run", run)
    for variable in ("PINYON_DATA", "PINYON_BENCH_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return told


def test_the_recorded_command_has_all_that_was_chosen_and_no_folder_of_the_machine(ran: Run, tmp_path: Path) -> None:
    measured("run", ["locomo"], subjects="pinyon,bm25")
    assert ran["command"] == "pinyon measure run locomo --subjects pinyon,bm25"
    measured(
        "run", ["locomo", f"{tmp_path}/mine.py:Tens"], subjects=f"bm25, {tmp_path}/server.toml", small=True, items=5,
        sizes="1,300", seed=3, reader="openai:m@http://host/v1", judge="anthropic:j", writer="openai:w@http://host/v1",
        seconds_per_item=7, seconds=99, processes=2, data=f"{tmp_path}/locomo10.json", rivals="~/rivals",
        out="here/out",
    )  # fmt: skip
    assert ran["command"] == (
        "pinyon measure run locomo mine.py:Tens --subjects bm25,server.toml --small --items 5 --sizes 1,300 --seed 3"
        " --reader openai:m@http://host/v1 --judge anthropic:j --writer openai:w@http://host/v1 --seconds-per-item 7"
        " --seconds 99 --processes 2 --data locomo10.json --rivals rivals --out here/out"
    )


def test_data_and_rivals_are_where_the_settings_say(ran: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PINYON_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    measured("run", ["locomo"])
    assert ran["places"] == Places(tmp_path / "data", tmp_path / "cache" / "pinyon-bench")
    monkeypatch.setenv("PINYON_BENCH_CACHE", str(tmp_path / "bench"))
    measured("run", ["locomo"], data="other")
    assert ran["places"] == Places(Path("other"), tmp_path / "bench")


def test_the_verb_takes_what_its_function_takes() -> None:
    signature = inspect.signature(measured).parameters
    assert {parameter.name for parameter in VERB.parameters} == set(signature) - {"progress"}
    for parameter in VERB.parameters:
        if parameter.default is not None:
            assert parameter.default == signature[parameter.name].default, parameter.name


def test_a_call_without_a_task_says_in_one_line_which_there_are() -> None:
    done = CliRunner().invoke(main, ["measure"])
    assert done.exit_code == 2
    said = done.output.splitlines()[0]
    assert said.endswith("missing argument 'TASK'. Choose from: list, run, compare, report, needle")


def test_the_verb_shows_lines_and_data() -> None:
    shown = run({"task": "list"})
    assert shown.lines[0] == "measures:"
    assert {"measures", "subjects"} <= set(shown.data)  # type: ignore[arg-type]  # a JSON object
