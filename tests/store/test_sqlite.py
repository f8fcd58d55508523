"""What only a SQLite file can get wrong."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.clock import micros
from pinyon.core.cube import Cube, Draft, seal_hash
from pinyon.core.events import GENESIS, EventOp, chain_of
from pinyon.core.header import Header, Life, Lineage, Parent, Provenance, Rights, header_text
from pinyon.core.payload import Delta, Text
from pinyon.core.scope import Scope
from pinyon.core.where import View, Where
from pinyon.errors import BadInput, Damaged, Denied, StoreError, TooNew
from pinyon.store import SqliteEngine, Store
from pinyon.store.migrations import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from pinyon.store.side import Usage

NOW = datetime(2024, 5, 1, tzinfo=UTC)
ANN = Scope(user="ann")
BOB = Scope(user="bob")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a sound file with a cube of two versions, a forgotten one and a delta."""
    path = tmp_path / "memory.db"
    store = Store(SqliteEngine(path))
    header = Header(
        tags=("red",),
        metadata={"year": 2024},
        provenance=Provenance(thread="t", speaker="Ann"),
        rights=Rights(read=("user:bob",)),
        life=Life(expires=NOW + timedelta(days=9)),
        lineage=Lineage((Parent("0" * 32, 1),)),
    )
    first, second = (
        p.cube for p in store.put([Draft(Text("bees"), header), Draft(Text("wax"))], owner=ANN, space="main", now=NOW)
    )
    store.update(first.id, lambda c: replace(c, payload=Text("honey")), view=View(ANN), actor=ANN, now=NOW)
    store.remove([second.id], view=View(ANN), actor=ANN, now=NOW)
    blob = store.engine.blobs.put(b"tensors")
    store.put([Draft(Delta((blob,), {}))], owner=ANN, space="main", now=NOW)
    store.rule("policy", "{}", actor=ANN, now=NOW, detail={})
    store.engine.close()
    return path


def tamper(path: Path, *statements: str) -> list[str]:
    """Run SQL behind pinyon's back and return what the check says."""
    db = sqlite3.connect(path)
    for statement in statements:
        assert db.execute(statement).rowcount
    db.commit()
    db.close()
    store = Store(SqliteEngine(path))
    found = store.check()
    store.engine.close()
    return found


