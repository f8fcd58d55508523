"""The comparison beside kvpress: its needles, what both harnesses keep, and what is concluded."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import _rival_needles  # noqa: E402
import _rival_records  # noqa: E402
import _state_rivals  # noqa: E402
import kvpress_needles  # noqa: E402
from _rival_needles import Needle  # noqa: E402
from _rival_summary import gain, read_lines, summary  # noqa: E402
from state_worlds import numbers, tiny, tokenizer  # noqa: E402


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def said(ids) -> str:
    return "".join(map(chr, ids))


def drawn(words, count: int, **options) -> list[Needle]:
    return list(itertools.islice(_rival_records.records(letters, words, **options), count))


def vocabulary(words) -> set[str]:
    stems = {stem.split("}")[-1] if stem.startswith("{") else stem.split("{")[0] for stem, _ in words.stems}
    parts = (words.people, words.places, tuple(words.letters), words.months, words.first, words.second)
    return stems.union(*parts)


def test_no_word_of_the_records_that_are_reported_was_seen_before() -> None:
    assert not vocabulary(_rival_records.DEVELOP) & vocabulary(_rival_records.CONFIRM)
    seen = {word for kind in _rival_needles.DEVELOP for word in (*kind.whose, *kind.first, *kind.second)}
    assert not vocabulary(_rival_records.CONFIRM) & seen


def test_records_repeat_with_their_seed() -> None:
    words = _rival_records.DEVELOP
    assert drawn(words, 12, asked=4, seed=1) == drawn(words, 12, asked=4, seed=1)
    assert drawn(words, 12, asked=4, seed=1) != drawn(words, 12, asked=4, seed=2)


@pytest.mark.parametrize("words", [_rival_records.DEVELOP, _rival_records.CONFIRM])
def test_every_stem_of_a_context_stands_before_one_value(words) -> None:
    for needle in drawn(words, 40, seed=3):
        text, question = said(needle.context), said(needle.question)
        stem = question.removeprefix("\n\nAnswer: ")
        assert text.count(stem) == 1
        assert text.split(stem)[1].startswith(f" {needle.answer}.")
        assert len(text.split(". ")) == _rival_records.RECORDS


def test_more_facts_than_names_are_refused() -> None:
    with pytest.raises(ValueError, match="46 facts need as many names, and there are 45"):
        drawn(_rival_records.DEVELOP, 1, size=46, seed=1)


def test_needles_of_a_context_are_asked_in_a_row() -> None:
    asked = drawn(_rival_records.DEVELOP, 12, asked=4, seed=1)
    groups = kvpress_needles.same_context([needle.as_json() for needle in asked])
    assert [[case["number"] for case in group] for group in groups] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


# our side


@pytest.fixture
def backbone(monkeypatch):
    monkeypatch.setattr(_state_rivals, "find_heads", lambda *_, **__: None)
    return tiny(words=tokenizer())


def cases_of(backbone, count: int) -> list[Needle]:
    """Return needles of two contexts whose answers are what the model goes on with."""
    made = []
    for number in range(count):
        context, question = tuple(numbers(40, seed=number % 2)), tuple(numbers(5, seed=9 + number))
        cache = backbone.cache()
        backbone.prefill(context, cache)
        ahead = backbone.continuation(question, cache, max_tokens=3, stop=())
        made.append(Needle(number, context, question, backbone.decode(ahead.ids), 0.5))
    return made


NAMES = ("kvzip+surprisal", "kvzip", "key-norm")


def rows_of(lines) -> dict[int, list[dict[str, object]]]:
    return {line["number"]: sorted(line["rows"], key=lambda row: (row["method"], row["ratio"])) for line in lines}


def test_needles_that_share_a_cut_are_answered_as_if_each_was_alone(backbone, tmp_path) -> None:
    cases = cases_of(backbone, 4)
    together = _state_rivals.answer(backbone, cases, tmp_path, NAMES, 3)
    for case in cases:
        folder = tmp_path / str(case.number)
        folder.mkdir()
        alone = _state_rivals.answer(backbone, [case], folder, NAMES, 3)
        assert rows_of(alone)[case.number] == rows_of(together)[case.number]
    assert all(len(line["rows"]) == 1 + len(NAMES) * len(_state_rivals.RATIOS) for line in together)


def test_what_was_answered_is_not_answered_again(backbone, tmp_path, monkeypatch) -> None:
    cases = cases_of(backbone, 4)
    _state_rivals.answer(backbone, cases[:2], tmp_path, NAMES[:1], 3)
    before = (tmp_path / "ours.jsonl").read_text()
    _state_rivals.answer(backbone, cases, tmp_path, NAMES[:2], 3)
    after = (tmp_path / "ours.jsonl").read_text()
    assert after.startswith(before)
    added = [json.loads(line) for line in after.removeprefix(before).splitlines()]
    methods = {line["number"]: {row["method"] for row in line["rows"]} - {"full"} for line in added}
    assert methods == {0: {NAMES[1]}, 1: {NAMES[1]}, 2: set(NAMES[:2]), 3: set(NAMES[:2])}
    monkeypatch.setattr(_state_rivals, "_answered", None)
    _state_rivals.answer(backbone, cases, tmp_path, NAMES[:2], 3)


def test_a_needle_that_the_whole_model_does_not_answer_is_asked_once(backbone, tmp_path, monkeypatch) -> None:
    (case,) = cases_of(backbone, 1)
    lost = Needle(0, case.context, case.question, "not what it says", 0.5)
    (line,) = _state_rivals.answer(backbone, [lost], tmp_path, NAMES, 3)
    assert [row["method"] for row in line["rows"]] == ["full"]
    monkeypatch.setattr(_state_rivals, "_answered", None)
    _state_rivals.answer(backbone, [lost], tmp_path, NAMES, 3)


# the other side


class Presses:
    """Stands for the library: the whole cache answers cases with an even number, and presses all of them."""

    def __init__(self, monkeypatch) -> None:
        self.read: list[list[str]] = []
        monkeypatch.setattr(kvpress_needles, "collect", self.collect)
        monkeypatch.setattr(kvpress_needles, "answers", self.answers)

    def collect(self, _harness, _context, names, ratios):
        self.read.append(names)
        return {("full", 0.0): {}, **{(name, ratio): {} for name in names for ratio in ratios}}

    def answers(self, _harness, case, cuts, _limit):
        return {key: {"found": key[0] != "full" or case["number"] % 2 == 0} for key in cuts}


def test_the_other_side_reads_a_context_once_and_answers_what_is_missing(monkeypatch) -> None:
    presses = Presses(monkeypatch)
    group = [{"number": number, "context": [1, 2]} for number in range(4)]
    done = {0: {("full", 0.0), ("knorm", 0.5)}, 2: {("full", 0.0), ("knorm", 0.5), ("kvzip", 0.5)}}
    lines = list(kvpress_needles.answered(None, group, {"ratios": [0.5], "tokens": 3}, ["knorm", "kvzip"], done))
    assert presses.read == [["knorm", "kvzip"]]
    answered = {line["number"]: [row["method"] for row in line["rows"]] for line in lines}
    assert answered == {0: ["full", "kvzip"], 1: ["full"], 3: ["full"]}
    list(kvpress_needles.answered(None, [group[2]], {"ratios": [0.5], "tokens": 3}, ["knorm", "kvzip"], done))
    assert len(presses.read) == 1


def test_the_other_side_keeps_what_an_interrupted_run_answered(tmp_path) -> None:
    whole = {"number": 0, "rows": [{"method": "full", "ratio": 0.0, "found": True}]}
    lost = {"number": 1, "rows": [{"method": "full", "ratio": 0.0, "found": False}]}
    out = tmp_path / "theirs.jsonl"
    out.write_text(json.dumps(whole) + "\n" + json.dumps(lost) + "\n" + json.dumps({**whole, "number": 2})[:20])
    assert kvpress_needles.before(out) == ({0: {("full", 0.0)}, 1: {("full", 0.0)}}, {1})
    assert kvpress_needles.before(tmp_path / "none") == ({}, set())
    assert list(read_lines(out)) == [0, 1]


# what is concluded


def lines_of(found: dict[str, list[bool]], **facts) -> list[dict[str, object]]:
    """Return answers of methods to needles, the whole cache's first."""
    size = len(next(iter(found.values())))
    return [
        {
            "number": number,
            "rows": [
                {"method": "full", "ratio": 0.0, "found": True, "bytes": 100},
                *({"method": name, "ratio": 0.5, "found": each[number], "bytes": 50} for name, each in found.items()),
            ],
            **facts,
        }
        for number in range(size)
    ]


