"""What a `Backbone` needs to find in a network, and small steps that it takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import BadInput
from ._attention import by_layer
from .rope import Rope

if TYPE_CHECKING:
    from .backbone import Backbone
    from .cache import StateCache
    from .taps import Taps

__all__ = ["Heads", "as_heads", "as_ids", "as_positions", "attached", "foretold", "parts", "rope_of", "surprise"]

Heads = Collection[tuple[int, int]]
"""Pairs of layer and query head."""

_ROWS = 32  # of logits at once: what fits the processor's cache is summed four times as fast


def attached(taps: Taps | None, layers: dict[int, Any], attentions: dict[int, Any]) -> AbstractContextManager[None]:
    """Return the context in which taps hang on a network."""
    return nullcontext() if taps is None else taps.attached(layers, attentions)


def parts(network: Any) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the attention blocks of a network and the layers around them, by number."""
    attentions = {
        name: part for name, part in network.named_modules() if hasattr(part, "layer_idx") and hasattr(part, "o_proj")
    }
    if sorted(part.layer_idx for part in attentions.values()) != [*range(len(attentions))] or not attentions:
        raise BadInput(
            f"{type(network).__name__} is no network whose layers all attend in one way",
            hint="families that work: Llama, Qwen2, Qwen3, Mistral, Phi-3, Gemma, Gemma 2 and Gemma 3 (text)",
        )
    around = {part.layer_idx: network.get_submodule(name.rpartition(".")[0]) for name, part in attentions.items()}
    return {part.layer_idx: part for part in attentions.values()}, around


def rope_of(network: Any) -> Rope | None:
    """Return how a network rotates keys; None where they cannot be moved."""
    try:
        return Rope.of(network)
    except BadInput:  # such a model reads and writes all the same; only `reposition` refuses
        return None


def foretold(cache: StateCache) -> Tensor:
    """Return what the model foretells after what a cache has read, (V,)."""
    if cache.logits is None:
        raise BadInput("nothing is foretold before a token was read", hint="give at least one token id")
    return cache.logits


def surprise(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how surprising tokens were to what foretold them, in nats, (n,).

    Args:
        logits: (n, V).
        targets: int64 (n,).
    """
    sums = [logits[start : start + _ROWS].logsumexp(dim=-1) for start in range(0, len(logits), _ROWS)]
    rest = logits.gather(1, targets[:, None])[:, 0]
    return torch.cat(sums) - rest if sums else rest


def as_ids(backbone: Backbone, ids: Sequence[int] | Tensor) -> Tensor:
    """Return token ids of a backbone as rows, int64 (B, q)."""
    try:
        rows = torch.as_tensor(ids, device=backbone.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(f"token ids are whole numbers of one row or equal rows: {error}") from error
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.numel() == 0:
        raise BadInput(f"at least one token is needed, got ids of shape {tuple(rows.shape)}")
    if rows.is_floating_point():
        raise BadInput(f"token ids are whole numbers, got {rows.dtype!r}")
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= backbone.vocabulary:
        wrong = low if low < 0 else high
        raise BadInput(
            f"token id {wrong} is not in the vocabulary of {backbone.name!r}, 0 to {backbone.vocabulary - 1}"
        )
    return rows.to(torch.int64)


def as_positions(backbone: Backbone, given: Sequence[int] | Tensor | None, cache: StateCache, count: int) -> Tensor:
    """Return where the next tokens stand, int64 (q,); None continues at the cache's next position."""
    if given is None:
        places = torch.arange(cache.next_position, cache.next_position + count, device=backbone.device)
    else:
        places = torch.as_tensor(given, device=backbone.device).to(torch.int64)
        if places.shape != (count,):
            raise BadInput(f"{count} tokens need as many positions, got shape {tuple(places.shape)}")
        if int(places[0]) < 0 or bool((places.diff() <= 0).any()):
            raise BadInput(f"positions must be >= 0 and increase, got {places.tolist()[:8]!r}")
    if backbone.limit is not None and int(places[-1]) >= backbone.limit:
        raise BadInput(
            f"position {int(places[-1])} lies beyond the {backbone.limit} positions of {backbone.name!r}",
            hint="cut the cache and call its reposition(), or read less",
        )
    return places


def as_heads(backbone: Backbone, heads: Heads) -> dict[int, list[int]]:
    """Return pairs of layer and head as lists of heads, all of which the backbone has."""
    for layer, head in heads:
        if not (0 <= layer < backbone.n_layers and 0 <= head < backbone.n_heads):
            shape = f"{backbone.n_layers} layers of {backbone.n_heads} heads"
            raise BadInput(f"there is no head ({layer}, {head}) in {backbone.name!r}, which has {shape}")
    return by_layer(heads)
