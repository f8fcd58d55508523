"""Semantic forgetting of HEMA: how much each chunk is worth keeping, and which ones go."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..core.payload import Json
from ..errors import BadInput
from ._hema_chunks import Chunk

__all__ = ["Forgetting", "Retrievals", "Salience", "least_salient", "salience"]

Salience = Literal["intended", "as_printed"]
"""Whether the bonus goes to chunks that were retrieved, as the words of the paper say, or to those that were not, as
its formula is printed."""


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Which chunks are forgotten, and when.

    Args:
        salience: Who gets the bonus.
        freshness: Weight of being young (lambda), >= 0.
        decay: Loss of freshness a turn (gamma), >= 0.
        bonus: Weight of having been retrieved (beta), >= 0.
        window: Turns within which a retrieval counts, >= 1.
        period: Turns between two rounds, or None for never.
        share: Of all chunks that goes in a round, 0 to 1.

    Raises:
        BadInput: A number is out of range.
    """

    salience: Salience = "intended"  # the words of the paper; its formula is printed the other way round
    freshness: float = 1.0  # paper
    decay: float = 0.002  # paper
    bonus: float = 0.5  # paper
    window: int = 100  # paper
    period: int | None = 100  # paper
    share: float = 0.005  # paper

    def __post_init__(self) -> None:
        if self.salience not in ("intended", "as_printed"):
            raise BadInput(f"there is no salience {self.salience!r}", hint="intended or as_printed")
        if min(self.freshness, self.decay, self.bonus) < 0 or self.window < 1 or not 0 <= self.share <= 1:
            raise BadInput("freshness, decay and bonus must be >= 0, window >= 1, share between 0 and 1")
        if self.period is not None and self.period < 1:
            raise BadInput(f"a period of {self.period!r} turns is not possible", hint="at least 1, or None for never")


@dataclass(slots=True)
class Retrievals:
    """In which turn each chunk was retrieved last, and the part of a chunk that forgetting still owes.

    Args:
        last: By id.
        owed: Of the rounds so far, 0 to 1.
    """

    last: dict[str, int] = field(default_factory=dict)
    owed: float = 0.0

    def note(self, ids: Collection[str], turn: int) -> None:
        """Note that chunks were retrieved in a turn."""
        self.last.update(dict.fromkeys(ids, turn))

    def prune(self, now: int, window: int) -> None:
        """Leave out retrievals that do not count any more."""
        self.last = {id: turn for id, turn in self.last.items() if now - turn <= window}

    def to_json(self) -> dict[str, Json]:
        """Return everything as a JSON object."""
        return {"last": dict(sorted(self.last.items())), "owed": self.owed}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Retrievals:
        """Return what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It wrote something else.
        """
        last = data["last"]
        if not isinstance(last, dict):
            raise TypeError("no retrievals")
        return cls({id: int(turn) for id, turn in last.items()}, float(data["owed"]))  # type: ignore[arg-type]  # JSON


def salience(
    ages: NDArray[np.int64], retrieved: NDArray[np.bool_], rules: Forgetting = Forgetting()
) -> NDArray[np.float64]:
    """Return how much each of N chunks is worth keeping, (N,).

    With age t - i and delta_i = 1 where chunk i was retrieved within the window::

        intended:    w_i = lambda exp(-gamma (t - i)) + beta delta_i
        as_printed:  w_i = lambda exp(-gamma (t - i)) + beta (1 - delta_i)

    Args:
        ages: In turns, >= 0, (N,).
        retrieved: Within the window, (N,).
        rules: Constants.

    Source: Ahn 2025, arXiv 2504.16754, section 3.
    """
    given = retrieved if rules.salience == "intended" else ~retrieved
    weights: NDArray[np.float64] = rules.freshness * np.exp(-rules.decay * ages) + rules.bonus * given
    return weights


def least_salient(chunks: Sequence[Chunk], now: int, seen: Retrievals, rules: Forgetting) -> list[Chunk]:
    """Return the chunks that go in a round, least salient first, and carry what is left of the share.

    The share counts all chunks; pinned ones never go. Among equal weights the older goes first.

    Args:
        chunks: All live ones, oldest first.
        now: The turn.
        seen: Retrievals; `owed` is carried in it.
        rules: Constants.

    Cost: O(N log N).
    """
    due = rules.share * len(chunks) + seen.owed
    number = math.floor(due + 1e-9)  # sums of shares such as 0.005 fall short of whole numbers by rounding
    candidates = [chunk for chunk in chunks if not chunk.is_pinned]
    number = min(number, len(candidates))
    seen.owed = min(max(0.0, due - number), 1.0)
    if not number:
        return []
    ages = np.array([now - chunk.turn for chunk in candidates], dtype=np.int64)
    retrieved = np.array([now - seen.last.get(c.id, now - rules.window - 1) <= rules.window for c in candidates])
    order = np.argsort(salience(ages, retrieved, rules), kind="stable")
    return [candidates[place] for place in order[:number]]
