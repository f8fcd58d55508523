from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pinyon.errors import BadInput
from pinyon.extras import EXTRAS
from pinyon.measure.base import Item, Metric, Report
from pinyon.measure.charts import Bar, bars_png, bars_svg
from pinyon.measure.comparison import compared, differences, pairs_of
from pinyon.measure.html import charts_of, page
from pinyon.measure.leaderboard import leaderboard_html, leaderboard_markdown, pack_results
from pinyon.measure.report import number, summary
from pinyon.measure.runner import read_reports

ROOT = Path(__file__).resolve().parents[2]


def report(system: str = "pinyon", value: float = 0.8, **more: object) -> Report:
    metrics = (
        Metric("recall@10", "overall", value, value - 0.05, value + 0.05, 10),
        Metric("recall@10", "single-hop", value, value - 0.1, value + 0.1, 6),
    )
    items = tuple(
        Item("room", f"secret question {n}", "single-hop", (1 if n < 10 * value else 0,), 1.0) for n in range(10)
    )
    made = Report(
        "locomo", system, metrics, 10, 2.0, cubes=30, search_ms=1.5, search_p95_ms=3.0, command="make it again",
        machine="Linux, 2 cores, load 1.0", versions={"python": "3.11"}, items=items, when="2026-01-31", add_ms=0.25,
        tokens=3100.0, memory_bytes=5_000_000, disk_bytes=1_000_000,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]  # fields of a report


def test_a_report_is_itself_after_a_way_through_json() -> None:
    assert Report.from_json(report().to_json()) == report()


@pytest.mark.parametrize("data", [None, [], {"name": "x"}, {"metrics": [{"name": "x"}]}, "text", {"metrics": 3}])
def test_what_is_no_report_is_refused(data: object) -> None:
    with pytest.raises(BadInput, match="no report"):
        Report.from_json(data)


def test_shares_are_per_cent_and_other_numbers_are_not() -> None:
    assert number(Metric("x", "overall", 0.5, 0.4, 0.6, 1)) == "50.0 [40.0, 60.0]"
    assert number(Metric("x", "overall", 35.0, 30.0, 40.0, 1)) == "35.0 [30.0, 40.0]"
    assert number(Metric("x", "overall", 0.5, 0.4, 0.6, 1), with_interval=False) == "50.0"
    assert number(None) == ""


def test_a_summary_has_figures_costs_groups_and_where_they_come_from() -> None:
    text = summary([report(), report("BM25", 0.6)])
    assert "| pinyon | 10 | 80.0 [75.0, 85.0] |" in text
    assert "| BM25 | 0.25 | 1.5 | 3.0 | 3,100 | 5.0 | 1.0 |" in text
    assert "| recall@10 | n | pinyon | BM25 |" in text
    assert "| single-hop | 6 | 80.0 | 60.0 |" in text
    assert "`make it again`; Linux, 2 cores, load 1.0; python 3.11; seed 0; 4 s in all; 2026-01-31." in text


def test_a_summary_shows_the_range_of_loads_all_versions_and_the_data() -> None:
    others = {"versions": {"python": "3.11", "pinyon": "0.1.0"}, "machine": "Linux, 2 cores, load 16.0"}
    data = "locomo10.json, sha256 abc"
    text = summary([report(versions={"pinyon": "0.3.0"}, data=data), report("BM25", 0.6, data=data, **others)])
    assert f"data {data}; Linux, 2 cores, load 1.0 to 16.0; pinyon 0.3.0 and 0.1.0, python 3.11;" in text
    assert "| 1.0 | 1.0 | 0.3.0 |" in text
    assert "| 1.0 | 16.0 | 0.1.0 |" in text


def test_a_summary_names_what_failed_and_what_was_skipped() -> None:
    ours = report(failed=2, skipped=3, reason="ValueError: boom")
    text = summary([ours, report("mem0", metrics=(), error="out of memory"), report("x", left_over=5)])
    assert "- pinyon: 2 failed, most of them with 'ValueError: boom', 3 skipped as malformed." in text
    assert "- x: 5 left over when the time was over: the same command asks them." in text
    assert "- mem0 FAILED: out of memory" in text


def test_equal_questions_are_compared_in_pairs() -> None:
    found = differences(pairs_of([report(value=0.8)], [report(value=0.6)], ()))
    [one] = [d for d in found if d.group == "overall"]
    assert one.is_paired
    assert one.gap.value == pytest.approx(0.2)
    assert one.gap.low <= 0.2 <= one.gap.high
    [row] = [line for line in compared(found).splitlines() if "| overall | recall@10" in line]
    assert re.search(r"\| 20\.0 \[-?[\d.]+, [\d.]+\] \| yes \|$", row)


