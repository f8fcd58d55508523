"""What the PostgreSQL engine does beyond the contract of the store room."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pg_server import WHY_NOT, Server, free_port, make_folder, unpack

from pinyon.core.cube import Draft
from pinyon.core.header import Header, Provenance, Rights
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import View
from pinyon.errors import BadInput, Busy, Damaged, StoreError, TooNew
from pinyon.store import Store
from pinyon.store import _pg_link as link
from pinyon.store import _pg_schema as schema
from pinyon.store._pg_rows import read, spell
from pinyon.store._pg_walls import said_by
from pinyon.store.postgres import PostgresEngine, grant_walls
from pinyon.store.side import Usage

psycopg = pytest.importorskip("psycopg")
pytestmark = [pytest.mark.postgres, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
NOW = datetime(2024, 5, 1, tzinfo=UTC)
NOBODY, ANN, BOB = Scope(), Scope(user="ann"), Scope(user="bob")


@pytest.fixture
def engine(address: str) -> Iterator[PostgresEngine]:
    engine = PostgresEngine(address, buckets=2)
    yield engine
    engine.close()


def put(engine: PostgresEngine, *texts: str, owner: Scope = NOBODY, **header: object) -> list[str]:
    made = [Draft(Text(text), Header(**header)) for text in texts]  # type: ignore[arg-type]
    return [p.cube.id for p in Store(engine).put(made, owner=owner, space="main", now=NOW)]


def texts(engine: PostgresEngine, caller: Scope = NOBODY) -> list[str]:
    return [cube.text for cube in engine.find(View(caller), newest_first=False, limit=99, after=None)]


def run(engine: PostgresEngine, sql: str) -> list[tuple[object, ...]]:
    with engine.links.hold() as db:
        found = db.execute(sql)
        return found.fetchall() if found.description else []


# --- addresses and errors


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("mysql://x/y", BadInput),
        ("postgresql://localhost/x?schema=Not%20a%20name", BadInput),
        ("postgresql://localhost/x?schema=" + "x" * 41, BadInput),
    ],
)
def test_what_is_no_address_is_refused(address: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        PostgresEngine(address)


def test_a_server_that_is_not_there_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_PAUSES", (0.0,))
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        PostgresEngine(f"postgresql://me:secret@127.0.0.1:{free_port()}/x")
    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_there_is_named(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_PAUSES", (0.0,))
    with pytest.raises(StoreError, match="does not exist"):
        PostgresEngine(postgres.address.replace("/postgres", "/nowhere").replace("//nowhere", "//postgres"))


def test_the_location_shows_no_password(engine: PostgresEngine) -> None:
    assert "@" not in engine.location


def test_a_later_version_is_refused_and_left_alone(engine: PostgresEngine, address: str) -> None:
    run(engine, "INSERT INTO migrations (name, applied) VALUES ('of the future', 0)")
    with pytest.raises(TooNew, match="of the future"):
        PostgresEngine(address)


def test_a_changed_column_is_found_and_a_missing_table_named(engine: PostgresEngine) -> None:
    put(engine, "one")
    assert engine.problems() == []
    run(engine, "UPDATE cubes SET speaker = 'x'")
    assert "columns do not say" in engine.problems()[0]
    run(engine, "DROP TABLE events")
    with pytest.raises(Damaged, match="is missing"):
        engine.journal(0, 1)


def test_a_number_or_text_that_cannot_be_kept_is_refused(engine: PostgresEngine) -> None:
    with pytest.raises(BadInput, match="Unicode"):
        engine.set_setting("k", "\ud800")
    with pytest.raises(BadInput, match="64 bits"):
        put(engine, "far", provenance=Provenance(thread="t", position=10**30))


def test_a_writer_who_waits_too_long_is_told_so(
    engine: PostgresEngine, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LOCK_WAIT_S", 1)
    other = PostgresEngine(address, buckets=2)
    with engine.transaction(), pytest.raises(Busy, match="too long"):
        put(other, "blocked")
    put(other, "free")
    other.close()


def test_the_spelling_of_texts_loses_nothing_and_keeps_their_order() -> None:
    samples = [
        "",
        "\x00",
        "\x00\x00",
        "\x01",
        "\x01\x00",
        "\x00\x01",
        "\x02",
        "a\x00b",
        "a\x01",
        "a",
        "\x01\x02",
        "b\x00",
    ]
    assert [read(spell(text)) for text in samples] == samples
    assert all("\x00" not in spell(text) for text in samples)
    assert sorted(samples) == sorted(samples, key=spell)


def test_a_text_that_ends_within_a_character_is_named_as_damaged(engine: PostgresEngine) -> None:
    put(engine, "whole")
    run(engine, "UPDATE cubes SET content = E'cut off\\x01'")
    with pytest.raises(Damaged, match="behind pinyon's back"):
        texts(engine)


def test_control_characters_are_found_letter_for_letter(engine: PostgresEngine) -> None:
    put(engine, "a\x01b", "a\x00b", "a\x02b")
    for wanted in ("\x01", "\x00", "\x02", "\x01b", "\x02b"):
        found = engine.containing(wanted, View(), 1)
        assert [wanted in cube.text for cube in found] == [True], repr(wanted)


# --- connections


def test_a_read_survives_its_connection(engine: PostgresEngine) -> None:
    put(engine, "kept")
    threads = [threading.Thread(target=lambda: texts(engine)) for _ in range(4)]  # several are idle afterwards
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run(engine, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query <> ''")
    with engine.links.hold() as db, psycopg.connect(engine.links.address, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (db.info.backend_pid,))
    assert texts(engine) == ["kept"]


def test_a_write_whose_connection_is_lost_before_its_end_did_not_happen(engine: PostgresEngine) -> None:
    with pytest.raises(StoreError), engine.transaction() as tx:  # noqa: PT012  # the exit of the block is what raises
        db = engine.links.current
        assert db is not None
        with psycopg.connect(engine.links.address, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (db.info.backend_pid,))
        tx.set_setting("k", "v")
    assert engine.setting("k") is None


def cut_off(monkeypatch: pytest.MonkeyPatch, *, is_committed: bool) -> None:
    """Lose every connection at its next COMMIT, before or after the server has it."""
    plain = psycopg.Connection.execute

    def cut(self: psycopg.Connection, query: str, *rest: object, **more: object) -> object:
        if query != "COMMIT":
            return plain(self, query, *rest, **more)  # type: ignore[arg-type]
        if is_committed:
            plain(self, "COMMIT")
        self.close()
        raise psycopg.OperationalError("the connection is closed")

    monkeypatch.setattr(psycopg.Connection, "execute", cut)


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_commit_without_an_answer_is_asked_after(
    engine: PostgresEngine, is_committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        Store(engine).put([Draft(Text("half"))], owner=NOBODY, space="main", now=NOW,
                          embed=lambda _: cut_off(monkeypatch, is_committed=is_committed))  # fmt: skip

    if is_committed:
        write()
    else:
        with pytest.raises(StoreError, match="nothing of it was written"):
            write()
    monkeypatch.undo()
    assert texts(engine) == (["half"] if is_committed else [])


@pytest.mark.parametrize(("is_committed", "said"), [(True, "is not known"), (False, "nothing of it was written")])
def test_a_note_whose_number_the_server_may_have_given_again_is_not_called_written(
    engine: PostgresEngine, is_committed: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(monkeypatch, is_committed=is_committed)
    with pytest.raises(StoreError, match=said):
        engine.set_setting("k", "v")
    monkeypatch.undo()
    assert engine.setting("k") == ("v" if is_committed else None)


def _look(address: str, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    results.put(texts(HELD[0]))
    put(HELD[0], "of the child")


HELD: list[PostgresEngine] = []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking beside threads
def test_a_forked_child_connects_for_itself(engine: PostgresEngine, address: str) -> None:
    put(engine, "of the parent")
    HELD[:] = [engine]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_look, args=(address, results))
    child.start()
    assert results.get(timeout=60) == ["of the parent"]
    child.join()
    assert child.exitcode == 0
    assert texts(engine) == ["of the parent", "of the child"]


def test_a_writer_gets_a_second_connection_while_others_wait_with_all_the_rest(address: str) -> None:
    engine = PostgresEngine(address, buckets=2, pool=2)
    others = [threading.Thread(target=put, args=(engine, f"of thread {number}")) for number in range(3)]
    with engine.transaction() as tx:
        for other in others:
            other.start()
        time.sleep(0.2)
        blob = engine.blobs.put(b"beside")
        tx.set_setting("k", "v")
    for other in others:
        other.join()
    assert engine.blobs.get(blob) == b"beside"
    assert len(texts(engine)) == 3
    engine.close()


def test_followers_are_woken_when_the_journal_moves(engine: PostgresEngine, address: str) -> None:
    assert not engine.wait(0, 0.05)
    woken: list[bool] = []
    follower = threading.Thread(target=lambda: woken.append(engine.wait(0, 60)))
    follower.start()
    time.sleep(0.1)
    put(engine, "news")
    follower.join()
    assert woken == [True]
    assert engine.wait(0, 0)


def test_rights_that_come_between_question_and_answer_are_known(engine: PostgresEngine) -> None:
    put(engine, "open")
    seen = []
    plain = engine._rights.read

    def late(db: psycopg.Connection, *, is_committed: bool) -> object:
        known = plain(db, is_committed=is_committed)
        if not seen:
            seen.append(1)
            put(other, "closed", rights=Rights(deny=("user:ann",)))
        return known

    other = PostgresEngine(engine.links.address + f"?schema={engine.links.schema}", buckets=2)
    engine._rights.read = late  # type: ignore[method-assign,assignment]
    assert texts(engine, ANN) == ["open"]
    other.close()


# --- reading elsewhere


def test_a_replica_answers_once_it_has_what_this_process_wrote(postgres: Server, address: str) -> None:
    folder = make_folder()
    replica = Server(unpack(), folder)
    engine = PostgresEngine(address, buckets=2)
    put(engine, "first")
    try:
        replica.start_as_copy_of(postgres)
        reading = PostgresEngine(address, read_address=replica.address)
        assert texts(reading) == ["first"]
        run(engine, "SELECT 1")
        put(reading, "second")
        assert texts(reading) == ["first", "second"]  # from whichever has it
        only = PostgresEngine(f"{replica.address}?schema={engine.links.schema}")
        assert only.is_read_only
        with pytest.raises(StoreError, match="cannot be written"):
            put(only, "third")
        only.close()
        reading.close()
    finally:
        engine.close()
        replica.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_callers_are_answered_by_the_replica_and_writers_by_the_first(engine: PostgresEngine, address: str) -> None:
    put(engine, "on the first")
    other = PostgresEngine(address.replace("?schema=t", "?schema=u"), buckets=2)  # stands for a replica that lags
    reading = PostgresEngine(address, read_address=other.links.address)
    assert reading._replica is not None
    reading._replica.schema = other.links.schema
    reading._replica.close()
    assert texts(reading) == []
    put(reading, "also on the first")
    assert texts(reading) == ["on the first", "also on the first"]
    for each in (reading, other):
        each.close()


# --- row-level security


def test_raw_sql_under_the_walled_role_shows_nothing_of_others(engine: PostgresEngine) -> None:
    ids = put(engine, "of ann", owner=ANN) + put(engine, "of bob", owner=BOB) + put(engine, "shared")
    put(engine, "of another tenant", owner=Scope(tenant="t"))
    put(engine, "bob lets ann read", owner=BOB, rights=Rights(read=("user:ann",)))
    for id, owner in zip(ids, (ANN, BOB, NOBODY), strict=True):
        view = View(owner)
        Store(engine).update(
            id, lambda old: replace(old, payload=Text(old.text + "!")), view=view, actor=owner, now=NOW
        )
    grant_walls(engine, "pinyon_raw")
    with engine.links.hold() as db, db.transaction():
        db.execute("SET LOCAL ROLE pinyon_raw")
        assert db.execute("SELECT content FROM cubes").fetchall() == []  # nobody said who asks
        known = engine._rights.read(db, is_committed=True)
        for name, value in said_by(View(ANN), known).items():
            db.execute("SELECT set_config(%s, %s, true)", (f"pinyon.{name}", value))
        seen = {content for (content,) in db.execute("SELECT content FROM cubes")}
        assert seen == {"of ann!", "shared!", "bob lets ann read"}
        assert {content for (content,) in db.execute("SELECT content FROM versions")} == {"of ann", "shared"}
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute("SELECT * FROM cubes_0")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute("DELETE FROM cubes")


def test_an_engine_behind_the_walls_answers_and_writes(engine: PostgresEngine, address: str) -> None:
    grant_walls(engine, "pinyon_caller")
    walled = PostgresEngine(address, role="pinyon_caller")
    put(walled, "of ann", owner=ANN)
    put(walled, "of bob", owner=BOB)
    assert (texts(walled, ANN), texts(walled, BOB), texts(walled)) == (["of ann"], ["of bob"], [])
    assert walled.spaces(View(ANN)) == ["main"]
    run(walled, "SELECT 1 FROM events")  # the owner is back after a question
    walled.close()


# --- schemas


def test_an_index_is_made_while_others_read_and_write(engine: PostgresEngine, address: str) -> None:
    put(engine, *(f"n{number}" for number in range(50)))
    names = [step.name for step in schema.MIGRATIONS]
    later = names[names.index("find by facet and parent") :]
    run(engine, "DROP INDEX cubes_by_facet")
    run(engine, "DROP INDEX cubes_by_parent")
    run(engine, "ALTER TABLE usage DROP COLUMN text, DROP COLUMN sessions")
    run(engine, "ALTER TABLE blobs DROP COLUMN put")
    for name in later:
        run(engine, f"DELETE FROM migrations WHERE name = '{name}'")
    run(engine, "CREATE INDEX cubes_by_facet ON ONLY cubes USING gin (facets) WHERE facets IS NOT NULL")  # cut off
    stop, written = threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            put(engine, f"beside {written[0]}", tags=("red",))
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    PostgresEngine(address).close()
    while written[0] < 2:
        time.sleep(0.01)
    stop.set()
    writer.join()
    mine = "relnamespace = current_schema()::regnamespace AND relname LIKE 'cubes_by_facet%'"
    sql = "SELECT bool_and(indisvalid), count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    valid = run(engine, f"{sql} WHERE {mine}")
    assert valid == [(True, 4)]
    assert engine.problems() == []


def test_usage_and_blobs_of_an_older_schema_are_kept(engine: PostgresEngine, address: str) -> None:
    put(engine, "one")
    (cube,) = engine.find(View(ANN), newest_first=True, limit=9, after=None)
    blob = engine.blobs.put(b"tensors")
    engine.usage.change([cube.row], lambda _: {cube.row: Usage(3, NOW, 0.5)})
    run(engine, "ALTER TABLE usage DROP COLUMN text, DROP COLUMN sessions")
    run(engine, "ALTER TABLE blobs DROP COLUMN put")
    run(engine, "DELETE FROM migrations WHERE name IN ('sessions of usage', 'age of blobs')")
    newer = PostgresEngine(address)
    assert newer.usage.of([cube.row]) == {cube.row: Usage(3, NOW, 0.5)}
    used = Usage(4, NOW, 0.6, "d" * 64, ("a", "b"))
    newer.usage.change([cube.row], lambda _: {cube.row: used})
    assert newer.usage.every(0, 9) == [(cube.row, used)]
    assert newer.blobs.get(blob) == b"tensors"
    assert newer.blobs.sweep(3600.0) == 0
    assert newer.blobs.sweep(0.0) == 1
    assert newer.problems() == []
    newer.close()


def test_several_processes_may_open_a_store_that_is_not_there_yet(address: str) -> None:
    opened: list[object] = []

    def open() -> None:
        try:
            engine = PostgresEngine(address, buckets=2)
            opened.append(engine.identity)
            engine.close()
        except Exception as error:
            opened.append(error)

    threads = [threading.Thread(target=open) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    assert len(set(map(str, opened))) == 1


def test_plain_tables_as_citus_distributes_them_hold_the_same(address: str) -> None:
    engine = PostgresEngine(address, buckets=0)
    (id,) = put(engine, "one", tags=("red",))
    Store(engine).update(id, lambda old: replace(old, payload=Text("two")), view=View(), actor=NOBODY, now=NOW)
    assert Store(engine).check() == []
    tables = "('cubes', 'versions', 'vectors')"
    sql = f"SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename IN {tables}"
    unique = run(engine, f"{sql} AND indexdef LIKE 'CREATE UNIQUE%'")
    assert len(unique) == 4
    assert all("space" in str(definition) for (definition,) in unique)  # what Citus asks of a distribution column
    engine.close()


def test_what_was_erased_is_not_in_a_dump_after_a_purge(engine: PostgresEngine, postgres: Server) -> None:
    (id,) = put(engine, "the secret of the lighthouse")
    put(engine, "stays")
    Store(engine).remove([id], view=View(), actor=NOBODY, now=NOW)
    engine.purge()
    dump = postgres.dump(engine.links.schema)
    assert "stays" in dump
    assert "lighthouse" not in dump
    files = list(postgres.folder.glob(f"data{postgres.port}/base/**/*"))
    assert files
    assert not any(b"secret of the lighthouse" in path.read_bytes() for path in files if path.is_file())


# --- the audit


def test_the_audit_refuses_to_be_changed_and_says_when_it_was(engine: PostgresEngine) -> None:
    from pinyon.store.side import AuditLine

    lines = [AuditLine(NOW, Scope(tenant="t"), "get", n > 1, "owner", "main", "c", {"n": n}) for n in range(4)]
    engine.audit.append(lines)
    assert [entry.line for entry in engine.audit.read(0, 9, tenant="t", cube="c")] == lines
    assert [entry.seq for entry in engine.audit.read(4, 9, tenant="t", allowed=True, newest_first=True)] == [3]
    assert engine.audit.problems() == []
    for sql in ("UPDATE audit SET rule = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(psycopg.Error, match="only appended"):
            run(engine, sql)
    run(engine, "ALTER TABLE audit DISABLE TRIGGER audit_unchanged")
    run(engine, "DELETE FROM audit WHERE seq = 4")
    run(engine, "UPDATE audit SET rule = 'x' WHERE seq = 2")
    problems = " ".join(engine.audit.problems())
    assert all(said in problems for said in ("line 2", "4 to 4", "may be changed"))


def test_the_audit_of_a_verb_that_failed_stays(engine: PostgresEngine) -> None:
    from pinyon.store.side import AuditLine

    with pytest.raises(KeyError), engine.transaction() as tx:  # noqa: PT012  # the same
        tx.set_setting("k", "v")
        engine.audit.append([AuditLine(NOW, NOBODY, "update", False, "deny", "main")])
        raise KeyError
    assert len(engine.audit.read(0, 9, tenant=None)) == 1
    assert engine.setting("k") is None
