"""Everything when it fits, retrieval when it does not."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..core.budget import Budget
from ..errors import BadInput
from .base import Hit, Hits, Reason, Shelf
from .pack import passage

__all__ = ["SizeRouter"]

_PASSAGE_TOKENS = 12  # least tokens of a passage with its number and date


@dataclass(frozen=True, slots=True)
class SizeRouter:
    """Read the whole shelf in order when the budget holds it; else search.

    A history that fits needs no retrieval, and nothing can be missed.

    Args:
        per_hit_tokens: Tokens of budget for which one hit is fetched.
        most: Largest number of hits to fetch.

    Source: Pakhomov, Nijkamp and Xiong 2025, arXiv 2511.10523: full context wins on small histories.
    Deviates: measured in tokens against the caller's budget, not in conversations against fixed thresholds.
    """

    per_hit_tokens: int = 20
    most: int = 400

    def __post_init__(self) -> None:
        if self.per_hit_tokens < 1 or self.most < 1:
            raise BadInput("per_hit_tokens and most must be at least 1")

    def retrieve(self, question: str, shelf: Shelf, budget: Budget) -> Hits:
        """Return everything with one score for all when it fits, else the best hits."""
        whole = self._whole(shelf, budget)
        if whole is not None:
            return whole
        tokens = 2000 if budget.tokens is None else budget.tokens
        return shelf.search(question, max(1, min(self.most, tokens // self.per_hit_tokens)))

    def _whole(self, shelf: Shelf, budget: Budget) -> Hits | None:
        if budget.tokens is None:
            return None
        start = time.perf_counter()
        limit = budget.tokens // _PASSAGE_TOKENS + 1
        cubes = shelf.everything(limit)
        if len(cubes) >= limit:
            return None
        if sum(shelf.tokens([passage(cube) for cube in cubes])) + 6 * len(cubes) > budget.tokens:
            return None
        ms = (time.perf_counter() - start) * 1000
        reason = (Reason("all", 1.0, 0),)
        hits = tuple(Hit(cube, 1.0, reason) for cube in cubes)
        note = f"all {len(cubes)} memories fit into {budget.tokens} tokens: nothing had to be searched"
        return Hits(hits, len(cubes), {}, {"everything": ms}, (note,))
