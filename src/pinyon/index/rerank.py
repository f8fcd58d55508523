"""A second look at the best turns: more features than the first sum, weighed as known evidence has taught."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._rerank_weights import WEIGHTS
from .cues import unpacked

__all__ = ["FITS", "Aspects", "Candidates", "RerankConfig", "features", "rerank"]

Scores = NDArray[np.float32]
Rows = NDArray[np.float32]
Slots = NDArray[np.intp]
Watch = Callable[[NDArray[np.int64], Scores, Mapping[str, Scores]], object]
_FEEDBACK = 5  # best turns whose mean vector stands for what the question may have meant (Rocchio 1971)
_ALIKE = 3  # best turns that others are compared with
FITS = (
    "turn", "window1", "window2", "section", "question", "topic", "near_question", "near_topic", "wide_question",
    "wide_topic", "near_feedback", "alike",
)  # fmt: skip
"""How a turn, or what stands around it, fits a question in words and in meaning.

How much each of these tells depends on three circumstances, and so each stands among the features four times:
``reached`` (how much of what they could the words of the question reached: where that is little, a match is chance),
``flowing`` (how near in meaning neighbours stand in this memory: where they do not, windows say little), and ``alone``
(how little this turn has to do with its neighbours).
"""
_LEVELLED = 20  # best turns on which the scores of the first sum and of the second look are brought together
_JUDGED = ("window1", "speaker", "first_person", "length", "prompted")
"""What counts otherwise when a question asks for a judgement: less its words, more what people say of themselves."""
_DAY = 86_400_000_000
_REACH = 0.4  # share of what words could reach from which on they count in full; on LoCoMo a fifth reaches more
_KINSHIP = 0.5  # inner product with its neighbours from which on a turn is not alone; on LoCoMo evidence has 0.6
_SHORT_TERMS, _LONG_TERMS = 40, 54  # in longer texts marks and capitals are no sign, and length tells nothing more
_MARKS = ("asks", "ends_asking", "first_person", "second_person", "exclaims", "capitals")
_AFTER_DAYS, _BEFORE_DAYS = 7.0, 2.0  # people tell of a day mostly in the week after it


@dataclass(frozen=True, slots=True)
class RerankConfig:
    """How many of the best are looked at again.

    Args:
        pool: Their number; at least twice as many as are asked for. 0 leaves the first sum as it is.
        nearest: How many of the nearest in meaning are looked at again whatever the first sum says.
        weights: By name of a feature; a feature without one counts nothing.
        watch: Told the rows that are looked at, best first, their first scores, and their features; for learning.
    """

    pool: int = 400  # on LoCoMo 200 finds 0.2 points less at 10 and 0.5 less at 50
    nearest: int = 100
    weights: tuple[tuple[str, float], ...] = WEIGHTS
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Aspects:
    """What is known of a question beside its words.

    Args:
        embed: Text to unit row (E,); used for the question without names and function words. None takes the vector
            of the whole question for that too.
        wants_time: Whether it asks when something was.
        wants_number: Whether it asks how much or how many.
        wants_judgement: Whether it asks what is likely or whether something is so, rather than for what was said.
        moments: Times it speaks of, half open, in microseconds.
    """

    embed: Callable[[str], NDArray[np.float32]] | None = None
    wants_time: bool = False
    wants_number: bool = False
    wants_judgement: bool = False
    moments: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Candidates:
    """The turns that are looked at again, best first, M of them.

    Args:
        words: Scores of each granularity as a share of the best lexical sum, (M,) each.
        named: Whether the question names the speaker of each, of the turn before and of the turn after, (3, M).
        vectors: Their rows, (M, E).
        near: Sums of the rows from two before to two after, (M, E).
        wide: Sums of the rows from four before to four after, (M, E).
        cues: Packed, of each and of the turn before, (2, M).
        lengths: Terms of each, (M,).
        begins: Whether nothing stands before it, (M,).
        times: In microseconds, (M,).
        reach: Share of what the question's words could reach that they reached in the best turn, 0 to 1.
    """

    words: Mapping[str, Scores]
    named: NDArray[np.bool_]
    vectors: Rows
    near: Rows
    wide: Rows
    cues: NDArray[np.int32]
    lengths: Scores
    begins: NDArray[np.bool_]
    times: NDArray[np.int64]
    reach: float


def rerank(found: Mapping[str, Scores], weights: Sequence[tuple[str, float]], first: Scores) -> Scores:
    """Return the scores of M turns after the second look, (M,).

    They are shifted so that the best have the mean that the best of the first sum had: chunks keep their first sum, and
    a question whose words reach little lowers no turn below them.

    Args:
        found: Their features.
        weights: By name.
        first: Their first sums, (M,).
    """
    total = np.zeros_like(first)
    for name, weight in weights:
        total += np.float32(weight) * found[name]
    return total + (_best_mean(first) - _best_mean(total))


def _best_mean(scores: Scores) -> np.float32:
    best = np.sort(scores)[-_LEVELLED:]
    return np.float32(best.mean(dtype=np.float64))


def features(
    seen: Candidates, question: NDArray[np.float32], topic: NDArray[np.float32], aspects: Aspects
) -> dict[str, Scores]:
    """Return every feature of the candidates, (M,) each.

    Args:
        seen: The candidates, best first.
        question: Unit row of the question, (E,).
        topic: Unit row of what it is about, (E,).
        aspects: What else is known of it.

    Cost: O(M · E), some milliseconds for hundreds.
    """
    cues, prompt = unpacked(seen.cues[0]), unpacked(seen.cues[1])
    named, before, after = seen.named.astype(np.float32)
    near, wide = _unit(seen.near), _unit(seen.wide)
    feedback = _unit(topic + _unit(seen.vectors[:_FEEDBACK].mean(axis=0)))
    length = np.log1p(np.minimum(seen.lengths, np.float32(_LONG_TERMS))) / np.float32(4)
    share = np.minimum(np.float32(_SHORT_TERMS) / np.maximum(seen.lengths, np.float32(1)), np.float32(1))
    cues |= {name: share * cues[name] for name in _MARKS}
    out = {
        **seen.words,
        "speaker": named,
        "spoken_to": before,
        "answered": after,
        "question": _scaled(seen.vectors @ question),
        "topic": _scaled(seen.vectors @ topic),
        "near_question": _scaled(near @ question),
        "near_topic": _scaled(near @ topic),
        "wide_question": _scaled(wide @ question),
        "wide_topic": _scaled(wide @ topic),
        "near_feedback": _scaled(near @ feedback),
        "alike": np.maximum(seen.vectors @ seen.vectors[:_ALIKE].T, 0).mean(axis=1),
        **cues,
        "length": length,
        "prompted": prompt["asks"],
        "begins": seen.begins.astype(np.float32),
        "wanted_time": cues["time"] * np.float32(aspects.wants_time),
        "wanted_number": cues["number"] * np.float32(aspects.wants_number),
        "moment": _closeness(seen.times, aspects.moments),
        "speaker_length": named * length,
        "speaker_asks": named * cues["asks"],
        "speaker_first_person": named * cues["first_person"],
    }
    del out["time"], out["number"]
    judged = np.float32(aspects.wants_judgement)
    out |= {f"judged_{name}": judged * out[name] for name in _JUDGED}
    for circumstance, weight in _circumstances(seen).items():
        out |= {f"{circumstance}_{name}": weight * out[name] for name in FITS}
    return out


def _circumstances(seen: Candidates) -> dict[str, Scores | np.float32]:
    """Return what decides how much each fit tells, 0 to 1: of the whole question, or of each candidate, (M,)."""
    kinship = np.einsum("me,me->m", seen.vectors, _unit(seen.near - seen.vectors))
    return {
        "reached": np.float32(min(1.0, seen.reach / _REACH)),
        "flowing": np.float32(kinship.mean()),
        "alone": 1 - np.clip(kinship / np.float32(_KINSHIP), 0, 1),
    }


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    out: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.float32(1e-9))
    return out


def _scaled(scores: Scores) -> Scores:
    """Return inner products so that their mean is 0 and their best 1."""
    low, high = float(scores.mean()), float(scores.max())
    if high - low < 1e-6:
        return np.zeros_like(scores)
    return (scores - np.float32(low)) / np.float32(high - low)


def _closeness(times: NDArray[np.int64], moments: Sequence[tuple[int, int]]) -> Scores:
    """Return 1 inside any of the moments, falling off after and, faster, before them, (M,)."""
    out = np.zeros(len(times), dtype=np.float32)
    for start, end in moments:
        late = np.maximum(times - end, 0) / (_DAY * _AFTER_DAYS)
        early = np.maximum(start - times, 0) / (_DAY * _BEFORE_DAYS)
        out = np.maximum(out, np.exp(-late - early).astype(np.float32))
    return out
