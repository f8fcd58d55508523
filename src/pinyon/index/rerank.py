"""A second look at the best turns: more features than the first sum, weighed as known evidence has taught."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._rerank_weights import OFFSET, WEIGHTS
from .cues import unpacked

__all__ = ["Aspects", "Candidates", "RerankConfig", "features", "rerank"]

Scores = NDArray[np.float32]
Rows = NDArray[np.float32]
Slots = NDArray[np.intp]
Watch = Callable[[NDArray[np.int64], Scores, Mapping[str, Scores]], object]
_FEEDBACK = 5  # best turns whose mean vector stands for what the question may have meant (Rocchio 1971)
_ALIKE = 3  # best turns that others are compared with
_JUDGED = ("window1", "speaker", "first_person", "length", "prompted")
"""What counts otherwise when a question asks for a judgement: less its words, more what people say of themselves."""
_DAY = 86_400_000_000
_AFTER_DAYS, _BEFORE_DAYS = 7.0, 2.0  # people tell of a day mostly in the week after it


@dataclass(frozen=True, slots=True)
class RerankConfig:
    """How many of the best are looked at again.

    Args:
        pool: Their number; at least twice as many as are asked for. 0 leaves the first sum as it is.
        weights: By name of a feature; a feature without one counts nothing.
        watch: Told the rows that are looked at, best first, their first scores, and their features; for learning.
    """

    pool: int = 400  # on LoCoMo 200 finds 0.2 points less at 10 and 0.5 less at 50
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


def rerank(found: Mapping[str, Scores], weights: Sequence[tuple[str, float]]) -> Scores:
    """Return the scores of M turns after the second look, (M,), on the scale of the first.

    Args:
        found: Their features.
        weights: By name.
    """
    total = np.full_like(found["length"], OFFSET)
    for name, weight in weights:
        total += np.float32(weight) * found[name]
    return total


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
    length = np.log1p(seen.lengths) / np.float32(4)
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
    return out | {f"judged_{name}": judged * out[name] for name in _JUDGED}


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
