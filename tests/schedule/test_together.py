"""Which texts are worth being one state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.schedule import CostModel, Group, Prompted, Sizes, StateRules, best_groups

COSTS = CostModel(t_direct=0.010, t_cached=0.001, t_build=0.012, bytes_per_token=100)
RULES = StateRules(price=0.0)
BASE = 90
TEXTS = {row: 10 * row for row in range(1, 7)}
SIZES = Sizes(BASE, TEXTS, overhead=50)
TWO = frozenset({"monday", "tuesday"})


def rows(*of: int) -> frozenset[int]:
    return frozenset(of)


def asked(*of: int, rate: float = 1.0, sessions: frozenset[str] = TWO) -> Prompted:
    return Prompted(rows(*of), rate, sessions)


def best(
    prompts: Sequence[Prompted],
    *,
    built: dict[frozenset[int], int] | None = None,
    given: Sequence[frozenset[int]] = (),
    rules: StateRules = RULES,
    costs: CostModel = COSTS,
    room: int = 10**9,
) -> tuple[Group, ...]:
    return best_groups(prompts, built or {}, given, SIZES, costs, rules, room, SIZES.tokens)


def chosen(prompts: Sequence[Prompted], **more: object) -> set[frozenset[int]]:
    return {group.rows for group in best(prompts, **more)}  # type: ignore[arg-type]


def test_texts_of_one_prompt_become_one_state_with_its_instructions() -> None:
    (found,) = best([asked(1, 2)])
    assert found.rows == rows(1, 2)
    assert found.tokens == BASE + 10 + 20
    assert found.bytes == 120 * 100 + 50
    assert found.saving == pytest.approx(120 * (0.010 - 0.001))
    assert found.sessions == 2


def test_what_two_prompts_have_in_common_serves_both() -> None:
    assert chosen([asked(1, 2, 5, rate=0.2), asked(1, 2, 6, rate=0.2)]) == {rows(1, 2)}


def test_a_text_that_stands_in_a_prompt_with_a_state_is_not_promoted_on_its_own_count() -> None:
    (found,) = best([asked(1, 2, 3, 4, rate=9.0)])
    assert found.rows == rows(1, 2, 3, 4)


def test_prompts_with_nothing_in_common_have_a_state_each() -> None:
    assert chosen([asked(1, 2), asked(3, 4)]) == {rows(1, 2), rows(3, 4)}


def test_a_part_of_what_is_a_state_anyway_is_none() -> None:
    assert chosen([asked(1, 2, 3), asked(1, rate=0.2)]) == {rows(1, 2, 3)}


def test_what_others_have_built_is_no_reason_for_another() -> None:
    assert chosen([asked(1, 2)], given=[rows(1, 2)]) == set()
    assert chosen([asked(1, 2), asked(5, 6)], given=[rows(1, 2)]) == {rows(5, 6)}


def test_the_room_goes_to_what_saves_most_for_its_bytes() -> None:
    prompts = [asked(1, rate=1.0), asked(2, rate=5.0)]
    assert chosen(prompts, room=11_050) == {rows(2)}
    assert chosen(prompts, room=11_049) == {rows(1)}
    assert chosen(prompts, room=21_100) == {rows(1), rows(2)}
    assert chosen(prompts, room=0) == set()


def test_one_session_is_too_few() -> None:
    assert chosen([asked(1, sessions=frozenset({"monday"}))]) == set()
    assert chosen([asked(1, 2, sessions=frozenset({"monday"})), asked(1, 3, sessions=frozenset({"friday"}))]) == {
        rows(1)
    }


def test_what_is_built_stays_beside_what_would_save_a_little_more() -> None:
    (found,) = best([asked(1, 2, 3)], built={rows(2, 3): 14_050})
    assert (found.rows, found.is_built, found.saving > 0) == (rows(2, 3), True, True)


def test_what_is_built_goes_for_what_saves_much_more() -> None:
    found = {group.rows: group.saving for group in best([asked(1, 2, 6, rate=3.0)], built={rows(1, 2): 12_050})}
    assert found[rows(1, 2)] == 0.0
    assert found[rows(1, 2, 6)] > 0


def test_what_is_built_and_saves_nothing_is_named_with_nothing() -> None:
    found = {group.rows: group.saving for group in best([asked(5, 6)], built={rows(1): 10_050})}
    assert found[rows(1)] == 0.0
    assert found[rows(5, 6)] > 0


def test_a_state_that_cannot_be_is_passed_over() -> None:
    found = best_groups(
        [asked(1, 2), asked(1, 3)], {}, [], SIZES, COSTS, RULES, 10**9, lambda r: None if r == rows(1) else 100
    )
    assert rows(1) not in {group.rows for group in found}
    assert found


def test_nothing_pays_where_attaching_costs_as_much_as_reading_or_a_byte_costs_everything() -> None:
    slow = CostModel(t_direct=0.01, t_cached=0.01, t_build=0.01, bytes_per_token=100)
    assert chosen([asked(1, 2, rate=100)], costs=slow) == set()
    assert chosen([asked(1, 2, rate=100)], rules=StateRules(price=float("inf"))) == set()


def naive(prompts: Sequence[Prompted], states: Sequence[frozenset[int]]) -> float:
    """Seconds that some states save over the horizon, less those of building them."""
    saved = 0.0
    for prompt in prompts:
        each = [
            SIZES.tokens(state & prompt.rows) * COSTS.t_direct - SIZES.tokens(state) * COSTS.t_cached
            for state in states
            if state & prompt.rows
        ]
        saved += prompt.rate * max([0.0, *each])
    return saved * RULES.horizon_days - sum(SIZES.tokens(state) * COSTS.t_build for state in states)


PROMPTS = st.lists(
    st.builds(
        lambda of, rate: Prompted(frozenset(of), rate, TWO),
        st.sets(st.integers(1, 6), min_size=1, max_size=4),
        st.floats(0, 3),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(PROMPTS, st.integers(0, 60_000))
def test_the_choice_fits_its_room_and_is_worth_a_good_part_of_the_best_that_there_is(
    prompts: list[Prompted], room: int
) -> None:
    found = best(prompts, room=room)
    assert sum(group.bytes for group in found) <= room
    mine = naive(prompts, [group.rows for group in found])
    asked_for = [one.rows for one in prompts]
    every = {one for one in [*asked_for, *(a & b for a, b in combinations(asked_for, 2))] if one}
    most = 0.0
    for some in chain.from_iterable(combinations(every, count) for count in range(4)):
        if sum(SIZES.tokens(one) * 100 + 50 for one in some) <= room:
            most = max(most, naive(prompts, some))
    assert mine >= -1e-9
    assert mine >= 0.3 * most - 1e-9
    assert sum(group.saving for group in found) * RULES.horizon_days == pytest.approx(
        mine + sum(SIZES.tokens(group.rows) * COSTS.t_build for group in found)
    )
