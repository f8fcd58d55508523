"""Meaning: exact inner products with unit vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dense"]

Rows = NDArray[np.float32]


class Dense:
    """A matrix of unit rows by slot: a memory-mapped base and a growing tail.

    A slot without a vector holds a zero row, whose inner product with anything is 0.

    Args:
        dimensions: Width E of a row.
        base: Rows of the first slots, (N, E) float32, usually memory-mapped.
    """

    def __init__(self, dimensions: int, base: Rows | None = None) -> None:
        self.dimensions = dimensions
        self._base = np.zeros((0, dimensions), dtype=np.float32) if base is None else base
        self._tail = np.zeros((0, dimensions), dtype=np.float32)
        self._size = len(self._base)

    def __len__(self) -> int:
        return self._size

    def reserve(self, size: int) -> None:
        """Make room for slots up to a size; the added ones hold zero rows."""
        wanted = size - len(self._base)
        if wanted > len(self._tail):
            grown = np.zeros((max(256, wanted, 2 * len(self._tail)), self.dimensions), dtype=np.float32)
            grown[: len(self._tail)] = self._tail
            self._tail = grown
        self._size = max(self._size, size)

    def put(self, slots: NDArray[np.int64], data: NDArray[np.float16] | Rows) -> None:
        """Set the rows of slots, (N,) and (N, E)."""
        start = len(self._base)
        early = slots < start
        if early.any():  # a vector that came after its slot was written to the base
            if not self._base.flags.writeable:
                self._base = np.array(self._base)
            self._base[slots[early]] = data[early]
        self._tail[slots[~early] - start] = data[~early]

    def scores(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the inner product of a unit query (E,) with every slot, (N,)."""
        start = len(self._base)
        out = np.empty(self._size, dtype=np.float32)
        np.dot(self._base, query, out=out[:start])
        np.dot(self._tail[: self._size - start], query, out=out[start:])
        return out

    def rows(self, slots: NDArray[np.int64]) -> Rows:
        """Return the rows of slots, (N, E)."""
        start = len(self._base)
        out = np.empty((len(slots), self.dimensions), dtype=np.float32)
        early = slots < start
        out[early] = self._base[slots[early]]
        out[~early] = self._tail[slots[~early] - start]
        return out

    def matrix(self) -> Rows:
        """Return all rows as one array, (N, E)."""
        return np.concatenate((self._base, self._tail[: self._size - len(self._base)]))
