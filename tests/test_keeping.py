"""Forgetting with receipts, the life of memories, purging, jobs, as a user meets them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pinyon import Memory, Where
from pinyon.errors import BadInput, Conflict, Denied, NotFound
from pinyon.govern import RedactionRule, Rule, search_bytes
from pinyon.schedule import LifecycleConfig, Task
from pinyon.testing import FixedClock

DAY = 86_400


def test_forgetting_takes_what_was_made_of_it_and_leaves_a_receipt(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", user="ann") as memory:
        one, other = memory.add("the code is 7319").cubes[0], memory.add("unrelated").cubes[0]
        made = memory.add("a summary of the code 7319", derived_from=[one.id]).cubes[0]
        memory.search("code")
        plan = memory.plan_forget([one.id])
        assert [cube.id for cube in plan.cubes] == [one.id, made.id]
        done = memory.forget([one.id])
        assert done.receipt is not None
        assert {each.id for each in done.receipt.erased} == {one.id, made.id}
        assert done.receipt.index
        assert memory.verify(receipts=[done.receipt]).is_sound
        assert [cube.id for cube in memory.list().cubes] == [other.id]
        memory.purge()
    assert not search_bytes(tmp_path, ["7319"])


def test_what_is_named_and_frozen_is_refused_and_what_a_filter_admits_is_reported() -> None:
    with Memory.open(":memory:", user="ann") as memory:
        cube = memory.add("evidence", tags=["case"]).cubes[0]
        memory.freeze(cube.id, why="case 7")
        for change in (
            lambda: memory.forget([cube.id]),
            lambda: memory.update(cube.id, text="x"),
        ):
            with pytest.raises(Denied, match="frozen"):
                change()
        with pytest.raises(Conflict):
            memory.archive(cube.id)
        done = memory.forget(where={"tags": ["case"]})
        assert done.cubes == ()
        assert done.receipt is not None
        assert [kept.reason for kept in done.receipt.retained] == ["frozen"]
        memory.thaw(cube.id)
        assert len(memory.forget(where={"tags": ["case"]}).cubes) == 1


def test_everything_about_a_person_goes_in_every_space() -> None:
    with Memory.open(":memory:") as memory:
        memory.add("Ann's note", user="ann", space="work")
        memory.add([{"role": "user", "name": "Ann", "content": "I swim."}])
        memory.add("about her", tags=["subject:Ann"])
        mention = memory.add("We met Ann at the mill.").cubes[0]
        kept = memory.add("unrelated").cubes[0]
        plan = memory.plan_forget(about="ann", user="ann")
        assert plan.plan is not None
        assert [cube.id for cube in plan.plan.mentions] == [mention.id]
        assert len(memory.forget(about="ann", user="ann").cubes) == 3
        assert len(memory.forget(about="ann", user="ann", mentions=True).cubes) == 1
        assert [cube.id for cube in memory.list().cubes] == [kept.id]


def test_a_sweep_archives_expires_and_forgets_and_pins_stay() -> None:
    clock = FixedClock("2024-01-01")
    config = LifecycleConfig(timedelta(days=30), timedelta(days=365), timedelta(days=30))
    with Memory.open(":memory:", clock=clock, lifecycle=config) as memory:
        idle, pinned = memory.add("idle").cubes[0], memory.add("pinned").cubes[0]
        short = memory.add("short", expires="2024-01-10").cubes[0]
        memory.pin(pinned.id)
        clock.advance(10 * DAY)
        assert short.id not in {cube.id for cube in memory.list().cubes}  # before any sweep
        used = memory.add("used").cubes[0]
        clock.advance(25 * DAY)
        memory.search("used", k=1)
        assert memory.sweep(dry_run=True).moves
        memory.sweep()
        assert memory.get(idle.id).header.life.state == "archived"
        (*_, last) = memory.history(short.id)
        assert last.cube is not None
        assert last.cube.header.life.state == "expired"
        assert memory.get(used.id).header.life.state in ("generated", "activated")
        clock.advance(31 * DAY)
        memory.sweep()
        with pytest.raises(NotFound):
            memory.history(short.id)
        assert memory.get(pinned.id).header.life.state in ("generated", "activated")
        assert not memory.sweep().moves


def test_rules_of_retention_go_before_the_defaults() -> None:
    clock = FixedClock("2024-01-01")
    with Memory.open(":memory:", clock=clock) as memory:
        log, case = memory.add("log", tags=["log"]).cubes[0], memory.add("case", tags=["case"]).cubes[0]
        rules = [
            Rule("hold", where=_tagged("case"), hold=True, reason="court"),
            Rule("logs", where=_tagged("log"), max_age=timedelta(days=7), action="forget"),
        ]
        assert memory.retain(rules) == tuple(rules) == memory.retention()
        clock.advance(8 * DAY)
        assert memory.retention_report().counts == {"hold": {"hold": 1}, "logs": {"forget": 1}}
        memory.sweep()
        with pytest.raises(NotFound):
            memory.get(log.id)
        clock.advance(1000 * DAY)
        memory.sweep()
        assert memory.get(case.id).header.life.state == "generated"


def _tagged(tag: str) -> Where:
    return Where(tags=(tag,))


def test_merging_archives_the_parents_and_taking_apart_brings_them_back() -> None:
    with Memory.open(":memory:", user="ann") as memory:
        one, two = (memory.add(text).cubes[0] for text in ("tea", "no milk"))
        merged = memory.merge([one.id, two.id], "tea without milk")
        assert [cube.id for cube in memory.list().cubes] == [merged.id]
        memory.restore(merged.id)
        assert {cube.id for cube in memory.list().cubes} == {one.id, two.id}
        with pytest.raises(BadInput, match="at least two"):
            memory.merge([one.id], "x")


def test_jobs_survive_and_are_done_once(tmp_path: Path) -> None:
    done: list[object] = []

    def note(task: Task) -> dict[str, str]:
        done.append(task.arguments["n"])
        return {"ok": "yes"}

    with Memory.open(tmp_path / "m.db") as memory:
        for n in range(5):
            memory.jobs.add("note", {"n": n})
        memory.jobs.add("sweep")
    with Memory.open(tmp_path / "m.db") as memory:
        assert memory.work({"note": note}) == 6
        assert memory.work({"note": note}) == 0
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_a_version_that_somebody_else_changed_is_a_conflict() -> None:
    with Memory.open(":memory:") as memory:
        cube = memory.add("one").cubes[0]
        memory.update(cube.id, text="two", if_version=1)
        with pytest.raises(Conflict):
            memory.update(cube.id, text="three", if_version=1)
        assert memory.get(cube.id).text == "two"


def test_the_past_answers_and_is_not_written() -> None:
    clock = FixedClock("2024-01-01")
    with Memory.open(":memory:", clock=clock) as memory:
        cube = memory.add("The key hangs in the hall.").cubes[0]
        clock.advance(DAY)
        memory.update(cube.id, text="The key hangs in the shed.")
        gone = memory.add("The bike is blue.").cubes[0]
        clock.advance(DAY)
        memory.forget([gone.id])
        past = memory.as_of("2024-01-01T12:00")
        assert past.get(cube.id).text == "The key hangs in the hall."
        assert [hit.cube.text for hit in past.search("key").hits] == ["The key hangs in the hall."]
        assert past.ask("Where is the key?").text.startswith("The key hangs in the hall.")
        assert [c.text for c in memory.as_of("2024-01-02T12:00").list().cubes] == ["The key hangs in the shed."]
        assert memory.search("key", as_of="2023-12-31").hits == ()
        for write in (lambda: past.add("x"), lambda: past.update(cube.id, text="x"), lambda: past.forget([cube.id])):
            with pytest.raises(BadInput, match="past cannot be written"):
                write()
        clock.advance(DAY)
        assert memory.rollback(cube.id, 1).text == "The key hangs in the hall."
        assert next(line.op for line in memory.log()) == "restore"
        assert [new.text for _, new in memory.diff("2024-01-01T12:00").changed] == []
        memory.undo()
        assert memory.get(cube.id).text == "The key hangs in the shed."


def test_a_branch_is_a_space_of_its_own_until_it_is_merged() -> None:
    with Memory.open(":memory:") as memory:
        cube = memory.add("tea at four").cubes[0]
        memory.branch("draft")
        draft = memory.at(space="draft")
        (copy,) = draft.list().cubes
        draft.update(copy.id, text="tea at five")
        assert memory.get(cube.id).text == "tea at four"
        merged = memory.merge_branch("draft")
        assert [c.id for c in merged.updated] == [cube.id]
        assert memory.get(cube.id).text == "tea at five"


def test_the_time_of_a_frozen_memory_stands_still() -> None:
    clock = FixedClock("2024-05-01")
    memory = Memory.open(":memory:", clock=clock)
    cube = memory.add("hold the giraffe", expires=clock.now() + timedelta(seconds=5)).cubes[0]
    memory.freeze(cube.id)
    clock.advance(3600)
    memory.sweep()
    assert [hit.cube.id for hit in memory.search("giraffe").hits] == [cube.id]
    assert [each.id for each in memory.list().cubes] == [cube.id]
    memory.thaw(cube.id)
    assert memory.search("giraffe").hits == ()
    assert [move.after for move in memory.sweep().moves] == ["expired"]


def test_what_has_expired_is_not_given_and_not_changed_swept_or_not() -> None:
    clock = FixedClock("2024-05-01")
    memory = Memory.open(":memory:", clock=clock)
    cube = memory.add("temporary", expires=clock.now() + timedelta(seconds=5)).cubes[0]
    assert memory.get(cube.id).text == "temporary"
    clock.advance(10)
    for _ in range(2):
        with pytest.raises(NotFound, match="has expired"):
            memory.get(cube.id)
        with pytest.raises(Conflict, match="has expired"):
            memory.update(cube.id, text="for ever")
        memory.sweep()
    assert [version.op for version in memory.history(cube.id)] == ["create", "state"]
    assert memory.as_of(clock.now() - timedelta(seconds=8)).get(cube.id).text == "temporary"


def test_a_rule_that_drops_everything_at_once_is_refused() -> None:
    memory = Memory.open(":memory:")
    for action in ("forget", "expire"):
        with pytest.raises(BadInput, match="every memory at once"):
            memory.retain([Rule("all", action=action)])  # type: ignore[arg-type]
    rules = [Rule("a", spaces=("x",), action="forget"), Rule("b", max_age=timedelta(days=1), action="forget")]
    assert memory.retain([*rules, Rule("c"), Rule("d", action="forget", hold=True)])[0].name == "a"


def test_jobs_are_cancelled_by_administrators_once_there_is_one() -> None:
    memory = Memory.open(":memory:")
    number = memory.jobs.add("embed").id
    memory.rights.role("admin", add=["user:root"])
    for change in (memory.cancel_job, memory.requeue_job):
        with pytest.raises(Denied):
            change(number, user="eve")
    memory.cancel_job(number, user="root")
    assert memory.jobs.counts()["cancelled"] == 1


def test_the_audit_says_which_verb_was_refused_and_which_rule_allowed(tmp_path: Path) -> None:
    memory = Memory.open(":memory:", audit="changes")
    ann, bob = memory.at(user="ann"), memory.at(user="bob")
    cube = ann.add("the plan").cubes[0]
    ann.rights.grant(cube.id, write=["user:eve"])
    for verb in (lambda: bob.update(cube.id, text="x"), lambda: bob.archive(cube.id), lambda: bob.history(cube.id)):
        with pytest.raises(NotFound):
            verb()
    memory.rights.grant(cube.id, read=["user:eve"], user="ann")
    memory.update(cube.id, text="the new plan", user="eve")
    ann.freeze(cube.id)
    for verb in (lambda: ann.archive(cube.id), lambda: ann.pin(cube.id)):
        with pytest.raises(Conflict):
            verb()
    with pytest.raises(Denied):
        ann.forget([cube.id])
    lines = [entry.line for entry in memory.audit()]
    assert {line.cube for line in lines} == {cube.id}
    assert [(line.action, line.allowed, line.rule, line.actor.user) for line in lines] == [
        ("add", True, "owner", "ann"),
        ("share", True, "owner", "ann"),
        ("update", False, "default", "bob"),
        ("archive", False, "default", "bob"),
        ("history", False, "default", "bob"),
        ("share", True, "owner", "ann"),
        ("update", True, "cube", "eve"),
        ("freeze", True, "owner", "ann"),
        ("archive", False, "frozen", "ann"),
        ("pin", False, "frozen", "ann"),
        ("forget", False, "frozen", "ann"),
    ]


def test_what_is_merged_is_redacted_as_what_is_added() -> None:
    memory = Memory.open(":memory:")
    ids = [memory.add(text).cubes[0].id for text in ("one", "two")]
    memory.rights.redact([RedactionRule("card", "mask"), RedactionRule("email", "tag"), RedactionRule("ip", "block")])
    with pytest.raises(BadInput):
        memory.merge(ids, "from 203.0.113.7")
    merged = memory.merge(ids, "4111 1111 1111 1111 of ann@example.com")
    assert merged.text == "[card] of ann@example.com"
    assert merged.header.rights.sensitivity == ("email",)
    memory.archive(merged.id, why="the card 4111 1111 1111 1111 is blocked")
    assert "4111" not in str([line.detail for line in memory.log()])
