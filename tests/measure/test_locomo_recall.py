from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pinyon.errors import UnreadableSource
from pinyon.measure import BM25, FullContext, ItemLog, LoCoMo, MeasureBudget, PinyonMemory, Question, Random
from pinyon.measure.locomo_recall import answer_f1, judged
from pinyon.measure.subject import Context, Ranked
from pinyon.testing import ScriptedModel


def talk(name: str, said: str) -> dict[str, Any]:
    turns = [{"speaker": "Ann", "dia_id": f"D1:{n}", "text": f"{said} {word}"} for n, word in enumerate("abc", 1)]
    turns += [{"speaker": "Tom", "dia_id": "D1:4", "text": f"The {said} ferry leaves at nine."}]
    later = [{"speaker": "Ann", "dia_id": "D2:1", "text": f"I bought a {said} kayak."}]
    return {
        "sample_id": name,
        "conversation": {
            "speaker_a": "Ann", "speaker_b": "Tom", "session_1": turns, "session_2": later,
            "session_1_date_time": "1:56 pm on 8 May, 2023", "session_2_date_time": "2:00 pm on 9 May, 2023",
        },
        "qa": [
            {"question": f"When does the {said} ferry leave?", "answer": 9, "evidence": ["D1:4"], "category": 2},
            {"question": "What did Ann buy, and where?", "answer": "a kayak", "evidence": ["D2:1; D1:4"],
             "category": 1},
            {"question": "What did Tom buy?", "adversarial_answer": "a kayak", "evidence": ["D2:1"], "category": 5},
        ],
    }  # fmt: skip


def written(tmp_path: Path, data: object) -> Path:
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


class Backwards(BM25):
    """Finds the last turns first."""

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        return [Ranked(id, 0.0) for id in reversed(self.kept.of(space))][:k]


def test_recall_is_the_share_of_the_evidence_among_the_first_k(tmp_path: Path) -> None:
    report = LoCoMo(written(tmp_path, [talk("a", "red")])).run(Backwards(), MeasureBudget(), ItemLog())
    # found: D2:1, D1:4, …; evidence: D1:4 (rank 2); D2:1 and D1:4 (ranks 1 and 2)
    assert report.value("recall@1") == pytest.approx((0 + 0.5) / 2)
    assert report.value("recall@5") == 1.0
    assert report.value("session@1") == pytest.approx((0 + 0.5) / 2)
    assert report.value("recall@1", "temporal") == 0.0
    assert report.value("recall@1", "adversarial (not counted)") == 1.0
    assert (report.n, report.cubes, len(report.items)) == (2, 5, 3)


def test_categories_are_told_by_the_ids_of_the_file(tmp_path: Path) -> None:
    report = LoCoMo(written(tmp_path, [talk("a", "red")])).run(BM25(), MeasureBudget(), ItemLog())
    assert [item.category for item in report.items] == ["temporal", "multi-hop", "adversarial"]


def test_conversations_are_searched_alone_unless_they_are_merged(tmp_path: Path) -> None:
    path = written(tmp_path, [talk("a", "red"), talk("b", "blue")])
    alone, merged = BM25(), BM25()
    LoCoMo(path).run(alone, MeasureBudget(), ItemLog())
    LoCoMo(path, is_merged=True, name="merged").run(merged, MeasureBudget(), ItemLog())
    assert [len(alone.kept.of(space)) for space in ("a", "b")] == [5, 5]
    assert {passage.session for passage in merged.kept.of("merged").values()} == {
        "a session 1", "a session 2", "b session 1", "b session 2",
    }  # fmt: skip


def test_evidence_in_a_prompt_is_counted_and_its_tokens(tmp_path: Path) -> None:
    report = LoCoMo(written(tmp_path, [talk("a", "red")])).run(FullContext(), MeasureBudget(), ItemLog())
    assert report.value("in 3,200 tokens") == 1.0
    assert report.tokens > 40
    assert report.notes == ()


def test_a_subject_that_goes_beyond_the_budget_is_named(tmp_path: Path) -> None:
    long = talk("a", "red")
    long["conversation"]["session_1"][0]["text"] = "word " * 4000
    report = LoCoMo(written(tmp_path, [long])).run(FullContext(), MeasureBudget(), ItemLog())
    assert "full context recalled" in report.notes[0]
    assert "beyond the 3,200 it was given" in report.notes[0]


def test_answers_are_scored_when_a_subject_answers(tmp_path: Path) -> None:
    judge = ScriptedModel(["CORRECT", "WRONG", "INCORRECT"])
    memory = PinyonMemory(tmp_path / "memory")
    report = LoCoMo(written(tmp_path, [talk("a", "red")]), judge=judge).run(memory, MeasureBudget(), ItemLog())
    memory.close()
    assert 0 <= report.value("answer F1") <= 1
    assert report.value("judged right") == 0.5
    silent = LoCoMo(written(tmp_path, [talk("a", "red")])).run(Random(), MeasureBudget(), ItemLog())
    assert "answer F1" not in {metric.name for metric in silent.metrics}


