"""Keep the tokens that surprised the model when they came (SirLLM)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from ..errors import BadInput
from .policy import CacheView, Positions, Uniform, kept_entries

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["Surprisal", "word_starts"]

Scoring = Literal["paper", "official"]


@dataclass(frozen=True, slots=True)
class Surprisal(Uniform):
    """Score cache entries by the surprise of their tokens, fading by the turn (SirLLM).

    For a chat that never ends: besides the sinks, names and numbers stay whatever their age. Every layer and head
    keeps the same tokens::

        e_i = -ln P(x_i | x_0 … x_{i-1})
        worth_i = decay ** (turns since x_i came) * e_i
        of C entries: sinks, the C - sinks - recent worthiest, and the latest in the room that is left

    A turn is one call of the session; eviction comes before its decay, so the turn before competes whole. Set the
    decay from the wished half-life: ``decay = 2 ** (-1 / half_life_turns)``.

    Args:
        sinks: First tokens of all that was read, which always stay, >= 0.
        recent: Entries reserved for the latest tokens, >= 0.
        decay: Factor for each turn, above 0 to 1.
        scoring: "paper": the formula above. "official": what the released code stores, the surprise of *repeating*
            the token before, ``-ln P(x_{i+1} = x_i | x_0 … x_i)`` noted for token i + 1.
        excluded: Token ids that are worth nothing, for example those of a chat template.
        word_starts: Token ids that begin a word; when given, the pieces of a word share its highest worth.

    Cost: O(S log S) time a cut; reading computes the logits of every token, O(V) products of the model's width for
        each, where other policies need those of the last token only. Tokens that the model writes cost nothing more.
    Source: Yao, Li and Zhao 2024, arXiv 2405.12528; positions by arXiv 2309.17453.
    Deviates: among equal surprisals the later token stays (released: undefined); the first token of a turn is scored
        by the logits of the turn before, which the formula asks for (released: the highest value of its chunk).
    """

    sinks: int = 4  # README
    recent: int = 0  # README, all three tasks; the code's default is 1000
    decay: float = 1.0  # code
    scoring: Scoring = "paper"
    excluded: frozenset[int] = frozenset()
    word_starts: frozenset[int] | None = None
    positions: Positions = "cache"  # code

    window: ClassVar[int] = 0
    shared: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sinks < 0 or self.recent < 0:
            raise BadInput(f"sinks and recent must be >= 0, got {self.sinks!r} and {self.recent!r}")
        if not 0 < self.decay <= 1:
            raise BadInput(f"the decay of a turn must be above 0 and at most 1, got {self.decay!r}")
        if self.scoring not in ("paper", "official"):
            raise BadInput(f"scoring must be 'paper' or 'official', got {self.scoring!r}")

    @property
    def name(self) -> str:
        """As reports name it."""
        return "surprisal" if self.scoring == "paper" else "surprisal-official"

    @property
    def surprise(self) -> Scoring:
        """Which surprise of a token the reader notes for it."""
        return self.scoring

    def worth(self, view: CacheView) -> Tensor:
        """Return the faded surprisal of each entry, float64 (G, S)."""
        surprise = view.surprisal.to(torch.float64).nan_to_num(nan=0.0)
        if self.excluded:
            banned = torch.tensor(sorted(self.excluded), device=view.token_ids.device)
            surprise = surprise.masked_fill(torch.isin(view.token_ids, banned), 0.0)
        if view.turns.numel():
            surprise = surprise * self.decay ** (view.turns.max() - view.turns).to(torch.float64)
        return surprise if self.word_starts is None else self._by_word(surprise, view)

    def score(self, view: CacheView) -> Tensor:
        """Return the rank of each entry, (B, G, S), infinite for the sinks."""
        size = view.origins.shape[-1]
        room = max(0, view.room - self.sinks - self.recent)
        worthiest = torch.zeros(view.origins.shape, dtype=torch.bool, device=view.origins.device)
        if room:
            worthiest.scatter_(1, kept_entries(self.worth(view), room), True)
        late = torch.arange(size, dtype=torch.float64, device=view.origins.device) / max(1, size)  # below 1
        rank = late + 2.0 * worthiest
        return rank.masked_fill(view.origins < self.sinks, torch.inf).expand(view.keys.shape[:3])

    def _by_word(self, surprise: Tensor, view: CacheView) -> Tensor:
        """Give each piece the highest worth of its word; a piece without its neighbour in the text stands alone."""
        starts = torch.isin(view.token_ids, torch.tensor(sorted(self.word_starts or ()), device=surprise.device))
        apart = torch.ones_like(starts)
        apart[:, 1:] = view.origins.diff(dim=-1) != 1
        word = (starts | apart).cumsum(dim=-1) - 1  # (G, S)
        best = torch.zeros_like(surprise).scatter_reduce_(1, word, surprise, "amax", include_self=True)
        return best.gather(1, word)


def word_starts(backbone: Backbone) -> frozenset[int]:
    """Return the ids of a tokenizer that begin a word or stand alone, for `Surprisal.word_starts`.

    A piece that continues a word is one that starts with a letter or digit, without a mark of space before it.

    Raises:
        BadInput: The backbone has no tokenizer.
    """
    tokenizer: Any = backbone.tokenizer
    if tokenizer is None:
        raise BadInput("a backbone without a tokenizer knows no words")
    special = set(tokenizer.all_special_ids)
    vocabulary: Iterable[tuple[str, int]] = tokenizer.get_vocab().items()
    return frozenset(
        number for piece, number in vocabulary if number in special or not piece[:1].isalnum() or piece[:1] in "ĠĊ"
    )
