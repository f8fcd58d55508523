"""Time as a soft score: memories that tell of the time asked for, and the first or the latest of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ..core.clock import micros
from .base import Hit, Reason
from .questions import Order, QuestionCues
from .when import Moment, moments

__all__ = ["in_micros", "in_order", "is_timed", "told_of", "weighed_by_time"]

_FIRST, _LAST = datetime(1, 1, 2), datetime(9998, 12, 31)
_TOLD = 0.1  # of a turn that tells of the time asked for, where the best cube's words score 1
_ORDERED = 0.05  # from one end of the ordered set to the other: no more than what decides between equals
_SET_SHARE = 0.6  # of the best score: what scores more belongs to the set that is ordered


def is_timed(cues: QuestionCues) -> bool:
    """Return whether time changes the order of the hits."""
    return bool(cues.moments) or cues.order is not None


def weighed_by_time(hits: Sequence[Hit], cues: QuestionCues) -> list[Hit]:
    """Return the same hits, in the order that time gives them; none is lost.

    What has no event time, such as a chunk of a document, gains nothing.

    Args:
        hits: Best first.
        cues: Of the question.
    """
    gains = [_TOLD * _tells(hit, cues.moments) for hit in hits]
    if cues.order is not None and hits:
        least = _SET_SHARE * hits[0].score
        members = [place for place, hit in enumerate(hits) if hit.score >= least and _is_dated(hit)]
        ordered = in_order([hits[place] for place in members], cues.order)
        rank = {hit.cube.id: number for number, hit in enumerate(ordered)}
        for place in members:
            gains[place] += _ORDERED * (1 - rank[hits[place].cube.id] / max(len(members) - 1, 1))
    weighed = [
        replace(hit, score=hit.score + gain, why=(*hit.why, Reason("time", gain, 0))) if gain else hit
        for hit, gain in zip(hits, gains, strict=True)
    ]
    return sorted(weighed, key=lambda hit: -hit.score)


def in_order(hits: Sequence[Hit], order: Order) -> list[Hit]:
    """Return hits by the time of what they tell of, oldest first for ``first``, newest first for ``latest``."""
    return sorted(hits, key=lambda hit: (hit.cube.time, hit.cube.row), reverse=order == "latest")


def told_of(text: str, said: datetime) -> tuple[Moment, ...]:
    """Return the times that a memory tells of, given when it was said."""
    return moments(text, said)


def in_micros(start: datetime, end: datetime) -> tuple[int, int]:
    """Return a range in microseconds, as universal time; the ends of the calendar stay far off."""
    first, last = (micros(min(max(moment, _FIRST), _LAST).replace(tzinfo=UTC)) for moment in (start, end))
    return first, last


def _is_dated(hit: Hit) -> bool:
    return hit.cube.header.life.valid_from is not None


def _tells(hit: Hit, asked: Sequence[Moment]) -> bool:
    if not asked or not _is_dated(hit):
        return False
    told = told_of(hit.cube.text, hit.cube.time)
    return any(one.start < other.end and other.start < one.end for one in asked for other in told)
