"""Several states as one: read again, moved to their places, or moved and mended at their borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ..errors import BadInput
from ..models.cache import StateCache
from .prefix import divergence

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["MOST_DIVERGENCE", "FuseMode", "Fused", "fuse", "fuse_gated", "gap", "recompute", "repair", "reposition"]

FuseMode = Literal["recompute", "reposition", "repair"]
"""Read everything again (exact); turn the keys of later parts to their places; do that and read the first tokens of
each later part again (both approximate)."""

MOST_DIVERGENCE = 0.1
"""Nats by which what follows a probe may differ on average, as this project's page on MemOS asks, section 2b."""

REPAIRED = 16  # the same page; tokens of each later part that are read again


@dataclass(frozen=True, slots=True)
class Fused:
    """Several states as one.

    Args:
        cache: What was made of them; they are as they were.
        mode: How it was made in the end.
        divergence: Mean KL in nats to the exact one on the probes; 0 where it is the exact one.
        is_approximate: Whether anything differs from what the model would compute.
    """

    cache: StateCache
    mode: FuseMode
    divergence: float
    is_approximate: bool


def fuse(
    backbone: Backbone, parts: Sequence[StateCache], mode: FuseMode = "repair", *, repaired: int = REPAIRED
) -> StateCache:
    """Return a cache that has read several parts after each other.

    Args:
        backbone: The model of all of them.
        parts: Uncut caches, each read from position 0; none is changed.
        mode: How.
        repaired: Tokens of each later part that ``repair`` reads again, >= 0.

    Raises:
        BadInput: There is no part, one was cut or begins elsewhere, or the mode is not known.
    """
    match mode:
        case "recompute":
            return recompute(backbone, parts)
        case "reposition":
            return reposition(parts)
        case "repair":
            return repair(backbone, parts, repaired)
    raise BadInput(f"states cannot be fused by {mode!r}", hint="use recompute, reposition or repair")


def recompute(backbone: Backbone, parts: Sequence[StateCache]) -> StateCache:
    """Read the tokens of all parts again, as one text: exact, and as slow as reading them."""
    cache = backbone.cache()
    backbone.prefill([id for part in whole_parts(parts) for id in ids_of(part)], cache)
    return cache


def reposition(parts: Sequence[StateCache]) -> StateCache:
    """Turn the keys of each later part by the tokens before it, and put the parts after each other.

    With K at position p and offset s, K' = R(s) K; V stays. That is the part as it would be alone at its offset: what
    is missing is that its tokens have not seen the parts before.

    Cost: one rotation of the keys; no forward pass.
    Source: Li et al. 2025, MemOS, arXiv 2507.03724, which merges caches and says nothing of positions.
    Deviates: the released code joins caches with their positions repeated, which is `naive` here.
    """
    moved: list[StateCache] = []
    place = 0
    for part in whole_parts(parts):
        moved.append(_moved(part, place))
        place += part.read
    return StateCache.concatenate(moved)


def repair(backbone: Backbone, parts: Sequence[StateCache], repaired: int = REPAIRED) -> StateCache:
    """Put the parts after each other like `reposition`, reading the first tokens of each later one again.

    Those tokens see everything before them, and carry most of what a token sees of its own part's beginning. With as
    many as a part has this is exact.

    Args:
        backbone: The model.
        parts: Uncut caches, each read from position 0.
        repaired: Tokens r of each later part that are read again, >= 0.

    Cost: a forward pass over r tokens for each later part.
    """
    if repaired < 0:
        raise BadInput(f"repaired must be >= 0, got {repaired!r}")
    first, *later = whole_parts(parts)
    whole = first.clone()
    for part in later:
        count = min(repaired, part.read)
        if count:
            backbone.prefill(ids_of(part)[:count], whole)
        if count < part.read:
            tail = part.clone()
            tail.keep_everywhere(torch.arange(count, part.read, device=tail.tokens.ids.device))
            offset = whole.read - count
            tail.reposition(offset + count)
            whole = StateCache.concatenate([whole, tail], [0, offset])
    whole.logits = None
    return whole


def naive(parts: Sequence[StateCache]) -> StateCache:
    """Put the parts after each other as they are, so that positions repeat: what fusing must be better than."""
    whole = StateCache.concatenate(whole_parts(parts))
    whole.next_position = whole.read
    return whole


def gap(backbone: Backbone, cache: StateCache, exact: StateCache, probes: Sequence[Sequence[int]]) -> float:
    """Return the mean KL in nats of the token after each probe, from the exact cache to another; both stay as they are.

    Raises:
        BadInput: There is no probe.
    """
    if not probes:
        raise BadInput("without a probe nothing says how far two states are apart")
    apart = [divergence(backbone.prefill(p, exact.clone()), backbone.prefill(p, cache.clone())) for p in probes]
    return sum(apart) / len(apart)


def fuse_gated(
    backbone: Backbone,
    parts: Sequence[StateCache],
    probes: Sequence[Sequence[int]],
    mode: FuseMode = "repair",
    *,
    repaired: int = REPAIRED,
    most: float = MOST_DIVERGENCE,
) -> Fused:
    """Fuse, compare with reading everything again, and take that instead where the difference is too large.

    Args:
        backbone: The model.
        parts: As for `fuse`.
        probes: Tokens of short questions.
        mode: As for `fuse`.
        repaired: As for `fuse`.
        most: Nats by which the answers may differ on average.
    """
    exact = recompute(backbone, parts)
    if mode == "recompute":
        return Fused(exact, "recompute", 0.0, is_approximate=False)
    made = fuse(backbone, parts, mode, repaired=repaired)
    apart = gap(backbone, made, exact, probes)
    if apart > most:
        return Fused(exact, "recompute", 0.0, is_approximate=False)
    return Fused(made, mode, apart, is_approximate=True)


def ids_of(part: StateCache) -> list[int]:
    """Return the tokens that a cache has read."""
    found: list[int] = part.tokens.ids.tolist()
    return found


def _moved(part: StateCache, place: int) -> StateCache:
    moved = part.clone()
    moved.logits = None
    if place:
        moved.reposition(place)
    return moved


def whole_parts(parts: Sequence[StateCache]) -> Sequence[StateCache]:
    """Return the parts, each of which has read some tokens from position 0 and still holds them all."""
    if not parts:
        raise BadInput("no states were given to fuse")
    for part in parts:
        whole = torch.arange(part.read)
        groups = [group for layer in part.layers for group in layer.groups]
        is_whole = part.read and len(part.tokens) == part.read and part.next_position == part.read and len(groups)
        if not is_whole or any(
            group.length != part.read or not bool((group.positions.cpu() == whole).all()) for group in groups
        ):
            raise BadInput("only states that hold everything they have read from position 0 can be fused")
    return parts
