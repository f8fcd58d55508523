from __future__ import annotations

from datetime import datetime

import pytest

from pinyon.text.questions import QuestionCues, read_question

NOW = datetime(2023, 5, 10)


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("When did Ann go to Rome?", {"wants_time"}),
        ("What year did she move?", {"wants_time"}),
        ("How many dogs has Bo?", {"wants_number"}),
        ("How many times did Ann sail?", {"wants_number", "wants_several"}),
        ("What kinds of books does Ann read?", {"wants_several"}),
        ("Would Ann enjoy a concert?", {"wants_judgement"}),
        ("What might Bo study?", {"wants_judgement"}),
        ("What did Ann paint?", set()),
    ],
)
def test_a_question_says_what_it_wants(question: str, wanted: set[str]) -> None:
    cues = read_question(question, NOW)
    flags = ("wants_time", "wants_number", "wants_several", "wants_judgement")
    assert {name for name in flags if getattr(cues, name)} == wanted


@pytest.mark.parametrize(
    ("question", "order"),
    [
        ("What was the first book that Ann read?", "first"),
        ("What is the latest news of Bo?", "latest"),
        ("Where does Ann currently live?", "latest"),
        ("What did Ann paint?", None),
    ],
)
def test_the_first_and_the_latest_are_told_apart(question: str, order: str | None) -> None:
    assert read_question(question, NOW).order == order


def test_times_and_events_are_read() -> None:
    cues = read_question("What did Ann do last week, two days after her birthday?", NOW)
    assert cues.moments[0].start == datetime(2023, 5, 1)
    assert cues.anchored[0].event == "her birthday"


def test_other_languages_have_no_cues_but_times() -> None:
    assert read_question("Quoi", NOW, language="english") == QuestionCues()
