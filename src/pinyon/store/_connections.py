"""Connections to one SQLite file: one a thread, none across a fork, nothing written to a file that is not ours."""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from ..errors import Busy, Damaged, TooNew
from ._connect import PLAIN_MAGIC, check_key, connected
from ._said import WAIT_S, failures, plainly, twice
from ._schema import APPLICATION_ID, SCHEMA_VERSION
from ._sql import said

__all__ = ["Connections", "Moved", "check_schema"]

_HEADER_BYTES = 100
_FORK_WAIT_S = 5.0  # longer than any read or transaction of a verb


_Marks = tuple[int, ...]

_LOOKING: weakref.WeakSet[Connections] = weakref.WeakSet()
"""Those of this process that leave the log's index as it is. SQLite shares it among all connections of a process,
as whoever came first has opened it: who wants to write has them closed for a moment, and so has to know of them."""


class Moved(Busy):
    """A file that is read without a lock was written meanwhile; the same read may be tried again."""


class _Link:
    """A connection that is closed when the thread it belongs to ends.

    Args:
        db: It.
        marks: What the file was like when it was opened for reading without a lock, else an empty tuple.
    """

    __slots__ = ("__weakref__", "db", "marks")

    def __init__(self, db: sqlite3.Connection, marks: _Marks = ()) -> None:
        self.db = db
        self.marks = marks

    def __del__(self) -> None:
        self.db.close()


