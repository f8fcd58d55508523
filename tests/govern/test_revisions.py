"""A report of who gained and lost what says what really changed, and nothing else."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from pinyon import Memory
from pinyon.errors import Denied
from pinyon.govern.revisions import Revision
from pinyon.serve.cli import main
from pinyon.testing import FixedClock

PRINCIPALS = ("user:ann", "user:bob", "group:care", "*")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock("2024-05-01T10:00")


@pytest.fixture
def memory(clock: FixedClock) -> Memory:
    return Memory.open(":memory:", clock=clock)


def told(changes: tuple[Revision, ...]) -> list[tuple[str, str, str, str]]:
    return [(each.principal, each.change, each.what, each.where) for each in changes]


def test_who_joins_a_group_gains_what_it_holds_and_loses_it_again(memory: Memory) -> None:
    memory.rights.grant(read=["group:care"], space="ward")
    memory.rights.clear("group:care", add=["health"])
    memory.rights.group("staff", add=["group:care"])
    memory.rights.group("care", add=["user:ann"], user="root")
    memory.rights.group("care", add=["user:ann"])  # changes nothing
    memory.rights.group("care", remove=["user:ann"])
    *_, gained, lost = memory.rights.report()
    assert (gained.principal, gained.change, gained.what, gained.actor.user) == (
        "user:ann",
        "gained",
        "membership",
        "root",
    )
    assert set(gained.carries) == {"label health", "read in space ward", "group staff"}
    assert (lost.principal, lost.change, lost.actor.user) == ("user:ann", "lost", None)
    assert "root: user:ann gained membership in group care, with it " in str(gained)


def test_conditions_take_when_they_come_and_give_when_they_go(memory: Memory) -> None:
    memory.rights.grant(deny=["user:eve"], purposes=["care"], labels=["health"], hours=(0, 60), space="ward")
    memory.rights.revoke(deny=["user:eve"], space="ward")
    memory.rights.close_others()
    memory.rights.close_others()
    memory.rights.limit("*", "read", calls=5)
    memory.rights.limit("*", "read", calls=None)
    assert told(memory.rights.report()) == [
        ("user:eve", "lost", "everything: denied", "space ward"),
        ("*", "lost", "purposes care", "space ward"),
        ("*", "lost", "sensitivity health", "space ward"),
        ("*", "changed", "times (hours)", "space ward"),
        ("user:eve", "gained", "end of the denial", "space ward"),
        ("*", "lost", "spaces without rights of their own", ""),
        ("*", "changed", "no limit to limit of 5 reads in 60 s", "space main"),
        ("*", "changed", "limit of 5 reads in 60 s to no limit", "space main"),
    ]


def test_rights_to_single_memories_are_told_with_what_they_took_from_what_was_made(memory: Memory) -> None:
    ann = memory.at(user="ann")
    source = ann.add("a plan").cubes[0]
    ann.rights.grant(source.id, read=["user:bob"])
    made = memory.add("made of it", user="bob", derived_from=[source.id]).cubes[0]
    ann.rights.revoke(source.id, read=["user:bob"])
    found = told(memory.rights.report())
    assert ("user:bob", "gained", "read", f"memory {source.id}") in found
    assert ("user:bob", "lost", "read", f"memory {source.id}") in found
    assert ("*", "changed", "rules of what it was made of", f"memory {made.id}") in found


def test_a_report_is_of_one_tenant_and_of_a_time_and_knows_what_was_before(memory: Memory, clock: FixedClock) -> None:
    memory.at(tenant="acme").rights.group("care", add=["user:zoe"])
    memory.rights.group("care", add=["user:ann"])
    clock.advance(3600)
    memory.rights.group("care", add=["user:ann", "user:bob"])
    assert [each.principal for each in memory.rights.report(since="2024-05-01T10:30")] == ["user:bob"]
    assert [each.principal for each in memory.rights.report(until="2024-05-01T10:30")] == ["user:ann"]
    assert [each.principal for each in memory.rights.report(tenant="acme")] == ["user:zoe"]
    memory.rights.role("admin", add=["user:root"])
    with pytest.raises(Denied, match="administrators"):
        memory.rights.report(user="ann")


@pytest.mark.parametrize("seed", range(5))
def test_replayed_reports_are_the_rules_that_stand(memory: Memory, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        names = chance.sample(PRINCIPALS, chance.randint(0, 2))
        kind = chance.choice(["grant", "revoke", "role", "open"])
        if kind == "role":
            memory.rights.role(chance.choice(["nurse", "clerk"]), **{chance.choice(["add", "remove"]): names})  # type: ignore[arg-type]
        elif kind == "open":
            memory.rights.open_space(space=chance.choice(["a", "b"]))
        else:
            getattr(memory.rights, kind)(
                **{chance.choice(["read", "write", "reach"]): names}, space=chance.choice("ab")
            )
    held: set[tuple[str, str, str]] = set()
    for each in memory.rights.report():
        key = (each.principal, each.what, each.where)
        (held.add if each.change == "gained" else held.remove)(key)
    policy = memory.rights.policy()
    standing = {(who, "the role", f"role {name}") for name, those in policy.roles for who in those}
    for name, said in policy.spaces:
        for what in ("read", "write"):
            standing |= {(who, what, f"space {name}") for who in getattr(said.rights, what)}
        standing |= {(who, "reach", f"space {name}") for who in said.reach}
    assert held == standing


def test_the_command_line_reports_for_people_and_for_machines(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", clock=FixedClock(datetime(2024, 5, 1, tzinfo=UTC))) as memory:
        memory.rights.role("auditor", add=["user:eve"], user="root")
    done = CliRunner().invoke(main, ["-p", str(tmp_path / "m.db"), "rights-report"])
    assert done.stdout == "2024-05-01T00:00:00+00:00 root: user:eve gained the role in role auditor\n"
    said = json.loads(CliRunner().invoke(main, ["-p", str(tmp_path / "m.db"), "rights-report", "--json"]).stdout)
    assert said[0]["actor"] == {"user": "root"}
    late = CliRunner().invoke(main, ["-p", str(tmp_path / "m.db"), "rights-report", "--since", "2025-01-01"])
    assert "nobody gained or lost anything" in late.stdout + late.stderr
