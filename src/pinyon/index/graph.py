"""Meaning among very many: a navigable graph that names likely slots, which are then scored exactly."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, MissingExtra
from ..extras import require

__all__ = ["Graph", "GraphConfig"]

Slots = NDArray[np.intp]
_PORTION = 4096  # rows added together: half a second, the steps in which the time is looked at
_SAMPLE = 8192  # rows from which the mean inner product of a question is estimated, to within 0.001


class _HasRows(Protocol):
    """Whatever gives unit rows by slot."""

    def rows(self, slots: Slots) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class GraphConfig:
    """When a graph is used, and how it is built.

    The numbers are our measurement on 200,000 static vectors, 256 wide, two cores: the exact pass takes 16 ms there and
    80 ms at 1,000,000; the graph 1 ms, and names 98 % of the exact ten best.
    """

    least_slots: int = 200_000  # below, the exact pass is no slower than the words
    candidates: int = 400  # slots asked of the graph; 100 find two points less of the ten best
    pool: int = 2000  # best slots by words that get their exact inner product too: 1 ms
    connectivity: int = 16  # usearch's default
    expansion: int = 100  # at building; 64 is a third faster and finds two points less
    build_s: float = 10.0  # most time that closing a memory may spend on it; the rest waits and is scored exactly

    def __post_init__(self) -> None:
        if min(self.least_slots, self.candidates, self.pool, self.connectivity, self.expansion) < 1:
            raise BadInput(f"a graph needs sizes of at least 1, got {self!r}")


class Graph:
    """Hierarchical navigable small world over the rows of the first slots.

    Cost: a question 1 ms; building 0.3 ms of processor time a row; 390 bytes a row, mapped from the file.
    Source: Malkov and Yashunin 2016, arXiv 1603.09320; the implementation is usearch's.
    Deviates: rows are kept in 8 bits inside the graph; what it names is scored again with the exact rows.
    """

    def __init__(self, dimensions: int, config: GraphConfig) -> None:
        self._config = config
        self._dimensions = dimensions
        self._index = _usearch().Index(
            ndim=dimensions,
            metric="ip",
            dtype="i8",
            connectivity=config.connectivity,
            expansion_add=config.expansion,
            expansion_search=config.candidates,
        )
        self.covered = 0
        self._held: Path | bytearray | None = None
        self._is_mapped = False
        self._sample: tuple[Slots, NDArray[np.float32]] | None = None

    @classmethod
    def opened(cls, path: Path | bytearray, covered: int, dimensions: int, config: GraphConfig) -> Graph | None:
        """Return the graph of a file, mapped, or None when it cannot be read.

        Args:
            path: What `save` wrote, or the bytes that it gave.
            covered: Slots it was made from.
            dimensions: Width E.
            config: Constants of the search.
        """
        try:
            graph = cls(dimensions, config)
            graph._index.view(_source(path))
        except (MissingExtra, RuntimeError, ValueError, OSError):  # usearch says RuntimeError for whatever is wrong
            return None
        if graph._index.ndim != dimensions or len(graph._index) > covered:
            return None
        graph.covered = covered
        graph._held = path  # bytes are used where they are
        graph._is_mapped = True
        return graph

    @property
    def is_changed(self) -> bool:
        """Whether it holds more than the file it was opened from."""
        return not self._is_mapped

    def extend(
        self, dense: _HasRows, alive: NDArray[np.bool_], path: Path | bytearray | None, *, seconds: float
    ) -> None:
        """Take in the slots that came since.

        Args:
            dense: All rows.
            alive: Which slots hold a cube, (N,); the others are left out.
            path: The file or bytes it was opened from, or None.
            seconds: Most time to spend, so that some slots may be left for the next time.
        """
        if self._is_mapped and path is not None:
            self._index.load(_source(path))  # a mapped graph takes nothing in
            self._is_mapped, self._held = False, None
        deadline = time.monotonic() + seconds
        while self.covered < len(alive):
            end = min(self.covered + _PORTION, len(alive))
            slots = np.flatnonzero(alive[self.covered : end]) + self.covered
            rows = dense.rows(slots)
            held = rows.any(axis=1)
            if held.any():
                self._index.add(slots[held].astype(np.uint64), rows[held])
            self.covered = end
            if time.monotonic() >= deadline:
                return

    def save(self, path: Path | None) -> bytearray | None:
        """Write it to a file, or return its bytes when there is none.

        Not safe against being killed, so the file must not be used before it is complete.
        """
        written: bytearray | None = self._index.save(None if path is None else str(path))
        return written

    def near(self, query: NDArray[np.float32], count: int) -> Slots:
        """Return slots whose rows are likely nearest to a unit query (E,), ascending."""
        keys = self._index.search(query, count).keys
        return np.sort(np.asarray(keys).astype(np.intp))

    def mean(self, query: NDArray[np.float32], dense: _HasRows, mask: NDArray[np.bool_]) -> float:
        """Return about what the mean inner product of the admitted slots is."""
        if self._sample is None:
            slots = np.arange(0, self.covered, max(1, self.covered // _SAMPLE))
            self._sample = (slots, dense.rows(slots))
        slots, rows = self._sample
        inside = rows[mask[slots]] @ query
        return float(inside.mean()) if len(inside) else 0.0


def _source(path: Path | bytearray) -> str | bytearray:
    return str(path) if isinstance(path, Path) else path


def _usearch() -> ModuleType:
    return require("usearch.index", "search a million vectors by a graph")


def again(source: Path | bytearray, path: Path | None) -> bytearray | None:
    """Write a graph that is as it was when it was opened."""
    if path is not None and isinstance(source, Path):
        shutil.copyfile(source, path)
        return None
    return source if isinstance(source, bytearray) else None
