"""Following a memory by the end of its journal."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.errors import BadInput


def test_what_others_do_is_seen_as_it_is_done_and_nothing_else(tmp_path: Path) -> None:
    path, stop, seen = tmp_path / "m.db", threading.Event(), []
    with Memory.open(path, user="ann") as memory, Memory.open(path) as other:
        memory.add("before")
        lines = memory.follow(stop=stop, idle_s=0.01)
        writer = threading.Timer(0.1, lambda: _write(other))
        writer.start()
        for line in lines:
            seen.append((line.op, line.actor.user))
            if line.op == "state":
                stop.set()
        writer.join()
    assert seen == [("create", "ann"), ("state", "ann")]


def _write(memory: Memory) -> None:
    memory.add("a secret of Bob", user="bob")
    cube = memory.add("a note", user="ann").cubes[0]
    memory.archive(cube.id, user="ann")


def test_the_past_is_not_followed() -> None:
    with Memory.open(":memory:") as memory:
        with pytest.raises(BadInput, match="past"):
            next(memory.as_of("2020-01-01").follow(stop=threading.Event()))
        with pytest.raises(BadInput, match="wait"):
            next(memory.follow(stop=threading.Event(), idle_s=0))
        ended = threading.Event()
        ended.set()
        assert list(memory.follow(stop=ended)) == []
