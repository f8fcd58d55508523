from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pinyon import errors
from pinyon.errors import BadInput
from pinyon.measure.base import Report
from pinyon.measure.registry import Places
from pinyon.measure.runner import read_reports, run
from pinyon.measure.session import ItemLog, MeasureBudget

DOUBLES = str(Path(__file__).with_name("doubles.py"))
TENS = f"{DOUBLES}:Tens"


def subject(name: str) -> str:
    return f"{DOUBLES}:{name}"


def test_an_item_is_on_the_disk_before_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    with ItemLog(path) as log:
        log.run("a", lambda: {"n": 1})
        seen = log.run("b", lambda: {"lines": len(path.read_text(encoding="utf-8").splitlines())})
    assert seen == {"lines": 1}


def test_an_item_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    with ItemLog(tmp_path / "items.jsonl") as log:
        log.run("a", lambda: {"n": 1})
    with ItemLog(tmp_path / "items.jsonl") as again:
        assert again.run("a", lambda: pytest.fail("asked twice")) == {"n": 1}


def test_half_a_line_is_cut_off_and_its_item_done_again(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    with ItemLog(path) as log:
        log.run("a", lambda: {"n": 1})
        log.run("b", lambda: {"n": 2})
    path.write_bytes(path.read_bytes()[:-9])
    with ItemLog(path) as log:
        assert [item.key for item in log.items] == ["a"]
        assert log.run("b", lambda: {"n": 3}) == {"n": 3}
    with ItemLog(path) as log:
        assert [item.record["n"] for item in log.items] == [1, 3]


def test_a_file_that_is_no_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"some": "thing"}\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"line 1 of 'items.jsonl' is no item"):
        ItemLog(path)


def test_a_failure_is_noted_with_its_words_and_the_next_item_goes_on() -> None:
    log = ItemLog()

    def broken() -> dict[str, object]:
        raise RuntimeError("no  more\nmemory")

    assert log.run("a", broken) is None  # type: ignore[arg-type]  # it returns nothing
    assert log.run("b", lambda: {"n": 1}) == {"n": 1}
    assert (log.items[0].state, log.items[0].why) == ("failed", "RuntimeError: no more memory")
    assert (log.count("failed"), log.count("done")) == (1, 1)


def test_a_subject_that_fails_ten_times_in_a_row_is_given_up() -> None:
    log = ItemLog()

    def broken() -> dict[str, object]:
        raise RuntimeError("gone")

    for number in range(9):
        log.run(str(number), broken)  # type: ignore[arg-type]  # it returns nothing
    with pytest.raises(errors.ModelError, match="10 items failed one after the other: gone"):
        log.run("9", broken)  # type: ignore[arg-type]  # it returns nothing
    assert log.count("failed") == 10


def test_a_skipped_item_is_counted_once() -> None:
    log = ItemLog()
    log.skip("a", "its answer is missing")
    log.skip("a", "its answer is missing")
    assert log.count("skipped") == 1
    assert log.run("a", lambda: {"n": 1}) is None


def test_when_the_time_is_over_items_are_left_over() -> None:
    log = ItemLog(seconds=-1.0)
    assert log.run("a", lambda: {"n": 1}) is None
    assert (log.left_over, log.items) == (1, ())


@pytest.mark.parametrize("name", ["seconds_per_item", "seconds", "items"])
def test_a_budget_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"{name} of 0 is not possible"):
        MeasureBudget(**{name: 0})  # type: ignore[arg-type]  # one of its numbers


def test_a_sample_keeps_the_order_and_repeats_with_its_seed() -> None:
    things = list(range(100))
    small = MeasureBudget(small=True, seed=3)
    assert MeasureBudget().sample(things, 5) == things
    assert small.sample(things, 5) == sorted(small.sample(things, 5))
    assert small.sample(things, 5) == small.sample(things, 5) != MeasureBudget(small=True).sample(things, 5)
    assert len(MeasureBudget(items=7, small=True).sample(things, 5)) == 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, Report]:
    """One run with subjects of every sort, two at once."""
    names = ["Good", "Raising", "Crashing", "Hanging", "Unopened"]
    found = run(
        [TENS], [subject(name) for name in names], MeasureBudget(seconds_per_item=3), folder, command="make it",
        processes=2,
    )  # fmt: skip
    return dict(zip(names, found, strict=True))


def failures(folder: Path, name: str) -> list[str]:
    [file] = folder.glob(f"doubles.py_Tens-*--doubles.py_{name}-*.items.jsonl")
    text = file.read_text(encoding="utf-8")
    return [line["why"] for line in map(json.loads, text.splitlines()) if line["state"] == "failed"]


def test_a_subject_that_does_its_work_gets_a_report(reports: dict[str, Report]) -> None:
    report = reports["Good"]
    assert report.value("right") == 1.0
    assert (report.system, report.error, report.failed, report.command) == ("good", "", 0, "make it")
    assert report.machine
    assert report.versions["python"]


