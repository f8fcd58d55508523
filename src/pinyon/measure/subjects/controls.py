"""Plain systems that anyone could write in an afternoon: a memory that does not beat them is not worth its keep.

All rank the same text, "[date, session] speaker: text", and share one layout of the prompt.
"""

from __future__ import annotations

import math
import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import Stemmer
from numpy.typing import NDArray

from ...models import Embedder, StaticEmbedder
from ..resident import resident_bytes
from ..subject import Context, Held, Passage, Ranked
from .shown import Kept, introduced

__all__ = ["BM25", "Dense", "FullContext", "Hybrid", "LastTokens", "Random"]

Scores = NDArray[np.float64]
_WORD = re.compile(r"\w+")
_RECALLED = 400  # passages tried for a prompt; some 40 fill 3,200 tokens
_RANK_OFFSET = 60  # Cormack et al. 2009, "Reciprocal rank fusion", section 2


class _Control(ABC):
    """What all have in common: they keep the passages, and differ in the scores."""

    name = ""

    def __init__(self) -> None:
        self._before = resident_bytes()
        self.kept = Kept()

    @abstractmethod
    def scores(self, space: str, question: str) -> Scores:
        """Return a number for every passage of a space, (N,) in the order in which they were added."""

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Keep the passages."""
        self.kept.add(space, passages)

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        """Return the k best passages; of two with one score the earlier one is better."""
        ids = list(self.kept.of(space))
        if not ids:
            return ()
        scores = self.scores(space, question)
        best = np.argsort(-scores, kind="stable")[:k]
        return [Ranked(ids[place], float(scores[place])) for place in best.tolist()]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        """Return the best passages that fit."""
        found = self.search(space, question, _RECALLED)
        return self.kept.packed(space, [hit.id for hit in found], budget_tokens)

    def ask(self, space: str, question: str) -> str | None:  # noqa: ARG002  # the protocol's
        """Return None: controls do not answer."""
        return None

    def footprint(self) -> Held:
        """Return the growth of the process; nothing lies on a disk."""
        return Held(max(0, resident_bytes() - self._before), 0)

    def close(self) -> None:  # noqa: B027  # nothing is open
        """Release nothing."""


class FullContext(_Control):
    """Give the model everything, whatever the budget: the most that any prompt can hold, at its price."""

    name = "full context"

    def scores(self, space: str, question: str) -> Scores:  # noqa: ARG002  # it looks at nothing
        """Return the order in which it was said."""
        return -np.arange(len(self.kept.of(space)), dtype=np.float64)

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:  # noqa: ARG002  # it ignores both
        """Return everything."""
        return self.kept.whole(space)


class LastTokens(_Control):
    """Give the model what was said last, as chat programs without a memory do."""

    name = "last tokens"

    def scores(self, space: str, question: str) -> Scores:  # noqa: ARG002  # it looks at nothing
        """Return the later the better."""
        return np.arange(len(self.kept.of(space)), dtype=np.float64)


class Random(_Control):
    """Draw passages at random: what chance alone finds.

    Args:
        seed: Of the draws; one question always gets one order.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._seed = seed

    def scores(self, space: str, question: str) -> Scores:
        """Return random numbers."""
        draw = random.Random(f"{self._seed} {space} {question}")
        return np.array([draw.random() for _ in self.kept.of(space)])


class BM25(_Control):
    """Rank by BM25 over stemmed words.

    Args:
        k1: Saturation of a word's frequency.
        b: How much long passages are held back.
        shown: What is indexed of a passage.
        name: For tables.

    Source: Robertson and Zaragoza 2009, "The probabilistic relevance framework", section 3.3, with the never-negative
        weight ln(1 + (N - n + 0.5) / (n + 0.5)).
    Deviates: none.
    """

    name = "BM25"

    def __init__(
        self,
        k1: float = 1.2,
        b: float = 0.75,
        *,
        shown: Callable[[Passage], str] = introduced,
        name: str = "BM25",
    ) -> None:
        super().__init__()
        self.name = name
        self._k1, self._b, self._shown = k1, b, shown
        self._stem = Stemmer.Stemmer("english").stemWords
        self._postings: dict[str, dict[str, dict[int, int]]] = {}
        self._lengths: dict[str, list[int]] = {}
        self._places: dict[str, dict[str, int]] = {}

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Count the words of the passages."""
        super().add(space, passages)
        postings, lengths = self._postings.setdefault(space, {}), self._lengths.setdefault(space, [])
        for passage in passages:
            terms = self.terms(self._shown(passage))
            for term, count in Counter(terms).items():
                postings.setdefault(term, {})[len(lengths)] = count
            lengths.append(len(terms))

    def terms(self, text: str) -> list[str]:
        """Return the stems of the words of a text."""
        found: list[str] = self._stem(_WORD.findall(text.lower()))
        return found

    def scores(self, space: str, question: str) -> Scores:
        """Return the BM25 of every passage."""
        lengths = np.array(self._lengths[space], dtype=np.float64)
        norm = self._k1 * (1 - self._b + self._b * lengths / max(1.0, float(lengths.mean())))
        out = np.zeros(len(lengths))
        for term in self.terms(question):
            holders = self._postings[space].get(term)
            if holders:
                where = np.fromiter(holders, dtype=np.intp, count=len(holders))
                counts = np.fromiter(holders.values(), dtype=np.float64, count=len(holders))
                weight = math.log(1 + (len(lengths) - len(holders) + 0.5) / (len(holders) + 0.5))
                out[where] += weight * counts * (self._k1 + 1) / (counts + norm[where])
        return out


class Dense(_Control):
    """Rank by the cosine of vectors.

    Args:
        embedder: Of passages and questions; None is the static one, which every system here gets.
    """

    name = "dense"

    def __init__(self, embedder: Embedder | None = None) -> None:
        super().__init__()
        self._embedder = embedder or StaticEmbedder()
        self._rows: dict[str, list[NDArray[np.float32]]] = {}

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Embed the passages."""
        super().add(space, passages)
        self._rows.setdefault(space, []).append(self._embedder.embed([introduced(p) for p in passages]))

    def scores(self, space: str, question: str) -> Scores:
        """Return the cosine of every passage and the question."""
        rows = self._rows[space]
        if len(rows) > 1:
            rows[:] = [np.concatenate(rows)]
        return np.asarray(rows[0] @ self._embedder.embed_query(question), dtype=np.float64)


class Hybrid(_Control):
    """Rank by the sum of the reciprocal ranks of BM25 and dense vectors.

    Args:
        embedder: As for `Dense`.

    Source: Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion".
    """

    name = "hybrid"

    def __init__(self, embedder: Embedder | None = None) -> None:
        super().__init__()
        self._legs = (BM25(), Dense(embedder))

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Index the passages twice."""
        super().add(space, passages)
        for leg in self._legs:
            leg.add(space, passages)

    def scores(self, space: str, question: str) -> Scores:
        """Return 1 / (60 + rank) of both, summed."""
        out = np.zeros(len(self.kept.of(space)))
        for leg in self._legs:
            order = np.argsort(-leg.scores(space, question), kind="stable")
            out[order] += 1.0 / (_RANK_OFFSET + 1 + np.arange(len(order)))
        return out
