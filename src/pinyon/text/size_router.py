"""Everything when it fits, retrieval when it does not; between the two, extraction where a model makes it pay."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..core.budget import Budget
from ..core.cube import Cube
from ..errors import BadInput
from .base import Hit, Hits, Reason, Shelf
from .blocks import BlockExtract, OnePassExtract
from .model_profile import ModelProfile
from .pack import passage

__all__ = ["Decision", "Form", "Outlook", "Routed", "SizeRouter"]

Form = Literal["full", "one_pass", "blocks", "search"]
"""Full context, one-pass extraction, block extraction, hybrid retrieval."""

_PASSAGE_TOKENS = 12  # least tokens of a passage with its number and date
_NUMBER_TOKENS = 6  # "[123] " and the line break, in any tokenizer
_DEFAULT_TOKENS = 2000  # of a budget that names none
_MOST_CUBES = 20_000  # what extraction reads at most
_NAMES: dict[Form, str] = {
    "full": "full context",
    "one_pass": "one-pass extraction",
    "blocks": "block extraction",
    "search": "hybrid retrieval",
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one form would take.

    Args:
        form: Which.
        tokens: Tokens of the final prompt.
        seconds: Of everything, the answer included; None when no profile says.
        price: Likewise.
        why_not: Why it cannot be had, or an empty text.
    """

    form: Form
    tokens: int
    seconds: float | None = None
    price: float | None = None
    why_not: str = ""

    @property
    def is_possible(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.why_not


@dataclass(frozen=True, slots=True)
class Decision:
    """Which form was chosen, and why not another.

    Args:
        form: The first possible one.
        history_tokens: Tokens of the whole history; the least it can have when `is_whole` is False.
        is_whole: Whether the history was read to its end.
        outlooks: One a form, in order of preference.
    """

    form: Form
    history_tokens: int
    is_whole: bool
    outlooks: tuple[Outlook, ...]

    @property
    def note(self) -> str:
        """The decision as one sentence."""
        against = [f"{_NAMES[each.form]}: {each.why_not}" for each in self.outlooks if not each.is_possible]
        size = f"{'' if self.is_whole else 'more than '}{self.history_tokens:,} tokens"
        return f"chose {_NAMES[self.form]} for a history of {size}" + (f" ({'; '.join(against)})" if against else "")


@dataclass(frozen=True, slots=True)
class Routed:
    """A decision and what it found."""

    decision: Decision
    hits: Hits


@dataclass(frozen=True, slots=True)
class SizeRouter:
    """Read the whole shelf in order when the budget holds it and the caller can afford it; else less.

    A history that fits needs no retrieval, and nothing can be missed. One that does not fit is extracted, where a form
    of extraction is given and within the limits, and searched otherwise. The order of preference is that of the
    published answer quality: full context, one-pass extraction, block extraction, hybrid retrieval.

    Args:
        per_hit_tokens: Tokens of budget for which one hit is fetched.
        most: Largest number of hits to fetch.
        reader: Figures of the model that answers; None leaves time and price out of the choice.
        helper: Figures of the model that extracts; None is the reader's. Not used for extraction without a model.
        one_pass: How to extract at once, or None not to.
        blocks: How to extract by blocks, or None not to.
        most_seconds: Longest time of an answer; a budget's ``ms`` counts as well.
        most_price: Highest price of an answer.

    Source: Pakhomov, Nijkamp and Xiong 2025, arXiv 2511.10523: full context wins on small histories, and what ends
        it is time and price.
    Deviates: measured in tokens against the caller's budget and limits, not in conversations against thresholds of 30
        and 150.
    """

    per_hit_tokens: int = 20
    most: int = 400
    reader: ModelProfile | None = None
    helper: ModelProfile | None = None
    one_pass: OnePassExtract | None = None
    blocks: BlockExtract | None = None
    most_seconds: float | None = None
    most_price: float | None = None

    def __post_init__(self) -> None:
        if self.per_hit_tokens < 1 or self.most < 1:
            raise BadInput("per_hit_tokens and most must be at least 1")
        for name in ("most_seconds", "most_price"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput(f"{name} must be above 0, got {value!r}")
            if value is not None and self.reader is None:
                raise BadInput(f"{name} says nothing without the figures of a model", hint="give reader")

    def retrieve(self, question: str, shelf: Shelf, budget: Budget) -> Hits:
        """Return everything with one score for all, or what was extracted, or the best hits."""
        return self.route(question, shelf, budget).hits

    def route(self, question: str, shelf: Shelf, budget: Budget) -> Routed:
        """Choose a form, use it, and say why.

        Args:
            question: What is asked.
            shelf: What the caller may see.
            budget: Tokens of the final prompt, and milliseconds of the answer where a reader is known.

        Raises:
            ModelError: The model that extracts failed.
        """
        start = time.perf_counter()
        cubes, is_whole = self._read(shelf, budget)
        if is_whole:
            tokens = [count + _NUMBER_TOKENS for count in shelf.tokens([passage(cube) for cube in cubes])]
            decision = self.decide(cubes, tokens, budget)
        else:  # too long for every form that reads it all, so nothing is counted
            decision = self.decide_by_size(_PASSAGE_TOKENS * len(cubes), 0, budget, is_whole=False)
        ms = (time.perf_counter() - start) * 1000
        hits = self._used(decision, cubes, question, shelf, budget)
        note = self._whole_note(len(cubes), budget) if decision.form == "full" else decision.note
        return Routed(decision, replace(hits, ms={"size": ms, **hits.ms}, notes=(*hits.notes, note)))

    def decide(self, cubes: Sequence[Cube], tokens: Sequence[int], budget: Budget) -> Decision:
        """Return which form a history gets.

        Args:
            cubes: All of it, in order.
            tokens: Of each passage with its number.
            budget: As for `route`.
        """
        blocks = 0 if self.blocks is None else self.blocks.count(cubes, tokens)
        return self.decide_by_size(sum(tokens), blocks, budget)

    def decide_by_size(self, tokens: int, blocks: int, budget: Budget, *, is_whole: bool = True) -> Decision:
        """Return which form a history of a size gets.

        Args:
            tokens: Of the whole history.
            blocks: How many blocks it makes.
            budget: As for `route`.
            is_whole: Whether that is all of it.
        """
        outlooks = [self._full(tokens, budget, is_whole=is_whole)]
        context = _DEFAULT_TOKENS if budget.tokens is None else budget.tokens
        if self.one_pass is not None:
            over = "" if tokens <= self.one_pass.window_tokens else f"{tokens:,} tokens exceed its window"
            found = self._extraction("one_pass", tokens, 1, self.one_pass.helper is not None, context)
            outlooks.append(self._judged(found, budget, "" if is_whole else "the history is too long to read", over))
        if self.blocks is not None:
            found = self._extraction("blocks", tokens, blocks, self.blocks.helper is not None, context)
            outlooks.append(self._judged(found, budget, "" if is_whole else "the history is too long to read"))
        outlooks.append(Outlook("search", context, *self._answer(context)))
        chosen = next(each.form for each in outlooks if each.is_possible)
        return Decision(chosen, tokens, is_whole, tuple(outlooks))

    def _full(self, tokens: int, budget: Budget, *, is_whole: bool) -> Outlook:
        room = budget.tokens if self.reader is None else self._room(budget.tokens, self.reader.window_tokens)
        found = Outlook("full", tokens, *self._answer(tokens))
        if room is None:
            return replace(found, why_not="the budget names no tokens")
        over = "" if is_whole and tokens <= room else f"it exceeds {room:,} tokens"
        return self._judged(found, budget, over)

    def _room(self, tokens: int | None, window: int) -> int:
        return window if tokens is None else min(tokens, window)

    def _answer(self, tokens: int) -> tuple[float | None, float | None]:
        """Return seconds and price of an answer from a prompt."""
        return (None, None) if self.reader is None else (self.reader.seconds(tokens), self.reader.price(tokens))

    def _extraction(self, form: Form, tokens: int, calls: int, is_asked: bool, context: int) -> Outlook:
        seconds, price = self._answer(min(tokens, context))
        if seconds is None or price is None:
            return Outlook(form, min(tokens, context))
        helper = self.helper or self.reader
        if is_asked and helper is not None and calls:
            a_call = tokens / calls
            rounds = -(-calls // helper.parallel)
            seconds += rounds * (helper.seconds(a_call) + helper.extract_seconds)
            price += calls * (helper.price(a_call) + helper.extract_price)
        return Outlook(form, min(tokens, context), seconds, price)

    def _judged(self, found: Outlook, budget: Budget, *against: str) -> Outlook:
        """Return an outlook with the first thing that speaks against it."""
        limits = [self.most_seconds, None if budget.ms is None else budget.ms / 1000]
        most = min((limit for limit in limits if limit is not None), default=None)
        reasons = list(against)
        if most is not None and found.seconds is not None and found.seconds > most:
            reasons.append(f"{found.seconds:.1f} s exceed {most:g} s")
        if self.most_price is not None and found.price is not None and found.price > self.most_price:
            reasons.append(f"a price of {found.price:.4f} exceeds {self.most_price:g}")
        return replace(found, why_not=next((reason for reason in reasons if reason), ""))

    def _read(self, shelf: Shelf, budget: Budget) -> tuple[Sequence[Cube], bool]:
        """Return as much of the history as a choice needs, and whether that is all of it."""
        if self.one_pass is not None or self.blocks is not None:
            limit = _MOST_CUBES
        elif budget.tokens is not None or self.reader is not None:
            window = budget.tokens if self.reader is None else self._room(budget.tokens, self.reader.window_tokens)
            limit = min(_MOST_CUBES, (window or 0) // _PASSAGE_TOKENS + 1)
        else:
            return (), False
        cubes = shelf.everything(limit)
        return cubes, len(cubes) < limit

    def _used(self, decision: Decision, cubes: Sequence[Cube], question: str, shelf: Shelf, budget: Budget) -> Hits:
        if decision.form == "full":
            reason = (Reason("all", 1.0, 0),)
            return Hits(tuple(Hit(cube, 1.0, reason) for cube in cubes), len(cubes), {}, {})
        if decision.form == "one_pass" and self.one_pass is not None:
            return self.one_pass.retrieve(question, shelf, budget)
        if decision.form == "blocks" and self.blocks is not None:
            return self.blocks.retrieve(question, shelf, budget)
        tokens = _DEFAULT_TOKENS if budget.tokens is None else budget.tokens
        return shelf.search(question, max(1, min(self.most, tokens // self.per_hit_tokens)))

    def _whole_note(self, cubes: int, budget: Budget) -> str:
        if not cubes:
            return "there is nothing to search in"
        room = "the window of the model" if budget.tokens is None else f"{budget.tokens} tokens"
        return f"all {cubes} memories fit into {room}: nothing had to be searched"
