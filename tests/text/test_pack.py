"""Laying out: a budget is never exceeded, repetitions cost nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from packing import WordShelf, cube, hits

from pinyon.core.budget import Budget
from pinyon.text import Pack, SizeRouter


@given(st.lists(st.text(alphabet="abc ", min_size=1, max_size=120).filter(str.strip), max_size=20), st.integers(1, 120))
def test_the_token_budget_is_never_exceeded(texts: list[str], tokens: int) -> None:
    context = Pack().compose(hits(texts), WordShelf(), Budget(tokens=tokens))
    assert len(context.text.split()) <= tokens
    assert context.footprint.tokens == len(context.text.split())
    assert len(context.hits) + len(context.left_out) == len(texts)


@given(st.lists(st.text(alphabet="äb ", min_size=1, max_size=60).filter(str.strip), max_size=10), st.integers(0, 300))
def test_the_byte_budget_is_never_exceeded(texts: list[str], size: int) -> None:
    context = Pack().compose(hits(texts), WordShelf(), Budget(bytes=size))
    assert len(context.text.encode()) <= size


def test_passages_stand_in_the_order_in_which_they_happened() -> None:
    backwards = [replace(hit, score=-hit.score) for hit in hits(["first words", "second words", "third words"])]
    context = Pack().compose(backwards, WordShelf(), Budget(tokens=100))
    assert [line[:3] for line in context.text.splitlines()] == ["[1]", "[2]", "[3]"]
    assert [hit.cube.text for hit in context.hits] == ["first words", "second words", "third words"]


def test_a_passage_shows_day_session_and_speaker() -> None:
    context = Pack().compose(hits(["bees sleep"]), WordShelf(), Budget(tokens=100))
    assert context.text == "[1] [1 March 2025, s] Ann: bees sleep"


def test_a_repetition_is_left_out_and_named() -> None:
    text = "the quick brown fox jumps over the lazy dog tonight"
    context = Pack().compose(hits([text, text.upper()]), WordShelf(), Budget(tokens=100))
    assert len(context.hits) == 1
    assert len(context.left_out) == 1


def test_the_best_hit_is_cut_when_nothing_fits_whole() -> None:
    context = Pack().compose(hits(["word " * 50]), WordShelf(), Budget(tokens=12))
    assert context.text.endswith("…")
    assert 6 < context.footprint.tokens <= 12


def test_nothing_gives_an_empty_context() -> None:
    assert Pack().compose([], WordShelf(), Budget(tokens=10)).text == ""


def test_a_small_memory_is_read_whole_without_a_search() -> None:
    shelf = WordShelf([cube(n, f"note {n}") for n in range(5)])
    found = SizeRouter().retrieve("anything", shelf, Budget(tokens=500))
    assert len(found.hits) == 5
    assert shelf.searched == []
    assert "nothing had to be searched" in found.notes[0]


def test_a_large_memory_is_searched() -> None:
    shelf = WordShelf([cube(n, "many words in this note " * 3) for n in range(50)])
    SizeRouter().retrieve("anything", shelf, Budget(tokens=200))
    assert shelf.searched == [10]
