"""Keep the entries whose keys are short."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import BadInput
from .policy import CacheView, Positions, Uniform

__all__ = ["KeyNorm"]


@dataclass(frozen=True, slots=True)
class KeyNorm(Uniform):
    """Score cache entries by the length of their keys: the shorter the key, the more attention it usually gets.

    It needs neither queries nor a second model, and each head chooses for itself. Rotation leaves the length as it
    is, so positions do not matter.

    Args:
        recent: Latest tokens that always stay, >= 0.
        positions: As in `CachePolicy`.

    Cost: O(S D) time.
    Source: Devoto et al. 2024, arXiv 2406.11430.
    Deviates: the paper leaves the first two layers whole; here every layer is cut alike, because a budget binds all.
    """

    recent: int = 0  # paper
    positions: Positions = "original"  # paper

    def __post_init__(self) -> None:
        if self.recent < 0:
            raise BadInput(f"recent must be >= 0, got {self.recent!r}")

    @property
    def name(self) -> str:
        """As reports name it."""
        return "key-norm"

    @property
    def window(self) -> int:
        """It looks at no query."""
        return 0

    @property
    def shared(self) -> bool:
        """Each head chooses for itself."""
        return False

    def score(self, view: CacheView) -> Tensor:
        """Return the negative length of each key, (B, G, S), infinite for the latest tokens."""
        worth: Tensor = -view.keys.float().norm(dim=-1)  # (B, G, S)
        return worth.masked_fill(view.origins >= view.read - self.recent, float("inf"))
