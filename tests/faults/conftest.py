"""Makes the driver of `benchmarks/faults.py` importable, and opens memories that need no model."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.testing import FixedClock, HashEmbedder, WordCounter

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

Opener = Callable[..., Memory]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Open memories with doubles; whatever is still open at the end is closed."""
    memories: list[Memory] = []

    def open_memory(path: Path, clock: FixedClock | None = None) -> Memory:
        memory = Memory.open(path, embedder=HashEmbedder(8), tokens=WordCounter(), clock=clock)
        memories.append(memory)
        return memory

    yield open_memory
    for memory in memories:
        memory.close()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Return a folder that every user of the machine can read, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IRWXU)


def unprivileged(step: Callable[[], object]) -> str:
    """Run a step in a process without the rights of root, and return what it returned or raised, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            said = str(step())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], object]], str]:
    return unprivileged
