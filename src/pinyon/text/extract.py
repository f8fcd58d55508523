"""Answer without a model: the sentences that answer, with their source."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.render import introduction
from ..errors import BadInput
from .base import Hit
from .split import sentences

__all__ = ["Extractive", "Sentence"]

Terms = Callable[[str], list[str]]
Likeness = Callable[[str, Sequence[str]], Sequence[float]]
_WHEN = re.compile(r"\b(when|what (?:date|day|month|year|time)|how long ago|since when)\b", re.I)
_DATE = re.compile(
    r"\b(\d{1,4}|yesterday|today|tomorrow|tonight|last|next|ago|week|weekend|month|year|monday|tuesday|wednesday|thursday"
    r"|friday|saturday|sunday|january|february|march|april|may|june|july|august|september|october|november|december)\b",
    re.I,
)
_HOW_MANY = re.compile(r"\bhow (many|much|old|long|far|often)\b", re.I)
_NUMBER = re.compile(
    r"\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|once|twice|half)\b", re.I
)


_LEADING = 5  # hits that may carry the evidence


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence that answers.

    Args:
        text: The sentence as it stands in the source, line breaks made spaces.
        hit: Where it stands.
        score: Share of the question that it and its surroundings cover, 0 to about 1.5.
    """

    text: str
    hit: Hit
    score: float


@dataclass(frozen=True, slots=True)
class Extractive:
    """Choose the sentences of the hits that cover most of a question.

    A sentence scores by the weight of the question's terms it holds (rare terms weigh more), by its likeness in
    meaning, by the rank of its hit, and by holding what the question asks for: a date for "when", a number for
    "how many". Below `evidence` there is no answer.

    Args:
        most: Sentences to return at most, >= 1.
        evidence: What the leading hits must reach, 0 to 2: the share of the question's weight that the best of them
            covers, plus the likeness in meaning of the nearest.
    """

    most: int = 3
    evidence: float = 0.75  # answers 95 % of LoCoMo, 38 % of foreign questions: benchmarks/retrieval.py --only ask

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 <= self.evidence <= 2:
            raise BadInput("most must be at least 1 and evidence between 0 and 2")

    def answer(
        self,
        question: str,
        hits: Sequence[Hit],
        *,
        terms: Terms,
        likeness: Likeness,
        found: Mapping[str, int],
        size: int,
    ) -> list[Sentence]:
        """Return the best sentences, best first; an empty list when the hits are no evidence.

        Args:
            question: What is asked.
            hits: What was found, best first.
            terms: Text to index terms.
            likeness: Question and texts to similarities.
            found: Terms of the question that occur in the memory, with the number of cubes they occur in.
            size: Number of cubes in the memory.
        """
        weights = self._weights(terms(question), found, size)
        whole = sum(weights.values())
        if not hits or not whole:
            return []
        candidates = [
            (hit, place, " ".join(hit.cube.text[a:b].split()))
            for place, hit in enumerate(hits)
            for a, b in sentences(hit.cube.text)
            if hit.cube.text[a:b].strip()
        ]
        near = likeness(question, [text for _, _, text in candidates])
        scored: list[Sentence] = []
        for (hit, place, text), alike in zip(candidates, near, strict=True):
            if text.endswith("?"):
                continue  # a question is no answer
            covers = sum(w for term, w in weights.items() if term in set(terms(text))) / whole
            scored.append(Sentence(text, hit, covers + 0.5 * alike + 0.4 / (1 + place) + self._fits(question, text)))
        scored.sort(key=lambda sentence: -sentence.score)
        nearest = max(likeness(question, [introduction(hit.cube) + hit.cube.text for hit in hits[:_LEADING]]))
        if not scored or self._coverage(hits, terms, weights) / whole + nearest < self.evidence:
            return []
        return self._few(scored)

    def _weights(self, asked: Sequence[str], found: Mapping[str, int], size: int) -> dict[str, float]:
        return {t: math.log(1 + (size + 0.5) / (found.get(t, 0) + 0.5)) for t in asked}

    def _coverage(self, hits: Sequence[Hit], terms: Terms, weights: Mapping[str, float]) -> float:
        """Return the greatest weight of question terms that one of the leading hits holds."""
        best = 0.0
        for hit in hits[:_LEADING]:
            p = hit.cube.header.provenance
            mine = set(terms(f"{p.speaker or ''} {p.title or ''} {' '.join(p.section)} {hit.cube.text}"))
            best = max(best, sum(weight for term, weight in weights.items() if term in mine))
        return best

    def _fits(self, question: str, text: str) -> float:
        if _WHEN.search(question) and _DATE.search(text):
            return 0.15
        return 0.15 if _HOW_MANY.search(question) and _NUMBER.search(text) else 0.0

    def _few(self, scored: Sequence[Sentence]) -> list[Sentence]:
        """Keep sentences close to the best one, without repeats."""
        kept: list[Sentence] = []
        for sentence in scored:
            if sentence.score < 0.6 * scored[0].score or len(kept) == self.most:
                break
            if all(sentence.text != other.text for other in kept):
                kept.append(sentence)
        return kept
