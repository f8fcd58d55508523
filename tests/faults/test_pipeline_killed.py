"""Pipelines whose process is killed at each of their writes: all of the run is there, or nothing of it."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from world_hash import fill, world_hash

from pinyon import Memory
from pinyon.schedule import Pipeline, Step
from pinyon.store import _writer
from pinyon.testing import HashEmbedder, WordCounter

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")

PIPELINE = Pipeline(
    "kill",
    (
        Step("bees", "list", {"where": {"tags": ["bees"]}}),
        Step("redact", "redact", {"kinds": ["email"]}, ("bees",)),
        Step("once", "repeats", {}, ("redact",)),
        Step("away", "archive", {}, ("once",)),
        Step("copy", "copy", {"to": "farm"}, ("redact",), without=("once",)),
        Step("short", "condense", {}, ("redact",)),
        Step("note", "add", {}, ("short",)),
        Step("gone", "forget", {}, ("once",)),
    ),
)


def opened(path: Path | str) -> Memory:
    return Memory.open(path, embedder=HashEmbedder(8), tokens=WordCounter(), user="ann")


def in_a_process_of_its_own(work: Callable[[], object]) -> int:
    """Return how a process ended that does some work: 0, or minus the signal that killed it."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def killed_at(path: Path | str, number: int) -> int:
    """Run the pipeline in a process that is killed right after a write, and return how it ended."""

    def work() -> None:
        finish, done = _writer.Writer.finish, 0

        def counted(writer: _writer.Writer) -> None:
            nonlocal done
            finish(writer)
            done += 1
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)

        _writer.Writer.finish = counted  # type: ignore[method-assign]
        with opened(path) as memory:
            memory.pipeline(PIPELINE)

    return in_a_process_of_its_own(work)


def hash_of(path: Path | str) -> str:
    with opened(path) as memory:
        found = world_hash(memory)
        assert memory.verify().is_sound
        assert memory.check() == []
    return found


def test_a_run_that_is_killed_after_any_of_its_writes_has_never_happened(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    in_a_process_of_its_own(lambda: fill(opened(path)))
    before = hash_of(path)
    number, ended = 0, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        number += 1
        ended = killed_at(path, number)
        if ended == -signal.SIGKILL:
            assert hash_of(path) == before, f"killed after write {number}"
    assert ended == 0
    assert number > sum(step.writes for step in PIPELINE.steps)  # it was killed in each step that writes
    assert hash_of(path) != before
    with opened(path) as memory:
        assert memory.pipeline_runs()[0].status == "done"


@pytest.mark.parametrize("step", [step.name for step in PIPELINE.steps])
def test_a_run_that_is_killed_between_two_steps_has_never_happened(step: str, tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    in_a_process_of_its_own(lambda: fill(opened(path)))
    before = hash_of(path)

    def work() -> None:
        def die(done: object) -> None:
            if getattr(done, "name", "") == step:
                os.kill(os.getpid(), signal.SIGKILL)

        opened(path).pipeline(PIPELINE, progress=die)

    assert in_a_process_of_its_own(work) == -signal.SIGKILL
    assert hash_of(path) == before


@pytest.mark.postgres
@pytest.mark.parametrize("number", [1, 4, 7])
def test_a_client_of_a_server_that_is_killed_leaves_nothing_of_its_run(number: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "postgres"))
    from pg_server import WHY_NOT, shared

    if WHY_NOT:
        pytest.skip(WHY_NOT)
    place = f"{shared().address}?schema=k{uuid.uuid4().hex[:16]}"
    in_a_process_of_its_own(lambda: fill(opened(place)))
    before = hash_of(place)
    assert killed_at(place, number) == -signal.SIGKILL
    assert hash_of(place) == before
    with opened(place) as memory:
        assert memory.pipeline(PIPELINE).status == "done"  # the server has let go of its locks
