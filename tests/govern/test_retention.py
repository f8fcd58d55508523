from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.access import Access, Policy
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Kind, Text, canonical
from pinyon.core.scope import Scope
from pinyon.core.where import LIVE_STATES, Condition, Where
from pinyon.errors import BadInput, Denied
from pinyon.govern import Retention, Rule, report, rules_from_json, rules_to_json
from pinyon.store import MemoryEngine, SqliteEngine, Store
from pinyon.store.side import Usage
from pinyon.testing import FixedClock

START = FixedClock().now()
ANN = Access.of(Scope(user="ann"))


def days(number: float) -> timedelta:
    return timedelta(days=number)


def add(store: Store, text: str, *, space: str = "main", tenant: str | None = None, **header: Any) -> Cube:
    draft = Draft(Text(text), Header(**header))
    (placed,) = store.put([draft], owner=Scope(tenant=tenant), space=space, now=START)
    return placed.cube


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    engine: Any = MemoryEngine() if request.param == "memory" else SqliteEngine(tmp_path / "memory.db")
    yield Store(engine)
    engine.close()


def rulings(store: Store, rules: list[Rule], cubes: list[Cube], after: timedelta) -> list[tuple[str, str] | None]:
    retention = Retention(store)
    retention.change(rules, access=ANN, now=START)
    found = retention.rulings([(cube, cube.updated) for cube in cubes], START + after)
    return [(f.rule, f.action) if (f := found.get(cube.row)) else None for cube in cubes]


def test_a_rule_is_about_tags_spaces_and_sources(store: Store) -> None:
    tagged, there = add(store, "a", tags=("t",)), add(store, "b", space="work")
    read, plain = add(store, "c", provenance=Provenance(source="in/old.md")), add(store, "d")
    rules = [
        Rule("tag", Where(tags=("t",))),
        Rule("space", spaces=("work",), action="expire"),
        Rule("source", Where(source="old.md"), action="forget"),
    ]
    said = rulings(store, rules, [tagged, there, read, plain], days(0))
    assert said == [("tag", "archive"), ("space", "expire"), ("source", "forget"), None]


def test_age_and_idle_time_must_both_have_passed(store: Store) -> None:
    cube = add(store, "a")
    rule = Rule("both", max_age=days(10), max_idle=days(5))
    retention = Retention(store)
    retention.change([rule], access=ANN, now=START)
    for age, idle, action in ((9, 9, "wait"), (10, 4, "wait"), (10, 5, "archive"), (30, 30, "archive")):
        now = START + days(age)
        found = retention.rulings([(cube, now - days(idle))], now)
        assert found[cube.row].action == action, (age, idle)


def test_the_first_rule_about_a_cube_decides_and_those_behind_it_wait(store: Store) -> None:
    cube = add(store, "a", tags=("t",))
    slow, quick = Rule("slow", Where(tags=("t",)), max_age=days(90)), Rule("quick", max_age=days(1), action="forget")
    assert rulings(store, [slow, quick], [cube], days(2)) == [("slow", "wait")]
    assert rulings(store, [quick, slow], [cube], days(2)) == [("quick", "forget")]


def test_a_rule_that_has_done_its_work_lets_the_next_one_decide(store: Store) -> None:
    rules = [
        Rule("away", max_age=days(1)),
        Rule("over", max_age=days(9), action="expire"),
        Rule("off", action="forget"),
    ]
    states = ("generated", "archived", "expired", "frozen")
    cubes = [add(store, state, life=Life(state=state)) for state in states]  # type: ignore[arg-type]  # states
    assert rulings(store, rules, cubes, days(5)) == [("away", "archive"), ("over", "wait"), ("off", "forget"), None]


def test_a_hold_ends_with_its_time(store: Store) -> None:
    cube = add(store, "a")
    rules = [Rule("court", hold=True, max_age=days(10)), Rule("temp", max_age=days(1), action="forget")]
    assert rulings(store, rules, [cube], days(9)) == [("court", "hold")]
    assert rulings(store, rules, [cube], days(10)) == [("temp", "forget")]
    assert rulings(store, [Rule("court", hold=True)], [cube], days(9999)) == [("court", "hold")]


def test_what_a_rule_holds_is_named_with_it(store: Store) -> None:
    invoice, note, early = add(store, "a", tags=("tax",)), add(store, "b"), add(store, "c", tags=("tax", "temp"))
    retention = Retention(store)
    rules = [Rule("temp", Where(tags=("temp",)), action="forget"), Rule("law", Where(tags=("tax",)), hold=True)]
    retention.change(rules, access=ANN, now=START)
    assert retention.held([invoice, note, early], START) == {invoice.id: "law"}


