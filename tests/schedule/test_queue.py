"""Jobs are done, once, whatever becomes of their workers."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pinyon.core.clock import SystemClock
from pinyon.errors import BadInput, Conflict, NotFound
from pinyon.schedule import Patience, Queue, Stopped, Task
from pinyon.store import MemoryEngine, SqliteEngine
from pinyon.store._memory_jobs import MemoryJobs
from pinyon.store.side import JobTable
from pinyon.testing import FixedClock

MINUTE = timedelta(minutes=1)
STEADY = Patience(jitter=0.0)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def queue(jobs: JobTable, clock: FixedClock) -> Queue:
    return Queue(jobs, clock, patience=STEADY)


def nothing(task: Task) -> None:
    return None


def failing(task: Task) -> None:
    raise ValueError("no such model")


def test_a_job_is_done_and_its_result_kept(queue: Queue) -> None:
    job = queue.add("count", {"rows": [1, 2, 3]})
    worker = queue.worker({"count": lambda task: {"rows": len(task.arguments["rows"])}})  # type: ignore[arg-type]
    assert worker.run() == 1
    found = queue.get(job.id)
    assert (found.state, found.result, found.worker, found.lease) == ("done", {"rows": 3}, "", None)


def test_a_worker_leaves_other_kinds_alone(queue: Queue) -> None:
    queue.add("measure")
    assert queue.worker({"embed": nothing}).run_once() is None
    assert queue.counts()["waiting"] == 1


def test_a_failure_is_tried_again_after_twice_the_time_and_then_is_dead(queue: Queue, clock: FixedClock) -> None:
    job = queue.add("embed", most_attempts=3)
    worker = queue.worker({"embed": failing})
    waits = []
    while queue.get(job.id).state != "dead":
        assert worker.run_once() is not None
        waits.append((queue.get(job.id).due - clock.now()).total_seconds())
        assert worker.run_once() is None
        clock.set(max(clock.now(), queue.get(job.id).due))
    assert waits == [2.0, 4.0, 0.0]
    assert [(dead.id, dead.attempts, dead.error) for dead in queue.dead()] == [(1, 3, "ValueError: no such model")]


def test_the_wait_is_drawn_between_its_bounds_and_repeats_with_the_seed(jobs: JobTable, clock: FixedClock) -> None:
    queue = Queue(jobs, clock, patience=Patience(first=timedelta(seconds=10), jitter=0.5))

    def wait(seed: int) -> float:
        job = queue.add("embed")
        queue.worker({"embed": failing}, random=random.Random(seed)).run_once()
        found = queue.get(job.id)
        queue.cancel(job.id)
        return (found.due - clock.now()).total_seconds()

    waits = [wait(seed) for seed in (1, 2, 1)]
    assert all(5.0 < one <= 10.0 for one in waits)
    assert waits[0] == waits[2] != waits[1]


def test_the_longest_wait_is_never_passed() -> None:
    assert Patience(jitter=0.0).wait(10_000, 0.5) == Patience().longest


def test_what_cannot_succeed_is_not_tried_again(queue: Queue) -> None:
    def refuse(task: Task) -> None:
        raise BadInput("there is no such form")

    job = queue.add("convert")
    queue.worker({"convert": refuse}).run()
    assert (queue.get(job.id).state, queue.get(job.id).error) == ("dead", "there is no such form")


def test_a_dead_letter_begins_anew_when_asked(queue: Queue) -> None:
    job = queue.add("embed", most_attempts=1)
    queue.worker({"embed": failing}).run()
    assert queue.requeue(job.id).attempts == 0
    queue.worker({"embed": nothing}).run()
    assert (queue.get(job.id).state, queue.get(job.id).error) == ("done", "")
    with pytest.raises(Conflict, match="is done"):
        queue.requeue(job.id)
    with pytest.raises(NotFound):
        queue.requeue(99)


def test_progress_holds_the_job(queue: Queue, clock: FixedClock, jobs: JobTable) -> None:
    seen: list[tuple[int, int]] = []

    def slowly(task: Task) -> None:
        for done in (1, 2, 3):
            clock.advance(50)
            task.step(done, 4)
            found = queue.get(task.job.id)
            seen.append((found.done, found.total))
            assert jobs.lease("other", ["embed"], clock.now() + timedelta(seconds=59), clock.now(), 1) == []

    job = queue.add("embed")
    queue.worker({"embed": slowly}).run()
    assert seen == [(1, 4), (2, 4), (3, 4)]
    assert (queue.get(job.id).state, queue.get(job.id).done) == ("done", 4)


def test_a_waiting_job_is_cancelled_at_once(queue: Queue) -> None:
    job = queue.add("embed")
    assert queue.cancel(job.id).state == "cancelled"
    assert queue.worker({"embed": nothing}).run() == 0
    with pytest.raises(NotFound):
        queue.cancel(99)


def test_a_running_job_stops_at_its_next_step(queue: Queue) -> None:
    steps = []

    def work(task: Task) -> None:
        for number in range(5):
            task.step(number)
            steps.append(number)
            if number == 1:
                queue.cancel(task.job.id)

    job = queue.add("embed")
    queue.worker({"embed": work}).run()
    assert steps == [0, 1]
    assert queue.get(job.id).state == "cancelled"


def test_a_function_may_see_that_it_is_cancelled_and_tidy_up(queue: Queue) -> None:
    def work(task: Task) -> None:
        queue.cancel(task.job.id)
        task.renew()
        if task.is_cancelled:
            raise Stopped("tidied up")

    job = queue.add("embed")
    queue.worker({"embed": work}).run()
    assert (queue.get(job.id).state, queue.get(job.id).error) == ("cancelled", "tidied up")


def test_a_worker_that_lost_its_job_cannot_end_it(queue: Queue, clock: FixedClock) -> None:
    def slow(task: Task) -> None:
        clock.advance(61)
        assert queue.worker({"embed": lambda other: {"by": other.attempt}}).run() == 1
        with pytest.raises(Stopped):
            task.step(1)
        with pytest.raises(Stopped):
            task.finish({"by": task.attempt})

    job = queue.add("embed")
    queue.worker({"embed": slow}).run_once()
    assert queue.get(job.id).result == {"by": 2}


def test_a_job_taken_again_under_the_same_name_is_fenced_by_its_attempt(queue: Queue, clock: FixedClock) -> None:
    tasks: list[Task] = []

    def slow(task: Task) -> None:
        tasks.append(task)
        if task.attempt == 1:
            clock.advance(61)
            queue.worker({"embed": slow}, "twin").run()
        else:
            with pytest.raises(Stopped):
                tasks[0].finish({"by": 1})
            task.finish({"by": 2})

    job = queue.add("embed")
    queue.worker({"embed": slow}, "twin").run_once()
    assert [task.attempt for task in tasks] == [1, 2]
    assert (queue.get(job.id).state, queue.get(job.id).result) == ("done", {"by": 2})


def test_an_interrupted_worker_gives_its_job_back(queue: Queue) -> None:
    def interrupted(task: Task) -> None:
        raise KeyboardInterrupt

    job = queue.add("embed")
    with pytest.raises(KeyboardInterrupt):
        queue.worker({"embed": interrupted}).run_once()
    assert queue.get(job.id).state == "waiting"
    assert queue.worker({"embed": nothing}).run() == 1


def test_an_effect_and_the_end_of_its_job_are_one_transaction(engine: Any, queue: Queue) -> None:
    def effect(task: Task) -> None:
        with engine.transaction() as tx:
            tx.set_setting("count", str(int(tx.setting("count") or 0) + 1))
            task.finish({"wrote": True})
            if task.attempt < 3:
                raise ValueError("after the effect")

    job = queue.add("count")
    worker = queue.worker({"count": effect})
    for _ in range(3):
        worker.run()
        queue._clock.advance(60)  # type: ignore[attr-defined]
    assert engine.setting("count") == "1"
    assert (queue.get(job.id).state, queue.get(job.id).result) == ("done", {"wrote": True})


def test_an_effect_of_a_lost_job_is_undone(engine: Any, queue: Queue, clock: FixedClock) -> None:
    def effect(task: Task) -> None:
        if task.attempt == 1:
            clock.advance(61)
            queue.worker({"count": effect}).run()
        with engine.transaction() as tx:
            tx.set_setting("count", (tx.setting("count") or "") + str(task.attempt))
            task.finish()

    queue.add("count")
    queue.worker({"count": effect}).run_once()
    assert engine.setting("count") == "2"


def test_what_fails_after_the_effect_was_written_does_not_repeat_it(engine: Any, queue: Queue) -> None:
    def effect(task: Task) -> None:
        with engine.transaction() as tx:
            tx.set_setting("count", str(int(tx.setting("count") or 0) + 1))
            task.finish()
        raise ValueError("too late to matter")

    job = queue.add("count")
    queue.worker({"count": effect}).run()
    assert (queue.get(job.id).state, engine.setting("count")) == ("done", "1")


def test_a_job_added_in_a_transaction_goes_with_it(engine: Any, queue: Queue) -> None:
    def add_and_fail() -> None:
        with engine.transaction():
            queue.add("embed")
            raise ValueError("undone")

    with pytest.raises(ValueError, match="undone"):
        add_and_fail()
    assert sum(queue.counts().values()) == 0


def test_the_name_of_a_task_outlives_its_attempts(queue: Queue, clock: FixedClock) -> None:
    names = []

    def work(task: Task) -> None:
        names.append((task.name, task.attempt))
        if task.attempt == 1:
            raise ValueError

    queue.add("embed", every=MINUTE)
    worker = queue.worker({"embed": work})
    for _ in range(3):
        worker.run()
        clock.advance(30)
    assert names == [("job-1-0", 1), ("job-1-0", 2), ("job-1-1", 1)]


def test_a_recurring_job_keeps_its_times_and_leaves_missed_ones_out(queue: Queue, clock: FixedClock) -> None:
    start = clock.now()
    times = []
    job = queue.add("sweep", {"space": "x"}, key="sweep", every=MINUTE)
    worker = queue.worker({"sweep": lambda task: times.append(clock.now() - start)})
    for seconds in (0, 10, 50, 200, 25, 20):
        clock.advance(seconds)
        worker.run()
    assert [time.total_seconds() for time in times] == [0, 60, 260, 305]
    found = queue.get(job.id)
    assert (found.state, (found.due - start).total_seconds(), found.attempts) == ("waiting", 360, 0)
    assert queue.add("sweep", key="sweep", every=MINUTE).id == job.id


def test_a_turn_that_fails_does_not_end_a_recurring_job(queue: Queue, clock: FixedClock) -> None:
    job = queue.add("sweep", every=MINUTE, most_attempts=1)
    queue.worker({"sweep": failing}).run()
    found = queue.get(job.id)
    assert (found.state, found.error) == ("waiting", "ValueError: no such model")
    assert found.due == clock.now() + MINUTE


def test_a_recurring_job_ends_when_it_is_cancelled(queue: Queue) -> None:
    job = queue.add("sweep", every=MINUTE)
    queue.worker({"sweep": lambda task: queue.cancel(task.job.id) and None}).run()
    assert queue.get(job.id).state == "done"


def test_ended_jobs_are_cleared_by_age(queue: Queue, clock: FixedClock) -> None:
    queue.add("embed")
    queue.worker({"embed": nothing}).run()
    clock.advance(60)
    queue.add("embed")
    queue.worker({"embed": nothing}).run()
    queue.add("embed")
    assert queue.clear(clock.now()) == 1
    assert queue.counts() == {"waiting": 1, "running": 0, "done": 1, "dead": 0, "cancelled": 0}


def test_a_heartbeat_keeps_the_lease_of_a_silent_function() -> None:
    queue = Queue(MemoryJobs(), SystemClock(), patience=Patience(lease=timedelta(seconds=0.15)))
    leases = set()

    def silent(task: Task) -> None:
        while len(leases) < 4:
            leases.add(queue.get(task.job.id).lease)
            threading.Event().wait(0.005)

    job = queue.add("embed")
    worker = queue.worker({"embed": silent})
    worker.run_once()
    worker.close()
    assert (queue.get(job.id).state, queue.get(job.id).attempts) == ("done", 1)


def test_serving_goes_on_until_it_is_stopped(queue: Queue) -> None:
    stop = threading.Event()
    for number in range(3):
        queue.add("embed", {"number": number})
    worker = queue.worker({"embed": lambda task: stop.set() if task.arguments["number"] == 2 else None})
    assert worker.serve(stop, idle_s=0.01) == 3


def test_failures_are_logged_with_their_traceback(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    queue.add("embed")
    with caplog.at_level(logging.WARNING):
        queue.worker({"embed": failing}).run()
    assert "no such model" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": ""},
        {"kind": "x", "most_attempts": 0},
        {"kind": "x", "arguments": {"every": 1}},
        {"kind": "x", "arguments": {"at": object()}},
        {"kind": "x", "arguments": {"at": float("nan")}},
        {"kind": "x", "every": timedelta(0)},
    ],
)
def test_impossible_jobs_are_refused(queue: Queue, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        queue.add(**wrong)


def test_impossible_patience_is_refused() -> None:
    for wrong in ({"lease": timedelta(0)}, {"jitter": 1.5}, {"first": timedelta(seconds=-1)}):
        with pytest.raises(BadInput):
            Patience(**wrong)  # type: ignore[arg-type]


WORKER = """
import os, signal, sys, time
from datetime import timedelta
from pathlib import Path
from pinyon.core.clock import SystemClock
from pinyon.schedule import Patience, Queue
from pinyon.store import SqliteEngine