def test_an_untouched_file_is_sound(file: Path) -> None:
    store = Store(SqliteEngine(file))
    assert store.check() == []
    store.engine.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE cubes SET content = 'sugar' WHERE row = 1", "seal"),
        ("UPDATE cubes SET user = 'eve' WHERE row = 1", "owner"),
        ("UPDATE cubes SET space = 'other' WHERE row = 1", "space"),
        ("UPDATE cubes SET created = created + 1 WHERE row = 1", "time"),
        ("UPDATE cubes SET time = time + 1 WHERE row = 1", "columns"),
        ("UPDATE cubes SET speaker = 'Eve' WHERE row = 1", "columns"),
        ("UPDATE cubes SET state = 'archived' WHERE row = 1", "columns"),
        ("UPDATE cubes SET version = 7 WHERE row = 1", "version"),
        ("UPDATE cubes SET header = '{}' WHERE row = 1", "columns"),
        ("UPDATE cubes SET header = 'no JSON' WHERE row = 1", "cannot be read"),
        ("UPDATE cubes SET header = '[]' WHERE row = 1", "cannot be read"),
        ("UPDATE cubes SET tenant = '' WHERE row = 1", "cannot be read"),
        ("UPDATE cubes SET content = CAST(x'ff' AS TEXT) WHERE row = 1", "no text"),
        ("DELETE FROM cubes WHERE row = 1", "not there"),
        ("INSERT INTO cubes SELECT 99, 'f', version, space, tenant, user, agent, session, kind, state, thread,"
         " position, speaker, source, time, created, updated, seq, rights, expires, until, content, payload, header,"
         " hash, parent FROM cubes WHERE row = 1", "cube f"),
        ("UPDATE cubes SET seq = 1 WHERE row = 1", "names entry 1"),
        ("UPDATE cubes SET rights = 0 WHERE row = 1", "columns"),
        ("UPDATE cubes SET rights = 7 WHERE row = 1", "columns"),
        ("UPDATE cubes SET expires = NULL WHERE row = 1", "columns"),
        ("UPDATE cubes SET until = 7 WHERE row = 1", "columns"),
        ("UPDATE rights SET said = '{}'", "columns"),
        ("DELETE FROM rights", "columns"),
        ("DELETE FROM parents", "parents"),
        ("UPDATE parents SET parent = 'f'", "parents"),
        ("UPDATE parents SET row = 77", "parents of a cube 77"),
        ("INSERT INTO usage (row, count, rate) VALUES (77, 1, 0.0)", "usage of a cube 77"),
        ("UPDATE versions SET seq = 2", "version 1 of cube"),
        ("UPDATE versions SET next = 9", "does not end where the next begins"),
        ("UPDATE versions SET row = 9", "does not end where the next begins"),
        ("UPDATE meta SET value = '{\"closed\":true}' WHERE key = 'policy'", "rules under 'policy'"),
        ("DELETE FROM meta WHERE key = 'policy'", "rules under 'policy'"),
        ("UPDATE versions SET content = 'sugar'", "version 1 of cube"),
        ("DELETE FROM versions", "version 1 of cube"),
        ("UPDATE versions SET id = 'f'", "versions of a cube f"),
        ("DELETE FROM facets WHERE key = 'year'", "filters"),
        ("UPDATE facets SET value = '2025', number = 2025 WHERE key = 'year'", "filters"),
        ("UPDATE events SET user = 'eve' WHERE seq = 3", "entry 3"),
        ("UPDATE events SET time = time + 1 WHERE seq = 3", "entry 3"),
        ("UPDATE events SET op = 'archive' WHERE seq = 3", "entry 3"),
        ("UPDATE events SET detail = '{\"a\":1}' WHERE seq = 3", "entry 3"),
        ("UPDATE events SET detail = 'no JSON' WHERE seq = 3", "entry 3"),
        ("UPDATE events SET chain = hash WHERE seq = 3", "entry 3"),
        ("DELETE FROM events WHERE seq = 3", "misses the entries 3"),
        ("DELETE FROM events WHERE seq = 5", "cube"),
        ("DELETE FROM events WHERE seq >= 4", "not there"),
    ],
)  # fmt: skip
def test_tampering_is_found_and_named(file: Path, statement: str, named: str) -> None:
    assert any(named in problem for problem in tamper(file, statement))


def test_a_forged_event_with_a_right_chain_is_told_by_its_cube(file: Path) -> None:
    found = tamper(file, "DELETE FROM events WHERE seq = 5", "DELETE FROM cubes WHERE row = 1")
    assert any("row 1" in problem for problem in found)


def test_a_cube_that_cannot_be_read_is_an_error_not_a_gap(file: Path) -> None:
    tamper(file, "UPDATE cubes SET header = 'no JSON' WHERE row = 1")
    engine = SqliteEngine(file)
    with pytest.raises(Damaged, match="cannot be read"):
        engine.find(View(ANN), newest_first=True, limit=9, after=None)
    engine.close()


def test_an_error_of_the_caller_inside_a_transaction_stays_what_it_is(file: Path) -> None:
    engine = SqliteEngine(file)
    with pytest.raises(Denied), engine.transaction():
        raise Denied("not yours")
    engine.close()


def test_a_number_beyond_64_bits_is_bad_input(file: Path) -> None:
    engine = SqliteEngine(file)
    with pytest.raises(BadInput, match="64 bits"):
        engine.find(View(ANN), newest_first=True, limit=9, after=(10**30, 0))
    engine.close()


def test_threads_that_ended_leave_no_open_file(file: Path) -> None:
    engine = SqliteEngine(file)

    def read() -> None:
        engine.count(View(ANN))

    in_threads([read] * 2)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        in_threads([read] * 2)
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    engine.close()
    assert after <= before + 2


