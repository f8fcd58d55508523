"""Answering by quotation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pinyon import Conversation, Memory, Turn
from pinyon.index import Analyzer
from pinyon.text import Extractive

TALK = (
    ("Ann", "I bought the red bicycle in Lisbon on Friday. It rattles."),
    ("Bob", "How much was it?"),
    ("Ann", "It cost eighty euros. Will you help me paint it?"),
    ("Bob", "My sister Maria keeps two goats behind her house in Porto."),
)


@pytest.fixture
def memory() -> Memory:
    memory = Memory.open(":memory:")
    turns = tuple(Turn(text, speaker=speaker) for speaker, text in TALK)
    memory.add(Conversation(turns, session="s1"), time="2025-03-01")
    return memory


def test_the_answering_sentence_is_quoted_with_its_source(memory: Memory) -> None:
    answer = memory.ask("Where did Ann buy the red bicycle?")
    assert answer.text.splitlines()[0] == "I bought the red bicycle in Lisbon on Friday. [1]"
    assert answer.citations[0].hit.cube.header.provenance.speaker == "Ann"


def test_a_question_is_never_given_as_an_answer(memory: Memory) -> None:
    answer = memory.ask("How much did the bicycle cost Ann?")
    assert not any(citation.quote.endswith("?") for citation in answer.citations)
    assert "eighty euros" in answer.text


def test_without_evidence_it_says_so(memory: Memory) -> None:
    answer = memory.ask("Which volcano erupted in Iceland?")
    assert not answer.is_known
    assert answer.text == "I find nothing about that in this memory."


def test_an_empty_memory_says_so() -> None:
    answer = Memory.open(":memory:").ask("Where is the key?")
    assert not answer.is_known


def test_every_number_in_the_answer_is_a_citation(memory: Memory) -> None:
    answer = memory.ask("What does Maria keep behind her house?")
    assert {citation.number for citation in answer.citations} == set(
        range(1, len({c.number for c in answer.citations}) + 1)
    )
    assert all(f"[{citation.number}]" in answer.text for citation in answer.citations)


def told(*said: tuple[str, str]) -> Memory:
    """Return a memory of days and what was said on them."""
    memory = Memory.open(":memory:")
    for number, (day, text) in enumerate(said):
        memory.add(Conversation((Turn(text, speaker="Ann"),), session=f"s{number}"), time=day)
    return memory


CHANGED = (("2025-03-01", "They offered me three days a week at the city archive."),
           ("2025-09-01", "From this month I am at the archive four days instead of three."),
           ("2025-10-01", "The archive smells of old glue and wet dogs."))  # fmt: skip


@pytest.mark.parametrize("said", [CHANGED, CHANGED[::-1]])
@pytest.mark.parametrize("question", ["How many days a week is Ann at the archive?",
                                      "How many days is Ann at the archive now?"])  # fmt: skip
def test_of_sentences_that_say_different_numbers_the_newest_comes_first(
    said: tuple[tuple[str, str], ...], question: str
) -> None:
    quotes = [citation.quote for citation in told(*said).ask(question).citations]
    assert "four days" in quotes[0]
    assert any("three days" in quote for quote in quotes)  # the older one is shown too


def test_a_question_for_what_is_so_now_is_answered_by_the_newest_first() -> None:
    said = (("2025-03-01", "I live in a flat in Porto."), ("2025-09-01", "I live in a boat in Porto."))
    for order in (said, said[::-1]):
        assert "boat" in told(*order).ask("Where in Porto does Ann live now?").citations[0].quote


def test_a_question_for_what_was_once_so_keeps_the_best_first() -> None:
    memory = told(("2025-03-01", "I adopted the grey cat Minka in Porto."),
                  ("2025-09-01", "I was in Porto again and had fish."))  # fmt: skip
    assert "Minka" in memory.ask("Which cat did Ann adopt in Porto?").citations[0].quote


def test_several_things_are_quoted_from_several_memories() -> None:
    towns = ("Arbroath", "Perth", "Kirkwall", "Oban")
    talk = "Today I taught the pamphlet stitch in {}. It went well. The pamphlet stitch is easy."
    memory = told(*((f"2025-0{number}-01", talk.format(town)) for number, town in enumerate(towns, 1)))
    answer = memory.ask("In which towns has Ann taught the pamphlet stitch?")
    assert all(town in answer.text for town in towns)
    assert len({citation.number for citation in answer.citations}) == len(answer.citations)


def chosen_of(memory: Memory, question: str, score: float) -> list[str]:
    """Return what is quoted when every hit has one score and all texts are alike in meaning."""
    found = memory.search(question)
    chosen = Extractive(evidence=0).answer(
        question, [replace(hit, score=score) for hit in found.hits], terms=Analyzer().terms,
        likeness=lambda _, texts: [0.0] * len(texts), found=found.terms, size=found.considered,
    )  # fmt: skip
    return [one.text for one in chosen]


def test_an_echo_of_the_question_is_no_better_than_an_answer() -> None:
    memory = told(("2025-03-01", "It works."), ("2025-04-01", "I can only work with the cricket on."))
    assert "cricket" in chosen_of(memory, "What does Ann have on while she works?", 1.0)[0]


@pytest.mark.parametrize("score", [0.0, -1.0])
def test_scores_that_say_nothing_leave_the_rank(score: float) -> None:
    memory = told(("2025-03-01", "The red key hangs in the shed."), ("2025-03-02", "The red key hangs in the hall."))
    question = "Where does the red key hang?"
    assert chosen_of(memory, question, score)[0] == memory.search(question).hits[0].cube.text
