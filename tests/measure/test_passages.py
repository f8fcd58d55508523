from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinyon import Document, Memory
from pinyon.measure import hotpot, passages, run_corpus, squad, squad_articles


def test_the_same_seed_makes_the_same_questions() -> None:
    def asked(seed: int) -> list[str]:
        return [q.text for q in passages(None, count=20, seed=seed).rooms[0].questions]

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_a_cloze_does_not_say_its_answer_and_a_paraphrase_says_less() -> None:
    questions = passages(None, count=50).rooms[0].questions
    assert len(questions) == 100
    for cloze, paraphrase in zip(questions[::2], questions[1::2], strict=True):
        assert cloze.answer not in cloze.text.split()
        assert cloze.answer not in paraphrase.text.split()
        assert cloze.evidence == paraphrase.evidence
        assert len(paraphrase.text.split()) <= min(9, len(cloze.text.split()))


def test_evidence_is_in_exactly_one_chunk() -> None:
    corpus = passages(None, count=50)
    with Memory.open(":memory:") as memory:
        memory.add_many(corpus.rooms[0].experiences)
        held = [name for cube in memory.iterate() for name in corpus.names(cube)]
    assert len(held) == len(set(held))
    assert set(held) == {q.evidence[0] for q in corpus.rooms[0].questions}


@pytest.mark.slow
def test_most_sentences_of_the_reference_are_found_by_what_is_left_of_them() -> None:
    report = run_corpus(passages(None, count=150), ks=(1, 10))
    assert report.value("recall@10", "cloze") >= 0.95
    assert report.value("recall@10", "paraphrase") >= 0.75


@pytest.fixture
def squad_file(tmp_path: Path) -> Path:
    first, second = "Ann keeps bees. " * 40, "Bob sails from Oslo."
    qas = [
        {"question": "Where does Bob sail from?", "answers": [{"text": "Oslo", "answer_start": 15}]},
        {"question": "Who flies?", "answers": []},
    ]
    paragraphs = [{"context": first, "qas": []}, {"context": second, "qas": qas}]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"title": "Two_friends", "paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def test_squad_asks_for_paragraphs_and_counts_what_has_an_answer(squad_file: Path) -> None:
    [room] = squad(squad_file).rooms
    assert [(q.evidence, q.is_counted) for q in room.questions] == [
        (("Two_friends/1",), True),
        (("Two_friends/1",), False),
    ]


def test_an_offset_in_an_article_leads_to_the_answer(squad_file: Path) -> None:
    [room] = squad_articles(squad_file).rooms
    [document], [question] = room.experiences, room.questions
    assert isinstance(document, Document)
    start = int(question.evidence[0].rpartition("@")[2])
    assert document.text[start:].startswith("Oslo")


def test_hotpot_shares_paragraphs_between_questions(tmp_path: Path) -> None:
    contexts = [
        {"title": "Ann", "paragraph_text": "Ann keeps bees.", "is_supporting": True},
        {"title": "Bob", "paragraph_text": "Bob sails.", "is_supporting": False},
    ]
    entry = {"question_text": "Who keeps bees?", "answers_objects": [{"spans": ["Ann"]}], "contexts": contexts}
    path = tmp_path / "hotpot.jsonl"
    path.write_text("\n".join([json.dumps(entry)] * 2) + "\n", encoding="utf-8")
    [room] = hotpot(path).rooms
    assert len(room.experiences) == 2
    assert [q.evidence for q in room.questions] == [("Ann/0",), ("Ann/0",)]
