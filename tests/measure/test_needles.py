from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.errors import BadInput
from pinyon.measure import BM25, ItemLog, MeasureBudget, Needles, Random, haystack

FILLER = [f"Sentence number {number} says nothing." for number in range(40)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 5))
def test_needles_lie_where_they_should(size: int, depths: list[float], seed: int) -> None:
    stack = haystack(size, depths, seed=seed, filler=lambda: FILLER)
    assert len(stack.passages) == size + len(depths)
    place = {passage.id: number for number, passage in enumerate(stack.passages)}
    assert len(place) == len(stack.passages)
    for needle in stack.needles:
        before = sum(place[passage.id] < place[needle.id] for passage in stack.passages if "filler" in passage.id)
        assert before == round(needle.depth * size)
        assert stack.passages[place[needle.id]].text == needle.told
        assert needle.answer in needle.told
        assert needle.answer not in needle.question


def test_a_seed_gives_one_haystack() -> None:
    assert haystack(10, (0.0, 1.0), seed=1) == haystack(10, (0.0, 1.0), seed=1)
    assert haystack(10, (0.0, 1.0), seed=1) != haystack(10, (0.0, 1.0), seed=2)


@pytest.mark.parametrize(("size", "depths"), [(0, (0.5,)), (5, ()), (5, (1.5,)), (5, (0.5,) * 61)])
def test_what_cannot_be_hidden_is_refused(size: int, depths: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match="not possible"):
        haystack(size, depths)


def test_words_find_needles_and_chance_does_not() -> None:
    measure = Needles(sizes=(60,), depths=(0.0, 0.3, 0.6, 1.0))
    words = measure.run(BM25(), MeasureBudget(), ItemLog())
    chance = measure.run(Random(), MeasureBudget(), ItemLog())
    assert words.value("recall@5") > 0.7 > chance.value("recall@5")
    assert words.value("in 2,000 tokens") >= words.value("recall@5")
    assert (words.n, words.cubes) == (4, 64)
    assert {m.group for m in words.metrics} == {"overall", "60 passages", "first third", "middle third", "last third"}


def test_a_second_run_asks_only_what_is_left() -> None:
    measure, log = Needles(sizes=(20,), depths=(0.0, 1.0)), ItemLog()
    first = measure.run(BM25(), MeasureBudget(), log)
    assert measure.run(Random(), MeasureBudget(), log).metrics == first.metrics
