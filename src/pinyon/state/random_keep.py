"""Keep entries of a cache at random."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput
from .policy import CacheView, Positions, Uniform

__all__ = ["RandomKeep"]


@dataclass(frozen=True, slots=True)
class RandomKeep(Uniform):
    """Score cache entries at random, the sinks apart.

    The baseline that shows what a score is worth. Each cut draws anew: an entry that survives k cuts was lucky k
    times. With `lasting` each token draws one lot for ever, so that all ages survive alike.

    Args:
        seed: The same seed makes the same choice for the same history.
        sinks: First tokens of all that was read, which always stay, >= 0.
        lasting: One lot for each token instead of one for each cut.
        shared: One choice for all layers and heads.
        positions: As in `CachePolicy`.

    Cost: O(S) time.
    Source: a usual baseline.
    Deviates: none.
    """

    seed: int = 0
    sinks: int = 4  # as the policies that are compared with it
    lasting: bool = False
    shared: bool = True
    positions: Positions = "cache"

    def __post_init__(self) -> None:
        if self.sinks < 0:
            raise BadInput(f"sinks must be >= 0, got {self.sinks!r}")

    @property
    def name(self) -> str:
        """As reports name it."""
        return "random"

    @property
    def window(self) -> int:
        """It looks at no query."""
        return 0

    def score(self, view: CacheView) -> Tensor:
        """Return a lot for each entry, (B, G, S), infinite for the sinks."""
        heads, size = view.origins.shape
        if self.lasting:
            lots = torch.rand(view.read if size else 0, generator=self._source(0), dtype=torch.float64)
            worth = lots[view.origins.cpu()]  # (G, S)
        else:
            source = self._source(view.read * 1000 + (0 if self.shared else view.layer))
            rows = 1 if self.shared else heads
            worth = torch.rand(rows, size, generator=source, dtype=torch.float64).expand(heads, size)
        worth = worth.to(view.keys.device).masked_fill(view.origins < self.sinks, torch.inf)
        return worth.expand(view.keys.shape[:3])

    def _source(self, part: int) -> torch.Generator:
        digest = hashlib.sha256(f"{self.seed} {part}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
