"""Small networks trained on the order of segments: they show whether the measure tells kinds of memory apart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import BadInput
from ..extras import require
from .stats import Interval, wilson

__all__ = ["Recalled", "SyntheticSort", "Trained", "train_order"]

Attention = Literal["softmax", "linear"]
_EVALUATED = 4096  # queries a length
_CODES = 16  # numbers that say where an item stands
_LEAST_SQUARE = 1e-3  # added to the mean square of what is read, so that nothing stays nothing


@dataclass(frozen=True, slots=True)
class SyntheticSort:
    """Random sequences and small transformers that are asked for the order of two of their segments.

    Args:
        lengths: Items of a sequence, each >= 4 segments.
        segment: Items of a segment.
        vocabulary: Different items.
        width: D of the network.
        layers: Of the network.
        heads: Attention heads a layer.
        batch: Sequences a step.
        queries: Trials a sequence, asked independently of each other.
        steps: Of training; two thirds see the shortest sequences alone.
        rate: Highest step size, reached after a tenth of the steps.
        seed: Of weights and data.
    """

    lengths: tuple[int, ...] = (64, 128, 256)
    segment: int = 4
    vocabulary: int = 1024
    width: int = 64
    layers: int = 2
    heads: int = 2
    batch: int = 16
    queries: int = 16
    steps: int = 600
    rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 4 * self.segment or self.segment < 1:
            raise BadInput(f"segments of {self.segment} items do not fit into sequences of {self.lengths}")
        if self.width % (2 * self.heads) or min(self.layers, self.batch, self.queries, self.steps) < 1:
            raise BadInput(f"a network of these sizes is not possible: {self}")


@dataclass(frozen=True, slots=True)
class Recalled:
    """How often a network knew the order.

    Args:
        length: Items of the sequences.
        with_text: Whether it could see them.
        accuracy: With its Wilson interval.
    """

    length: int
    with_text: bool
    accuracy: Interval


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network and what it recalls.

    Args:
        attention: ``softmax`` keeps every item; ``linear`` keeps a state of fixed size, which is recurrent memory.
        recalled: One a length with the sequence, and one a length without it.
        seconds: Of training, as processor time: other work on the machine does not count.
    """

    attention: Attention
    recalled: tuple[Recalled, ...]
    seconds: float

    def accuracy(self, length: int, *, with_text: bool = True) -> Interval:
        """Return one of the figures.

        Raises:
            KeyError: It was not measured.
        """
        for one in self.recalled:
            if (one.length, one.with_text) == (length, with_text):
                return one.accuracy
        raise KeyError(f"length {length}, with text {with_text}")


def train_order(
    plan: SyntheticSort, attention: Attention, *, progress: Callable[[int], object] | None = None
) -> Trained:
    """Train a network to say which of two segments came first, and test it on sequences that it never saw.

    Args:
        plan: Sizes.
        attention: Which kind of memory it reads.
        progress: Told 1 after each step.

    Raises:
        MissingExtra: torch is not installed.

    Cost: about a minute on an idle core with the defaults.
    Source: the fourth item of what works means on a small machine, in the project's page on SORT. Linear attention:
    Katharopoulos et al. 2020, arXiv 2006.16236.
    Deviates: sixteen independent queries a sequence instead of one, so that a step teaches more; queries and keys of
        the first layer begin equal. A query reads the sequence and itself apart, the latter by softmax in both
        networks: they differ in what they keep of the sequence and in nothing else. Linear attention has keys and
        queries of length 1, because features above zero have too much in common with one another, and what is read is
        scaled instead of divided by the sum of weights, because the share of one item in it is small.
    """
    torch = require("torch", "train a network on the order of segments")
    generator = torch.Generator().manual_seed(plan.seed)
    weights = _weights(torch, plan, generator)
    parameters = list(weights.values())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0)
    start = time.process_time()
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * _warmth(step, plan.steps)
        tried = plan.lengths[:1] if 3 * step < 2 * plan.steps else plan.lengths
        length = tried[step % len(tried)]
        items, asked, answers = _batch(torch, plan, length, plan.batch, generator)
        said = _said(torch, plan, weights, items, asked, attention, with_text=True)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(said, answers)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if progress is not None:
            progress(1)
    seconds = time.process_time() - start
    return Trained(attention, tuple(_recalled(torch, plan, weights, attention)), seconds)


