"""Everything that is not as it was written is named, worst first; only what is derived is built again."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from pinyon import Memory
from pinyon.core.cube import Draft
from pinyon.core.header import Header, Lineage, Parent
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import View
from pinyon.errors import BadInput, NotFound, StoreError
from pinyon.index import Analyzer, IndexConfig
from pinyon.searching import Finder
from pinyon.serve.cli import main
from pinyon.store import Engine, MemoryEngine, SqliteEngine, Store, export_all
from pinyon.store.side import AuditLine
from pinyon.testing import HashEmbedder
from pinyon.verifying import Problem, Verified, repair, verified_to_json, verify

NOW = datetime(2024, 5, 1, tzinfo=UTC)
ANN = Scope(user="ann")


def filled(engine: Engine) -> Store:
    store = Store(engine)
    blob = engine.blobs.put(b"tensors")
    parents = Lineage((Parent("0" * 32, 1),))
    drafts = [Draft(Text(f"note {n}"), Header(tags=("t",), metadata={"n": n}, lineage=parents)) for n in range(30)]
    placed = store.put([*drafts, Draft(State((blob,), {"m": 1}))], owner=ANN, space="main", now=NOW)
    for p in placed[:3]:
        store.update(p.cube.id, lambda c: replace(c, payload=Text("new")), view=View(ANN), actor=ANN, now=NOW)
    store.rule("policy", "{}", actor=ANN, now=NOW, detail={})
    engine.audit.append([AuditLine(NOW, ANN, "search", True, "owner", "main") for _ in range(3)])
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = filled(SqliteEngine(path))
    yield made
    made.engine.close()


def changed(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    db.execute(sql)
    db.commit()
    db.close()


def finder_of(engine: Engine, folder: Path | None = None) -> Finder:
    return Finder(engine, HashEmbedder(8), Analyzer(), folder, IndexConfig())


@pytest.mark.parametrize("make", [MemoryEngine, None])
def test_a_sound_store_has_no_problem(make: Callable[[], Engine] | None, path: Path, tmp_path: Path) -> None:
    engine = make() if make is not None else SqliteEngine(path)
    store = filled(engine)
    export_all(engine, tmp_path / "a.pinyon", created=NOW)
    told: list[str] = []
    found = verify(
        store,
        finder=finder_of(engine),
        archives=[tmp_path / "a.pinyon"],
        now=NOW,
        progress=lambda what, *_: told.append(what),
    )
    assert found.problems == ()
    assert found.is_sound
    assert found.sound == engine.head().seq == 35
    assert found.checked == {"entries": 35, "cubes": 31, "index": 31, "archives": 1, "receipts": 0}
    assert set(told) == {"journal", "cube", "archive"}
    assert json.loads(json.dumps(verified_to_json(found)))["sound"] is True
    engine.close()


@pytest.mark.parametrize(
    ("sql", "severity", "subject", "message"),
    [
        ("UPDATE events SET op = 'archive' WHERE seq = 7", "damage", "journal", "entry 7 of the journal does not"),
        ("UPDATE events SET user = 'eve' WHERE seq = 7", "damage", "journal", "entry 7 of the journal does not"),
        ("DELETE FROM events WHERE seq = 7", "damage", "journal", "misses the entries 7 to 7"),
        ("UPDATE events SET time = time + 9 WHERE seq = 7", "damage", "journal", "entry 8 of the journal is dated"),
        ("UPDATE events SET detail = '[' WHERE seq = 7", "damage", "journal", "cannot be read"),
        ("UPDATE cubes SET content = 'lies' WHERE row = 9", "damage", "cube", "its seal does not match"),
        ("UPDATE versions SET content = 'lies'", "damage", "cube", "its seal does not match"),
        ("UPDATE cubes SET header = '[' WHERE row = 9", "damage", "cube", "cannot be read"),
        ("UPDATE cubes SET speaker = 'Eve' WHERE row = 9", "derived", "cube", "its columns do not say"),
        ("DELETE FROM facets WHERE row = 9", "derived", "cube", "its filters do not say"),
        ("DELETE FROM parents WHERE row = 9", "derived", "cube", "its parents are not"),
        ("UPDATE meta SET value = '{\"closed\":true}' WHERE key = 'policy'", "damage", "rules", "the rules under"),
        ("INSERT INTO meta VALUES ('retention:acme', '[]')", "damage", "rules", "'retention:acme' are in no entry"),
        ("INSERT INTO meta VALUES ('redaction', '[]')", "damage", "rules", "'redaction' are in no entry"),
        ("DELETE FROM events WHERE seq = 35", "damage", "journal", "lacks entry 35, in which something"),
        ("DELETE FROM events WHERE seq >= 34", "damage", "journal", "lacks entry 35, in which something"),
    ],
)  # fmt: skip
def test_what_was_changed_behind_the_back_is_named(
    store: Store, path: Path, sql: str, severity: str, subject: str, message: str
) -> None:
    changed(path, sql)
    before = rows(path)
    found = verify(store)
    assert not found.is_sound
    said = [(p.severity, p.subject) for p in found.problems if message in p.message]
    assert (severity, subject) in said, found.problems
    assert rows(path) == before


def rows(path: Path) -> list[object]:
    db = sqlite3.connect(path)
    try:
        return [db.execute(f"SELECT * FROM {name}").fetchall() for name in ("cubes", "versions", "events", "facets")]
    finally:
        db.close()


def test_the_last_sound_entry_is_said(store: Store, path: Path) -> None:
    changed(path, "UPDATE events SET cube = 'x' WHERE seq = 7")
    found = verify(store)
    first = next(p for p in found.problems if p.subject == "journal")
    assert (first.entry, first.sound, found.sound, found.checked["entries"]) == (7, 6, 6, 35)


def test_what_cannot_be_read_ends_the_walk_and_is_said(store: Store, path: Path) -> None:
    changed(path, "UPDATE events SET detail = '[' WHERE seq = 17")
    found = verify(store)
    assert found.sound == 16
    assert any(p.entry == 17 and p.sound == 16 for p in found.problems)


def test_a_lost_blob_is_named(store: Store, path: Path) -> None:
    for file in path.with_name("m.db.blobs").rglob("*"):
        if file.is_file():
            file.write_bytes(b"x")
    (problem,) = verify(store).problems
    assert (problem.subject, problem.repair) == ("blob", None)


def test_a_broken_audit_is_named(store: Store) -> None:
    class Broken:
        def problems(self) -> list[str]:
            return ["entry 2 of the audit does not follow from the one before it"]

    class Engine(SqliteEngine):
        audit = Broken()  # type: ignore[assignment]

    store.engine.__class__ = Engine
    assert [(p.subject, p.severity) for p in verify(store).problems] == [("audit", "damage")]


def test_a_damaged_archive_is_named(store: Store, tmp_path: Path) -> None:
    archive = tmp_path / "a.pinyon"
    export_all(store.engine, archive, created=NOW)
    archive.write_bytes(archive.read_bytes()[:-30])
    found = verify(store, archives=[archive, tmp_path / "nowhere"])
    assert [p.subject for p in found.problems] == ["archive", "archive"]
    assert "nowhere" in found.problems[1].message


def test_a_clock_behind_the_journal_is_noticed_and_is_no_problem(store: Store) -> None:
    found = verify(store, now=NOW - timedelta(hours=1))
    assert [(p.severity, p.subject) for p in found.problems] == [("notice", "clock")]
    assert found.is_sound
    view = View(ANN)
    late = store.put([Draft(Text("late"))], owner=ANN, space="main", now=NOW - timedelta(hours=1))[0].cube
    assert late.created == NOW
    assert view.admits(late)
    assert verify(store).problems == ()


# --- damaged pages -------------------------------------------------------------------------------------------------


def test_a_damaged_page_is_named_with_its_number_and_left_as_it_is(path: Path) -> None:
    engine = SqliteEngine(path)
    filled(engine)
    engine.settle()
    engine.close()
    sound = path.read_bytes()
    root = page_of(path, "events")
    wrong = bytearray(sound)
    wrong[(root - 1) * 4096 : root * 4096] = random.Random(5).randbytes(4096)
    path.write_bytes(wrong)
    again = SqliteEngine(path)
    found = verify(Store(again))
    again.close()
    assert any(p.page == root or f"page {root}" in p.message for p in found.problems), found.problems
    journal = [p for p in found.problems if p.subject == "journal"]
    assert journal
    assert journal[0].sound == found.sound
    assert path.read_bytes() == bytes(wrong)


def page_of(path: Path, table: str) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0])
    finally:
        db.close()


def test_random_pages_are_never_sound_and_never_repaired(path: Path) -> None:
    engine = SqliteEngine(path)
    filled(engine)
    engine.settle()
    engine.close()
    sound = path.read_bytes()
    chance = random.Random(1)
    for name in ("cubes", "versions", "events", "facets"):
        wrong = bytearray(sound)
        start = (page_of(path, name) - 1) * 4096
        wrong[start : start + 4096] = chance.randbytes(4096)
        path.write_bytes(wrong)
        assert not looked_at(path).is_sound, name
        assert path.read_bytes() == bytes(wrong)
        path.write_bytes(sound)


def looked_at(path: Path) -> Verified:
    try:
        engine = SqliteEngine(path)
    except StoreError as error:
        return Verified((Problem("damage", "database", error.message),))
    try:
        return verify(Store(engine))
    finally:
        engine.close()


# --- repair --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE cubes SET speaker = 'Eve', state = 'archived', rights = 77, time = 1",
        "DELETE FROM facets",
        "INSERT INTO facets VALUES ('k', '1', 9, 1.0)",
        "DELETE FROM parents",
    ],
)
def test_what_follows_from_headers_is_made_again(store: Store, path: Path, sql: str) -> None:
    before = rows(path)
    changed(path, sql)
    found = verify(store)
    assert {p.repair for p in found.problems} == {"derive_columns"}
    assert sum(repair(p, store=store) for p in found.problems) == len(found.problems)
    assert verify(store).problems == ()
    assert [sorted(map(repr, table)) for table in rows(path)] == [sorted(map(repr, table)) for table in before]


def test_an_index_that_disagrees_is_built_again(store: Store) -> None:
    finder = finder_of(store.engine)
    finder.problems = lambda _: ["the index misses 3 cubes"]  # type: ignore[method-assign]
    (problem,) = verify(store, finder=finder).problems
    assert (problem.severity, problem.repair) == ("derived", "rebuild_index")
    assert repair(problem, store=store, finder=finder) == 31
    with pytest.raises(BadInput, match="nothing to do it with"):
        repair(problem, store=store)


def test_what_is_sealed_is_not_repaired(store: Store, path: Path) -> None:
    changed(path, "UPDATE cubes SET content = 'lies', speaker = 'Eve' WHERE row = 9")
    id = store.engine.by_rows([9])[9].id
    before = rows(path)
    for problem in verify(store).problems:
        with pytest.raises((BadInput, NotFound)):
            repair(problem, store=store)
    with pytest.raises(NotFound):
        repair(Problem("derived", "cube", "x", cube=id, repair="derive_columns"), store=store)
    assert rows(path) == before


def test_problems_are_told_to_machines(store: Store, path: Path) -> None:
    changed(path, "UPDATE cubes SET content = 'lies' WHERE row = 9")
    changed(path, "DELETE FROM facets WHERE row = 8")
    said = verified_to_json(verify(store))
    assert said["sound"] is False
    assert [p["severity"] for p in said["problems"]] == ["damage", "derived"]  # type: ignore[union-attr,index,call-overload]
    assert said["problems"][1]["repair"] == "derive_columns"  # type: ignore[index,call-overload]


def cut(path: Path, after: int) -> None:
    """Take the end off a journal with everything that it tells of, as somebody would who can write the file."""
    for table in ("events", "cubes", "facets", "parents", "vectors", "versions"):
        changed(path, f"DELETE FROM {table} WHERE {'seq' if table == 'events' else 'row'} > {after}")


def test_an_end_that_was_cut_off_with_its_rows_shows_beside_a_head_kept_elsewhere(path: Path) -> None:
    with Memory.open(path) as memory:
        for number in range(5):
            memory.add(f"note {number}")
        early = memory.verify().head
        memory.add("The contract was signed on Friday.")
        late = memory.verify(heads=[early]).head
        assert memory.verify(heads=[early, late]).is_sound
    assert late.startswith("6:")
    cut(path, 5)
    with Memory.open(path) as memory:
        assert memory.verify().is_sound  # what is left follows: only a witness elsewhere knows
        assert memory.verify(heads=[early]).is_sound
        (problem,) = memory.verify(heads=[early, late]).problems
        assert (problem.severity, problem.subject, problem.entry) == ("damage", "journal", 6)
        assert "cut off" in problem.message
        memory.add("The contract was signed on Monday.")
        (problem,) = memory.verify(heads=[late]).problems
        assert "written anew" in problem.message
    shown = CliRunner().invoke(main, ["-p", str(path), "verify", "--head", late])
    assert shown.exit_code == 1
    assert "written anew" in shown.stderr + shown.stdout
    assert CliRunner().invoke(main, ["-p", str(path), "verify", "--head", early]).exit_code == 0


@pytest.mark.parametrize("head", ["", "6", "6:abc", "six:" + "0" * 64, "-1:" + "0" * 64, "1:" + "g" * 64])
def test_what_is_no_head_is_refused(store: Store, head: str) -> None:
    with pytest.raises(BadInput, match="no head of a journal"):
        verify(store, heads=[head])


def test_every_head_that_a_journal_had_is_held_by_it_and_no_other(store: Store) -> None:
    events = list(store.journal())
    heads = [f"{e.seq}:{e.chain}" for e in events]
    assert verify(store, heads=[f"0:{'0' * 64}", *heads]).is_sound
    assert verify(store).head == heads[-1]
    for one, two in pairwise(events):
        assert not verify(store, heads=[f"{one.seq}:{two.chain}"]).is_sound
