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
        ("How many dogs has Bo?", {"wants_number", "wants_several"}),
        ("How many times did Ann sail?", {"wants_number", "wants_several", "wants_times"}),
        ("How much did Ann eat?", {"wants_number"}),
        ("How many weeks did Ann stay?", {"wants_number"}),
        ("What kinds of books does Ann read?", set()),
        ("Where does Ann live now?", {"wants_recent"}),
        ("What did Ann recently paint?", {"wants_recent"}),
        ("What did Ann recently paint in May 2022?", set()),
        ("Would Ann enjoy a concert?", {"wants_judgement"}),
        ("What might Bo study?", {"wants_judgement"}),
        ("What did Ann paint?", set()),
    ],
)
def test_a_question_says_what_it_wants(question: str, wanted: set[str]) -> None:
    cues = read_question(question, NOW)
    flags = ("wants_time", "wants_number", "wants_several", "wants_times", "wants_recent", "wants_judgement")
    assert {name for name in flags if getattr(cues, name)} == wanted


@pytest.mark.parametrize(
    ("question", "order"),
    [
        ("What was the first book that Ann read?", "first"),
        ("What is the latest news of Bo?", "latest"),
        ("Which is the most recent of Bo's songs?", "latest"),
        ("Where did Ann last go swimming?", "latest"),
        ("What is the last book she read?", "latest"),
        ("What were the last two books she read?", "latest"),
        ("When was the last time Ann swam?", "latest"),
        ("Which dentist did Ann go to last?", "latest"),
        ("When did Ann begin to paint?", "first"),
        ("What is the latest of all, not the first?", "latest"),
        ("Where does Ann currently live?", None),
        ("What did Ann do last week?", None),
        ("What did Ann do in the last two weeks?", None),
        ("What did Ann read last summer?", None),
        ("What did Ann do last May?", None),
        ("How long did the party last?", None),
        ("Which of them will last?", None),
        ("Did the show last into the night?", None),
        ("What did Ann do at last?", None),
        ("What is Ann's last name?", None),
        ("Who won first place?", None),
        ("Where did Bo go on the first weekend of May?", None),
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