def test_each_tenant_has_rules_of_its_own(store: Store) -> None:
    retention = Retention(store)
    theirs = Access.of(Scope(tenant="t"))
    retention.change([Rule("ours", action="expire")], access=ANN, now=START)
    retention.change([Rule("theirs", action="forget")], access=theirs, now=START)
    cubes = [add(store, "a"), add(store, "b", tenant="t"), add(store, "c", tenant="u")]
    found = retention.rulings([(cube, cube.updated) for cube in cubes], START)
    assert {row: ruling.rule for row, ruling in found.items()} == {cubes[0].row: "ours", cubes[1].row: "theirs"}
    assert [r.name for r in retention.rules("t")] == ["theirs"]
    assert retention.rules("u") == ()


def test_a_change_of_rules_stands_in_the_journal(store: Store) -> None:
    Retention(store).change([Rule("temp"), Rule("law", hold=True)], access=ANN, now=START)
    (event,) = store.journal()
    assert (event.op, event.actor, event.detail["retention"]) == ("policy", Scope(user="ann"), ["temp", "law"])
    assert store.check() == []


def test_rules_are_changed_by_administrators_where_there_are_any(store: Store) -> None:
    policy = Policy(roles=(("admin", ("user:root",)),))
    retention = Retention(store)
    with pytest.raises(Denied):
        retention.change([Rule("temp")], access=Access.of(Scope(user="ann"), policy), now=START)
    retention.change([Rule("temp")], access=Access.of(Scope(user="root"), policy), now=START)
    assert [rule.name for rule in retention.rules(None)] == ["temp"]


def test_a_report_says_what_would_happen_and_by_which_rule(store: Store) -> None:
    rules = [Rule("law", Where(tags=("tax",)), hold=True), Rule("temp", max_idle=days(2), action="forget")]
    held, used, old = add(store, "a", tags=("tax",)), add(store, "b"), add(store, "c")
    pinned = add(store, "d", life=Life(pinned=True))
    last = START + days(3)
    store.engine.usage.change([used.row], lambda _: {used.row: Usage(1, last, 0.0)})
    seq = store.engine.head().seq
    said = report(rules, store.engine, [held, used, old, pinned], START + days(4))
    assert [(line.id, line.rule, line.action) for line in said.lines] == [
        (held.id, "law", "hold"), (used.id, "temp", "wait"), (old.id, "temp", "forget"), (pinned.id, "temp", "hold"),
    ]  # fmt: skip
    assert [line.id for line in said.due] == [old.id]
    assert said.counts == {"law": {"hold": 1}, "temp": {"wait": 1, "forget": 1, "hold": 1}}
    assert store.engine.head().seq == seq


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""}, {"name": "a", "max_age": timedelta(0)}, {"name": "a", "max_idle": timedelta(seconds=-1)},
        {"name": "a", "action": "burn"},
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Rule(**given)


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(BadInput, match="two rules are named"):
        Retention(Store(MemoryEngine())).change([Rule("a"), Rule("a")], access=ANN, now=START)


spans = st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=5000))
wheres = st.builds(
    Where,
    since=st.none() | st.just(START),
    speaker=st.none() | st.just("Ann"),
    source=st.none() | st.just("a/b.md"),
    tags=st.sampled_from([(), ("a",), ("a", "é b")]),
    metadata=st.sampled_from([(), (Condition("k", "in", [1, "x"]), Condition("k", "gt", 2), Condition("k", "gt", 3))]),
    kinds=st.sampled_from([(), (Kind.TEXT,), (Kind.STATE, Kind.WEIGHTS)]),
    states=st.sampled_from([LIVE_STATES, ("archived",)]),
)
some_rules = st.builds(
    Rule,
    name=st.sampled_from(["temp", "Gesetz §1"]),
    where=wheres,
    spaces=st.sampled_from([(), ("main", "work")]),
    max_age=spans,
    max_idle=spans,
    action=st.sampled_from(["archive", "expire", "forget"]),
    hold=st.booleans(),
    reason=st.sampled_from(["", "because"]),
)


@given(st.lists(some_rules, max_size=3))
def test_rules_go_through_json_unchanged(rules: list[Rule]) -> None:
    assert rules_from_json(json.loads(canonical(rules_to_json(rules)))) == tuple(rules)


@pytest.mark.parametrize(
    "data", [None, 3, [3], [{}], [{"name": "a", "when": 1}], [{"name": "a", "where": {"color": 1}}], [{"name": 3}]]
)
def test_what_are_no_rules_is_refused(data: Any) -> None:
    with pytest.raises(BadInput):
        rules_from_json(data)