def _recalled(torch: Any, plan: SyntheticSort, weights: dict[str, Any], attention: Attention) -> Sequence[Recalled]:
    out = []
    with torch.no_grad():
        for with_text in (True, False):
            for length in plan.lengths:
                generator = torch.Generator().manual_seed(plan.seed + 1_000_003 * length)
                right = asked_so_far = 0
                while asked_so_far < _EVALUATED:
                    items, asked, answers = _batch(torch, plan, length, plan.batch, generator)
                    said = _said(torch, plan, weights, items, asked, attention, with_text=with_text)
                    right += int(((said > 0) == (answers > 0.5)).sum())
                    asked_so_far += answers.numel()
                out.append(Recalled(length, with_text, wilson(right, asked_so_far)))
    return out


def _batch(torch: Any, plan: SyntheticSort, length: int, batch: int, generator: Any) -> tuple[Any, Any, Any]:
    """Return sequences (B, S), queries (B, Q, 2 x segment) and answers (B, Q): 1 where the first segment is earlier."""
    items = torch.randint(plan.vocabulary, (batch, length), generator=generator)
    last = length - 2 * plan.segment  # the pair (i, j) with j - i >= segment, uniform over pairs
    pair = torch.rand(2, batch, plan.queries, generator=generator)
    one = ((last + 1) * pair[0]).long()
    two = ((last + 1) * pair[1]).long()
    early, late = torch.minimum(one, two), torch.maximum(one, two) + plan.segment
    first = torch.rand(batch, plan.queries, generator=generator) < 0.5
    spread = torch.arange(plan.segment)
    a = torch.where(first, early, late)[..., None] + spread
    b = torch.where(first, late, early)[..., None] + spread
    places = torch.cat([a, b], dim=-1)  # (B, Q, 2 x segment)
    asked = items.gather(1, places.flatten(1)).view_as(places)
    return items, asked, first.float()


def _weights(torch: Any, plan: SyntheticSort, generator: Any) -> dict[str, Any]:
    d = plan.width

    def drawn(*shape: int, scale: float) -> Any:
        return scale * torch.randn(*shape, generator=generator)

    out = {
        "items": drawn(plan.vocabulary + 1, d, scale=1.0),
        "slots": drawn(2 * plan.segment + 1, d, scale=0.4),
        "places": drawn(_CODES, d, scale=0.2),
        "answer": drawn(d, scale=d**-0.5),
    }
    for layer in range(plan.layers):
        out[f"v{layer}"] = drawn(d, d, scale=d**-0.5)
        out[f"o{layer}"] = drawn(2 * d, d, scale=d**-0.5)
        out[f"q{layer}"] = drawn(d, d, scale=(0.5 if layer else 1.5) * d**-0.5)
        # at first an item looks for its like, and then at everything alike: saves the slow beginning
        out[f"k{layer}"] = drawn(d, d, scale=0.5 * d**-0.5) if layer else out[f"q{layer}"].clone()
        out[f"up{layer}"] = drawn(d, 4 * d, scale=d**-0.5)
        out[f"down{layer}"] = drawn(4 * d, d, scale=(4 * d) ** -0.5)
    return out


def _codes(torch: Any, length: int) -> Any:
    """Return codes (S, 16) of places within a sequence: a ramp and waves over its length, whatever that is."""
    place = torch.arange(length)[:, None] / length
    waves = torch.arange(1, 8) * math.pi * place
    return torch.cat([2 * place - 1, (2 * place - 1) ** 2, waves.sin(), waves.cos()], dim=-1)


