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
_NUMBER_WORDS = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|once|twice|half"
_NUMBER = re.compile(rf"\d|\b({_NUMBER_WORDS})\b", re.I)
_WHO = re.compile(
    r"^(?:in |at |to |from |with |by |for )?(?:who|whom|whose|where|which|what (?:\w+ )?"
    r"(?:names?|city|cities|towns?|country|countries|places?|books?|company|companies|states?|people|persons?))\b",
    re.I,
)
_NAME = re.compile(  # a capital that begins no sentence, or a title in quotes; not a day or a month
    r"(?<=[a-z,;:] )(?!I\b|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b|(?:Jan|Febr)uary\b|March\b|April\b|May\b|June\b"
    r"|July\b|August\b|(?:Sept|Nov|Dec)ember\b|October\b)[A-Z]\w+|[\"“][A-Z]\w+"
)
_LIST = re.compile(
    r"^(?:\w+ )?(?:which|what) (?:(?!do|does|did|is|are|was|were|has|have|had|as|this|his|her)\w+ )?"
    r"(?!(?:does|is|was|has|as|this|his)\b)(?:[a-z]*[^su\Wi]s|people|children)\b",
    re.I,
)
_UNIT = re.compile(r"\bhow many (?:more |other |full )?(\w+)", re.I)
_NOW = re.compile(r"\b(?:now|nowadays|currently|presently|still|these days|at the moment|at present|today)\b", re.I)

_LEADING = 5  # hits that may carry the evidence
_OF_A_LIST = 5  # sentences that answer a question for several things, each of another hit
_AROUND = 0.6  # of a list: what the question's terms weigh that stand elsewhere in the hit
_NEW_WORDS = 4  # terms beyond the question's from which on a sentence is no mere echo of it


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

    A sentence scores by the weight of the question's terms that it or its speaker, title and headings hold (rare terms
    weigh more), by its likeness in meaning, by the score of its hit beside the best, by what it says beyond the
    question, and by holding what the question asks for: a date for "when", a number for "how many", a name for "who"
    and "which town". Below `evidence` there is no answer. A question for several things ("which towns") is answered by
    up to five sentences, each of another hit. Of sentences that say different numbers of what is counted, and of all
    where it is asked what is so now, the newest comes first.

    Args:
        most: Sentences to return at most, >= 1; of a list, five where it is three or more.
        evidence: What the leading hits must reach, 0 to 2: the share of the question's weight that the best of them
            covers, plus the likeness in meaning of the nearest.
    """

    most: int = 3
    evidence: float = 0.75  # answers 93 % of LoCoMo, 31 % of foreign questions: benchmarks/retrieval.py --only ask

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
        about = [set(terms(_about(hit))) for hit in hits]
        is_list = bool(_LIST.search(question))
        around = [set(terms(hit.cube.text)) if is_list else set() for hit in hits]
        near = likeness(question, [text for _, _, text in candidates])
        standing = _standing(hits)
        scored: list[Sentence] = []
        for (hit, place, text), alike in zip(candidates, near, strict=True):
            if text.endswith("?"):
                continue  # a question is no answer
            said = set(terms(text))
            covers = sum(w for term, w in weights.items() if term in said | about[place]) / whole
            covers += (
                sum(w for term, w in weights.items() if term in around[place] - said - about[place]) * _AROUND / whole
            )
            tells = min(_NEW_WORDS, len(said - weights.keys())) / _NEW_WORDS
            score = covers + 0.5 * alike + 2 * standing[place] + 0.5 * tells + self._fits(question, text)
            scored.append(Sentence(text, hit, score))
        scored.sort(key=lambda sentence: -sentence.score)
        nearest = max(likeness(question, [introduction(hit.cube) + hit.cube.text for hit in hits[:_LEADING]]))
        if not scored or self._coverage(hits, terms, weights) / whole + nearest < self.evidence:
            return []
        return _newest_first(question, self._few(scored, is_list=is_list))

    def _weights(self, asked: Sequence[str], found: Mapping[str, int], size: int) -> dict[str, float]:
        return {t: math.log(1 + (size + 0.5) / (found.get(t, 0) + 0.5)) for t in asked}

    def _coverage(self, hits: Sequence[Hit], terms: Terms, weights: Mapping[str, float]) -> float:
        """Return the greatest weight of question terms that one of the leading hits holds."""
        best = 0.0
        for hit in hits[:_LEADING]:
            mine = set(terms(f"{_about(hit)} {hit.cube.text}"))
            best = max(best, sum(weight for term, weight in weights.items() if term in mine))
        return best

    def _fits(self, question: str, text: str) -> float:
        """Return what it is worth that a sentence holds the kind of thing that is asked for."""
        if _WHEN.search(question):
            return 0.3 if _DATE.search(text) else 0.0
        if _HOW_MANY.search(question):
            return 0.3 if _NUMBER.search(text) else 0.0
        if _WHO.search(question):
            asked = question.lower()
            return 0.3 if any(name.lower() not in asked for name in _NAME.findall(text)) else 0.0
        return 0.0

    def _few(self, scored: Sequence[Sentence], *, is_list: bool) -> list[Sentence]:
        """Keep sentences close to the best one, without repeats; of a list one a hit."""
        most = max(self.most, _OF_A_LIST) if is_list and self.most >= 3 else self.most
        kept: list[Sentence] = []
        for sentence in scored:
            if sentence.score < (0.6 if is_list else 0.75) * scored[0].score or len(kept) == most:
                break
            if all(
                sentence.text != other.text and not (is_list and sentence.hit.cube.id == other.hit.cube.id)
                for other in kept
            ):
                kept.append(sentence)
        return kept


def _about(hit: Hit) -> str:
    """Return who says a hit, and under which title and headings it stands."""
    p = hit.cube.header.provenance
    return f"{p.speaker or ''} {p.title or ''} {' '.join(p.section)}"


def _standing(hits: Sequence[Hit]) -> list[float]:
    """Return the score of each hit beside the best, 0 to 1; by rank where scores say nothing."""
    best = hits[0].score
    if best <= 0:
        return [1 / (1 + place) for place in range(len(hits))]
    return [min(1.0, max(0.0, hit.score / best)) for hit in hits]


def _newest_first(question: str, kept: list[Sentence]) -> list[Sentence]:
    """Put the newest of contradicting sentences where the first of them stood; the others stay in their places."""
    unit = _UNIT.search(question)
    places = [place for place, one in enumerate(kept) if unit is not None and _counted(unit[1], one.text)]
    if len({_counted(unit[1], kept[place].text) for place in places} if unit is not None else ()) < 2:
        places = []
    if _NOW.search(question) and not places:
        places = list(range(len(kept)))
    ordered = sorted((kept[place] for place in places), key=lambda one: one.hit.cube.time, reverse=True)
    for place, one in zip(places, ordered, strict=True):
        kept[place] = one
    return kept


def _counted(unit: str, text: str) -> str:
    """Return the number that stands before a unit, in lower case, or an empty text."""
    found = re.search(rf"\b(\d[\d,.]*|{_NUMBER_WORDS}) (?:\w+ )?{re.escape(unit)}\b", text, re.I)
    return found[1].lower() if found else ""
