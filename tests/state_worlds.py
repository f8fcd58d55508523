"""Tiny random models, and a cache of each kind, for the tests of state memory."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pinyon.models.backbone import Backbone

TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<s>system\nYou help.<e>\n{% endif %}"
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}<e>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes, with two special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="<e>")
    made.chat_template = template
    return made


def tiny(*, layers: int = 3, seed: int = 0, words: Any = None, vocabulary: int = 200, limit: int = 4096) -> Backbone:
    """Return a random model of 4 query heads and 2 key/value heads of width 16."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary if words is None else len(words),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=limit,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.2,  # so that attention is not flat
    )
    return Backbone(LlamaForCausalLM(config), words, "tiny")


def numbers(count: int, *, seed: int = 1, vocabulary: int = 200) -> list[int]:
    """Return random token ids."""
    return torch.randint(0, vocabulary, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def view(size: int = 12, *, window: int = 0, heads: int = 2, seed: int = 0, room: int = 6, **changed: Any) -> Any:
    """Return what a policy sees of a layer with one sequence, four query heads and random numbers."""
    from pinyon.state.policy import CacheView

    draw = torch.Generator().manual_seed(seed)
    order = torch.arange(size).expand(heads, size)
    facts: dict[str, Any] = {
        "layer": 0,
        "keys": torch.randn(1, heads, size, 8, generator=draw),
        "values": torch.randn(1, heads, size, 8, generator=draw),
        "positions": order,
        "origins": order,
        "queries": torch.randn(1, 2 * heads, window, 8, generator=draw) if window else None,
        "token_ids": torch.randint(0, 9, (size,), generator=draw).expand(heads, size),
        "surprisal": torch.rand(size, generator=draw).expand(heads, size) * 5,
        "turns": (order // 4).contiguous(),
        "read": size,
        "scaling": 0.4,
        "room": room,
    }
    return CacheView(**{**facts, **changed})
