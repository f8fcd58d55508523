"""Work that survives the process: a queue in the database of the memory, with leases, retries and dead letters."""

from __future__ import annotations

import json
import logging
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from ..core.clock import Clock, Instant, from_micros, instant, micros
from ..core.payload import Json, canonical
from ..errors import BadInput, Busy, Conflict, Denied, MissingExtra, NotFound, PinyonError
from ..store.side import Job, JobState, JobTable

__all__ = ["Patience", "Queue", "Stopped", "Task", "Work", "Worker"]

_LOG = logging.getLogger(__name__)
_EVERY = "every"  # rests among the arguments, so that a recurring job is one row and one transaction
_FOR_GOOD = (BadInput, Denied, MissingExtra, NotFound)  # trying again changes nothing
_LONGEST_ERROR = 300  # characters of a failure that are kept
_ENDED: tuple[JobState, ...] = ("done", "dead", "cancelled")


class Stopped(Conflict):
    """The job is no longer this worker's to do: it was cancelled, or its lease ran out and another took it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker holds a job and how it waits between attempts.

    The n-th failure waits min(`longest`, `first` · 2^(n-1)) · (1 - `jitter` · u), u uniform in [0, 1).

    Args:
        lease: For how long a job is held without a sign of life; a vanished worker's job is free after it.
        first: Wait after the first failure.
        longest: No wait is longer.
        jitter: Share of the wait that is drawn by chance, 0 to 1, so that failures do not come back together.

    Raises:
        BadInput: A duration is not positive, or the jitter is outside 0 to 1.
    """

    lease: timedelta = timedelta(seconds=60)  # ours: thrice renewed before it runs out
    first: timedelta = timedelta(seconds=2)  # ours
    longest: timedelta = timedelta(hours=1)  # ours
    jitter: float = 0.5  # ours

    def __post_init__(self) -> None:
        for name in ("lease", "first", "longest"):
            if getattr(self, name) <= timedelta(0):
                raise BadInput(f"{name} must be a positive duration, got {getattr(self, name)!r}")
        if not 0 <= self.jitter <= 1:
            raise BadInput(f"jitter must lie between 0 and 1, got {self.jitter!r}")

    def wait(self, attempts: int, chance: float) -> timedelta:
        """Return how long to wait after so many attempts, with a number drawn from [0, 1)."""
        doubled = min(self.longest / self.first, 2.0 ** min(attempts - 1, 60))
        return self.first * doubled * (1 - self.jitter * chance)


class Task:
    """What a function is given: the job in hand, its progress, and the end of it.

    A function may be called more than once for a job, because a worker can die at any moment. Its effect happens once
    when it does one of these:

    - An effect in the same database is written in one transaction with the end of the job::

          with engine.transaction() as tx:
              tx.put_vectors(...)
              task.finish({"rows": 64})

      The job is marked in that transaction (SQLite and Postgres: on the connection that it holds), so both are there
      or neither, whenever the process is killed; `finish` raises when another worker has the job by now, and the
      effect is undone with it.
    - An effect elsewhere is named by `name`, the same for every attempt, where the other side keeps names
      (an idempotency key); or it carries `attempt`, which only grows, where the other side refuses smaller numbers.

    Attributes:
        job: The job as it was leased.
    """

    def __init__(self, jobs: JobTable, clock: Clock, job: Job, lease: timedelta) -> None:
        self._jobs = jobs
        self._clock = clock
        self._lease = lease
        self._is_cancelled = job.is_cancelling
        self.job = job

    @property
    def arguments(self) -> dict[str, Json]:
        """What the function is told."""
        return {name: value for name, value in self.job.arguments.items() if name != _EVERY}

    @property
    def name(self) -> str:
        """Names the occurrence of the job: the same for all its attempts, another for each turn of a recurring one."""
        found = _every(self.job)
        return f"job-{self.job.id}" if found is None else f"job-{self.job.id}-{found.turn}"

    @property
    def attempt(self) -> int:
        """Times this job was begun, from 1."""
        return self.job.attempts

    @property
    def is_cancelled(self) -> bool:
        """Whether it is asked to stop, as known at the last sign of life."""
        return self._is_cancelled

    def step(self, done: int, total: int = 0) -> None:
        """Say how far it is, and hold the job for another lease.

        Raises:
            Stopped: The job is cancelled, or another worker has it.
        """
        self._renew(lambda job: replace(job, done=done, total=total or job.total))
        if self._is_cancelled:
            raise Stopped(f"job {self.job.id} was cancelled")

    def renew(self) -> None:
        """Hold the job for another lease.

        Raises:
            Stopped: Another worker has it, or it has ended.
        """
        self._renew(lambda job: job)

    def finish(self, result: Mapping[str, Json] | None = None) -> None:
        """Mark the job as done, within the transaction that this thread has open or in one of its own.

        Raises:
            Stopped: Another worker has it, or it has ended.
        """
        now = self._clock.now()
        self._change(lambda job: done(job, now, result or {}))

    def stop(self) -> None:
        """Tell the function that the job is no longer its own."""
        self._is_cancelled = True

    def _renew(self, change: Callable[[Job], Job]) -> None:
        now = self._clock.now()
        found = self._change(lambda job: replace(change(job), lease=now + self._lease, updated=now))
        self._is_cancelled = found.is_cancelling

    def _change(self, change: Callable[[Job], Job]) -> Job:
        def mine(job: Job) -> Job:
            if job.attempts != self.job.attempts:
                raise Stopped(f"job {job.id} was begun again by another")
            return change(job)

        found = self._jobs.change(self.job.id, self.job.worker, mine)
        if found is None:
            raise Stopped(f"job {self.job.id} is no longer held by {self.job.worker}")
        return found


