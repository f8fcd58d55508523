"""Usage and jobs: every table gives the same answers, and jobs of one key never stand twice."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinyon.errors import BadInput, Conflict
from pinyon.store import Engine, MemoryEngine, SqliteEngine
from pinyon.store._memory_jobs import VANISHED, MemoryJobs
from pinyon.store.side import Job, JobTable, Usage
from pinyon.store.vault import Vault

sys.path.insert(0, str(Path(__file__).parents[1] / "postgres"))

from pg_server import WHY_NOT, wiped

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def made(kind: str, path: Path) -> Engine:
    if kind == "postgres":
        if WHY_NOT:
            pytest.skip(WHY_NOT)
        return wiped("jobs")
    if kind == "encrypted":
        pytest.importorskip("sqlcipher3")
        return SqliteEngine(path, durability="normal", keys=Vault.create(path, bytes(32)).keys)
    return SqliteEngine(path, durability="normal") if kind == "sqlite" else MemoryEngine()


ENGINES = ["sqlite", "encrypted", "memory", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=ENGINES)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = made(request.param, tmp_path / "memory.db")
    yield engine
    engine.close()


def job(kind: str = "embed", **rest: Any) -> Job:
    return Job(0, kind, rest.pop("arguments", {}), created=NOON, updated=NOON, due=rest.pop("due", NOON), **rest)


def lease(jobs: JobTable, worker: str = "w", limit: int = 1, now: datetime = NOON) -> list[int]:
    return [j.id for j in jobs.lease(worker, ["embed"], now, now + MINUTE, limit)]


def test_a_job_comes_back_as_it_was_queued(tables: Engine) -> None:
    asked = job(arguments={"rows": [1, 2], "name": "Köln"}, key="k", priority=3, most_attempts=2)
    (queued,) = tables.jobs.add([asked])
    assert queued == replace(asked, id=1) == tables.jobs.get(1)


def test_what_the_caller_changes_later_changes_no_job(tables: Engine) -> None:
    arguments: dict[str, Any] = {"rows": [1]}
    tables.jobs.add([job(arguments=arguments)])
    arguments["rows"].append(2)
    found = tables.jobs.get(1)
    assert found is not None
    assert found.arguments == {"rows": [1]}


def test_a_key_that_is_taken_gives_the_job_that_has_it(tables: Engine) -> None:
    first, second, other = tables.jobs.add([job(key="a"), job(key="a"), job("measure", key="a")])
    assert (first.id, second.id, other.kind) == (1, 1, "measure")


def test_a_key_is_free_again_when_its_job_is_done(tables: Engine) -> None:
    tables.jobs.add([job(key="a")])
    tables.jobs.change(1, "", lambda j: replace(j, state="done"))
    assert tables.jobs.add([job(key="a")])[0].id == 2


def test_a_dead_job_does_not_come_back_beside_another_of_its_key(tables: Engine) -> None:
    tables.jobs.add([job(key="a")])
    tables.jobs.change(1, "", lambda j: replace(j, state="dead"))
    tables.jobs.add([job(key="a")])
    with pytest.raises(Conflict, match="key 'a'"):
        tables.jobs.change(1, "", lambda j: replace(j, state="waiting"))
    assert [j.state for j in tables.jobs.find()] == ["dead", "waiting"]


def test_the_highest_priority_goes_first_then_the_earliest_due_then_the_oldest(tables: Engine) -> None:
    tables.jobs.add(
        [job(), job(priority=2), job(due=NOON - MINUTE), job(priority=2, due=NOON - MINUTE), job(priority=2)]
    )
    assert lease(tables.jobs, limit=9) == [4, 2, 5, 3, 1]


def test_nothing_is_leased_before_it_is_due_or_of_another_kind(tables: Engine) -> None:
    tables.jobs.add([job(due=NOON + MINUTE), job("measure")])
    assert lease(tables.jobs) == []
    assert lease(tables.jobs, now=NOON + MINUTE) == [1]


def test_a_leased_job_is_free_again_when_the_lease_has_run_out(tables: Engine) -> None:
    tables.jobs.add([job()])
    assert lease(tables.jobs, "a") == [1]
    assert lease(tables.jobs, "b") == []
    assert lease(tables.jobs, "b", now=NOON + MINUTE) == [1]
    assert tables.jobs.change(1, "a", lambda j: replace(j, state="done")) is None
    found = tables.jobs.get(1)
    assert found is not None
    assert (found.worker, found.attempts, found.state) == ("b", 2, "running")


def test_a_job_that_no_worker_survives_is_dead(tables: Engine) -> None:
    tables.jobs.add([job(most_attempts=2)])
    for turn in range(3):
        lease(tables.jobs, now=NOON + turn * MINUTE)
    found = tables.jobs.get(1)
    assert found is not None
    assert (found.state, found.attempts, found.error) == ("dead", 2, VANISHED)


def test_a_job_that_no_worker_survives_is_dead_though_another_is_taken(tables: Engine) -> None:
    tables.jobs.add([job(most_attempts=1)])
    lease(tables.jobs)
    tables.jobs.add([job(priority=1)])
    assert lease(tables.jobs, now=NOON + MINUTE) == [2]
    assert tables.jobs.counts()["dead"] == 1


def test_a_dead_job_does_not_keep_the_next_one_waiting(tables: Engine) -> None:
    tables.jobs.add([job(attempts=5, priority=1), job()])
    assert lease(tables.jobs) == [2]
    assert tables.jobs.counts()["dead"] == 1


def test_a_job_that_was_being_cancelled_is_cancelled_when_its_worker_vanishes(tables: Engine) -> None:
    tables.jobs.add([job()])
    lease(tables.jobs)
    tables.jobs.change(1, "", lambda j: replace(j, is_cancelling=True))
    assert lease(tables.jobs, now=NOON + MINUTE) == []
    assert tables.jobs.counts()["cancelled"] == 1


def test_a_change_that_fails_changes_nothing(tables: Engine) -> None:
    tables.jobs.add([job()])

    def fail(found: Job) -> Job:
        tables.jobs.add([job()])
        raise BadInput("no")

    with pytest.raises(BadInput):
        tables.jobs.change(1, "", fail)
    assert len(tables.jobs.find()) == 1


def test_a_change_inside_a_transaction_is_undone_with_it(tables: Engine) -> None:
    tables.jobs.add([job()])
    lease(tables.jobs)

    def end() -> None:
        assert tables.jobs.change(1, "w", lambda j: replace(j, state="done")) is not None
        raise BadInput("the effect failed after all")

    with pytest.raises(BadInput), tables.transaction():
        end()
    assert tables.jobs.counts() == {"waiting": 0, "running": 1, "done": 0, "dead": 0, "cancelled": 0}
    with tables.transaction():
        tables.jobs.change(1, "w", lambda j: replace(j, state="done"))
    assert tables.jobs.counts()["done"] == 1


def test_jobs_are_found_by_state_and_kind_in_pages(tables: Engine) -> None:
    tables.jobs.add([job(), job("measure"), job(), job()])
    tables.jobs.change(3, "", lambda j: replace(j, state="dead", error="no"))
    assert [j.id for j in tables.jobs.find(kind="embed", limit=2)] == [1, 3]
    assert [j.id for j in tables.jobs.find(kind="embed", limit=2, after=3)] == [4]
    assert [j.id for j in tables.jobs.find(states=["dead", "done"])] == [3]


def test_running_jobs_are_not_removed_and_numbers_do_not_come_back(tables: Engine) -> None:
    tables.jobs.add([job(priority=1), job()])
    lease(tables.jobs)
    assert tables.jobs.remove([1, 2, 7]) == 1
    assert tables.jobs.add([job()])[0].id == 3


def test_two_threads_never_hold_one_job(tables: Engine) -> None:
    tables.jobs.add([job() for _ in range(60)])
    taken: list[int] = []

    def work(name: str) -> None:
        while found := lease(tables.jobs, name, limit=2):
            taken.extend(found)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 61))


@pytest.fixture(params=[name for name in ENGINES if name != "memory"], scope="module")
def emptied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = made(request.param, tmp_path_factory.mktemp("random") / "memory.db")
    yield engine
    engine.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "lease", "done", "fail", "cancel", "remove"]),
        st.integers(0, 3),
        st.sampled_from(["", "a", "b"]),
    ),
    max_size=30,
)


@settings(max_examples=50)
@given(STEPS)
def test_random_calls_get_equal_answers(emptied: Engine, steps: list[tuple[str, int, str]]) -> None:
    jobs, oracle = emptied.jobs, MemoryJobs()
    left = [found.id for found in jobs.find(limit=1000)]
    for id in left:
        jobs.change(id, "", lambda old: replace(old, state="done"))
    jobs.remove(left)
    numbers: dict[int, int] = {}  # of the oracle to those of the table, which may leave some out
    for moment, (step, number, key) in enumerate(steps):
        now = NOON + moment * MINUTE / 2
        expected = play(oracle, step, number, number, key, now)
        answer = play(jobs, step, number, numbers.get(number, 10**9), key, now)
        if step == "add":
            numbers.setdefault(expected[0].id, answer[0].id)
        assert answer == told(expected, numbers)
        assert jobs.find() == told(oracle.find(), numbers)
        assert jobs.counts() == oracle.counts()


def told(answer: Any, numbers: dict[int, int]) -> Any:
    """Return an answer of the oracle with the numbers of the table."""
    if isinstance(answer, list):
        return [told(part, numbers) for part in answer]
    return replace(answer, id=numbers[answer.id]) if isinstance(answer, Job) else answer


def play(table: JobTable, step: str, number: int, id: int, key: str, now: datetime) -> Any:
    worker = f"w{number % 2}"
    try:
        match step:
            case "add":
                return table.add([job(key=key, priority=number, due=now, most_attempts=2)])
            case "lease":
                return table.lease(worker, ["embed"], now, now + MINUTE, number)
            case "done":
                return table.change(id, worker, lambda j: replace(j, state="done", result={"at": key}))
            case "fail":
                return table.change(id, "", lambda j: replace(j, state="waiting", worker="", lease=None))
            case "cancel":
                return table.change(id, "", lambda j: replace(j, is_cancelling=True))
            case _:
                return table.remove([id])
    except Conflict as error:
        return type(error)


def test_usage_is_read_changed_and_written_at_once(tables: Engine) -> None:
    assert tables.usage.of([1]) == {}
    tables.usage.change([1, 2], lambda found: {row: Usage(1, NOON, 0.25) for row in (1, 2) if row not in found})
    tables.usage.change([2], lambda found: {2: replace(found[2], count=found[2].count + 1)})
    assert tables.usage.of([1, 2, 3]) == {1: Usage(1, NOON, 0.25), 2: Usage(2, NOON, 0.25)}


def test_usage_keeps_the_text_and_the_sessions_it_was_used_in(tables: Engine) -> None:
    used = Usage(2, NOON, 0.25, "d" * 64, ("0a", "b1"))
    tables.usage.change([1, 2], lambda _: {1: used, 2: Usage(1, NOON, 0.5)})
    assert tables.usage.of([1, 2]) == {1: used, 2: Usage(1, NOON, 0.5)}
    assert tables.usage.every(0, 1) == [(1, used)]
    tables.usage.change([1], lambda found: {1: replace(found[1], text="e" * 64, sessions=())})
    assert tables.usage.of([1]) == {1: Usage(2, NOON, 0.25, "e" * 64)}


def test_usage_comes_in_pages_and_goes_with_its_cube(tables: Engine) -> None:
    tables.usage.change(range(1, 1203), lambda _: {row: Usage(row, None, 0.5) for row in range(1, 1203)})
    assert [row for row, _ in tables.usage.every(2, 3)] == [3, 4, 5]
    assert len(tables.usage.of(range(1300))) == 1202
    tables.usage.remove([3, 4])
    assert [row for row, _ in tables.usage.every(2, 1)] == [5]


def test_no_use_is_lost_between_threads(tables: Engine) -> None:
    def use() -> None:
        for _ in range(25):
            tables.usage.change([1], lambda found: {1: Usage(found.get(1, Usage()).count + 1, NOON, 0.0)})

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tables.usage.of([1])[1].count == 100
