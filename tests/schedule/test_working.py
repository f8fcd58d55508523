"""Memories at hand under a budget."""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.core.budget import Budget, Footprint
from pinyon.core.payload import Json
from pinyon.errors import BadInput
from pinyon.schedule import POLICIES, Context, Item, Lfu, Lru, Policy, Semantic, Value, WorkingSet, replay

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def item(row: int, tokens: int = 1, **rest: object) -> Item:
    return Item(row, cost=Footprint(tokens=tokens), **rest)  # type: ignore[arg-type]


def test_the_worthiest_stay_within_the_budget() -> None:
    working = WorkingSet(Budget(tokens=5), Semantic())
    found = working.offer(
        [item(1, 3), item(2, 3), item(3, 2), item(4, 1)], Context(NOON, {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6})
    )
    assert working.rows == {1, 3}
    assert (found.admitted, found.evicted) == ((1, 3), ())


def test_a_worthier_newcomer_takes_the_place_of_the_least_worthy() -> None:
    working = WorkingSet(Budget(tokens=2), Semantic())
    working.offer([item(1), item(2)], Context(NOON, {1: 0.5, 2: 0.6}))
    found = working.offer([item(3)], Context(NOON, {1: 0.5, 2: 0.6, 3: 0.7}))
    assert (found.admitted, found.evicted) == ((3,), (1,))


def test_with_equal_worth_who_is_at_hand_stays() -> None:
    working = WorkingSet(Budget(tokens=1), Lfu())
    working.offer([item(1, uses=2)], Context(NOON))
    assert working.offer([item(2, uses=2)], Context(NOON)).admitted == ()


def test_a_pinned_item_is_never_displaced() -> None:
    working = WorkingSet(Budget(tokens=1), Semantic())
    working.offer([item(1, is_pinned=True)], Context(NOON, {1: -1.0}))
    working.offer([item(2)], Context(NOON, {1: -1.0, 2: 1.0}))
    assert working.rows == {1}


def test_what_falls_below_half_of_its_lasting_worth_leaves_an_empty_place() -> None:
    working = WorkingSet(Budget(tokens=9), Value(priority=0.0))
    used = item(1, uses=1, last=NOON)
    working.offer([used], Context(NOON, most_uses=1))  # 0.15 + 0.15
    working.offer([], Context(NOON + 30 * DAY, most_uses=1))  # 0.15 + 0.002, a little above half
    assert working.rows == {1}
    found = working.offer([], Context(NOON + 30 * DAY, most_uses=3))  # 0.075 + 0.002
    assert (found.evicted, working.rows) == ((1,), frozenset())


def test_a_question_about_something_else_empties_no_place() -> None:
    working = WorkingSet(Budget(tokens=9), Value())
    working.offer([item(1, uses=1, last=NOON)], Context(NOON, {1: 1.0}, most_uses=1))
    working.offer([], Context(NOON + SECOND, {1: -0.5}, most_uses=1))
    assert working.rows == {1}


def test_without_the_rule_nothing_leaves_while_there_is_room() -> None:
    working = WorkingSet(Budget(tokens=9), Value(), keep=0.0)
    working.offer([item(1, uses=1, last=NOON)], Context(NOON))
    working.offer([], Context(NOON + 1000 * DAY, most_uses=10**6))
    assert working.rows == {1}


def test_prefetching_takes_the_pinned_and_the_worthiest_of_a_space_alone() -> None:
    working = WorkingSet(Budget(tokens=2), Value())
    working.offer([item(9, uses=50, last=NOON)], Context(NOON, most_uses=50))
    here = [item(1, uses=1), item(2, uses=9, last=NOON), item(3, is_pinned=True)]
    found = working.prefetch(here, Context(NOON, most_uses=9))
    assert working.rows == {2, 3}
    assert found.admitted == (3, 2)


def test_what_is_forgotten_leaves_and_what_changed_is_seen_as_it_is() -> None:
    working = WorkingSet(Budget(tokens=3), Lfu())
    working.offer([item(1), item(2)], Context(NOON))
    working.refresh({2: item(2, uses=7), 8: item(8)})
    working.drop([1])
    assert [(one.row, one.uses) for one in working.items] == [(2, 7)]


