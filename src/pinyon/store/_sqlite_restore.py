"""What a migration needs of a SQLite store beyond its contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ..core.scope import Scope
from ._said import plainly
from ._sqlite_jobs import _COLUMNS, _values
from ._sqlite_transaction import SqliteTransaction
from .base import SourceMark, Transaction
from .migrate import ReadSource
from .side import Job
from .sqlite import SqliteEngine

__all__ = ["SqliteRest"]

_OWN = ("identity", "audit head")  # notes that are this file's alone


class SqliteRest:
    """Lists and writes what `Engine` does not.

    Args:
        engine: The store.
    """

    def __init__(self, engine: SqliteEngine) -> None:
        self._connections = engine._connections

    def settings(self) -> dict[str, str]:
        """Return all notes of the store about itself, but those that are this file's alone."""
        with self._connections.reading() as db:
            found = db.execute("SELECT key, value FROM meta").fetchall()
        return {key: value for key, value in found if key not in _OWN}

    def sources(self) -> list[ReadSource]:
        """Return the marks of all sources."""
        with self._connections.reading() as db:
            found = db.execute("SELECT space, tenant, user, agent, key, digest, cubes FROM sources").fetchall()
        return [
            ReadSource(space, Scope(tenant or None, user or None, agent or None), SourceMark(*mark))
            for space, tenant, user, agent, *mark in found
        ]

    def tenants(self) -> list[str | None]:
        """Return whom the audit knows."""
        with self._connections.reading() as db:
            return [tenant for (tenant,) in db.execute("SELECT DISTINCT tenant FROM audit")]

    def mark_forgotten(self, tx: Transaction, rows: Mapping[str, int]) -> None:
        """Note inside a transaction that ids were forgotten, with the rows they had."""
        db = cast(SqliteTransaction, tx)._db  # of this engine
        db.executemany("INSERT OR IGNORE INTO forgotten VALUES (?, ?)", list(rows.items()))

    def put_jobs(self, jobs: Sequence[Job]) -> None:
        """Write jobs with their numbers."""
        names = f"id, {_COLUMNS}"
        marks = ", ".join("?" * len(names.split(", ")))
        with self._connections.writing, plainly(self._connections.path):
            db = self._connections.db
            db.execute("BEGIN IMMEDIATE")
            try:
                db.executemany(
                    f"INSERT OR REPLACE INTO jobs ({names}) VALUES ({marks})", [(job.id, *_values(job)) for job in jobs]
                )
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