def _said(
    torch: Any, plan: SyntheticSort, weights: dict[str, Any], items: Any, asked: Any,
    attention: Attention, *, with_text: bool,
) -> Any:  # fmt: skip
    """Return logits (B, Q) that the first segment of each query came first."""
    batch, length = items.shape
    slots = 2 * plan.segment + 1
    marks = torch.full((*asked.shape[:2], 1), plan.vocabulary, dtype=asked.dtype)
    queries = torch.cat([asked, marks], dim=-1)  # (B, Q, slots)
    told = weights["items"][items] + _codes(torch, length) @ weights["places"]  # (B, S, D)
    questions = weights["items"][queries] + weights["slots"]  # (B, Q, slots, D)
    x = torch.cat([told, questions.flatten(1, 2)], dim=1)  # (B, S + Q x slots, D)
    seen = _seen(torch, length, plan.queries, slots, with_text=with_text)
    for layer in range(plan.layers):
        x = x + _attended(torch, plan, weights, layer, _normed(torch, x), seen, attention)
        x = x + torch.nn.functional.gelu(_normed(torch, x) @ weights[f"up{layer}"]) @ weights[f"down{layer}"]
    last = _normed(torch, x)[:, length:].view(batch, plan.queries, slots, plan.width)[:, :, -1]
    return last @ weights["answer"]


def _attended(
    torch: Any, plan: SyntheticSort, weights: dict[str, Any], layer: int, x: Any, seen: Any, attention: Attention
) -> Any:
    batch, total, width = x.shape

    def heads(name: str) -> Any:
        return (x @ weights[f"{name}{layer}"]).view(batch, total, plan.heads, -1).transpose(1, 2)

    q, k, v = heads("q"), heads("k"), heads("v")  # (B, H, T, K)
    length = total - plan.queries * (2 * plan.segment + 1)
    visible = seen[:, :length]
    read = _found if attention == "softmax" else _read
    told = read(torch, q, k[:, :, :length], v[:, :, :length], visible)
    own = torch.nn.functional.scaled_dot_product_attention(
        *(each[:, :, length:] for each in (q, k, v)), attn_mask=seen[length:, length:]
    )
    own = torch.nn.functional.pad(own, (0, 0, length, 0))  # an item of the sequence has its past alone
    out = torch.cat([own, told], dim=-1).transpose(1, 2)  # (B, T, H, 2K)
    return out.reshape(batch, total, 2 * width) @ weights[f"o{layer}"]


def _found(torch: Any, q: Any, k: Any, v: Any, seen: Any) -> Any:
    """Return what softmax attention over the items that are seen answers to queries, nothing where none is seen."""
    found = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return found.where(seen.any(dim=-1, keepdim=True), 0.0)


def _read(torch: Any, q: Any, k: Any, v: Any, seen: Any) -> Any:
    """Return what states of K x K numbers, to each of which the items that are seen were added, answer to queries.

    With s the state, and k and q of length 1: s = sum of k vᵀ over the items, read = q s, scaled to a mean square of 1.
    """
    k, q = (torch.nn.functional.normalize(each, dim=-1) for each in (k, q))
    read = (q @ k.transpose(-1, -2) * seen) @ v
    return torch.nn.functional.rms_norm(read, read.shape[-1:], eps=_LEAST_SQUARE)


def _seen(torch: Any, length: int, queries: int, slots: int, *, with_text: bool) -> Any:
    """Return what sees what, (T, T): the sequence its past, a query the sequence and its own past."""
    total = length + queries * slots
    past = torch.ones(total, total, dtype=torch.bool).tril()
    place = torch.arange(total) - length
    owner = torch.where(place < 0, -1, place // slots)
    same = owner[:, None] == owner[None]
    text = (owner[None] == -1) & with_text
    return past & (same | text)


def _normed(torch: Any, x: Any) -> Any:
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


def _warmth(step: int, steps: int) -> float:
    """Return the share of the highest step size: it rises over a tenth of the steps and falls over the last third."""
    return min(1.0, (step + 1) / max(1, steps // 10), 3 * (steps - step) / steps)
