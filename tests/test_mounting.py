"""Spaces of other memories: read where they lie by their own rules, and left as they are."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinyon import Memory, Note
from pinyon.aio import AsyncMemory
from pinyon.errors import BadInput, Conflict, Damaged, Denied, NotFound, PinyonError, StoreError, TooNew, WrongKey
from pinyon.govern.redact import RedactionRule
from pinyon.holding import HeldFinder, held_parts
from pinyon.importing import export, import_files
from pinyon.pipelining import PipelineFailed
from pinyon.store.held import LaterAudit, hold
from pinyon.subscribing import subscribe
from pinyon.testing import FixedClock

KEY = bytes(range(32))
TEAM = ("The hives stand behind the old mill.", "Bees swarm in May.", "The kettle is on the stove.")


def filled(path: Path, texts: tuple[str, ...] = TEAM, *, space: str = "main", **who: str) -> Path:
    with Memory.open(path) as memory:
        for text in texts:
            memory.add(text, space=space, **who)  # type: ignore[arg-type]  # names of Who
    return path


def seen(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file below a folder: its bytes, when it was written, and where."""
    out = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            found = file.stat()
            out[str(file)] = file.read_bytes(), found.st_mtime_ns, found.st_ino
    return out


def texts(memory: Memory, **who: str) -> list[str]:
    return sorted(cube.text for cube in memory.list(**who).cubes)  # type: ignore[arg-type]  # names of Who


