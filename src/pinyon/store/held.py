"""One transaction that carries several verbs: an engine whose writes are all kept at the end, or all undone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from ..core.events import Head
from ..core.payload import Blob
from .base import Engine, Transaction
from .blobs import Blobs
from .side import AuditBefore, AuditLine, AuditTable, Usage, UsageTable

if TYPE_CHECKING:
    from .side import JobTable

__all__ = ["Held", "LaterAudit", "hold"]

_Change = Callable[[Mapping[int, Usage]], Mapping[int, Usage]]


class LaterAudit(AuditBefore):
    """An audit whose lines are written when the transaction has ended; of one that was undone, those of denials.

    Args:
        table: Where they go.
    """

    def __init__(self, table: AuditTable) -> None:
        super().__init__(table)
        self._lines: list[AuditLine] = []

    def append(self, lines: Sequence[AuditLine]) -> None:
        """Keep lines until the end."""
        self._lines += lines

    @contextmanager
    def part(self) -> Iterator[None]:
        """Keep of lines that come inside only those of denials when it is left by an exception."""
        before = len(self._lines)
        try:
            yield
        except BaseException:
            self._lines[before:] = [line for line in self._lines[before:] if not line.allowed]
            raise

    def write(self, *, is_done: bool) -> None:
        """Write what was kept.

        Args:
            is_done: Whether what the lines tell of has happened; else only what was denied is told.
        """
        lines, self._lines = self._lines, []
        self._table.append([line for line in lines if is_done or not line.allowed])


class _LaterUsage:
    """Usage whose changes are written when the transaction has been committed."""

    def __init__(self, table: UsageTable) -> None:
        self._table = table
        self._changes: list[tuple[list[int], _Change]] = []
        self._gone: list[int] = []

    def of(self, rows: Sequence[int]) -> dict[int, Usage]:
        return self._table.of(rows)

    def change(self, rows: Sequence[int], change: _Change) -> None:
        self._changes.append((list(rows), change))

    def every(self, after: int, limit: int) -> list[tuple[int, Usage]]:
        return self._table.every(after, limit)

    def remove(self, rows: Sequence[int]) -> None:
        self._gone += rows

    @contextmanager
    def part(self) -> Iterator[None]:
        changes, gone = len(self._changes), len(self._gone)
        try:
            yield
        except BaseException:
            del self._changes[changes:], self._gone[gone:]
            raise

    def write(self) -> None:
        for rows, change in self._changes:
            self._table.change(rows, change)
        if self._gone:
            self._table.remove(self._gone)


class _LaterBlobs:
    """Blobs that are put at once; when the transaction has ended, those that nothing names are dropped."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._touched: dict[str, Blob] = {}

    def put(self, data: bytes, *, role: str = "tensors") -> Blob:
        blob = self._engine.blobs.put(data, role=role)
        self._touched[blob.sha256] = blob
        return blob

    def get(self, blob: Blob) -> bytes:
        return self._engine.blobs.get(blob)

    def view(self, blob: Blob) -> memoryview:
        return self._engine.blobs.view(blob)

    def remove(self, blob: Blob) -> None:
        self._touched[blob.sha256] = blob

    def drop(self) -> None:
        for blob in self._touched.values():
            if not self._engine.names_blob(blob.sha256):
                self._engine.blobs.remove(blob)


class Held:
    """An engine inside one of its own transactions, as the thread that opened it sees it.

    Reads see what was written in it. Each transaction of a verb is a part of it, which is undone alone when the verb
    fails. What cannot be undone waits for the end: dropped blobs, lines of the audit, usage, folding in the log.
    Another thread that uses it works with the engine itself, and waits for the end before it writes.

    Args:
        engine: What carries the rows.
        tx: Its open transaction.

    Attributes:
        start: Number of the journal's last entry before it.
    """

    def __init__(self, engine: Engine, tx: Transaction) -> None:
        self._engine = engine
        self._tx = tx
        self._thread = threading.get_ident()
        self._is_unsettled = False
        self._audit = LaterAudit(engine.audit)
        self._usage = _LaterUsage(engine.usage)
        self._blobs = _LaterBlobs(engine)
        self.start = tx.head().seq

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    @property
    def as_engine(self) -> Engine:
        """The same, for type checkers: what is not here is the engine's."""
        return cast("Engine", self)

    @property
    def beneath(self) -> Engine:
        """The engine itself, for checks that look below its contract: this thread sees its transaction there, too."""
        return self._engine.beneath if isinstance(self._engine, Held) else self._engine

    @property
    def blobs(self) -> Blobs:
        """Bytes named by their SHA-256."""
        return self._blobs

    @property
    def audit(self) -> AuditTable:
        """What was asked for and decided."""
        return self._audit

    @property
    def usage(self) -> UsageTable:
        """How much each cube is used."""
        return self._usage

    @property
    def jobs(self) -> JobTable:
        """Work that survives the process; what is queued in the transaction ends with it."""
        return self._engine.jobs

    @property
    def has_written(self) -> bool:
        """Whether the journal has moved since the transaction began."""
        return self._tx.head().seq != self.start

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a part of the transaction; leaving it by an exception undoes the part."""
        if threading.get_ident() != self._thread:
            with self._engine.transaction() as other:
                yield other
            return
        outer = self._tx
        with self._audit.part(), self._usage.part(), outer.nested() as part:
            self._tx = part
            try:
                yield part
            finally:
                self._tx = outer

    def set_setting(self, key: str, value: str) -> None:
        """Keep a note about the store itself."""
        self._tx.set_setting(key, value)

    def head(self) -> Head:
        """Return the end of the journal, with what was written in the transaction."""
        return self._tx.head()

    def settle(self) -> None:
        """Fold in the log when the transaction has been committed."""
        self._is_unsettled = True

    def close(self) -> None:
        """Do nothing; the engine is another's."""

    def finish(self, *, is_done: bool) -> None:
        """Do what waited for the end of the transaction.

        Args:
            is_done: Whether it was committed.
        """
        self._blobs.drop()
        self._audit.write(is_done=is_done)
        if is_done:
            self._usage.write()
            if self._is_unsettled:
                self._engine.settle()


@contextmanager
def hold(engine: Engine) -> Iterator[Held]:
    """Open a transaction for several verbs; leaving it by an exception undoes all of them.

    Nobody else writes to the store meanwhile. A process that is killed inside leaves nothing of it.

    Args:
        engine: The store.

    Example:
        >>> from .inmemory import MemoryEngine
        >>> engine = MemoryEngine()
        >>> with hold(engine) as held:
        ...     held.set_setting("color", "blue")
        >>> engine.setting("color")
        'blue'
    """
    held: Held | None = None
    try:
        with engine.transaction() as tx:
            held = Held(engine, tx)
            yield held
    except BaseException:
        if held is not None:
            held.finish(is_done=False)
        raise
    held.finish(is_done=True)