def test_other_questions_are_compared_by_their_intervals() -> None:
    ours, theirs = report(value=0.8).without_items(), report(value=0.6).without_items()
    [one] = [d for d in differences(pairs_of([ours], [theirs], ())) if d.group == "overall"]
    assert not one.is_paired
    assert (one.gap.low, one.gap.high) == (pytest.approx(0.2 - 0.05 * 2**0.5), pytest.approx(0.2 + 0.05 * 2**0.5))


def test_two_subjects_are_compared_within_a_run_and_between_two_reports() -> None:
    ours, theirs, third = report(value=0.8, subject="pinyon"), report("BM25", 0.6, subject="bm25"), report("other", 0.1)
    within = differences(pairs_of([ours, theirs, third], None, ("bm25", "pinyon", "nobody")))
    assert [(d.first, d.second, round(d.gap.value, 3)) for d in within if d.group == "overall"] == [
        ("BM25", "pinyon", -0.2)
    ]
    between = differences(pairs_of([ours], [theirs], ()))
    assert {(d.first, d.second) for d in between} == {("pinyon", "BM25")}
    assert "| locomo | pinyon less BM25 | overall | recall@10 |" in compared(between)
    several = pairs_of([ours, theirs], [theirs, ours], ())
    assert [(one.system, other.system) for one, other in several] == [("pinyon", "pinyon"), ("BM25", "BM25")]


@pytest.mark.parametrize("theirs", [None, [report("a"), report("b")], [report(name="sort")]])
def test_what_cannot_be_compared_is_told(theirs: list[Report] | None) -> None:
    with pytest.raises(BadInput, match=r"(?s)nothing to compare among locomo: pinyon.*--subjects"):
        pairs_of([report()], theirs, ("pinyon", "bm25"))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_page_is_whole_and_loads_nothing() -> None:
    reader = _Reader()
    reader.feed(page("Results & more", [report(), report("<b>evil</b>", 0.4), report("x", metrics=(), error="<died>")]))
    reader.close()
    assert reader.open == []
    assert reader.addresses == []
    assert {"Results & more", "<b>evil</b>", "x failed: <died>"} <= set(reader.text)


def test_charts_show_the_best_first_and_the_quickest_first() -> None:
    (_, figures), (_, times) = charts_of([report("slow", 0.9, search_ms=9.0), report("quick", 0.5, search_ms=1.0)])
    assert [bar.label for bar in figures] == ["slow", "quick"]
    assert [bar.label for bar in times] == ["quick", "slow"]


def test_bars_are_as_long_as_their_values() -> None:
    svg = bars_svg("t", [Bar("a", 1.0, 1.0, 1.0, "1"), Bar("b", 0.5, 0.5, 0.5, "0.5")])
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', svg)]
    assert widths[0] == 2 * widths[1] > 0


def test_charts_become_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(EXTRAS, "matplotlib", "bench")
    bars_png(tmp_path / "x.png", charts_of([report(), report("BM25", 0.5)]))
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_packed_results_hold_no_questions(tmp_path: Path) -> None:
    packed = pack_results([report(), report("BM25", 0.6)])
    assert "secret question" not in packed
    (tmp_path / "leaderboard.json").write_text(packed, encoding="utf-8")
    assert [r.system for r in read_reports([tmp_path / "leaderboard.json"])] == ["pinyon", "BM25"]


def test_the_leaderboard_has_the_best_first_and_those_that_failed_last(tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.json"
    reports = [report("mem0", metrics=(), error="gone"), report("BM25", 0.6), report("pinyon", 0.8)]
    file.write_text(pack_results(reports), encoding="utf-8")
    text = leaderboard_markdown([file])
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:4] == ["pinyon", "BM25", "mem0"]
    assert "make it again" in text
    assert "<svg" in leaderboard_html([file])


def test_the_committed_leaderboard_is_that_of_the_committed_results() -> None:
    files = sorted((ROOT / "benchmarks" / "results").glob("leaderboard*.json"), key=lambda file: file.stem)
    if not files:
        pytest.skip("no results have been committed")
    assert (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8") == leaderboard_markdown(files)
    assert all(not found.items for found in read_reports(files))
