"""Follow a conversation and keep at hand what it is about, without a model."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ..core.clock import Clock
from ..errors import BadInput
from .policy import Context, Item
from .working import Places, WorkingSet

__all__ = ["Found", "Heard", "Listener", "Listening"]

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """A memory that a search gave.

    Args:
        item: What a policy may know of it.
        text: Its words.
        vector: Its unit row, (E,).
    """

    item: Item
    text: str
    vector: Row


@dataclass(frozen=True, slots=True)
class Listening:
    """How a listener works.

    Args:
        questions: Latest questions whose words count; what none of as many latest searches found leaves; >= 1.
        keywords: Words of them that are searched for, >= 1.
        need: Search again when nothing at hand scores as much, 0 to 1.
        patience: Search again after so much time in any case.
        candidates: Memories that one search may bring, >= 1.
        alike: Cosine of words from which the lesser of two memories is a duplicate, 0 to 1.

    Raises:
        BadInput: A number is out of its range.
    """

    questions: int = 5  # MemOS, official code
    keywords: int = 8  # ours
    need: float = 0.45  # MemOS, official code: the relativity below which a memory is unrelated
    patience: timedelta = timedelta(seconds=10)  # MemOS, official code
    candidates: int = 5  # MemOS, official code
    alike: float = 0.75  # MemOS, official code

    def __post_init__(self) -> None:
        if min(self.questions, self.keywords, self.candidates) < 1:
            raise BadInput(f"questions, keywords and candidates must be >= 1, got {self!r}")
        if not (0 <= self.need <= 1 and 0 <= self.alike <= 1):
            raise BadInput(f"need and alike must lie between 0 and 1, got {self!r}")


@dataclass(frozen=True, slots=True)
class Heard:
    """What a question led to.

    Args:
        keywords: What the latest questions are about, the weightiest first.
        best: Score of the best memory that was at hand, 0 to 1.
        has_searched: Whether the store was asked.
        places: Who came and who left; None when it was not asked.
    """

    keywords: tuple[str, ...]
    best: float
    has_searched: bool
    places: Places | None


class Listener:
    """Let each question bring what it needs into a working set.

    A memory scores for a question by half its cosine and half the share of the question's words that it holds, each
    word weighed by how seldom it is. While a memory at hand scores enough, nothing is searched for; else the question
    and the keywords of the latest questions are, near duplicates are dropped, and what is found asks for a place. What
    none of the latest searches found leaves. The policy compares memories with the mean of the latest questions: one
    question is a poor sign of what a talk is about. One listener follows one session.

    Args:
        working: The working set; its policy has the last word.
        search: Gives memories for a text, the best first, at most so many.
        embed: Gives the unit row of a question, (E,).
        terms: Splits a text into its words, ``Analyzer().terms``.
        clock: Tells when.
        settings: How it works.

    Cost: two searches and O(N) scores for N memories at hand, a question.
    Source: Li et al. 2025, MemOS, arXiv 2507.03724, the scheduler of its official code.
    Deviates: a language model chooses keywords, need and order there; here it is arithmetic. The policy replaces a
        weighted sum of rank and counts. Memories of few words stay: a fact of five words is a fact.
    """

    def __init__(
        self,
        working: WorkingSet,
        search: Callable[[str, int], Sequence[Found]],
        embed: Callable[[str], Row],
        terms: Callable[[str], list[str]],
        clock: Clock,
        *,
        settings: Listening = Listening(),
    ) -> None:
        self._working = working
        self._search = search
        self._embed = embed
        self._terms = terms
        self._clock = clock
        self._settings = settings
        self._latest: deque[Counter[str]] = deque(maxlen=settings.questions)
        self._vectors: deque[Row] = deque(maxlen=settings.questions)
        self._texts = 0
        self._texts_with: Counter[str] = Counter()
        self._known: dict[int, _Known] = {}
        self._searched: datetime | None = None
        self._searches = 0

    def hear(self, question: str, labels: frozenset[str] = frozenset()) -> Heard:
        """Take in a question.

        Args:
            question: As it was asked.
            labels: Tags that the task asks for.
        """
        words = Counter(self._terms(question))
        self._count(words)
        self._latest.append(words)
        keywords = self._keywords()
        vector, now = self._embed(question), self._clock.now()
        self._vectors.append(vector)
        best = max((self._scored(known, words, vector) for known in self._at_hand()), default=0.0)
        if best >= self._settings.need and not self._is_late(now):
            return Heard(keywords, best, False, None)
        self._searched = now
        self._searches += 1
        found = self._found(question, keywords)
        pool = sorted({**self._known, **found}.values(), key=lambda one: -self._scored(one, words, vector))
        kept = self._unlike([one for one in pool if self._is_present(one)])
        self._working.drop([row for row in self._known if row not in kept])
        offered = [kept[row].found.item for row in found if row in kept]
        places = self._working.offer(offered, self._context(pool, labels, now))
        self._known = {row: one for row, one in kept.items() if row in self._working.rows}
        return Heard(keywords, best, True, places)

    def _is_present(self, one: _Known) -> bool:
        """Return whether a memory is pinned or one of the latest searches found it."""
        return one.found.item.is_pinned or self._searches - one.search < self._settings.questions

    def _at_hand(self) -> list[_Known]:
        return [known for row, known in self._known.items() if row in self._working.rows]

    def _is_late(self, now: datetime) -> bool:
        return self._searched is not None and now - self._searched >= self._settings.patience

    def _count(self, words: Counter[str]) -> None:
        self._texts += 1
        self._texts_with.update(words.keys())

    def _rarity(self, word: str) -> float:
        return math.log(1 + (self._texts + 1) / (self._texts_with[word] + 1))

    def _keywords(self) -> tuple[str, ...]:
        heard: Counter[str] = Counter()
        for words in self._latest:
            heard.update(words)
        weighed = sorted(heard, key=lambda word: (-heard[word] * self._rarity(word), word))
        return tuple(weighed[: self._settings.keywords])

    def _found(self, question: str, keywords: Sequence[str]) -> dict[int, _Known]:
        out: dict[int, _Known] = {}
        for text in (question, " ".join(keywords)):
            for found in self._search(text, self._settings.candidates) if text.strip() else ():
                row = found.item.row
                before = out.get(row) or self._known.get(row)
                words = Counter(self._terms(found.text)) if before is None else before.words
                if before is None:
                    self._count(words)
                out[row] = _Known(found, words, self._searches)
        return out

    def _scored(self, known: _Known, words: Mapping[str, int], vector: Row) -> float:
        whole = sum(self._rarity(word) for word in words)
        shared = sum(self._rarity(word) for word in words if word in known.words)
        return 0.5 * max(0.0, float(known.found.vector @ vector)) + (0.5 * shared / whole if whole else 0.0)

    def _unlike(self, pool: Sequence[_Known]) -> dict[int, _Known]:
        """Return the memories that are no duplicate of a better one, by row."""
        kept: dict[int, _Known] = {}
        weights: list[dict[str, float]] = []
        for one in pool:
            mine = self._weights(one.words)
            if one.found.item.is_pinned or all(_cosine(mine, other) < self._settings.alike for other in weights):
                kept[one.found.item.row] = one
                weights.append(mine)
        return kept

    def _weights(self, words: Mapping[str, int]) -> dict[str, float]:
        raw = {word: number * self._rarity(word) for word, number in words.items()}
        length = math.sqrt(sum(weight * weight for weight in raw.values()))
        return {word: weight / length for word, weight in raw.items()} if length else {}

    def _context(self, pool: Sequence[_Known], labels: frozenset[str], now: datetime) -> Context:
        whole = np.sum(self._vectors, axis=0)
        length = float(np.linalg.norm(whole)) or 1.0
        cosines = {one.found.item.row: float(one.found.vector @ whole) / length for one in pool}
        return Context(now, cosines, labels, max((one.found.item.uses for one in pool), default=0))


@dataclass(frozen=True, slots=True)
class _Known:
    """A memory that was found, with its words and the number of the search that found it last."""

    found: Found
    words: Counter[str]
    search: int


def _cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    small, large = (one, other) if len(one) < len(other) else (other, one)
    return sum(weight * large.get(word, 0.0) for word, weight in small.items())
