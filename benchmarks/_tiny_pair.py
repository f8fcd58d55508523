"""A draft of two layers and a target of four, trained on the same stream of key-value recall in minutes on one core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from pinyon.models.backbone import Backbone

__all__ = ["Recall", "TinyPair", "prompts", "right", "train_pair"]

KEYS = 24
VALUES = 24
NOISE = 40
ASK = KEYS + VALUES + NOISE  # the token after which a key is asked for
_VOCABULARY = ASK + 1
_ASKED = 12  # keys asked after each text in training: each gives a loss
_BATCH = 64
_LEVELS = ((8, 4), (16, 6), (32, 8), (64, 10), (94, 12))  # tokens and pairs of the texts
_LEARNED = 0.2  # nats
_WARM = 100  # steps until the full rate
_PATIENCE = 600  # steps for the shortest texts; from some beginnings recall is not found in thousands of them


@dataclass(frozen=True, slots=True)
class Recall:
    """A prompt that ends with a key, and the value that was told for it."""

    ids: tuple[int, ...]
    value: int


@dataclass(frozen=True, slots=True)
class TinyPair:
    """Two models of one vocabulary.

    Args:
        draft: Two layers.
        target: Four layers, width 128.
        losses: Last loss of each.
    """

    draft: Backbone
    target: Backbone
    losses: tuple[float, float]

    @property
    def has_learned(self) -> bool:
        """Whether both know the texts that they were trained on."""
        return max(self.losses) < _LEARNED


def train_pair(*, steps: int = 3000, seed: int = 0, progress: Callable[[str], None] = lambda _: None) -> TinyPair:
    """Train both on the same stream.

    Args:
        steps: Most batches of 64 texts for each; training ends when the longest texts are known, or
            the shortest are not after 600 batches.
        seed: Of weights and texts.
        progress: Called with a line now and then.
    """
    draft, draft_loss = _trained(2, 128, steps, seed, progress)
    target, target_loss = _trained(4, 128, steps, seed + 1, progress)
    return TinyPair(Backbone(draft, None, "draft"), Backbone(target, None, "target"), (draft_loss, target_loss))


def prompts(count: int, *, size: int = 96, pairs: int = 12, seed: int = 1) -> list[Recall]:
    """Return prompts of `size` tokens: pairs of key and value among noise, then the token that asks and a key."""
    draw = torch.Generator().manual_seed(1000 + seed)
    body, told = _texts(count, size - 2, pairs, draw)
    asked = torch.randint(0, pairs, (count,), generator=draw)
    keys, values = (told[torch.arange(count), asked, part].tolist() for part in (0, 1))
    return [Recall((*row, ASK, key), value) for row, key, value in zip(body.tolist(), keys, values, strict=True)]


def right(backbone: Backbone, asked: Sequence[Recall], ids: Sequence[Sequence[int]]) -> list[float]:
    """Return 1 for each prompt after which the model foretells the value, else 0.

    Args:
        backbone: Reads.
        asked: The prompts.
        ids: What is read instead of each.
    """
    found = []
    for one, read in zip(asked, ids, strict=True):
        logits = backbone.forward(list(read))
        assert logits is not None
        found.append(float(int(logits.argmax()) == one.value))
    return found


def _texts(count: int, size: int, pairs: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return texts (N, size) and the keys and values told in them (N, pairs, 2)."""
    keys = torch.rand(count, KEYS, generator=draw).argsort(dim=1)[:, :pairs]
    values = KEYS + torch.randint(0, VALUES, (count, pairs), generator=draw)
    body = KEYS + VALUES + torch.randint(0, NOISE, (count, size), generator=draw)
    slots = torch.rand(count, size // 2, generator=draw).argsort(dim=1)[:, :pairs] * 2  # pairs never overlap
    rows = torch.arange(count)[:, None]
    body[rows, slots] = keys
    body[rows, slots + 1] = values
    return body, torch.stack((keys, values), dim=-1)


def _batch(count: int, size: int, pairs: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return texts with several questions and answers behind them, and the targets, -100 where none is."""
    body, told = _texts(count, size, pairs, draw)
    asked = torch.randint(0, pairs, (count, _ASKED), generator=draw)  # with repeats: none is told by elimination
    chosen = told.gather(1, asked[:, :, None].expand(-1, -1, 2))  # (N, asked, 2)
    ask = torch.full((count, chosen.shape[1], 1), ASK)
    ids = torch.cat((body, torch.cat((ask, chosen), dim=2).flatten(1)), dim=1)
    targets = torch.full_like(ids, -100)
    targets[:, size + 1 :: 3] = chosen[:, :, 1]  # after each asked key
    return ids, targets


def _trained(
    layers: int, width: int, steps: int, seed: int, progress: Callable[[str], None]
) -> tuple[LlamaForCausalLM, float]:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
    )
    network = LlamaForCausalLM(config)
    for layer in network.model.layers[2:]:  # deeper layers begin as the identity; else recall is not found in minutes
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    network.train()
    best = torch.optim.AdamW(network.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    warm = torch.optim.lr_scheduler.LambdaLR(best, lambda step: min(1.0, (step + 1) / _WARM))
    draw = torch.Generator().manual_seed(seed)
    known, level = 9.9, 0
    for step in range(steps):
        size, pairs = _LEVELS[level]
        ids, targets = _batch(_BATCH, size, pairs, draw)
        logits = network(input_ids=ids).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
        best.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        best.step()
        warm.step()
        known = 0.9 * known + 0.1 * loss.item()
        if known < _LEARNED and level + 1 < len(_LEVELS):  # longer texts once the short ones are known
            level, known = level + 1, 2.0
        elif known < _LEARNED / 4 or (level == 0 and step >= _PATIENCE):
            break
        if step % 50 == 0:
            progress(f"{layers} layers, step {step}: loss {known:.3f}, {size} tokens, {pairs} pairs")
    return network.eval(), known
