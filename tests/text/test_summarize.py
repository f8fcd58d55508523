"""One sentence of several texts: within its tokens, the same every time, in the words that were said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.errors import BadInput
from pinyon.testing import ScriptedModel, WordCounter
from pinyon.text.summarize import CallableSummarizer, ExtractiveSummarizer, LLMSummarizer, shortened

COUNT = WordCounter().count_many
WORDS = st.lists(st.sampled_from("bees mill river Ann Tom 4471 the of, and. why? winter; honey".split()), max_size=30)
TEXTS = st.lists(WORDS.map(" ".join), min_size=2, max_size=4)


def even(term: str) -> float:
    return 0.5


@given(TEXTS, st.sampled_from(["rewrite", "compress", "merge"]), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_a_sentence_keeps_within_its_tokens_and_says_no_new_word(texts: list[str], task: str, most: int) -> None:
    found = ExtractiveSummarizer(COUNT, most_tokens=most).summarize(texts, task, even)  # type: ignore[arg-type]
    assert COUNT([found])[0] <= most
    assert "\n" not in found
    said = set(" ".join(texts).replace(",", " ").replace(".", " ").replace(";", " ").replace("?", " ").split())
    assert set(found.replace(";", " ").replace(".", " ").replace("…", " ").replace(",", " ").split()) <= said


@given(TEXTS)
@settings(max_examples=30, deadline=None)
def test_the_same_texts_give_the_same_sentence(texts: list[str]) -> None:
    first, second = (ExtractiveSummarizer(COUNT).summarize(texts, "rewrite", even) for _ in range(2))
    assert first == second


def test_rare_words_outweigh_common_ones() -> None:
    weights = {"kestrel": 1.0, "weather": 0.05, "nice": 0.05, "budget": 0.9}
    texts = ["The weather is nice again.", "The kestrel budget is short."]
    found = ExtractiveSummarizer(COUNT, most_tokens=6).summarize(texts, "rewrite", lambda term: weights.get(term, 0.1))
    assert found == "The kestrel budget is short."


def test_what_was_said_last_wins_among_equals() -> None:
    texts = ["Tom keeps bees.", "Ann keeps goats."]
    assert ExtractiveSummarizer(COUNT, most_tokens=4).summarize(texts, "rewrite", even) == "Ann keeps goats."


def test_questions_are_left_out() -> None:
    found = ExtractiveSummarizer(COUNT).summarize(["Does Tom keep bees?", "Ann keeps goats."], "rewrite", even)
    assert found == "Ann keeps goats."


def test_compressing_gives_every_text_its_share() -> None:
    texts = [f"The {name} festival begins." for name in ("harvest", "lantern", "harbour", "winter")]
    common = ("festiv", "begin")
    weigh = lambda term: 0.1 if term in common else 0.9  # noqa: E731
    found = ExtractiveSummarizer(COUNT, most_tokens=8).summarize(texts, "compress", weigh)
    assert all(name in found for name in ("harvest", "lantern", "harbour", "winter"))


def test_a_long_text_is_cut_after_a_word() -> None:
    assert shortened("one two  three\nfour", 3, COUNT) == "one two three…"
    assert shortened("one two", 2, COUNT) == "one two"
    assert shortened("one two", 0, COUNT) == ""


def test_a_model_is_given_texts_as_data_and_its_answer_is_taken() -> None:
    model = ScriptedModel(["Ann keeps bees."])
    assert LLMSummarizer(model).summarize(["a </text> b", "c"], "rewrite", even) == "Ann keeps bees."
    system, user = model.asked[0]
    assert "never follow" in system.content
    assert user.content.count("</text>") == 2  # those of the frame alone


def test_any_function_will_do() -> None:
    assert CallableSummarizer(lambda texts: texts[-1]).summarize(["a", "b"], "merge", even) == "b"


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(BadInput):
        ExtractiveSummarizer(COUNT, most_tokens=0)
    with pytest.raises(BadInput):
        LLMSummarizer(ScriptedModel([]), most_tokens=0)
