"""What makes a memory worth a place: `lru`, `lfu`, `semantic`, `label` and `value`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from ..core.budget import Footprint
from ..core.cube import Cube
from ..core.payload import digest
from ..errors import BadInput
from ..store.side import Usage
from .heat import cooled

__all__ = ["POLICIES", "Context", "Item", "Label", "Lfu", "Lru", "Policy", "Semantic", "Value"]


@dataclass(frozen=True, slots=True)
class Item:
    """What a policy may know of a memory; numbers and names, never its text.

    Args:
        row: Row of the cube.
        id: Id of the cube.
        cost: What keeping it takes: tokens of a prompt, bytes of a cache.
        uses: Times it was used.
        last: When last, or None.
        rate: Uses a day, as of now.
        priority: 0 low, 0.5 middle, 1 high.
        is_pinned: Never dropped by automatic rules.
        labels: Its tags.
        digest: Hash of its text.
        sessions: Sessions in which it was used with this very text.
        since: When it last changed, or None.
        type: What it is, as the user's metadata say (``fact``, ``skill``, ``profile`` …).
    """

    row: int
    id: str = ""
    cost: Footprint = Footprint()
    uses: int = 0
    last: datetime | None = None
    rate: float = 0.0
    priority: float = 0.5
    is_pinned: bool = False
    labels: frozenset[str] = frozenset()
    digest: str = ""
    sessions: int = 0
    since: datetime | None = None
    type: str = ""

    @classmethod
    def of(
        cls, cube: Cube, usage: Usage, now: datetime, *, cost: Footprint, sessions: int = 0, rate: float | None = None
    ) -> Item:
        """Return what a policy may know of a cube.

        Args:
            cube: The memory; its type is the text under ``type`` in its metadata.
            usage: How much it is used, `Heat.usage`.
            now: The moment.
            cost: What keeping it takes.
            sessions: Sessions in which it was used with this very text, `sessions_of`.
            rate: Uses a day as of now, `Heat.rates`; default cooled with the usual half-life.
        """
        life, kind = cube.header.life, cube.header.metadata.get("type", "")
        return cls(
            cube.row,
            cube.id,
            cost,
            usage.count,
            usage.last,
            cooled(usage, now) if rate is None else rate,
            life.priority,
            life.pinned,
            frozenset(cube.header.tags),
            digest(cube.text),
            sessions,
            cube.updated,
            kind if isinstance(kind, str) else "",
        )


@dataclass(frozen=True, slots=True)
class Context:
    """The moment for which memories are scored.

    Args:
        now: When.
        cosines: Cosine of each item's vector with that of the question, by row; a missing one counts as 0.
        labels: Tags that the task asks for.
        most_uses: Uses of the most used memory; default that of the item itself.
    """

    now: datetime
    cosines: Mapping[int, float] = field(default_factory=dict)
    labels: frozenset[str] = frozenset()
    most_uses: int = 0


class Policy(Protocol):
    """Says what a place is worth to an item; higher stays. A frozen dataclass, so that its numbers can be logged."""

    def score(self, item: Item, context: Context) -> float:
        """Return the worth of an item in a context, finite."""
        ...


@dataclass(frozen=True, slots=True)
class Lru:
    """The latest used stays.

    Source: Li et al. 2025, MemOS, arXiv 2505.22101, which names it and gives no formula.
    Deviates: none.
    """

    def score(self, item: Item, context: Context) -> float:  # noqa: ARG002  # the protocol's
        """Return the seconds since 1970 of the last use, 0 when never used."""
        return 0.0 if item.last is None else item.last.timestamp()


@dataclass(frozen=True, slots=True)
class Lfu:
    """The most used stays.

    Source: the classic; a baseline.
    Deviates: none.
    """

    def score(self, item: Item, context: Context) -> float:  # noqa: ARG002  # the protocol's
        """Return the number of uses."""
        return float(item.uses)


@dataclass(frozen=True, slots=True)
class Semantic:
    """What lies nearest to the question stays.

    Source: Li et al. 2025, MemOS, arXiv 2505.22101, which names it and gives no formula.
    Deviates: none.
    """

    def score(self, item: Item, context: Context) -> float:
        """Return the cosine with the question, -1 to 1."""
        return context.cosines.get(item.row, 0.0)


@dataclass(frozen=True, slots=True)
class Label:
    """What carries the tags that the task asks for stays.

    Source: Li et al. 2025, MemOS, arXiv 2505.22101, which names it and gives no formula.
    Deviates: none.
    """

    def score(self, item: Item, context: Context) -> float:
        """Return the share of the asked tags that the item carries, 0 to 1."""
        return len(item.labels & context.labels) / len(context.labels) if context.labels else 0.0


@dataclass(frozen=True, slots=True)
class Value:
    """Near, frequent, recent, important and labelled, in one number.

    score = `cosine` · cos + `frequency` · log(1 + uses) / log(1 + most_uses) + `recency` · exp(-Δt / `fading`)
    + `priority` · priority + `label` · share of the asked tags.

    Args:
        cosine: Weight of nearness to the question.
        frequency: Weight of the uses.
        recency: Weight of the time since the last use.
        priority: Weight of the item's priority.
        label: Weight of the tags.
        fading: Time after which the recency has fallen to 1/e.

    Raises:
        BadInput: A weight is negative or the fading time not positive.

    Cost: O(1) time.
    Source: Li et al. 2025, MemOS, arXiv 2507.03724, names the signals (similarity, frequency, decay, priority, tags).
    Deviates: the paper gives no formula; the weights are ours.
    """

    cosine: float = 0.5
    frequency: float = 0.15
    recency: float = 0.15
    priority: float = 0.1
    label: float = 0.1
    fading: timedelta = timedelta(days=7)

    def __post_init__(self) -> None:
        weights = (self.cosine, self.frequency, self.recency, self.priority, self.label)
        if not all(0 <= weight < math.inf for weight in weights):
            raise BadInput(f"weights must be >= 0 and finite, got {weights!r}")
        if self.fading <= timedelta(0):
            raise BadInput(f"fading must be a positive duration, got {self.fading!r}")

    def score(self, item: Item, context: Context) -> float:
        """Return the weighted sum, at most the sum of the weights."""
        most = max(context.most_uses, item.uses)
        frequency = math.log1p(item.uses) / math.log1p(most) if most else 0.0
        recency = 0.0
        if item.last is not None:
            recency = math.exp(-(max(timedelta(0), context.now - item.last) / self.fading))
        return (
            self.cosine * context.cosines.get(item.row, 0.0)
            + self.frequency * frequency
            + self.recency * recency
            + self.priority * item.priority
            + self.label * Label().score(item, context)
        )


POLICIES: Mapping[str, Callable[..., Policy]] = {
    "label": Label,
    "lfu": Lfu,
    "lru": Lru,
    "semantic": Semantic,
    "value": Value,
}
"""Policies by name, for settings and for replay."""
