"""Keep the entries that a model needs to repeat what it has read (KVzip)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from ..core.budget import Budget
from ..errors import BadInput
from .compress import Cut, compress
from .policy import CacheView, ModelShape, Positions, attention_rows, scaling_of

if TYPE_CHECKING:
    from ..models.backbone import Backbone
    from ..models.cache import CacheLayer, StateCache

__all__ = ["KVzip", "Replayed"]

Weigh = Literal["none", "surprisal"]

_LEAD = "\n\nRepeat the previous context exactly.\n"  # released code, without a chat template
_AGAIN = "\n\nRepeat the part of the previous context exactly, starting with"  # released code
_OVERLAP = 8  # released code: last tokens of the part before, after `_AGAIN`


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """Score cache entries by what a replay of their text paid attention to; made by `KVzip.look` for one cache.

    Args:
        worth: For each layer the highest attention to each token read, (G, S).
        heads: "shared": all heads compete for the whole budget. "even": each head keeps equally many.
        sinks: First tokens, which stay in every head, >= 1.
        weigh: How the replay was weighed.
    """

    worth: tuple[Tensor, ...]
    heads: Literal["shared", "even"] = "shared"
    sinks: int = 4
    weigh: Weigh = "none"

    window: ClassVar[int] = 0
    shared: ClassVar[bool] = False
    positions: ClassVar[Positions] = "original"

    @property
    def name(self) -> str:
        """As reports name it."""
        return "kvzip" + ("+surprisal" if self.weigh == "surprisal" else "") + ("-even" if self.heads == "even" else "")

    def entries(self, shape: ModelShape, budget_entries: int) -> Sequence[Sequence[int]] | None:
        """Return how many of the best entries of the whole model lie in each layer and head.

        Raises:
            BadInput: The replay was of a model of another shape.
        """
        if self.heads == "even":
            return None
        worth = torch.stack(self.worth)  # (L, G, S)
        if worth.shape[:2] != (shape.layers, shape.kv_heads):
            raise BadInput(
                f"a replay of {worth.shape[0]} layers of {worth.shape[1]} heads does not fit a model of {shape.layers}"
                f" of {shape.kv_heads}"
            )
        size = worth.shape[-1]
        if budget_entries >= size:
            return None
        first = min(self.sinks, budget_entries)
        rest = worth[:, :, first:].reshape(-1)
        best = torch.topk(rest, (budget_entries - first) * shape.layers * shape.kv_heads).indices
        counts = torch.bincount(best // (size - first), minlength=shape.layers * shape.kv_heads) + first
        found: list[list[int]] = counts.reshape(shape.layers, shape.kv_heads).tolist()
        return found

    def score(self, view: CacheView) -> Tensor:
        """Return the attention that each entry got in the replay, (B, G, S), infinite for the sinks.

        Raises:
            BadInput: The view has a token that came after the replay, or not all heads of the layer.
        """
        worth = self.worth[view.layer]
        if view.origins.shape[0] != worth.shape[0] or int(view.origins.max()) >= worth.shape[1]:
            raise BadInput(f"layer {view.layer} holds entries that the replay of {worth.shape[1]} tokens did not see")
        scores = worth.gather(1, view.origins).masked_fill(view.origins < self.sinks, torch.inf)
        return scores.expand(view.keys.shape[:3])


@dataclass(frozen=True, slots=True)
class KVzip:
    """Let the model read its context a second time and keep the entries that the second reading looks at.

    For a context that is compressed once and asked many questions that nobody knows yet: what is needed to repeat the
    text is needed to answer from it. The text is appended to its own cache, piece by piece, and taken off again::

        A = softmax(Q_replay [K; K_replay]^T / √D),  worth_j = max over replayed tokens t and query heads of w_t A_tj

    With ``weigh="none"`` every w_t is 1. With "surprisal" w_t is the surprisal of token t + 1 when it was read first:
    what a query looks at counts as much as memory alone could tell it, because words that follow from their
    neighbours are repeated without looking back. The best entries are chosen over all layers and heads at once, so
    heads that copy keep much and others little; their bytes are freed, not hidden.

    Args:
        heads: "shared" or "even"; see `Replayed`.
        sinks: First tokens, which stay in every head, >= 1.
        weigh: How much the queries of the replay count.
        chunk: Tokens replayed at once, >= 1.
        says_why: Whether the replay follows the words "Repeat the previous context exactly."; they need a tokenizer.

    Cost: a second prefill, O(H chunk S) memory for the rows of one layer.
    Source: Kim et al. 2025, arXiv 2505.23416.
    Deviates: the softmax runs over all that was read (released: sinks, the piece that is repeated, and its replay);
        no chat template around the request. The weights by surprisal are ours.
    """

    heads: Literal["shared", "even"] = "shared"
    sinks: int = 4  # kvpress
    weigh: Weigh = "none"  # paper
    chunk: int = 2048  # kvpress
    says_why: bool = True

    def __post_init__(self) -> None:
        if self.heads not in ("shared", "even"):
            raise BadInput(f"heads must be 'shared' or 'even', got {self.heads!r}")
        if self.weigh not in ("none", "surprisal"):
            raise BadInput(f"weigh must be 'none' or 'surprisal', got {self.weigh!r}")
        if self.sinks < 1 or self.chunk < 1:
            raise BadInput(f"sinks and chunk must be >= 1, got {self.sinks!r} and {self.chunk!r}")

    def look(self, backbone: Backbone, cache: StateCache) -> Replayed:
        """Return what each entry of a cache is worth; the cache is as it was afterwards.

        Args:
            backbone: What filled the cache.
            cache: Of one text, not cut yet.

        Raises:
            BadInput: The cache is empty, was cut, or does not know its tokens, or their surprisal when that is asked
                for; or the replay goes beyond the positions of the model.
        """
        read = cache.read
        if not read or any(length != read for layer in cache.layers for length in layer.lengths()):
            raise BadInput("only a cache that holds all it has read can be replayed", hint="replay before any cut")
        known = cache.tokens.lookup(torch.arange(read, device=backbone.device))
        if bool((known.ids < 0).any()):
            raise BadInput("the cache does not know all of its tokens, so they cannot be replayed")
        text: list[int] = known.ids.tolist()
        weights = self._weights(known.surprisal)
        facts, logits, position = cache.tokens.clone(), cache.logits, cache.next_position
        worth = [torch.zeros(backbone.n_kv_heads, read, device=backbone.device) for _ in range(backbone.n_layers)]
        try:
            for start in range(0, read, self.chunk):
                lead = self._lead(backbone, text, start)
                voters = _Voters(worth, weights[start : start + self.chunk], scaling_of(backbone))
                part = [*lead, *text[start : start + self.chunk]]
                backbone.forward(part, cache, logits="none", after_layer=voters.vote)
                cache.crop(read)
        finally:
            cache.tokens, cache.logits, cache.next_position = facts, logits, position
        return Replayed(tuple(worth), self.heads, self.sinks, self.weigh)

    def compress(
        self,
        backbone: Backbone,
        cache: StateCache,
        *,
        entries: int | None = None,
        budget: Budget | None = None,
        ratio: float | None = None,
    ) -> Cut:
        """Replay a cache and cut it; arguments and errors are those of `look` and of `state.compress`."""
        return compress(backbone, cache, self.look(backbone, cache), entries=entries, budget=budget, ratio=ratio)

    def _weights(self, surprisal: Tensor) -> Tensor:
        """Return how much the query of each token counts, (S,)."""
        if self.weigh == "none":
            return torch.ones_like(surprisal, dtype=torch.float32)
        if bool(surprisal[1:].isnan().any()):
            raise BadInput("the cache was read without noting surprisal", hint="prefill with surprisal=True")
        return torch.cat((surprisal[1:], surprisal.new_zeros(1))).to(torch.float32)  # the last one foretells nothing

    def _lead(self, backbone: Backbone, text: Sequence[int], start: int) -> list[int]:
        if not self.says_why:
            return []
        if start == 0:
            return backbone.encode(_LEAD)
        return [*backbone.encode(_AGAIN), *text[max(0, start - _OVERLAP) : start]]


@dataclass(frozen=True, slots=True)
class _Voters:
    """Notes the highest attention to each token of the text; `worth` of each layer, (G, S), grows.

    Only the last queries vote, one for each of `weights`.
    """

    worth: list[Tensor]
    weights: Tensor
    scaling: float

    def vote(self, layer: int, entries: CacheLayer, queries: Tensor) -> None:
        group, worth = entries.uniform(), self.worth[layer]
        rows = attention_rows(
            queries[:, :, -len(self.weights) :],
            group.keys,
            origins=group.origins,
            read=int(group.origins[0, -1]) + 1,
            scaling=self.scaling,
        )  # (1, H, q, S + new)
        rows = rows[0, :, :, : worth.shape[1]] * self.weights[:, None]
        by_kv = rows.reshape(worth.shape[0], -1, worth.shape[1])
        torch.maximum(worth, by_kv.amax(dim=1), out=worth)
