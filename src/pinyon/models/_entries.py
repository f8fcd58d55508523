"""The entries of one layer of a key/value cache, by groups of heads of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import BadInput

__all__ = ["CacheLayer", "HeadGroup", "joined"]


@dataclass(slots=True)
class HeadGroup:
    """Key/value heads of one layer that hold the same number of entries S.

    Attention runs group by group, so that heads of unequal length really free their bytes.

    Attributes:
        heads: The group's Gg heads, increasing.
        keys: Rotated to `positions`, (B, Gg, S, D).
        values: (B, Gg, S, D).
        positions: Where each entry stands for the model, int64 (Gg, S).
        origins: Which token each entry comes from, counted since the cache was empty, int64 (Gg, S).
    """

    heads: tuple[int, ...]
    keys: Tensor
    values: Tensor
    positions: Tensor
    origins: Tensor

    @property
    def length(self) -> int:
        """Entries S of each head."""
        return int(self.keys.shape[2])

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Keys, values, positions and origins."""
        return self.keys, self.values, self.positions, self.origins

    def take(self, rows: Sequence[int], kept: Tensor) -> HeadGroup:
        """Return new tensors with some entries of some heads.

        Args:
            rows: Which of the group's heads, by their place in it.
            kept: Indices of entries, increasing, int64 (len(rows), n).
        """
        some = list(rows) != list(range(len(self.heads)))
        keys, values, positions, origins = (
            (self.keys[:, rows], self.values[:, rows], self.positions[rows], self.origins[rows])
            if some
            else self.tensors
        )
        wide = kept[None, :, :, None].expand(keys.shape[0], -1, -1, keys.shape[3])  # (B, Gg, n, D)
        heads = tuple(self.heads[row] for row in rows)
        return HeadGroup(
            heads, keys.gather(2, wide), values.gather(2, wide), positions.gather(1, kept), origins.gather(1, kept)
        )


