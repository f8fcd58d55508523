from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pinyon.errors import UnreadableSource
from pinyon.measure.longmemeval import LongMemEval, read_longmemeval
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.subject import Context, Held, Passage, Ranked

ENTRY: dict[str, Any] = {
    "question_id": "q1",
    "question_type": "multi-session",
    "question": "How many hives does Ann keep now?",
    "answer": 7,
    "question_date": "2023/06/01 (Thu) 09:00",
    "haystack_session_ids": ["s1", "answer_1", "s1", "answer_2"],
    "haystack_dates": [
        "2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:00", "2023/05/22 (Mon) 11:30", "2023/05/23 (Tue) 12:00",
    ],
    "haystack_sessions": [
        [{"role": "user", "content": "Tell me about tides."}, {"role": "assistant", "content": "The moon pulls."}],
        [
            {"role": "user", "content": "I bought four hives.", "has_answer": True},
            {"role": "assistant", "content": "Four is a good start.", "has_answer": False},
        ],
        [{"role": "user", "content": "Write a poem."}, {"role": "assistant", "content": ""}],
        [{"role": "user", "content": "Three hives more came today.", "has_answer": True}],
    ],
    "answer_session_ids": ["answer_1", "answer_2"],
}  # fmt: skip


def entry(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ENTRY), **changes}


def written(tmp_path: Path, entries: object) -> Path:
    path = tmp_path / "longmemeval_s.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


@dataclass
class Finds:
    """Finds passages with any of the given words, in the order in which they were said."""

    words: tuple[str, ...]
    name: str = "finds"
    spaces: dict[str, list[Passage]] = field(default_factory=dict)

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        self.spaces.setdefault(space, []).extend(passages)

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        found = [p for p in self.spaces[space] if any(word in p.text for word in self.words)]
        return [Ranked(p.id, 1.0 / n) for n, p in enumerate(found[:k], 1)]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        ids = tuple(hit.id for hit in self.search(space, question, 1))
        return Context("", ids, 12)

    def ask(self, space: str, question: str) -> str | None:
        return None

    def footprint(self) -> Held:
        return Held(0, 0)

    def close(self) -> None:
        pass


def test_turns_carry_session_role_and_time(tmp_path: Path) -> None:
    [question] = read_longmemeval(written(tmp_path, [ENTRY])).questions
    assert [p.id for p in question.passages] == ["s1:0", "s1:1", "answer_1:0", "answer_1:1", "s1#2:0", "answer_2:0"]
    assert question.passages[2] == Passage(
        "answer_1:0", "I bought four hives.", None, datetime(2023, 5, 21, 10, 0, tzinfo=UTC), "answer_1", "user"
    )
    assert question.asked == datetime(2023, 6, 1, 9, 0, tzinfo=UTC)


def test_evidence_is_turns_and_sessions_and_numbers_are_answers(tmp_path: Path) -> None:
    [question] = read_longmemeval(written(tmp_path, [ENTRY])).questions
    assert question.turns == ("answer_1:0", "answer_2:0")
    assert question.sessions == ("answer_1", "answer_2")
    assert question.answer == "7"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"haystack_dates": ["2023/05/20"]}, "4 sessions have 1 dates and 4 ids"),
        ({"haystack_dates": ["soon", "2023/05/21", "2023/05/22", "2023/05/23"]}, "'soon' is no date"),
        ({"haystack_dates": ["2023/13/45", "2023/05/21", "2023/05/22", "2023/05/23"]}, "month"),
        ({"answer_session_ids": ["elsewhere"]}, "elsewhere"),
        ({"haystack_sessions": None}, "NoneType"),
        ({"question": " "}, "empty"),
        ({"haystack_sessions": [[{"role": "user"}], [], [], []]}, "there is no 'content'"),
    ],
)
def test_malformed_questions_are_named_and_left_out(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    read = read_longmemeval(written(tmp_path, [entry(), entry(question_id="bad", **change)]))
    assert [question.id for question in read.questions] == ["q1"]
    [(name, said)] = read.skipped
    assert name == "bad"
    assert why in said


def test_what_is_no_object_and_what_came_before_is_left_out(tmp_path: Path) -> None:
    without = entry()
    del without["question_id"]
    read = read_longmemeval(written(tmp_path, [ENTRY, "text", ENTRY, without]))
    assert [name for name, _ in read.skipped] == ["entry 1", "q1 (entry 2)"]
    assert [q.id for q in read.questions] == ["q1", "entry 3"]


@pytest.mark.parametrize("content", ["{}", "[", "[]", '[{"question_id": "x"}]'])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableSource, match=r"other\.json"):
        read_longmemeval(path)


def test_recall_is_counted_by_turn_and_by_session(tmp_path: Path) -> None:
    path = written(tmp_path, [ENTRY])
    report = LongMemEval(path).run(Finds(("hives", "Four")), MeasureBudget(), ItemLog())
    # found in order: answer_1:0, answer_1:1, answer_2:0, so the second session is second among sessions
    assert report.value("recall@1") == 0.5
    assert report.value("recall@5") == 1.0
    assert report.value("session@1") == 0.5
    assert report.value("session@3") == 1.0
    assert (report.value("all sessions@1"), report.value("all sessions@3")) == (0.0, 1.0)
    assert report.value("in 3,200 tokens") == 0.5
    assert report.value("recall@5", "multi-session") == 1.0


def test_abstention_questions_are_not_searched(tmp_path: Path) -> None:
    path = written(tmp_path, [ENTRY, entry(question_id="q2_abs", answer_session_ids=[])])
    subject = Finds(("hives",))
    report = LongMemEval(path).run(subject, MeasureBudget(), ItemLog())
    assert report.n == 1
    assert list(subject.spaces) == ["longmemeval-q1"]


def test_questions_that_name_sessions_only_count_for_sessions(tmp_path: Path) -> None:
    plain = entry(question_id="q3")
    for session in plain["haystack_sessions"]:
        for turn in session:
            turn.pop("has_answer", None)
    report = LongMemEval(written(tmp_path, [plain])).run(Finds(("hives",)), MeasureBudget(), ItemLog())
    assert report.value("session@3") == 1.0
    assert not [m for m in report.metrics if m.name.startswith("recall@")]


def test_failures_count_as_not_found_and_done_questions_are_not_asked_again(tmp_path: Path) -> None:
    path = written(tmp_path, [ENTRY, entry(question_id="q2")])

    class Breaks(Finds):
        def add(self, space: str, passages: Sequence[Passage]) -> None:
            if space.endswith("q2"):
                raise RuntimeError("no room left")
            super().add(space, passages)

    log = ItemLog()
    report = LongMemEval(path).run(Breaks(("hives",)), MeasureBudget(), log)
    assert (report.n, report.value("session@3"), log.count("failed")) == (2, 0.5, 1)
    again = Finds(("hives",))
    assert LongMemEval(path).run(again, MeasureBudget(), log).value("session@3") == 0.5
    assert again.spaces == {}


def test_what_could_not_be_read_is_in_the_log(tmp_path: Path) -> None:
    log = ItemLog()
    path = written(tmp_path, [ENTRY, entry(question_id="bad", haystack_dates=[])])
    LongMemEval(path).run(Finds(("hives",)), MeasureBudget(), log)
    assert [(item.key, item.state) for item in log.items] == [("bad", "skipped"), ("q1", "done")]
