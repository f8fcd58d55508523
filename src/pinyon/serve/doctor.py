"""Look a memory over, and build again what can be built again."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import MissingExtra, ModelError, StoreError
from ..memory import Memory
from ..results import Stats
from ..schedule import Spreading
from ..searching import WAITING
from .outcomes import Health

__all__ = ["examine", "given_up"]


def examine(
    memory: Memory,
    *,
    repair: bool = False,
    progress: Callable[[object], object] | None = None,
    over: Spreading = "here",
    workers: int | None = None,
) -> Health:
    """Check store and index; with `repair`, rebuild the index and make every missing vector first.

    That an embedder is out of reach is no damage: it stands in the statistics.

    Args:
        memory: Which.
        repair: Whether to rebuild what is derived. What was remembered itself is never changed.
        progress: Told numbers of cubes as they are done.
        over: Where vectors are made, as `Memory.catch_up` takes it.
        workers: In how many processes.
    """
    repairs: tuple[str, ...] = ()
    try:
        if repair:
            repairs = _repair(memory, progress, over, workers)
        problems = tuple(problem for problem in memory.check() if not problem.startswith(WAITING))
    except StoreError as error:
        problems = (error.message,)
    return Health(problems, repairs, _stats(memory), _versions(), _files(memory.store.engine.location))


def given_up(path: Path, error: StoreError) -> Health:
    """Return how a memory is that cannot even be opened or read.

    Args:
        path: Its file.
        error: What opening or reading it said.
    """
    return Health((error.message, *_left(path)), (), None, _versions(), _files(str(path)))


def _left(path: Path) -> tuple[str, ...]:
    """Return how much of a damaged file can still be read; nothing is said of an encrypted one."""
    if not path.is_file() or not path.stat().st_size:
        return ()
    number = 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as db:
        for _ in db.execute("SELECT header, content FROM cubes"):
            number += 1
    left = f"{number} memories can still be read in it" if number else "no memory can be read in it any more"
    return (left,)


def _repair(
    memory: Memory, progress: Callable[[object], object] | None, over: Spreading, workers: int | None
) -> tuple[str, ...]:
    try:
        made = f"made {memory.catch_up(progress, over=over, workers=workers)} missing vectors"
    except (ModelError, MissingExtra) as error:
        made = f"made no missing vectors: {error.message}"
    indexed = memory.reindex(progress)
    return (made, f"built the index again from {indexed} memories")


def _stats(memory: Memory) -> Stats | None:
    try:
        return memory.stats()
    except StoreError:  # stands among the problems already
        return None


def _versions() -> dict[str, str]:
    return {
        "pinyon": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "numpy": np.__version__,
    }


def _files(location: str) -> dict[str, int]:
    file = Path(location)
    if not file.is_file():
        return {}
    found = {file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))}
    for folder in (file.with_name(file.name + ".index"), file.with_name(file.name + ".blobs")):
        found.update(folder.rglob("*"))
    return {str(path): path.stat().st_size for path in sorted(found) if path.is_file()}