def naive_lru(asked: list[int], capacity: int) -> list[bool]:
    held: OrderedDict[int, None] = OrderedDict()
    hits = []
    for row in asked:
        hits.append(row in held)
        held[row] = None
        held.move_to_end(row)
        if len(held) > capacity:
            held.popitem(last=False)
    return hits


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 6))
def test_lru_evicts_as_an_ordered_dictionary_does(asked: list[int], capacity: int) -> None:
    working, hits = WorkingSet(Budget(tokens=capacity), Lru()), []
    for second, row in enumerate(asked):
        now = NOON + second * SECOND
        hits.append(row in working.rows)
        working.offer([item(row, last=now)], Context(now))
    assert hits == naive_lru(asked, capacity)


OFFERS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 15), st.integers(0, 6), st.integers(0, 9), st.booleans(), st.floats(-1, 1)), max_size=6
    ),
    max_size=8,
)


@settings(max_examples=40)
@given(OFFERS, st.integers(0, 12), st.sampled_from(sorted(POLICIES)), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_budget_is_never_exceeded_and_every_decision_replays(
    offers: list[list[tuple[int, int, int, bool, float]]], tokens: int, name: str, keep: float
) -> None:
    log: list[dict[str, Json]] = []
    working = WorkingSet(Budget(tokens=tokens), POLICIES[name](), keep=keep, sink=log.append)
    for hour, offered in enumerate(offers):
        now = NOON + hour * DAY
        items = [
            item(
                row,
                cost,
                uses=uses,
                last=now if uses else None,
                is_pinned=pinned,
                labels=frozenset({"a"} if uses else ()),
            )
            for row, cost, uses, pinned, _ in offered
        ]
        before = working.rows
        found = working.offer(items, Context(now, {row: near for row, *_, near in offered}, frozenset({"a"}), 9))
        assert sum(one.cost.tokens for one in working.items) <= tokens
        assert working.rows == (before | set(found.admitted)) - set(found.evicted)
    written = json.loads(json.dumps(log, allow_nan=False))
    assert replay(written) == written


@dataclass(frozen=True)
class Drawn:
    """A place is worth a number that depends on nothing but the row and the moment."""

    seed: int = 0

    def score(self, item: Item, context: Context) -> float:
        return random.Random(f"{self.seed} {item.row} {context.now}").random()


def test_a_policy_of_ones_own_replays_when_its_class_is_given() -> None:
    log: list[dict[str, Json]] = []
    working = WorkingSet(Budget(tokens=1), Drawn(3), sink=log.append)
    working.offer([item(1), item(2)], Context(NOON))
    assert replay(log, {"Drawn": Drawn}) == log
    with pytest.raises(BadInput, match="'Drawn'"):
        replay(log)


def test_another_rule_gives_another_replay() -> None:
    log: list[dict[str, Json]] = []
    working = WorkingSet(Budget(tokens=1), Lfu(), sink=log.append)
    working.offer([item(1, uses=2), item(2, uses=3)], Context(NOON, {1: 1.0}))
    log[0]["inputs"]["policy"] = {"is": "Semantic", "with": {}}  # type: ignore[index,call-overload]
    (again,) = replay(log)
    assert again["outcome"] == {"admitted": [1], "evicted": []}


def zipf_hits(policy: Policy, requests: int = 800, memories: int = 100) -> float:
    """The share of requests that were at hand, under Zipf's law, with a tenth of the memories in the budget."""
    chance = np.random.default_rng(5)
    weights = 1.0 / np.arange(1, memories + 1)
    asked = chance.choice(memories, size=requests, p=weights / weights.sum()).tolist()
    near = chance.normal(0.2, 0.1, (requests, memories))
    working, items, hits = WorkingSet(Budget(tokens=memories // 10), policy), {}, 0
    for turn, row in enumerate(asked):
        now = NOON + turn * 600 * SECOND
        hits += row in working.rows
        items[row] = replace(items.get(row, item(row)), uses=items.get(row, item(row)).uses + 1, last=now)
        cosines = {other: float(near[turn, other]) for other in working.rows} | {row: 0.8}
        working.offer([items[row]], Context(now, cosines, most_uses=max(one.uses for one in items.values())))
    return hits / requests


def test_value_finds_more_at_hand_than_lru_and_chance() -> None:
    value, lru, chance = zipf_hits(Value()), zipf_hits(Lru()), zipf_hits(Drawn())
    assert value >= lru
    assert value >= 1.5 * chance


@pytest.mark.parametrize("keep", [-0.1, 1.1])
def test_an_impossible_share_is_refused(keep: float) -> None:
    with pytest.raises(BadInput):
        WorkingSet(Budget(), Lru(), keep=keep)