VERSIONS = {"kvpress": "1", "torch": "2", "transformers": "3"}


@pytest.mark.parametrize(("theirs", "leads"), [([True] * 9 + [False], True), ([True] * 10, False)])
def test_a_tie_is_no_lead(theirs, leads) -> None:
    sides = (lines_of({"kvzip": [True] * 10}), lines_of({"knorm": theirs}, **VERSIONS))
    found = summary("dense", *sides, [], [], ratios=(0.5,), contexts={number: number for number in range(10)})
    verdicts = [limit for limit in found["limits"] if "equal true bytes" in limit["what"]]
    assert [limit["holds"] for limit in verdicts] == [leads]
    assert ("+10.0 points" in verdicts[0]["what"]) is leads
    assert {row["set"] for row in found["rows"]} == {"dense"}


def test_gains_are_of_needles_that_both_answered() -> None:
    more = gain({0: True, 1: True, 2: False}, {1: False, 2: False, 3: True}, dict.fromkeys(range(4), 0))
    assert (more.value, more.n) == (0.5, 2)


def test_needles_of_one_context_tell_less_than_needles_of_their_own() -> None:
    ours, theirs = dict.fromkeys(range(60), True), {number: number % 20 >= 4 for number in range(60)}
    alone = gain(ours, theirs, {number: number for number in range(60)})
    shared = gain(ours, theirs, {number: number % 20 for number in range(60)})
    assert alone.value == shared.value == pytest.approx(0.2)
    assert shared.high - shared.low > alone.high - alone.low > 0
