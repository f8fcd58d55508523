"""The table of the audit: the same lines in every engine, and nothing changed behind its back without a word."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.core.scope import Scope
from pinyon.errors import StoreError
from pinyon.store import SqliteEngine
from pinyon.store._connections import Connections
from pinyon.store._memory_audit import MemoryAudit
from pinyon.store._sqlite_audit import SCHEMA, SqliteAudit
from pinyon.store.migrations import APPLICATION_ID
from pinyon.store.side import AuditLine, AuditTable

NOW = datetime(2024, 5, 1, tzinfo=UTC)
ANN = Scope(tenant="acme", user="ann", session="s1")
META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID"


def line(number: int = 0, *, actor: Scope = ANN, allowed: bool = True, cube: str = "") -> AuditLine:
    return AuditLine(NOW + timedelta(seconds=number), actor, "get", allowed, "owner", "main", cube, {"hits": number})


def table_in(path: Path) -> SqliteAudit:
    """Return the audit of a file, made when it is not there."""
    connections = Connections(path, "normal")
    if not connections.db.execute("SELECT 1 FROM sqlite_master").fetchone():
        for statement in (META, *(part for part in SCHEMA.split(";\n") if part.strip())):
            connections.db.execute(statement)
        connections.db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    return SqliteAudit(connections)


@pytest.fixture(params=["sqlite", "memory"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> AuditTable:
    return table_in(tmp_path / "audit.db") if request.param == "sqlite" else MemoryAudit()


def test_lines_come_back_as_they_were_written_and_are_numbered_from_one(table: AuditTable) -> None:
    lines = [line(number, cube="c" * number, allowed=number % 2 == 0) for number in range(5)]
    table.append(lines[:2])
    table.append(lines[2:])
    found = table.read(0, 100, tenant="acme")
    assert [entry.line for entry in found] == lines
    assert [entry.seq for entry in found] == [1, 2, 3, 4, 5]
    assert table.problems() == []


def test_nothing_is_written_for_no_lines(table: AuditTable) -> None:
    table.append([])
    assert table.read(0, 10, tenant="acme") == []
    assert table.problems() == []


def test_the_chain_is_sha256_over_the_value_before_and_the_line(table: AuditTable) -> None:
    table.append([line(1), line(2)])
    chain = "0" * 64
    for entry in table.read(0, 10, tenant="acme"):
        micros = int(entry.line.time.timestamp() * 1_000_000)
        said = [entry.seq, micros, "acme", "ann", None, "s1", "get", 1, "owner", "main", ""]
        said.append(json.dumps(dict(entry.line.detail), separators=(",", ":")))
        text = chain + "\n" + json.dumps(said, separators=(",", ":"))
        chain = hashlib.sha256(text.encode()).hexdigest()
        assert entry.chain == chain


def test_a_tenant_reads_its_own_lines_alone(table: AuditTable) -> None:
    table.append([line(1), line(2, actor=Scope(tenant="other")), line(3, actor=Scope(user="ann"))])
    assert [entry.seq for entry in table.read(0, 10, tenant="acme")] == [1]
    assert [entry.seq for entry in table.read(0, 10, tenant="other")] == [2]
    assert [entry.seq for entry in table.read(0, 10, tenant=None)] == [3]


_CALLS = st.tuples(
    st.integers(0, 12), st.integers(0, 5), st.sampled_from(["acme", None]), st.sampled_from([True, False, None]),
    st.sampled_from(["", "a", None]), st.booleans(),
)  # fmt: skip
_LINES = st.lists(
    st.builds(
        line,
        st.integers(0, 9),
        actor=st.sampled_from([ANN, Scope(user="bob")]),
        allowed=st.booleans(),
        cube=st.sampled_from(["", "a", "b"]),
    ),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(_LINES, st.lists(_CALLS, max_size=8))
def test_sqlite_and_memory_answer_alike(tmp_path_factory: pytest.TempPathFactory, lines, calls) -> None:
    tables: list[AuditTable] = [table_in(tmp_path_factory.mktemp("audit") / "audit.db"), MemoryAudit()]
    for table in tables:
        table.append(lines[:3])
        table.append(lines[3:])
    for after, limit, tenant, allowed, cube, newest in calls:
        first, second = (
            table.read(after, limit, tenant=tenant, allowed=allowed, cube=cube, newest_first=newest) for table in tables
        )
        assert first == second


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file whose audit has six lines."""
    path = tmp_path / "audit.db"
    table = table_in(path)
    table.append([line(number) for number in range(6)])
    table._connections.close()
    return path


def tampered(path: Path, *statements: str) -> SqliteAudit:
    db = sqlite3.connect(path)
    for name in ("audit_no_update", "audit_no_delete"):
        db.execute(f"DROP TRIGGER IF EXISTS {name}")
    for statement in statements:
        assert db.execute(statement).rowcount
    for statement in SCHEMA.split(";\n"):
        if "TRIGGER" in statement:
            db.execute(statement)
    db.commit()
    db.close()
    return table_in(path)


