"""A tiny random model with a tokenizer and a chat template, for the tests of this room."""

from __future__ import annotations

from datetime import UTC, datetime

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pinyon.core.cube import Cube, seal_hash
from pinyon.core.header import Header, Life
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.models.backbone import Backbone

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
_NOW = datetime(2024, 1, 1, tzinfo=UTC)


def tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes that joins a few pairs, so that borders matter."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, "Ġt", "he", "Ċ" + "Ċ", "an", "Ġa"]
    vocabulary = {word: number for number, word in enumerate(words)}
    merges = [("Ġ", "t"), ("h", "e"), ("Ċ", "Ċ"), ("a", "n"), ("Ġ", "a")]
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    from tokenizers import decoders

    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return made


def network(seed: int = 0, *, dtype: torch.dtype = torch.float32, limit: int = 4096) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=limit, initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype).eval()


def backbone(seed: int = 0, template: str | None = TEMPLATE, *, limit: int = 4096) -> Backbone:
    return Backbone(network(seed, limit=limit), tokenizer(template), f"tiny-{seed}")


def cube(text: str, number: int = 1, *, version: int = 1, at: datetime | None = None) -> Cube:
    header = Header(life=Life(valid_from=at))
    payload = Text(text)
    return Cube(
        f"{number:032x}", number, version, "main", Scope(), payload, header, _NOW, _NOW, seal_hash(payload, header, "")
    )


TEXTS = (
    "Ann keeps bees behind the old mill.",
    "The spare key hangs behind the blue door.",
    "Tom is allergic to peanuts and to nothing else.",
    "The boat leaves at nine in winter.",
)


def cubes(count: int = 3) -> list[Cube]:
    return [cube(TEXTS[number % len(TEXTS)] + f" ({number})", number + 1) for number in range(count)]
