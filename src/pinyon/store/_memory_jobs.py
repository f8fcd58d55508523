"""Usage and jobs in plain Python objects: the oracle of the other tables."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..core.clock import from_micros, micros
from ..core.payload import canonical
from ..errors import Conflict
from .side import Job, JobState, Usage

__all__ = ["JOB_STATES", "USAGE_COLUMNS", "VANISHED", "MemoryJobs", "MemoryUsage", "usage_of", "usage_values"]

JOB_STATES: tuple[JobState, ...] = ("waiting", "running", "done", "dead", "cancelled")

USAGE_COLUMNS = "row, count, last, rate, text, sessions"
"""Of a table of usage, in the order of `usage_values` after the row."""

VANISHED = "its worker ended without a word"
"""The error of a job that no worker survived."""


class MemoryUsage:
    """Usage by row in a dictionary."""

    def __init__(self) -> None:
        self._usage: dict[int, Usage] = {}
        self._lock = threading.RLock()

    def of(self, rows: Sequence[int]) -> dict[int, Usage]:
        """Return the usage of rows; rows never used are missing."""
        with self._lock:
            return {row: self._usage[row] for row in rows if row in self._usage}

    def change(self, rows: Sequence[int], change: Callable[[Mapping[int, Usage]], Mapping[int, Usage]]) -> None:
        """Read, change and write the usage of rows in one transaction; what the answer leaves out stays as it is."""
        with self._lock:
            self._usage.update(change(self.of(rows)))

    def every(self, after: int, limit: int) -> list[tuple[int, Usage]]:
        """Return rows with their usage, ascending from just after a row."""
        with self._lock:
            rows = sorted(row for row in self._usage if row > after)[:limit]
            return [(row, self._usage[row]) for row in rows]

    def remove(self, rows: Sequence[int]) -> None:
        """Drop the usage of rows whose cubes are forgotten."""
        with self._lock:
            for row in rows:
                self._usage.pop(row, None)


class MemoryJobs:
    """Jobs in a dictionary."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._last = 0
        self._lock = threading.RLock()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the jobs while a transaction of the engine is open; leaving by an exception undoes every change."""
        with self._lock:
            before, last = copy.copy(self._jobs), self._last
            try:
                yield
            except BaseException:
                self._jobs, self._last = before, last
                raise

    def add(self, jobs: Sequence[Job]) -> list[Job]:
        """Queue jobs; one whose key is taken by a waiting or running job of its kind is returned as that one."""
        with self.transaction():
            return [self._add(job) for job in jobs]

    def _add(self, job: Job) -> Job:
        taken = self._holder(job)
        if taken is not None:
            return taken
        self._last += 1
        self._jobs[self._last] = _copied(replace(job, id=self._last))
        return self._jobs[self._last]

    def _holder(self, job: Job) -> Job | None:
        """Return another waiting or running job that has the kind and the key of this one."""
        if not job.key:
            return None
        for other in self._jobs.values():
            same = other.kind == job.kind and other.key == job.key and other.id != job.id
            if same and other.state in ("waiting", "running"):
                return other
        return None

    def lease(self, worker: str, kinds: Sequence[str], now: datetime, until: datetime, limit: int) -> list[Job]:
        """Take free jobs that are due, the highest priority first, then the earliest due, then the oldest.

        Of those that were begun `most_attempts` times each becomes dead instead, and one that its vanished worker was
        asked to stop becomes cancelled.
        """
        with self.transaction():
            for job in [j for j in self._jobs.values() if j.kind in kinds]:
                if job.state == "running" and job.lease is not None and job.lease <= now:
                    self._jobs[job.id] = freed(job, now)
            free = [j for j in self._jobs.values() if j.state == "waiting" and j.kind in kinds and j.due <= now]
            out: list[Job] = []
            for job in sorted(free, key=lambda j: (-j.priority, j.due, j.id)):
                if len(out) == limit:
                    break
                self._jobs[job.id] = taken = taken_by(job, worker, now, until)
                if taken.state == "running":
                    out.append(taken)
            return out

    def change(self, id: int, worker: str, change: Callable[[Job], Job]) -> Job | None:
        """Read, change and write a job while this worker holds it (an empty name asks for no holder); else None.

        Raises:
            Conflict: Another waiting or running job has its key.
        """
        with self.transaction():
            job = self._jobs.get(id)
            if job is None or not is_held(job, worker):
                return None
            changed = _copied(replace(change(job), id=id))
            taken = self._holder(changed) if changed.state in ("waiting", "running") else None
            if taken is not None:
                raise Conflict(f"job {taken.id} already has the key {changed.key!r}", hint="wait until it is done")
            self._jobs[id] = changed
            return changed

    def get(self, id: int) -> Job | None:
        """Return a job."""
        return self._jobs.get(id)

    def find(self, *, states: Sequence[JobState] = (), kind: str = "", limit: int = 100, after: int = 0) -> list[Job]:
        """Return jobs in order of their number."""
        with self._lock:
            found = [
                job
                for id, job in sorted(self._jobs.items())
                if id > after and (not states or job.state in states) and kind in ("", job.kind)
            ]
            return found[:limit]

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs stand where; every state has its number."""
        with self._lock:
            states = [job.state for job in self._jobs.values()]
            return {state: states.count(state) for state in JOB_STATES}

    def remove(self, ids: Sequence[int]) -> int:
        """Drop jobs that are not running; return their number."""
        with self._lock:
            gone = [id for id in set(ids) if id in self._jobs and self._jobs[id].state != "running"]
            for id in gone:
                del self._jobs[id]
            return len(gone)


def usage_values(usage: Usage) -> tuple[int, int | None, float, str, str]:
    """Return the usage of a row as columns of a table hold it; `usage_of` is the inverse."""
    last = None if usage.last is None else micros(usage.last)
    return usage.count, last, usage.rate, usage.text, " ".join(usage.sessions)


def usage_of(values: Sequence[Any]) -> tuple[int, Usage]:
    """Return a row and its usage from the row's number and `usage_values`."""
    row, count, last, rate, text, sessions = values
    moment = None if last is None else from_micros(int(last))
    return int(row), Usage(int(count), moment, float(rate), str(text), tuple(str(sessions).split()))


def is_held(job: Job, worker: str) -> bool:
    """Return whether a worker holds a job; an empty name holds every one."""
    return not worker or (job.state == "running" and job.worker == worker)


def freed(job: Job, now: datetime) -> Job:
    """Return what becomes of a job whose lease has run out."""
    state: JobState = "waiting"
    if job.is_cancelling:
        state = "cancelled"
    elif job.attempts >= job.most_attempts:
        state = "dead"
    return replace(job, state=state, worker="", lease=None, error=VANISHED, updated=now)


def taken_by(job: Job, worker: str, now: datetime, until: datetime) -> Job:
    """Return a waiting job as its worker holds it, or as dead when it has no attempt left."""
    if job.attempts >= job.most_attempts:
        return replace(job, state="dead", updated=now)
    return replace(job, state="running", worker=worker, lease=until, attempts=job.attempts + 1, updated=now)


def _copied(job: Job) -> Job:
    """Return a job whose arguments and result nobody else can change."""
    arguments, result = (json.loads(canonical(dict(part))) for part in (job.arguments, job.result))
    return replace(job, arguments=arguments, result=result)
