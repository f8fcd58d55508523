"""Look a memory over, and build again what can be built again."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import StoreError
from ..memory import Memory
from ..results import Stats
from .outcomes import Health

__all__ = ["examine", "given_up"]


def examine(memory: Memory, *, repair: bool = False, progress: Callable[[object], object] | None = None) -> Health:
    """Check store and index; with `repair`, rebuild the index and make every missing vector first.

    Args:
        memory: Which.
        repair: Whether to rebuild what is derived. What was remembered itself is never changed.
        progress: Told numbers of cubes as they are done.
    """
    repairs: tuple[str, ...] = ()
    try:
        if repair:
            repairs = _repair(memory, progress)
        problems = tuple(memory.check())
    except StoreError as error:
        problems = (error.message,)
    return Health(problems, repairs, _stats(memory), _versions(), _files(memory.store.engine.location))


def given_up(path: Path, error: StoreError) -> Health:
    """Return how a memory is that cannot even be opened or read.

    Args:
        path: Its file.
        error: What opening or reading it said.
    """
    return Health((error.message,), (), None, _versions(), _files(str(path)))


def _repair(memory: Memory, progress: Callable[[object], object] | None) -> tuple[str, ...]:
    embedded = memory.catch_up(progress)
    indexed = memory.reindex(progress)
    return (f"made {embedded} missing vectors", f"built the index again from {indexed} memories")


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