class _Reading(plainly):
    """One read: the connection of this thread, and no fork until it is over."""

    __slots__ = ("_connections",)

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections.path)
        self._connections = connections

    def __enter__(self) -> sqlite3.Connection:  # type: ignore[override]  # gives what its parent has not
        """Return the connection."""
        self._connections.begin_read()
        try:
            return self._connections.db
        except BaseException as error:
            self._end(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let a fork that waits go on; raise the error of this package."""
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._connections.end_read()
        if self._connections.is_read_only and (error is None or isinstance(error, failures())):
            self._connections.check_still(error)
        if error is not None:
            self._tell(error)


class _Writing:
    """A lock that names a thread's mistake of taking it twice, where a plain one would wait for good."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._owner: int | None = None

    def __enter__(self) -> None:
        if self._owner == threading.get_ident():
            raise twice(str(self._path))
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner = None
        self._lock.release()

    def hold_up(self, timeout: float) -> bool:
        """Keep others from writing for a fork, when that can be had in time."""
        return self._lock.acquire(timeout=timeout)

    def let_go(self) -> None:
        """Let others write after a fork."""
        self._lock.release()


class Connections:
    """Hands each thread its own connection to a file.

    SQLite keeps in the memory of a process which locks it holds. A forked child would inherit that belief without the
    locks, and the parent could then fold in and delete the log under the child's hands. So every connection is closed
    just before a fork, and parent and child connect again when they need to.

    A file or folder that may not be written is opened for reading alone: as an immutable file while there is no log
    beside it, else with the locks of those who write. An immutable file is read without locks, so it is opened again
    when it has changed, and a read during which it changed raises `Moved`.

    Args:
        path: The file; need not exist.
        durability: Value of ``PRAGMA synchronous``.
        key: Of an encrypted file, as `Keys.database` gives it; none for a plain one.
        is_read_only: Whether nothing is written though it could be: not the file, not its log, not the log's index.

    Attributes:
        writing: Held by the thread of this process that writes.
        is_read_only: Whether the file is there and may not be written.

    Raises:
        Damaged: The file is no pinyon database; not a byte of it was changed.
        TooNew: It was written by a later version; not a byte of it was changed.
        WrongKey: It is encrypted and there is no key, or the other way round; not a byte of it was changed.
    """

    def __init__(self, path: Path, durability: str, key: bytes = b"", *, is_read_only: bool = False) -> None:
        self.path = path
        self._is_let_be = is_read_only
        self._key = key
        self._durability = durability
        self.writing = _Writing(path)
        self._quiet = threading.Condition()
        self._readers = 0
        self._local = threading.local()
        self._links: weakref.WeakSet[_Link] = weakref.WeakSet()
        self._abandoned: list[_Link] = []
        self._is_held = False
        folder = path.parent
        self.is_read_only = is_read_only or (
            path.exists() and not (os.access(path, os.W_OK) and os.access(folder, os.W_OK))
        )
        self._inspect()
        if is_read_only:
            _LOOKING.add(self)
        _tell_of_forks(self)

    @property
    def db(self) -> sqlite3.Connection:
        """The connection of this thread."""
        link: _Link | None = getattr(self._local, "link", None)
        if link is None or (self.is_read_only and link.marks != self._marks()):
            link = self._local.link = self._connect()
            with self._quiet:
                self._links.add(link)
        return link.db

    def begin_read(self) -> None:
        """Hold up forks."""
        with self._quiet:
            self._readers += 1

    def end_read(self) -> None:
        """Let a fork go on that waits for the last read."""
        with self._quiet:
            self._readers -= 1
            if not self._readers:
                self._quiet.notify_all()

    def reading(self) -> _Reading:
        """Give the connection of this thread for a read; a fork waits until it is over."""
        return _Reading(self)

    @property
    def is_writing(self) -> bool:
        """Whether this thread is inside a transaction that writes, and may yet take back what it sees."""
        return self.db.in_transaction and not getattr(self._local, "is_looking", False)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Give the connection of this thread for several reads of one state of the file."""
        with self.reading() as db:
            if db.in_transaction:
                yield db
                return
            local = self._local
            db.execute("BEGIN")
            local.is_looking = True
            try:
                yield db
            finally:
                local.is_looking = False
                if db.in_transaction:
                    db.execute("COMMIT")

    def close(self) -> None:
        """Close every connection of this process; what comes later connects again, what reads is waited for."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._readers, timeout=_FORK_WAIT_S)
            self._close_links()

    def _close_links(self) -> None:
        links = list(self._links)
        self._links.clear()
        self._local = threading.local()
        for link in links:
            link.db.close()

    def _connect(self) -> _Link:
        if self.is_read_only:
            return self._reader()
        others = sorted((each for each in list(_LOOKING) if each.is_at(self.path)), key=id)
        with ExitStack() as aside:
            for other in others:
                aside.enter_context(other.aside())
            return self._writer()

    def is_at(self, path: Path) -> bool:
        """Return whether this is the file at a path."""
        try:
            return self.path.samefile(path)
        except OSError:
            return False

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Close every connection when nobody reads, and let nobody read; what comes later connects again."""
        with self._quiet:
            if self._quiet.wait_for(lambda: not self._readers, timeout=_FORK_WAIT_S):
                self._close_links()
            yield

    def _writer(self) -> _Link:
        db = connected(self.path, self._key)
        link = _Link(db)
        db.execute(f"PRAGMA busy_timeout = {int(WAIT_S * 1000)}")
        _patiently(lambda: db.execute("PRAGMA journal_mode = WAL").fetchone())
        db.execute(f"PRAGMA synchronous = {self._durability.upper()}")
        db.execute(
            "PRAGMA wal_autocheckpoint = 4000"
        )  # 16 MiB: pages that change with each write are folded in less often
        db.execute("PRAGMA secure_delete = ON")  # a forgotten text leaves no trace on its pages
        _tune(db)
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log's index now
        return link

    def _reader(self) -> _Link:
        marks = self._marks()
        how = "mode=ro&immutable=1" if marks else "mode=ro"
        if self._is_let_be and not marks:
            self._check_log()
            how = "mode=ro&readonly_shm=1"  # the log's index is read, or made in memory when nobody writes
        db = connected(self.path, self._key, how)
        link = _Link(db, marks)
        _tune(db)
        if self._is_let_be and marks:
            db.execute("PRAGMA mmap_size = 0")  # the file may be cut shorter while nothing holds it
        return link

    def _check_log(self) -> None:
        if not self._log_index.exists():
            raise Moved(
                f"{self.path} has a log that was not folded in, and cannot be read without writing beside it",
                hint="open it once by itself, where it can be written; `pinyon stats` is enough",
            )

    def _marks(self) -> _Marks:
        """Return what the file is like while there is no log beside it, an empty tuple while there is one."""
        if self._has_log():
            return ()
        try:
            found = self.path.stat()
        except OSError:
            return (0,)
        return found.st_ino, found.st_size, found.st_mtime_ns

    @property
    def _log_index(self) -> Path:
        return self.path.with_name(self.path.name + "-shm")

    def _has_log(self) -> bool:
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size > 0
        except OSError:
            return False

    def check_still(self, error: BaseException | None) -> None:
        """Refuse what this thread has read without a lock from a file that has changed since.

        Args:
            error: Why nothing was read, or None; a log may have gone while it was being opened.

        Raises:
            Moved: It has.
        """
        link: _Link | None = getattr(self._local, "link", None)
        has_gone = self._is_let_be and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN
        if has_gone or (link is not None and link.marks and link.marks != self._marks()):
            self._local.link = None
            raise Moved(f"{self.path} was written while it was read", hint="try again")

    def _inspect(self) -> None:
        """Refuse a file that is not ours before SQLite opens it for writing."""
        try:
            with open(self.path, "rb") as file:
                head = file.read(_HEADER_BYTES)
        except FileNotFoundError:
            head = b""
        check_key(self.path, head, self._key)
        if not head or self._key:
            return
        if len(head) < _HEADER_BYTES or not head.startswith(PLAIN_MAGIC):
            raise Damaged(f"{self.path} is not a sound pinyon database", hint="choose another path, or restore a copy")
        version, marked = struct.unpack_from(">I", head, 60)[0], struct.unpack_from(">I", head, 68)[0]
        if marked == APPLICATION_ID:
            _check_version(self.path, version)
            return
        link = self._reader()
        check_schema(link.db, self.path)  # ours all the same when its first pages still lie in the log
        link.db.close()

    def before_fork(self) -> None:
        """Close all connections when nobody uses them, and keep them closed until the fork is over."""
        self._is_held = self.writing.hold_up(_FORK_WAIT_S)
        self._quiet.acquire()
        if self._is_held and self._quiet.wait_for(lambda: not self._readers, timeout=_FORK_WAIT_S):
            self._close_links()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._quiet.release()
        if self._is_held:
            self.writing.let_go()

    def after_fork_in_child(self) -> None:
        """Go on with locks that no thread of the parent can hold."""
        self._abandoned = list(self._links)  # closing them would release locks of the parent
        self._links = weakref.WeakSet()
        self._local = threading.local()
        self._readers = 0
        self._quiet = threading.Condition()
        self.writing = _Writing(self.path)


def check_schema(db: sqlite3.Connection, path: Path) -> int:
    """Return the schema version of a database, 0 for an empty one, all read in one transaction.

    Raises:
        Damaged: It has tables and is not ours.
        TooNew: It was written by a later version.
    """
    db.execute("BEGIN")
    try:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        marked = db.execute("PRAGMA application_id").fetchone()[0]
        is_empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    finally:
        db.execute("COMMIT")
    if not is_empty and marked != APPLICATION_ID:
        raise Damaged(f"{path} is a SQLite file but not one of pinyon's", hint="choose another path")
    _check_version(path, version)
    return version


def _check_version(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise TooNew(
            f"{path} has schema {version}, this pinyon knows schema {SCHEMA_VERSION}",
            hint="pip install --upgrade pinyon",
        )


def _tune(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA cache_size = -65536")  # 64 MiB
    db.execute("PRAGMA mmap_size = 1073741824")  # read through the page cache, 1 GiB; SQLCipher maps nothing
    db.execute("PRAGMA temp_store = MEMORY")
    db.create_function("said", 1, said, deterministic=True)


def _tell_of_forks(connections: Connections) -> None:
    """Ask the interpreter to call back around forks, for as long as the connections live."""
    if not hasattr(os, "register_at_fork"):
        return
    before, parent, child = (
        weakref.WeakMethod(method)
        for method in (connections.before_fork, connections.after_fork_in_parent, connections.after_fork_in_child)
    )

    def call(reference: weakref.WeakMethod[Callable[[], None]]) -> None:
        method = reference()
        if method is not None:
            method()

    os.register_at_fork(
        before=lambda: call(before), after_in_parent=lambda: call(parent), after_in_child=lambda: call(child)
    )


def _patiently(step: Callable[[], object]) -> None:
    """Run a step that SQLite refuses at once while another process does the same, until it works."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            step()
            return
        except failures() as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
