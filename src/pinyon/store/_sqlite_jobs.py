"""Usage and jobs in the SQLite file of the cubes.

A call made inside `SqliteEngine.transaction` by the same thread takes part in it; every other is a transaction of its
own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from ..core.clock import from_micros, micros
from ..core.payload import canonical
from ..errors import Conflict
from ._connections import Connections
from ._memory_jobs import JOB_STATES, USAGE_COLUMNS, freed, is_held, taken_by, usage_of, usage_values
from ._said import plainly
from .side import Job, JobState, Usage

__all__ = ["SCHEMA", "SESSIONS", "SqliteJobs", "SqliteUsage"]

SCHEMA = """
CREATE TABLE usage (
    row INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    last INTEGER,
    rate REAL NOT NULL
) STRICT;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    arguments TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    most_attempts INTEGER NOT NULL,
    worker TEXT NOT NULL,
    lease INTEGER,
    done INTEGER NOT NULL,
    total INTEGER NOT NULL,
    is_cancelling INTEGER NOT NULL,
    error TEXT NOT NULL,
    result TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX jobs_by_key ON jobs (kind, key) WHERE key <> '' AND state IN ('waiting', 'running');
CREATE INDEX jobs_by_turn ON jobs (priority DESC, due, id) WHERE state = 'waiting';
CREATE INDEX jobs_by_lease ON jobs (lease) WHERE state = 'running';
"""

SESSIONS = """
ALTER TABLE usage ADD COLUMN text TEXT NOT NULL DEFAULT '';
ALTER TABLE usage ADD COLUMN sessions TEXT NOT NULL DEFAULT '';
"""
"""In how many sessions a memory was used with the text it has; the hashes stand one after the other, with a space."""

_COLUMNS = (
    "kind, arguments, key, state, priority, due, attempts, most_attempts, worker, lease, done, total, is_cancelling,"
    " error, result, created, updated"
)
_SETS = ", ".join(f"{name} = ?" for name in _COLUMNS.split(", "))
_MARKS = ", ".join("?" * len(_COLUMNS.split(", ")))
_MOST_VARIABLES = 500  # values a statement, below SQLite's oldest limit of 999


class SqliteUsage:
    """Usage by row.

    Args:
        connections: To the file.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def of(self, rows: Sequence[int]) -> dict[int, Usage]:
        """Return the usage of rows; rows never used are missing."""
        with self._connections.reading() as db:
            return _usage(db, rows)

    def change(self, rows: Sequence[int], change: Callable[[Mapping[int, Usage]], Mapping[int, Usage]]) -> None:
        """Read, change and write the usage of rows in one transaction; what the answer leaves out stays as it is."""
        with _writing(self._connections) as db:
            changed = change(_usage(db, rows))
            db.executemany(
                f"INSERT OR REPLACE INTO usage ({USAGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
                [(row, *usage_values(used)) for row, used in changed.items()],
            )

    def every(self, after: int, limit: int) -> list[tuple[int, Usage]]:
        """Return rows with their usage, ascending from just after a row."""
        sql = f"SELECT {USAGE_COLUMNS} FROM usage WHERE row > ? ORDER BY row LIMIT ?"
        with self._connections.reading() as db:
            return [usage_of(values) for values in db.execute(sql, (after, limit))]

    def remove(self, rows: Sequence[int]) -> None:
        """Drop the usage of rows whose cubes are forgotten."""
        with _writing(self._connections) as db:
            db.executemany("DELETE FROM usage WHERE row = ?", [(row,) for row in rows])


