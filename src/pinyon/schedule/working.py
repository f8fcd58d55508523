"""The memories that are kept at hand, chosen under a budget by a policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..core.budget import Budget
from ..core.payload import Json
from ..core.select import select
from ..errors import BadInput
from ._record import written
from .policy import Context, Item, Policy

__all__ = ["Held", "Places", "WorkingSet", "decide_places"]

KEEP = 0.5
"""MemOS page of this project: what falls below half of its worth at admission leaves, even where there is room."""


@dataclass(frozen=True, slots=True)
class Held:
    """An item at hand.

    Args:
        item: As it was last seen.
        admitted: Its lasting worth when it came in: that which the policy gives it apart from the question.
    """

    item: Item
    admitted: float


@dataclass(frozen=True, slots=True)
class Places:
    """Who is at hand after a decision.

    Args:
        held: Everything at hand, worthiest first.
        admitted: Rows that came in.
        evicted: Rows that left.
    """

    held: tuple[Held, ...]
    admitted: tuple[int, ...]
    evicted: tuple[int, ...]


def decide_places(
    held: Sequence[Held],
    offered: Sequence[Item],
    context: Context,
    policy: Policy,
    budget: Budget,
    *,
    keep: float = KEEP,
) -> Places:
    """Choose who is at hand; the same arguments always give the same answer.

    Pinned items go first, then the worthiest; with equal worth who is at hand stays. Even where there is room, an item
    leaves when its lasting worth, that is its worth apart from the question, is below `keep` times that of its
    admission: a question about something else is no reason to leave an idle place empty. The budget is never exceeded.

    Args:
        held: Who is at hand.
        offered: Who wants a place; an item at hand that is offered again is taken as it is now.
        context: The moment.
        policy: What a place is worth to an item.
        budget: Bound on the sum of the costs.
        keep: Share of the lasting worth at admission below which an item leaves, 0 to 1; 0 switches the rule off.

    Cost: O(N log N) time for N items.
    """
    now = {item.row: item for item in offered}
    lasting = replace(context, cosines={}, labels=frozenset())
    pool: dict[int, Held] = {}
    for old in held:
        item = now.pop(old.item.row, old.item)
        worth = policy.score(item, lasting)
        if item.is_pinned or old.admitted <= 0 or worth >= keep * old.admitted:
            pool[item.row] = Held(item, old.admitted)
    pool |= {row: Held(item, policy.score(item, lasting)) for row, item in now.items()}
    chosen = select(
        list(pool.values()),
        budget,
        worth=lambda one: math.inf if one.item.is_pinned else policy.score(one.item, context),
        cost=lambda one: one.item.cost,
    ).kept
    before, after = {one.item.row for one in held}, {one.item.row for one in chosen}
    return Places(
        chosen,
        tuple(one.item.row for one in chosen if one.item.row not in before),
        tuple(one.item.row for one in held if one.item.row not in after),
    )


class WorkingSet:
    """Items at hand under a budget.

    Args:
        budget: Bound on the sum of their costs, never exceeded.
        policy: What a place is worth.
        keep: As in `decide_places`.
        sink: Told each decision with everything that went into it, as a JSON object; `replay` reads it.

    Raises:
        BadInput: `keep` is outside 0 to 1.
    """

    def __init__(
        self,
        budget: Budget,
        policy: Policy,
        *,
        keep: float = KEEP,
        sink: Callable[[dict[str, Json]], object] | None = None,
    ) -> None:
        if not 0 <= keep <= 1:
            raise BadInput(f"keep must lie between 0 and 1, got {keep!r}")
        self._budget = budget
        self._policy = policy
        self._keep = keep
        self._sink = sink
        self._held: tuple[Held, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        """Who is at hand, worthiest first as of the last decision."""
        return tuple(one.item for one in self._held)

    @property
    def rows(self) -> frozenset[int]:
        """Their rows."""
        return frozenset(one.item.row for one in self._held)

    def offer(self, items: Sequence[Item], context: Context) -> Places:
        """Let items ask for a place, and return who came and who left."""
        before = self._held
        found = decide_places(before, items, context, self._policy, self._budget, keep=self._keep)
        self._held = found.held
        if self._sink is not None:
            self._sink(
                written(
                    "places",
                    {
                        "held": list(before),
                        "offered": list(items),
                        "context": context,
                        "policy": self._policy,
                        "budget": self._budget,
                        "keep": self._keep,
                    },
                    {"admitted": list(found.admitted), "evicted": list(found.evicted)},
                )
            )
        return found

    def prefetch(self, items: Sequence[Item], context: Context) -> Places:
        """Fill the set as a session opens: pinned items of its space first, then the worthiest.

        What was at hand before and does not come from this space leaves.
        """
        rows = {item.row for item in items}
        self._held = tuple(one for one in self._held if one.item.row in rows)
        return self.offer(items, context)

    def drop(self, rows: Sequence[int]) -> None:
        """Let go of rows whose cubes are forgotten or changed."""
        gone = frozenset(rows)
        self._held = tuple(one for one in self._held if one.item.row not in gone)

    def refresh(self, changed: Mapping[int, Item]) -> None:
        """Take items at hand as they are now, before a decision."""
        self._held = tuple(replace(one, item=changed.get(one.item.row, one.item)) for one in self._held)
