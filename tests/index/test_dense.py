from __future__ import annotations

import numpy as np
import pytest

from pinyon.index import Dense


def _rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


@pytest.mark.parametrize(("early", "late"), [(0, 1), (1, 0), (7, 5), (63, 700), (700, 63)])
def test_scores_are_inner_products_wherever_the_rows_lie(early: int, late: int) -> None:
    rows = _rows(early + late)
    dense = Dense(8, rows[:early].copy())
    dense.reserve(early + late)
    dense.put(np.arange(early, early + late), rows[early:])
    query = _rows(1, 1)[0]
    np.testing.assert_allclose(dense.scores(query), rows @ query, rtol=1e-4, atol=1e-5)
    some = np.flatnonzero(np.random.default_rng(2).random(early + late) < 0.5)
    np.testing.assert_allclose(dense.scores_at(some, query), rows[some] @ query, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(dense.rows(some), rows[some])
    np.testing.assert_array_equal(np.concatenate(list(dense.parts())), rows)


def test_a_row_that_comes_late_is_put_into_the_base() -> None:
    dense = Dense(8, np.zeros((5, 8), dtype=np.float32))
    rows = _rows(2)
    dense.reserve(6)
    dense.put(np.array([3, 5]), rows)
    np.testing.assert_array_equal(dense.rows(np.array([3, 5])), rows)
    dense.clear(np.array([3]))
    assert not dense.rows(np.array([3])).any()


def test_compaction_keeps_rows_in_order_and_takes_more() -> None:
    rows = _rows(50)
    dense = Dense(8, rows[:30].copy())
    dense.reserve(50)
    dense.put(np.arange(30, 50), rows[30:])
    kept = np.flatnonzero(np.arange(50) % 3)
    dense.compact(kept)
    assert len(dense) == len(kept)
    np.testing.assert_array_equal(dense.rows(np.arange(len(kept))), rows[kept])
    dense.reserve(len(kept) + 2)
    assert not dense.rows(np.array([len(kept), len(kept) + 1])).any()
