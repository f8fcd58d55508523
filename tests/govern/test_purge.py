from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections import namedtuple
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinyon import Memory
from pinyon.core.cube import Cube, Draft
from pinyon.core.experience import Note
from pinyon.core.header import Header, Lineage, Parent, Provenance
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import BadInput, Busy, StoreError
from pinyon.govern import carry_out, plan_forgetting, purge, search_bytes
from pinyon.store import MemoryEngine, SourceMark, SqliteEngine, Store, VectorRows
from pinyon.testing import FixedClock, HashEmbedder

NOW = FixedClock().now()
WORDS = "the ocelot sleeps under Quixadá's viaduct"
BEFORE = "the axolotl swam below Zyrianka's bridge"
VIEW = View(Scope(), ("main",), Where(states=EVERY_STATE))


def spots(folder: Path, *needles: Any) -> list[tuple[str, str]]:
    return [(spot.path.name, spot.form) for spot in search_bytes(folder, needles)]


def filled(folder: Path, embedder: HashEmbedder) -> Cube:
    """Leave a secret in every place that a memory has: rows, versions, log, snapshot, derived cubes, blobs, marks."""
    path = folder / "memory.db"
    with Memory.open(path, embedder=embedder) as memory:
        notes = (Note(f"The {n}th note tells of rivers, mills and doors.") for n in range(1100))
        memory.add_many(notes)  # as many as a snapshot is written for
        secret = memory.add(BEFORE, tags=["ocelot-tag"], metadata={"den": "ocelot-den"}).cubes[0]
        memory.search("axolotl")
    assert spots(folder / "memory.db.index", embedder.embed([BEFORE])[0])  # so the search below can see it
    with Memory.open(path, embedder=embedder) as memory:
        memory.update(secret.id, text=WORDS)
        memory.search("ocelot")
        store = memory.store
        lineage = Lineage((Parent(secret.id, 2),))
        blob = store.engine.blobs.put(WORDS.encode() * 9)
        drafts = [
            Draft(Text(f"in short: {WORDS}"), Header(Provenance(source="ocelot.txt"), lineage=lineage)),
            Draft(State((blob,), {"model": "m"}), Header(lineage=lineage), key="kv"),
        ]
        store.put(drafts, owner=Scope(), space="main", now=NOW, source=SourceMark("ocelot.txt", "0" * 64, 1))
        memory.search("ocelot")
        rows = VectorRows(np.array([secret.row]), np.array([2]), embedder.embed([WORDS]).astype(np.float16))
        with store.engine.transaction() as tx:
            tx.put_vectors("other-model", rows)
    return secret


def test_after_forgetting_and_purging_no_byte_is_left(tmp_path: Path) -> None:
    embedder = HashEmbedder(64)
    secret = filled(tmp_path, embedder)
    vectors = [embedder.embed([text])[0] for text in (BEFORE, WORDS)]
    needles = (WORDS, BEFORE, "ocelot", "Zyrianka", *vectors)
    assert {spot.needle for spot in search_bytes(tmp_path, needles)} == set(range(len(needles)))
    engine = SqliteEngine(tmp_path / "memory.db")
    store = Store(engine)
    receipt = carry_out(store, plan_forgetting(store, VIEW, ids=[secret.id]), actor=Scope(), now=NOW)
    assert len(receipt.erased) == 3
    done = purge(engine, tmp_path / "memory.db.index")
    assert (done.level, done.is_log_empty, done.snapshots > 0) == ("file", True, True)
    assert search_bytes(tmp_path, needles) == []
    engine.close()
    assert search_bytes(tmp_path, needles) == []
    with Memory.open(tmp_path / "memory.db", embedder=embedder) as memory:
        assert memory.check() == []
        assert len(memory.search("rivers").hits) == 10
        assert memory.search("ocelot").terms == {}
    assert search_bytes(tmp_path, needles) == []


def test_the_log_level_is_enough_for_what_was_only_added(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "memory.db")
    store = Store(engine)
    (placed,) = store.put([Draft(Text(WORDS))], owner=Scope(), space="main", now=NOW)
    assert "memory.db-wal" in {name for name, _ in spots(tmp_path, WORDS)}
    store.remove([placed.cube.id], view=VIEW, actor=Scope(), now=NOW)
    done = purge(engine, tmp_path / "nowhere", level="log")
    assert (done.is_log_empty, done.snapshots, done.orphans) == (True, 0, 0)
    assert spots(tmp_path, WORDS, "ocelot") == []
    engine.close()


def test_a_purge_changes_nothing_that_is_remembered(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "memory.db")
    store = Store(engine)
    drafts = [Draft(Text(f"{n} " + "x" * 3000)) for n in range(200)]
    cubes = [p.cube for p in store.put(drafts, owner=Scope(), space="main", now=NOW)]
    store.update(cubes[0].id, lambda old: replace(old, payload=Text("b")), view=VIEW, actor=Scope(), now=NOW)
    store.remove([c.id for c in cubes[100:]], view=VIEW, actor=Scope(), now=NOW)
    before = engine.find(VIEW, newest_first=False, limit=1000, after=None), list(store.journal())
    done = purge(engine, None)
    assert (engine.find(VIEW, newest_first=False, limit=1000, after=None), list(store.journal())) == before
    assert done.after < done.before
    assert store.check() == []
    engine.close()


