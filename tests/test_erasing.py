"""What ends: forgetting a whole space, everything about a person, and what comes back when something is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.errors import BadInput, Conflict, NotFound
from pinyon.testing import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock("2024-05-01")


@pytest.fixture
def memory(clock: FixedClock) -> Memory:
    return Memory.open(":memory:", clock=clock)


def test_a_whole_space_is_forgotten_and_nothing_else(memory: Memory) -> None:
    ann = memory.at(user="ann")
    for text in ("one", "two"):
        ann.add(text, space="draft")
    ann.archive(ann.add("three", space="draft").cubes[0].id, space="draft")
    held = ann.add("evidence", space="draft").cubes[0]
    ann.freeze(held.id, space="draft")
    memory.add("Bob's", user="bob", space="draft")
    ann.add("elsewhere")
    plan = ann.plan_forget(whole_space=True, space="draft")
    assert sorted(cube.text for cube in plan.cubes) == ["one", "three", "two"]
    done = ann.forget(whole_space=True, space="draft")
    assert done.receipt is not None
    assert {each.id: each.reason for each in done.receipt.retained} == {held.id: "frozen"}
    assert done.receipt.asked == {"spaces": ["draft"]}
    assert [cube.text for cube in ann.list().cubes] == ["elsewhere"]
    assert [cube.text for cube in memory.list(user="bob", space="draft").cubes] == ["Bob's"]
    with pytest.raises(BadInput, match="nothing says what to forget"):
        ann.forget()


def test_an_administrator_forgets_what_is_private_about_a_person_and_the_audit_says_so(memory: Memory) -> None:
    ann, bob = memory.at(user="ann"), memory.at(user="bob")
    ann.add("Bob owes me ten.", metadata={"subject": "bob"})
    mine = bob.add("My diary.", space="diary").cubes[0]
    held = bob.add("Evidence.").cubes[0]
    bob.freeze(held.id)
    memory.add("nothing to do with it", user="ann")
    root = memory.at(user="root")
    assert root.plan_forget(about="bob").cubes == ()
    memory.rights.role("admin", add=["user:root"])
    assert {cube.text for cube in root.plan_forget(about="bob").cubes} == {"Bob owes me ten.", "My diary."}
    assert memory.at(user="eve").plan_forget(about="bob").cubes == ()
    done = root.forget(about="bob")
    assert done.receipt is not None
    assert done.receipt.is_complete
    assert [each.id for each in done.receipt.retained] == [held.id]
    assert [cube.text for cube in ann.list().cubes] == ["nothing to do with it"]
    reached = [e.line for e in root.audit(actions=["forget"])]  # at the usual level, which writes refusals alone
    assert [line.detail["done"] for line in reached] == [False, False, True, True]
    assert {line.rule for line in reached} == {"admin"}
    assert mine.id in {line.cube for line in reached}


def job(memory: Memory, value: str, year: int) -> str:
    said = {"subject": "ann", "attribute": "job", "value": value}
    return memory.add(f"Ann works at {value}.", metadata=said, time=f"{year}-01-01").cubes[0].id


def test_forgetting_the_later_fact_lets_the_earlier_one_hold_again(memory: Memory, clock: FixedClock) -> None:
    first, second, third = (job(memory, value, year) for value, year in (("A", 2020), ("B", 2022), ("C", 2024)))
    memory.forget([second])
    life = memory.get(first).header.life
    assert (life.state, life.superseded_by) == ("archived", third)
    assert life.valid_to is not None
    assert life.valid_to.year == 2024
    memory.forget([third])
    life = memory.get(first).header.life
    assert (life.state, life.superseded_by, life.valid_to) == ("activated", None, None)
    assert [hit.cube.id for hit in memory.search("Where does Ann work?").hits] == [first]


def test_what_was_frozen_meanwhile_does_not_come_back(memory: Memory) -> None:
    first, second = job(memory, "A", 2020), job(memory, "B", 2022)
    memory.freeze(first)
    memory.forget([second])
    assert memory.get(first).header.life.superseded_by == second


def test_nothing_is_written_into_a_space_that_was_shredded(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    pytest.importorskip("sqlcipher3")
    with Memory.open(tmp_path / "m.db", key="correct horse battery staple") as memory:
        memory.own_key(space="diary")
        memory.add("secret", space="diary")
        memory.shred(space="diary")
        with pytest.raises(Conflict, match="was shredded"):
            memory.add("a new secret", space="diary")
        with pytest.raises(Conflict, match="was shredded"):
            memory.branch("diary")
        memory.own_key(space="diary")
        assert memory.add("a new secret", space="diary").created == 1


def test_merging_an_unknown_branch_is_refused(memory: Memory) -> None:
    memory.add("here")
    with pytest.raises(NotFound, match="no branch 'nope'"):
        memory.merge_branch("nope")
