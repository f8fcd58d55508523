"""Audit, usage, jobs and blobs in the PostgreSQL database of the cubes.

Usage and jobs take part in the transaction that their thread has open; the audit never does, because what was refused
is to be read afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..core.clock import from_micros, micros
from ..core.payload import Blob, canonical
from ..core.scope import Scope
from ..errors import Conflict, Damaged, NotFound
from ._audit_chain import chained, problems_of, raw_of
from ._memory_jobs import JOB_STATES, USAGE_COLUMNS, freed, is_held, taken_by, usage_of, usage_values
from ._pg_link import Links
from ._pg_rows import read, spell
from .side import AuditEntry, AuditLine, Job, JobState, Usage

if TYPE_CHECKING:
    import psycopg
    from psycopg.rows import TupleRow

__all__ = ["JOB_COLUMNS", "LINE", "PostgresAudit", "PostgresBlobs", "PostgresJobs", "PostgresUsage", "job_values"]

LINE = 'time, tenant, "user", agent, session, action, allowed, rule, space, cube, detail'
"""Columns of a line of the audit as it is chained."""

JOB_COLUMNS = (
    "kind, arguments, key, state, priority, due, attempts, most_attempts, worker, lease, done, total, is_cancelling,"
    " error, result, created, updated"
)
"""Columns of `job_values`, in its order."""

_SETS = ", ".join(f"{name} = %s" for name in JOB_COLUMNS.split(", "))
_MARKS = ", ".join(["%s"] * len(JOB_COLUMNS.split(", ")))
_PART_BYTES = 8 << 20  # of a blob in one row: well below the gigabyte that a value may have, and small in memory


class PostgresAudit:
    """Lines in a table that refuses to be changed; the number and chain value of the last one lie apart.

    Args:
        links: To the database.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def append(self, lines: Sequence[AuditLine]) -> None:
        """Write lines in one transaction of their own."""
        if lines:
            self._links.write_alone(lambda db: self._append(db, lines))

    def _append(self, db: psycopg.Connection, lines: Sequence[AuditLine]) -> None:
        found = db.execute("SELECT seq, chain FROM audit_head FOR UPDATE").fetchone()
        assert found is not None
        entries = list(chained(lines, *found))
        with db.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO audit (seq, {LINE}, chain) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [(entry.seq, *raw_of(entry.line), entry.chain) for entry in entries],
            )
        db.execute("UPDATE audit_head SET seq = %s, chain = %s", (entries[-1].seq, entries[-1].chain))

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
        tests = ["tenant IS NULL" if tenant is None else "tenant = %s"]
        values: list[object] = [] if tenant is None else [tenant]
        if allowed is not None:
            tests.append(f"allowed = {int(allowed)}")
        if cube is not None:
            tests.append("cube = %s")
            values.append(spell(cube))
        if after or not newest_first:
            tests.append(f"seq {'<' if newest_first else '>'} {int(after)}")
        order = "DESC" if newest_first else "ASC"
        sql = (
            f"SELECT seq, {LINE}, chain FROM audit WHERE {' AND '.join(tests)} ORDER BY seq {order} LIMIT {int(limit)}"
        )
        return [_entry_of(row) for row in self._links.read(lambda db: db.execute(sql, values).fetchall())]

    def problems(self) -> list[str]:
        """Return where the chain breaks, and whether the table could be changed without a word."""

        def work(db: psycopg.Connection) -> list[str]:
            with db.transaction():
                db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                head = db.execute("SELECT seq, chain FROM audit_head").fetchone()
                with db.cursor(name="audit") as rows:
                    rows.execute(f"SELECT seq, {LINE}, chain FROM audit ORDER BY seq")
                    lines = ((int(row[0]), row[1:-1], str(row[-1])) for row in rows)
                    found = problems_of(lines, None if head is None else (int(head[0]), str(head[1])))
                guard = db.execute(
                    "SELECT 1 FROM pg_trigger WHERE tgrelid = 'audit'::regclass AND tgname = 'audit_unchanged'"
                    " AND tgenabled <> 'D'"
                ).fetchone()
            return found if guard else [*found, "the audit may be changed: its trigger audit_unchanged is gone"]

        return self._links.read(work)


