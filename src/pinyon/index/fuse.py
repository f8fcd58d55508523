"""One ranking from several: a weighted sum of scores scaled per question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FuseConfig", "fuse", "scaled"]

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FuseConfig:
    """How much each leg counts beside the lexical sum, whose best cube scores 1.

    Summed scores find more than reciprocal ranks on LoCoMo: 65.3 against 62.5 % recall@10 for BM25 and dense.
    """

    dense: float = 0.3  # our measurement on LoCoMo: 0.3 gives 77.4 % recall@10, 0.5 gives 75.8, 0 gives 76.0
    speaker: float = 0.2  # ../MEASURED; without it 75.5


def scaled(scores: Scores, mask: NDArray[np.bool_]) -> Scores:
    """Return scores shifted and stretched so that the best admitted one is 1 and the mean of them 0, floored at 0."""
    inside = scores[mask]
    if not len(inside):
        return np.zeros_like(scores)
    low, high = float(inside.mean()), float(inside.max())
    if high <= low:
        return np.zeros_like(scores)
    out: Scores = np.maximum((scores - np.float32(low)) / np.float32(high - low), 0).astype(np.float32)
    return out


def fuse(
    lexical: Scores,
    dense: Scores | None,
    named: NDArray[np.bool_] | None,
    mask: NDArray[np.bool_],
    config: FuseConfig,
) -> Scores:
    """Return the summed score of every slot, 0 outside the mask.

    Args:
        lexical: Scores of words, >= 0, (N,).
        dense: Inner products, (N,), or None.
        named: Slots whose speaker the question names, (N,), or None.
        mask: Which slots may be seen, (N,).
    """
    best = float(lexical.max()) if len(lexical) else 0.0
    total = lexical / np.float32(best) if best > 0 else np.zeros_like(lexical)
    if dense is not None:
        total = total + np.float32(config.dense) * scaled(dense, mask)
    if named is not None:
        total = total + np.float32(config.speaker) * (named & (total > 0))
    out: Scores = np.where(mask, total, 0).astype(np.float32)
    return out
