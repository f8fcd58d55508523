"""What a migration needs of a PostgreSQL store beyond its contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from ..core.scope import Scope
from ._pg_rows import read
from ._pg_side import JOB_COLUMNS, job_values
from ._pg_transaction import PostgresTransaction
from .base import SourceMark, Transaction
from .migrate import ReadSource
from .postgres import PostgresEngine
from .side import Job

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresRest"]


class PostgresRest:
    """Lists and writes what `Engine` does not.

    Args:
        engine: The store.
    """

    def __init__(self, engine: PostgresEngine) -> None:
        self._links = engine.links

    def settings(self) -> dict[str, str]:
        """Return all notes of the store about itself, but its identity."""
        found = self._links.read(
            lambda db: db.execute("SELECT key, value FROM meta WHERE key <> 'identity'").fetchall()
        )
        return {read(str(key)): read(str(value)) for key, value in found}

    def sources(self) -> list[ReadSource]:
        """Return the marks of all sources."""
        sql = 'SELECT space, tenant, "user", agent, key, digest, cubes FROM sources'
        return [
            ReadSource(space, Scope(tenant or None, user or None, agent or None), SourceMark(read(key), digest, cubes))
            for space, tenant, user, agent, key, digest, cubes in self._links.read(
                lambda db: db.execute(sql).fetchall()
            )
        ]

    def tenants(self) -> list[str | None]:
        """Return whom the audit knows."""
        found = self._links.read(lambda db: db.execute("SELECT DISTINCT tenant FROM audit").fetchall())
        return [None if tenant is None else str(tenant) for (tenant,) in found]

    def mark_forgotten(self, tx: Transaction, rows: Mapping[str, int]) -> None:
        """Note inside a transaction that ids were forgotten, with the rows they had."""
        db = cast(PostgresTransaction, tx)._db  # of this engine
        with db.cursor() as cursor:
            cursor.executemany("INSERT INTO forgotten VALUES (%s, %s) ON CONFLICT DO NOTHING", list(rows.items()))

    def put_jobs(self, jobs: Sequence[Job]) -> None:
        """Write jobs with their numbers."""

        def work(db: psycopg.Connection) -> None:
            names = f"id, {JOB_COLUMNS}"
            marks = ", ".join(["%s"] * len(names.split(", ")))
            db.execute("DELETE FROM jobs WHERE id = ANY(%s)", ([job.id for job in jobs],))
            with db.cursor() as cursor:
                values = [(job.id, *job_values(job)) for job in jobs]
                cursor.executemany(f"INSERT INTO jobs ({names}) VALUES ({marks})", values)
            db.execute("SELECT setval(pg_get_serial_sequence('jobs', 'id'), (SELECT max(id) FROM jobs))")

        self._links.write(work)