Work = Callable[[Task], Mapping[str, Json] | None]
"""A function that does jobs of one kind; what it returns rests as the result."""


def done(job: Job, now: datetime, result: Mapping[str, Json]) -> Job:
    """Return a job after its function has returned: done, or waiting for its next turn."""
    ended = replace(job, worker="", lease=None, error="", result=dict(result), updated=now)
    return _next(ended, now) if _recurs(job) else replace(ended, state="done", done=max(job.done, job.total))


def failed(job: Job, now: datetime, error: str, *, again: datetime | None) -> Job:
    """Return a job after its function has failed: waiting until `again`, or at the end of its attempts."""
    ended = replace(job, worker="", lease=None, error=error, updated=now)
    if job.is_cancelling:
        return replace(ended, state="cancelled")
    if again is not None and job.attempts < job.most_attempts:
        return replace(ended, state="waiting", due=again)
    return _next(ended, now) if _recurs(job) else replace(ended, state="dead")


def _recurs(job: Job) -> bool:
    return _EVERY in job.arguments and not job.is_cancelling


@dataclass(frozen=True, slots=True)
class _Every:
    """When a recurring job is due: its n-th turn at `start` + n · `seconds`."""

    seconds: float
    start: int  # microseconds since 1970
    turn: int = 0

    def after(self, now: datetime) -> tuple[_Every, datetime]:
        """Return the next turn and its time; those that were missed are left out."""
        start, step = from_micros(self.start), timedelta(seconds=self.seconds)
        turn = max(self.turn, (now - start) // step) + 1
        return replace(self, turn=turn), start + turn * step


def _every(job: Job) -> _Every | None:
    found = job.arguments.get(_EVERY)
    if not isinstance(found, dict):
        return None
    return _Every(float(str(found["seconds"])), int(str(found["start"])), int(str(found["turn"])))


def _next(job: Job, now: datetime) -> Job:
    """Return a recurring job waiting for its next turn."""
    found = _every(job)
    if found is None:
        return job
    every, due = found.after(now)
    told = {**job.arguments, _EVERY: _json(every)}
    return replace(job, state="waiting", arguments=told, due=due, attempts=0, done=0, total=0)


def _json(every: _Every) -> dict[str, Json]:
    return {"seconds": every.seconds, "start": every.start, "turn": every.turn}


class Queue:
    """Jobs of one database.

    Any number of processes may add and work at once; on several machines their clocks agree far better than the length
    of a lease. Arguments, results and errors rest without the rights of cubes: ids and settings, never content.

    Args:
        jobs: The table, ``engine.jobs``.
        clock: Tells when jobs are due and leases run out.
        patience: How long a worker holds a job and waits between attempts.
    """

    def __init__(self, jobs: JobTable, clock: Clock, *, patience: Patience = Patience()) -> None:
        self._jobs = jobs
        self._clock = clock
        self._patience = patience

    def add(
        self,
        kind: str,
        arguments: Mapping[str, Json] | None = None,
        *,
        key: str = "",
        due: Instant | None = None,
        priority: int = 0,
        most_attempts: int = 5,
        every: timedelta | None = None,
    ) -> Job:
        """Queue a job; inside a transaction that this thread has open, with it.

        Args:
            kind: Which function does it.
            arguments: What it is told, as JSON.
            key: While a job of this kind and key waits or runs, that one is returned instead; empty for no such rule.
            due: Not before; default now.
            priority: Higher goes first.
            most_attempts: After so many failures it is dead, >= 1.
            every: Let it recur: after each turn it waits for the next of its times. A turn whose attempts all fail
                leaves its error and waits for the next turn.

        Raises:
            BadInput: The kind is empty, the arguments are no JSON, or a number is out of its range.
        """
        now = self._clock.now()
        starts = now if due is None else instant(due)
        told = _checked(kind, arguments or {}, most_attempts)
        if every is not None:
            if every <= timedelta(0):
                raise BadInput(f"every must be a positive duration, got {every!r}")
            told[_EVERY] = _json(_Every(every.total_seconds(), micros(starts)))
        job = Job(0, kind, told, now, now, starts, key=key, priority=priority, most_attempts=most_attempts)
        return self._jobs.add([job])[0]

    def get(self, id: int) -> Job:
        """Return a job.

        Raises:
            NotFound: There is none of this number.
        """
        found = self._jobs.get(id)
        if found is None:
            raise NotFound(f"there is no job {id!r}")
        return found

    def dead(self, limit: int = 100) -> list[Job]:
        """Return the dead letters, oldest first: jobs that failed as often as they may."""
        return self._jobs.find(states=["dead"], limit=limit)

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs stand where."""
        return self._jobs.counts()

    def requeue(self, id: int) -> Job:
        """Let a dead or cancelled job begin anew.

        Raises:
            NotFound: There is none of this number.
            Conflict: It is neither dead nor cancelled, or another job has its key by now.
        """
        now = self._clock.now()

        def again(job: Job) -> Job:
            if job.state not in ("dead", "cancelled"):
                raise Conflict(f"job {id} is {job.state}", hint="only a dead or cancelled job begins anew")
            return replace(job, state="waiting", due=now, attempts=0, done=0, is_cancelling=False, updated=now)

        return self._found(id, self._jobs.change(id, "", again))

    def cancel(self, id: int) -> Job:
        """Cancel a waiting job, and ask the worker of a running one to stop; one that has ended stays as it is.

        Raises:
            NotFound: There is none of this number.
        """
        now = self._clock.now()

        def stop(job: Job) -> Job:
            if job.state == "waiting":
                return replace(job, state="cancelled", updated=now)
            return replace(job, is_cancelling=True, updated=now) if job.state == "running" else job

        return self._found(id, self._jobs.change(id, "", stop))

    def clear(self, before: Instant) -> int:
        """Drop jobs that have ended before a moment; return their number."""
        moment, last, gone = instant(before), 0, 0
        while page := self._jobs.find(states=_ENDED, limit=500, after=last):
            last = page[-1].id
            gone += self._jobs.remove([job.id for job in page if job.updated < moment])
        return gone

    def worker(self, functions: Mapping[str, Work], name: str = "", *, random: Random | None = None) -> Worker:
        """Return a worker for some kinds of jobs.

        Args:
            functions: What does the jobs of each kind.
            name: Unlike that of any other worker; default the process and a random number.
            random: Draws the jitter of waits; default one seeded by the name.
        """
        called = name or f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        return Worker(self._jobs, self._clock, self._patience, functions, called, random or Random(called))

    @staticmethod
    def _found(id: int, job: Job | None) -> Job:
        if job is None:
            raise NotFound(f"there is no job {id!r}")
        return job


class Worker:
    """Takes jobs that are due and does them, one at a time; made by `Queue.worker`."""

    def __init__(
        self,
        jobs: JobTable,
        clock: Clock,
        patience: Patience,
        functions: Mapping[str, Work],
        name: str,
        random: Random,
    ) -> None:
        self._jobs = jobs
        self._clock = clock
        self._patience = patience
        self._functions = dict(functions)
        self._random = random
        self._pulse = _Pulse(patience.lease.total_seconds() / 3)
        self.name = name

    def run_once(self) -> Job | None:
        """Do one job that is due and return it as it stands then; None when none is."""
        now = self._clock.now()
        leased = self._jobs.lease(self.name, list(self._functions), now, now + self._patience.lease, 1)
        if not leased:
            return None
        job = leased[0]
        task = Task(self._jobs, self._clock, job, self._patience.lease)
        try:
            with self._pulse.of(task):
                result = self._functions[job.kind](task)
            self._end(task, lambda held: done(held, self._clock.now(), result or {}))
        except Stopped as error:
            self._end(task, self._as_failed(error))
        except Exception as error:
            if isinstance(error, PinyonError):  # one sentence, which the job keeps
                _LOG.info("job %d (%s), attempt %d, failed: %s", job.id, job.kind, job.attempts, error.message)
            else:
                _LOG.warning("job %d (%s), attempt %d, failed", job.id, job.kind, job.attempts, exc_info=True)
            self._end(task, self._as_failed(error))
        except BaseException:
            self._end(task, lambda held: replace(held, state="waiting", worker="", lease=None))
            raise
        return self._jobs.get(job.id)

    def run(self) -> int:
        """Do jobs until none is due, and return their number; jobs that wait or run elsewhere are not waited for."""
        number = 0
        while self.run_once() is not None:
            number += 1
        return number

    def serve(self, stop: threading.Event, *, idle_s: float = 1.0) -> int:
        """Do jobs as they come due until told to stop, after the one in hand; return their number.

        Args:
            stop: Set by another thread or a signal.
            idle_s: Seconds between two looks at an empty queue.
        """
        number = 0
        while not stop.is_set():
            try:
                ended = self.run_once()
            except Busy as error:
                _LOG.warning("the queue could not be read: %s; trying again", error.message)
                ended = None
            if ended is None:
                stop.wait(idle_s)
            else:
                number += 1
        return number

    def close(self) -> None:
        """End the thread that keeps leases alive."""
        self._pulse.close()

    def _as_failed(self, error: Exception) -> Callable[[Job], Job]:
        message = error.message if isinstance(error, PinyonError) else f"{type(error).__name__}: {error}"
        chance = self._random.random()

        def change(job: Job) -> Job:
            now = self._clock.now()
            wait = self._patience.wait(job.attempts, chance)
            return failed(
                job, now, message[:_LONGEST_ERROR], again=None if isinstance(error, _FOR_GOOD) else now + wait
            )

        return change

    def _end(self, task: Task, change: Callable[[Job], Job]) -> None:
        """Write the end of a job, unless it was finished in a transaction of its function or is another worker's."""
        try:
            task._change(change)
        except Stopped:
            return


class _Pulse:
    """Renews the lease of the job in hand from a thread of its own."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._task: Task | None = None

    def of(self, task: Task) -> _Pulse:
        """Keep the lease of a task alive within a ``with`` block."""
        self._task = task
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="pinyon-lease", daemon=True)
            self._thread.start()
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        self._task = None

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(self._every_s):
            task = self._task
            if task is None:
                continue
            try:
                task.renew()
            except Stopped:
                task.stop()
            except PinyonError as error:
                _LOG.warning("the lease of job %d was not renewed: %s", task.job.id, error.message)


def _checked(kind: str, arguments: Mapping[str, Json], most: int) -> dict[str, Json]:
    if not kind:
        raise BadInput("a job needs a kind", hint="name the function that is to do it")
    if most < 1:
        raise BadInput(f"most_attempts must be >= 1, got {most!r}")
    if _EVERY in arguments:
        raise BadInput(f"{_EVERY!r} is no name for an argument", hint="give the time between turns as `every`")
    try:
        copied: dict[str, Json] = json.loads(canonical(dict(arguments)))
    except (TypeError, ValueError) as error:
        raise BadInput(f"the arguments of {kind!r} are no JSON: {error}") from error
    return copied
