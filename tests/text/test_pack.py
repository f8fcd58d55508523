"""Laying out: a budget is never exceeded, repetitions cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.budget import Budget
from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.text import Hit, Hits, Pack, SizeRouter

DAY = datetime(2025, 3, 1, tzinfo=UTC)


class WordShelf:
    """Counts words as tokens and holds a list of cubes."""

    def __init__(self, cubes: Sequence[Cube] = ()) -> None:
        self.cubes = list(cubes)
        self.searched: list[int] = []

    def tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def everything(self, limit: int) -> Sequence[Cube]:
        return self.cubes[:limit]

    def search(self, question: str, k: int) -> Hits:
        self.searched.append(k)
        return Hits(tuple(Hit(cube, 1.0) for cube in self.cubes[:k]), len(self.cubes), {}, {})


def cube(number: int, text: str) -> Cube:
    header = Header(
        Provenance(unit="turn", thread="s", position=number, speaker="Ann"),
        life=Life(valid_from=DAY + timedelta(hours=number)),
    )
    return Cube(f"{number:032x}", number, 1, "main", Scope(session="s"), Text(text), header, DAY, DAY, "")


def hits(texts: Sequence[str]) -> list[Hit]:
    return [Hit(cube(n, text), float(len(texts) - n)) for n, text in enumerate(texts)]


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