def run(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_space_of_another_memory_is_read_by_another_name(tmp_path: Path) -> None:
    team = filled(tmp_path / "team" / "m.db", space="bees")
    with Memory.open(tmp_path / "home.db") as memory:
        memory.add("I like tea.")
        done = memory.mount("experts", team, space="bees")
        assert (done.name, done.place, done.space, done.is_writable) == ("experts", str(team), "bees", False)
        assert memory.mounts() == (done,)
        assert memory.mounts()[0].trouble == ""
        assert memory.search("hives", space="experts").hits[0].cube.text == TEAM[0]
        assert "behind the old mill" in memory.recall("hives", space="experts").text
        assert memory.ask("Where do the hives stand?", space="experts").text == f"{TEAM[0]} [1]"
        assert texts(memory, space="experts") == sorted(TEAM)
        experts = memory.at(space="experts")
        cube = experts.list().cubes[0]
        assert experts.get(cube.id).text == cube.text
        assert [version.op for version in experts.history(cube.id[:8])] == ["create"]
        assert len(list(experts.iterate())) == len(list(experts.log())) == len(TEAM)
        assert len(experts.diff("2020-01-01").created) == len(TEAM)
        assert experts.space == "experts"
        assert texts(experts.at(space="main")) == texts(memory) == ["I like tea."]
        assert texts(experts.at(space="bees")) == []  # names are those of the memory at home
        assert texts(experts.at(user="ann")) == sorted(TEAM)
    with Memory.open(tmp_path / "home.db", space="experts") as memory:
        assert texts(memory) == sorted(TEAM)


def test_a_mount_is_looked_at_as_of_an_earlier_time(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "team.db", clock=FixedClock("2024-05-01")) as team:
        id = team.add("The hives stand behind the mill.").cubes[0].id
    with Memory.open(tmp_path / "team.db", clock=FixedClock("2024-06-01")) as team:
        team.update(id, text="The hives stand in the orchard.")
    with Memory.open(tmp_path / "home.db", clock=FixedClock("2024-07-01")) as memory:
        for word in ("alpha", "beta", "gamma", "delta"):
            memory.add(word)
        memory.mount("team", tmp_path / "team.db")
        then = memory.as_of("2024-05-15")
        assert texts(then, space="team") == ["The hives stand behind the mill."]
        assert then.search("hives", space="team").hits[0].cube.text == "The hives stand behind the mill."
        assert memory.at(space="team").as_of("2024-05-15").get(id).version == 1
        assert memory.get(id, space="team").version == 2
        assert texts(then.at(space="team").at(as_of=None)) == ["The hives stand in the orchard."]


def test_stats_name_mounts_and_count_them_where_they_lie(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db")
    filled(team, ("elsewhere",), space="other")
    with Memory.open(tmp_path / "home.db") as memory:
        memory.add("I like tea.")
        memory.mount("team", team)
        here, there = memory.stats(), memory.stats(space="team")
        assert (here.cubes, dict(here.by_space)) == (1, {"main": 1})
        assert here.detail["mounts"] == {"team": str(team)}
        assert (there.cubes, dict(there.by_space), there.location) == (3, {"team": 3}, str(team))
        assert "mounts" not in there.detail


WRITES: Mapping[str, Callable[[Memory], object]] = {
    "add": lambda memory: memory.add("one more"),
    "add_many": lambda memory: memory.add_many(()),
    "update": lambda memory: memory.update(memory.list().cubes[0].id, text="otherwise"),
    "forget": lambda memory: memory.forget(whole_space=True),
    "plan_forget": lambda memory: memory.plan_forget(whole_space=True),
}


@pytest.mark.parametrize("verb", sorted(WRITES))
def test_a_mount_for_reading_refuses_to_be_written(verb: str, tmp_path: Path) -> None:
    filled(tmp_path / "team" / "m.db")
    with Memory.open(tmp_path / "home.db", user="ann") as memory:
        memory.mount("team", tmp_path / "team" / "m.db")
        before = seen(tmp_path / "team")
        with pytest.raises(Denied, match="mounted for reading alone") as caught:
            WRITES[verb](memory.at(space="team"))
        assert caught.value.rule == "mount"
        assert seen(tmp_path / "team") == before
        (entry,) = memory.audit(allowed=False)
        assert (entry.line.space, entry.line.rule, entry.line.actor.user) == ("team", "mount", "ann")


OWN: Mapping[str, Callable[[Memory, Path], object]] = {
    "caller": lambda memory, _: memory.caller,
    "store": lambda memory, _: memory.store,
    "check": lambda memory, _: memory.check(),
    "reindex": lambda memory, _: memory.reindex(),
    "catch_up": lambda memory, _: memory.catch_up(),
    "verify": lambda memory, _: memory.verify(),
    "purge": lambda memory, _: memory.purge(),
    "sweep": lambda memory, _: memory.sweep(),
    "configure": lambda memory, _: memory.configure(audit="all"),
    "configuration": lambda memory, _: memory.configuration(),
    "archive": lambda memory, _: memory.archive(memory.list().cubes[0].id),
    "own_key": lambda memory, _: memory.own_key(),
    "shred": lambda memory, _: memory.shred(),
    "branch": lambda memory, _: memory.branch("tried"),
    "undo": lambda memory, _: memory.undo(),
    "work": lambda memory, _: memory.work(),
    "audit": lambda memory, _: list(memory.audit()),
    "grant": lambda memory, _: memory.rights.grant(read=["user:ann"]),
    "policy": lambda memory, _: memory.rights.policy(),
    "pipeline": lambda memory, _: memory.pipeline("transfer", values={"to": "x", "tag": "y"}),
    "export": lambda memory, folder: export(memory, folder / "x.pinyon"),
    "subscribe": lambda memory, folder: subscribe(memory, "bees", str(folder)),
    "about": lambda memory, _: memory.forget(about="ann"),
}


@pytest.mark.parametrize("is_writable", [False, True])
def test_what_concerns_a_whole_memory_is_not_done_through_a_mount(is_writable: bool, tmp_path: Path) -> None:
    filled(tmp_path / "team" / "m.db")
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", tmp_path / "team" / "m.db", writable=is_writable)
        there = memory.at(space="team")
        there.search("bees")
        refused = []
        for verb, call in OWN.items():
            said = "reading alone" if verb == "about" and not is_writable else "not done through a mount"
            with pytest.raises((BadInput, Denied), match=said):
                call(there, tmp_path)
            refused.append(verb)
        assert refused == list(OWN)
        assert texts(there) == sorted(TEAM)
    with Memory.open(tmp_path / "team" / "m.db") as team:
        assert (team.configuration().audit, len(list(team.log())), team.rights.policy().spaces) == ("denials", 3, ())


SESSION = """
import os, sys
from pinyon import Memory
memory = Memory.open({home!r}, audit="all", key=None)
for question in ("hives", "Where do bees swarm?", '"kettle"'):
    memory.search(question, space="team")
    memory.recall(question, space="team")
    memory.ask(question, space="team")
cube = memory.list(space="team").cubes[0]
memory.get(cube.id, space="team"); memory.history(cube.id, space="team"); memory.stats(space="team")
memory.as_of("2030-01-01").search("bees", space="team"); memory.mounts()
{end}
"""


@pytest.mark.parametrize("end", ["memory.close()", "os._exit(0)", "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize("state", ["at rest", "with a log", "with an index", "encrypted"])
def test_a_session_of_reading_leaves_every_byte_as_it_was(state: str, end: str, tmp_path: Path) -> None:
    team, home, key = tmp_path / "team" / "m.db", tmp_path / "home.db", KEY if state == "encrypted" else None
    if key is not None:
        pytest.importorskip("sqlcipher3")
    with Memory.open(team, key=key) as memory:
        for text in TEAM:
            memory.add(text)
        if state == "with an index":
            memory.add_many(Note(f"note {number}") for number in range(1100))
        memory.search("bees")
    if state == "with a log":
        run(f"import os\nfrom pinyon import Memory\nm = Memory.open({str(team)!r})\nm.add('late')\nos._exit(0)")
        assert team.with_name("m.db-wal").stat().st_size
    assert team.with_name("m.db.index").exists() == (state == "with an index")
    with Memory.open(home) as memory:
        memory.mount("team", team, key=key)
    before = seen(tmp_path / "team")
    script, keys = SESSION.format(home=str(home), end=end), dict[str, str]()
    if key is not None:
        (tmp_path / "key").write_bytes(key)
        keys = {"PINYON_MOUNT_TEAM_KEY_FILE": str(tmp_path / "key")}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **keys}, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (-9 if "kill" in end else 0, "")
    assert seen(tmp_path / "team") == before
    with Memory.open(home) as memory:
        found = [entry.line for entry in memory.audit() if entry.line.space == "team" and entry.line.action != "mount"]
        assert {line.action for line in found} == {"search", "recall", "ask", "list", "get", "history"}


def test_what_others_write_into_a_mounted_memory_is_seen_at_once(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db")
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", team)
        for number in range(3):
            run(f"from pinyon import Memory\nwith Memory.open({str(team)!r}) as m: m.add('wasp number {number}')")
            assert len(memory.search("wasp", space="team").hits[: number + 1]) == number + 1
            assert len(texts(memory, space="team")) == len(TEAM) + number + 1


def test_reading_while_others_write_gives_whole_states(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db")
    script = f"""
from pinyon import Memory
for number in range(6):
    with Memory.open({str(team)!r}) as memory:
        for other in range(10):
            memory.add(f"wasp {{number}} {{other}}")
"""
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", team)
        writer, last = subprocess.Popen([sys.executable, "-c", script]), 0
        while writer.poll() is None:
            found = memory.stats(space="team").cubes
            assert found >= last
            last = found
            memory.search("wasp", space="team")
        assert writer.returncode == 0
        assert memory.stats(space="team").cubes == len(TEAM) + 60


def test_a_memory_that_is_written_by_another_thread_can_be_mounted(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "team.db") as team, Memory.open(tmp_path / "home.db") as memory:
        team.add("first")
        memory.mount("team", tmp_path / "team.db")
        assert texts(memory, space="team") == ["first"]
        team.add("second")
        assert texts(memory, space="team") == ["first", "second"]


def test_a_memory_with_a_log_is_written_by_a_process_that_looks_at_it(tmp_path: Path) -> None:
    """SQLite lets all connections of a process use the log's index as the first of them has opened it."""
    team = filled(tmp_path / "team.db")
    run(f"import os\nfrom pinyon import Memory\nm = Memory.open({str(team)!r})\nm.add('late')\nos._exit(0)")
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", team)
        stop, failed = threading.Event(), list[BaseException]()

        def look() -> None:
            try:
                while not stop.is_set():
                    assert memory.stats(space="team").cubes > len(TEAM)
            except BaseException as error:  # told to the thread of the test
                failed.append(error)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(5):
            with Memory.open(team) as itself:
                itself.add(f"wasp {number}")
        memory.mount("too", team, writable=True)
        memory.add("one more", space="too")
        stop.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(texts(memory, space="team")) == len(TEAM) + 7


def test_a_writable_mount_is_written_by_its_own_rules(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "team.db") as team:
        team.rights.redact([RedactionRule("email", "mask")])
        team.configure(audit="changes")
    with Memory.open(tmp_path / "home.db", audit="all") as memory:
        memory.mount("team", tmp_path / "team.db", writable=True)
        there = memory.at(space="team", user="ann")
        cube = there.add("Write to tom@example.org about the hives.").cubes[0]
        assert "tom@example.org" not in cube.text
        assert there.update(cube.id, text="Tom is gone.").version == 2
        other = there.add("Bees swarm in May.", derived_from=[cube.id]).cubes[0]
        assert texts(memory, user="ann") == []
        done = there.forget([cube.id])
        assert {each.id for each in done.cubes} == {cube.id, other.id}
        assert done.receipt is not None
        assert [entry.line.action for entry in memory.audit() if entry.line.action != "mount"] == ["list"]
    with Memory.open(tmp_path / "team.db") as team:
        assert texts(team, user="ann") == []
        assert {entry.line.action for entry in team.audit()} >= {"add", "update", "forget"}
        assert team.check() == []


def test_files_are_imported_into_a_writable_mount(tmp_path: Path) -> None:
    filled(tmp_path / "team.db", ())
    (tmp_path / "note.md").write_text("# Bees\n\nThe hives stand behind the mill.\n", encoding="utf-8")
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", tmp_path / "team.db", writable=True)
        assert import_files(memory, [tmp_path / "note.md"], space="team").cubes
        assert [source.outcome for source in import_files(memory, [tmp_path / "note.md"], space="team").sources] == [
            "unchanged"
        ]


@pytest.mark.parametrize("is_writable", [False, True])
def test_who_may_not_read_a_mounted_space_sees_nothing_of_it(is_writable: bool, tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db", user="ann")
    filled(team, ("Open to all who may look.",))
    with Memory.open(team) as memory:
        memory.rights.grant(read=["user:ann"], write=["user:ann"])
        id = memory.list(user="ann").cubes[0].id
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", team, writable=is_writable)
        ann, eve = memory.at(space="team", user="ann"), memory.at(space="team", user="eve")
        assert len(texts(ann)) == len(TEAM) + 1
        found = eve.search("Where do the hives stand?")
        assert (found.hits, found.considered, dict(found.terms)) == ((), 0, {})
        assert (texts(eve), eve.recall("hives").text) == ([], "")
        assert not eve.ask("Where are the hives?").is_known
        assert (eve.stats().cubes, dict(eve.stats().by_space), list(eve.log())) == (0, {}, [])
        for verb in (eve.get, eve.history):
            with pytest.raises(NotFound):
                verb(id)
        if is_writable:
            with pytest.raises(Denied):
                eve.add("mine")


def test_rights_at_home_are_no_rights_in_what_is_mounted(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db", user="ann")
    with Memory.open(tmp_path / "home.db", user="eve") as memory:
        memory.rights.role("admin", add=["user:eve"])
        memory.mount("team", team)
        assert texts(memory, space="team") == []
        memory.rights.grant(read=["user:ann"], space="main")
        assert len(texts(memory, space="team", user="ann")) == len(TEAM)


def test_calls_that_have_to_be_counted_are_refused_where_nothing_is_written(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db")
    with Memory.open(team) as memory:
        memory.rights.limit("role:guest", "read", calls=100, per="minute")
        memory.rights.role("guest", add=["user:eve"])
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", team)
        assert len(texts(memory, space="team")) == len(TEAM)
        with pytest.raises(Denied, match="cannot be counted"):
            memory.search("hives", space="team", user="eve")
        assert [entry.line.rule for entry in memory.audit(allowed=False)] == ["rate"]


def test_reading_is_audited_at_home_as_the_level_there_asks(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db", space="bees")
    with Memory.open(tmp_path / "home.db", user="ann") as memory:
        memory.mount("experts", team, space="bees")
        memory.search("hives", space="experts")
        assert [entry.line.action for entry in memory.audit()] == ["mount"]
        memory.configure(audit="all")
        memory.search("hives", space="experts")
        memory.unmount("experts")
        lines = [entry.line for entry in memory.audit()]
        assert [line.action for line in lines] == ["mount", "configure", "search", "unmount"]
        assert [line.space for line in lines] == ["experts", "main", "experts", "experts"]
        assert lines[0].detail == {"place": str(team), "space": "bees", "writable": False}
    with Memory.open(team) as there:
        assert list(there.audit()) == []


# --- what may go wrong ---------------------------------------------------------------------------------------------


def _newer(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999")
    db.close()


def _no_log_index(path: Path) -> None:
    run(f"import os\nfrom pinyon import Memory\nm = Memory.open({str(path)!r})\nm.add('late')\nos._exit(0)")
    path.with_name(path.name + "-shm").unlink()


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


FAULTS: Mapping[str, tuple[Callable[[Path], object], type[PinyonError], str]] = {
    "missing": (Path.unlink, NotFound, "there is no memory at"),
    "empty": (lambda path: path.write_bytes(b""), Damaged, "is an empty file"),
    "noise": (lambda path: path.write_bytes(os.urandom(5000)), Damaged, "is not a sound"),
    "short": (lambda path: path.write_bytes(path.read_bytes()[:50]), Damaged, "is not a sound"),
    "cut": (_cut, Damaged, "is not a sound"),
    "newer": (_newer, TooNew, "has schema 999"),
    "no index of the log": (_no_log_index, StoreError, "has a log that was not folded in"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), PinyonError, "cannot be|not a sound|no memory"),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_what_cannot_be_opened_is_not_mounted(fault: str, tmp_path: Path) -> None:
    spoil, kind, said = FAULTS[fault]
    team = filled(tmp_path / "team" / "m.db")
    spoil(team)
    before = seen(tmp_path / "team")
    with Memory.open(tmp_path / "home.db") as memory:
        with pytest.raises(kind, match=said) as caught:
            memory.mount("team", team)
        assert caught.value.hint
        assert memory.mounts() == ()
    assert seen(tmp_path / "team") == before


@pytest.mark.parametrize("fault", sorted(FAULTS))
@pytest.mark.parametrize("is_open", [False, True])
def test_a_memory_whose_mount_cannot_be_used_works_all_the_same(fault: str, is_open: bool, tmp_path: Path) -> None:
    spoil, kind, said = FAULTS[fault]
    team, copy = filled(tmp_path / "team" / "m.db"), tmp_path / "copy.db"
    copy.write_bytes(team.read_bytes())
    home = tmp_path / "home.db"
    with Memory.open(home) as memory:
        memory.mount("team", team)
    memory = Memory.open(home)
    try:
        if is_open:
            assert memory.search("hives", space="team").hits
        if not (is_open and fault in ("newer", "no index of the log")):  # it was let in before
            spoil(team)
            before = seen(tmp_path / "team")
            memory.add("I like tea.")
            with pytest.raises(kind, match=said):
                texts(memory, space="team")
            if not (is_open and fault in ("noise", "short", "cut")):  # the file that is open is another inside
                with pytest.raises(kind, match="'team' is mounted and cannot be used") as caught:
                    memory.at(space="team")
                assert caught.value.hint
                assert said.partition("|")[0] in memory.mounts()[0].trouble or "|" in said
                with pytest.raises(kind):
                    Memory.open(home, space="team")
            assert texts(memory) == ["I like tea."]
            assert seen(tmp_path / "team") == before
            if team.is_dir():
                team.rmdir()
            for file in (tmp_path / "team").iterdir():
                file.unlink()
            copy.rename(team)
        assert texts(memory, space="team") == sorted(TEAM)
        assert memory.mounts()[0].trouble == ""
    finally:
        memory.close()


def test_a_place_that_is_another_memory_now_is_opened_anew(tmp_path: Path) -> None:
    filled(tmp_path / "team.db")
    filled(tmp_path / "other.db", ("Another memory.",))
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", tmp_path / "team.db")
        assert len(memory.search("hives", space="team").hits) == len(TEAM)
        (tmp_path / "other.db").rename(tmp_path / "team.db")
        assert [hit.cube.text for hit in memory.search("hives", space="team").hits] == ["Another memory."]


@pytest.mark.parametrize("name", ["main", "", " ", "../team", "a/b", "a\\b", ".", "..", ".hidden", "a\x00b", "x" * 300])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    filled(tmp_path / "team.db")
    with Memory.open(tmp_path / "home.db") as memory:
        with pytest.raises(BadInput):
            memory.mount(name, tmp_path / "team.db")
        with pytest.raises(NotFound, match="nothing is mounted"):
            memory.unmount(name)
        assert memory.mounts() == ()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (":memory:", "in memory"),
        ("postgresql://ann:secret@db.example/notes", "password"),
        ("postgresql://db.example/notes?read=postgresql://ann:secret@copy.example/notes", "password"),
        ("mysql://db.example/notes", "no store for 'mysql'"),
        ("", "cannot be a path"),
    ],
)
def test_a_place_that_is_none_is_refused(place: str, said: str, tmp_path: Path) -> None:
    with Memory.open(tmp_path / "home.db") as memory:
        with pytest.raises(BadInput, match=said) as caught:
            memory.mount("team", place)
        assert "secret@" not in str(caught.value)
        assert memory.mounts() == ()


def test_a_mount_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    filled(tmp_path / "team.db")
    filled(tmp_path / "other.db")
    with Memory.open(tmp_path / "home.db", user="ann") as memory:
        memory.add("mine", space="notes")
        with pytest.raises(Conflict, match="holds memories already"):
            memory.at(user="eve").mount("notes", tmp_path / "team.db")
        memory.mount("team", tmp_path / "team.db")
        with pytest.raises(Conflict, match="is mounted as 'team' already"):
            memory.mount("team", tmp_path / "other.db")
        with pytest.raises(Conflict, match="is mounted as 'team' already"):
            memory.mount("team", tmp_path / "team.db", space="bees")
        assert memory.mount("team", tmp_path / "team.db", writable=True).is_writable
        assert memory.add("one more", space="team").created == 1
        memory.mount("team", tmp_path / "team.db")
        with pytest.raises(Denied):
            memory.add("and another", space="team")


def test_a_memory_is_not_mounted_in_itself(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "home.db")
    with Memory.open(tmp_path / "home.db") as memory:
        memory.add("I like tea.")
        for place in ("home.db", "link.db"):
            with pytest.raises(BadInput, match="in itself"):
                memory.mount("me", tmp_path / place)


def test_mounts_of_mounts_are_not_followed(tmp_path: Path) -> None:
    first, second = filled(tmp_path / "a.db", ("of a",)), filled(tmp_path / "b.db", ("of b",))
    with Memory.open(first) as a, Memory.open(second) as b:
        a.mount("b", second)
        b.mount("a", first)
        assert (texts(a, space="b"), texts(b, space="a")) == (["of b"], ["of a"])
        assert texts(a.at(space="b").at(space="b").at(space="main")) == ["of a"]
        assert texts(a.at(space="b"), space="a") == []
        with pytest.raises(Conflict, match="mounts of mounts are not followed"):
            a.mount("nested", second, space="a")
    with Memory.open(tmp_path / "c.db") as c:  # mounted there after it was mounted here
        c.mount("later", first, space="late")
        with Memory.open(first) as a:
            a.mount("late", second)
    with Memory.open(tmp_path / "c.db") as c, pytest.raises(Conflict, match="mounts of mounts are not followed"):
        texts(c, space="later")


def test_only_who_may_say_what_holds_for_all_may_mount(tmp_path: Path) -> None:
    filled(tmp_path / "team.db")
    with Memory.open(tmp_path / "home.db", user="ann") as memory:
        memory.rights.role("admin", add=["user:ann"])
        with pytest.raises(Denied):
            memory.at(user="eve").mount("team", tmp_path / "team.db")
        memory.mount("team", tmp_path / "team.db")
        with pytest.raises(Denied):
            memory.at(user="eve", space="team").unmount("team")
        assert len(memory.at(user="eve").mounts()) == 1
        memory.at(space="team").unmount("team")
        actions = [(entry.line.action, entry.line.allowed, entry.line.rule) for entry in memory.audit()]
        assert actions[-4:] == [
            ("mount", False, "admin"),
            ("mount", True, "admin"),
            ("unmount", False, "admin"),
            ("unmount", True, "admin"),
        ]


def test_what_is_mounted_in_one_process_is_in_all(tmp_path: Path) -> None:
    team, home = filled(tmp_path / "team.db"), tmp_path / "home.db"
    with Memory.open(home) as memory:
        early = memory.at(space="team")
        run(f"from pinyon import Memory\nwith Memory.open({str(home)!r}) as m: m.mount('team', {str(team)!r})")
        assert texts(memory, space="team") == sorted(TEAM)
        with pytest.raises(Conflict, match="lies elsewhere"):  # or it would lie beneath, out of sight
            early.add("hidden")
        held = memory.at(space="team")
        run(f"from pinyon import Memory\nwith Memory.open({str(home)!r}) as m: m.unmount('team')")
        assert texts(memory, space="team") == []
        with pytest.raises(BadInput, match="mount is closed"):
            held.search("hives")
        assert memory.add("now it is mine", space="team").created == 1


def test_closing_a_memory_closes_what_is_mounted(tmp_path: Path) -> None:
    filled(tmp_path / "team.db")
    memory = Memory.open(tmp_path / "home.db")
    memory.mount("team", tmp_path / "team.db", writable=True)
    there = memory.at(space="team")
    there.add("one more")
    there.close()
    for closed in (there, memory):
        with pytest.raises(BadInput, match="is closed"):
            closed.search("hives")
    with pytest.raises(BadInput, match="is closed"):
        memory.at(space="team")


def test_threads_share_what_is_mounted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        filled(tmp_path / f"{name}.db", (f"of {name}",))
    with Memory.open(tmp_path / "home.db") as memory:
        for name in ("a", "b"):
            memory.mount(name, tmp_path / f"{name}.db")
    with Memory.open(tmp_path / "home.db") as memory:
        failed: list[BaseException] = []
        barrier = threading.Barrier(8)

        def look(name: str) -> None:
            try:
                barrier.wait()
                for _ in range(20):
                    assert [hit.cube.text for hit in memory.search("of", space=name).hits] == [f"of {name}"]
            except BaseException as error:  # told to the thread of the test
                failed.append(error)

        threads = [threading.Thread(target=look, args=("ab"[n % 2],)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []


# --- keys ----------------------------------------------------------------------------------------------------------


def test_an_encrypted_memory_is_mounted_by_its_key_which_is_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sqlcipher3")
    home, team = tmp_path / "home.db", tmp_path / "team.db"
    with Memory.open(team, key=KEY) as memory:
        memory.add("The hives stand behind the mill.")
        memory.own_key(space="ward")
        memory.add("in the ward", space="ward")
    with Memory.open(home) as memory:
        for key in (None, bytes(32)):
            with pytest.raises(WrongKey):
                memory.mount("the team", team, key=key)
        memory.mount("the team", team, key=KEY)
        memory.mount("ward", team, space="ward", key=KEY)
        assert texts(memory, space="the team") == ["The hives stand behind the mill."]
        assert texts(memory, space="ward") == ["in the ward"]
        assert memory.mount("ward", team, space="ward", writable=True).is_writable  # by the key of before
        assert memory.add("one more", space="ward").created == 1
    assert KEY not in b"".join(file.read_bytes() for file in tmp_path.rglob("home.db*"))
    with Memory.open(home) as memory, pytest.raises(WrongKey, match="'the team' is mounted") as caught:
        texts(memory, space="the team")
    assert "PINYON_MOUNT_THE_TEAM_KEY_FILE" in caught.value.hint
    with Memory.open(home, mount_keys={"the team": KEY}) as memory:
        assert [bool(each.trouble) for each in memory.mounts()] == [False, True]
    (tmp_path / "key").write_bytes(KEY)
    monkeypatch.setenv("PINYON_MOUNT_THE_TEAM_KEY_FILE", str(tmp_path / "key"))
    with Memory.open(home) as memory:
        assert texts(memory, space="the team") == ["The hives stand behind the mill."]


# --- what leaves mounts alone --------------------------------------------------------------------------------------


def test_what_concerns_the_memory_at_home_leaves_mounts_alone(tmp_path: Path) -> None:
    filled(tmp_path / "team" / "m.db", ("Ann keeps bees.",), user="ann")
    with Memory.open(tmp_path / "home.db", user="ann") as memory:
        memory.add("Ann likes tea.", tags=["x"])
        memory.mount("team", tmp_path / "team" / "m.db", writable=True)
        before = (tmp_path / "team" / "m.db").read_bytes()
        assert memory.verify().is_sound
        assert memory.check() == []
        memory.sweep()
        memory.work()
        assert export(memory, tmp_path / "x.pinyon") == 1
        memory.purge()
        with pytest.raises(PipelineFailed, match="another memory is mounted as 'team'"):
            memory.pipeline("transfer", values={"to": "team", "tag": "x"})
        with pytest.raises(BadInput, match="not done through a mount"):
            memory.branch("team")
        plan = memory.plan_forget(about="ann")
        done = memory.forget(about="ann")
        assert (plan.not_covered, done.not_covered, len(done.cubes)) == (("team",), ("team",), 1)
        assert memory.forget(whole_space=True).not_covered == ()
        assert texts(memory, space="team") == ["Ann keeps bees."]
    assert (tmp_path / "team" / "m.db").read_bytes() == before


def test_a_run_of_several_verbs_looks_into_no_mount_and_changes_none(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db")
    with Memory.open(tmp_path / "home.db", user="ann") as memory:
        memory.mount("team", team)
        parts = memory.caller.parts
        with hold(parts.store.engine) as held:
            there = held_parts(
                memory.caller, held, LaterAudit(parts.store.engine.audit), HeldFinder(parts.finder, held)
            )
            inside = Memory(replace(memory.caller, parts=there))
            assert inside.stats().detail["mounts"] == {"team": str(team)}
            for call in (
                lambda: inside.search("hives", space="team"),
                lambda: inside.mount("other", team),
                lambda: inside.unmount("team"),
                inside.mounts,
            ):
                with pytest.raises(BadInput, match=r"is mounted as|not mounted inside a run"):
                    call()
        assert texts(memory, space="team", user="eve") == sorted(TEAM)


def test_a_question_is_sent_to_no_address_that_a_mounted_memory_names(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db")
    with Memory.open(team) as memory:
        memory.store.engine.set_setting("embedder", "openai:tiny@http://127.0.0.1:9")
    with Memory.open(tmp_path / "home.db") as memory:
        memory.mount("team", team)
        found = memory.search("hives", space="team")
        assert found.notes == ()
        assert found.hits[0].cube.text == TEAM[0]


async def _asked(home: Path, team: Path) -> list[str]:
    async with AsyncMemory.open(home) as memory:
        await memory.mount("team", team)
        found = await memory.search("hives", space="team")
        await memory.unmount("team")
        return [hit.cube.text for hit in found.hits[:1]] + [each.name for each in await memory.mounts()]


def test_coroutines_use_mounts(tmp_path: Path) -> None:
    team = filled(tmp_path / "team.db")
    assert asyncio.run(_asked(tmp_path / "home.db", team)) == [TEAM[0]]


# --- the same as the memory itself ---------------------------------------------------------------------------------

_NAMES = st.sampled_from([None, "ann", "eve"])
_CUBES = st.lists(st.tuples(st.sampled_from(["bees", "main"]), _NAMES, st.sampled_from(TEAM)), max_size=6)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cubes=_CUBES, who=_NAMES, reader=_NAMES, space=st.sampled_from(["bees", "main"]))
def test_a_mount_shows_what_the_memory_itself_would(
    cubes: list[tuple[str, str | None, str]],
    who: str | None,
    reader: str | None,
    space: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("mounted")
    with Memory.open(folder / "team" / "m.db") as team:
        for where, owner, text in cubes:
            team.add(text, space=where, user=owner)
        if reader is not None:
            team.rights.grant(read=[f"user:{reader}"], space=space)
    before = seen(folder / "team")
    with Memory.open(folder / "home.db") as memory:
        memory.mount("there", folder / "team" / "m.db", space=space)
        there = memory.at(space="there", user=who)
        mine = there.list().cubes, there.search("hives").hits, there.stats().cubes
    assert seen(folder / "team") == before
    with Memory.open(folder / "team" / "m.db", space=space, user=who) as team:
        assert mine[0] == team.list().cubes
        assert [hit.cube for hit in mine[1]] == [hit.cube for hit in team.search("hives").hits]
        assert mine[2] == team.stats().by_space.get(space, 0)
