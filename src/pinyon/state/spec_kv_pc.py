"""Shorten a prompt and cut its cache with one draft (SpecKV-PC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .spec_kv import Looked, SpecKV
from .spec_pc import PromptCut, SpecPC

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["Cascade", "SpecKVPC"]


@dataclass(frozen=True, slots=True)
class Cascade:
    """What a cascade left.

    Args:
        prompt: The shorter prompt, with the places its tokens came from.
        looked: The cache of it. Origins there count in the shorter prompt: ``prompt.kept[origin]`` is the place in
            the whole one.
    """

    prompt: PromptCut
    looked: Looked


@dataclass(frozen=True, slots=True)
class SpecKVPC:
    """First `SpecPC`, then `SpecKV` on what it left; the draft runs once and its answer serves both.

    Args:
        prompt: The first stage; its `lookahead` is replaced by that of the call.
        cache: The second stage.
        prompt_entries: Tokens that the first stage leaves.

    Cost: one prefill of the draft with its answer, one prefill of the model on the shorter prompt.
    Source: Galim et al. 2025, arXiv 2506.08373 (ICLR 2026), and its release.
    Deviates: as its two stages.
    """

    prompt: SpecPC = SpecPC()  # released configurations of the cascade: kernel and neighbours 32
    cache: SpecKV = SpecKV()
    prompt_entries: int = 2048  # released configurations

    def prefill(
        self, backbone: Backbone, draft: Backbone, ids: Sequence[int], *, entries: int, lookahead: int = 64
    ) -> Cascade:
        """Read a prompt.

        Args:
            backbone: Reads the shorter prompt.
            draft: Looks first; it shares the backbone's tokenizer.
            ids: The whole prompt.
            entries: Budget of each head.
            lookahead: Most tokens of the draft's answer, >= 1.

        Raises:
            BadInput: A budget does not fit its stage.
        """
        cut = replace(self.prompt, lookahead=lookahead).cut(draft, ids, entries=self.prompt_entries)
        ahead = cut.lookahead or None  # none were made when nothing had to go
        looked = self.cache.prefill(
            backbone, cut.ids, entries=entries, draft=draft, lookahead=lookahead, lookahead_ids=ahead
        )
        return Cascade(cut, looked)