class SqliteJobs:
    """Jobs, safe against other workers and processes.

    Args:
        connections: To the file.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Queue jobs; one whose key is taken by a waiting or running job of its kind is returned as that one."""
        with _writing(self._connections) as db:
            return [_add(db, job) for job in jobs]

    def lease(self, worker: str, kinds: Sequence[str], now: datetime, until: datetime, limit: int) -> list[Job]:
        """Take free jobs that are due, the highest priority first, then the earliest due, then the oldest.

        Of those that were begun `most_attempts` times each becomes dead instead, and one that its vanished worker was
        asked to stop becomes cancelled.
        """
        named = ", ".join("?" * len(kinds))
        lapsed = f"state = 'running' AND lease <= ? AND kind IN ({named}) ORDER BY id"
        free = f"state = 'waiting' AND due <= ? AND kind IN ({named}) ORDER BY priority DESC, due, id LIMIT ?"
        out: list[Job] = []
        with _writing(self._connections) as db:
            for job in _jobs(db, lapsed, (micros(now), *kinds)):
                _write(db, freed(job, now))
            while len(out) < limit:
                page = _jobs(db, free, (micros(now), *kinds, limit - len(out)))
                if not page:
                    break
                for job in page:
                    taken = taken_by(job, worker, now, until)
                    _write(db, taken)
                    out.extend([taken] if taken.state == "running" else [])
        return out

    def change(self, id: int, worker: str, change: Callable[[Job], Job]) -> Job | None:
        """Read, change and write a job while this worker holds it (an empty name asks for no holder); else None.

        Raises:
            Conflict: Another waiting or running job has its key.
        """
        with _writing(self._connections) as db:
            found = _jobs(db, "id = ?", (id,))
            if not found or not is_held(found[0], worker):
                return None
            changed = replace(change(found[0]), id=id)
            taken = _holder(db, changed) if changed.state in ("waiting", "running") else None
            if taken is not None:
                raise Conflict(f"job {taken.id} already has the key {changed.key!r}", hint="wait until it is done")
            _write(db, changed)
            return changed

    def get(self, id: int) -> Job | None:
        """Return a job."""
        with self._connections.reading() as db:
            found = _jobs(db, "id = ?", (id,))
        return found[0] if found else None

    def find(self, *, states: Sequence[JobState] = (), kind: str = "", limit: int = 100, after: int = 0) -> list[Job]:
        """Return jobs in order of their number."""
        wanted = states or JOB_STATES
        sql = f"id > ? AND state IN ({', '.join('?' * len(wanted))})" + (" AND kind = ?" if kind else "")
        values = (after, *wanted, *([kind] if kind else []), limit)
        with self._connections.reading() as db:
            return _jobs(db, sql + " ORDER BY id LIMIT ?", values)

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs stand where; every state has its number."""
        with self._connections.reading() as db:
            found = dict(db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in JOB_STATES}

    def remove(self, ids: Sequence[int]) -> int:
        """Drop jobs that are not running; return their number."""
        with _writing(self._connections) as db:
            sql = "DELETE FROM jobs WHERE id = ? AND state <> 'running'"
            return sum(db.execute(sql, (id,)).rowcount for id in ids)


@contextmanager
def _writing(connections: Connections) -> Iterator[sqlite3.Connection]:
    """Give the connection of this thread inside its open transaction, or inside one that is made here."""
    with plainly(connections.path):
        if connections.db.in_transaction:
            yield connections.db
            return
        with connections.writing:
            db = connections.db
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


def _usage(db: sqlite3.Connection, rows: Sequence[int]) -> dict[int, Usage]:
    out: dict[int, Usage] = {}
    for start in range(0, len(rows), _MOST_VARIABLES):
        part = [int(row) for row in rows[start : start + _MOST_VARIABLES]]
        sql = f"SELECT {USAGE_COLUMNS} FROM usage WHERE row IN ({', '.join('?' * len(part))})"
        out.update(usage_of(values) for values in db.execute(sql, part))
    return out


def _add(db: sqlite3.Connection, job: Job) -> Job:
    taken = _holder(db, job)
    if taken is not None:
        return taken
    number = db.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({_MARKS})", _values(job)).lastrowid
    return replace(job, id=number or 0)


def _jobs(db: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Job]:
    rows = db.execute(f"SELECT id, {_COLUMNS} FROM jobs WHERE {where}", tuple(values)).fetchall()
    return [_job_of(row) for row in rows]


def _write(db: sqlite3.Connection, job: Job) -> None:
    db.execute(f"UPDATE jobs SET {_SETS} WHERE id = ?", (*_values(job), job.id))


def _holder(db: sqlite3.Connection, job: Job) -> Job | None:
    """Return another waiting or running job that has the kind and the key of this one."""
    sql = "key = ? AND kind = ? AND key <> '' AND state IN ('waiting', 'running') AND id <> ?"
    found = _jobs(db, sql, (job.key, job.kind, job.id)) if job.key else []
    return found[0] if found else None


def _values(job: Job) -> tuple[object, ...]:
    return (
        job.kind,
        canonical(dict(job.arguments)),
        job.key,
        job.state,
        job.priority,
        micros(job.due),
        job.attempts,
        job.most_attempts,
        job.worker,
        None if job.lease is None else micros(job.lease),
        job.done,
        job.total,
        int(job.is_cancelling),
        job.error,
        canonical(dict(job.result)),
        micros(job.created),
        micros(job.updated),
    )


def _job_of(row: Sequence[object]) -> Job:
    (id, kind, arguments, key, state, priority, due, attempts, most, worker, lease, done, total, stop, error, result,
     created, updated) = row  # fmt: skip
    return Job(
        id=id,  # type: ignore[arg-type]  # the schema is STRICT: columns hold what `_values` wrote
        kind=kind,  # type: ignore[arg-type]
        arguments=json.loads(arguments),  # type: ignore[arg-type]
        created=from_micros(created),  # type: ignore[arg-type]
        updated=from_micros(updated),  # type: ignore[arg-type]
        due=from_micros(due),  # type: ignore[arg-type]
        key=key,  # type: ignore[arg-type]
        state=state,  # type: ignore[arg-type]
        priority=priority,  # type: ignore[arg-type]
        attempts=attempts,  # type: ignore[arg-type]
        most_attempts=most,  # type: ignore[arg-type]
        worker=worker,  # type: ignore[arg-type]
        lease=None if lease is None else from_micros(lease),  # type: ignore[arg-type]
        done=done,  # type: ignore[arg-type]
        total=total,  # type: ignore[arg-type]
        is_cancelling=bool(stop),
        error=error,  # type: ignore[arg-type]
        result=json.loads(result),  # type: ignore[arg-type]
    )
