from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pinyon.core.where import View
from pinyon.index import Lexical, lexical


def _postings(index: Lexical, terms: list[str]) -> dict[str, list[tuple[int, int]]]:
    return {t: list(zip(*(part.tolist() for part in index.postings(t)), strict=True)) for t in terms}


def _filled(count: int, seed: int = 0) -> tuple[list[list[str]], dict[str, list[tuple[int, int]]]]:
    draw = np.random.default_rng(seed)
    said = [[f"w{w}" for w in draw.zipf(1.5, draw.integers(0, 12)) if w < 50] for _ in range(count)]
    wanted = {f"w{w}": [(s, t.count(f"w{w}")) for s, t in enumerate(said) if f"w{w}" in t] for w in range(50)}
    return said, wanted


@pytest.mark.parametrize("batch", [1, 7, 63])
def test_postings_are_the_same_in_tail_and_base(batch: int) -> None:
    said, wanted = _filled(200)
    index = Lexical()
    alive = np.ones(200, dtype=np.bool_)
    for start in range(0, 200, batch):
        index.add_many(start, said[start : start + batch])
        if start % 3 == 0:
            index.merge(alive)
    assert _postings(index, list(wanted)) == wanted
    index.merge(alive)
    assert _postings(index, list(wanted)) == wanted
    assert _postings(Lexical.restored(index.arrays()), list(wanted)) == wanted


def test_merging_drops_the_postings_of_dead_slots() -> None:
    said, wanted = _filled(100)
    index = Lexical()
    index.add_many(0, said[:60])
    index.merge(np.ones(60, dtype=np.bool_))
    index.add_many(60, said[60:])
    alive = np.arange(100) % 3 != 0
    index.merge(alive)
    kept = {t: [p for p in found if alive[p[0]]] for t, found in wanted.items()}
    assert _postings(index, list(wanted)) == kept
    assert len(index.arrays()["keys"]) == sum(1 for found in kept.values() if found)


def test_merging_nothing_is_no_error() -> None:
    index = Lexical()
    index.merge(np.zeros(0, dtype=np.bool_))
    index.add_many(0, [[], []])
    index.merge(np.zeros(2, dtype=np.bool_))
    assert _postings(index, ["a"]) == {"a": []}


def test_a_term_that_is_nearly_everywhere_is_scored_alike_in_passes_and_slot_by_slot(
    world: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(1)
    here.add(400)
    here.add(100, user="ann")
    index = here.index()
    region = index._regions.of(View())
    terms = ["borast", "kadim", "2023", "ann"]
    monkeypatch.setattr(lexical, "_DENSE", 0)
    sparse = index._lexical.search(terms, index._table, region)
    monkeypatch.setattr(lexical, "_DENSE", 10**6)
    passes = index._lexical.search(terms, index._table, region)
    np.testing.assert_array_equal(sparse.slots, passes.slots)
    for name, scores in sparse.legs.items():
        np.testing.assert_allclose(scores, passes.legs[name], rtol=1e-5)


def test_a_question_leaves_nothing_behind_for_the_next(world: Callable) -> None:
    here = world(2)
    here.add(300)
    index = here.index()
    region = index._regions.of(View())
    first = index._lexical.search(["borast"], index._table, region)
    index._lexical.search(["kadim", "lilox"], index._table, region)
    again = index._lexical.search(["borast"], index._table, region)
    np.testing.assert_array_equal(first.slots, again.slots)
    np.testing.assert_array_equal(first.total, again.total)
    assert again.spread(300).sum() == pytest.approx(again.total.sum())


def test_a_term_said_twice_counts_twice(world: Callable) -> None:
    here = world(3)
    here.add(100)
    index = here.index()
    region = index._regions.of(View())
    once = index._lexical.search(["borast"], index._table, region)
    twice = index._lexical.search(["borast", "borast"], index._table, region)
    np.testing.assert_allclose(twice.total, 2 * once.total, rtol=1e-5)


def test_windows_of_the_slots_that_promise_most_are_the_same_and_the_best_are_among_them(
    world: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(4)
    here.add(3000)
    here.disturb(0.05)
    index = here.index()
    region = index._regions.of(View())
    terms = ["borast", "kadim", "lilox", "2023"]
    whole = index._lexical.search(terms, index._table, region)
    monkeypatch.setattr(lexical, "_EXHAUSTIVE_SLOTS", 0)
    monkeypatch.setattr(lexical, "_POOL", 300)
    pool = index._lexical.search(terms, index._table, region)
    assert len(pool.slots) == 300
    at = np.searchsorted(whole.slots, pool.slots)
    np.testing.assert_array_equal(whole.slots[at], pool.slots)
    np.testing.assert_allclose(whole.total[at], pool.total, rtol=1e-5)
    best = whole.slots[np.argsort(-whole.total, kind="stable")[:20]]
    assert set(best.tolist()) <= set(pool.slots.tolist())
