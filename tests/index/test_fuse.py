from __future__ import annotations

import numpy as np
import pytest

from pinyon.index import FuseConfig, Scale, best_of, fuse


@pytest.mark.parametrize("size", [0, 1, 7, 63, 5000])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_best_are_those_of_a_full_sort(size: int, k: int) -> None:
    draw = np.random.default_rng(size)
    scores = np.round(draw.standard_normal(size), 2).astype(np.float32)  # with equals
    order = np.argsort(-scores, kind="stable")
    assert best_of(scores, k).tolist() == [i for i in order.tolist() if scores[i] > 0][:k]


def test_few_positive_scores_among_many_are_all_found() -> None:
    scores = np.zeros(5000, dtype=np.float32)
    scores[[4000, 17]] = (0.5, 0.25)
    assert best_of(scores, 10).tolist() == [4000, 17]


def test_the_mean_becomes_nought_and_the_best_one() -> None:
    scores = np.array([0.1, 0.2, 0.6], dtype=np.float32)
    np.testing.assert_allclose(Scale.of(scores).apply(scores), [0, 0, 1], atol=1e-6)
    assert not Scale.of(scores[:0]).apply(scores).any()
    assert not Scale.of(scores[:1]).apply(scores[:1]).any()


def test_legs_are_summed_with_their_weights_and_a_name_alone_counts_nothing() -> None:
    dense = np.array([0.0, 0.0, 0.4, 0.0], dtype=np.float32)
    named = np.array([True, False, True, True])
    lexical = np.array([2.0, 4.0], dtype=np.float32)
    total = fuse(np.array([0, 1]), lexical, dense, named, Scale.of(dense), FuseConfig(dense=0.3, speaker=0.2))
    np.testing.assert_allclose(total, [0.5 + 0.2, 1.0, 0.3 + 0.2, 0.0], atol=1e-6)
