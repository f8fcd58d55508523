"""What an index reads, and what it answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.cube import Cube
from ..core.events import Changes, Event, Head

__all__ = ["Found", "Journal", "Leg", "VectorsOfRows"]


class VectorsOfRows(Protocol):
    """Vectors with the rows and the versions of the cubes that they were made from."""

    @property
    def rows(self) -> NDArray[np.int64]: ...
    @property
    def versions(self) -> NDArray[np.int64]: ...
    @property
    def data(self) -> NDArray[np.float16]: ...


class Journal(Protocol):
    """What an index reads of a store; every engine of the store room is one."""

    @property
    def identity(self) -> str: ...
    def head(self) -> Head: ...
    def journal(self, after: int, limit: int) -> list[Event]: ...
    def changes(self, after: int, limit: int) -> Changes: ...
    def by_rows(self, rows: Sequence[int]) -> dict[int, Cube]: ...
    def past(self, rows: Sequence[int]) -> list[Cube]: ...
    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorsOfRows: ...


@dataclass(frozen=True, slots=True)
class Leg:
    """What one way of looking said of a cube.

    Args:
        score: In its own unit: BM25, inner product, 1 for a name, or a share for the reach of the question's words.
        rank: From 1 among all admitted cubes; 0 where there is none.
    """

    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Found:
    """A row, its summed score, and what each leg said."""

    row: int
    score: float
    legs: Mapping[str, Leg]
