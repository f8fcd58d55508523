"""What each leg said of the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .base import Leg

__all__ = ["explained"]

Scores = NDArray[np.float32]
Slots = NDArray[np.intp]
_EXPLAINED = 20  # hits that are told their rank in every leg


def explained(
    best: Slots,
    places: Slots,
    legs: Mapping[str, Scores],
    dense: Scores | None,
    named: NDArray[np.bool_] | None,
) -> list[dict[str, Leg]]:
    """Return what every leg said of each of the best; ranks are among the candidates.

    Args:
        best: Candidates, best first.
        places: Candidates that matched in words, ascending, (M,).
        legs: What was said of these, (M,) each.
        dense: Inner products of all candidates, or None.
        named: Whose speaker the question names, or None.
    """
    said: list[dict[str, Leg]] = [{} for _ in best]
    at = np.searchsorted(places, best)
    hits = np.flatnonzero(places[np.minimum(at, len(places) - 1)] == best) if len(places) else at[:0]
    for name, scores in legs.items():
        _tell(said, name, scores, hits, at[hits])
    if dense is not None:
        _tell(said, "dense", dense, np.arange(len(best)), best)
    if named is not None:
        for hit in np.flatnonzero(named[best]).tolist():
            said[hit]["speaker"] = Leg(1.0, 1)
    return said


def _tell(said: Sequence[dict[str, Leg]], name: str, scores: Scores, hits: Slots, places: Slots) -> None:
    """Add to each hit its score in a leg, with its rank among all scores of the leg."""
    ranked = scores[places[: np.searchsorted(hits, _EXPLAINED)]]
    above = scores[scores > ranked.min()] if len(ranked) else scores[:0]  # few, as a rule: counting in them is cheap
    for hit, score in zip(hits.tolist(), scores[places].tolist(), strict=True):
        if score > 0:
            rank = 1 + int(np.count_nonzero(above > np.float32(score))) if hit < _EXPLAINED else 0
            said[hit][name] = Leg(score, rank)
