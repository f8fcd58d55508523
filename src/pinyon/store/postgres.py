"""Cubes in a PostgreSQL database: for many writers, for more than one machine holds.

One journal for the whole store, one transaction a verb, durable when it returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.events import Changes, Event, Head
from ..core.scope import Scope
from ..core.where import View
from ..errors import Busy, StoreError
from ._pg_check import problems_of
from ._pg_link import Links, asked_by, parted
from ._pg_rights import PostgresRights
from ._pg_rows import CUBE_COLUMNS, EVENT_COLUMNS, cube_of, digest_of, event_of, read, spell
from ._pg_schema import migrate_schema
from ._pg_search import Found, PostgresSearch
from ._pg_shards import Part, attach_server, detach_server, move_bucket, move_space, parts
from ._pg_side import PostgresAudit, PostgresBlobs, PostgresJobs, PostgresUsage
from ._pg_sql import selected
from ._pg_transaction import Opened, PostgresTransaction, children_of, open_transaction, spaces_of, walls_of
from ._pg_walls import grant_walls, speaking_for
from .base import SourceMark, VectorRows

if TYPE_CHECKING:
    import psycopg
    from psycopg.rows import TupleRow

__all__ = [
    "Found",
    "Part",
    "PostgresEngine",
    "PostgresSearch",
    "attach_server",
    "detach_server",
    "grant_walls",
    "move_bucket",
    "move_space",
    "parts",
]

_T = TypeVar("_T")
_BUCKETS = 8  # enough to spread over eight servers before anything must be split; each costs three small tables
_PAST = ", ".join(f"v.{name}" for name in CUBE_COLUMNS.split(", "))


class PostgresEngine:
    """Rows in a PostgreSQL database with the extension ``vector``.

    Args:
        address: ``postgresql://user:password@host:port/database``; ``?schema=name`` keeps several stores in one
            database, ``?role=…`` and ``?read=…`` are `role` and `read_address`. Everything libpq takes may be added.
        pool: Most connections of this process at once.
        schema: Where the tables lie, unless the address says so.
        read_address: A replica that answers what callers ask, once it has caught up with this process's own writes;
            writing, indexes and checks stay with the first server.
        role: A role without rights of its own under which callers' questions are asked, so that the database's
            row-level security stands behind ours; `grant_walls` makes it ready. None asks as the owner.
        buckets: Hash partitions of a store that is made now; 0 makes plain tables, as Citus distributes them.
        is_read_only: Whether nothing is written though it could be; the store has to be there already.

    Raises:
        MissingExtra: psycopg is not installed.
        TooNew: A later version of pinyon wrote the store.
        StoreError: The server cannot be reached or lacks the extension.
    """

    def __init__(
        self,
        address: str,
        *,
        pool: int = 8,
        schema: str = "pinyon",
        read_address: str | None = None,
        role: str | None = None,
        buckets: int = _BUCKETS,
        is_read_only: bool = False,
    ) -> None:
        address, self._role, copy = asked_by(address, role, read_address)
        self._links = Links(*parted(address, schema), pool, is_read_only=is_read_only)
        self._replica = None if copy is None else self._links.beside(copy)
        self._behind = 0  # number of the journal's entry that the replica must have before it is asked
        self._rights = PostgresRights()
        self.blobs = PostgresBlobs(self._links)
        self._audit = PostgresAudit(self._links)
        self._usage = PostgresUsage(self._links)
        self._jobs = PostgresJobs(self._links)
        try:
            self.is_read_only = self._links.read(self._prepared(buckets))
            self.identity = self.setting("identity") or ""
        except BaseException:
            self.close()
            raise

    def _prepared(self, buckets: int) -> Callable[[psycopg.Connection], bool]:
        def prepare(db: psycopg.Connection) -> bool:
            if db.execute("SELECT pg_is_in_recovery()").fetchone() == (True,):
                return True
            migrate_schema(db, self._links.schema, self._links.place, buckets=buckets)
            return self._links.is_read_only

        return prepare

    @property
    def location(self) -> str:
        """The address without a password."""
        return self._links.place

    @property
    def links(self) -> Links:
        """The connections, for the parts of this store that lie in files of their own."""
        return self._links

    @property
    def audit(self) -> PostgresAudit:
        """What was asked for and decided."""
        return self._audit

    @property
    def usage(self) -> PostgresUsage:
        """How much each cube is used."""
        return self._usage

    @property
    def jobs(self) -> PostgresJobs:
        """Work that survives the process."""
        return self._jobs

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """Hold the end of the journal for writing; leaving by an exception undoes everything.

        On return the write has reached the server's disk. Where the connection is lost while it is being committed, the
        server is asked over another what became of it.
        """
        with self._links.alone(), self._links.plainly(), ExitStack() as stack:
            db, opened = self._opened(stack)
            with self._links.within(db):
                transaction = PostgresTransaction(db, opened)
                yield transaction
                if opened.is_spread and transaction.touched:
                    self._intend(db, transaction, opened)
                self._links.commit(db, opened.number, transaction.proof())
            self._behind = max(self._behind, transaction.head().seq)

    def _opened(self, stack: ExitStack) -> tuple[psycopg.Connection, Opened]:
        """Return a connection that holds the lock; nothing was written before, so a lost one is replaced."""
        for pause in (0.0, 0.1, 0.5, 1.5, None):
            attempt = ExitStack()
            try:
                db = attempt.enter_context(self._links.hold())
                opened = open_transaction(db)
            except Exception as error:
                attempt.close()
                if pause is None or not self._links.is_passing(error):
                    raise
                time.sleep(pause)
            else:
                stack.push(attempt.pop_all().__exit__)
                return db, opened
        raise AssertionError("unreachable")

    def _intend(self, db: psycopg.Connection, transaction: PostgresTransaction, opened: Opened) -> None:
        """Leave a note of what is about to be committed on several servers; the commit itself takes it away."""
        spaces, first, last = sorted(transaction.touched), opened.head.seq + 1, transaction.head().seq
        with self._links.connect() as other:
            sql = "INSERT INTO intents (spaces, first, last) VALUES (%s, %s, %s) RETURNING id"
            made = other.execute(sql, (spaces, first, last)).fetchone()
        assert made is not None
        db.execute("DELETE FROM intents WHERE id = %s", made)

    def head(self) -> Head:
        """Return the end of the journal."""
        ((seq, chain, moment),) = self._rows("SELECT seq, chain, time FROM head", ())
        return Head(seq, chain, moment)

    def wait(self, seq: int, timeout_s: float) -> bool:
        """Wait until the journal has moved beyond an entry; for those who follow it.

        Args:
            seq: Number of the last entry that is known.
            timeout_s: Longest wait.

        Returns:
            Whether it has moved.
        """
        with self._links.plainly(), self._links.connect() as db:
            db.execute(f"LISTEN pinyon_{self._links.schema}")
            found = db.execute("SELECT seq FROM head").fetchone()
            if found is not None and int(found[0]) > seq:
                return True
            return any(int(notice.payload) > seq for notice in db.notifies(timeout=timeout_s, stop_after=1))

    def get(self, id: str, view: View) -> Cube | None:
        """Return a cube that the caller may see, in any state of its life."""
        found = self._seen(view, "AND c.id = %s", (spell(id),))
        return found[0] if found else None

    def matching(self, prefix: str, view: View, limit: int) -> list[Cube]:
        """Return cubes whose id begins with a prefix, in order of id."""
        first = spell(prefix)
        rest = "AND c.id >= %s AND c.id < %s ORDER BY c.id LIMIT %s"
        return self._seen(view, rest, (first, first + "\U0010ffff", limit))

    def find(self, view: View, *, newest_first: bool, limit: int, after: tuple[int, int] | None) -> list[Cube]:
        """Return cubes in order of time, from just after a cursor (time in microseconds, row)."""
        way, sign = ("DESC", "<") if newest_first else ("ASC", ">")
        cursor, place = ("", ()) if after is None else (f"AND (c.time, c.row) {sign} (%s, %s)", after)
        return self._seen(view, f"{cursor} ORDER BY c.time {way}, c.row {way} LIMIT %s", (*place, limit))

    def containing(self, text: str, view: View, limit: int) -> list[Cube]:
        """Return cubes whose text contains another, letter for letter, newest first."""
        spelled, out = spell(text), list[Cube]()
        after: tuple[int, int] | None = None
        while True:
            cursor, place = ("", ()) if after is None else ("AND (c.time, c.row) < (%s, %s)", after)
            rest = f"AND strpos(c.content, %s) > 0 {cursor} ORDER BY c.time DESC, c.row DESC LIMIT %s"
            page = self._seen(view, rest, (spelled, *place, limit))
            out.extend(cube for cube in page if text in cube.text)  # U+0000 is spelled with U+0001, see _pg_rows
            if len(page) < limit or len(out) >= limit:
                return out[:limit]
            after = micros(page[-1].time), page[-1].row

    def setting(self, key: str) -> str | None:
        """Return a note that the store keeps about itself."""
        found = self._rows("SELECT value FROM meta WHERE key = %s", (spell(key),))
        return read(str(found[0][0])) if found else None

    def set_setting(self, key: str, value: str) -> None:
        """Keep a note about the store itself."""
        self._links.write(
            lambda db: db.execute(
                "INSERT INTO meta VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (spell(key), spell(value)),
            )
        )

    def rows(self, view: View) -> NDArray[np.int64]:
        """Return the rows of all cubes of a view, ascending."""
        found = self.asked(
            view, lambda db, sql, values: db.execute(f"SELECT c.row {sql} ORDER BY c.row", values).fetchall()
        )
        return np.array([row for (row,) in found], dtype=np.int64)

    def count(self, view: View) -> int:
        """Return the number of cubes of a view."""
        ((number,),) = self.asked(view, lambda db, sql, values: db.execute(f"SELECT count(*) {sql}", values).fetchall())
        return int(number)

    def spaces(self, view: View) -> list[str]:
        """Return the spaces of the whole store in which the view's caller sees any cube."""
        found = self.asked(
            view,
            lambda db, sql, values: db.execute(f"SELECT DISTINCT c.space {sql} ORDER BY c.space", values).fetchall(),
            everywhere=True,
        )
        return [str(space) for (space,) in found]

    def by_rows(self, rows: Sequence[int], at: int | None = None) -> dict[int, Cube]:
        """Return cubes by their rows, whoever owns them: for indexes, never for callers."""
        wanted = [int(row) for row in rows]
        spaces = self._spaces(wanted)
        if not spaces:
            return {}
        sql, values = f"SELECT {CUBE_COLUMNS} FROM cubes WHERE space = ANY(%s) AND row = ANY(%s)", [spaces, wanted]
        if at is not None:
            sql += (
                f" AND seq <= %s UNION ALL SELECT {_PAST} FROM versions AS v JOIN cubes AS c ON c.space = v.space"
                " AND c.row = v.row WHERE v.space = ANY(%s) AND v.row = ANY(%s) AND v.seq <= %s AND v.ended > %s"
            )
            values += [at, spaces, wanted, at, at]
        cubes = (cube_of(line) for line in self._rows(sql, values))
        return {cube.row: cube for cube in cubes}

    def journal(self, after: int, limit: int) -> list[Event]:
        """Return entries of the journal after a number."""
        sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq > %s ORDER BY seq LIMIT %s"
        return [event_of(values) for values in self._rows(sql, (after, limit))]

    def changes(self, after: int, limit: int) -> Changes:
        """Return which rows the entries after a number changed, without reading the entries whole."""
        entries = self._rows("SELECT seq, row, chain FROM events WHERE seq > %s ORDER BY seq LIMIT %s", (after, limit))
        seq, _, chain = entries[-1] if entries else (after, 0, "")
        return Changes(tuple(dict.fromkeys(int(row) for _, row, _ in entries if row)), len(entries), seq, chain)

    def versions(self, id: str) -> list[Cube]:
        """Return the earlier versions of a cube, oldest first."""
        return self._earlier("c.id = ANY(%s)", self._links.read(lambda db: spaces_of(db, [spell(id)])), [spell(id)])

    def past(self, rows: Sequence[int]) -> list[Cube]:
        """Return the earlier versions of rows, in order of row and version."""
        wanted = [int(row) for row in rows]
        return self._earlier("c.row = ANY(%s)", self._spaces(wanted), wanted)

    def _earlier(self, test: str, spaces: Sequence[str], wanted: Sequence[object]) -> list[Cube]:
        """Return earlier versions of cubes that are still there."""
        if not spaces:
            return []
        found = self._rows(
            f"SELECT {_PAST} FROM cubes AS c JOIN versions AS v ON v.space = c.space AND v.row = c.row"
            f" WHERE c.space = ANY(%s) AND v.space = ANY(%s) AND {test} ORDER BY v.row, v.version",
            (list(spaces), list(spaces), list(wanted)),
        )
        return [cube_of(values) for values in found]

    def children(self, ids: Sequence[str]) -> list[Cube]:
        """Return the cubes that name one of the ids among their parents, in order of row."""
        return self._links.read(lambda db: children_of(db, ids))

    def seq_at(self, moment: datetime) -> int:
        """Return the number of the last entry of the journal not after a moment; the times of entries never fall."""
        wanted = micros(moment)
        low, high = 0, self.head().seq
        while low < high:
            middle = (low + high + 1) // 2
            ((at,),) = self._rows("SELECT time FROM events WHERE seq <= %s ORDER BY seq DESC LIMIT 1", (middle,))
            low, high = (middle, high) if int(at) <= wanted else (low, middle - 1)
        return low

    def events_of(self, id: str) -> list[Event]:
        """Return the journal of one cube that is still there."""
        spaces = self._links.read(lambda db: spaces_of(db, [spell(id)]))
        found = self._rows("SELECT row FROM cubes WHERE space = ANY(%s) AND id = %s", (spaces, spell(id)))
        if not found:
            return []
        sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE seq = %s OR (row = %s AND row <> seq) ORDER BY seq"
        return [event_of(values) for values in self._rows(sql, (found[0][0],) * 2)]

    def source(self, space: str, owner: Scope, key: str) -> SourceMark | None:
        """Return what is known of a source by its name."""
        return self._source("name = %s", space, owner, digest_of(key))

    def source_of(self, space: str, owner: Scope, digest: str) -> SourceMark | None:
        """Return a source that held these bytes."""
        return self._source("digest = %s", space, owner, digest)

    def _source(self, test: str, space: str, owner: Scope, value: object) -> SourceMark | None:
        found = self._rows(
            'SELECT key, digest, cubes FROM sources WHERE space = %s AND tenant = %s AND "user" = %s AND agent = %s'
            f" AND {test} ORDER BY key LIMIT 1",
            (space, *walls_of(owner), value),
        )
        return SourceMark(read(str(found[0][0])), str(found[0][1]), int(found[0][2])) if found else None

    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorRows:
        """Return the vectors of an embedder for these rows, ascending; rows without one are missing."""
        wanted = [int(row) for row in rows]
        spaces = self._spaces(wanted)
        found = self._rows(
            "SELECT row, version, halfvec_send(data) FROM vectors WHERE space = ANY(%s) AND row = ANY(%s)"
            " AND embedder = (SELECT id FROM embedders WHERE fingerprint = %s) ORDER BY row",
            (spaces, wanted, spell(fingerprint)),
            binary=True,
        )
        data = np.frombuffer(b"".join(bytes(line)[4:] for _, _, line in found), dtype=">f2").astype(np.float16)
        return VectorRows(
            np.array([row for row, _, _ in found], dtype=np.int64),
            np.array([version for _, version, _ in found], dtype=np.int64),
            data.reshape(len(found), -1) if found else data.reshape(0, 0),
        )

    def missing_vectors(self, fingerprint: str, limit: int) -> list[Cube]:
        """Return text cubes that have no vector of this embedder for their present version."""
        found = self._rows(
            f"SELECT {CUBE_COLUMNS} FROM cubes AS c WHERE kind = 'text' AND NOT EXISTS (SELECT 1 FROM vectors AS v"
            " WHERE v.space = c.space AND v.row = c.row AND v.version = c.version"
            " AND v.embedder = (SELECT id FROM embedders WHERE fingerprint = %s)) ORDER BY row LIMIT %s",
            (spell(fingerprint), limit),
        )
        return [cube_of(values) for values in found]

    def fingerprints(self) -> dict[str, int]:
        """Return the embedders whose vectors are here, with their numbers of vectors."""
        found = self._rows(
            "SELECT e.fingerprint, v.number FROM embedders AS e JOIN (SELECT embedder, count(*) AS number FROM vectors"
            " GROUP BY embedder) AS v ON v.embedder = e.id ORDER BY e.id",
            (),
        )
        return {read(str(name)): int(number) for name, number in found}

    def drop_vectors(self, fingerprint: str) -> None:
        """Remove every vector of an embedder."""

        def work(db: psycopg.Connection) -> None:
            db.execute("SELECT 1 FROM head FOR UPDATE")
            if db.execute("SELECT 1 FROM moves").fetchone() is not None:
                raise Busy("a part of the store is being moved", hint="try again when that is done")
            sql = "DELETE FROM vectors WHERE embedder = (SELECT id FROM embedders WHERE fingerprint = %s)"
            db.execute(sql, (spell(fingerprint),))

        self._links.write(work)

    def problems(self) -> list[str]:
        """Return what the tables hold that the journal does not account for."""
        try:
            return self._links.read(lambda db: list(problems_of(db)))
        except StoreError as error:
            return [f"the database cannot be read: {error.message}"]

    def bytes(self) -> int:
        """Return the bytes of all tables and indexes on the first server."""
        ((size,),) = self._rows(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
            " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'",
            (),
        )
        return int(size)

    def names_blob(self, sha256: str) -> bool:
        """Return whether any cube or earlier version names a blob."""
        tests = " OR ".join(
            f"EXISTS (SELECT 1 FROM {table} WHERE payload IS NOT NULL AND strpos(payload, %s) > 0)"
            for table in ("cubes", "versions")
        )
        return bool(self._rows(f"SELECT {tests}", (sha256, sha256))[0][0])

    def settle(self) -> None:
        """Do nothing: what was erased leaves the files with the server's next vacuum; `purge` does not wait for it."""

    def purge(self) -> None:
        """Write the tables anew without what was erased or replaced; each is locked while that lasts."""

        def work(db: psycopg.Connection) -> None:
            found = db.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
            ).fetchall()
            for (name,) in found:
                db.execute(f"VACUUM FULL {name}")
            db.execute("CHECKPOINT")

        self._links.read(work)

    def close(self) -> None:
        """Close every connection of this process that is idle."""
        for links in (self._links, self._replica):
            if links is not None:
                links.close()

    def _rows(self, sql: str, values: Sequence[object], *, binary: bool = False) -> list[TupleRow]:
        return self._links.read(lambda db: db.execute(sql, values, binary=binary).fetchall())

    def _spaces(self, rows: Sequence[int]) -> list[str]:
        """Return the spaces in which rows were created."""
        found = self._rows("SELECT DISTINCT space FROM events WHERE seq = ANY(%s) AND row = seq", (list(rows),))
        return [str(space) for (space,) in found]

    def _seen(self, view: View, rest: str, values: Sequence[object]) -> list[Cube]:
        columns = ", ".join(f"c.{name}" for name in CUBE_COLUMNS.split(", "))
        found = self.asked(
            view, lambda db, sql, given: db.execute(f"SELECT {columns} {sql} {rest}", [*given, *values]).fetchall()
        )
        return [cube_of(line) for line in found]

    def asked(
        self,
        view: View,
        ask: Callable[[psycopg.Connection, str, list[object]], _T],
        *,
        everywhere: bool = False,
    ) -> _T:
        """Answer a caller's question with all rights known that its cubes may have.

        They are looked at again after the question: were there others by then, a cube could have been weighed without
        its own, and the question is put again.
        """

        def work(db: psycopg.Connection) -> _T:
            known = self._rights.read(db, is_committed=db is not self._links.current)
            while True:
                sql, values = selected(view, known, everywhere=everywhere)
                with speaking_for(db, self._role, view, known):
                    out = ask(db, sql, values)
                before, known = known, self._rights.read(db, is_committed=db is not self._links.current)
                if len(known) == len(before):
                    return out

        return self._reader().read(work)

    def _reader(self) -> Links:
        """Return where callers' questions go: the replica, once it has what this process wrote."""
        replica = self._replica
        if replica is None or self._links.current is not None:
            return self._links
        if self._behind:
            found = replica.read(lambda db: db.execute("SELECT seq FROM head").fetchone())
            if found is None or int(found[0]) < self._behind:
                return self._links
            self._behind = 0
        return replica
