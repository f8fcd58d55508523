"""Rights as a user of a memory gives and meets them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinyon import Memory, Rights, Scope
from pinyon.core.access import policy_from_json, policy_to_json
from pinyon.core.cube import Cube
from pinyon.errors import BadInput, Denied, NotFound
from pinyon.govern import RedactionRule
from pinyon.govern.rights import check_owner
from pinyon.importing import export_everything, import_stream, restore
from pinyon.testing import FixedClock


@pytest.fixture
def memory() -> Memory:
    return Memory.open(":memory:", clock=FixedClock("2024-05-01T10:00"))


def texts(memory: Memory, **who: str) -> list[str]:
    return sorted(cube.text for cube in memory.list(**who).cubes)  # type: ignore[arg-type]


def test_without_rules_walls_alone_hold(memory: Memory) -> None:
    memory.add("Ann's", user="ann")
    memory.add("everybody's")
    assert texts(memory, user="ann") == ["Ann's", "everybody's"]
    assert texts(memory, user="bob") == ["everybody's"]


def test_a_ruled_space_denies_what_is_not_given(memory: Memory) -> None:
    memory.rights.group("care", add=["user:ann"])
    memory.rights.group("nurses", add=["group:care", "user:bob"])
    memory.rights.grant(read=["group:nurses"], write=["group:care"], space="ward")
    ward = memory.at(space="ward")
    ward.at(user="ann").add("tea at four")
    with pytest.raises(Denied, match="may be added"):
        ward.at(user="bob").add("coffee")
    with pytest.raises(Denied):
        ward.add("shared by nobody in particular")
    assert texts(ward, user="bob") == []  # Ann owns it, and nobody was given reach
    memory.rights.grant(reach=["group:nurses"], space="ward")
    assert texts(ward, user="bob") == ["tea at four"]
    assert texts(ward, user="eve") == []
    assert ward.at(user="eve").stats().by_space == {}


def test_reading_is_not_writing(memory: Memory) -> None:
    cube = memory.add("the plan", user="ann", rights=Rights(read=("user:bob",))).cubes[0]
    bob = memory.at(user="bob")
    assert bob.get(cube.id).text == "the plan"
    for change in (
        lambda: bob.update(cube.id, text="mine"),
        lambda: bob.archive(cube.id),
        lambda: bob.forget([cube.id]),
        lambda: bob.rights.grant(cube.id, write=["user:bob"]),
    ):
        with pytest.raises(Denied):
            change()
    assert memory.get(cube.id, user="ann").version == 1
    assert memory.at(user="ann").rights.decide(cube.id, "write", user="bob").rule == "default"
    memory.at(user="ann").rights.grant(cube.id, write=["user:bob"])
    assert bob.update(cube.id, text="ours").version == 3
    memory.at(user="ann").rights.revoke(cube.id, read=["user:bob"], write=["user:bob"])
    with pytest.raises(NotFound):
        bob.get(cube.id)


def test_purposes_bind_the_owner_too(memory: Memory) -> None:
    memory.add("insulin", user="ann", rights=Rights(purposes=("care",)))
    ann = memory.at(user="ann")
    assert not ann.search("insulin").hits
    assert not ann.search("insulin", purpose="marketing").hits
    assert len(ann.search("insulin", purpose="care").hits) == 1
    assert len(ann.at(purpose="care").list().cubes) == 1


def test_tasks_bind_the_owner_too(memory: Memory) -> None:
    ann = memory.at(user="ann")
    cube = ann.add("Room 4: insulin", rights=Rights(tasks=("rounds",))).cubes[0]
    assert not ann.search("insulin").hits
    assert not ann.at(task="billing").search("insulin").hits
    assert len(ann.search("insulin", task="rounds").hits) == 1
    assert memory.at(user="ann", task="rounds").rights.decide(cube.id, user="ann", task=None).rule == "task"
    made = ann.at(task="rounds").add("Plan: insulin", derived_from=[cube.id]).cubes[0]
    assert made.header.rights.tasks == ("rounds",)
    ann.at(task="rounds").rights.revoke(cube.id, tasks=["rounds"])
    assert texts(ann) == ["Room 4: insulin"]
    memory.rights.grant(tasks=["rounds"], space="ward")
    with pytest.raises(Denied) as caught:
        memory.add("x", user="ann", space="ward")
    assert caught.value.rule == "task"


def test_times_open_and_close(memory: Memory) -> None:
    clock = FixedClock("2024-05-01T08:59")
    day = Memory.open(":memory:", clock=clock, user="ann")
    day.add("office", rights=Rights(hours=(9 * 60, 17 * 60)))
    day.add("embargo", rights=Rights(opens=datetime(2024, 5, 2, tzinfo=UTC)))
    assert texts(day) == []
    clock.advance(60)
    assert texts(day) == ["office"]
    assert [hit.cube.text for hit in day.search("office embargo").hits] == ["office"]
    clock.advance(86_400)
    assert texts(day) == ["embargo", "office"]


def test_labels_close_with_the_first_clearance(memory: Memory) -> None:
    memory.add("diagnosis", rights=Rights(sensitivity=("health",)))
    assert texts(memory, user="bob") == ["diagnosis"]
    memory.rights.clear("role:doctor", add=["health"])
    assert texts(memory, user="bob") == []
    memory.rights.role("doctor", add=["user:bob"])
    assert texts(memory, user="bob") == ["diagnosis"]
    memory.rights.clear("role:doctor", remove=["health"])
    assert texts(memory, user="bob") == ["diagnosis"]  # nobody is cleared for anything: labels close nothing


def test_administrators_alone_rule_once_there_is_one(memory: Memory, tmp_path: Path) -> None:
    memory.rights.role("admin", add=["user:root"], user="root")
    for rule in (
        lambda: memory.rights.group("care", add=["user:eve"], user="eve"),
        lambda: memory.rights.grant(read=["user:eve"], user="eve"),
        lambda: memory.rights.redact([], user="eve"),
        lambda: memory.retain([], user="eve"),
        lambda: memory.sweep(user="eve"),
        lambda: list(memory.audit(user="eve")),
        lambda: list(memory.rule_changes(user="eve")),
        lambda: memory.purge(user="eve"),
        lambda: export_everything(memory.at(user="eve"), tmp_path / "all.pinyon"),
        lambda: restore(memory.at(user="eve"), tmp_path / "all.pinyon"),
    ):
        with pytest.raises(Denied, match="administrators"):
            rule()
    memory.rights.group("care", add=["user:ann"], user="root")
    changes = list(memory.rule_changes(user="root"))
    assert [change.what.get("groups") for change in changes][-1] == "care"


def test_closed_spaces_admit_owners_alone(memory: Memory) -> None:
    memory.add("everybody's")
    memory.rights.close_others()
    memory.add("Ann's", user="ann")
    assert texts(memory, user="ann") == ["Ann's"]
    with pytest.raises(Denied):
        memory.add("nobody's")
    memory.rights.close_others(is_closed=False)
    assert texts(memory, user="ann") == ["Ann's", "everybody's"]
    memory.rights.grant(read=["user:ann"])
    memory.rights.open_space()
    assert texts(memory, user="bob") == ["everybody's"]


def test_a_denial_beats_everything(memory: Memory) -> None:
    cube = memory.add("secret", user="ann", rights=Rights(read=("*",), deny=("agent:spy",))).cubes[0]
    assert memory.get(cube.id, user="bob").text == "secret"
    with pytest.raises(NotFound):
        memory.get(cube.id, user="ann", agent="spy")


def test_what_is_made_of_several_is_no_wider_than_any(memory: Memory) -> None:
    ann = memory.at(user="ann")
    one = ann.add("a", rights=Rights(read=("user:bob", "user:eve"), sensitivity=("x",)), expires="2024-06-01").cubes[0]
    two = ann.add("b", rights=Rights(read=("user:bob",), purposes=("care",), deny=("user:mallory",))).cubes[0]
    made = ann.add("a and b", derived_from=[one.id, two.id], purpose="care").cubes[0]
    rights = made.header.rights
    assert (rights.read, rights.purposes, rights.deny, rights.sensitivity) == (
        ("user:bob",), ("care",), ("user:mallory",), ("x",),
    )  # fmt: skip
    assert made.header.life.expires == datetime(2024, 6, 1, tzinfo=UTC)
    assert {parent.id for parent in made.header.lineage.parents} == {one.id, two.id}
    with pytest.raises(Denied, match="owner"):
        check_owner(Scope(), [one])
    check_owner(Scope(agent="bot"), [one])
    ann.update(one.id, text="A")
    assert ann.get(made.id, purpose="care").header.life.stale
    assert made.id not in {c.id for c in ann.list(purpose="care").cubes}


def test_rights_that_can_never_be_used_are_refused(memory: Memory) -> None:
    ann = memory.at(user="ann")
    with pytest.raises(BadInput, match="principal"):
        ann.add("x", rights=Rights(read=("bob",)))
    with pytest.raises(BadInput, match="close before they open"):
        ann.add("x", rights=Rights(opens=datetime(2024, 2, 1, tzinfo=UTC), closes=datetime(2024, 1, 1, tzinfo=UTC)))
    with pytest.raises(BadInput, match="minutes of a day"):
        ann.add("x", rights=Rights(hours=(0, 2000)))
    with pytest.raises(BadInput, match="no reach"):
        ann.rights.grant(ann.add("y").cubes[0].id, reach=["user:bob"])
    one = ann.add("a", rights=Rights(purposes=("care",))).cubes[0]
    two = ann.add("b", rights=Rights(purposes=("law",))).cubes[0]
    assert one != two
    with pytest.raises(NotFound):
        ann.add("c", derived_from=[one.id, two.id], purpose="care")


def test_every_refusal_is_in_the_audit_and_no_content_is(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", audit="all") as memory:
        cube = memory.add("the colour of Ann's door is vermilion", user="ann").cubes[0]
        memory.search("vermilion door", user="ann")
        with pytest.raises(NotFound):
            memory.get(cube.id, user="eve")
        memory.rights.grant(read=["user:ann"], write=["user:ann"], space="ward")
        with pytest.raises(Denied):
            memory.add("something vermilion", user="eve", space="ward")
        lines = [entry.line for entry in memory.audit()]
        assert [(line.action, line.allowed) for line in lines] == [
            ("add", True), ("search", True), ("get", False), ("policy", True), ("add", False),
        ]  # fmt: skip
        assert "vermilion" not in repr(lines)
    with Memory.open(tmp_path / "m.db") as memory:
        assert memory.caller.parts.auditor.level == "all"
        assert memory.verify().is_sound


def test_a_policy_is_its_json_again(memory: Memory) -> None:
    memory.rights.group("a", add=["user:x", "group:b"])
    memory.rights.role("r", add=["*"])
    memory.rights.clear("user:x", add=["l"])
    policy = memory.rights.grant(read=["*"], reach=["role:r"], hours=(0, 60), purposes=["p"], opens="2024-01-01")
    assert policy_from_json(policy_to_json(policy)) == policy  # type: ignore[arg-type]
    assert memory.rights.policy().principals(Scope(user="x")) == {"*", "user:x", "group:a", "role:r"}


def test_nothing_redacted_reaches_text_names_or_sources(memory: Memory) -> None:
    memory.rights.redact([RedactionRule("email", "mask"), RedactionRule("card", "block")])
    import_stream(memory, b"Write to bob@example.com.", "bob@example.com.txt")
    import_stream(memory, b"Write to bob@example.com.", "bob@example.com.txt")
    (cube,) = memory.list().cubes
    assert "example.com" not in repr(cube)
    with pytest.raises(BadInput, match="card"):
        memory.add("4111 1111 1111 1111")
    updated = memory.update(cube.id, text="now eve@example.com")
    assert updated.text == "now [email]"
    memory.rights.redact([])
    assert memory.add("eve@example.com").cubes[0].text == "eve@example.com"


def derived(memory: Memory) -> tuple[str, str]:
    """Return the ids of something Ann said, and of what Bob made of it."""
    rights = Rights(read=("user:bob",), sensitivity=("health",))
    source = memory.add("Ann takes insulin.", user="ann", rights=rights).cubes[0]
    made = memory.add("Summary: insulin.", user="bob", derived_from=[source.id]).cubes[0]
    return source.id, made.id


def test_what_was_made_of_others_never_gets_more_rights_than_these(memory: Memory) -> None:
    _, made = derived(memory)
    bob = memory.at(user="bob")
    for change in (
        lambda: bob.rights.grant(made, read=["*"]),
        lambda: bob.rights.grant(made, share=["user:eve"]),
        lambda: bob.rights.revoke(made, labels=["health"]),
    ):
        with pytest.raises(Denied, match="made of others"):
            change()
    assert bob.get(made).version == 1
    kept = bob.rights.grant(made, deny=["user:eve"], labels=["secret"])
    assert isinstance(kept, Cube)
    assert kept.header.rights.sensitivity == ("health", "secret")
    assert texts(memory, user="eve") == []


def test_what_a_source_loses_is_lost_by_what_was_made_of_it(memory: Memory) -> None:
    source, made = derived(memory)
    ann = memory.at(user="ann")
    more = ann.add("Plan: insulin at noon.", derived_from=[source]).cubes[0].id
    most = ann.add("Plan of the plan.", derived_from=[more]).cubes[0].id
    assert len(texts(memory, user="bob")) == 4
    ann.rights.grant(source, labels=["legal"])
    ann.update(source, expires="2024-06-01")
    for id in (more, most):
        header = ann.get(id).header
        assert header.rights.sensitivity == ("health", "legal")
        assert header.life.expires == datetime(2024, 6, 1, tzinfo=UTC)
    ann.rights.revoke(source, read=["user:bob"])
    assert texts(memory, user="bob") == []  # not even what Bob made of it
    with pytest.raises(NotFound):
        memory.at(user="bob").get(made)
    ann.rights.grant(source, read=["user:bob"])
    assert texts(memory, user="bob") == ["Ann takes insulin.", "Summary: insulin."]  # what was cut stays cut


def test_a_frozen_summary_closes_with_its_source_and_ends_when_it_is_thawed(memory: Memory) -> None:
    source, _ = derived(memory)
    ann = memory.at(user="ann")
    plan = ann.add("Plan: insulin at noon.", derived_from=[source]).cubes[0].id
    ann.freeze(plan)
    ann.rights.revoke(source, read=["user:bob"])
    ann.update(source, expires="2024-06-01")
    assert texts(memory, user="bob") == []
    assert ann.get(plan).header.life.expires is None
    assert ann.thaw(plan).header.life.expires == datetime(2024, 6, 1, tzinfo=UTC)


def test_going_back_brings_no_right_back_that_a_source_has_lost(memory: Memory) -> None:
    source, _ = derived(memory)
    ann = memory.at(user="ann")
    plan = ann.add("Plan: insulin at noon.", derived_from=[source]).cubes[0].id
    ann.rights.revoke(source, read=["user:bob"])
    assert ann.rollback(plan, 1).header.rights.read == ()
    assert texts(memory, user="bob") == []


def test_rights_that_exclude_each_other_close_what_was_made_of_both(memory: Memory) -> None:
    one = memory.add("one", rights=Rights(purposes=("care",)), purpose="care").cubes[0]
    two = memory.add("two").cubes[0]
    both = memory.add("both", derived_from=[one.id, two.id], purpose="care").cubes[0]
    assert memory.get(both.id, purpose="care").header.rights.purposes == ("care",)
    memory.rights.grant(two.id, purposes=["billing"])
    for purpose in ("care", "billing"):
        with pytest.raises(NotFound):
            memory.get(both.id, purpose=purpose)


def test_whose_rights_to_a_memory_were_changed_is_told(memory: Memory) -> None:
    cube = memory.add("the plan", user="ann").cubes[0]
    memory.rights.grant(cube.id, read=["user:bob"], user="ann")
    (change,) = memory.rule_changes()
    assert (change.cube, change.actor.user) == (cube.id, "ann")


def test_who_leaves_a_group_loses_what_it_made_of_what_the_group_reads(memory: Memory) -> None:
    memory.rights.group("care", add=["user:ann", "user:bob"])
    memory.rights.grant(read=["group:care"], write=["group:care"], reach=["group:care"], space="ward")
    ward = memory.at(space="ward")
    note = ward.add("Room 4 takes insulin at noon.", user="ann").cubes[0]
    bob = ward.at(user="bob")
    own = bob.add("Handover: insulin at noon.", derived_from=[note.id]).cubes[0]
    mine = bob.add("Order coffee.").cubes[0]
    plain = bob.search("coffee")
    memory.rights.group("care", remove=["user:bob"])
    assert texts(bob) == ["Order coffee."]
    assert [hit.cube.id for hit in bob.search("insulin noon coffee").hits] == [mine.id]
    assert bob.search("coffee").hits[0].cube.id == plain.hits[0].cube.id
    with pytest.raises(NotFound):
        bob.get(own.id)
    memory.rights.group("care", add=["user:bob"])
    assert bob.get(own.id).text == "Handover: insulin at noon."
    assert own.id in [hit.cube.id for hit in bob.search("insulin noon coffee").hits]
    memory.rights.revoke(
        reach=["group:care"], space="ward"
    )  # whoever asks is the same, the rules of its source are not
    assert [hit.cube.id for hit in bob.search("insulin noon coffee").hits] == [mine.id]
    memory.rights.grant(reach=["group:care"], space="ward")
    assert own.id in [hit.cube.id for hit in bob.search("insulin noon coffee").hits]
    memory.rights.grant(deny=["user:bob"], space="ward")
    assert texts(bob) == []


def test_rules_of_old_products_are_bound_by_hand(memory: Memory) -> None:
    assert memory.rights.bind() == 0
    memory.rights.role("admin", add=["user:root"])
    with pytest.raises(Denied, match="every tenant"):
        memory.rights.bind(user="ann")