def _entry_of(row: TupleRow) -> AuditEntry:
    seq, time, tenant, user, agent, session, action, allowed, rule, space, cube, detail, chain = row
    line = AuditLine(
        time=from_micros(time),
        actor=Scope(tenant, user, agent, session),
        action=str(action),
        allowed=bool(allowed),
        rule=str(rule),
        space=str(space),
        cube=str(cube),
        detail=json.loads(str(detail)) if detail else {},
    )
    return AuditEntry(seq, line, chain)


class PostgresUsage:
    """Usage by row.

    Args:
        links: To the database.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def of(self, rows: Sequence[int]) -> dict[int, Usage]:
        """Return the usage of rows; rows never used are missing."""
        return self._links.read(lambda db: _usage(db, rows))

    def change(self, rows: Sequence[int], change: Callable[[Mapping[int, Usage]], Mapping[int, Usage]]) -> None:
        """Read, change and write the usage of rows in one transaction; what the answer leaves out stays as it is."""

        def work(db: psycopg.Connection) -> None:
            db.execute("LOCK TABLE usage IN SHARE ROW EXCLUSIVE MODE")  # rows that are not there cannot be locked
            changed = change(_usage(db, rows))
            with db.cursor() as cursor:
                cursor.executemany(
                    f"INSERT INTO usage ({USAGE_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (row) DO UPDATE"
                    " SET count = excluded.count, last = excluded.last, rate = excluded.rate, text = excluded.text,"
                    " sessions = excluded.sessions",
                    [(int(row), *usage_values(used)) for row, used in changed.items()],
                )

        self._links.write(work)

    def every(self, after: int, limit: int) -> list[tuple[int, Usage]]:
        """Return rows with their usage, ascending from just after a row."""
        sql = f"SELECT {USAGE_COLUMNS} FROM usage WHERE row > %s ORDER BY row LIMIT %s"
        return [usage_of(row) for row in self._links.read(lambda db: db.execute(sql, (after, limit)).fetchall())]

    def remove(self, rows: Sequence[int]) -> None:
        """Drop the usage of rows whose cubes are forgotten."""
        wanted = [int(row) for row in rows]
        self._links.write(lambda db: db.execute("DELETE FROM usage WHERE row = ANY(%s)", (wanted,)))


def _usage(db: psycopg.Connection, rows: Sequence[int]) -> dict[int, Usage]:
    sql = f"SELECT {USAGE_COLUMNS} FROM usage WHERE row = ANY(%s)"
    return dict(usage_of(row) for row in db.execute(sql, ([int(row) for row in rows],)))


class PostgresJobs:
    """Jobs, safe against other workers and processes: a worker takes what no other is just taking (SKIP LOCKED).

    Args:
        links: To the database.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Queue jobs; one whose key is taken by a waiting or running job of its kind is returned as that one."""
        return self._links.write(lambda db: [_add(db, job) for job in jobs])

    def lease(self, worker: str, kinds: Sequence[str], now: datetime, until: datetime, limit: int) -> list[Job]:
        """Take free jobs that are due, the highest priority first, then the earliest due, then the oldest.

        Of those that were begun `most_attempts` times each becomes dead instead, and one that its vanished worker was
        asked to stop becomes cancelled.
        """
        lapsed = "state = 'running' AND lease <= %s AND kind = ANY(%s) ORDER BY id FOR UPDATE SKIP LOCKED"
        free = (
            "state = 'waiting' AND due <= %s AND kind = ANY(%s) ORDER BY priority DESC, due, id LIMIT %s"
            " FOR UPDATE SKIP LOCKED"
        )

        def work(db: psycopg.Connection) -> list[Job]:
            out: list[Job] = []
            for job in _jobs(db, lapsed, (micros(now), list(kinds))):
                _write(db, freed(job, now))
            while len(out) < limit:
                page = _jobs(db, free, (micros(now), list(kinds), limit - len(out)))
                if not page:
                    break
                for job in page:
                    taken = taken_by(job, worker, now, until)
                    _write(db, taken)
                    out.extend([taken] if taken.state == "running" else [])
            return out

        return self._links.write(work)

    def change(self, id: int, worker: str, change: Callable[[Job], Job]) -> Job | None:
        """Read, change and write a job while this worker holds it (an empty name asks for no holder); else None.

        Raises:
            Conflict: Another waiting or running job has its key.
        """

        def work(db: psycopg.Connection) -> Job | None:
            found = _jobs(db, "id = %s FOR UPDATE", (id,))
            if not found or not is_held(found[0], worker):
                return None
            changed = replace(change(found[0]), id=id)
            _write(db, changed)
            return changed

        return self._links.write(work)

    def get(self, id: int) -> Job | None:
        """Return a job."""
        found = self._links.read(lambda db: _jobs(db, "id = %s", (id,)))
        return found[0] if found else None

    def find(self, *, states: Sequence[JobState] = (), kind: str = "", limit: int = 100, after: int = 0) -> list[Job]:
        """Return jobs in order of their number."""
        sql = "id > %s AND state = ANY(%s)" + (" AND kind = %s" if kind else "") + " ORDER BY id LIMIT %s"
        values = (after, list(states or JOB_STATES), *([kind] if kind else []), limit)
        return self._links.read(lambda db: _jobs(db, sql, values))

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs stand where; every state has its number."""
        sql = "SELECT state, count(*) FROM jobs GROUP BY state"
        found = {str(state): int(number) for state, number in self._links.read(lambda db: db.execute(sql).fetchall())}
        return {state: found.get(state, 0) for state in JOB_STATES}

    def remove(self, ids: Sequence[int]) -> int:
        """Drop jobs that are not running; return their number."""
        sql = "DELETE FROM jobs WHERE id = ANY(%s) AND state <> 'running'"
        return self._links.write(lambda db: db.execute(sql, (list(ids),)).rowcount)