engine = SqliteEngine(Path(sys.argv[1]), durability="normal")
dies = sys.argv[2]

def count(task):
    time.sleep(0.02)  # long enough to be killed in the middle of it
    with engine.transaction() as tx:
        key = "effect-" + str(task.arguments["number"])
        tx.set_setting(key, str(int(tx.setting(key) or 0) + 1))
        if dies == "before" and task.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        task.finish()
        if dies == "inside" and task.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    if dies == "after" and task.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)

queue = Queue(engine.jobs, SystemClock(), patience=Patience(lease=timedelta(seconds=0.3)))
worker = queue.worker({"count": count})
while queue.counts()["waiting"] + queue.counts()["running"]:
    if worker.run_once() is None:
        time.sleep(0.02)
"""


def started(path: Path, dies: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(path), dies])


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@pytest.mark.parametrize("dies", ["before", "inside", "after"])
def test_a_worker_killed_beside_its_effect_leaves_one_effect(tmp_path: Path, dies: str) -> None:
    engine = SqliteEngine(tmp_path / "memory.db")
    queue = Queue(engine.jobs, SystemClock())
    job = queue.add("count", {"number": 0})
    assert started(tmp_path / "memory.db", dies).wait(timeout=60) == -signal.SIGKILL
    assert started(tmp_path / "memory.db").wait(timeout=60) == 0
    assert engine.setting("effect-0") == "1"
    assert (queue.get(job.id).state, queue.get(job.id).attempts) == ("done", 1 if dies == "after" else 2)
    engine.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_workers_killed_at_random_lose_no_job_and_repeat_no_effect(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "memory.db", durability="normal")
    queue = Queue(engine.jobs, SystemClock())
    for number in range(300):
        queue.add("count", {"number": number}, most_attempts=50)
    chance = random.Random(5)
    running = {process.pid: process for process in (started(tmp_path / "memory.db") for _ in range(3))}
    kills = 0
    while queue.counts()["done"] < 300:
        threading.Event().wait(chance.uniform(0.0, 0.1))
        holding = {int(job.worker.split("-")[0]) for job in engine.jobs.find(states=["running"])} & running.keys()
        if kills < 6 and holding:
            victim = running.pop(chance.choice(sorted(holding)))
            os.kill(victim.pid, signal.SIGKILL)
            kills += victim.wait() == -signal.SIGKILL
            fresh = started(tmp_path / "memory.db")
            running[fresh.pid] = fresh
    assert kills == 6
    assert [process.wait(timeout=60) for process in running.values()] == [0, 0, 0]
    assert {engine.setting(f"effect-{number}") for number in range(300)} == {"1"}
    engine.close()


def test_threads_share_the_jobs_of_a_memory_engine() -> None:
    engine = MemoryEngine()
    queue = Queue(engine.jobs, SystemClock())
    for number in range(40):
        queue.add("count", {"number": number})

    def count(task: Task) -> None:
        with engine.transaction() as tx:
            tx.set_setting("count", str(int(tx.setting("count") or 0) + 1))
            task.finish()

    threads = [threading.Thread(target=queue.worker({"count": count}).run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.setting("count") == "40"
