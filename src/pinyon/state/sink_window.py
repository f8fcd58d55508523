"""Keep the first and the latest entries of a cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput
from .policy import CacheView, Positions, Uniform

__all__ = ["SinkWindow"]


@dataclass(frozen=True, slots=True)
class SinkWindow(Uniform):
    """Score cache entries so that the first and the most recent ones survive (StreamingLLM).

    For streaming with constant memory; the baseline that every other policy of this room must beat. It forgets
    every fact that is older than its window.

    Args:
        sinks: First tokens of all that was read, which always stay, >= 0.
        positions: As in `CachePolicy`.

    Cost: O(S) time, no memory beyond the scores.
    Source: Xiao et al. 2023, arXiv 2309.17453.
    Deviates: none.
    """

    sinks: int = 4  # paper
    positions: Positions = "cache"  # paper: renumbered inside the cache

    def __post_init__(self) -> None:
        if self.sinks < 0:
            raise BadInput(f"sinks must be >= 0, got {self.sinks!r}")

    @property
    def name(self) -> str:
        """As reports name it."""
        return "sink-window"

    @property
    def window(self) -> int:
        """It looks at no query."""
        return 0

    @property
    def shared(self) -> bool:
        """One choice serves all layers and heads."""
        return True

    def score(self, view: CacheView) -> Tensor:
        """Return how late each entry came, (B, G, S), infinite for the sinks."""
        worth = view.origins.to(torch.float64).masked_fill(view.origins < self.sinks, torch.inf)  # (G, S)
        return worth.expand(view.keys.shape[:3])
