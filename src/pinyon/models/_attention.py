"""The attention that reads a `StateCache`: one function, registered with transformers under a name of our own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..errors import ModelError

if TYPE_CHECKING:
    from .cache import CacheLayer, HeadGroup, StateCache
    from .taps import Taps

__all__ = ["AfterLayer", "Call", "MaskMode", "OwnReading", "attending", "by_layer", "register"]

AfterLayer = Callable[[int, "CacheLayer", Tensor], None]
"""Called with the layer, its entries and the new queries (B, H, q, D) right after the layer's attention."""

MaskMode = Literal["zero", "uniform"]

_NAME = "pinyon_state"


@runtime_checkable
class OwnReading(Protocol):
    """An `AfterLayer` that reads the layer in a way of its own before it."""

    def read(self, layer: int, entries: CacheLayer, queries: Tensor, scale: float) -> Tensor | None:
        """Return what the new queries (B, H, q, D) read, of their shape, or None to read as usual.

        It is not asked in layers with a sliding window or capped scores.
        """
        ...


@dataclass(slots=True)
class _Seen:
    """Which entries the new queries may see, kept for the layers whose entries stand at the same positions."""

    places: Tensor
    visible: Tensor
    added: Tensor | None = None


@dataclass(slots=True)
class Call:
    """One forward pass: what the attention of every layer needs to know, and what it leaves.

    Args:
        cache: What was read before; every layer appends to it.
        positions: Of the new tokens, int64 (q,), increasing.
        origins: Of the new tokens, int64 (q,).
        after_layer: Called right after each layer's attention.
        taps: What to record and to replace.
        masked: Heads to silence, by layer.
        mask_mode: "zero" gives zeros, "uniform" the mean of the values that are visible.
    """

    cache: StateCache
    positions: Tensor
    origins: Tensor
    after_layer: AfterLayer | None = None
    taps: Taps | None = None
    masked: dict[int, list[int]] = field(default_factory=dict)
    mask_mode: MaskMode = "zero"
    masks: dict[tuple[int, int, int | None], _Seen] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    attended: int = 0

    def __post_init__(self) -> None:
        self.first, self.last = int(self.positions[0]), int(self.positions[-1])


def by_layer(heads: Collection[tuple[int, int]]) -> dict[int, list[int]]:
    """Return pairs of layer and head as lists of heads."""
    found: dict[int, list[int]] = {}
    for layer, head in sorted(set(heads)):
        found.setdefault(layer, []).append(head)
    return found


def register() -> None:
    """Make the attention known to transformers under its own name; nothing that is there is replaced."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    interface: Any = AttentionInterface()
    if _NAME not in interface.valid_keys():
        AttentionInterface.register(_NAME, _attend)
        AttentionMaskInterface.register(_NAME, _no_mask)


@contextmanager
def attending(configs: Sequence[Any]) -> Iterator[None]:
    """Let a network use this attention within the context, and its own before and after.

    Args:
        configs: The distinct configurations of the network's parts.
    """
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = _NAME
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name


def _no_mask(*_: object, **__: object) -> None:
    """Return None: who may see whom is known to the cache's positions."""


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  # transformers' signature
    dropout: float = 0.0,  # noqa: ARG001  # stands here in transformers too; libraries that wrap attention count on it
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    pinyon_call: Call | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Add the new tokens to the layer's entries and return what the queries read from all of them, (B, q, H, D)."""
    if pinyon_call is None:
        raise ModelError(
            f"{type(module).__name__} was called while a backbone reads with it, or does not hand on what it is given",
            hint="call the network through one Backbone only",
        )
    call, layer = pinyon_call, int(module.layer_idx)
    entries = call.cache.layers[layer]
    entries.append(key, value, call.positions, call.origins)
    call.attended += 1
    scale = float(scaling) if scaling is not None else query.shape[-1] ** -0.5
    reader = _Reader(call, entries, scale, sliding_window, softcap)
    found = None
    if isinstance(call.after_layer, OwnReading) and sliding_window is None and softcap is None:
        found = call.after_layer.read(layer, entries, query, scale)
    out = reader.read(query) if found is None else found  # (B, H, q, D)
    if call.taps is not None and call.taps.has_rows(layer):
        changed = call.taps.at_rows(layer, *reader.rows(query, query.shape[2]))
        out = out if changed is None else reader.read_by(changed, query)
    elif call.taps is not None and call.taps.wants_rows(layer):
        call.taps.note_rows(layer, *reader.rows(query, call.taps.last))
    if layer in call.masked:
        heads = call.masked[layer]
        out = out.clone()
        out[:, heads] = 0.0 if call.mask_mode == "zero" else reader.mean(query)[:, heads].to(out)
    out = out.transpose(1, 2).contiguous()
    if call.taps is not None:
        out = call.taps.at_heads(layer, out)
    if call.after_layer is not None:
        call.after_layer(layer, entries, query)
    return out, None


