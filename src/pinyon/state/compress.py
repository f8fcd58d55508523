"""Cut a cache to a budget: after it was read, while it is read, or to make room for what comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core.budget import Budget
from ..errors import BadInput
from .policy import CachePolicy, CacheView, ModelShape, check_policy, kept_entries, scaling_of, shape_of

if TYPE_CHECKING:
    from ..models.backbone import Backbone
    from ..models.cache import CacheLayer, HeadGroup, StateCache

__all__ = ["Compressor", "Cut", "compress"]


@dataclass(frozen=True, slots=True)
class Cut:
    """What a cut did.

    Args:
        entries: Budget of each head; a policy that divides by heads gives this on average.
        bytes_before: Keys and values before.
        bytes_after: Keys and values after.
    """

    entries: int
    bytes_before: int
    bytes_after: int


def compress(
    backbone: Backbone,
    cache: StateCache,
    policy: CachePolicy,
    *,
    entries: int | None = None,
    budget: Budget | None = None,
    ratio: float | None = None,
) -> Cut:
    """Cut a cache that has been read to a budget, in place.

    A policy that asks the last queries lets the backbone read the last tokens of the cache again, because a cache
    does not hold queries. A cache within its budget is left as it is, bit for bit.

    Args:
        backbone: What filled the cache.
        cache: Shortened.
        policy: Says what is worth keeping.
        entries: Budget of each head, >= 1. Give this, `budget` or `ratio`.
        budget: In bytes of keys and values, in tokens that every head holds, or both.
        ratio: Share of the entries that goes, from 0 to below 1.

    Raises:
        BadInput: None or several budgets were given, a budget is out of range or no number, what should be a policy
            scores nothing, or the policy needs facts that the cache was not read with.
    """
    check_policy(policy)
    count = _entries(shape_of(backbone), len(cache), entries, budget, ratio)
    before = cache.nbytes
    cutter = Compressor(backbone, cache, policy, entries=count)
    if cutter.exceeds():
        if getattr(policy, "surprise", None) is not None and bool(cache.tokens.surprisal.isnan().all()):
            raise BadInput(
                f"the policy {policy.name!r} needs the surprisal of tokens, and this cache was read without it",
                hint="prefill with surprisal=True",
            )
        if policy.window:
            _read_end_again(backbone, cache, cutter)
        cutter.make_room(0)
    return Cut(count, before, cache.nbytes)


class Compressor:
    """Keeps a cache within a number of entries while a backbone reads into it.

    Args:
        backbone: Reads.
        cache: What it reads into.
        policy: Says what is worth keeping.
        entries: Budget of each head, >= 1.
        longest: Most entries of any head, whatever the policy gives it, >= 1; None for no such bound.

    Attributes:
        limits: Budget of each layer and head.

    Raises:
        BadInput: What should be a policy scores nothing, the budget is below 1, is exceeded by what the policy gives to
            heads, or the policy asks queries and renumbers positions.
    """

    def __init__(
        self,
        backbone: Backbone,
        cache: StateCache,
        policy: CachePolicy,
        *,
        entries: int,
        longest: int | None = None,
    ) -> None:
        check_policy(policy)
        if entries < 1:
            raise BadInput(f"a budget of {entries!r} entries holds nothing", hint="give a larger budget")
        if policy.window and policy.positions == "cache":
            raise BadInput(f"the policy {policy.name!r} asks queries, so entries must keep their positions")
        self.backbone = backbone
        self.cache = cache
        self.policy = policy
        self.entries = entries
        self.limits = _limits(policy, shape_of(backbone), entries)
        self._longest = longest
        if longest is not None:
            self.limits = [[min(limit, longest) for limit in heads] for heads in self.limits]
        self._is_even = len({limit for heads in self.limits for limit in heads}) == 1
        self._is_full = True  # of a budget that heads share unequally: decided anew by each forward pass
        self._scaling = scaling_of(backbone)
        self._queries: dict[int, Tensor] = {}
        self._has_cut = False

    def exceeds(self, coming: int = 0) -> bool:
        """Return whether the budget would be exceeded once some tokens have come.

        Where heads are given unequal shares it is the sum that counts: nothing is cut while all fits together.
        """
        if self._longest is not None and len(self.cache) + coming > self._longest:
            return True
        if self._is_even:
            return any(self._over(index, layer, coming) for index, layer in enumerate(self.cache.layers))
        lengths = [length for layer in self.cache.layers for length in layer.lengths()]
        return sum(lengths) + coming * len(lengths) > self.entries * len(lengths)

    def after_layer(self, layer: int, entries: CacheLayer, queries: Tensor) -> None:
        """Cut a layer that has just been read, unless one choice serves all; for `Backbone.forward` and `prefill`.

        Args:
            layer: Its number.
            entries: Its entries, the new ones included.
            queries: (B, H, q, D) of the new ones, rotated.
        """
        self.watch(layer, entries, queries)
        if layer == 0 and not self._is_even:  # the layers behind this one have not taken the new tokens yet
            held = [length for later in self.cache.layers[1:] for length in later.lengths()]
            total = sum(entries.lengths()) + sum(held) + queries.shape[2] * len(held)
            self._is_full = total > self.entries * (len(held) + entries.kv_heads)
        if not self.policy.shared and (self._is_even or self._is_full) and self._over(layer, entries, 0):
            self._cut_layer(layer, entries, self._read_with(entries), 0)

    def watch(self, layer: int, entries: CacheLayer, queries: Tensor) -> None:  # noqa: ARG002  # as `after_layer`
        """Note the queries that the policy wants, without a cut; arguments as those of `after_layer`."""
        if self.policy.window:
            known = self._queries.get(layer)
            every = queries if known is None else torch.cat((known, queries), dim=2)
            self._queries[layer] = every[:, :, -self.policy.window :].detach().clone()

    def after_chunk(self, *_: object) -> None:
        """Cut what is still beyond its budget, and forget the facts of tokens that are nowhere kept."""
        self.make_room(0)

    def make_room(self, coming: int) -> None:
        """Cut so that some more tokens fit the budget.

        Args:
            coming: How many will be read next, >= 0 and below the budget of every head.

        Raises:
            BadInput: So many do not fit.
        """
        least = min(min(heads) for heads in self.limits)
        if self.exceeds(coming):
            if not 0 <= coming < least:
                raise BadInput(
                    f"{coming!r} tokens at once do not fit a budget of {least} entries", hint="read in pieces"
                )
            if self.policy.shared:
                self._cut_everywhere(coming)
            else:
                for index, layer in enumerate(self.cache.layers):
                    if self._over(index, layer, coming):
                        self._cut_layer(index, layer, self.cache.read, coming)
        if self._has_cut:
            self._settle()

    def renumber(self) -> None:
        """Move what is held to the positions 0, 1, … of each head, and the noted queries along.

        Raises:
            BadInput: The model's keys cannot be moved.
        """
        before = self.cache.next_position
        self.cache.reposition()
        rope = self.cache.rope
        assert rope is not None  # else it would not have been moved
        for layer, queries in self._queries.items():
            old = torch.arange(before - queries.shape[2], before, device=queries.device)[None]
            self._queries[layer] = rope.moved(queries, old, old + (self.cache.next_position - before), layer=layer)

    def forward(self, ids: Sequence[int]) -> Tensor:
        """Read tokens at once, each layer cut as soon as it has been read; return the logits after them, (V,)."""
        logits = self.backbone.forward(list(ids), self.cache, logits="last", after_layer=self.after_layer)
        self.after_chunk()
        assert logits is not None  # asked for
        return logits

    def tensors(self) -> dict[str, Tensor]:
        """Return the queries it has noted, by name, for a session that is saved."""
        return {f"queries.{layer}": queries for layer, queries in self._queries.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take what `tensors` returned."""
        named = {name: part for name, part in tensors.items() if name.startswith("queries.")}
        self._queries = {int(name.removeprefix("queries.")): part for name, part in named.items()}

    def _over(self, index: int, layer: CacheLayer, coming: int) -> bool:
        return any(
            length + coming > limit for length, limit in zip(layer.lengths(), self.limits[index], strict=True) if length
        )

    def _cut_everywhere(self, coming: int) -> None:
        group = self.cache.layers[0].uniform()
        room = self.entries - coming
        scores = self.policy.score(self._view(0, group, self.cache.read, room))  # (B, G, S)
        self.cache.keep_everywhere(kept_entries(scores[:, :1], room)[0])
        self._has_cut = True

    def _cut_layer(self, index: int, layer: CacheLayer, read: int, coming: int) -> None:
        kept: dict[int, Tensor] = {}
        for group in layer.groups:
            rooms = [self.limits[index][head] - coming for head in group.heads]
            scores = self.policy.score(self._view(index, group, read, max(rooms)))
            for row, (head, room) in enumerate(zip(group.heads, rooms, strict=True)):
                kept[head] = kept_entries(scores[:, row : row + 1], room)[0]
        layer.keep([kept[head] for head in range(len(kept))])
        self._has_cut = True

    def _settle(self) -> None:
        """Renumber where the policy wishes it, and forget facts that nothing refers to."""
        self._has_cut = False
        if self.policy.positions == "cache":
            self.cache.reposition()
        held = [group.origins.reshape(-1) for layer in self.cache.layers for group in layer.groups]
        self.cache.tokens.prune(torch.cat(held))

    def _read_with(self, entries: CacheLayer) -> int:
        """Return how many tokens this layer has read; the cache itself counts them when all layers have."""
        return max(int(group.origins[:, -1].max()) for group in entries.groups if group.length) + 1

    def _view(self, layer: int, group: HeadGroup, read: int, room: int) -> CacheView:
        facts = self.cache.tokens.lookup(group.origins)
        queries = self._queries.get(layer)
        if self.policy.window and queries is None:
            raise BadInput(f"the policy {self.policy.name!r} asks queries, and none were noted")
        if queries is not None and len(group.heads) < self.backbone.n_kv_heads:
            share = self.backbone.n_heads // self.backbone.n_kv_heads
            queries = queries[:, [head * share + i for head in group.heads for i in range(share)]]
        return CacheView(
            layer=layer,
            keys=group.keys,
            values=group.values,
            positions=group.positions,
            origins=group.origins,
            queries=queries,
            token_ids=facts.ids,
            surprisal=facts.surprisal,
            turns=facts.turns,
            read=read,
            scaling=self._scaling,
            room=room,
        )


