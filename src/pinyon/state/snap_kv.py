"""Keep the entries that the end of a prompt attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..errors import BadInput
from .policy import CacheView, Pooling, Positions, Reduce, Uniform, votes

__all__ = ["SnapKV"]


@dataclass(frozen=True, slots=True)
class SnapKV(Uniform):
    """Score cache entries by the attention that the last tokens read pay to them.

    Right when the question stands at the end of the prompt; when it is not known yet, the last tokens ask for
    something else. It equals `SpecKV` with no lookahead.

    Args:
        queries: Last tokens, which vote and always stay, >= 1.
        kernel: Width of the pooling over neighbours, odd.
        pooling: Of neighbours.
        reduce: Over the votes of the last tokens and of the query heads of a key/value head.

    Cost: O(H w S D) time for w queries.
    Source: Li et al. 2024, arXiv 2404.14469; pooling as its use beside SpecKV (arXiv 2506.08373).
    Deviates: query heads of one key/value head vote together, because their entries are stored once.
    """

    queries: int = 32  # released configurations of SpecKV
    kernel: int = 5  # paper
    pooling: Pooling = "mean"  # paper
    reduce: Reduce = "mean"  # paper: a sum, which ranks alike

    positions: ClassVar[Positions] = "original"  # queries of several cuts must meet keys of one numbering
    shared: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.queries < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise BadInput(
                f"queries must be >= 1 and the kernel odd, got queries {self.queries!r} and kernel {self.kernel!r}"
            )

    @property
    def name(self) -> str:
        """As reports name it."""
        return "snap-kv"

    @property
    def window(self) -> int:
        """The last tokens that vote."""
        return self.queries

    def score(self, view: CacheView) -> Tensor:
        """Return the votes for each entry, (B, G, S), infinite for the last tokens."""
        worth = votes(view, reduce=self.reduce, pooling=self.pooling, kernel=self.kernel)
        return worth.masked_fill(view.origins >= view.read - self.queries, float("inf"))