@dataclass(slots=True)
class _Reader:
    """Reads the entries of one layer, group by group."""

    call: Call
    entries: CacheLayer
    scale: float
    window: int | None
    softcap: float | None

    def read(self, query: Tensor) -> Tensor:
        """Return what each query reads, (B, H, q, D)."""
        batch, heads, count, width = query.shape
        by_kv = query.view(batch, self.entries.kv_heads, -1, count, width)  # (B, G, H/G, q, D)
        if len(self.entries.groups) == 1:
            return self._group(by_kv, self.entries.groups[0]).view(batch, heads, count, width)
        out = torch.empty_like(by_kv)
        for group in self.entries.groups:
            out[:, list(group.heads)] = self._group(by_kv[:, list(group.heads)], group)
        return out.view(batch, heads, count, width)

    def rows(self, query: Tensor, last: int) -> tuple[Tensor, Tensor]:
        """Return the softmax rows of the last queries, (B, H, last, S), and the entries' origins, (G, S)."""
        count = query.shape[2]
        by_kv = query.view(query.shape[0], self.entries.kv_heads, -1, count, query.shape[3])[:, :, :, -last:]
        longest = max(self.entries.lengths())
        rows = torch.zeros((*by_kv.shape[:4], longest), device=query.device)
        origins = torch.full((self.entries.kv_heads, longest), -1, device=query.device)
        for group in self.entries.groups:
            heads = list(group.heads)
            weights = self._weights(by_kv[:, heads], group, self._seen(group).visible[:, -last:])
            rows[:, heads, :, :, : group.length] = weights.float()
            origins[heads, : group.length] = group.origins
        return rows.flatten(1, 2), origins

    def read_by(self, rows: Tensor, query: Tensor) -> Tensor:
        """Return what the heads read by given rows (B, H, q, S), (B, H, q, D)."""
        batch, heads, count, width = query.shape
        by_kv = rows.reshape(batch, self.entries.kv_heads, -1, count, rows.shape[3])  # (B, G, H/G, q, S)
        out = query.new_empty((*by_kv.shape[:4], width))
        for group in self.entries.groups:
            own = by_kv[:, list(group.heads), :, :, : group.length].to(group.values)
            out[:, list(group.heads)] = own @ group.values[:, :, None]
        return out.view(batch, heads, count, width)

    def mean(self, query: Tensor) -> Tensor:
        """Return the mean of the visible values for each head and query, (B, H, q, D)."""
        batch, heads, count, width = query.shape
        out = query.new_empty((batch, self.entries.kv_heads, count, width))
        for group in self.entries.groups:
            visible = self._seen(group).visible.to(out.dtype)  # (Gg or 1, q, S)
            out[:, list(group.heads)] = (visible / visible.sum(dim=-1, keepdim=True)) @ group.values
        return out.repeat_interleave(heads // self.entries.kv_heads, dim=1)

    def _group(self, query: Tensor, group: HeadGroup) -> Tensor:
        """Return what the queries (B, Gg, H/G, q, D) of a group read, of the same shape."""
        batch, heads, shared, count, width = query.shape
        if self.softcap is not None:
            return self._weights(query, group, self._seen(group).visible) @ group.values[:, :, None]
        keys, values = (part.flatten(0, 1)[:, None] for part in (group.keys, group.values))  # (B·Gg, 1, S, D)
        flat = query.flatten(0, 1)  # (B·Gg, H/G, q, D)
        if count == 1:  # the heads that share keys are read as if they were several queries
            flat = flat.transpose(1, 2)
        else:
            keys, values = keys.expand(-1, shared, -1, -1), values.expand(-1, shared, -1, -1)
        needs_none = count in (1, group.length) and self._is_plain(group, count)
        mask = None if needs_none else self._added(group, batch, flat.dtype)
        out = scaled_dot_product_attention(
            flat, keys, values, attn_mask=mask, is_causal=mask is None and count > 1, scale=self.scale
        )
        if count == 1:
            out = out.transpose(1, 2)
        return out.reshape(batch, heads, shared, count, width)

    def _weights(self, query: Tensor, group: HeadGroup, visible: Tensor) -> Tensor:
        """Return softmax rows (B, Gg, H/G, q, S) in the type of the query."""
        scores = (query @ group.keys[:, :, None].transpose(-1, -2)) * self.scale
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        scores = scores.masked_fill(~visible[:, None], -torch.inf)
        precise = torch.promote_types(query.dtype, torch.float32)
        return torch.softmax(scores, dim=-1, dtype=precise).to(query.dtype)

    def _is_plain(self, group: HeadGroup, count: int) -> bool:
        """Return whether new tokens see all that was read before and each other causally."""
        call, past = self.call, group.length - count
        old = group.positions[:, :past]
        if past and int(old.max()) >= call.first:
            return False
        if self.window is None:
            return True
        lowest = min(call.first, int(old.min())) if past else call.first
        return lowest > call.last - self.window

    def _seen(self, group: HeadGroup) -> _Seen:
        """Return which entries each query may see, bool (Gg or 1, q, S)."""
        places, new = group.positions, self.call.positions[None, :, None]
        if len(places) > 1 and bool((places == places[:1]).all()):
            places = places[:1]
        memo = (len(places), group.length, self.window)
        known = self.call.masks.get(memo)
        if known is not None and torch.equal(known.places, places):
            return known
        visible = places[:, None, :] <= new
        if self.window is not None:
            visible &= places[:, None, :] > new - self.window
        self.call.masks[memo] = _Seen(places.clone(), visible)
        return self.call.masks[memo]

    def _added(self, group: HeadGroup, batch: int, dtype: torch.dtype) -> Tensor:
        """Return the same as a mask to be added, (B·Gg or 1, 1, q, S)."""
        seen = self._seen(group)
        if seen.added is None:
            added = torch.zeros(seen.visible.shape, dtype=dtype, device=seen.visible.device)
            added.masked_fill_(~seen.visible, -torch.inf)
            seen.added = (added if len(added) == 1 else added.repeat(batch, 1, 1))[:, None]
        return seen.added
