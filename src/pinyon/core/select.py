"""The one place where things are chosen under a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .budget import Budget, Footprint

__all__ = ["Selection", "select"]

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
