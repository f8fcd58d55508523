"""Choosing under a budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.budget import Budget, Footprint
from pinyon.core.select import select
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
