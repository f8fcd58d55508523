from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from state_worlds import tiny, tokenizer  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state.needle_prompts import (  # noqa: E402
    CHECK_FACTS,
    FIND_FACTS,
    HELD_FACTS,
    NeedleFact,
    find_span,
    hide_facts,
    needle_prompt,
    reference_sentences,
    word_recall,
)

FACT = NeedleFact("The key lies under the red pot.", "Where does the key lie?", "under the red pot")
OTHER = NeedleFact("The cat eats cold soup.", "What does the cat eat?", "cold soup")
FILLER = ["Nothing is said here.", "It rains on the hills and on the sea.", "Trees stand still."]
BACKBONE = tiny(layers=1, words=tokenizer())


class Words:
    """A tokenizer whose tokens are words, those behind a space others than those at the beginning."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def encode(self, text: str) -> list[int]:
        parts = re.findall(r" ?[^\s]+|\s", text)
        self.known += [part for part in parts if part not in self.known]
        return [self.known.index(part) for part in parts]

    def decode(self, ids) -> str:
        return "".join(self.known[one] for one in ids)


@settings(max_examples=30)
@given(st.integers(260, 900), st.floats(0, 1), st.integers(0, 4))
def test_a_prompt_has_its_length_and_the_answer_where_it_says(length: int, depth: float, seed: int) -> None:
    prompt = needle_prompt(BACKBONE, FACT, length=length, depth=depth, seed=seed, sentences=lambda: FILLER)
    assert len(prompt.ids) == length
    start, end = prompt.span
    assert BACKBONE.decode(prompt.ids[start:end]).strip() == FACT.answer
    first, last = prompt.hidden[0].sentence
    assert BACKBONE.decode(prompt.ids[first:last]).strip() == FACT.told
    assert last <= len(prompt.context)
    assert FACT.question in BACKBONE.decode(prompt.question)
    before = BACKBONE.decode(prompt.ids[:first])
    assert before.endswith((".", "<book>")) or first == len(prompt.context) - (last - first)


def test_depth_0_is_the_beginning_and_1_the_end() -> None:
    first, last = (
        needle_prompt(BACKBONE, FACT, length=600, depth=depth, sentences=lambda: FILLER) for depth in (0.0, 1.0)
    )
    assert BACKBONE.decode(first.context).split("<book>")[1].strip().startswith(FACT.told)
    assert BACKBONE.decode(last.context).endswith(FACT.told)


def test_the_question_is_never_taken_for_the_needle() -> None:
    telling = NeedleFact("Red wool is what they use.", "What do they use, is it wool that is red?", "Red wool")
    prompt = needle_prompt(BACKBONE, telling, length=500, depth=0.5, sentences=lambda: FILLER)
    assert prompt.span[1] <= len(prompt.context)


def test_several_facts_lie_in_their_order_and_another_may_be_asked_for() -> None:
    prompt = hide_facts(BACKBONE, [FACT, OTHER], [0.2, 0.7], length=500, asked=OTHER, sentences=lambda: FILLER)
    assert [hidden.fact for hidden in prompt.hidden] == [FACT, OTHER]
    assert prompt.span == prompt.hidden[1].answer
    assert prompt.hidden[0].sentence[1] < prompt.hidden[1].sentence[0]
    missing = hide_facts(BACKBONE, [FACT], [0.5], length=500, asked=OTHER, sentences=lambda: FILLER)
    with pytest.raises(BadInput, match="not in the text"):
        _ = missing.span


def test_words_are_found_behind_a_space_at_the_beginning_and_across_tokens() -> None:
    words = Words()
    assert find_span(words, words.encode(" They use red wool"), "red wool") == (2, 4)
    assert find_span(words, words.encode("red wool they use"), "red wool") == (0, 2)
    assert find_span(words, words.encode(" They use red wool."), "red wool") == (2, 4)  # "wool." is one token
    with pytest.raises(BadInput, match="does not stand"):
        find_span(words, words.encode(" They use silk"), "red wool")


@pytest.mark.parametrize(("length", "depths"), [(60, [0.5]), (500, [1.5]), (500, [-0.1]), (500, [0.2, 0.3]), (500, [])])
def test_what_cannot_be_hidden_is_refused(length: int, depths: list[float]) -> None:
    with pytest.raises(BadInput):
        hide_facts(BACKBONE, [FACT], depths, length=length, asked=FACT, sentences=lambda: FILLER)
    with pytest.raises(BadInput, match="needs sentences"):
        needle_prompt(BACKBONE, FACT, length=500, depth=0.5, sentences=list)


def test_facts_for_finding_and_for_checking_share_nothing() -> None:
    assert len(FIND_FACTS) >= 20
    assert len(CHECK_FACTS) >= 20
    for name in ("told", "question", "answer"):
        every = [getattr(fact, name) for fact in (*FIND_FACTS, *CHECK_FACTS, *HELD_FACTS)]
        assert len(set(every)) == len(every)


@pytest.mark.parametrize(("told", "question", "answer"), [("A b.", "C?", "d"), ("A b.", "Is it b?", "b")])
def test_a_fact_that_does_not_hold_its_answer_or_asks_it_is_refused(told: str, question: str, answer: str) -> None:
    with pytest.raises(BadInput):
        NeedleFact(told, question, answer)


def test_recall_counts_each_word_as_often_as_it_is_wanted() -> None:
    assert word_recall("a red red pot", "Red, it was a POT!") == 0.75
    assert word_recall("pot", "pots") == 0.0
    assert word_recall("", "anything") == 0.0


def test_every_python_carries_a_text() -> None:
    found = reference_sentences()
    assert len(found) > 500
    assert all(one.endswith(".") for one in found)
