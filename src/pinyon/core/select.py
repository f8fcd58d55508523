"""The one place where things are chosen under a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import BadInput
from .budget import Budget, Footprint

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Selection", "select", "share_out", "top_entries"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection(Generic[T]):
    """What was kept and what was left out.

    Args:
        kept: Chosen things, best first.
        dropped: All others, best first.
        footprint: What the kept ones cost together.
    """

    kept: tuple[T, ...]
    dropped: tuple[T, ...]
    footprint: Footprint


def select(
    things: Sequence[T],
    budget: Budget,
    *,
    worth: Callable[[T], float],
    cost: Callable[[T], Footprint],
    most: int | None = None,
) -> Selection[T]:
    """Keep the worthiest things whose costs fit a budget together.

    Greedy by worth: a thing that does not fit is passed over and cheaper ones after it may still fit. With equal
    worth the earlier thing wins, so the same input always gives the same choice.

    Args:
        things: Candidates in any order.
        budget: Bound on the sum of the costs, never exceeded.
        worth: Higher is kept first.
        cost: What keeping a thing costs.
        most: Largest number to keep, or None.

    Cost: O(N log N) time.

    Example:
        >>> select([3, 5, 4], Budget(tokens=7), worth=float, cost=lambda n: Footprint(tokens=n)).kept
        (5,)
        >>> select([3, 5, 4], Budget(tokens=8), worth=float, cost=lambda n: Footprint(tokens=n)).kept
        (5, 3)
    """
    kept: list[T] = []
    dropped: list[T] = []
    spent = Footprint()
    for thing in sorted(things, key=worth, reverse=True):
        total = spent + cost(thing)
        if (most is None or len(kept) < most) and budget.allows(total):
            kept.append(thing)
            spent = total
        else:
            dropped.append(thing)
    return Selection(tuple(kept), tuple(dropped), spent)


def top_entries(scores: ArrayLike, count: int) -> NDArray[Any]:
    """Return the indices of the best scores of each row, in increasing order.

    Among equals the later index wins: in a cache it is the more recent one. The same scores always give the same
    indices.

    Args:
        scores: (…, S), higher stays; infinite is allowed, not-a-number is not.
        count: How many of each row, >= 0; at S or more every index is returned.

    Returns:
        int64 (…, min(count, S)).

    Raises:
        BadInput: The count is negative, or a score is not a number.

    Cost: O(S log S) time a row.

    Example:
        >>> top_entries([0.5, 2.0, 0.5, 1.0], 3).tolist()
        [1, 2, 3]
    """
    import numpy as np  # here, because the command line starts without it

    worth = np.atleast_1d(np.asarray(scores))
    if count < 0:
        raise BadInput(f"the number of entries to keep must be >= 0, got {count!r}")
    if np.isnan(worth).any():
        raise BadInput("a score of an entry is not a number")
    size = worth.shape[-1]
    if count >= size:
        return np.broadcast_to(np.arange(size), worth.shape).copy()
    ranked = size - 1 - np.argsort(-worth[..., ::-1], axis=-1, kind="stable")  # latest first among equals
    return np.sort(ranked[..., :count], axis=-1)


def share_out(weights: Sequence[float], total: int, *, floor: int = 0, cap: int | None = None) -> list[int]:
    """Divide a whole number in proportion to weights, each share within bounds.

    What a bound takes away or gives goes to the others, again in proportion. Rounding is by the largest remainder,
    among equals to the earlier one.

    Args:
        weights: One for each share, >= 0; when all that may still grow are zero, they grow equally.
        total: What is divided, >= 0.
        floor: Least share, >= 0.
        cap: Largest share, or None.

    Returns:
        Shares whose sum is exactly the total, or `cap` each when the total is more than all may take.

    Raises:
        BadInput: The floors exceed the total, or a number is out of range.

    Example:
        >>> share_out([1, 1, 8], 20, floor=3, cap=12)
        [4, 4, 12]
    """
    most = total if cap is None else cap
    if not all(0 <= weight < math.inf for weight in weights) or not 0 <= floor <= most:
        raise BadInput(
            f"{total!r} cannot be shared out by the weights {list(weights)!r} from {floor!r} to {cap!r} each"
        )
    if floor * len(weights) > total:
        raise BadInput(f"{len(weights)} shares of at least {floor} are more than {total}")
    if most * len(weights) <= total:
        return [most] * len(weights)
    exact = _within(weights, total, floor, most)
    shares = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (shares[i] - exact[i], i))
    left = total - sum(shares)
    while left > 0:
        for i in by_remainder:
            if left > 0 and shares[i] < most:
                shares[i] += 1
                left -= 1
    return shares


def _within(weights: Sequence[float], total: int, floor: int, most: int) -> list[float]:
    """Return max(floor, min(most, level * weight)) for the level at which the sum is the total."""
    scale = [weight if weight > 0 else max(weights, default=0.0) * 1e-9 or 1.0 for weight in weights]
    low, high = 0.0, most / min(scale)
    for _ in range(200):
        level = (low + high) / 2
        if sum(max(floor, min(most, level * weight)) for weight in scale) > total:
            high = level
        else:
            low = level
    return [max(float(floor), min(float(most), low * weight)) for weight in scale]
