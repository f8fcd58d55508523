"""Find the heads that copy from far away, and give them the entries that the others do not need."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from ..core.payload import Json, canonical, digest
from ..core.select import share_out
from ..errors import BadInput
from ._head_trials import copied_by_heads
from ._trial_log import TrialLog
from .head_profile import THRESHOLD, HeadProfile, HeadTrial
from .needle_prompts import FIND_FACTS, NeedleFact, needle_prompt, reference_sentences
from .policy import CachePolicy, CacheView, ModelShape, Positions

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["RetrievalHeads", "find_heads"]

LENGTHS = (500, 700, 900)  # the strongest heads show at any length, by the paper
DEPTHS = (0.05, 0.25, 0.5, 0.75, 0.95)


def find_heads(
    backbone: Backbone,
    facts: Sequence[NeedleFact] = FIND_FACTS,
    *,
    lengths: Sequence[int] = LENGTHS,
    depths: Sequence[float] = DEPTHS,
    trials: int = 20,
    threshold: float = THRESHOLD,
    max_tokens: int = 50,
    seed: int = 0,
    sentences: Callable[[], Sequence[str]] = reference_sentences,
    log: Path | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> HeadProfile:
    """Measure which heads copy a hidden fact into the answer.

    A fact k is hidden in a text and asked for. A head copies the token w that the model writes when the arg-max of
    its attention, with the query of the token fed before w, lies inside the fact at a token w. Its score in a trial
    is |tokens of k copied| / |k|, and its mean over the trials in which the model repeats more than half of the
    words of k is its retrieval score. Who wants to know where a model reads calls this, once for each model.

    Args:
        backbone: The model.
        facts: What is hidden, in turn; facts that the model does repeat teach, the others are only counted.
        lengths: Tokens of the prompts.
        depths: Where the facts lie, 0 to 1.
        trials: How many, spread over lengths and depths.
        threshold: From which score on a head counts as a retrieval head.
        max_tokens: Longest answer.
        seed: Of the order and of the text around the facts.
        sentences: What that text is made of.
        log: File of the trials; when it is there, what it holds is not done again.
        progress: Told the trials done, and all.

    Raises:
        BadInput: An argument is out of range, the facts do not fit a length, or the log is of another setting.
        StoreError: The log cannot be written.

    Cost: a trial reads its prompt once and writes at most `max_tokens` with one row of attention a head.
    Source: Wu et al. 2024, arXiv 2404.15574, section 2, and its official code.
    Deviates: the score is the paper's, of a set of places; the code counts a place again at every step. The span is
        exact; the code takes the first window whose set of tokens overlaps by more than 0.9. Only trials with a word
        recall above one half count, as in the code.
    """
    if trials < 1 or max_tokens < 1 or not facts or not lengths or not depths:
        raise BadInput(f"{trials!r} trials of {max_tokens!r} tokens with {len(facts)} facts find nothing")
    binding = backbone.binding()
    plan = _plan(facts, lengths, depths, trials, seed)
    kept = TrialLog(log, {**_setting(binding, plan, max_tokens, sentences), "seed": seed})
    done: list[HeadTrial] = []
    for number, (fact, length, depth) in enumerate(plan):
        known = kept.get(str(number))
        if known is None:
            known = _trial(backbone, fact, length, depth, seed + number, max_tokens, sentences)
            kept.add(str(number), known)
        done.append(HeadTrial.from_json(known))
        if progress is not None:
            progress(number + 1, len(plan))
    return HeadProfile(
        backbone.n_layers, backbone.n_heads, backbone.n_kv_heads, tuple(done), binding, threshold=threshold
    )


def _plan(
    facts: Sequence[NeedleFact], lengths: Sequence[int], depths: Sequence[float], trials: int, seed: int
) -> list[tuple[NeedleFact, int, float]]:
    """Return the trials: facts in turn, lengths and depths as even as they can be."""
    draw = random.Random(f"heads {seed}")
    cells: list[tuple[int, float]] = []
    while len(cells) < trials:
        every = list(product(lengths, depths))
        draw.shuffle(every)
        cells += every
    return [(facts[number % len(facts)], *cells[number]) for number in range(trials)]


def _setting(
    binding: dict[str, Json], plan: Sequence[Any], max_tokens: int, sentences: Callable[[], Sequence[str]]
) -> dict[str, Json]:
    told = [[fact.told, fact.question, fact.answer, length, depth] for fact, length, depth in plan]
    return {
        "binding": binding,
        "plan": digest(canonical(told)),
        "max_tokens": max_tokens,
        "filler": digest(canonical(list(sentences()))),
    }


def _trial(
    backbone: Backbone,
    fact: NeedleFact,
    length: int,
    depth: float,
    seed: int,
    max_tokens: int,
    sentences: Callable[[], Sequence[str]],
) -> dict[str, Json]:
    prompt = needle_prompt(backbone, fact, length=length, depth=depth, seed=seed, sentences=sentences)
    found = copied_by_heads(backbone, prompt, max_tokens=max_tokens)
    hits, looks = (
        tuple((layer, head, share) for (layer, head), share in shares.items()) for shares in (found.hits, found.looks)
    )
    trial = HeadTrial(fact.told, length, depth, seed, found.answer, found.recall, hits, looks)
    plain: dict[str, Json] = json.loads(json.dumps(asdict(trial)))
    return plain


@dataclass(frozen=True, slots=True)
class RetrievalHeads:
    """Give the heads that copy the entries that the others do not need.

    For a fact anywhere in a long text that is asked for later. "full" divides heads in two: those at or above the
    profile's threshold share what is left when the others have their sinks and latest tokens (DuoAttention, with heads
    found without training). "shared" gives every head a base and divides the rest in proportion to score (HeadKV). A
    key/value head has the highest score of the query heads that read it.

    Args:
        profile: Of the model.
        mode: How entries are divided.
        inner: Ranks the entries of a head that are neither sinks nor latest; None ranks later ones higher.
        sinks: First tokens, which stay in every head, >= 0.
        recent: Latest tokens, which stay in every head, >= 1; with "full" the heads that do not copy hold just these
            and the sinks, but never more than half of an even share.
        length: Most entries that a head has a use for, as the length of a text that is cut once; what is left goes to
            the others. None is not known.
        base: Part of an even share that every head gets with "shared", above 0 to 1.
        chosen: Layer and key/value head of those that copy, instead of the profile's; for controls.
        finders: From which mean attention on a fact, while its question was read, a head counts as one that copies:
            it finds the place. None leaves only those that copy, as in the paper.

    Raises:
        BadInput: A number is out of range, or a chosen head is not one of the model.

    Cost: that of `inner`, else O(S) time.
    Source: Wu et al. 2024, arXiv 2404.15574 (heads); Xiao et al. 2024, arXiv 2410.10819 ("full"); Fu et al. 2024, arXiv
        2410.19258 ("shared").
    Deviates: the heads come from needles, not from gates that are trained; heads that find the place are added to those
        that copy from it.
    """

    profile: HeadProfile
    mode: Literal["full", "shared"] = "full"
    inner: CachePolicy | None = None
    sinks: int = 4  # StreamingLLM; DuoAttention takes 64 or 128 of prompts that are longer by far
    recent: int = 128  # the papers take 256 of prompts above 4,000 tokens
    length: int | None = None
    base: float = 0.25  # our measurement
    chosen: tuple[tuple[int, int], ...] | None = None
    finders: float | None = 0.5  # our measurement: without them the place is not found any more

    shared: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.mode not in ("full", "shared"):
            raise BadInput(f"mode must be 'full' or 'shared', got {self.mode!r}")
        if self.sinks < 0 or self.recent < 1 or not 0 < self.base <= 1:
            raise BadInput(
                "sinks must be >= 0, recent >= 1 and base above 0 to 1,"
                f" got {self.sinks!r}, {self.recent!r} and {self.base!r}"
            )
        if self.finders is not None and not 0 < self.finders <= 1:
            raise BadInput(f"finders must be above 0 and at most 1, got {self.finders!r}")
        if self.length is not None and self.length < 1:
            raise BadInput(f"length must be >= 1, got {self.length!r}")
        known = {(layer, group) for layer in range(self.profile.layers) for group in range(self.profile.kv_heads)}
        if self.chosen is not None and not set(self.chosen) <= known:
            raise BadInput(f"key/value heads {sorted(set(self.chosen) - known)!r} are not there")

    @property
    def name(self) -> str:
        """As reports name it."""
        return f"retrieval-heads-{self.mode}" + (f"+{self.inner.name}" if self.inner is not None else "")

    @property
    def window(self) -> int:
        """Queries that the inner policy wants."""
        return 0 if self.inner is None else self.inner.window

    @property
    def positions(self) -> Positions:
        """Entries keep their positions: heads hold unequal numbers of them."""
        return "original"

    @property
    def full_heads(self) -> tuple[tuple[int, int], ...]:
        """Layer and key/value head of those that copy."""
        if self.chosen is not None:
            return tuple(sorted(set(self.chosen)))
        copying, finding = self.profile.kv_scores(), self.profile.kv_finding()
        return tuple(
            (layer, group)
            for layer in range(self.profile.layers)
            for group in range(self.profile.kv_heads)
            if copying[layer][group] >= self.profile.threshold
            or (self.finders is not None and finding[layer][group] >= self.finders)
        )

    def entries(self, shape: ModelShape, budget_entries: int) -> Sequence[Sequence[int]] | None:
        """Return the entries of each layer and key/value head; all together are those of an even budget.

        Raises:
            BadInput: The profile is of a model of another shape.
        """
        mine = (self.profile.layers, self.profile.heads, self.profile.kv_heads)
        if (shape.layers, shape.heads, shape.kv_heads) != mine:
            raise BadInput(
                f"the head profile is of a model with {mine[0]} layers of {mine[1]} heads,"
                f" not of {shape.layers} layers of {shape.heads}",
                hint="measure this one with find_heads",
            )
        weights = self._weights()
        if len(set(weights)) == 1:  # all alike: an even budget
            return None
        total, cap = budget_entries * len(weights), self.length
        floor = self._stream(budget_entries) if self.mode == "full" else max(1, int(self.base * budget_entries))
        if cap is not None and cap <= budget_entries:
            return None
        shares = share_out(weights, total, floor=floor, cap=cap)
        return [shares[at : at + shape.kv_heads] for at in range(0, len(shares), shape.kv_heads)]

    def score(self, view: CacheView) -> Tensor:
        """Return how late each entry came, or what the inner policy says of it, (B, G, S); sinks and latest above."""
        late = view.origins.to(torch.float64).expand(view.keys.shape[:3])  # (B, G, S)
        worth = late if self.inner is None else self.inner.score(view).to(torch.float64)
        stays = worth.isposinf() | (late >= view.read - self.recent)
        best = worth[worth.isfinite()].amax() if bool(worth.isfinite().any()) else worth.new_zeros(())
        worth = torch.where(stays, best + 1 + late, worth)
        return worth.masked_fill(late < self.sinks, torch.inf)

    def _stream(self, budget_entries: int) -> int:
        return max(1, min(self.sinks + self.recent, budget_entries // 2))

    def _weights(self) -> list[float]:
        """Return what each head's share of the rest is in proportion to, layer by layer."""
        full = set(self.full_heads)
        if self.mode == "shared" and self.chosen is None:
            copying = [score for scores in self.profile.kv_scores() for score in scores]
            finding = [score for scores in self.profile.kv_finding() for score in scores]
            return copying if self.finders is None else [max(pair) for pair in zip(copying, finding, strict=True)]
        heads = ((layer, group) for layer in range(self.profile.layers) for group in range(self.profile.kv_heads))
        return [float(head in full) for head in heads]
