"""What a place is worth to a memory."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.budget import Footprint
from pinyon.core.cube import Draft
from pinyon.core.header import Header, Life
from pinyon.core.payload import Text, digest
from pinyon.core.scope import Scope
from pinyon.errors import BadInput
from pinyon.schedule import POLICIES, Context, Item, Value
from pinyon.store import MemoryEngine, Store
from pinyon.store.side import Usage

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ITEM = Item(1, uses=3, last=NOON - timedelta(days=7), priority=1.0, labels=frozenset({"work", "tax"}))
ASKED = Context(NOON, {1: 0.8}, frozenset({"tax", "home"}), most_uses=15)


def test_the_value_is_the_sum_of_its_five_parts() -> None:
    parts = [0.5 * 0.8, 0.15 * math.log(4) / math.log(16), 0.15 * math.exp(-1), 0.1 * 1.0, 0.1 * 0.5]
    assert Value().score(ITEM, ASKED) == pytest.approx(sum(parts))


@pytest.mark.parametrize(
    ("part", "better"),
    [
        ("cosine", (ITEM, replace(ASKED, cosines={1: 0.9}))),
        ("frequency", (replace(ITEM, uses=4), ASKED)),
        ("recency", (replace(ITEM, last=NOON), ASKED)),
        ("priority", (ITEM, ASKED)),
        ("label", (ITEM, replace(ASKED, labels=frozenset({"tax"})))),
    ],
)
def test_each_part_counts_and_without_its_weight_does_not(part: str, better: tuple[Item, Context]) -> None:
    worse = (replace(ITEM, priority=0.5), ASKED) if part == "priority" else (ITEM, ASKED)
    assert Value().score(*better) > Value().score(*worse)
    without = Value(**{part: 0.0})  # type: ignore[arg-type]
    assert without.score(*better) == without.score(*worse)


@given(
    uses=st.integers(0, 10**6),
    days=st.floats(-10, 10_000),
    cosine=st.floats(-1, 1),
    priority=st.sampled_from([0.0, 0.5, 1.0]),
    most=st.integers(0, 10**6),
)
def test_the_value_stays_within_the_sum_of_its_weights(
    uses: int, days: float, cosine: float, priority: float, most: int
) -> None:
    item = Item(1, uses=uses, last=NOON - timedelta(days=days), priority=priority)
    assert -0.5 <= Value().score(item, Context(NOON, {1: cosine}, most_uses=most)) <= 1.0 + 1e-9


def test_what_was_never_used_has_the_least_worth_of_use() -> None:
    for name in ("lru", "lfu"):
        policy = POLICIES[name]()
        assert policy.score(Item(1), ASKED) == 0.0 < policy.score(ITEM, ASKED)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("lru", (NOON - timedelta(days=7)).timestamp()), ("lfu", 3.0), ("semantic", 0.8), ("label", 0.5)],
)
def test_the_simple_policies_look_at_one_thing(name: str, expected: float) -> None:
    assert POLICIES[name]().score(ITEM, ASKED) == pytest.approx(expected)


def test_an_item_is_made_of_a_cube_and_its_usage() -> None:
    store = Store(MemoryEngine())
    header = Header(life=Life(pinned=True, priority=1.0), tags=("tax",), metadata={"type": "skill"})
    (placed,) = store.put([Draft(Text("File it in May."), header)], owner=Scope(), space="default", now=NOON)
    usage = Usage(2, NOON, 4.0)
    found = Item.of(placed.cube, usage, NOON + timedelta(days=7), cost=Footprint(tokens=4), sessions=2)
    assert (found.row, found.id, found.uses, found.last, found.rate) == (placed.cube.row, placed.cube.id, 2, NOON, 2.0)
    assert (found.priority, found.is_pinned, found.labels, found.type) == (1.0, True, {"tax"}, "skill")
    assert (found.digest, found.sessions, found.since) == (digest("File it in May."), 2, placed.cube.updated)


def test_a_question_without_tags_prefers_none() -> None:
    assert POLICIES["label"]().score(ITEM, Context(NOON)) == 0.0


def test_impossible_weights_are_refused() -> None:
    for wrong in ({"cosine": -0.1}, {"recency": math.nan}, {"fading": timedelta(0)}):
        with pytest.raises(BadInput):
            Value(**wrong)  # type: ignore[arg-type]
