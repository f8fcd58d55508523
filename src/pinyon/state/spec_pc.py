"""Keep the tokens of a prompt that a draft model attends to (SpecPC)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import BadInput
from .policy import Pooling, Reduce, attention_rows, scaling_of, smooth

if TYPE_CHECKING:
    from ..models.backbone import Backbone
    from ..models.cache import CacheLayer

__all__ = ["PromptCut", "SpecPC"]


@dataclass(frozen=True, slots=True)
class PromptCut:
    """A shorter prompt and where each of its tokens came from.

    Args:
        ids: The tokens that stay, in their order.
        kept: Their places in the whole prompt, strictly increasing: what an answer is traced back by.
        scores: (n_in,) what the draft gave each token of the whole prompt, 0 to 1; empty when nothing had to go.
        lookahead: Tokens that the draft generated.
        seconds: Time of the draft.
    """

    ids: tuple[int, ...]
    kept: tuple[int, ...]
    scores: tuple[float, ...]
    lookahead: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class SpecPC:
    """Shorten a prompt to the tokens that a small draft model attends to.

    For a large model that is to read less: no cache is cut, the prompt is. Positions are renumbered, because the
    target reads the shorter prompt as it stands; an answer cannot name places of the whole one except through
    `PromptCut.kept`::

        a_j = max over layers, heads, rows and steps of w_i A_ij,  w_i = i / (W - 1) for the last W rows of the prompt
        order = tokens by maxpool(a, kernel), the first C of them, each with its neighbours behind it
        keep the last W tokens and the first of the order until C, in the order of the text

    Args:
        window: Last W tokens of the prompt, whose rows count and which always stay, >= 1.
        kernel: Width of the pooling, >= 1.
        neighbours: How many tokens around a chosen one come with it, itself included, >= 1.
        lookahead: Tokens that the draft generates, >= 0; one costs no extra step.
        skip_layers: First layers of the draft that are not asked, >= 0; the last layer always is.
        weighted: Whether earlier rows of the window count less.
        reduce: Over heads, rows, layers and steps.
        pooling: Of neighbours.

    Cost: one prefill of the draft and a step a lookahead token; O(H W S D) a layer for the rows.
    Source: Galim et al. 2025, arXiv 2506.08373 (ICLR 2026), and its release. The public summary of the paper names a
        mean over the window; the release and all its configurations take the maximum, as here.
    Deviates: among equal scores the later token comes first (released: undefined); a window of one row counts 1
        (released: 0, so that nothing is scored).
    """

    window: int = 64  # released configurations
    kernel: int = 32  # released configurations for a pair of 1B and 8B
    neighbours: int = 32  # as the kernel
    lookahead: int = 1  # released configurations
    skip_layers: int = 8  # released configurations
    weighted: bool = True
    reduce: Reduce = "max"
    pooling: Pooling = "max"

    def __post_init__(self) -> None:
        if min(self.window, self.kernel, self.neighbours) < 1 or min(self.lookahead, self.skip_layers) < 0:
            raise BadInput(
                "window, kernel and neighbours must be >= 1, lookahead and skip_layers >= 0, "
                f"got {self.window!r}, {self.kernel!r}, {self.neighbours!r}, {self.lookahead!r}, {self.skip_layers!r}"
            )

    def cut(self, draft: Backbone, ids: Sequence[int], *, entries: int) -> PromptCut:
        """Return the prompt with at most some of its tokens.

        Args:
            draft: Looks at the whole prompt; it shares the tokenizer of the model that will read the rest.
            ids: The prompt, at least one token.
            entries: Budget in tokens, at least the window where something has to go.

        Raises:
            BadInput: The prompt is empty, or the budget is below the window.
        """
        if not ids:
            raise BadInput("an empty prompt cannot be shortened")
        if len(ids) <= entries:
            return PromptCut(tuple(ids), tuple(range(len(ids))), (), (), 0.0)
        if entries < self.window:
            raise BadInput(f"a budget of {entries!r} tokens is below the window of {self.window}, which always stays")
        started = time.perf_counter()
        scores, ahead = self._scores(draft, list(ids))
        kept = choose(
            smooth(scores[None], self.kernel, self.pooling)[0].tolist(),
            count=entries,
            window=self.window,
            neighbours=self.neighbours,
        )
        chosen = tuple(ids[place] for place in kept)
        return PromptCut(chosen, tuple(kept), tuple(scores.tolist()), ahead, time.perf_counter() - started)

    def _scores(self, draft: Backbone, ids: list[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Return what the draft attends to, (n_in,), and its continuation."""
        rows = _Rows(self, draft, len(ids))
        cache = draft.cache()
        logits = draft.forward(ids, cache, after_layer=rows.after_layer)
        rows.end_step()
        ahead: list[int] = []
        ends = draft.stop_ids
        while logits is not None and len(ahead) < self.lookahead:
            ahead.append(int(logits.argmax()))
            if len(ahead) == self.lookahead or ahead[-1] in ends:
                break
            logits = draft.forward(ahead[-1:], cache, after_layer=rows.after_layer)
            rows.end_step()
        return rows.total(), tuple(ahead)


