"""Choosing under a budget."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.budget import Budget, Footprint
from pinyon.core.select import select, share_out, top_entries
from pinyon.errors import BadInput

bounds = st.none() | st.integers(0, 60)
things = st.lists(
    st.tuples(
        st.floats(0, 9),
        st.builds(Footprint, tokens=st.integers(0, 20), bytes=st.integers(0, 20), ms=st.integers(0, 20)),
    ),
    max_size=12,
)


def chosen(made, budget, most=None):
    return select(made, budget, worth=lambda thing: thing[0], cost=lambda thing: thing[1], most=most)


@given(things, st.builds(Budget, tokens=bounds, bytes=bounds, ms=bounds), st.none() | st.integers(0, 5))
def test_a_budget_is_never_exceeded(made, budget: Budget, most: int | None) -> None:
    selection = chosen(made, budget, most)
    total = sum((cost for _, cost in selection.kept), Footprint())
    assert total == selection.footprint
    assert budget.allows(total)
    assert most is None or len(selection.kept) <= most


@given(things, st.builds(Budget, tokens=bounds))
def test_everything_is_either_kept_or_dropped(made, budget: Budget) -> None:
    selection = chosen(made, budget)
    assert sorted(selection.kept + selection.dropped, key=repr) == sorted(made, key=repr)


@given(things, st.builds(Budget, tokens=bounds))
def test_nothing_that_would_still_fit_is_dropped(made, budget: Budget) -> None:
    selection = chosen(made, budget)
    assert not any(budget.allows(selection.footprint + cost) for _, cost in selection.dropped)


@given(things)
def test_without_a_bound_everything_is_kept_best_first(made) -> None:
    assert [worth for worth, _ in chosen(made, Budget()).kept] == sorted((worth for worth, _ in made), reverse=True)


def test_among_equals_the_earlier_is_kept() -> None:
    made = [(1.0, Footprint(tokens=5), name) for name in "ab"]
    kept = select(made, Budget(tokens=5), worth=lambda t: t[0], cost=lambda t: t[1]).kept
    assert [name for _, _, name in kept] == ["a"]


@pytest.mark.parametrize("bound", [-1, float("nan")])
@pytest.mark.parametrize("unit", ["tokens", "bytes", "ms"])
def test_a_bound_below_zero_is_refused(unit: str, bound: float) -> None:
    with pytest.raises(BadInput, match=unit):
        Budget(**{unit: bound})


few_values = st.lists(st.sampled_from([0.0, 0.5, 1.0, float("inf"), float("-inf")]), min_size=1, max_size=12)


@given(few_values, st.integers(0, 14))
def test_the_best_entries_are_those_of_a_plain_loop(scores: list[float], count: int) -> None:
    left, taken = list(range(len(scores))), []
    while left and len(taken) < count:
        best = left[0]
        for index in left:
            if scores[index] >= scores[best]:  # the later one among equals
                best = index
        left.remove(best)
        taken.append(best)
    assert top_entries(scores, count).tolist() == sorted(taken)


def test_each_row_has_its_own_best_entries() -> None:
    assert top_entries([[[3, 1, 2], [1, 2, 3]]], 2).tolist() == [[[0, 2], [1, 2]]]


@pytest.mark.parametrize(("scores", "count"), [([1.0], -1), ([float("nan"), 1.0], 1)])
def test_a_selection_that_makes_no_sense_is_refused(scores: list[float], count: int) -> None:
    with pytest.raises(BadInput):
        top_entries(scores, count)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=9), st.integers(0, 400), st.integers(0, 9), st.integers(9, 90))
def test_shares_keep_their_bounds_and_sum_to_the_total(weights: list[int], total: int, floor: int, cap: int) -> None:
    total = max(total, floor * len(weights))
    shares = share_out(weights, total, floor=floor, cap=cap)
    assert sum(shares) == min(total, cap * len(weights))
    assert all(floor <= share <= cap for share in shares)
    ordered = sorted(zip(weights, shares, strict=True))
    assert all(a[1] <= b[1] + 1 for a, b in pairwise(ordered))


def test_shares_without_bounds_are_proportional() -> None:
    assert share_out([1, 2, 5], 80) == [10, 20, 50]
    assert share_out([0, 0], 5) == [3, 2]


def test_floors_beyond_the_total_are_refused() -> None:
    with pytest.raises(BadInput, match="more than 5"):
        share_out([1, 1], 5, floor=3)
    with pytest.raises(BadInput, match="cannot be shared"):
        share_out([1, -1], 5)
