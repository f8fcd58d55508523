"""Whether retrieval heads are the cause: silence them, silence others, and ask for needles nobody saw before."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from ..errors import BadInput
from ._head_trials import PromptBatch, by_length, next_token_loss
from .head_profile import Head, HeadProfile
from .needle_prompts import CHECK_FACTS, NeedleFact, NeedlePrompt, needle_prompt, reference_sentences, word_recall

if TYPE_CHECKING:
    from ..models._attention import MaskMode
    from ..models.backbone import Backbone

__all__ = ["HeadCheck", "MaskWhen", "Masked", "check_heads", "other_heads"]

MaskWhen = Literal["decode", "everywhere"]
"""When heads are silent: while the answer is written, or while the prompt is read too."""

Which = Literal["none", "top", "others"]

_AT_ONCE = 8  # prompts: the weights are read from memory once for all of them


@dataclass(frozen=True, slots=True)
class Masked:
    """What is left when some heads are silent.

    Args:
        which: "none", the "top" ones by score, or "others" drawn at random.
        heads: Those that were silent.
        draw: Number of the draw, from 0.
        recalls: Share of the needle's words in each answer.
        loss: Mean surprise at ordinary text with them silent all the time, nats a token; None when none was given.
    """

    which: Which
    heads: tuple[Head, ...]
    draw: int
    recalls: tuple[float, ...]
    loss: float | None

    @property
    def recall(self) -> float:
        """Mean over the needles."""
        return fmean(self.recalls) if self.recalls else 0.0


@dataclass(frozen=True, slots=True)
class HeadCheck:
    """What the masking showed.

    Args:
        asked: Needles that were put to the whole model.
        facts: Those that it answered; all figures are of these.
        when: Whether heads were silent while it wrote, or while it read too.
        mode: How: "zero" outputs before the output matrix, or "uniform" attention as the official code has it.
        rows: One for each masking, first that of no head.
    """

    asked: int
    facts: tuple[NeedleFact, ...]
    when: MaskWhen
    mode: MaskMode
    rows: tuple[Masked, ...]

    @property
    def whole(self) -> Masked:
        """The whole model."""
        return self.rows[0]

    def top(self, count: int) -> Masked:
        """Return what is left without the best heads.

        Raises:
            BadInput: So many were not masked.
        """
        return self._of("top", count)[0]

    def others(self, count: int) -> tuple[Masked, ...]:
        """Return what is left without as many others, one for each draw.

        Raises:
            BadInput: So many were not masked.
        """
        return self._of("others", count)

    def points_lost(self, count: int) -> tuple[float, float]:
        """Return how many points of recall the best heads cost, and how many others cost on average."""
        mean = fmean(row.recall for row in self.others(count))
        return 100 * (self.whole.recall - self.top(count).recall), 100 * (self.whole.recall - mean)

    def _of(self, which: Which, count: int) -> tuple[Masked, ...]:
        found = tuple(row for row in self.rows if row.which == which and len(row.heads) == count)
        if not found:
            raise BadInput(f"{count!r} heads of the kind {which!r} were not masked")
        return found


def check_heads(
    backbone: Backbone,
    profile: HeadProfile,
    facts: Sequence[NeedleFact] = CHECK_FACTS,
    *,
    counts: Sequence[int] = (5, 10),
    draws: int = 10,
    lengths: Sequence[int] = (600,),
    depths: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    when: MaskWhen = "decode",
    mode: MaskMode = "zero",
    text: Sequence[int] = (),
    max_tokens: int = 24,
    seed: int = 0,
    sentences: Callable[[], Sequence[str]] = reference_sentences,
    progress: Callable[[int, int], object] | None = None,
) -> HeadCheck:
    """Silence the best heads, and as many others at random, and count which needles still come back.

    Each fact is hidden once. Those that the whole model repeats are asked again without some heads. With "decode"
    the prompts are read once for all maskings.

    Args:
        backbone: The model that the profile was measured on.
        profile: Says which heads are the best.
        facts: None of them may have been used to find the heads.
        counts: How many heads are silenced.
        draws: How often others are drawn, anew each time; heads at or above the threshold are never drawn.
        lengths: Tokens of the prompts, in turn.
        depths: MaskWhen the facts lie, in turn.
        when: Whether heads are silent while it writes, or while it reads too.
        mode: "zero" or "uniform".
        text: Tokens of ordinary text, on which the loss is taken; without any there is none.
        max_tokens: Longest answer.
        seed: Of the draws and the texts.
        sentences: What the texts are made of.
        progress: Told the maskings done, and all.

    Raises:
        BadInput: The profile is of another model, a fact was used to find the heads, the model repeats none, or
            there are not enough other heads.

    Source: Wu et al. 2024, arXiv 2404.15574, section 3, and its official code.
    Deviates: silent heads give zeros before the output matrix; the official code sets their attention logits to zero,
        which is "uniform". Its exclusion of retrieval heads from the draw never excludes any; here it does. It draws
        anew for every trial, here for every masking of all of them.
    """
    profile.must_fit(backbone.binding())
    used = {trial.told for trial in profile.trials}
    if any(fact.told in used for fact in facts):
        raise BadInput("a fact that was used to find the heads cannot check them", hint="give other facts")
    prompts = _prompts(backbone, facts, lengths, depths, seed, sentences)
    plan = list(_plan(profile, counts, draws, seed))
    batches = _Batches(backbone, prompts, when, mode, max_tokens)
    answered = [place for place, recall in enumerate(batches.recalls(())) if recall > 0.5]
    if not answered:
        raise BadInput(f"the model repeats none of {len(prompts)} needles", hint="give others, or shorter prompts")
    batches.only(answered)
    rows = []
    for number, (which, draw, heads) in enumerate([("none", 0, ()), *plan]):
        loss = next_token_loss(backbone, text, mask_heads=heads, mask_mode=mode) if text else None
        rows.append(Masked(which, heads, draw, tuple(batches.recalls(heads)), loss))
        if progress is not None:
            progress(number + 1, len(plan) + 1)
    return HeadCheck(len(prompts), tuple(prompts[place].asked for place in answered), when, mode, tuple(rows))


def other_heads(profile: HeadProfile, count: int, draw: random.Random) -> tuple[Head, ...]:
    """Return heads below the threshold, drawn at random, in their order.

    Raises:
        BadInput: There are not so many.
    """
    scores = profile.scores
    plain = sorted(head for head, score in scores.items() if score < profile.threshold)
    if count > len(plain):
        raise BadInput(f"{count} of {len(plain)} heads below the threshold cannot be drawn")
    return tuple(sorted(draw.sample(plain, count)))


class _Batches:
    """The prompts of a check, read once where that serves all maskings."""

    def __init__(
        self, backbone: Backbone, prompts: Sequence[NeedlePrompt], when: MaskWhen, mode: MaskMode, max_tokens: int
    ) -> None:
        self._backbone, self._prompts, self._when, self._mode, self._most = backbone, prompts, when, mode, max_tokens
        self._places = list(by_length(prompts, _AT_ONCE))
        self._read: dict[int, PromptBatch] = {}
        self._wanted = list(range(len(prompts)))

    def only(self, places: Sequence[int]) -> None:
        """Leave out all other prompts from now on."""
        self._wanted = list(places)
        if self._when == "everywhere":
            kept = ([place for place in part if place in places] for part in self._places)
            self._places = [part for part in kept if part]

    def recalls(self, heads: Collection[Head]) -> list[float]:
        """Return the recall of each prompt without some heads."""
        out: dict[int, float] = {}
        for number, places in enumerate(self._places):
            said = self._batch(number, heads).answers(max_tokens=self._most, mask_heads=heads, mask_mode=self._mode)
            for place, answer in zip(places, said, strict=True):
                out[place] = word_recall(self._prompts[place].asked.answer, answer)
        return [out[place] for place in self._wanted]

    def _batch(self, number: int, heads: Collection[Head]) -> PromptBatch:
        prompts = [self._prompts[place] for place in self._places[number]]
        if self._when == "everywhere":
            return PromptBatch(self._backbone, prompts, mask_heads=heads, mask_mode=self._mode)
        if number not in self._read:
            self._read[number] = PromptBatch(self._backbone, prompts)
        return self._read[number]


def _prompts(
    backbone: Backbone,
    facts: Sequence[NeedleFact],
    lengths: Sequence[int],
    depths: Sequence[float],
    seed: int,
    sentences: Callable[[], Sequence[str]],
) -> list[NeedlePrompt]:
    if not facts or not lengths or not depths:
        raise BadInput("a check needs facts, lengths and depths")
    cells = list(product(lengths, depths))
    return [
        needle_prompt(
            backbone,
            fact,
            length=cells[number % len(cells)][0],
            depth=cells[number % len(cells)][1],
            seed=1000 + seed + number,
            sentences=sentences,
        )
        for number, fact in enumerate(facts)
    ]


def _plan(
    profile: HeadProfile, counts: Sequence[int], draws: int, seed: int
) -> Iterator[tuple[Which, int, tuple[Head, ...]]]:
    for count in counts:
        if not 1 <= count <= len(profile.ranked):
            raise BadInput(f"{count!r} heads cannot be masked, the model has {len(profile.ranked)}")
        yield "top", 0, profile.ranked[:count]
        draw = random.Random(f"others {seed} {count}")
        for number in range(draws):
            yield "others", number, other_heads(profile, count, draw)
