"""Reading twice: both readings hold the same passages, and the budget counts both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing import WordShelf, hits

from pinyon import Memory
from pinyon.core.budget import Budget
from pinyon.errors import BadInput
from pinyon.text import Pack, ReadTwice
from pinyon.text.read_twice import as_document, once, twice

words = st.lists(st.text(alphabet="abc ", min_size=1, max_size=80).filter(str.strip), max_size=12)


def test_a_memory_shows_what_was_found_twice_with_the_question_before() -> None:
    with Memory.open(":memory:") as memory:
        memory.add("Ann keeps bees.")
        memory.add("Bob keeps goats.")
        asked = "Who keeps bees?"
        plain = memory.recall(asked, budget_tokens=200)
        both = memory.recall(asked, budget_tokens=200, composer=ReadTwice(asked))
    assert both.text == f"{asked}\n{plain.text}\n\n{plain.text}"
    assert both.hits == plain.hits


@given(words, st.integers(1, 150), st.booleans())
def test_the_budget_counts_both_readings(texts: list[str], tokens: int, always: bool) -> None:
    shelf, asked = WordShelf(), "what is a b c"
    context = ReadTwice(asked, always=always).compose(hits(texts), shelf, Budget(tokens=tokens))
    assert len(context.text.split()) <= tokens
    assert context.footprint.tokens == len(context.text.split())
    if context.text.startswith(asked):
        first, _, second = context.text.removeprefix(f"{asked}\n").partition("\n\n")
        assert first == second
        assert all(hit.cube.text.strip() in first for hit in context.hits) or "…" in first


@given(words, st.integers(1, 150))
def test_what_does_not_fit_twice_is_shown_once_unless_always(texts: list[str], tokens: int) -> None:
    budget, asked = Budget(tokens=tokens), "what is a b c"
    plain = Pack().compose(hits(texts), WordShelf(), budget)
    given_ = ReadTwice(asked).compose(hits(texts), WordShelf(), budget)
    fits = plain.hits and 2 * len(plain.text.split()) + 5 <= tokens
    assert given_.text == (f"{asked}\n{plain.text}\n\n{plain.text}" if fits else plain.text)
    whole = ReadTwice(asked, always=True).compose(hits(texts), WordShelf(), budget)
    assert len(whole.hits) <= len(plain.hits)
    assert bool(whole.hits) == bool(plain.hits)


def test_always_shows_less_twice_rather_than_more_once() -> None:
    texts = ["one two three four", "five six seven eight", "nine ten eleven twelve"]
    context = ReadTwice("which number", always=True).compose(hits(texts), WordShelf(), Budget(tokens=40))
    assert context.text.count("one two three four") == 2
    assert len(context.hits) < 3


def test_the_released_templates() -> None:
    assert once("\nWeight: 3 kg.\n", "Colour:") == "Weight: 3 kg. Colour:"
    assert twice("The sky. Where is it?", "Where is it?", "Where is it?") == (
        "Where is it? The sky.\nThe sky. Where is it?"
    )
    assert as_document("") == "."


def test_an_empty_question_cannot_be_read_for() -> None:
    with pytest.raises(BadInput, match="question is empty"):
        ReadTwice("  ")