class _Rows:
    """Gathers what the last rows of each step attend to."""

    def __init__(self, config: SpecPC, draft: Backbone, size: int) -> None:
        self._config = config
        self._size = size
        self._skipped = min(config.skip_layers, draft.n_layers - 1)
        self._scaling = scaling_of(draft)
        self._layers: list[Tensor] = []
        self._steps: list[Tensor] = []
        self._read = size

    def after_layer(self, layer: int, entries: CacheLayer, queries: Tensor) -> None:
        """Note a layer of the step under way."""
        if layer < self._skipped:
            return
        count = min(self._config.window, queries.shape[2])
        group = entries.uniform()
        rows = attention_rows(
            queries[:, :, -count:],
            group.keys,
            origins=group.origins,
            read=self._read,
            scaling=self._scaling,
        )[..., : self._size]  # (1, H, w, n_in)
        if queries.shape[2] > 1 and self._config.weighted:
            weights = torch.linspace(1, 0, count, device=rows.device).flip(0)  # the last row counts 1 even if alone
            rows = rows * weights[:, None]
        flat = rows.reshape(-1, self._size)
        self._layers.append(flat.amax(dim=0) if self._config.reduce == "max" else flat.mean(dim=0))

    def end_step(self) -> None:
        """Close the step under way."""
        self._steps.append(self._reduced(self._layers))
        self._layers = []
        self._read += 1

    def total(self) -> Tensor:
        """Return what all steps together attend to, (n_in,)."""
        return self._reduced(self._steps)

    def _reduced(self, parts: list[Tensor]) -> Tensor:
        together = torch.stack(parts)
        return together.amax(dim=0) if self._config.reduce == "max" else together.mean(dim=0)


def choose(scores: Sequence[float], *, count: int, window: int, neighbours: int) -> list[int]:
    """Return the places of the tokens that stay, increasing.

    Args:
        scores: One for each token, pooled.
        count: How many stay.
        window: Last tokens that always stay.
        neighbours: How many around a chosen token come with it, itself included.
    """
    size = len(scores)
    order = sorted(range(size), key=lambda place: (-scores[place], -place))[:count]
    kept = dict.fromkeys(range(size - window, size))  # a set that keeps its order
    for place in order:
        for near in _near(place, neighbours):
            if len(kept) < count and 0 <= near < size:
                kept[near] = None
    return sorted(kept)


def _near(place: int, neighbours: int) -> list[int]:
    """Return a place and those around it, itself first, then -1, +1, -2, …"""
    least, most = -((neighbours - 1) // 2), neighbours // 2
    return [place + step for step in sorted(range(least, most + 1), key=lambda step: (abs(step), step))]