def _add(db: psycopg.Connection, job: Job) -> Job:
    while True:
        sql = f"INSERT INTO jobs ({JOB_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT DO NOTHING RETURNING id"
        made = db.execute(sql, job_values(job)).fetchone()
        if made is not None:
            return replace(job, id=int(made[0]))
        taken = _jobs(
            db,
            "kind = %s AND md5(key) = md5(%s) AND key = %s AND key <> '' AND state IN ('waiting', 'running')",
            (spell(job.kind), spell(job.key), spell(job.key)),
        )
        if taken:
            return taken[0]


def _jobs(db: psycopg.Connection, rest: str, values: Sequence[object]) -> list[Job]:
    return [_job_of(row) for row in db.execute(f"SELECT id, {JOB_COLUMNS} FROM jobs WHERE {rest}", values)]


def _write(db: psycopg.Connection, job: Job) -> None:
    try:
        with db.transaction():
            db.execute(f"UPDATE jobs SET {_SETS} WHERE id = %s", (*job_values(job), job.id))
    except Exception as error:
        if getattr(error, "sqlstate", None) != "23505":
            raise
        raise Conflict(
            f"another waiting or running job already has the key {job.key!r}", hint="wait until it is done"
        ) from error


def job_values(job: Job) -> tuple[object, ...]:
    """Return a job as the values of its row, without its number."""
    return (
        spell(job.kind),
        canonical(dict(job.arguments)),
        spell(job.key),
        job.state,
        job.priority,
        micros(job.due),
        job.attempts,
        job.most_attempts,
        spell(job.worker),
        None if job.lease is None else micros(job.lease),
        job.done,
        job.total,
        job.is_cancelling,
        spell(job.error),
        canonical(dict(job.result)),
        micros(job.created),
        micros(job.updated),
    )


