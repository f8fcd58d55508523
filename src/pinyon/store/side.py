"""What rests beside the cubes in the same database: the audit, the usage of cubes, and jobs.

None of it is memory: it is not versioned, not indexed, and what concerns a cube goes when the cube is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from ..core.payload import Json
from ..core.scope import Scope

__all__ = [
    "MOST_SESSIONS",
    "AuditBefore",
    "AuditEntry",
    "AuditLine",
    "AuditTable",
    "Job",
    "JobState",
    "JobTable",
    "Usage",
    "UsageTable",
]

JobState = Literal["waiting", "running", "done", "dead", "cancelled"]


@dataclass(frozen=True, slots=True)
class AuditLine:
    """Something that was asked for, and what was decided.

    Args:
        time: When.
        actor: Who asked.
        action: Verb of the memory (``search``, ``update``, ``forget``, ``policy`` …).
        allowed: What was decided.
        rule: Which rule decided, as `Decision.rule` names it.
        space: Where.
        cube: Id of the cube, or an empty text.
        detail: Anything else worth keeping; never content of a memory and never a question.
    """

    time: datetime
    actor: Scope
    action: str
    allowed: bool
    rule: str
    space: str
    cube: str = ""
    detail: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the audit as it rests: numbered from 1 without gaps, and chained to the one before by SHA-256."""

    seq: int
    line: AuditLine
    chain: str


class AuditTable(Protocol):
    """Lines that are only ever appended."""

    def append(self, lines: Sequence[AuditLine]) -> None:
        """Write lines in one transaction of their own; on return they have reached the disk."""
        ...

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
        ...

    def problems(self) -> list[str]:
        """Return where the chain breaks."""
        ...


class AuditBefore:
    """What is read of an audit table; its children say what becomes of lines that are written.

    Args:
        table: The table behind it.
    """

    def __init__(self, table: AuditTable) -> None:
        self._table = table

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
        """Return entries of the table behind."""
        return self._table.read(after, limit, tenant=tenant, allowed=allowed, cube=cube, newest_first=newest_first)

    def problems(self) -> list[str]:
        """Return where the chain breaks."""
        return self._table.problems()


MOST_SESSIONS = 8
"""Sessions beyond which nobody counts; ours. Every process that opens a store must count alike."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a cube has been used.

    Args:
        count: Times it was found and put into a prompt.
        last: When it was last used or shown as a hit, or None.
        rate: Uses a day, an exponential average; as of `last`.
        text: Digest of the text that it had at its last use, or an empty text.
        sessions: Hashes of sessions in which it was used with that very text, sorted, at most `MOST_SESSIONS`.
    """

    count: int = 0
    last: datetime | None = None
    rate: float = 0.0
    text: str = ""
    sessions: tuple[str, ...] = ()


class UsageTable(Protocol):
    """Usage by row of the cube."""

    def of(self, rows: Sequence[int]) -> dict[int, Usage]:
        """Return the usage of rows; rows never used are missing."""
        ...

    def change(self, rows: Sequence[int], change: Callable[[Mapping[int, Usage]], Mapping[int, Usage]]) -> None:
        """Read, change and write the usage of rows in one transaction; what the answer leaves out stays as it is."""
        ...

    def every(self, after: int, limit: int) -> list[tuple[int, Usage]]:
        """Return rows with their usage, ascending from just after a row."""
        ...

    def remove(self, rows: Sequence[int]) -> None:
        """Drop the usage of rows whose cubes are forgotten."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work that survives the process.

    Args:
        id: From 1; 0 before it is queued.
        kind: Which worker function does it.
        arguments: What it is told.
        key: Two waiting or running jobs of one kind never share a key; empty for no such rule.
        state: Where it stands.
        priority: Higher goes first.
        due: Not before.
        attempts: Times it was begun.
        most_attempts: After so many failures it is dead.
        worker: Who holds it, or an empty text.
        lease: Until when it is held; a job whose lease has run out is free again.
        done: Steps done.
        total: Steps in all, 0 when unknown.
        is_cancelling: Whether its worker is asked to stop.
        error: What failed last, one sentence.
        result: What it returned.
        created: When it was queued.
        updated: When this last changed.
    """

    id: int
    kind: str
    arguments: Mapping[str, Json]
    created: datetime
    updated: datetime
    due: datetime
    key: str = ""
    state: JobState = "waiting"
    priority: int = 0
    attempts: int = 0
    most_attempts: int = 5
    worker: str = ""
    lease: datetime | None = None
    done: int = 0
    total: int = 0
    is_cancelling: bool = False
    error: str = ""
    result: Mapping[str, Json] = field(default_factory=dict)


class JobTable(Protocol):
    """Jobs; every call is one transaction, safe against other workers and processes.

    A call made inside `Engine.transaction` by the same thread takes part in that transaction, so that an effect and the
    end of its job are written together or not at all.
    """

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Queue jobs; one whose key is taken by a waiting or running job of its kind is returned as that one."""
        ...

    def lease(self, worker: str, kinds: Sequence[str], now: datetime, until: datetime, limit: int) -> list[Job]:
        """Take free jobs that are due: waiting ones, and running ones whose lease has run out.

        The highest priority first, then the earliest due, then the oldest. One that has been begun `most_attempts`
        times becomes dead instead, and one that its vanished worker was asked to stop becomes cancelled.
        """
        ...

    def change(self, id: int, worker: str, change: Callable[[Job], Job]) -> Job | None:
        """Read, change and write a job while this worker holds it (an empty name asks for no holder); else None.

        Raises:
            Conflict: Another waiting or running job has its key.
        """
        ...

    def get(self, id: int) -> Job | None:
        """Return a job."""
        ...

    def find(self, *, states: Sequence[JobState] = (), kind: str = "", limit: int = 100, after: int = 0) -> list[Job]:
        """Return jobs in order of their number."""
        ...

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs stand where; every state has its number."""
        ...

    def remove(self, ids: Sequence[int]) -> int:
        """Drop jobs that are not running; return their number."""
        ...
