"""What a `Backbone` needs to find in a network, and small steps that it takes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .rope import Rope

if TYPE_CHECKING:
    from torch import Tensor

    from .cache import StateCache
    from .taps import Taps

__all__ = ["attached", "foretold", "parts", "rope_of"]


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
