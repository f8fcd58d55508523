"""What is worked out once for a text is the same as worked out each time."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.testing import FixedClock, HashEmbedder, WordCounter
from pinyon.text._hema_memo import Memo, key_of
from pinyon.text._hema_prompt import lay_out, words_of
from pinyon.text.hema import Hema, HemaConfig, VectorMemory
from pinyon.text.summarize import ExtractiveSummarizer

WORDS = "Ann keeps bees behind the old mill, and Tom mends his boat; the code is 4471. Is it? Halcyon!".split()


class Asked:
    """Lengths of texts, and which were asked for."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[int]:
        self.texts += texts
        return [len(text) for text in texts]


@given(st.lists(st.lists(st.text(st.characters(codec=None), max_size=3), max_size=9), max_size=9), st.integers(2, 5))
@settings(max_examples=80, deadline=None)
def test_a_memo_gives_what_its_function_gives_however_little_it_keeps(calls: list[list[str]], most: int) -> None:
    memo = Memo(Asked(), most=most)
    for texts in calls:
        assert memo(texts) == [len(text) for text in texts]


def test_a_memo_works_on_each_text_once() -> None:
    asked = Asked()
    memo = Memo(asked)
    assert memo(["bees", "boat", "bees"]) == [4, 4, 4]
    assert memo(["boat", "mill", "boat"]) == [4, 4, 4]
    assert asked.texts == ["bees", "boat", "mill"]


def test_a_full_memo_lets_go_of_what_came_first() -> None:
    asked = Asked()
    memo = Memo(asked, most=4)
    for text in "abcde":
        memo([text])
    asked.texts.clear()
    memo(["e", "d", "a"])
    assert asked.texts == ["a"]


def test_no_word_stays_in_a_memo() -> None:
    memo = Memo(words_of)
    memo(["the boiler code is 4471"])
    assert not [each for pair in memo._known.items() for each in pair if not isinstance(each, bytes)]


@given(st.text(max_size=12), st.text(max_size=12))
@settings(max_examples=100, deadline=None)
def test_only_texts_of_the_same_words_have_the_same_hash_of_words(one: str, other: str) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)
    assert words_of(["The bees, sleep!"]) == words_of(["the BEES - sleep"])
    assert words_of(["…"]) != words_of(["!"])


def test_prompts_are_those_of_a_counter_without_a_memo() -> None:
    draw = random.Random(8)
    memory = VectorMemory(HashEmbedder(), WordCounter())
    chat = Hema(memory, config=HemaConfig(budget_tokens=150, summary_period=9), clock=FixedClock())
    for _ in range(60):
        chat.add(" ".join(draw.choices(WORDS, k=draw.randint(2, 9))))
        question = " ".join(draw.choices(WORDS, k=4))
        prompt = chat.recall(question)
        tail = {chunk.id for chunk in chat.tail}
        found = memory.nearest(question, 20 + len(tail))
        near = sorted(found, key=lambda each: each.chunk.id in tail)
        shown = lay_out(prompt.layout, near, 150, WordCounter().count_many).shown
        assert prompt.tokens == len(prompt.text.split()) <= 150
        assert prompt.shown == shown


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_a_summarizer_that_was_used_gives_what_a_fresh_one_gives(turns: list[list[str]]) -> None:
    count = WordCounter().count_many
    used = ExtractiveSummarizer(Memo(count), most_tokens=12)
    summary = ""
    for turn in turns:
        texts = [text for text in (summary, " ".join(turn)) if text]
        fresh = ExtractiveSummarizer(count, most_tokens=12).summarize(texts, "rewrite", len)
        assert used.summarize(texts, "rewrite", len) == fresh
        summary = fresh
