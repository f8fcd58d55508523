"""Forgetting with receipts, the life of memories, purging, jobs, as a user meets them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pinyon import Memory, Where
from pinyon.errors import BadInput, Conflict, Denied, NotFound
from pinyon.govern import Rule, search_bytes
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
        assert memory.get(short.id).header.life.state == "expired"
        assert memory.get(used.id).header.life.state in ("generated", "activated")
        clock.advance(31 * DAY)
        memory.sweep()
        with pytest.raises(NotFound):
            memory.get(short.id)
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
