"""In which form a memory is cheapest to use."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.core.budget import Budget, Footprint
from pinyon.core.payload import Json
from pinyon.errors import BadInput
from pinyon.schedule import (
    Built,
    CostModel,
    Decision,
    Heat,
    Item,
    Promoter,
    Queue,
    StateRules,
    Task,
    WeightRules,
    decide_states,
    decide_weights,
    replay,
)
from pinyon.store._memory_jobs import MemoryJobs, MemoryUsage
from pinyon.testing import FixedClock

COSTS = CostModel(t_direct=0.010, t_cached=0.002, t_build=0.006, bytes_per_token=100)
RULES = StateRules(price=1e-5)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NO_LIMIT = Budget()


def item(row: int, *, rate: float = 1.0, tokens: int = 50, sessions: int = 2, digest: str = "a") -> Item:
    return Item(row, f"id{row}", Footprint(tokens=tokens), rate=rate, sessions=sessions, digest=digest)


def verbs(found: Sequence[Decision]) -> list[tuple[str, int, str]]:
    return [(one.verb, one.row, one.reason) for one in found]


def test_a_text_is_promoted_when_it_saves_more_than_it_costs() -> None:
    # saves rate * 7 * 50 * 0.008 = 2.8 * rate; costs 50 * 0.006 + 1e-5 * 5000 = 0.35
    cheap, dear = item(1, rate=0.124), item(2, rate=0.126)
    (found,) = decide_states([cheap, dear], [], COSTS, RULES, NO_LIMIT)
    assert (found.row, found.verb, found.form) == (2, "promote", "state")
    assert found.saving == pytest.approx(2.8 * 0.126)


def test_a_text_that_was_not_the_same_for_two_sessions_is_not_promoted() -> None:
    assert decide_states([item(1, sessions=1)], [], COSTS, RULES, NO_LIMIT) == ()


def test_an_infinite_price_keeps_everything_as_text() -> None:
    for costs in (COSTS, replace(COSTS, bytes_per_token=0)):
        assert decide_states([item(1, rate=1e9)], [], costs, StateRules(price=math.inf), NO_LIMIT) == ()


def test_the_budget_goes_to_what_saves_most_for_its_bytes() -> None:
    items = [item(1, rate=2), item(2, rate=3, tokens=100), item(3, rate=5, tokens=10)]
    found = decide_states(items, [], COSTS, RULES, Budget(bytes=11_000))
    assert [one.row for one in found] == [3, 2]


def test_a_state_stays_until_it_saves_less_than_half_of_what_it_promised() -> None:
    built = [Built(1, "a", saving=2.8)]
    assert decide_states([item(1, rate=0.51)], built, COSTS, RULES, NO_LIMIT) == ()
    found = decide_states([item(1, rate=0.49)], built, COSTS, RULES, NO_LIMIT)
    assert verbs(found) == [("demote", 1, "it saves too little")]


def test_a_state_outlives_the_rate_at_which_it_would_not_be_built() -> None:
    built = [Built(1, "a", saving=0.5)]
    assert decide_states([item(1, rate=0.1)], [], COSTS, RULES, NO_LIMIT) == ()
    assert decide_states([item(1, rate=0.1)], built, COSTS, RULES, NO_LIMIT) == ()


def test_a_state_of_a_changed_or_forgotten_text_is_dropped_at_once() -> None:
    built = [Built(1, "before", saving=1.0), Built(2, "a", saving=1.0)]
    found = decide_states([item(1, rate=9.0)], built, COSTS, RULES, NO_LIMIT)
    assert verbs(found) == [("demote", 1, "its text changed"), ("demote", 2, "its text is gone")]


def test_a_state_gives_way_to_what_saves_more() -> None:
    found = decide_states([item(1, rate=1), item(2, rate=9)], [Built(1, "a", 2.8)], COSTS, RULES, Budget(bytes=5_000))
    assert verbs(found) == [("demote", 1, "others pay"), ("promote", 2, "it pays")]


def test_what_is_built_need_not_pay_for_being_built_again() -> None:
    items, built = [item(2, rate=1.05), item(1, rate=1.0)], [Built(1, "a", 2.8)]
    one_place = Budget(bytes=5_000)
    assert [one.row for one in decide_states(items, [], COSTS, RULES, one_place)] == [2]
    assert decide_states(items, built, COSTS, RULES, one_place) == ()


def test_with_equal_savings_what_is_built_stays() -> None:
    free = replace(COSTS, t_build=0.0)
    assert decide_states([item(2), item(1)], [Built(1, "a", 2.8)], free, RULES, Budget(bytes=5_000)) == ()


ITEMS = st.lists(
    st.builds(
        item,
        st.integers(1, 12),
        rate=st.floats(0, 20),
        tokens=st.integers(0, 300),
        sessions=st.integers(0, 3),
        digest=st.sampled_from("ab"),
    ),
    max_size=10,
    unique_by=lambda one: one.row,
)
BUILT = st.lists(
    st.builds(Built, st.integers(1, 12), st.sampled_from("ab"), st.floats(0, 50)), max_size=6, unique_by=lambda b: b.row
)


@given(ITEMS, BUILT, st.integers(0, 60_000), st.sampled_from([0.0, 1e-5, math.inf]))
def test_the_states_never_exceed_their_bytes_and_each_one_pays(
    items: list[Item], built: list[Built], limit: int, price: float
) -> None:
    rules = StateRules(price=price)
    found = decide_states(items, built, COSTS, rules, Budget(bytes=limit))
    known = {one.row: one for one in items}
    rows = {one.row for one in built} - {one.row for one in found if one.verb == "demote"}
    for one in found:
        if one.verb == "promote":
            tokens = known[one.row].cost.tokens
            assert one.row not in rows
            assert one.saving > tokens * COSTS.t_build + 100 * tokens * min(price, 1e30)
            rows.add(one.row)
    assert sum(known[row].cost.tokens * 100 for row in rows) <= limit


RIPE = replace(item(1), uses=20, since=NOON - timedelta(days=30), type="skill")


@pytest.mark.parametrize(
    "unripe",
    [
        replace(RIPE, uses=19),
        replace(RIPE, since=NOON - timedelta(days=29, hours=23)),
        replace(RIPE, since=None),
        replace(RIPE, type="fact"),
    ],
)
def test_only_what_is_stable_used_and_of_a_kind_that_lasts_becomes_weights(unripe: Item) -> None:
    assert len(decide_weights([RIPE], {1: True}, NOON, WeightRules())) == 1
    assert decide_weights([unripe], {1: True}, NOON, WeightRules()) == ()


def promoter(log: list[dict[str, Json]], jobs: MemoryJobs, rules: StateRules = RULES) -> Promoter:
    return Promoter(Queue(jobs, FixedClock(NOON)), COSTS, rules, Budget(bytes=10_000), sink=log.append)


def test_the_gate_has_the_last_word_and_is_asked_for_the_ripe_alone() -> None:
    log: list[dict[str, Json]] = []
    asked = []

    def gate(one: Item) -> bool:
        asked.append(one.row)
        return one.row != 2

    items = [RIPE, replace(RIPE, row=2), replace(RIPE, row=3, uses=0)]
    found = promoter(log, MemoryJobs()).weights(items, NOON, gate)
    assert asked == [1, 2]
    assert [(one.row, one.form) for one in found] == [(1, "weights")]
    assert replay(log) == log


def test_decisions_become_jobs_that_wait_once() -> None:
    log: list[dict[str, Json]] = []
    jobs = MemoryJobs()
    planner = promoter(log, jobs)
    planner.states([item(1), item(2)], [Built(9, "a", 1.0)])
    planner.states([item(1), item(2)], [Built(9, "a", 1.0)])
    assert [(job.kind, dict(job.arguments)) for job in jobs.find()] == [
        ("drop", {"id": "", "row": 9, "from": "state"}),
        ("convert", {"id": "id1", "row": 1, "to": "state", "saving": 2.8}),
        ("convert", {"id": "id2", "row": 2, "to": "state", "saving": 2.8}),
    ]
    assert len(log) == 2


@settings(max_examples=30)
@given(ITEMS, BUILT, st.sampled_from([0.0, 1e-5, math.inf]))
def test_every_decision_replays_from_its_log(items: list[Item], built: list[Built], price: float) -> None:
    log: list[dict[str, Json]] = []
    promoter(log, MemoryJobs(), StateRules(price=price)).states(items, built)
    written = json.loads(json.dumps(log, allow_nan=False))
    assert replay(written) == written


def test_a_record_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="no decision"):
        replay([{"rule": "states"}])
    with pytest.raises(BadInput, match="'magic'"):
        replay([{"rule": "magic", "inputs": {}}])


@pytest.mark.parametrize("wrong", [{"price": -1.0}, {"price": math.nan}, {"price": 0.0, "sessions": 0}])
def test_impossible_rules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        StateRules(**wrong)  # type: ignore[arg-type]


def test_impossible_costs_are_refused() -> None:
    with pytest.raises(BadInput, match="t_build"):
        CostModel(1.0, 1.0, math.inf, 1)


def seconds_spent(price: float, *, days: int = 14, a_day: int = 60) -> tuple[float, float]:
    """The seconds of a model over a Zipf trace: as text alone, and with what the promoter builds."""
    chance = np.random.default_rng(7)
    weights = 1.0 / np.arange(1, 61)
    asked = chance.choice(60, size=days * a_day, p=weights / weights.sum()).tolist()
    clock = FixedClock()
    heat, queue = Heat(MemoryUsage(), clock), Queue(MemoryJobs(), clock)
    planner = Promoter(queue, COSTS, StateRules(price=price), Budget(bytes=60 * 50 * 100 // 10))
    built: dict[int, Built] = {}
    seen: dict[int, set[int]] = {}
    text = spent = 0.0

    def convert(task: Task) -> None:
        row = int(str(task.arguments["row"]))
        built[row] = Built(row, "a", savings[row])

    worker = queue.worker(
        {"convert": convert, "drop": lambda task: built.pop(int(str(task.arguments["row"]))) and None}
    )
    for day in range(days):
        for row in asked[day * a_day : (day + 1) * a_day]:
            text += COSTS.t_direct * 50
            spent += (COSTS.t_cached if row in built else COSTS.t_direct) * 50
            heat.note([row])
            seen.setdefault(row, set()).add(day)
            clock.advance(86_400 / a_day)
        items = [item(row, rate=rate, sessions=len(seen[row])) for row, rate in heat.rates(list(seen)).items()]
        decided = planner.states(items, list(built.values()))
        savings = {one.row: one.saving for one in decided if one.verb == "promote"}
        spent += COSTS.t_build * 50 * len(savings)
        worker.run()
        assert len(built) * 50 * 100 <= 60 * 50 * 100 // 10
    return text, spent


def test_scheduling_spends_less_than_text_alone_and_an_infinite_price_the_same() -> None:
    text, spent = seconds_spent(1e-6)
    assert spent < 0.8 * text
    assert seconds_spent(math.inf) == (text, text)


def test_after_a_change_of_topic_the_states_of_the_old_one_go_and_those_of_the_new_one_come() -> None:
    clock = FixedClock()
    heat = Heat(MemoryUsage(), clock)
    built: dict[int, Built] = {}

    def day(rows: Sequence[int]) -> None:
        for row in rows * 3:
            heat.note([row])
        clock.advance(86_400)
        items = [item(row, rate=rate) for row, rate in heat.rates(range(1, 9)).items()]
        for one in decide_states(items, list(built.values()), COSTS, RULES, Budget(bytes=4 * 50 * 100)):
            if one.verb == "promote":
                built[one.row] = Built(one.row, "a", one.saving)
            else:
                del built[one.row]

    for _ in range(7):
        day([1, 2, 3, 4])
    assert set(built) == {1, 2, 3, 4}
    for _ in range(7):
        day([5, 6, 7, 8])
    assert set(built) == {5, 6, 7, 8}