_COPY = "SELECT {}, time, tenant, user, agent, session, action, allowed, rule, space, cube, detail, chain FROM audit"


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["UPDATE audit SET allowed = 0 WHERE seq = 3"], "line 3 of the audit was changed"),
        (["UPDATE audit SET user = 'eve' WHERE seq = 6"], "line 6 of the audit was changed"),
        (["UPDATE audit SET tenant = NULL WHERE seq = 1"], "line 1 of the audit was changed"),
        (["UPDATE audit SET chain = '0' WHERE seq = 2"], "line 2 of the audit was changed"),
        (["DELETE FROM audit WHERE seq = 1"], "lines 1 to 1 of the audit are missing"),
        (["DELETE FROM audit WHERE seq IN (3, 4)"], "lines 3 to 4 of the audit are missing"),
        (["DELETE FROM audit WHERE seq > 4"], "lines 5 to 6 at the end of the audit are missing"),
        (["DELETE FROM audit"], "lines 1 to 6 at the end of the audit are missing"),
        (["DELETE FROM meta"], "lost the mark of its last line"),
        (["INSERT INTO audit " + _COPY.format(7) + " WHERE seq = 6"], "line 7 of the audit was changed, put in"),
        (["INSERT INTO audit " + _COPY.format(0) + " WHERE seq = 1"], "line 0 of the audit was not written"),
        (
            ["DELETE FROM audit WHERE seq = 3", "INSERT INTO audit " + _COPY.format(3) + " WHERE seq = 2"],
            "line 3 of the audit was changed, put in",
        ),
    ],
)
def test_what_is_changed_behind_its_back_is_named(file: Path, statements: list[str], named: str) -> None:
    assert table_in(file).problems() == []
    table = tampered(file, *statements)
    assert named in "\n".join(table.problems())
    table.append([line(9)])  # going on hides nothing
    assert table.problems()


def test_a_line_put_at_the_end_with_a_sound_chain_is_named(file: Path) -> None:
    from pinyon.store._audit_chain import chained, raw_of

    last = table_in(file).read(0, 1, tenant="acme", newest_first=True)[0]
    (forged,) = chained([line(7)], last.seq, last.chain)
    db = sqlite3.connect(file)
    db.execute(f"INSERT INTO audit VALUES ({','.join('?' * 13)})", (forged.seq, *raw_of(forged.line), forged.chain))
    db.commit()
    db.close()
    assert table_in(file).problems() == ["the last line of the audit is not line 6 as it was written"]
    table_in(file).append([line(8)])
    assert table_in(file).problems() == ["line 8 of the audit was changed, put in, or follows a line that was"]


def test_many_broken_lines_are_counted_not_listed(file: Path) -> None:
    table_in(file).append([line(number) for number in range(40)])
    found = tampered(file, "UPDATE audit SET rule = 'x'").problems()
    assert len(found) == 21
    assert found[-1] == "26 more lines of the audit do not follow the line before them"


@pytest.mark.parametrize("statement", ["UPDATE audit SET allowed = 1", "DELETE FROM audit WHERE seq = 1"])
def test_the_table_itself_refuses_to_be_changed(file: Path, statement: str) -> None:
    db = sqlite3.connect(file)
    with pytest.raises(sqlite3.IntegrityError, match="only appended to"):
        db.execute(statement)
    db.close()


def test_a_dropped_trigger_is_named(file: Path) -> None:
    db = sqlite3.connect(file)
    db.execute("DROP TRIGGER audit_no_update")
    db.close()
    assert table_in(file).problems() == ["the audit may be changed: its trigger audit_no_update is gone"]


def test_a_file_that_may_not_be_written_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    table = table_in(file)
    assert len(table.read(0, 10, tenant="acme")) == 6
    with pytest.raises(StoreError, match="cannot be written"):
        table.append([line(1)])


def test_an_engine_keeps_its_audit_beside_its_cubes(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "memory.db")
    engine.audit.append([line(1), line(2)])
    engine.close()
    again = SqliteEngine(tmp_path / "memory.db")
    assert [entry.line for entry in again.audit.read(0, 10, tenant="acme")] == [line(1), line(2)]
    assert again.audit.problems() == []
    again.close()


_WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pinyon.core.scope import Scope
from pinyon.store._connections import Connections
from pinyon.store._sqlite_audit import SqliteAudit
from pinyon.store.side import AuditLine
table = SqliteAudit(Connections(Path(sys.argv[1]), "normal"))
for number in range(30):
    line = AuditLine(datetime.now(UTC), Scope(user=sys.argv[2]), "add", True, "owner", "main", "", {"n": number})
    table.append([line, line])
"""


@pytest.fixture
def writers(file: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen([sys.executable, "-c", _WRITER, str(file), name]) for name in ("ann", "bob", "eve")]
    yield started
    for writer in started:
        writer.kill()


def test_several_processes_append_without_a_gap(file: Path, writers: list[subprocess.Popen[bytes]]) -> None:
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    table = table_in(file)
    found = table.read(0, 1000, tenant=None)
    assert [entry.seq for entry in found] == list(range(7, 187))
    for name in ("ann", "bob", "eve"):
        said = [entry.line.detail["n"] for entry in found if entry.line.actor.user == name]
        assert said == [number for number in range(30) for _ in range(2)]
    assert table.problems() == []