def test_a_disk_that_is_too_small_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SqliteEngine(tmp_path / "memory.db")
    Store(engine).put([Draft(Text(WORDS))], owner=Scope(), space="main", now=NOW)
    (tmp_path / "memory.db.index").mkdir()
    (tmp_path / "memory.db.index" / "CURRENT").write_bytes(b"a snapshot")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 5, 5))
    with pytest.raises(StoreError, match="free bytes"):
        purge(engine, tmp_path / "memory.db.index")
    assert {file: file.read_bytes() for file in before} == before
    engine.close()


def test_a_database_that_somebody_writes_to_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("pinyon.govern.purge"), "_WAIT_S", 0.05)
    engine = SqliteEngine(tmp_path / "memory.db")
    store = Store(engine)
    store.put([Draft(Text(WORDS))], owner=Scope(), space="main", now=NOW)
    engine._connections.db.execute("PRAGMA busy_timeout = 50")  # the wait is a minute
    other = sqlite3.connect(tmp_path / "memory.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="another process"):
        purge(engine, None)
    other.execute("ROLLBACK")
    other.close()
    assert store.check() == []
    engine.close()


def test_a_reader_of_an_older_state_is_told_of(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "memory.db")
    Store(engine).put([Draft(Text(WORDS))], owner=Scope(), space="main", now=NOW)
    other = sqlite3.connect(tmp_path / "memory.db", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM cubes").fetchone()
    engine._connections.db.execute("PRAGMA busy_timeout = 50")  # the wait is a minute
    Store(engine).put([Draft(Text("more"))], owner=Scope(), space="main", now=NOW)
    assert not purge(engine, None, level="log").is_log_empty
    other.execute("ROLLBACK")
    other.close()
    assert purge(engine, None, level="log").is_log_empty
    engine.close()


def test_blobs_that_nobody_names_go_once_they_are_old(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "memory.db")
    kept, orphan, fresh = (engine.blobs.put(data) for data in (b"kept", b"orphan", b"fresh"))
    Store(engine).put([Draft(State((kept,), {"model": "m"}))], owner=Scope(), space="main", now=NOW)
    folder = tmp_path / "memory.db.blobs"
    half = folder / kept.sha256[:2] / ".half"
    half.write_bytes(b"torn")
    strange = folder / "ab" / ("ab" * 32)  # its bytes are not what its name says, as in an encrypted store
    strange.parent.mkdir(exist_ok=True)
    strange.write_bytes(b"sealed")
    old = time.time() - 7200
    for file in (half, strange, *(folder / b.sha256[:2] / b.sha256 for b in (kept, orphan))):
        os.utime(file, (old, old))
    assert purge(engine, None, level="log").orphans == 2
    left = {file.name for file in folder.rglob("*") if file.is_file()}
    assert left == {kept.sha256, fresh.sha256, strange.name}
    engine.close()


def test_an_engine_in_memory_and_one_that_purges_itself_are_asked_the_same_way() -> None:
    class Server(MemoryEngine):
        purged = 0

        def purge(self) -> None:
            self.purged += 1

    assert purge(MemoryEngine(), None).after == 0
    server = Server()
    purge(server, None)
    purge(server, None, level="log")
    assert server.purged == 1
    with pytest.raises(BadInput, match="deep"):
        purge(server, None, level="deep")  # type: ignore[arg-type]


# --- the search -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (WORDS.encode(), "utf-8"),
        (WORDS.encode("utf-16-le"), "utf-16-le"),
        (WORDS.encode("utf-16-be"), "utf-16-be"),
        (WORDS.lower().encode(), "lower"),
        (b'{"a":"' + WORDS.replace("á", "\\u00e1").encode() + b'"}', "json"),
    ],
    ids=["utf-8", "utf-16-le", "utf-16-be", "lower", "json"],
)
def test_a_text_is_found_however_it_is_written(tmp_path: Path, data: bytes, form: str) -> None:
    (tmp_path / "file").write_bytes(b"\x00" * 1000 + data + b"\xff")
    (spot,) = search_bytes(tmp_path, ["something else", WORDS])
    assert (spot.needle, spot.form, spot.is_whole) == (1, form, True)
    assert spot.offset == 1000 + (6 if form == "json" else 0)


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f2", ">f4"])
def test_a_vector_is_found_however_it_is_written(tmp_path: Path, kind: str) -> None:
    row = np.random.default_rng(0).standard_normal(64)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"abc" + row.astype(kind).tobytes())
    (tmp_path / "empty").write_bytes(b"")
    (spot,) = search_bytes(tmp_path, [row])
    assert (spot.offset, spot.is_whole, spot.path.name) == (3, True, "file")


def test_what_a_page_tears_apart_is_found_in_part(tmp_path: Path) -> None:
    data = WORDS.encode()
    for cut in range(len(data) + 1):
        (tmp_path / "file").write_bytes(data[:cut] + b"\x00\x01\x02\x03" + data[cut:])
        (spot,) = search_bytes(tmp_path, [WORDS])
        assert spot.is_whole == (cut in (0, len(data)))


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(np.random.default_rng(1).bytes(100_000))
    assert search_bytes(tmp_path / "file", [WORDS, np.ones(8)]) == []


@pytest.mark.parametrize("needle", ["", " \n", np.zeros(4)])
def test_what_is_everywhere_is_not_looked_for(tmp_path: Path, needle: Any) -> None:
    with pytest.raises(BadInput, match="everywhere"):
        search_bytes(tmp_path, [needle])