def test_a_reader_answers_for_every_subject_from_what_it_recalls(tmp_path: Path) -> None:
    class Reads(ScriptedModel):
        def generate(self, messages: Sequence[Any], *, max_tokens: int = 512) -> str:
            said = str(messages[-1].content)
            assert ("leaves at nine" in said) == ("ferry" in said.splitlines()[-1])
            return "No information available" if said.endswith("Tom buy?") else "9"

    class Answers(BM25):
        def recall(self, space: str, question: str, budget_tokens: int) -> Context:
            text = "The red ferry leaves at nine." if "ferry" in question else ""
            return Context(text, (), 7)

        def ask(self, space: str, question: str) -> str | None:
            pytest.fail("its own answer would not be comparable")

    judge = ScriptedModel(["CORRECT", "WRONG"])
    measure = LoCoMo(written(tmp_path, [talk("a", "red")]), reader=Reads([]), judge=judge)
    report = measure.run(Answers(), MeasureBudget(), ItemLog())
    assert report.value("answer F1", "temporal") == 1.0
    assert report.value("judged right") == 0.5
    assert report.value("judged right", "adversarial (not counted)") == 1.0  # by rule: the judge is not asked


@pytest.mark.parametrize(
    ("category", "answer", "right", "score"),
    [
        ("single-hop", "She bought a red bike", "the red bikes", 2 * 0.5 * 1 / 1.5),
        ("multi-hop", "bees, honey", "bees, honey, wax", 2 / 3),
        ("open-domain", "likely no", "Likely no; she dislikes it", 1.0),
        ("temporal", "nine", "9", 0.0),
        ("adversarial", "", "anything", 1.0),
        ("adversarial", "Not mentioned in the conversation", "anything", 1.0),
        ("adversarial", "a kayak", "a kayak", 0.0),
        ("single-hop", "", "x", 0.0),
    ],
)
def test_f1_is_that_of_the_authors(category: str, answer: str, right: str, score: float) -> None:
    assert answer_f1(answer, Question("", ("e",), category, right)) == pytest.approx(score)


def test_a_judge_is_read_by_its_word() -> None:
    question = Question("Who?", ("e",), "single-hop", "Ann")
    said = ["correct", "CORRECT.", "INCORRECT", "WRONG", "I do not know"]
    judge = ScriptedModel(said)
    assert [judged(judge, question, "Ann") for _ in said] == [True, True, False, False, False]


# --- malformed data ------------------------------------------------------------------------------------------------


def test_what_is_malformed_is_skipped_with_a_sentence_and_the_rest_is_asked(tmp_path: Path) -> None:
    good, broken = talk("a", "red"), talk("b", "blue")
    good["qa"] += [
        {"question": "Nowhere?", "answer": "x", "evidence": ["D9:9"], "category": 1},
        {"question": "No category?", "answer": "x", "evidence": ["D1:1"]},
        {"question": "What category?", "answer": "x", "evidence": ["D1:1"], "category": 77},
        "no question at all",
        {"question": "No evidence?", "answer": "x", "category": 1},
    ]
    del broken["conversation"]["session_1_date_time"]
    log = ItemLog()
    report = LoCoMo(written(tmp_path, [good, broken, 3])).run(BM25(), MeasureBudget(), log)
    why = {item.key: item.why for item in log.items if item.state == "skipped"}
    assert report.n == 2
    assert why["a 3"] == "question 3 of a names no turn that exists as evidence"
    assert why["a 4"] == "question 4 of a is malformed: there is no 'category'"
    assert why["a 5"] == "question 5 of a is malformed: there is no 77"
    assert "a 6" in why
    assert why["a 7"].endswith("as evidence")
    assert why["conversation 1"] == "conversation 1 is malformed: there is no 'session_1_date_time'"
    assert "conversation 2" in why
    assert len(why) == 7


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[3]", '"text"'])
def test_a_file_without_any_conversation_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "locomo.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableSource, match=r"'locomo.json'"):
        LoCoMo(path).run(BM25(), MeasureBudget(), ItemLog())


def test_a_failed_item_counts_as_not_found(tmp_path: Path) -> None:
    log = ItemLog()
    log.fail("a 0", "it crashed")
    report = LoCoMo(written(tmp_path, [talk("a", "red")])).run(BM25(), MeasureBudget(), log)
    assert report.value("recall@50") == 0.5
    assert report.value("recall@50", "temporal") == 0.0
    assert report.value("session@1", "temporal") == 0.0


def test_bm25_of_the_official_conversations_is_the_known_baseline(locomo_file: Path) -> None:
    report = LoCoMo(locomo_file).run(BM25(), MeasureBudget(items=30, seed=1), ItemLog())
    assert 0.4 < report.value("recall@10") < 0.9
    assert report.n <= 30
