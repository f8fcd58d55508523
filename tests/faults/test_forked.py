"""Threads and forked processes with one memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")


def forked(step) -> int:
    """Run a step in a forked process and return the process's id; it ends with 1 when the step raises."""
    child = os.fork()
    if child == 0:
        try:
            step()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_process_keeps_its_writes_when_the_parent_closes(opened, tmp_path: Path) -> None:
    memory = opened(tmp_path / "m.db")
    memory.add("before the fork")
    ready, told = os.pipe()
    waiting, go = os.pipe()

    def work() -> None:
        memory.add("in the child")
        os.write(told, b"x")
        os.read(waiting, 1)
        memory.add("in the child, after the parent closed")

    child = forked(work)
    os.read(ready, 1)
    memory.close()
    os.write(go, b"x")
    assert ended_well(child)
    texts = {cube.text for cube in opened(tmp_path / "m.db").iterate()}
    assert texts == {"before the fork", "in the child", "in the child, after the parent closed"}


def test_two_threads_and_a_forked_process_lose_nothing(opened, tmp_path: Path) -> None:
    memory = opened(tmp_path / "m.db")
    memory.add("before the fork")
    memory.search("fork")

    def work(name: str) -> None:
        for number in range(10):
            memory.add(f"{name} says {number}")
            assert memory.search(f"{name} {number}").hits

    child = forked(lambda: work("child"))
    failed: list[BaseException] = []

    def careful(name: str) -> None:
        try:
            work(name)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=careful, args=(f"thread{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended_well(child)
    assert failed == []
    assert len(list(memory.iterate())) == 31
    assert memory.check() == []


def test_a_fork_in_the_middle_of_writing_waits_for_the_write(opened, tmp_path: Path) -> None:
    memory = opened(tmp_path / "m.db")
    end = threading.Event()

    def write() -> None:
        number = 0
        while not end.is_set():
            memory.add(f"note {number}")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    children = [forked(lambda n=n: memory.add(f"child {n}")) for n in range(8)]
    outcomes = [ended_well(child) for child in children]
    end.set()
    writer.join()
    assert outcomes == [True] * 8
    texts = {cube.text for cube in memory.iterate()}
    assert {f"child {n}" for n in range(8)} <= texts
    assert memory.check() == []
