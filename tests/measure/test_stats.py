from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.errors import BadInput
from pinyon.measure.stats import bootstrap, difference, median, percentile, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (7, 63), (63, 63), (0, 1000)])
def test_wilson_ends_solve_its_equation(successes: int, n: int) -> None:
    found, z = wilson(successes, n), 1.959964
    for end in (found.low, found.high):
        if 1e-12 < end < 1 - 1e-12:
            assert math.isclose(abs(found.value - end), z * math.sqrt(end * (1 - end) / n), rel_tol=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=63), st.integers(0, 5))
def test_the_interval_holds_the_mean(values: list[float], seed: int) -> None:
    found = bootstrap(values, seed=seed, draws=200)
    assert found.n == len(values)
    assert math.isclose(found.value, sum(values) / len(values), abs_tol=1e-9)
    assert found.low <= found.high


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [0.0, 0.25, 0.5, 1.0] * 20
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    assert bootstrap(values, seed=3) != bootstrap(values, seed=4)


def test_bootstrap_is_as_wide_as_the_normal_interval_of_many_values() -> None:
    values = [i / 999 for i in range(1000)]
    found = bootstrap(values)
    half = 1.96 * math.sqrt(1 / 12 / 1000)
    assert math.isclose(found.high - found.low, 2 * half, rel_tol=0.1)


def test_values_of_zero_and_one_get_the_wilson_interval() -> None:
    assert bootstrap([1.0] * 8 + [0.0] * 2) == wilson(8, 10)


def test_a_paired_difference_is_sure_where_two_intervals_are_not() -> None:
    theirs = [i % 2 for i in range(100)]
    ours = [min(1.0, value + 0.05) for value in theirs]
    assert difference(ours, theirs).low > 0
    assert bootstrap(ours).low < bootstrap(theirs).high


def test_nothing_measured_says_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    assert bootstrap([]).n == 0
    assert median([]) == percentile([], 95) == 0


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(BadInput, match="3 successes of 2"):
        wilson(3, 2)
    with pytest.raises(BadInput, match="paired"):
        difference([1.0], [])


def test_the_middle_and_the_95th_of_a_hundred() -> None:
    assert median(range(101)) == 50
    assert percentile(range(101), 95) == 95
