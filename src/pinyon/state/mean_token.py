"""Fold what a cut drops into one entry: the mean of its keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..core.budget import Budget
from ..errors import BadInput
from .compress import Cut, compress
from .policy import CachePolicy

if TYPE_CHECKING:
    from ..models.backbone import Backbone
    from ..models.cache import HeadGroup, StateCache

__all__ = ["compress_with_mean"]


def compress_with_mean(
    backbone: Backbone,
    cache: StateCache,
    policy: CachePolicy,
    *,
    sinks: int = 4,
    entries: int | None = None,
    budget: Budget | None = None,
    ratio: float | None = None,
) -> Cut:
    """Cut a cache, and let one entry of each head stand for all that it lost.

    The first entry behind the sinks takes the mean key and the mean value of itself and of everything that was
    dropped from its head, so that no byte is added. For `RetrievalHeads` on a text that is cut once.

    Args:
        backbone: What filled the cache.
        cache: Shortened.
        policy: As for `compress`; its entries keep their positions.
        sinks: First tokens, which are left as they are, >= 0.
        entries: As for `compress`.
        budget: As for `compress`.
        ratio: As for `compress`.

    Raises:
        BadInput: As for `compress`, or the policy renumbers its entries.

    Cost: that of `compress`, and O(S D) for each head.
    Source: Tang et al. 2024, RazorAttention, arXiv 2407.15891.
    Deviates: the paper weighs the entry by the number of those it stands for, which needs a bias in the attention; here
        it counts once. The mean is of rotated keys, as they rest in the cache.
    """
    if policy.positions != "original":
        raise BadInput(f"the policy {policy.name!r} renumbers entries, so what it dropped cannot be named")
    before = [[layer.head(head) for head in range(layer.kv_heads)] for layer in cache.layers]
    cut = compress(backbone, cache, policy, entries=entries, budget=budget, ratio=ratio)
    for layer, old in zip(cache.layers, before, strict=True):
        for group in layer.groups:
            for row, head in enumerate(group.heads):
                _fold(group, row, old[head], sinks)
    return cut


def _fold(group: HeadGroup, row: int, old: HeadGroup, sinks: int) -> None:
    """Overwrite one entry of a head by the mean of itself and of those that are gone."""
    kept = group.origins[row]
    gone = ~torch.isin(old.origins[0], kept)  # (S,)
    free = (kept >= sinks).nonzero()
    if not bool(gone.any()) or not len(free):
        return
    place = int(free[0])
    gone |= old.origins[0] == kept[place]
    group.keys[:, row, place] = old.keys[:, 0, gone].mean(dim=1)
    group.values[:, row, place] = old.values[:, 0, gone].mean(dim=1)