def _entries(shape: ModelShape, held: int, entries: int | None, budget: Budget | None, ratio: float | None) -> int:
    """Return the budget of each head."""
    if sum(given is not None for given in (entries, budget, ratio)) != 1:
        raise BadInput("a cut needs one budget", hint="give entries=, budget= or ratio=")
    if ratio is not None:
        if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio < 1:
            raise BadInput(f"the share that goes must be from 0 to below 1, got {ratio!r}")
        return max(1, int(held * (1 - ratio) + 1e-9))
    if entries is not None:
        if isinstance(entries, bool) or not isinstance(entries, int):
            raise BadInput(f"entries must be a whole number, got {entries!r}")
        return entries
    assert budget is not None  # counted above
    bounds = [] if budget.tokens is None else [budget.tokens]
    if budget.bytes is not None:
        bounds.append(shape.entries_within(budget.bytes))
    if not bounds:
        raise BadInput("a cache is cut to bytes or tokens", hint="give Budget(bytes=…) or Budget(tokens=…)")
    if min(bounds) < 1:
        raise BadInput(f"{budget!r} holds no token; one needs {shape.token_bytes} bytes")
    return min(bounds)


def _limits(policy: CachePolicy, shape: ModelShape, entries: int) -> list[list[int]]:
    given = policy.entries(shape, entries)
    if given is None:
        return [[entries] * shape.kv_heads for _ in range(shape.layers)]
    limits = [list(heads) for heads in given]
    if len(limits) != shape.layers or any(len(heads) != shape.kv_heads for heads in limits):
        raise BadInput(f"the policy {policy.name!r} gives entries to other heads than the model has")
    if min(min(heads) for heads in limits) < 1:
        raise BadInput(f"the policy {policy.name!r} leaves a head without entries")
    total = sum(sum(heads) for heads in limits)
    if total > entries * shape.layers * shape.kv_heads:
        raise BadInput(
            f"the policy {policy.name!r} gives {total} entries, more than {entries} for each head on average"
        )
    return limits


def _read_end_again(backbone: Backbone, cache: StateCache, cutter: Compressor) -> None:
    """Let the queries of the last tokens be computed once more; the cache is as it was afterwards."""
    start = max(0, cache.read - cutter.policy.window)
    origins = torch.arange(start, cache.read, device=backbone.device)
    ids = cache.tokens.lookup(origins).ids
    if bool((ids < 0).any()):
        raise BadInput(f"the last {len(origins)} tokens of the cache are not all known, so they cannot vote")
    last = cache.layers[0].groups[0]
    positions = last.positions[0, last.origins[0] >= start].tolist()
    if len(positions) != len(ids):
        raise BadInput(f"not all of the last {len(ids)} tokens are in the cache, so they cannot vote")
    facts = cache.tokens.clone()
    cache.crop(start)
    backbone.forward(ids.tolist(), cache, positions=positions, logits="last", after_layer=cutter.watch)
    cache.tokens = facts
