"""What holds for a whole memory is kept in it, shown, and changed by who may."""

from __future__ import annotations

import csv
import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from pinyon import Memory, Where
from pinyon.errors import BadInput, Conflict, Damaged, Denied, NotFound
from pinyon.schedule import LifecycleConfig
from pinyon.serve.cli import main
from pinyon.testing import FixedClock

DAY = 86_400
YEAR = LifecycleConfig(archive_after=timedelta(days=365), purge_after=None, capacity=7)


def run(path: Path, *words: str, code: int = 0) -> dict:
    done = CliRunner().invoke(main, ["-p", str(path), *words, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_a_lifecycle_is_read_as_it_was_written() -> None:
    for config in (LifecycleConfig(), YEAR):
        assert LifecycleConfig.from_text(config.text()) == config
    for text in ("", "[]", "{}", '{"archive_after": -1, "expire_after": 1, "purge_after": 1, "capacity": null}'):
        with pytest.raises(Damaged):
            LifecycleConfig.from_text(text)


def test_a_memory_is_swept_as_it_was_made_whoever_sweeps_it(tmp_path: Path) -> None:
    path, clock = tmp_path / "m.db", FixedClock("2024-01-01")
    with Memory.open(path, clock=clock, lifecycle=YEAR) as memory:
        memory.add("Ann keeps bees.")
    clock.advance(60 * DAY)
    with Memory.open(path, clock=clock) as memory:
        assert memory.configuration().lifecycle == YEAR
        assert memory.sweep(dry_run=True).moves == ()
        memory.configure(lifecycle=LifecycleConfig())
        assert [move.trigger for move in memory.sweep(dry_run=True).moves] == ["idle"]


def test_another_process_sweeps_as_was_said_last(tmp_path: Path) -> None:
    clock = FixedClock("2024-01-01")
    with Memory.open(tmp_path / "m.db", clock=clock) as worker, Memory.open(tmp_path / "m.db", clock=clock) as other:
        worker.add("Ann keeps bees.")
        other.configure(lifecycle=YEAR)
        clock.advance(60 * DAY)
        assert worker.sweep().moves == ()


def test_the_command_line_shows_and_changes_what_holds(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    said = run(path, "configure")
    assert (said["audit"], said["archive_after"], said["capacity"]) == ("denials", 30 * DAY, None)
    run(path, "configure", "--audit", "changes", "--archive-after", "365d", "--purge-after", "never", "--capacity", "9")
    said = run(path, "configure")
    assert said["audit"] == "changes"
    assert (said["archive_after"], said["expire_after"], said["purge_after"]) == (365 * DAY, 365 * DAY, None)
    assert said["capacity"] == 9
    assert run(path, "configure", "--capacity", "none")["capacity"] is None
    run(path, "add", "Ann keeps bees.")
    assert [line["action"] for line in run(path, "audit")] == ["configure", "configure", "add"]
    assert CliRunner().invoke(main, ["-p", str(path), "configure", "--archive-after", "soon"]).exit_code
    assert CliRunner().invoke(main, ["-p", str(path), "configure", "--capacity", "-1"]).exit_code


def test_turning_the_audit_down_is_written_at_every_level() -> None:
    with Memory.open(":memory:", audit="changes") as memory:
        memory.configure(audit="denials")
        memory.add("Ann keeps bees.")
        (entry,) = memory.audit()
        assert (entry.line.action, entry.line.detail["audit"]) == ("configure", "denials")


def test_an_open_memory_follows_the_level_of_the_audit_that_another_one_is_given(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path) as server, Memory.open(path) as other:
        server.search("bees")
        other.configure(audit="all")
        server.search("bees")
        run(path, "configure", "--audit", "denials")
        server.search("bees")
        assert [entry.line.action for entry in server.audit()] == ["configure", "search", "configure"]
        assert server.configuration().audit == "denials"


def test_administrators_alone_configure_once_there_is_one() -> None:
    with Memory.open(":memory:") as memory:
        memory.rights.role("admin", add=["user:root"])
        with pytest.raises(Denied):
            memory.configure(audit="all", user="eve")
        with pytest.raises(Denied):
            memory.configure(audit="all", user="root", tenant="rival")
        assert memory.configure(audit="all", user="root").audit == "all"


def test_a_level_that_is_none_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="bogus"):
        Memory.open(tmp_path / "m.db", audit="bogus")  # type: ignore[arg-type]
    Memory.open(tmp_path / "m.db").close()


def test_memories_are_activated_and_expired_by_hand(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db") as memory:
        cube = memory.add("Ann keeps bees.").cubes[0]
        assert memory.activate(cube.id, why="needed").header.life.state == "activated"
        memory.archive(cube.id)
        assert memory.activate(cube.id).header.life.state == "activated"
        assert memory.expire(cube.id, why="over").header.life.state == "expired"
        assert memory.list().cubes == ()
        with pytest.raises(NotFound, match="expired"):
            memory.get(cube.id)
        with pytest.raises(Conflict):
            memory.activate(cube.id)
        other = memory.add("Bob swims.").cubes[0].id
    assert run(tmp_path / "m.db", "activate", other)["header"]["state"] == "activated"
    run(tmp_path / "m.db", "expire", other, "--because", "over")
    assert run(tmp_path / "m.db", "list")["cubes"] == []


def test_a_search_keeps_a_memory_from_idling_and_a_prompt_activates_it() -> None:
    clock = FixedClock("2024-01-01")
    with Memory.open(":memory:", clock=clock) as memory:
        cube = memory.add("Ann keeps bees.").cubes[0]
        clock.advance(20 * DAY)
        memory.search("bees")
        clock.advance(20 * DAY)
        assert memory.sweep().moves == ()
        memory.recall("bees")
        assert [move.trigger for move in memory.sweep().moves] == ["used"]
        assert memory.get(cube.id).header.life.state == "activated"


def test_the_least_important_is_archived_first_where_room_is_short(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path, lifecycle=LifecycleConfig(capacity=1)) as memory:
        low = memory.add("one", priority="low").cubes[0]
        high = memory.add("two", priority=0.9).cubes[0]
        assert high.header.life.priority == 0.9
        memory.sweep()
        assert [cube.id for cube in memory.list(where=Where(states=("archived",))).cubes] == [low.id]
        assert memory.update(high.id, priority="middle").header.life.priority == 0.5
        for wrong in ("urgent", 2, True, float("nan")):
            with pytest.raises(BadInput, match="priority"):
                memory.add("three", priority=wrong)  # type: ignore[arg-type]
    made = run(path, "add", "four", "--priority", "high")["cubes"][0]
    assert made["header"]["priority"] == 1.0
    assert run(path, "update", made["id"], "--priority", "low")["header"]["priority"] == 0.0


def test_a_memory_migrates_from_one_place_to_another_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    monkeypatch.setenv("PINYON_PATH", str(tmp_path / "elsewhere.db"))
    run(old, "add", "Ann keeps bees.")
    assert run(old, "migrate", "--from", "sqlite", "--to", str(new))["cubes"] == 1
    assert run(tmp_path / "x.db", "migrate", "--from", str(new), "--to", str(tmp_path / "third.db"))["cubes"] == 1
    none = ("--from", str(tmp_path / "none.db"), "--to", str(new))
    for words in (("--from", str(old)), none, (str(new), "--to", "x")):
        assert CliRunner().invoke(main, ["-p", str(old), "migrate", *words]).exit_code
    assert not (tmp_path / "none.db").exists()


def test_who_may_not_sweep_leaves_no_recurring_sweep(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    run(path, "role", "admin", "--add", "user:root")
    done = CliRunner().invoke(main, ["-p", str(path), "work", "--sweep-every", "1d", "--user", "bob"])
    assert (done.exit_code, "Traceback" in done.output) == (1, False)
    assert run(path, "jobs", "--user", "root")["jobs"] == []


def test_a_group_never_belongs_to_itself() -> None:
    with Memory.open(":memory:") as memory:
        memory.rights.group("a", add=["group:b"])
        for name, member in (("a", "group:a"), ("b", "group:a")):
            with pytest.raises(BadInput, match="itself"):
                memory.rights.group(name, add=[member])
        assert memory.rights.group("b", add=["user:ann"]).groups == (("a", ("group:b",)), ("b", ("user:ann",)))


def test_a_receipt_that_is_not_there_is_told_from_one_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    run(path, "add", "Ann keeps bees.")
    junk = tmp_path / "junk.json"
    junk.write_text("[1]")
    words = ["-p", str(path), "verify", "--receipt"]
    said = [CliRunner().invoke(main, [*words, str(tmp_path / name)]).output for name in ("none.json", "junk.json")]
    assert "cannot be opened: No such file" in said[0]
    assert "receipt" in said[1]
    assert "cannot be opened" not in said[1]


def test_an_archive_goes_into_another_space_and_becomes_another_users(tmp_path: Path) -> None:
    path, copy, archive = tmp_path / "m.db", tmp_path / "n.db", tmp_path / "a.pinyon"
    run(path, "add", "Ann keeps bees.", "--user", "ann")
    run(path, "export", str(archive), "--user", "ann")
    taken = run(copy, "import", str(archive), "--into-space", "old", "--as-user", "bob", "--user", "bob")
    assert [source["outcome"] for source in taken["sources"]] == ["added"]
    assert run(copy, "list", "--user", "ann")["cubes"] == []
    (cube,) = run(copy, "list", "--space", "old", "--user", "bob")["cubes"]
    assert (cube["payload"]["content"], cube["owner"]["user"]) == ("Ann keeps bees.", "bob")
    note = tmp_path / "note.txt"
    note.write_text("no archive")
    assert "no archive" in run(copy, "import", str(note), "--into-space", "old", code=1)["sources"][0]["reason"]


def test_who_sees_nothing_is_told_what_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    run(path, "add", "Ann keeps bees.", "--user", "ann")
    for verb in ("stats", "doctor"):
        assert "with --user" in CliRunner().invoke(main, ["-p", str(path), verb]).output
        assert "with --user" not in CliRunner().invoke(main, ["-p", str(path), verb, "--user", "ann"]).output


def test_the_audit_of_one_user_is_shown_as_comma_separated_values(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    run(path, "configure", "--audit", "changes")
    for user in ("ann", "bob"):
        run(path, "add", "a note", "--user", user)
    done = CliRunner().invoke(main, ["-p", str(path), "audit", "--by", "ann", "--csv"])
    head, *rows = csv.reader(done.stdout.splitlines())
    assert [dict(zip(head, row, strict=True))["action"] for row in rows] == ["add"]
    assert {line["user"] for line in run(path, "audit", "--by", "bob")} == {"bob"}


def test_what_can_be_repaired_is_said_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    run(path, "add", "Ann keeps bees.", "--tag", "bees")
    db = sqlite3.connect(path)
    db.execute("DELETE FROM facets")
    db.commit()
    db.close()
    for words, is_hinted in (((), True), (("--repair",), False)):
        done = CliRunner().invoke(main, ["-p", str(path), "verify", *words])
        assert ("verify --repair" in done.stdout) == is_hinted
