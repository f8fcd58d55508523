"""Limits as a caller of a memory meets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.errors import BadInput, Denied
from pinyon.testing import FixedClock

READS: dict[str, Callable[[Memory, str], object]] = {
    "search": lambda m, _: m.search("bees"),
    "recall": lambda m, _: m.recall("bees"),
    "ask": lambda m, _: m.ask("Where are the bees?"),
    "get": lambda m, id: m.get(id),
    "list": lambda m, _: m.list(),
    "history": lambda m, id: m.history(id),
    "stats": lambda m, _: m.stats(),
    "log": lambda m, _: list(m.log()),
    "iterate": lambda m, _: list(m.iterate()),
    "may": lambda m, id: m.rights.decide(id, "write"),
}
WRITES: dict[str, Callable[[Memory, str], object]] = {
    "add": lambda m, _: m.add("something else"),
    "add from": lambda m, id: m.add("made of it", derived_from=[id]),
    "update": lambda m, id: m.update(id, text="other words"),
    "archive": lambda m, id: m.archive(id),
    "freeze": lambda m, id: m.freeze(id),
    "forget": lambda m, id: m.forget([id]),
    "grant": lambda m, id: m.rights.grant(id, read=["user:bob"]),
}


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock("2024-05-01T10:00")


@pytest.fixture
def memory(clock: FixedClock) -> Memory:
    return Memory.open(":memory:", clock=clock)


@pytest.mark.parametrize("name", [*READS, *WRITES])
def test_every_verb_counts_once(memory: Memory, name: str) -> None:
    ann = memory.at(user="ann")
    id = ann.add("Ann keeps bees.").cubes[0].id
    verb, action = (READS[name], "read") if name in READS else (WRITES[name], "write")
    memory.rights.limit("user:ann", action, calls=1, everywhere=True)  # type: ignore[arg-type]
    verb(ann, id)
    with pytest.raises(Denied, match="may be tried again"):
        verb(ann, id)
    (line,) = [entry.line for entry in memory.audit()]
    assert (line.action, line.rule, line.allowed, line.actor.user) == (action, "rate", False, "ann")


def test_the_other_action_and_other_callers_are_not_counted(memory: Memory, clock: FixedClock) -> None:
    memory.rights.limit("user:ann", "read", calls=1)
    ann = memory.at(user="ann")
    ann.search("bees")
    ann.add("Ann keeps bees.")
    for _ in range(3):
        memory.at(user="bob").search("bees")
        ann.at(space="elsewhere").search("bees")
    with pytest.raises(Denied):
        ann.search("bees")
    clock.advance(61)
    assert ann.search("bees").hits
    memory.rights.limit("user:ann", "read", calls=None)
    ann.search("bees")


def test_two_processes_count_alike(tmp_path: Path, clock: FixedClock) -> None:
    with Memory.open(tmp_path / "m.db", clock=clock) as one, Memory.open(tmp_path / "m.db", clock=clock) as two:
        one.rights.limit("*", "read", calls=3)
        for memory in (one, two, one):
            memory.search("bees")
        with pytest.raises(Denied):
            two.search("bees")


def test_where_another_rule_closes_the_space_that_one_speaks(memory: Memory) -> None:
    memory.rights.grant(deny=["user:ann"], space="ward")
    memory.rights.limit("user:ann", "write", calls=0, space="ward")
    with pytest.raises(Denied, match="deny") as caught:
        memory.add("mine", user="ann", space="ward")
    assert caught.value.rule == "deny"


def test_administrators_alone_limit_and_are_not_locked_out_of_it(memory: Memory) -> None:
    memory.rights.role("admin", add=["user:root"])
    root = memory.at(user="root")
    root.rights.limit("*", "read", calls=0, everywhere=True)
    with pytest.raises(Denied, match="administrators"):
        memory.at(user="eve").rights.limit("*", "read", calls=None, everywhere=True)
    assert root.rights.limit("*", "read", calls=None, everywhere=True).limits == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"calls": -1}, "no number of calls"),
        ({"calls": True}, "no number of calls"),
        ({"calls": 1, "per": "fortnight"}, "no time in which"),
        ({"calls": 1, "per": 0}, "no time in which"),
        ({"calls": 1, "action": "freeze"}, "nothing that is counted"),
        ({"calls": 1, "principal": "ann"}, "no principal"),
        ({"calls": None}, "there is no limit"),
    ],
)
def test_limits_that_cannot_be_are_refused(memory: Memory, given: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        memory.rights.limit(**{"principal": "user:ann", **given})  # type: ignore[arg-type]
