"""The distinct values of an array."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["distinct"]

Scalar = TypeVar("Scalar", bound=np.generic)


def distinct(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return the distinct values of an array of integers, (N,), ascending, (M,).

    As `numpy.unique` does, whose first call in a process imports masked arrays: 30 ms of a search that takes 400.

    Example:
        >>> distinct(np.array([3, 1, 3, 2])).tolist()
        [1, 2, 3]
    """
    ordered = np.sort(values)
    first: NDArray[Scalar] = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    return first
