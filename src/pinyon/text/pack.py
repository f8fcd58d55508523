"""Lay hits out as numbered passages under a token budget."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.budget import Budget, Footprint
from ..core.cube import Cube
from ..core.render import introduction
from ..core.select import select
from .alike import distinct_hits
from .base import Context, Hit, Shelf

__all__ = ["Pack", "passage"]

_NUMBER_TOKENS = 6  # "[123] " and the line break, in any tokenizer


@dataclass(frozen=True, slots=True)
class Pack:
    """Choose hits by score, show them in the order in which they happened, each with date, speaker and number.

    Of hits in which one speaker says the same words, whatever their case and punctuation, only the latest is shown, so
    that a repetition costs nothing; texts that differ in a single word or number are both shown.

    Args:
        by_day: Whether what was said on another day is something else, as where it is asked when or how often.
    """

    by_day: bool = False

    def compose(self, hits: Sequence[Hit], shelf: Shelf, budget: Budget) -> Context:
        """Return the passages that fit.

        Args:
            hits: In any order.
            shelf: Counts the tokens.
            budget: Tokens and bytes of the whole text, never exceeded. When not even the best hit fits, it is cut.
        """
        groups = distinct_hits(hits, by_day=self.by_day)
        distinct, repeated = [hit for hit, _ in groups], [hit for _, others in groups for hit in others]
        lines = {hit.cube.id: passage(hit.cube) for hit in distinct}
        tokens = dict(zip(lines, shelf.tokens(list(lines.values())), strict=True))

        def cost(hit: Hit) -> Footprint:
            line = lines[hit.cube.id]
            return Footprint(tokens=tokens[hit.cube.id] + _NUMBER_TOKENS, bytes=len(line.encode()) + 8)

        chosen = select(distinct, budget, worth=lambda hit: hit.score, cost=cost)
        kept, dropped = list(chosen.kept), [*chosen.dropped, *repeated]
        while kept:
            ordered = sorted(kept, key=lambda hit: _place(hit.cube))
            text = "\n".join(f"[{n}] {lines[hit.cube.id]}" for n, hit in enumerate(ordered, 1))
            footprint = Footprint(tokens=shelf.tokens([text])[0], bytes=len(text.encode()))
            if budget.allows(footprint):
                return Context(text, tuple(ordered), tuple(dropped), footprint)
            dropped.append(kept.pop())  # a tokenizer that counts joined lines higher than the sum of them
        return self._cut(distinct, shelf, budget, dropped)

    def _cut(self, hits: Sequence[Hit], shelf: Shelf, budget: Budget, dropped: Sequence[Hit]) -> Context:
        """Show as much of the best hit as fits."""
        if hits:
            best = max(hits, key=lambda hit: hit.score)
            words = re.findall(r"\S+\s*", passage(best.cube))
            low, high = 0, len(words)
            while low < high:
                middle = (low + high + 1) // 2
                low, high = (middle, high) if self._fits(words[:middle], shelf, budget) else (low, middle - 1)
            if low:
                text = f"[1] {''.join(words[:low]).rstrip()} …"
                footprint = Footprint(tokens=shelf.tokens([text])[0], bytes=len(text.encode()))
                return Context(text, (best,), tuple(hit for hit in dropped if hit is not best), footprint)
        return Context("", (), tuple(dropped), Footprint())

    def _fits(self, words: Sequence[str], shelf: Shelf, budget: Budget) -> bool:
        text = f"[1] {''.join(words).rstrip()} …"
        return budget.allows(Footprint(tokens=shelf.tokens([text])[0], bytes=len(text.encode())))


def passage(cube: Cube) -> str:
    """Return a cube as one passage of a prompt: "[date, session] speaker: text"."""
    return introduction(cube) + cube.text.strip()


def _place(cube: Cube) -> tuple[str, float, int, int]:
    """Sort key: documents together and in reading order, everything else as it happened."""
    p = cube.header.provenance
    document = (p.thread or "") if p.unit == "chunk" else ""
    moment = 0.0 if document else cube.time.timestamp()
    return document, moment, p.position or 0, cube.row