def test_threads_lose_no_update(file: Path) -> None:
    store = Store(SqliteEngine(file, durability="normal"))
    (placed,) = store.put([Draft(Text("0"))], owner=ANN, space="main", now=NOW)

    def count() -> None:
        def more(cube: Cube) -> Cube:
            return replace(cube, payload=Text(str(int(cube.text) + 1)))

        for _ in range(25):
            store.update(placed.cube.id, more, view=View(ANN), actor=ANN, now=NOW)

    in_threads([count] * 4)
    cube = store.engine.get(placed.cube.id, View(ANN))
    store.engine.close()
    assert cube is not None
    assert cube.text == "100"


def in_threads(steps: list[Callable[[], None]]) -> None:
    """Run each step in a thread and raise what one of them raised."""
    failed: list[BaseException] = []

    def run(step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_a_file_that_appears_while_others_make_it_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    identities: list[str] = []

    def make() -> None:
        engine = SqliteEngine(path)
        identities.append(engine.identity)
        engine.close()

    in_threads([make] * 8)
    assert len(set(identities)) == 1


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "a" / "b" / "memory.db")
    assert engine.count(View()) == 0
    engine.close()


def test_a_folder_in_place_of_the_file_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be"):
        SqliteEngine(tmp_path)


def test_a_file_in_place_of_the_folder_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be"):
        SqliteEngine(tmp_path / "file" / "memory.db")


