"""Connections to a PostgreSQL server: a pool without threads of its own, and what the server says in one sentence.

The pool is this short because of two things that `psycopg_pool` does otherwise: a server that is away is named at once
instead of after a timeout, and a forked child begins with an empty pool instead of one whose threads are gone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from ..errors import BadInput, Busy, Damaged, PinyonError, StoreError
from ..extras import require
from ._said import twice

if TYPE_CHECKING:
    import psycopg

__all__ = ["LOCK_WAIT_S", "Links", "asked_by", "parted"]

_SCHEMES = ("postgresql", "postgres")
LOCK_WAIT_S = 60  # as long as a SQLite store waits for another writer
_CONNECT_WAIT_S = 10
_PAUSES = (0.0, 0.1, 0.5, 1.5)  # before a read is tried again; a server that restarts is back within some two seconds
_PASSING = ("40001", "40P01", "57P01", "57P02", "57P03", "08000", "08003", "08006", "08001")
"""States after which the same read may succeed: conflicts, a server that ends or starts, a connection that is gone."""

Result = TypeVar("Result")


def parted(address: str, schema: str) -> tuple[str, str]:
    """Return an address without ``schema=`` among its options, and the name of the schema.

    Raises:
        BadInput: It is no address of PostgreSQL.

    Example:
        >>> parted("postgresql://db.example/notes?schema=ann", "pinyon")
        ('postgresql://db.example/notes', 'ann')
    """
    parts = urlsplit(address)
    if parts.scheme not in _SCHEMES:
        raise BadInput(f"{address!r} is no address of PostgreSQL", hint="write postgresql://user@host/database")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    named = options.pop("schema", schema)
    if not named.isidentifier() or not named.isascii() or named != named.lower() or len(named) > 40:
        raise BadInput(f"{named!r} is no name of a schema", hint="use lower-case letters, digits and _, at most 40")
    return _joined(parts, options), named


def asked_by(
    address: str, role: str | None = None, read_address: str | None = None
) -> tuple[str, str | None, str | None]:
    """Return an address without ``role=`` and ``read=`` among its options, the role, and the replica's address.

    Args:
        address: Of the first server.
        role: The role, whatever the address says.
        read_address: The replica's address, whatever the address says.

    Raises:
        BadInput: The replica's address is none.

    Example:
        >>> asked_by("postgresql://db.example/notes?role=caller&read=postgresql://replica.example/notes")
        ('postgresql://db.example/notes', 'caller', 'postgresql://replica.example/notes')
    """
    parts = urlsplit(address)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    named, read = options.pop("role", None), options.pop("read", None)
    if read is not None and urlsplit(read).scheme not in _SCHEMES:
        raise BadInput(
            "what read= names is no address of PostgreSQL", hint="write read=postgresql://user@host/database"
        )
    return (
        _joined(parts, options),
        role or named or None,
        read_address or read,
    )


def _joined(parts: SplitResult, options: Mapping[str, str]) -> str:
    """Return an address with these options, and with its slashes though it names no host, which libpq then looks up."""
    query = f"?{urlencode(options)}" if options else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"


class Links:
    """Connections to one database, at most so many at a time; a thread inside a transaction stays on its own.

    Args:
        address: ``postgresql://user@host/database``.
        schema: Where the tables lie.
        size: Most connections at once.
        is_read_only: Whether the server is to refuse every write over them.
    """

    def __init__(self, address: str, schema: str, size: int, *, is_read_only: bool = False) -> None:
        self.is_read_only = is_read_only
        self.address = address
        self.schema = schema
        self._driver = require("psycopg", "keep memories in PostgreSQL")
        self._size = size
        self._local = threading.local()
        self._idle: list[psycopg.Connection] = []
        self._inherited: list[psycopg.Connection] = []  # kept unused: closing one would end it for the parent too
        self._fresh()

    def _fresh(self) -> None:
        self._inherited += self._idle
        self._pid = os.getpid()
        self._idle = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(self._size)
        self._local = threading.local()

    def beside(self, address: str) -> Links:
        """Return connections to another server, in a schema of the same name."""
        return Links(parted(address, self.schema)[0], self.schema, self._size, is_read_only=self.is_read_only)

    @property
    def place(self) -> str:
        """The address without a password, for people."""
        parts = urlsplit(self.address)
        host = parts.netloc.rpartition("@")[2] or "localhost"
        return f"{parts.scheme}://{host}{parts.path}"

    @property
    def current(self) -> psycopg.Connection | None:
        """The connection on which this thread has a transaction open, or None."""
        return getattr(self._local, "db", None) if os.getpid() == self._pid else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Refuse a second transaction to a thread that has one open, which would wait for itself."""
        if self.current is not None:
            raise twice(self.place)
        yield

    @contextmanager
    def within(self, db: psycopg.Connection) -> Iterator[None]:
        """Let this thread's calls take part in the transaction of a connection."""
        before = self.current
        self._local.db = db
        try:
            yield
        finally:
            self._local.db = before

    @contextmanager
    def hold(self) -> Iterator[psycopg.Connection]:
        """Give a connection that nobody else has; one that breaks meanwhile is thrown away, and all that are idle."""
        if os.getpid() != self._pid:
            self._fresh()
        if self.current is not None:  # beside a transaction: others may hold all that there are, and wait for its end
            with self.connect() as beside:
                yield beside
            return
        free = self._free
        if not free.acquire(timeout=LOCK_WAIT_S):
            raise Busy(f"all {self._size} connections to {self.place} are in use", hint="give the store a larger pool")
        try:
            with self._lock:
                db = self._idle.pop() if self._idle else None
            db = db or self.connect()
            try:
                yield db
            finally:
                self._give_back(db)
        finally:
            free.release()

    def _give_back(self, db: psycopg.Connection) -> None:
        if not db.closed and db.info.transaction_status != self._driver.pq.TransactionStatus.IDLE:
            try:
                db.execute("ROLLBACK")
            except self._driver.Error:
                db.close()
        with self._lock:
            if not db.closed:
                self._idle.append(db)
                return
            others, self._idle = self._idle, []
        for other in others:
            other.close()

    def connect(self) -> psycopg.Connection:
        """Return a connection of its own, to be closed by whoever asked."""
        settings = {
            "search_path": f"{self.schema},public",
            "lock_timeout": f"{LOCK_WAIT_S}s",
            "synchronous_commit": "on",  # what was acknowledged survives loss of power
            "plan_cache_mode": "force_custom_plan",  # a plan made for known spaces looks into their partitions alone
            "jit": "off",  # compiling costs more than any of these questions
            "client_min_messages": "error",
        }
        if self.is_read_only:
            settings["default_transaction_read_only"] = "on"
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        given = self._driver.conninfo.conninfo_to_dict(self.address)
        options = f"{given.get('options') or ''} {options}".strip()
        wait = given.get("connect_timeout") or _CONNECT_WAIT_S
        db: psycopg.Connection = self._driver.connect(
            self.address, autocommit=True, options=options, connect_timeout=wait, client_encoding="utf8"
        )
        return db

    def read(self, work: Callable[[psycopg.Connection], Result]) -> Result:
        """Return what work on a connection gives; it is done again when the connection was lost or lost a conflict."""
        current = self.current
        if current is not None:
            with self.plainly():
                return work(current)
        for pause in _PAUSES:
            try:
                with self.hold() as db:
                    return work(db)
            except self._driver.Error as error:
                if pause == _PAUSES[-1] or not self.is_passing(error):
                    raise self.said(error) from error
                time.sleep(pause)
            except (UnicodeEncodeError, OverflowError) as error:
                raise _unfit(error) from error
        raise AssertionError("unreachable")

    def write(self, work: Callable[[psycopg.Connection], Result]) -> Result:
        """Return what work in a transaction of its own gives, or in the one that this thread has open."""
        current = self.current
        if current is not None:
            with self.plainly():
                return work(current)
        return self.write_alone(work)

    def write_alone(self, work: Callable[[psycopg.Connection], Result]) -> Result:
        """Return what work in a transaction of its own gives.

        A transaction that lost a conflict is done again; one that ended with its connection only when it is known not
        to have happened.
        """
        for pause in _PAUSES:
            try:
                with self.hold() as db, self.within(db):
                    db.execute("BEGIN")
                    out = work(db)
                    number = self.number(db)
                    self.commit(db, number)
                    return out
            except self._driver.Error as error:
                if pause == _PAUSES[-1] or not self.is_passing(error):
                    raise self.said(error) from error
                time.sleep(pause)
            except (UnicodeEncodeError, OverflowError) as error:
                raise _unfit(error) from error
        raise AssertionError("unreachable")

    def number(self, db: psycopg.Connection) -> str:
        """Return the number of a connection's transaction, by which its end can be asked for."""
        found = db.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert found is not None
        return str(found[0])

    def commit(
        self, db: psycopg.Connection, number: str, proof: Callable[[psycopg.Connection], bool] | None = None
    ) -> None:
        """Commit; when the connection is lost on the way, ask the server over another what became of it.

        Args:
            db: The connection.
            number: Of the transaction.
            proof: Says whether what it wrote is there, asked while no writer is at work. Without one only a
                transaction that did not happen can be told: after a crash the server may give its number again.

        Raises:
            StoreError: It did not happen, or nobody can tell.
        """
        try:
            db.execute("COMMIT")
        except self._driver.OperationalError as error:
            if not db.closed and error.sqlstate is not None:
                raise
            if not self._happened(number, proof, error):
                raise StoreError(
                    f"the connection to {self.place} was lost before a write was done: nothing of it was written",
                    hint="try again",
                ) from error

    def _happened(self, number: str, proof: Callable[[psycopg.Connection], bool] | None, error: Exception) -> bool:
        """Return whether a transaction was committed; one that still runs is waited for."""
        until = time.monotonic() + LOCK_WAIT_S
        while time.monotonic() < until:
            try:
                with self.connect() as db:
                    if proof is not None:
                        with db.transaction():
                            db.execute("SELECT 1 FROM head FOR UPDATE")  # held by the transaction itself while it lasts
                            return proof(db)
                    found = db.execute("SELECT pg_xact_status(%s::xid8)", (number,)).fetchone()
                if found is not None and found[0] == "aborted":
                    return False
                if found is not None and found[0] == "committed":
                    break
            except self._driver.errors.InvalidParameterValue:
                return False  # the server has forgotten in a crash that it ever gave the number
            except self._driver.Error:
                pass
            time.sleep(0.2)
        raise StoreError(
            f"the connection to {self.place} was lost while a write was being committed: whether it was is not known",
            hint="try again when the server is back; adding the same once more changes nothing",
        ) from error

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """Raise what fails inside as an error of this package, with one sentence."""
        try:
            yield
        except self._driver.Error as error:
            raise self.said(error) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise _unfit(error) from error

    def is_passing(self, error: Exception) -> bool:
        """Return whether the same may succeed when it is tried again."""
        state = getattr(error, "sqlstate", None)
        if state is None:
            return isinstance(error, (self._driver.OperationalError, self._driver.InterfaceError))
        return state in _PASSING

    def said(self, error: Exception) -> PinyonError:
        """Return what the server says as an error of this package."""
        return _said(self.place, getattr(error, "sqlstate", None), " ".join(str(error).split()))

    def close(self) -> None:
        """Close what is idle; what comes later connects again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for db in idle:
            if os.getpid() == self._pid:
                db.close()


def _unfit(error: Exception) -> PinyonError:
    if isinstance(error, UnicodeEncodeError):
        return BadInput(f"not valid Unicode: {str(error.object)[:80]!r}")
    return BadInput(f"a number does not fit into 64 bits: {error}")


def _said(place: str, state: str | None, text: str) -> PinyonError:
    text = text[:300]
    group = (state or "")[:2]
    if group in ("08", "HV") and "server " in text:
        return StoreError(
            f"a server that holds a part of {place} cannot be reached ({text})",
            hint="what lies on other servers goes on; start that server again",
        )
    if state is None or group == "08" or state in ("57P01", "57P02", "57P03"):
        return StoreError(
            f"the database at {place} cannot be reached ({text})", hint="check the address, and that the server runs"
        )
    if state in ("55P03", "40001", "40P01", "57014"):
        return Busy(f"others held {place} for too long ({text})", hint="try again")
    if state == "53300":
        return Busy(f"{place} has no connection left", hint="give the store a smaller pool, or the server more")
    if state == "53100":
        return StoreError(f"the disk of {place} is full", hint="free some space; nothing was lost")
    if state in ("25006", "42501"):
        return StoreError(f"{place} cannot be written ({text})", hint="check the rights of the role that connects")
    if group in ("28", "3D"):
        return StoreError(f"{place} cannot be opened ({text})", hint="check user, password and name of the database")
    if group == "XX":
        return Damaged(f"{place} is not sound ({text})", hint="keep a copy, then `pinyon doctor` says what is left")
    if state == "42P01":
        return Damaged(f"a table of the store at {place} is missing ({text})", hint="restore a copy of the database")
    if state == "22003":
        return BadInput(f"a number does not fit into 64 bits: {text}")
    return StoreError(f"{place}: {text}")
