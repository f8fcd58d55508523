"""Needle prompts put to a backbone: one with a look at every attention row, or many of one length at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import BadInput
from ..models.taps import AttentionRows, Taps
from .needle_prompts import NeedlePrompt, first_line, word_recall

if TYPE_CHECKING:
    from ..models._attention import MaskMode
    from ..models.backbone import Backbone
    from ..models.cache import StateCache

__all__ = ["Copied", "Hits", "PromptBatch", "by_length", "copied_by_heads", "looks", "next_token_loss"]

Hits = dict[tuple[int, int], float]
"""A share by layer and head; heads without any are left out."""

_LEAST_LOOK = 0.05  # of attention; less says nothing


@dataclass(frozen=True, slots=True)
class Copied:
    """What one trial showed.

    Args:
        answer: What the model wrote.
        recall: Share of the needle's words in it.
        hits: What each head copied.
        looks: How much each head looked at the needle's sentence while the question was read, at most.
    """

    answer: str
    recall: float
    hits: Hits
    looks: Hits


def copied_by_heads(backbone: Backbone, prompt: NeedlePrompt, *, max_tokens: int) -> Copied:
    """Let a model answer, and note which heads looked at the token they wrote, at the place where it stands.

    The text is read without attention rows; only the question and the steps that write show theirs.

    Args:
        backbone: The model.
        prompt: Its asked fact is one of the hidden ones.
        max_tokens: Steps at most; it also ends with a line or with the answer.
    """
    ids, (start, end) = prompt.ids, prompt.span
    cache = backbone.cache()
    backbone.prefill(prompt.context, cache)
    found_by = _looks_at_needle(backbone, cache, prompt)
    places: dict[tuple[int, int], set[int]] = {}
    written: list[int] = []
    last = ids[-1]
    for _ in range(max_tokens):
        taps = Taps(rows=AttentionRows(last=1))
        logits = backbone.forward([last], cache, taps=taps)
        assert logits is not None  # asked for
        last = int(logits.argmax())
        if _ends(backbone, last, written):
            break
        written.append(last)
        for layer, looked in looks(taps).items():
            for head, place in enumerate(looked.tolist()):
                if start <= place < end and ids[place] == last:
                    places.setdefault((layer, head), set()).add(place)
    answer = first_line(backbone.decode(written))
    hits = {head: len(found) / (end - start) for head, found in sorted(places.items())}
    return Copied(answer, word_recall(prompt.asked.answer, answer), hits, found_by)


def _looks_at_needle(backbone: Backbone, cache: StateCache, prompt: NeedlePrompt) -> Hits:
    """Read the question but its last token; return each head's highest attention on the needle's sentence."""
    if len(prompt.question) < 2:
        return {}
    taps = Taps(rows=AttentionRows(last=len(prompt.question) - 1))
    backbone.forward(prompt.question[:-1], cache, taps=taps, logits="none")
    start, end = next(hidden.sentence for hidden in prompt.hidden if hidden.fact == prompt.asked)
    found: Hits = {}
    for layer, rows in taps.rows.items():  # nothing was cut: places are origins
        most = rows[0, :, :, start:end].sum(dim=-1).amax(dim=-1)  # (H,)
        found |= {(layer, head): round(mass, 4) for head, mass in enumerate(most.tolist()) if mass >= _LEAST_LOOK}
    return found


def looks(taps: Taps) -> dict[int, Tensor]:
    """Return which token each head looks at most with the last query, by layer, int64 (H,)."""
    out: dict[int, Tensor] = {}
    for layer, rows in taps.rows.items():
        origins = taps.row_origins[layer]  # (G, S)
        most = rows[0, :, -1].argmax(dim=-1)  # (H,)
        shared = len(most) // len(origins)
        out[layer] = origins.repeat_interleave(shared, dim=0).gather(1, most[:, None])[:, 0]
    return out


class PromptBatch:
    """Prompts of one length that are answered at once, as often as one wants, after they were read once.

    Args:
        backbone: The model.
        prompts: At least one, all of one length.
        mask_heads: Heads that are silent while it reads.
        mask_mode: How.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompts: Sequence[NeedlePrompt],
        *,
        mask_heads: Collection[tuple[int, int]] = (),
        mask_mode: MaskMode = "zero",
    ) -> None:
        if len({len(prompt.ids) for prompt in prompts}) != 1:
            raise BadInput("prompts that are answered at once must be of one length, and there must be one")
        self.backbone = backbone
        self.prompts = tuple(prompts)
        self._ids = torch.tensor([prompt.ids for prompt in prompts])  # (B, N)
        self._cache: StateCache = backbone.cache()
        backbone.forward(self._ids[:, :-1], self._cache, logits="none", mask_heads=mask_heads, mask_mode=mask_mode)

    def answers(
        self, *, max_tokens: int, mask_heads: Collection[tuple[int, int]] = (), mask_mode: MaskMode = "zero"
    ) -> list[str]:
        """Return the first line of each answer, the likeliest token each time, until all words asked for are in it.

        Args:
            max_tokens: Of an answer, at most.
            mask_heads: Heads that are silent while it writes.
            mask_mode: How.
        """
        batch, length = self._ids.shape
        written: list[list[int]] = [[] for _ in range(batch)]
        is_open = [True] * batch
        last = self._ids[:, -1:]
        for _ in range(max_tokens):
            logits = self.backbone.forward(last, self._cache, mask_heads=mask_heads, mask_mode=mask_mode)
            assert logits is not None  # asked for
            last = logits.reshape(batch, -1).argmax(dim=-1, keepdim=True)
            for row, one in enumerate(last[:, 0].tolist()):
                is_open[row] = is_open[row] and not _ends(self.backbone, one, written[row])
                if is_open[row]:
                    written[row].append(one)
                    is_open[row] = self._lacks(row, written[row])
            if not any(is_open):
                break
        self._cache.crop(length - 1)
        return [first_line(self.backbone.decode(ids)) for ids in written]

    def _lacks(self, row: int, written: Sequence[int]) -> bool:
        return word_recall(self.prompts[row].asked.answer, first_line(self.backbone.decode(written))) < 1


def by_length(prompts: Sequence[NeedlePrompt], most: int) -> Iterator[list[int]]:
    """Give the places of prompts of one length, at most so many at once."""
    lengths: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        lengths.setdefault(len(prompt.ids), []).append(place)
    for places in lengths.values():
        for start in range(0, len(places), most):
            yield places[start : start + most]


def next_token_loss(
    backbone: Backbone,
    ids: Sequence[int],
    *,
    mask_heads: Collection[tuple[int, int]] = (),
    mask_mode: MaskMode = "zero",
) -> float:
    """Return the mean surprise at the next token of a text, in nats."""
    logits = backbone.forward(list(ids), logits="all", mask_heads=mask_heads, mask_mode=mask_mode)
    assert logits is not None  # asked for
    targets = torch.tensor(list(ids[1:]), device=logits.device)
    return float(torch.nn.functional.cross_entropy(logits[:-1], targets))


def _ends(backbone: Backbone, token: int, written: Sequence[int]) -> bool:
    """Return whether a token ends an answer: it says so, or begins a line after some words."""
    if token in backbone.stop_ids:
        return True
    return "\n" in backbone.decode([token]) and bool(backbone.decode(written).strip())
