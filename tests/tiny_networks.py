"""Tiny networks with random weights of each family, and the slow attention that cut caches must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import Tensor

from pinyon.models.backbone import Backbone

VOCABULARY = 200
LAYERS, HEADS, KV_HEADS, WIDTH = 3, 4, 2, 16

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "initializer_range": 0.3,
}  # fmt: skip
_WIDE = {**_COMMON, "head_dim": WIDTH}
_ALTERNATING = {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _WIDE),
    "llama-linear": ("Llama", {**_WIDE, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    "llama-llama3": (
        "Llama",
        {
            **_WIDE,
            "rope_parameters": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64, "rope_theta": 1e4,
            },
        },
    ),
    "llama-yarn": (
        "Llama",
        {
            **_WIDE,
            "rope_parameters": {
                "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e4,
            },
        },
    ),
    "qwen2": ("Qwen2", {**_COMMON, "hidden_size": HEADS * WIDTH}),
    "qwen3": ("Qwen3", _WIDE),
    "mistral": ("Mistral", {**_WIDE, "sliding_window": 9}),
    "phi3": (
        "Phi3",
        {
            **_COMMON,
            "hidden_size": HEADS * WIDTH,
            "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 1e4},
        },
    ),
    "gemma": ("Gemma", _WIDE),
    "gemma2": (
        "Gemma2",
        {**_WIDE, **_ALTERNATING, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 5.0,
         "final_logit_softcapping": 8.0},
    ),
    "gemma3": ("Gemma3", {**_WIDE, **_ALTERNATING, "query_pre_attn_scalar": 24}),
}  # fmt: skip
FAMILIES = tuple(_FAMILIES)


def network_of(family: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """Return a network of a family; its own attention is the slow one, which knows windows and soft-capping."""
    kind, options = _FAMILIES[family]
    name = f"{kind}TextConfig" if kind == "Gemma3" else f"{kind}Config"
    config = getattr(transformers, name)(**{**options, **changes})
    config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = getattr(transformers, f"{kind}ForCausalLM")(config)
    return network.to(dtype).eval()


def backbone_of(
    family: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any
) -> Backbone:
    """Return a backbone of a family, without a tokenizer."""
    return Backbone(network_of(family, seed=seed, dtype=dtype, **changes), None, f"tiny-{family}")


def some_ids(count: int, seed: int = 1) -> list[int]:
    """Return token ids that are no special ones."""
    return torch.randint(3, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def random_cuts(length: int, *, seed: int = 2, least: int = 1, layers: int = LAYERS) -> list[list[Tensor]]:
    """Return for each layer and key/value head a set of entries to keep, of unequal sizes, in random order."""
    random = torch.Generator().manual_seed(seed)
    sizes = torch.randint(least, length, (layers, KV_HEADS), generator=random)
    return [[torch.randperm(length, generator=random)[:size] for size in row] for row in sizes.tolist()]


Cuts = Sequence[Sequence[Tensor]]
"""For each layer and key/value head the origins of the entries that stay."""


def logits_with_hidden_keys(network: Any, ids: Sequence[int], *stages: tuple[int, Cuts]) -> Tensor:
    """Return logits (q, V) of the tokens after the last cut.

    The network's own eager attention over all tokens, each layer with its own mask for each head: tokens see each other
    causally and within the window, and those read after a cut do not see the keys that it dropped.

    Args:
        network: A network of this file.
        ids: All tokens.
        stages: Each cut as the number of tokens that were read before it, and what it kept of them.
    """
    count, last = len(ids), stages[-1][0]
    masks = []
    for attention in _attentions(network):
        visible = torch.ones(count, count).tril().bool().repeat(HEADS, 1, 1)  # (H, T, T)
        window = _window_of(network, attention)
        if window is not None:
            visible &= torch.ones(count, count).triu(1 - window).bool()
        for head in range(HEADS):
            for given, cuts in stages:
                kept = torch.zeros(given, dtype=torch.bool)
                kept[cuts[attention.layer_idx][head // (HEADS // KV_HEADS)]] = True
                visible[head, given:, :given] &= kept
        masks.append(torch.zeros(visible.shape, dtype=network.dtype).masked_fill(~visible, -torch.inf)[None])
    hooks = [
        attention.register_forward_pre_hook(
            lambda _, args, kwargs, mask=mask: (args, {**kwargs, "attention_mask": mask}), with_kwargs=True
        )
        for attention, mask in zip(_attentions(network), masks, strict=True)
    ]
    try:
        with torch.no_grad():
            logits: Tensor = network(torch.tensor([list(ids)]), use_cache=False).logits[0, last:]
            return logits
    finally:
        for hook in hooks:
            hook.remove()


def _attentions(network: Any) -> list[Any]:
    return [layer.self_attn for layer in network.model.layers]


def _window_of(network: Any, attention: Any) -> int | None:
    kinds = getattr(network.config, "layer_types", None)
    if kinds is not None and kinds[attention.layer_idx] == "full_attention":
        return None
    window: int | None = getattr(network.config, "sliding_window", None)
    return window
