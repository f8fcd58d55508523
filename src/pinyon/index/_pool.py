"""The best turns by the first sum, gathered for the second look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._names import words_of
from ._vectors import Vectors
from .analyze import Analyzer
from .fuse import Scale, best_of
from .region import Region
from .rerank import Aspects, Candidates, RerankConfig
from .table import Table

__all__ = ["Asked", "Seen", "filled", "gathered", "looked_again", "shares", "topic_of"]

Scores = NDArray[np.float32]
Slots = NDArray[np.intp]
_NEAR, _REACH = 2, 4  # turns on either side of the two windows whose mean meaning is compared


@dataclass(frozen=True, slots=True)
class Seen:
    """The slots that may be among the best, with what each leg says of them.

    Args:
        slots: Ascending, (M,); all that the region admits, unless a graph named them.
        dense: Inner products, (M,), or None.
        places: Which of them matched in words.
        words: What was said of these, in the order of `places`.
        scale: Of the inner products.
        reach: Of the question's words, as in `LexicalScores`.
    """

    slots: Slots
    dense: Scores | None
    places: Slots
    lexical: Scores
    legs: Mapping[str, Scores]
    scale: Scale
    reach: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a second look needs it."""

    question: str
    vector: NDArray[np.float32]
    aspects: Aspects


def gathered(
    slots: Slots,
    legs: Mapping[str, Scores],
    codes: Sequence[int],
    table: Table,
    vectors: Vectors,
    region: Region,
    reach: float,
) -> Candidates:
    """Return what is to be known of some slots of a region.

    Args:
        slots: Turns of the region, best first, (M,).
        legs: Scores of each granularity as a share of the best lexical sum, (M,) each.
        codes: Of the speakers whom the question names.
        table: The table whose slots these are.
        vectors: By slot.
        region: What may be seen; what lies outside is in no window.
        reach: Of the question's words.
    """
    around = _around(slots, region)
    used, places = np.unique(around, return_inverse=True)
    rows = vectors.rows(np.maximum(used, 0))  # (U, E)
    rows[used < 0] = 0
    places = places.reshape(around.shape)
    own = rows[places[_REACH]]
    near = own.copy()
    for distance in range(1, _NEAR + 1):
        near += rows[places[_REACH - distance]]
        near += rows[places[_REACH + distance]]
    wide = near.copy()
    for distance in range(_NEAR + 1, _REACH + 1):
        wide += rows[places[_REACH - distance]]
        wide += rows[places[_REACH + distance]]
    speaker = table.column("speaker")
    sides = around[[_REACH, _REACH - 1, _REACH + 1]]
    return Candidates(
        words=legs,
        named=np.isin(speaker[np.maximum(sides, 0)], codes) & (sides >= 0),
        vectors=own,
        near=near,
        wide=wide,
        cues=np.where(sides[:2] >= 0, table.column("cues")[np.maximum(sides[:2], 0)], 0),
        lengths=region.lengths[slots],
        begins=around[_REACH - 1] < 0,
        times=table.column("time")[slots],
        reach=reach,
    )


def _around(slots: Slots, region: Region) -> NDArray[np.intp]:
    """Return the slots before, the slots, and those after, (2 · reach + 1, M); -1 for none and for what is not seen."""
    out = np.full((2 * _REACH + 1, len(slots)), -1, dtype=np.intp)
    out[_REACH] = slots
    for links, step in zip(region.links, (-1, 1), strict=True):
        at = slots
        for distance in range(1, _REACH + 1):
            at = np.where(at >= 0, links[at], -1).astype(np.intp)
            seen = (at >= 0) & region.mask[np.maximum(at, 0)]
            out[_REACH + step * distance] = np.where(seen, at, -1)
    return out


def shares(total: Scores, legs: Mapping[str, Scores], places: Slots, wanted: Slots) -> dict[str, Scores]:
    """Return what the legs say of wanted candidates as shares of the best sum; 0 where no word matched.

    Args:
        total: Sums of the candidates that matched in words, (M,).
        legs: What each leg says of these, (M,) each.
        places: Which candidates they are, ascending, (M,).
        wanted: Candidates, in any order.
    """
    most = float(total.max(initial=0))
    if most <= 0:
        return {name: np.zeros(len(wanted), dtype=np.float32) for name in legs}
    at = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
    matched = places[at] == wanted
    return {name: np.where(matched, leg[at] / np.float32(most), np.float32(0)) for name, leg in legs.items()}


def topic_of(question: str, names: Sequence[str], analyzer: Analyzer) -> str:
    """Return the words of a question without function words and names; an empty text when nothing is left."""
    said = {word for name in names for word in words_of(name)}
    return " ".join(word for word in analyzer.content(question) if word not in said)


def looked_again(
    best: Slots,
    total: Scores,
    dense: Scores,
    config: RerankConfig,
    ties: Callable[[Slots], NDArray[np.int64]],
    *,
    is_all: bool,
) -> Slots:
    """Return what gets a second look: all of a small memory, else the best by the sum and the nearest in meaning.

    The sum alone puts far down what shares no word with the question, and below the mean what is not near it. A memory
    that fits into the pool is looked at whole, as a large one is to its better half.

    Args:
        best: Candidates, best first.
        total: Sums of all candidates, (M,); `filled` writes to it.
        dense: Their inner products, (M,).
        config: Of the second look.
        ties: As for `best_of`.
        is_all: Whether what does not stand out may come as well.
    """
    if is_all and len(total) <= config.pool:
        return filled(best, total, dense, len(total), ties)
    nearest = best_of(np.where(total > 0, dense, np.float32(0)), config.nearest, ties)
    return np.concatenate((best, nearest[np.isin(nearest, best, invert=True)]))


def filled(best: Slots, total: Scores, dense: Scores, k: int, ties: Callable[[Slots], NDArray[np.int64]]) -> Slots:
    """Add what lies near the question without standing out, nearest first, below everything that does.

    The sum of the legs counts a cube as near only above the mean of all: where there are few cubes, those below it, or
    the only one, would never be found.
    """
    rest = np.setdiff1d(np.arange(len(dense)), best, assume_unique=True)
    rest = rest[np.lexsort((ties(rest), -dense[rest]))][: k - len(best)]
    if not len(rest):
        return best
    lowest = float(total[best[-1]]) if len(best) else 1.0
    total[rest] = 0.5 * lowest * np.linspace(1.0, 0.0, len(rest), endpoint=False)
    return np.concatenate((best, rest))
