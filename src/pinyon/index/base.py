"""What an index answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Found", "Leg"]


@dataclass(frozen=True, slots=True)
class Leg:
    """What one way of looking said of a cube.

    Args:
        score: In its own unit: BM25, inner product, or 1 for a name.
        rank: From 1 among all admitted cubes; 0 when it did not find it.
    """

    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Found:
    """A row, its summed score, and what each leg said."""

    row: int
    score: float
    legs: Mapping[str, Leg]