def test_a_failing_item_leaves_the_others_as_they_are(reports: dict[str, Report], folder: Path) -> None:
    report = reports["Raising"]
    assert (report.value("right"), report.failed, report.error) == (0.9, 1, "")
    assert failures(folder, "Raising") == ["ValueError: three is not my number"]


def test_a_crash_costs_one_item_and_the_run_goes_on_behind_it(reports: dict[str, Report], folder: Path) -> None:
    report = reports["Crashing"]
    assert (report.value("right"), report.failed, report.error) == (0.9, 1, "")
    assert failures(folder, "Crashing") == ["segmentation fault, more or less"]


def test_a_subject_that_hangs_is_ended_at_its_item(reports: dict[str, Report], folder: Path) -> None:
    report = reports["Hanging"]
    assert (report.value("right"), report.failed, report.error) == (0.9, 1, "")
    assert failures(folder, "Hanging") == ["it was ended at '5', where it took more than 3 s"]


def test_a_subject_that_cannot_be_opened_is_recorded_with_its_last_words(reports: dict[str, Report]) -> None:
    report = reports["Unopened"]
    assert report.error == "RuntimeError: there is no server here"
    assert report.value("right") == 0.0


def test_reports_are_read_back_as_they_were(reports: dict[str, Report], folder: Path) -> None:
    assert {r.system: r for r in read_reports([folder])} == {r.system: r for r in reports.values()}


def test_only_failed_subjects_are_tried_again(reports: dict[str, Report], folder: Path) -> None:
    calls: set[str] = set()
    again = run(
        [TENS], [subject(name) for name in ("Good", "Unopened")], MeasureBudget(seconds_per_item=3), folder,
        progress=lambda pair, done, all: calls.add(pair),
    )  # fmt: skip
    assert again[0] == reports["Good"]
    assert calls == {f"{TENS}: {subject('Unopened')}"}


