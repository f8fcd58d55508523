"""A key/value cache that can be cut head by head and stays exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import BadInput, Conflict
from ._entries import CacheLayer, HeadGroup, joined
from ._tokens import TokenFacts, TokenTable

if TYPE_CHECKING:
    from .rope import Rope

__all__ = ["CacheLayer", "CacheShape", "HeadGroup", "StateCache", "TokenFacts", "TokenTable"]


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a cache must fit.

    Args:
        layers: Number of layers, >= 1.
        kv_heads: Key/value heads G of a layer, >= 1.
        width: Width D of a head, >= 1.
    """

    layers: int
    kv_heads: int
    width: int

    def __post_init__(self) -> None:
        if min(self.layers, self.kv_heads, self.width) < 1:
            raise BadInput(f"a cache needs at least one layer, head and feature, got {self!r}")


class StateCache:
    """What a local model has read: keys and values of every layer, with the position and the token of each entry.

    A cut cache stays exact: every entry is visible to new tokens that stand after it (unless a sliding-window layer
    hides it by position), and new tokens are causal among themselves. It belongs to its caller, who uses it from one
    thread at a time.

    Args:
        shape: What the model's caches look like; `Backbone.cache` knows it.
        rope: How the model rotates keys; None when they cannot be moved.
        device: Where tensors of token facts rest.

    Attributes:
        layers: One `CacheLayer` for each layer.
        read: Tokens read so far; the origin of the next one.
        next_position: The position the next token gets when none is given.
        tokens: Facts of each token by origin.
        logits: What the model foretold after the last token, float32 (V,), or None when that was not asked for.
    """

    def __init__(self, shape: CacheShape, *, rope: Rope | None = None, device: str | torch.device = "cpu") -> None:
        self.shape = shape
        self.rope = rope
        self.layers = [CacheLayer(shape.kv_heads) for _ in range(shape.layers)]
        self.read = 0
        self.next_position = 0
        self.tokens = TokenTable(device=device)
        self.logits: Tensor | None = None
        self.is_fed = False

    def __len__(self) -> int:
        """Entries of the longest head."""
        return max(max(layer.lengths()) for layer in self.layers)

    def __bool__(self) -> bool:
        """True: an empty cache is a cache too."""
        return True

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values, the sum of their tensors' sizes."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def overhead_bytes(self) -> int:
        """Bytes of everything else: positions, origins, token facts, logits."""
        foretold = 0 if self.logits is None else self.logits.nbytes
        return sum(layer.overhead_bytes for layer in self.layers) + self.tokens.nbytes + foretold

    def keep(self, layer: int, kept: Tensor | Sequence[Tensor]) -> None:
        """Drop entries of one layer; see `CacheLayer.keep`.

        Raises:
            BadInput: There is no such layer, or the indices do not fit it.
        """
        if not 0 <= layer < len(self.layers):
            raise BadInput(f"there is no layer {layer!r} in a cache of {len(self.layers)}")
        self.layers[layer].keep(kept)

    def keep_everywhere(self, kept: Tensor) -> None:
        """Drop all but the same entries in every layer and head.

        Args:
            kept: Indices, (n,).

        Raises:
            BadInput: An index is out of range for a head, or doubled.
        """
        for layer in self.layers:
            layer.keep(kept.expand(self.shape.kv_heads, -1))

    def reposition(self, start: int = 0) -> None:
        """Re-rotate each head's keys to the positions start, start + 1, … in their order.

        The next token then stands after the longest head.

        Args:
            start: First position, >= 0.

        Raises:
            BadInput: `start` is negative, or the model's keys cannot be moved.
        """
        if start < 0:
            raise BadInput(f"start must be >= 0, got {start!r}")
        if self.rope is None:
            raise BadInput(
                "the keys of this model cannot be moved: no rotary positions, or scaled by the length read",
                hint="keep the original positions",
            )
        for index, layer in enumerate(self.layers):
            for group in layer.groups:
                places = torch.arange(start, start + group.length, device=group.positions.device)
                moved = places.expand(len(group.heads), -1)
                group.keys = self.rope.moved(group.keys, group.positions, moved, layer=index)
                group.positions = moved.clone()
        self.next_position = start + len(self)

    def crop(self, length: int) -> None:
        """Forget the last tokens: those whose origin is `length` or later.

        Args:
            length: Tokens that stay read, >= 0; nothing happens when no more were read.

        Raises:
            BadInput: `length` is negative.
        """
        if length < 0:
            raise BadInput(f"length must be >= 0, got {length!r}")
        if length >= self.read and all(
            int(g.origins.max()) < length for y in self.layers for g in y.groups if g.length
        ):
            return
        gone = [group.positions[group.origins >= length] for layer in self.layers for group in layer.groups]
        lowest = [int(part.min()) for part in gone if len(part)]
        for layer in self.layers:
            if layer.groups:
                layer.keep_where([layer.head(head).origins[0] < length for head in range(layer.kv_heads)])
        back = max(self.next_position - max(self.read - length, 0), 0)
        self.next_position = min(lowest) if lowest else back
        self.read = min(self.read, length)
        self.tokens.crop(length)
        self.logits = None

    def sort(self) -> None:
        """Put the entries of every head in the order of their positions, after tokens were read into the middle."""
        for layer in self.layers:
            layer.sort()

    def clone(self) -> StateCache:
        """Return a deep copy, detached."""
        twin = StateCache(self.shape, rope=self.rope)
        twin.layers = [layer.copy() for layer in self.layers]
        twin.read, twin.next_position = self.read, self.next_position
        twin.tokens = self.tokens.clone()
        twin.logits = None if self.logits is None else self.logits.detach().clone()
        return twin

    def to(self, device: str | torch.device) -> StateCache:
        """Move every tensor to a device; returns itself."""
        for layer in self.layers:
            layer.groups = [
                HeadGroup(group.heads, *(part.to(device) for part in group.tensors)) for group in layer.groups
            ]
        self.tokens = self.tokens.to(device)
        self.logits = None if self.logits is None else self.logits.to(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return all it holds as named tensors, to be stored; `from_tensors` reads them."""
        found = {
            "cache.read": torch.tensor(self.read),
            "cache.next_position": torch.tensor(self.next_position),
            "cache.shape": torch.tensor([self.shape.layers, self.shape.kv_heads, self.shape.width]),
        }
        found.update({f"tokens.{name}": part for name, part in self.tokens.tensors().items()})
        if self.logits is not None:
            found["cache.logits"] = self.logits
        for i, layer in enumerate(self.layers):
            for j, group in enumerate(layer.groups):
                found[f"layers.{i}.{j}.heads"] = torch.tensor(group.heads)
                for name, part in zip(_PARTS, group.tensors, strict=True):
                    found[f"layers.{i}.{j}.{name}"] = part
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], rope: Rope | None = None) -> StateCache:
        """Build a cache of what `tensors` returned.

        Args:
            tensors: By name; they are taken over, not copied.
            rope: How the model rotates keys.

        Raises:
            BadInput: A tensor is missing or does not fit the others.
        """
        try:
            cache = cls(CacheShape(*(int(size) for size in tensors["cache.shape"])), rope=rope)
            cache.read = int(tensors["cache.read"])
            cache.next_position = int(tensors["cache.next_position"])
            facts = {name.removeprefix("tokens."): t for name, t in tensors.items() if name.startswith("tokens.")}
            cache.tokens = TokenTable.from_tensors(facts)
            cache.logits = tensors.get("cache.logits")
            for i, layer in enumerate(cache.layers):
                j = 0
                while f"layers.{i}.{j}.heads" in tensors:
                    heads = tuple(int(head) for head in tensors[f"layers.{i}.{j}.heads"])
                    group = HeadGroup(heads, *(tensors[f"layers.{i}.{j}.{name}"] for name in _PARTS))
                    layer.groups.append(_sound(group, cache.shape))
                    j += 1
                if layer.groups and sorted(h for g in layer.groups for h in g.heads) != [*range(layer.kv_heads)]:
                    raise BadInput(f"the heads of layer {i} are not complete")
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"the tensors are not those of a cache: {error}") from error
        return cache

    @classmethod
    def concatenate(cls, parts: Sequence[StateCache], offsets: Sequence[int] | None = None) -> StateCache:
        """Join caches of one model: entries of each part after those of the part before.

        Keys and positions stay as they are: call `reposition` on the parts before, or on what is returned.

        Args:
            parts: At least one; none is changed.
            offsets: Added to the origins of each part; None counts the tokens read by the parts before it.

        Raises:
            BadInput: There is no part, their shapes differ, or there are not as many offsets as parts.
        """
        if not parts:
            raise BadInput("no caches were given to join")
        shapes = {part.shape for part in parts}
        if len(shapes) > 1:
            raise BadInput(f"caches of different models cannot be joined: {sorted(shapes, key=repr)}")
        if offsets is None:
            offsets = [sum(part.read for part in parts[:place]) for place in range(len(parts))]
        if len(offsets) != len(parts):
            raise BadInput(f"{len(parts)} caches were given with {len(offsets)} offsets")
        whole = cls(parts[0].shape, rope=parts[0].rope)
        for index, layer in enumerate(whole.layers):
            layer.groups = joined([part.layers[index] for part in parts], offsets)
        whole.read = max(part.read + offset for part, offset in zip(parts, offsets, strict=True))
        whole.next_position = max(part.next_position for part in parts)
        whole.tokens = TokenTable.concatenate([part.tokens for part in parts], offsets)
        return whole

    # What transformers asks of ``past_key_values``.

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Return the new tokens' keys and values as they came; the attention of this room adds them to the layer.

        Raises:
            Conflict: Another attention than this room's is running, which would not see what was read before.
        """
        if not self.is_fed:
            raise Conflict("a StateCache is filled by Backbone.forward only", hint="call Backbone.forward")
        if not 0 <= layer_idx < len(self.layers):
            raise BadInput(f"the model asks for layer {layer_idx}, the cache has {len(self.layers)}")
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  # transformers' signature
        """Return the position of the next token, which is what transformers wants to know."""
        return self.next_position

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return the same as `get_seq_length`."""
        return self.get_seq_length(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Return the entries of a layer's longest head after the next tokens, and 0."""
        length = query_length if isinstance(query_length, int) else len(query_length)
        return max(self.layers[layer_idx].lengths()) + length, 0

    def get_max_length(self, layer_idx: int | None = None) -> int:  # noqa: ARG002  # transformers' signature
        """Return -1: there is none."""
        return -1

    @property
    def is_compileable(self) -> bool:
        """False: its shapes change."""
        return False


_PARTS = ("keys", "values", "positions", "origins")


def _sound(group: HeadGroup, shape: CacheShape) -> HeadGroup:
    batch, length = group.keys.shape[0], group.keys.shape[2]
    wide, flat = (batch, len(group.heads), length, shape.width), (len(group.heads), length)
    sizes = tuple(tuple(part.shape) for part in group.tensors)
    if sizes != (wide, wide, flat, flat):
        raise BadInput(f"tensors of shapes {sizes} do not make {len(group.heads)} heads of width {shape.width}")
    return group
