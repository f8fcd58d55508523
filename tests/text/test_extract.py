"""Answering by quotation."""

from __future__ import annotations

import pytest

from pinyon import Conversation, Memory, Turn

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
