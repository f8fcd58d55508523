"""A conversation brings to hand what it is about."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pydoc_data.topics import topics
from statistics import mean
from typing import Any

import numpy as np
import pytest

from pinyon.core.budget import Budget, Footprint
from pinyon.errors import BadInput
from pinyon.index import Analyzer
from pinyon.models import StaticEmbedder
from pinyon.schedule import Found, Item, Listener, Listening, Semantic, Value, WorkingSet
from pinyon.testing import FixedClock, HashEmbedder

BEES = ["The bees live behind the old mill.", "Honey is taken from the bees in July.", "The old mill burned in 1911."]
TAX = [
    "The tax return is due in May.",
    "Ann files the tax papers in the blue folder.",
    "The blue folder lies in the attic.",
]


class Shelf:
    """Memories that are searched by their cosine, and every search that was made."""

    def __init__(self, texts: Sequence[str], embedder: Any, *, pinned: Sequence[int] = ()) -> None:
        self.texts = texts
        self.embedder = embedder
        self.vectors = embedder.embed(texts)
        self.searched: list[str] = []
        self.pinned = pinned
        self.clock = FixedClock()
        self.uses: dict[int, int] = {}

    def search(self, text: str, limit: int) -> list[Found]:
        self.searched.append(text)
        scores = self.vectors @ self.embedder.embed_query(text)
        rows = [int(row) for row in np.argsort(-scores, kind="stable")[:limit] if scores[row] > 0]
        return [Found(self.item(row), self.texts[row], self.vectors[row]) for row in rows]

    def item(self, row: int) -> Item:
        self.uses[row] = self.uses.get(row, 0) + 1
        cost = Footprint(tokens=1)
        return Item(row, cost=cost, uses=self.uses[row], last=self.clock.now(), is_pinned=row in self.pinned)

    def listener(self, working: WorkingSet, **settings: Any) -> Listener:
        terms, embed = Analyzer().terms, self.embedder.embed_query
        return Listener(working, self.search, embed, terms, self.clock, settings=Listening(**settings))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf([*BEES, *TAX], HashEmbedder(256))


def test_what_a_question_needs_is_searched_for_and_kept(shelf: Shelf) -> None:
    working = WorkingSet(Budget(tokens=2), Semantic())
    heard = shelf.listener(working).hear("Where do the bees live?")
    assert heard.has_searched
    assert heard.best == 0.0
    assert heard.places is not None
    assert set(heard.places.admitted) == working.rows
    assert 0 in working.rows


def test_what_is_at_hand_is_not_searched_for_again(shelf: Shelf) -> None:
    listener = shelf.listener(WorkingSet(Budget(tokens=3), Semantic()))
    listener.hear("Where do the bees live?")
    before = len(shelf.searched)
    heard = listener.hear("The bees live behind the old mill, do they?")
    assert not heard.has_searched
    assert heard.best >= 0.45
    assert len(shelf.searched) == before


def test_what_is_not_at_hand_is_searched_for(shelf: Shelf) -> None:
    working = WorkingSet(Budget(tokens=3), Semantic())
    listener = shelf.listener(working)
    listener.hear("Where do the bees live?")
    assert listener.hear("When is the tax return due?").has_searched
    assert 3 in working.rows


def test_after_its_patience_it_searches_in_any_case(shelf: Shelf) -> None:
    listener = shelf.listener(WorkingSet(Budget(tokens=3), Semantic()))
    listener.hear("Where do the bees live?")
    shelf.clock.advance(10)
    assert listener.hear("Where do the bees live?").has_searched


def test_the_keywords_are_the_frequent_and_rare_words_of_the_latest_questions(shelf: Shelf) -> None:
    listener = shelf.listener(WorkingSet(Budget(tokens=3), Semantic()), questions=2, keywords=2)
    listener.hear("attic")
    listener.hear("bees and honey")
    heard = listener.hear("bees in the mill")
    assert heard.keywords[0] == "bee"
    assert "attic" not in heard.keywords
    assert len(heard.keywords) == 2


def test_of_two_words_heard_as_often_the_rarer_comes_first(shelf: Shelf) -> None:
    listener = shelf.listener(WorkingSet(Budget(tokens=3), Semantic()), questions=1, keywords=1)
    listener.hear("bees")
    listener.hear("more bees")
    assert listener.hear("bees and mill").keywords == ("mill",)


def test_near_duplicates_take_one_place() -> None:
    shelf = Shelf(
        ["The bees live behind the mill.", "The bees live behind the mill!", "Bees make honey."], HashEmbedder(256)
    )
    working = WorkingSet(Budget(tokens=3), Semantic())
    shelf.listener(working).hear("Where do the bees live?")
    assert len(working.rows & {0, 1}) == 1
    assert 2 in working.rows


def test_a_pinned_duplicate_stays() -> None:
    same = "The bees live behind the mill."
    shelf = Shelf([same, same], HashEmbedder(256), pinned=[1])
    working = WorkingSet(Budget(tokens=3), Semantic())
    shelf.listener(working).hear("Where do the bees live?")
    assert working.rows == {0, 1}


def test_what_no_late_search_found_leaves(shelf: Shelf) -> None:
    working = WorkingSet(Budget(tokens=9), Value())
    listener = shelf.listener(working, questions=2, need=1.0, candidates=1)
    for question in ("Where do the bees live?", "tax return", "tax return May"):
        listener.hear(question)
    assert working.rows == {3}


def test_a_question_without_words_is_no_error(shelf: Shelf) -> None:
    heard = shelf.listener(WorkingSet(Budget(tokens=3), Semantic())).hear("???")
    assert heard.keywords == ()
    assert shelf.searched == ["???"]


@pytest.mark.parametrize("wrong", [{"questions": 0}, {"candidates": 0}, {"need": 1.5}, {"alike": -0.1}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Listening(**wrong)


def paragraphs(name: str) -> list[str]:
    found = (" ".join(part.split()) for part in re.split(r"\n\s*\n", topics[name]))
    return [text for text in found if 60 <= len(text) <= 600 and text[0].isalpha()]


def test_after_a_change_of_topic_the_memories_at_hand_follow_within_eight_questions() -> None:
    first, second = paragraphs("debugger"), paragraphs("string-methods")
    shelf = Shelf([*first, *second], StaticEmbedder())
    working, chance = WorkingSet(Budget(tokens=20), Value()), random.Random(5)
    listener = shelf.listener(working)
    shares = []
    for texts in (first, second):
        for _ in range(20):
            listener.hear(" ".join(chance.choice(texts).split()[:16]))
            shelf.clock.advance(20)
            shares.append(mean(row >= len(first) for row in working.rows))
    assert max(shares[15:20]) <= 0.2
    assert max(shares[20:28]) >= 0.8
