"""The audit in a SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from ..core.clock import from_micros
from ..core.events import GENESIS
from ..core.scope import Scope
from ._audit_chain import chained, problems_of, raw_of
from ._connections import Connections
from ._said import plainly
from .side import AuditEntry, AuditLine

__all__ = ["SCHEMA", "SqliteAudit"]

SCHEMA = """
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    tenant TEXT, user TEXT, agent TEXT, session TEXT,
    action TEXT NOT NULL,
    allowed INTEGER NOT NULL,
    rule TEXT NOT NULL,
    space TEXT NOT NULL,
    cube TEXT NOT NULL,
    detail TEXT NOT NULL,
    chain TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_tenant ON audit (tenant, allowed);
CREATE INDEX audit_by_cube ON audit (cube) WHERE cube <> '';
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is only appended to'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is only appended to'); END;
"""

_HEAD = "audit head"  # in meta: number and chain value of the last line, so that lines cut off at the end are missed
_LINE = "time, tenant, user, agent, session, action, allowed, rule, space, cube, detail"
_TRIGGERS = ("audit_no_delete", "audit_no_update")


class SqliteAudit:
    """Lines in a table that refuses to be changed; the number and chain value of the last one lie in ``meta``.

    A line that is changed, removed, or put in is named by `problems`, at the end too. Whoever can write the file and
    knows this code can still make the rest of the chain anew, and its mark: keep the chain value of an exported
    report elsewhere, and compare.

    Args:
        connections: To the file.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def append(self, lines: Sequence[AuditLine]) -> None:
        """Write lines in one transaction of their own."""
        if not lines:
            return
        with self._connections.writing, plainly(self._connections.path):
            db = self._connections.db
            db.execute("BEGIN IMMEDIATE")
            try:
                entries = list(chained(lines, *_end(db)))
                db.executemany(
                    f"INSERT INTO audit (seq, {_LINE}, chain) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                    [(entry.seq, *raw_of(entry.line), entry.chain) for entry in entries],
                )
                mark = f"{entries[-1].seq} {entries[-1].chain}"
                db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_HEAD, mark))
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def read(
        self,
        after: int,
        limit: int,
        *,
        tenant: str | None,
        allowed: bool | None = None,
        cube: str | None = None,
        newest_first: bool = False,
    ) -> list[AuditEntry]:
        """Return entries of a tenant after a number (before it when the newest come first; 0 begins at the end)."""
        tests, values = ["tenant IS ?"], [tenant]
        if allowed is not None:
            tests.append(f"allowed = {int(allowed)}")
        if cube is not None:
            tests.append("cube = ?")
            values.append(cube)
        if after or not newest_first:
            tests.append(f"seq {'<' if newest_first else '>'} {int(after)}")
        sql = f"SELECT seq, {_LINE}, chain FROM audit WHERE {' AND '.join(tests)}"
        order = "DESC" if newest_first else "ASC"
        with self._connections.reading() as db:
            return [_entry_of(row) for row in db.execute(f"{sql} ORDER BY seq {order} LIMIT {int(limit)}", values)]

    def problems(self) -> list[str]:
        """Return where the chain breaks, and whether the table could be changed without a word."""
        with self._connections.reading() as db:
            db.execute("BEGIN")
            try:
                rows = db.execute(f"SELECT seq, {_LINE}, chain FROM audit ORDER BY seq")
                found = problems_of(((row[0], row[1:-1], row[-1]) for row in rows), _mark(db))
                sql = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"
                there = {name for (name,) in db.execute(sql)}
            finally:
                db.execute("COMMIT")
        return found + [
            f"the audit may be changed: its trigger {name} is gone" for name in _TRIGGERS if name not in there
        ]


def _mark(db: sqlite3.Connection) -> tuple[int, str] | None:
    """Return number and chain value of the last line as ``meta`` has them."""
    found = db.execute("SELECT value FROM meta WHERE key = ?", (_HEAD,)).fetchone()
    number, _, chain = (found[0] if found else "").partition(" ")
    return (int(number), chain) if number.isdecimal() else None


def _end(db: sqlite3.Connection) -> tuple[int, str]:
    """Return what the next line follows: the mark, not the last row, so that going on hides no row that was cut off."""
    (last,) = db.execute("SELECT ifnull(max(seq), 0) FROM audit").fetchone()
    number, chain = _mark(db) or (0, GENESIS)
    return max(number, last), chain


def _entry_of(row: Sequence[object]) -> AuditEntry:
    seq, time, tenant, user, agent, session, action, allowed, rule, space, cube, detail, chain = row
    line = AuditLine(
        time=from_micros(time),  # type: ignore[arg-type]  # a strict table
        actor=Scope(tenant, user, agent, session),  # type: ignore[arg-type]
        action=action,  # type: ignore[arg-type]
        allowed=bool(allowed),
        rule=rule,  # type: ignore[arg-type]
        space=space,  # type: ignore[arg-type]
        cube=cube,  # type: ignore[arg-type]
        detail=json.loads(detail) if detail else {},  # type: ignore[arg-type]
    )
    return AuditEntry(seq, line, chain)  # type: ignore[arg-type]