def test_results_of_two_samples_are_not_mixed(reports: dict[str, Report], folder: Path) -> None:
    with pytest.raises(BadInput, match="holds results of"):
        run([TENS], [subject("Good")], MeasureBudget(small=True), folder)


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that spoils the temper of the subject; it is there."""
    down = tmp_path / "down"
    down.touch()
    monkeypatch.setenv("MOODY", str(down))
    return down


def test_failed_items_are_asked_again(moody: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    [report] = run([TENS], [subject("Moody")], MeasureBudget(), out)
    assert (report.failed, report.value("right")) == (10, 0.0)
    assert failures(out, "Moody").count("ConnectionError: the server is down") == 9
    moody.unlink()
    [again] = run([TENS], [subject("Moody")], MeasureBudget(), out)
    assert (again.failed, again.error, again.reason, again.value("right")) == (0, "", "", 1.0)
    assert failures(out, "Moody") == []


def test_when_every_item_failed_the_commonest_reason_is_the_error(moody: Path, tmp_path: Path) -> None:
    text = Path(DOUBLES).read_text(encoding="utf-8").replace("range(10)", "range(5)")
    (tmp_path / "fives.py").write_text(text, encoding="utf-8")
    [report] = run([f"{tmp_path / 'fives.py'}:Tens"], [subject("Moody")], MeasureBudget(), tmp_path / "out")
    assert report.error == "all 5 items failed: ConnectionError: the server is down"
    assert report.reason == "ConnectionError: the server is down"


def test_items_that_were_left_over_are_asked_by_the_next_run(tmp_path: Path) -> None:
    [whole] = run([TENS], [subject("Good")], MeasureBudget(), tmp_path)
    [log], [file] = tmp_path.glob("*.items.jsonl"), tmp_path.glob("*.report.json")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:6]))
    cut = replace(whole, left_over=4, metrics=(), search_ms=0.0, disk_bytes=7_000, seconds=50.0)
    file.write_text(json.dumps(cut.to_json()), encoding="utf-8")
    [report] = run([TENS], [subject("Good")], MeasureBudget(), tmp_path)
    assert (report.left_over, report.value("right")) == (0, 1.0)
    assert len(log.read_bytes().splitlines()) == 10
    assert report.seconds > 50.0  # what the earlier run took counts
    assert report.disk_bytes == 7_000


def test_times_of_an_interrupted_run_are_those_of_all_its_items(tmp_path: Path) -> None:
    [whole] = run([TENS], [subject("Good")], MeasureBudget(), tmp_path)
    [log], [file] = tmp_path.glob("*.items.jsonl"), tmp_path.glob("*.report.json")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        assert len(line["cost"]["search_ms"]) == 1
        line["cost"]["search_ms"] = [5000.0]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines[:9]), encoding="utf-8")
    file.unlink()
    [report] = run([TENS], [subject("Good")], MeasureBudget(), tmp_path)
    assert report.search_ms == 5000.0 > whole.search_ms


def test_when_the_time_is_over_before_anything_was_asked_that_is_an_error(tmp_path: Path) -> None:
    [report] = run([TENS], [subject("Good")], MeasureBudget(seconds=1e-9), tmp_path)
    assert (report.error, report.left_over) == ("no item was asked before the time was over", 10)


def test_subjects_of_one_file_name_in_two_folders_are_two(tmp_path: Path) -> None:
    names = []
    for folder, name in (("a", "Good"), ("b", "Raising")):
        (tmp_path / folder).mkdir()
        text = Path(DOUBLES).read_text(encoding="utf-8") + f"\n\nMine = {name}\n"
        (tmp_path / folder / "mine.py").write_text(text, encoding="utf-8")
        names.append(f"{tmp_path / folder / 'mine.py'}:Mine")
    good, raising = run([TENS], names, MeasureBudget(), tmp_path / "out")
    assert (good.value("right"), raising.value("right")) == (1.0, 0.9)
    assert [report.system for report in read_reports([tmp_path / "out"])].count("good") == 1


def test_figures_of_other_data_files_and_versions_are_not_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, data = tmp_path / "out", tmp_path / "data.json"
    monkeypatch.setattr("pinyon.measure.runner._measured", lambda pair, _: Report(pair.measure, "BM25", (), 0, 1.0))
    data.write_text("[1]", encoding="utf-8")

    def again(version: str = "1.0") -> Report:
        monkeypatch.setattr("pinyon.measure.runner.__version__", version)
        [report] = run(["locomo"], ["bm25", "bm25"], MeasureBudget(), out, places=Places(data))
        return report

    first = again()
    assert first.data == f"data.json, sha256 {hashlib.sha256(b'[1]').hexdigest()}"
    (tmp_path / "elsewhere").mkdir()
    data = data.rename(tmp_path / "elsewhere" / "data.json")
    assert again() == first  # the same bytes, wherever they lie
    with pytest.raises(BadInput, match=r"(?s)are of another version of pinyon: 1\.0, not 2\.0.*--out"):
        again("2.0")
    data.write_text("[2]", encoding="utf-8")
    with pytest.raises(BadInput, match=r"locomo on bm25 in .* are of another data"):
        again()
    for file in out.glob("*.origin.json"):
        file.unlink()
    with pytest.raises(BadInput, match="is not recorded"):
        again()


def test_a_subject_file_that_was_edited_is_another_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinyon.measure.runner._measured", lambda pair, _: Report(pair.measure, "x", (), 0, 1.0))
    file = tmp_path / "mine.py"
    file.write_text("class Mine: ...\n", encoding="utf-8")
    run(["needles"], [f"{file}:Mine"], MeasureBudget(), tmp_path / "out")
    file.write_text("class Mine: pass\n", encoding="utf-8")
    with pytest.raises(BadInput, match="another file of the subject"):
        run(["needles"], [f"{file}:Mine"], MeasureBudget(), tmp_path / "out")


def test_of_several_files_of_data_the_one_that_was_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinyon.measure.runner._measured", lambda pair, _: Report(pair.measure, "x", (), 0, 1.0))
    (tmp_path / "locomo").mkdir()
    for name in ("b", "a", "c"):
        (tmp_path / "locomo" / f"{name}.json").write_text("[]", encoding="utf-8")
    [report] = run(["locomo"], ["bm25"], MeasureBudget(), tmp_path / "out", places=Places(tmp_path))
    assert report.notes == ("locomo read a.json; b.json, c.json are there too: --data names a file.",)
    place = Places(tmp_path / "locomo" / "b.json")
    [report] = run(["locomo"], ["bm25"], MeasureBudget(), tmp_path / "other", places=place)
    assert report.data.startswith("b.json, sha256 ")
    assert report.notes == ()


@pytest.mark.slow
def test_what_a_dying_subject_did_is_scored(tmp_path: Path) -> None:
    [report] = run([TENS], [subject("Dying")], MeasureBudget(), tmp_path)
    assert report.error == "it ended with exit code 9"
    assert (report.value("right"), report.failed, report.left_over) == (0.1, 4, 5)


@pytest.mark.slow
def test_a_run_whose_time_is_over_says_what_it_left(tmp_path: Path) -> None:
    [report] = run([TENS], [subject("Hanging")], MeasureBudget(seconds_per_item=2, seconds=1), tmp_path)
    assert report.value("right") < 1.0
    assert report.failed + report.left_over > 0


def test_missing_data_are_told_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="locomo needs data"):
        run(["locomo"], [subject("Good")], MeasureBudget(), tmp_path / "out")
    with pytest.raises(BadInput, match="locomo needs 'locomo"):
        run(["locomo"], [subject("Good")], MeasureBudget(), tmp_path / "out", places=Places(tmp_path))
    with pytest.raises(BadInput, match="there is no folder and no file"):
        run(["planted"], [subject("Good")], MeasureBudget(), tmp_path / "out", places=Places(tmp_path / "no"))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_reports_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no reports"):
        read_reports([tmp_path])
    (tmp_path / "x.report.json").write_text('{"name": "x"}', encoding="utf-8")
    with pytest.raises(BadInput, match=r"'x.report.json' holds no report"):
        read_reports([tmp_path])