class CacheLayer:
    """The entries of one layer, by groups of heads of equal length.

    Args:
        kv_heads: Key/value heads G, >= 1.

    Attributes:
        groups: Ordered by their first head; empty until something was appended.
    """

    def __init__(self, kv_heads: int) -> None:
        self.kv_heads = kv_heads
        self.groups: list[HeadGroup] = []

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(group.keys.nbytes + group.values.nbytes for group in self.groups)

    @property
    def overhead_bytes(self) -> int:
        """Bytes of positions and origins."""
        return sum(group.positions.nbytes + group.origins.nbytes for group in self.groups)

    def lengths(self) -> list[int]:
        """Return the number of entries of each key/value head."""
        found = [0] * self.kv_heads
        for group in self.groups:
            for head in group.heads:
                found[head] = group.length
        return found

    def uniform(self) -> HeadGroup:
        """Return the one group of all heads.

        Raises:
            BadInput: Heads hold unequal numbers of entries, or nothing was appended yet.
        """
        if len(self.groups) != 1:
            raise BadInput(f"the heads of this layer hold {self.lengths()} entries, equal numbers above 0 are needed")
        return self.groups[0]

    def head(self, head: int) -> HeadGroup:
        """Return one head as a group of its own; its tensors are views.

        Raises:
            BadInput: There is no such head, or nothing was appended yet.
        """
        for group in self.groups:
            if head in group.heads:
                row = group.heads.index(head)
                part = slice(row, row + 1)
                return HeadGroup(
                    (head,), group.keys[:, part], group.values[:, part], group.positions[part], group.origins[part]
                )
        raise BadInput(f"head {head!r} holds no entries in this layer of {self.kv_heads} heads")

    def append(self, keys: Tensor, values: Tensor, positions: Tensor, origins: Tensor) -> None:
        """Add the entries of new tokens to every head.

        Args:
            keys: Rotated to `positions`, (B, G, q, D).
            values: (B, G, q, D).
            positions: int64 (q,).
            origins: int64 (q,).
        """
        if not self.groups:
            places = positions.expand(self.kv_heads, -1), origins.expand(self.kv_heads, -1)
            fresh = (part.clone(memory_format=torch.contiguous_format) for part in (keys, values, *places))
            self.groups = [HeadGroup(tuple(range(self.kv_heads)), *fresh)]
            return
        for group in self.groups:
            if len(self.groups) == 1:
                more_keys, more_values = keys, values
            else:
                more_keys, more_values = keys[:, list(group.heads)], values[:, list(group.heads)]
            count = len(group.heads)
            group.keys = torch.cat((group.keys, more_keys), dim=2)
            group.values = torch.cat((group.values, more_values), dim=2)
            group.positions = torch.cat((group.positions, positions.expand(count, -1)), dim=1)
            group.origins = torch.cat((group.origins, origins.expand(count, -1)), dim=1)

    def keep(self, kept: Tensor | Sequence[Tensor]) -> None:
        """Drop every other entry; the order of those that stay does not change.

        Args:
            kept: For each key/value head the indices into its entries, in any order: (G, n), or G tensors of unequal
                length.

        Raises:
            BadInput: There is no tensor for every head, or an index is out of range or doubled.
        """
        lengths = self.lengths()
        if len(kept) != self.kv_heads:
            raise BadInput(f"indices for {len(kept)} heads were given, this layer has {self.kv_heads}")
        if not self.groups:
            if any(len(part) for part in kept):
                raise BadInput("a layer without entries has none to keep")
            return
        chosen = [self._checked(kept[head], lengths[head], head) for head in range(self.kv_heads)]
        if [len(part) for part in chosen] == lengths:
            return
        by_length: dict[int, list[int]] = {}
        for head, part in enumerate(chosen):
            by_length.setdefault(len(part), []).append(head)
        self.groups = [self._gathered(heads, chosen) for heads in by_length.values()]

    def keep_where(self, stays: Sequence[Tensor]) -> None:
        """Drop entries by truth values, one tensor (S,) for each key/value head."""
        self.keep([part.nonzero()[:, 0] for part in stays])

    def sort(self) -> None:
        """Put the entries of every head in the order of their positions; equal positions keep their order."""
        for place, group in enumerate(self.groups):
            if group.length > 1 and bool((group.positions.diff(dim=1) < 0).any()):
                order = group.positions.argsort(dim=1, stable=True)
                self.groups[place] = group.take(range(len(group.heads)), order)

    def copy(self) -> CacheLayer:
        """Return a deep copy, detached."""
        twin = CacheLayer(self.kv_heads)
        twin.groups = [
            HeadGroup(group.heads, *(part.detach().clone() for part in group.tensors)) for group in self.groups
        ]
        return twin

    def _checked(self, kept: Tensor, length: int, head: int) -> Tensor:
        indices = torch.sort(kept.to(device=self.groups[0].keys.device, dtype=torch.int64)).values
        if len(indices) and (int(indices[0]) < 0 or int(indices[-1]) >= length):
            raise BadInput(f"head {head} holds {length} entries, an index between 0 and {length - 1} is needed")
        if len(indices) > 1 and bool((indices[1:] == indices[:-1]).any()):
            raise BadInput(f"an entry of head {head} is named twice")
        return indices

    def _gathered(self, heads: list[int], chosen: Sequence[Tensor]) -> HeadGroup:
        parts: list[HeadGroup] = []
        for group in self.groups:
            rows = [row for row, head in enumerate(group.heads) if head in heads]
            if rows:
                parts.append(group.take(rows, torch.stack([chosen[group.heads[row]] for row in rows])))
        if len(parts) == 1:
            return parts[0]
        joined = [head for part in parts for head in part.heads]
        order = sorted(range(len(joined)), key=joined.__getitem__)
        keys, values = (torch.cat([part.tensors[i] for part in parts], dim=1)[:, order] for i in (0, 1))
        positions, origins = (torch.cat([part.tensors[i] for part in parts], dim=0)[order] for i in (2, 3))
        return HeadGroup(tuple(sorted(joined)), keys, values, positions, origins)


def joined(parts: Sequence[CacheLayer], offsets: Sequence[int]) -> list[HeadGroup]:
    """Return groups that hold the entries of each part one after the other, head by head where lengths differ."""
    pairs = [(part, offset) for part, offset in zip(parts, offsets, strict=True) if part.groups]
    if not pairs:
        return []
    if all(len(part.groups) == 1 for part, _ in pairs):
        return [_one_after_another([(part.groups[0], offset) for part, offset in pairs])]
    heads = [_one_after_another([(part.head(h), offset) for part, offset in pairs]) for h in range(parts[0].kv_heads)]
    by_length: dict[int, list[HeadGroup]] = {}
    for head in heads:
        by_length.setdefault(head.length, []).append(head)
    return [
        HeadGroup(
            tuple(head for one in same for head in one.heads),
            *(torch.cat([one.tensors[i] for one in same], dim=1 if i < 2 else 0) for i in range(4)),
        )
        for same in by_length.values()
    ]


def _one_after_another(parts: Sequence[tuple[HeadGroup, int]]) -> HeadGroup:
    moved = [replace(group, origins=group.origins + offset) for group, offset in parts]
    return HeadGroup(
        moved[0].heads, *(torch.cat([one.tensors[i] for one in moved], dim=2 if i < 2 else 1) for i in range(4))
    )
