"""Whether places are spread as evenly as chance would spread them: Kolmogorov-Smirnov tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["same_p", "uniform_p"]


def uniform_p(values: Sequence[float], low: float, high: float) -> float:
    """Return the p-value of a Kolmogorov-Smirnov test against the uniform distribution.

    Args:
        values: At least one.
        low: Where it begins.
        high: Where it ends.

    Example:
        >>> uniform_p([0.5] * 50, 0, 1) < 0.001 < 0.99 < uniform_p([i / 50 for i in range(51)], 0, 1)
        True
    """
    x = (np.sort(np.asarray(values, dtype=np.float64)) - low) / (high - low)
    n = len(x)
    steps = np.arange(n + 1) / n
    gap = max(float((steps[1:] - x).max()), float((x - steps[:-1]).max()))
    return _kolmogorov(gap, n)


def same_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the p-value of a two-sample Kolmogorov-Smirnov test.

    Example:
        >>> same_p(range(100), range(100)), same_p(range(100), range(50, 150)) < 0.001
        (1.0, True)
    """
    a, b = np.sort(np.asarray(ours, dtype=np.float64)), np.sort(np.asarray(theirs, dtype=np.float64))
    every: NDArray[np.float64] = np.concatenate([a, b])
    gap = np.searchsorted(a, every, side="right") / len(a) - np.searchsorted(b, every, side="right") / len(b)
    return _kolmogorov(float(np.abs(gap).max()), len(a) * len(b) / (len(a) + len(b)))


def _kolmogorov(gap: float, n: float) -> float:
    """Return how likely a gap of this size is, by the asymptotic series with the correction of Stephens 1970."""
    x = gap * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    if x < 0.2:  # the series needs many terms where its sum is 1 to ten digits
        return 1.0
    total: float = sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * total))