def _job_of(row: TupleRow) -> Job:
    (id, kind, arguments, key, state, priority, due, attempts, most, worker, lease, done, total, stop, error, result,
     created, updated) = row  # fmt: skip
    return Job(
        id=id,
        kind=read(str(kind)),
        arguments=json.loads(str(arguments)),
        created=from_micros(created),
        updated=from_micros(updated),
        due=from_micros(due),
        key=read(str(key)),
        state=state,
        priority=priority,
        attempts=attempts,
        most_attempts=most,
        worker=read(str(worker)),
        lease=None if lease is None else from_micros(lease),
        done=done,
        total=total,
        is_cancelling=bool(stop),
        error=read(str(error)),
        result=json.loads(str(result)),
    )


class PostgresBlobs:
    """Bytes in a table, in parts.

    Args:
        links: To the database.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    def put(self, data: bytes, *, role: str = "tensors") -> Blob:
        """Keep bytes and return their name; on return they have reached the disk, and what was damaged is whole."""
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data), role=role)
        pieces = [data[start : start + _PART_BYTES] for start in range(0, max(len(data), 1), _PART_BYTES)]
        wanted = [hashlib.sha256(piece).digest() for piece in pieces]

        def work(db: psycopg.Connection) -> None:
            name = (blob.sha256,)
            db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", name)
            kept = db.execute("SELECT sha256(data) FROM blobs AS b WHERE b.sha256 = %s ORDER BY part", name).fetchall()
            if [bytes(found) for (found,) in kept] == wanted:
                db.execute("UPDATE blobs SET put = DEFAULT WHERE sha256 = %s", name)  # not to be swept now
                return
            db.execute("DELETE FROM blobs WHERE sha256 = %s", name)
            for part, piece in enumerate(pieces):
                db.execute("INSERT INTO blobs (sha256, part, data) VALUES (%s, %s, %b)", (blob.sha256, part, piece))

        self._links.write_alone(work)
        return blob

    def get(self, blob: Blob) -> bytes:
        """Return the bytes of a name.

        Raises:
            NotFound: They are not here.
            Damaged: They do not hash to their name.
        """
        sql = "SELECT data FROM blobs WHERE sha256 = %s ORDER BY part"
        parts = self._links.read(lambda db: db.execute(sql, (blob.sha256,), binary=True).fetchall())
        if not parts:
            raise NotFound(f"there is no blob {blob.sha256}")
        data = b"".join(bytes(part) for (part,) in parts)
        if hashlib.sha256(data).hexdigest() != blob.sha256:
            raise Damaged(f"the blob {blob.sha256} was changed on disk")
        return data

    def view(self, blob: Blob) -> memoryview:
        """Return the bytes of a name, as `get` does."""
        return memoryview(self.get(blob))

    def remove(self, blob: Blob) -> None:
        """Drop bytes; dropping what is not here is no error."""
        self._links.write(lambda db: db.execute("DELETE FROM blobs WHERE sha256 = %s", (blob.sha256,)))

    def sweep(self, older_s: float) -> int:
        """Drop bytes that no cube names, as a process that was killed leaves them; return how many went.

        Args:
            older_s: Those that were put within so many seconds stay: their cube may be about to be written.
        """
        unnamed = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {table} AS c WHERE c.payload IS NOT NULL AND strpos(c.payload, b.sha256) > 0)"
            for table in ("cubes", "versions")
        )
        sql = f"DELETE FROM blobs AS b WHERE b.put < now() - make_interval(secs => %s) AND {unnamed} RETURNING b.sha256"

        def work(db: psycopg.Connection) -> int:
            return len({name for (name,) in db.execute(sql, (older_s,))})

        return self._links.write_alone(work)
