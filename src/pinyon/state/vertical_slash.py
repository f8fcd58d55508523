"""Attention in which each query sees its latest positions and some columns only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..errors import BadInput

if TYPE_CHECKING:
    from ..models.backbone import AfterLayer
    from ..models.cache import CacheLayer

__all__ = ["VerticalSlash", "vertical_slash"]


@dataclass(frozen=True, slots=True)
class VerticalSlash:
    """What to hand to `Backbone.forward` as `after_layer`, so that a text is read sparsely.

    It serves texts that an empty cache reads at once; layers with a sliding window or capped scores read densely.

    Args:
        slash: Latest positions P_w that each query sees, itself included, >= 1.
        columns: Called with the layer, its entries and the new queries before they read; returns the columns that
            every later query of a key/value head sees too, int64 (G, P_v), without doubles.
        after: Called after the layer, as `after_layer` otherwise is.
    """

    slash: int
    columns: Callable[[int, CacheLayer, Tensor], Tensor]
    after: AfterLayer

    def __post_init__(self) -> None:
        if self.slash < 1:
            raise BadInput(f"a query sees at least itself, got a slash of {self.slash!r}")

    def __call__(self, layer: int, entries: CacheLayer, queries: Tensor) -> None:
        """Do what is done after a layer."""
        self.after(layer, entries, queries)

    def read(self, layer: int, entries: CacheLayer, queries: Tensor, scale: float) -> Tensor | None:
        """Return what the queries read, (B, H, q, D); None where not all entries are the queries' own tokens."""
        if len(entries.groups) != 1 or entries.groups[0].length != queries.shape[2]:
            return None
        group = entries.groups[0]
        columns = self.columns(layer, entries, queries)
        return vertical_slash(queries, group.keys, group.values, columns=columns, slash=self.slash, scale=scale)


def vertical_slash(
    queries: Tensor, keys: Tensor, values: Tensor, *, columns: Tensor, slash: int, scale: float, block: int = 256
) -> Tensor:
    """Return causal attention over the latest positions and some columns, (B, H, S, D).

    Query i sees key j <= i where i - j < `slash` or j is among `columns`. It is computed in blocks of queries, each
    with the columns before its reach gathered and what is within reach sliced, so keys that nobody sees cost nothing.

    Args:
        queries: (B, H, S, D).
        keys: (B, G, S, D).
        values: (B, G, S, D).
        columns: int64 (G, P), in any order, without doubles.
        slash: Latest positions that each query sees, >= 1.
        scale: Factor of the products.
        block: Queries read at once, >= 1: few see few columns that are hidden from some, many make few calls.

    Cost: O(H S (P + slash) D) time.
    """
    batch, heads, size, width = queries.shape
    groups = keys.shape[1]
    by_kv = queries.view(batch, groups, heads // groups, size, width)
    out = torch.empty_like(by_kv)
    near = min(slash, size)  # queries that see everything before them
    shape = (batch, groups, heads // groups, near, width)
    read, key, value = (
        part[:, :, :, :near].expand(shape).flatten(0, 1) for part in (by_kv, keys[:, :, None], values[:, :, None])
    )
    first = scaled_dot_product_attention(read, key, value, is_causal=True, scale=scale)
    out[..., :near, :] = first.view(shape)
    reach = _reach(min(block, size), slash, queries)
    for kv_head in range(groups):
        reader = _Columns(keys[:, kv_head], values[:, kv_head], columns[kv_head], reach, scale)
        for start in range(near, size, block):
            stop = min(start + block, size)
            out[:, kv_head, :, start:stop] = reader.read(by_kv[:, kv_head, :, start:stop], start)
    return out.view(batch, heads, size, width)


def _reach(block: int, slash: int, like: Tensor) -> Tensor:
    """Return what is added to the products of a block's queries and the keys within reach, (q, slash - 1 + q).

    The first key is the last that the first query reaches: each later query reaches one fewer before and one more
    behind.
    """
    own = torch.arange(block, device=like.device)[:, None]
    seen = torch.arange(slash - 1 + block, device=like.device)[None]
    mask = torch.zeros(block, slash - 1 + block, device=like.device, dtype=like.dtype)
    return mask.masked_fill_((seen < own) | (seen >= own + slash), -torch.inf)


class _Columns:
    """The entries of one key/value head, with some columns that all later queries see."""

    def __init__(self, keys: Tensor, values: Tensor, columns: Tensor, reach: Tensor, scale: float) -> None:
        self._parts = keys, values  # (B, S, D)
        self._scale = scale
        self._columns = columns.sort().values
        self._rows, self._width = reach.shape
        self._mask = torch.cat((reach, reach.new_zeros(len(reach), len(columns))), dim=1)  # one for all blocks

    def read(self, queries: Tensor, start: int) -> Tensor:
        """Return what queries (B, H/G, q, D) read, the first of which is token `start` and sees nothing before 0."""
        count = queries.shape[2]
        stop, lowest = start + count, start - (self._width - self._rows)
        edges = torch.tensor([lowest, lowest + count - 1], device=self._columns.device)
        far, left = (int(place) for place in torch.searchsorted(self._columns, edges))
        chosen, near = self._columns[:far], self._columns[far:left]
        parts = [torch.cat((part[:, lowest:stop], part[:, chosen]), dim=1)[:, None] for part in self._parts]
        keys, values = (part.expand(-1, queries.shape[1], -1, -1) for part in parts)
        mask = self._mask[:, : self._width + far]
        if count < self._rows:
            mask = torch.cat((mask[:count, : stop - lowest], mask[:count, self._width :]), dim=1)
        kept = mask[:, near - lowest]
        hidden = near > torch.arange(start, stop, device=near.device)[:, None]
        mask[:, near - lowest] = torch.zeros_like(kept).masked_fill_(hidden, -torch.inf)  # not only within reach
        out = scaled_dot_product_attention(queries, keys, values, attn_mask=mask[None, None], scale=self._scale)
        mask[:, near - lowest] = kept
        return out
