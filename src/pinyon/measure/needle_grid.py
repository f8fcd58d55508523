"""Needles in what a local model holds: a fact at each depth of texts of each length, its cache cut by any policy."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from ..core.payload import Json
from ..errors import BadInput, ModelError
from .session import ItemLog
from .stats import Interval, median, wilson

if TYPE_CHECKING:
    from ..models.backbone import Backbone
    from ..models.cache import StateCache
    from ..state.needle_prompts import NeedleFact, NeedlePrompt
    from ..state.policy import CachePolicy

__all__ = ["NeedleGrid", "NeedleRow", "Question", "Reading", "cut_by", "measure_needles"]

Question = Literal["unseen", "seen"]
"""Whether the cache is cut before the question is read, or after."""

Reading = Callable[["Backbone", Sequence[int], int], "StateCache"]
"""Reads tokens so that each head holds at most so many entries on average; returns the cache."""

LENGTHS = (400, 700, 1000)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class NeedleRow:
    """One needle and what came back.

    Args:
        length: Tokens of the prompt.
        depth: Where it lay, 0 to 1.
        told: The sentence that was hidden.
        answer: What the model wrote.
        recall: Share of the needle's words in it.
        is_found: Whether the needle stands in it word for word.
        bytes: Keys and values after the cut.
        whole_bytes: Keys and values of an uncut cache.
        prefill_s: Seconds to read the prompt and cut it.
        decode_s: Seconds for each token of the answer.
    """

    length: int
    depth: float
    told: str
    answer: str
    recall: float
    is_found: bool
    bytes: int
    whole_bytes: int
    prefill_s: float
    decode_s: float

    @property
    def is_repeated(self) -> bool:
        """Whether more than half of the needle's words came back."""
        return self.recall > 0.5