def test_an_empty_file_becomes_a_memory(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    path.touch()
    engine = SqliteEngine(path)
    assert engine.count(View()) == 0
    engine.close()


@pytest.mark.parametrize("content", [b"x", b"Dear diary,\n" * 900, b"SQLite format 3\x00", b"\x00" * 4096])
def test_a_file_of_another_sort_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "memory.db"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="not a sound pinyon database"):
        SqliteEngine(path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["memory.db"]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_foreign_database_is_refused_and_left_as_it_is(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "foreign.db"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA journal_mode = {mode}")
    db.execute("CREATE TABLE guests (name TEXT)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(Damaged, match="not one of pinyon's"):
        SqliteEngine(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["foreign.db"]


def test_a_later_schema_is_refused_and_left_as_it_is(file: Path) -> None:
    db = sqlite3.connect(file)
    db.execute("PRAGMA journal_mode = delete")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    before = file.read_bytes()
    with pytest.raises(TooNew, match=f"schema {SCHEMA_VERSION + 1}") as caught:
        SqliteEngine(file)
    assert "upgrade" in caught.value.hint
    assert file.read_bytes() == before


def test_a_fresh_file_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    SqliteEngine(path).close()
    head = path.read_bytes()[:100]
    assert int.from_bytes(head[68:72]) == APPLICATION_ID
    assert int.from_bytes(head[60:64]) == SCHEMA_VERSION


def test_our_own_file_whose_first_pages_lie_in_the_log_is_known(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    engine = SqliteEngine(path)
    Store(engine).put([Draft(Text("bees"))], owner=ANN, space="main", now=NOW)
    copy = tmp_path / "copy.db"
    for end in ("", "-wal"):
        (tmp_path / f"copy.db{end}").write_bytes(Path(f"{path}{end}").read_bytes())
    engine.close()
    again = SqliteEngine(copy)
    assert again.count(View(ANN)) == 1
    again.close()


# --- a database of the first schema ----------------------------------------------------------------------------------

OLD_CUBE = (
    "row, id, version, space, tenant, user, agent, session, kind, state, thread, position, speaker, source, time,"
    " created, updated, content, payload, header, hash, parent"
)
OLD_VERSION = "id, version, session, updated, content, payload, header, hash, parent"
OLD_EVENT = "seq, time, op, tenant, user, agent, session, space, cube, row, version, hash, detail, chain"


class OldFile:
    """Writes a file as the first version of pinyon did, without any code of the store."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path)
        MIGRATIONS[0].apply(self.db)
        self.db.execute("INSERT INTO migrations VALUES ('first schema', 0)")
        self.db.execute("INSERT INTO meta VALUES ('identity', 'old')")
        self.db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self.db.execute("PRAGMA user_version = 1")
        self.seq, self.chain = 0, GENESIS
        self.created: dict[int, int] = {}

    def write(
        self, op: EventOp, row: int, version: int, text: str, header: Header, parent: str, moment: datetime
    ) -> str:
        """Write a version of a cube of Ann's with its entry in the journal, and return its seal."""
        seal = seal_hash(Text(text), header, parent)
        id = f"{row:032x}"
        if version > 1:
            self.db.execute(f"INSERT INTO versions SELECT {OLD_VERSION} FROM cubes WHERE row = ?", (row,))
            self.db.execute("DELETE FROM cubes WHERE row = ?", (row,))
        else:
            assert row == self.seq + 1
        created = self.created.setdefault(row, micros(moment))
        times = (created, created, micros(moment))
        p = header.provenance
        values = (row, id, version, "main", None, "ann", None, None, "text", header.life.state, p.thread, p.position,
                  p.speaker, p.source, *times, text, None, header_text(header), seal, parent)  # fmt: skip
        self.db.execute(f"INSERT INTO cubes ({OLD_CUBE}) VALUES ({','.join('?' * 22)})", values)
        self.seq += 1
        about = {"seq": self.seq, "time": moment, "op": op, "actor": ANN, "space": "main", "cube": id, "row": row,
                 "version": version, "hash": seal, "detail": {}}  # fmt: skip
        self.chain = chain_of(self.chain, **about)  # type: ignore[arg-type]
        self.db.execute(
            f"INSERT INTO events ({OLD_EVENT}) VALUES ({','.join('?' * 14)})",
            (self.seq, micros(moment), op, None, "ann", None, None, "main", id, row, version, seal, None, self.chain),
        )
        return seal

    def close(self) -> None:
        self.db.commit()
        self.db.close()


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """Return a file of the first schema: a changed cube, an archived one, one with rights, lineage and dates."""
    path = tmp_path / "old.db"
    old = OldFile(path)
    day = timedelta(days=1)
    first = old.write("create", 1, 1, "bees", Header(), "", NOW)
    plain = old.write("create", 2, 1, "wax", Header(), "", NOW)
    told = Header(
        rights=Rights(sensitivity=("health",)),
        life=Life(valid_to=NOW + 2 * day, expires=NOW + 3 * day),
        lineage=Lineage((Parent(f"{1:032x}", 1),)),
    )
    old.write("create", 3, 1, "a summary", told, "", NOW)
    second = old.write("update", 1, 2, "honey", Header(), first, NOW + day)
    old.write("archive", 2, 2, "wax", Header(life=Life(state="archived")), plain, NOW + 2 * day)
    old.write("update", 1, 3, "mead", Header(), second, NOW + 2 * day)
    old.close()
    return path


def test_a_file_of_the_first_schema_is_brought_up_to_date_and_is_sound(old_file: Path) -> None:
    store = Store(SqliteEngine(old_file))
    assert store.check() == []
    found = store.engine.find(View(ANN), newest_first=False, limit=9, after=None)
    assert [(c.text, c.version, c.seq) for c in found] == [("mead", 3, 6), ("a summary", 1, 3)]
    assert [c.seq for c in store.engine.past([1, 2])] == [1, 4, 2]
    store.engine.close()


def test_a_file_of_the_first_schema_can_be_read_as_of_its_past(old_file: Path) -> None:
    engine = SqliteEngine(old_file)
    texts = []
    for at in range(7):
        seen = engine.find(View(ANN, at=at), newest_first=False, limit=9, after=None)
        texts.append([c.text for c in sorted(seen, key=lambda c: c.row)])
    engine.close()
    assert texts == [
        [],
        ["bees"],
        ["bees", "wax"],
        ["bees", "wax", "a summary"],
        ["honey", "wax", "a summary"],
        ["honey", "a summary"],
        ["mead", "a summary"],
    ]


def test_a_file_of_the_first_schema_is_filtered_by_what_its_headers_say(old_file: Path) -> None:
    store = Store(SqliteEngine(old_file))
    engine = store.engine
    assert [c.text for c in engine.children([f"{1:032x}"])] == ["a summary"]
    assert engine.count(View(ANN)) == 2
    assert engine.count(View(ANN, moment=NOW + timedelta(days=3))) == 1
    assert engine.count(View(ANN, where=Where(valid_at=NOW + timedelta(days=2)))) == 1
    uncleared = Access.of(BOB, Policy(spaces=(("main", SpaceRights(Rights(read=("*",)), reach=("*",))),),
                                      clearances=(("user:ann", ("health",)),)))  # fmt: skip
    assert engine.count(View(BOB, access=uncleared)) == 1
    changed = store.update(f"{1:032x}", lambda c: replace(c, payload=Text("x")), view=View(ANN), actor=ANN, now=NOW)
    assert changed.seq == 7
    assert engine.count(View(ANN, where=Where(states=("stale",)))) == 1
    assert store.check() == []
    engine.close()


def test_many_cubes_of_the_first_schema_are_brought_up_to_date_in_pages(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = OldFile(path)
    seals = [old.write("create", row, 1, f"n{row}", Header(), "", NOW) for row in range(1, 1052)]
    labelled = Header(rights=Rights(sensitivity=("health",)))
    for row, seal in enumerate(seals, 1):
        old.write("update", row, 2, f"n{row}", labelled, seal, NOW)
    old.close()
    engine = SqliteEngine(path)
    assert Store(engine).check() == []
    assert engine.count(View(ANN, at=1051)) == 1051
    engine.close()


def test_a_damaged_cube_of_the_first_schema_is_left_to_the_check(old_file: Path) -> None:
    db = sqlite3.connect(old_file)
    db.execute('UPDATE cubes SET header = \'no "rights" nor "parents"\' WHERE row = 3')
    db.commit()
    db.close()
    store = Store(SqliteEngine(old_file))
    assert any("cannot be read" in problem for problem in store.check())
    store.engine.close()


def test_a_file_of_the_first_schema_that_cannot_be_written_says_so(old_file: Path) -> None:
    db = sqlite3.connect(old_file)
    db.execute("PRAGMA journal_mode = delete")
    db.close()
    before = old_file.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        with pytest.raises(StoreError, match="has schema 1"):
            SqliteEngine(old_file)
    assert old_file.read_bytes() == before


def test_usage_of_the_fourth_schema_is_kept_and_its_sessions_are_counted_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    store = Store(SqliteEngine(path))
    (placed,) = store.put([Draft(Text("The key hangs in the hall."))], owner=Scope(), space="main", now=NOW)
    cube = placed.cube
    store.engine.close()
    db = sqlite3.connect(path)
    for column in ("text", "sessions"):
        db.execute(f"ALTER TABLE usage DROP COLUMN {column}")
    db.execute("INSERT INTO usage VALUES (?, 3, ?, 0.5)", (cube.row, micros(NOW)))
    db.execute("DELETE FROM migrations WHERE name = 'sessions of usage'")
    db.execute("PRAGMA user_version = 4")
    db.commit()
    db.close()
    engine = SqliteEngine(path)
    assert engine.usage.of([cube.row]) == {cube.row: Usage(3, NOW, 0.5)}
    used = Usage(4, NOW, 0.6, "d" * 64, ("a", "b"))
    engine.usage.change([cube.row], lambda _: {cube.row: used})
    engine.close()
    again = SqliteEngine(path)
    assert again.usage.of([cube.row]) == {cube.row: used}
    assert Store(again).check() == []
    again.close()


def test_every_migration_is_counted() -> None:
    assert len(MIGRATIONS) == SCHEMA_VERSION