@dataclass(frozen=True, slots=True)
class NeedleGrid:
    """Every needle that was asked for, under one policy and budget.

    Args:
        model: Its name.
        policy: Its name; "none" keeps everything.
        ratio: Share of the entries that went; None when the budget was in bytes.
        question: When the cache was cut.
        rows: One for each needle.
        seed: Of the texts.
        failed: Needles that could not be put.
    """

    model: str
    policy: str
    ratio: float | None
    question: Question
    rows: tuple[NeedleRow, ...]
    seed: int = 0
    failed: int = 0

    @property
    def overall(self) -> Interval:
        """Share of needles that were repeated, with its Wilson interval."""
        return _share(self.rows)

    @property
    def recall(self) -> float:
        """Mean share of the needles' words that came back."""
        return sum(row.recall for row in self.rows) / len(self.rows) if self.rows else 0.0

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of the prompts, ascending."""
        return tuple(sorted({row.length for row in self.rows}))

    @property
    def depths(self) -> tuple[float, ...]:
        """Of the needles, ascending."""
        return tuple(sorted({row.depth for row in self.rows}))

    def cell(self, length: int, depth: float) -> Interval:
        """Return the share of needles of one length and depth that were repeated."""
        return _share([row for row in self.rows if (row.length, row.depth) == (length, depth)])

    def curve(self, bins: int = 5) -> list[tuple[float, Interval]]:
        """Return the share of needles by how many tokens ago they were told, from the nearest; a forgetting curve.

        Args:
            bins: How many points at most, each of as many needles.

        Raises:
            BadInput: `bins` is below 1.
        """
        if bins < 1:
            raise BadInput(f"a curve needs at least one point, got {bins!r}")
        near = sorted(self.rows, key=lambda row: (1 - row.depth) * row.length)
        step = max(1, -(-len(near) // bins))
        parts = [near[start : start + step] for start in range(0, len(near), step)]
        return [(sum((1 - r.depth) * r.length for r in part) / len(part), _share(part)) for part in parts]

    def to_json(self) -> dict[str, Json]:
        """Return everything a picture of it needs, and every needle."""
        cells: list[Json] = [
            {"length": n, "depth": d, **_plain(self.cell(n, d))} for n in self.lengths for d in self.depths
        ]
        curve: list[Json] = [{"tokens_ago": round(x, 1), **_plain(found)} for x, found in self.curve()]
        rows = [{name: getattr(row, name) for name in NeedleRow.__slots__} for row in self.rows]
        return {
            "model": self.model,
            "policy": self.policy,
            "ratio": self.ratio,
            "question": self.question,
            "seed": self.seed,
            "failed": self.failed,
            "overall": _plain(self.overall),
            "recall": self.recall,
            "costs": _costs(self.rows),
            "cells": cells,
            "curve": curve,
            "rows": cast("list[Json]", rows),  # plain numbers and texts
        }

    def to_markdown(self) -> str:
        """Return a table: one row a length, one column a depth, in per cent with the interval."""
        cut = "everything kept" if self.ratio in (None, 0.0) else f"{100 * (self.ratio or 0):g} % of the entries gone"
        title = f"### needle: {self.model}, {self.policy}, {cut}, question {self.question}"
        head = ["tokens", *(f"depth {depth:g}" for depth in self.depths)]
        lines = [title, "", f"| {' | '.join(head)} |", "|---|" + "---:|" * len(self.depths)]
        for length in self.lengths:
            lines.append(f"| {length} | " + " | ".join(_shown(self.cell(length, d)) for d in self.depths) + " |")
        costs = _costs(self.rows)
        lines += [
            "",
            f"repeated {_shown(self.overall)} of {self.overall.n}; word recall {100 * self.recall:.1f};"
            f" {costs['bytes']:,} bytes of {costs['whole_bytes']:,};"
            f" prefill {costs['prefill_s']:.2f} s, {costs['decode_s']:.3f} s a token (medians)",
        ]
        return "\n".join(lines) + "\n"


def measure_needles(
    backbone: Backbone,
    facts: Sequence[NeedleFact] | None = None,
    *,
    read: Reading | None = None,
    policy: str = "none",
    ratio: float | None = 0.0,
    budget_bytes: int | None = None,
    question: Question = "unseen",
    lengths: Sequence[int] = LENGTHS,
    depths: Sequence[float] = DEPTHS,
    facts_a_cell: int = 2,
    items: int | None = None,
    max_tokens: int = 24,
    seed: int = 0,
    log: ItemLog | None = None,
    sentences: Callable[[], Sequence[str]] | None = None,
) -> NeedleGrid:
    """Hide facts at every depth of texts of every length, cut the cache, and ask for them.

    Args:
        backbone: The model.
        facts: What is hidden, in turn; the facts for checks when None.
        read: How a text is read under a budget; None reads it all.
        policy: Name for the report.
        ratio: Share of the entries that goes, 0 to below 1; None when `budget_bytes` is given.
        budget_bytes: Keys and values that stay.
        question: "unseen" cuts before the question is read, "seen" after.
        lengths: Tokens of the prompts.
        depths: Where the facts lie, 0 to 1.
        facts_a_cell: Facts for each length and depth.
        items: Most needles, drawn at random; None takes all.
        max_tokens: Longest answer.
        seed: Of the texts and the draw.
        log: Filled in; what it holds is not done again.
        sentences: What the texts are made of; the Python language reference when None.

    Raises:
        BadInput: A number is out of range, or a fact does not fit a length.
        ModelError: Ten needles failed one after the other, or all.

    Source: Kamradt 2023, "Needle in a haystack"; the score is ROUGE-1 recall, as in arXiv 2404.15574.
    """
    from ..state.needle_prompts import CHECK_FACTS

    if (ratio is None) == (budget_bytes is None) or not 0 <= (ratio or 0) < 1:
        raise BadInput(f"one budget is needed: a ratio from 0 to below 1, or bytes; got {ratio!r} and {budget_bytes!r}")
    log = ItemLog() if log is None else log
    plan = _plan(facts or CHECK_FACTS, lengths, depths, facts_a_cell, items, seed)
    longest = max(lengths) + max_tokens
    if backbone.limit is not None and longest > backbone.limit:
        raise BadInput(f"{longest} tokens, the answer's among them, are more than the {backbone.limit} the model reads")
    log.expect(len(plan))
    asker = _Asker(backbone, read, ratio, budget_bytes, question, max_tokens, seed, sentences)
    rows: list[NeedleRow] = []
    for number, length, depth, fact in plan:
        found = log.run(f"{length} {depth:g} {number}", lambda a=(number, length, depth, fact): asker.ask(*a))  # type: ignore[misc]  # bound now
        if found is not None:
            rows.append(NeedleRow(**cast("Mapping[str, Any]", found)))  # written by `ask`
    if not rows:
        raise ModelError(f"none of {len(plan)} needles could be put to {backbone.name}: {log.reason}")
    return NeedleGrid(backbone.name, policy, ratio, question, tuple(rows), seed, len(plan) - len(rows))


def cut_by(make: Callable[[int], CachePolicy], *, surprisal: bool = False) -> Reading:
    """Return the reading of a policy that cuts a cache after it was read.

    Args:
        make: Gives the policy for a text of so many tokens.
        surprisal: Whether it needs to know how surprising each token was.
    """

    def read(backbone: Backbone, ids: Sequence[int], entries: int) -> StateCache:
        from ..state.compress import compress

        cache = backbone.cache()
        backbone.prefill(ids, cache, surprisal=surprisal)
        if entries < len(ids):
            compress(backbone, cache, make(len(ids)), entries=entries)
        return cache

    return read


@dataclass(frozen=True, slots=True)
class _Asker:
    """Puts one needle after the other to a model."""

    backbone: Backbone
    read: Reading | None
    ratio: float | None
    budget_bytes: int | None
    question: Question
    max_tokens: int
    seed: int
    sentences: Callable[[], Sequence[str]] | None

    def ask(self, number: int, length: int, depth: float, fact: NeedleFact) -> dict[str, Json]:
        """Return the fields of a `NeedleRow`."""
        from ..state.needle_prompts import first_line, needle_prompt, word_recall

        prompt = needle_prompt(
            self.backbone, fact, length=length, depth=depth, seed=2000 + self.seed + number, sentences=self.sentences
        )
        first, rest = self._parts(prompt)
        begun = time.perf_counter()
        cache = self._read(first)
        held = cache.nbytes
        if len(rest) > 1:
            self.backbone.prefill(rest[:-1], cache)
        prefill_s = time.perf_counter() - begun
        begun = time.perf_counter()
        said = self.backbone.continuation(rest[-1:], cache, max_tokens=self.max_tokens)
        decode_s = (time.perf_counter() - begun) / (len(said.ids) + 1)
        answer = first_line(said.text)
        return {
            "length": length,
            "depth": depth,
            "told": fact.told,
            "answer": answer,
            "recall": word_recall(fact.answer, answer),
            "is_found": fact.answer.lower() in answer.lower(),
            "bytes": held,
            "whole_bytes": len(first) * self.backbone.bytes_per_token,
            "prefill_s": prefill_s,
            "decode_s": decode_s,
        }

    def _parts(self, prompt: NeedlePrompt) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return what is read before the cut, and what after it."""
        return (prompt.context, prompt.question) if self.question == "unseen" else (prompt.ids[:-1], prompt.ids[-1:])

    def _read(self, ids: Sequence[int]) -> StateCache:
        if self.read is not None:
            return self.read(self.backbone, ids, self._entries(len(ids)))
        cache = self.backbone.cache()
        self.backbone.prefill(ids, cache)
        return cache

    def _entries(self, tokens: int) -> int:
        if self.budget_bytes is not None:
            return max(1, self.budget_bytes // self.backbone.bytes_per_token)
        return max(1, int(tokens * (1 - (self.ratio or 0.0)) + 1e-9))


def _plan(
    facts: Sequence[NeedleFact],
    lengths: Sequence[int],
    depths: Sequence[float],
    facts_a_cell: int,
    items: int | None,
    seed: int,
) -> list[tuple[int, int, float, NeedleFact]]:
    if facts_a_cell < 1 or not lengths or not depths:
        raise BadInput("needles need lengths, depths and at least one fact for each of both")
    if min(lengths) < 1 or not all(0 <= depth <= 1 for depth in depths):
        raise BadInput(
            f"lengths must be above 0 and depths from 0 to 1, got {list(lengths)} and {list(depths)}",
            hint="a depth of 0.5 is the middle of the text",
        )
    if items is not None and items < 1:
        raise BadInput(f"items must be >= 1, got {items!r}")
    cells = [(length, depth) for length in lengths for depth in depths for _ in range(facts_a_cell)]
    every = [(n, length, depth, facts[n % len(facts)]) for n, (length, depth) in enumerate(cells)]
    if items is None or items >= len(every):
        return every
    return sorted(random.Random(seed).sample(every, items), key=lambda one: one[0])


def _share(rows: Sequence[NeedleRow]) -> Interval:
    return wilson(sum(row.is_repeated for row in rows), len(rows))


def _plain(found: Interval) -> dict[str, Json]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def _shown(found: Interval) -> str:
    return f"{100 * found.value:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]" if found.n else ""


def _costs(rows: Sequence[NeedleRow]) -> dict[str, Any]:
    return {
        "bytes": round(median([row.bytes for row in rows])),
        "whole_bytes": round(median([row.whole_bytes for row in rows])),
        "prefill_s": median([row.prefill_s for row in rows]),
        "decode_s": median([row.decode_s for row in rows]),
    }
