"""Time in the order of hits: times asked for, the first or the latest of several, all of a kind, what is recent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ..core.clock import micros
from ..index import Analyzer
from .base import Hit, Reason
from .questions import Order, QuestionCues
from .when import Moment, moments

__all__ = ["Timed", "Topic", "in_micros", "in_order", "is_timed", "looked_at", "told_of", "weighed_by_time"]

_FIRST, _LAST = datetime(1, 1, 2), datetime(9998, 12, 31)
_TOLD = 0.1  # of a turn that tells of the time asked for, where the best cube's words score 1
_TELLING = 30  # hits that may tell of the time asked for
_SET = 200  # hits among which the first, the latest or all of a kind are sought
_RECENT = 0.15  # of the newest member: more than the 0.12 by which windows and meaning scatter equal texts
_RECENT_DAYS = 30.0  # age beside the newest member at which half of that is left
_FLOOR = 0.6  # of the best score, below which nothing belongs to the set
_SHARE = 0.8  # of the best member's share of the topic; on LoCoMo 0.7 to 0.9 find the same within two points
_LEAST = 0.4  # of the topic that the fullest member holds, or there is no set
_ASKING = frozenset(
    """first earliest initially originally begin began begun start started latest most recent recently current currently
    newest last lately nowadays now time times many often number mention mentioned ever""".split()
)
"""Words that ask for an order or a count; a memory that holds them tells no more of the topic."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a question is about, without the words that ask for an order, times and names of speakers.

    Args:
        question: As it was asked.
        analyzer: Text to terms.
        found: Terms of the question that occur, with the number of cubes they occur in.
        size: Number of cubes among which they were counted.
    """

    question: str
    analyzer: Analyzer
    found: Mapping[str, int]
    size: int

    def weights(self, cues: QuestionCues, speakers: Sequence[str]) -> dict[str, float]:
        """Return what each term of the topic weighs, its idf.

        Args:
            cues: Whose times are left out.
            speakers: Whose names are left out.
        """
        said = [one.text for one in cues.moments] + [one.text for one in cues.anchored]
        terms = self.analyzer.terms
        without = set(terms(" ".join((*_ASKING, *speakers, *said))))
        return {
            term: math.log(1 + (self.size - count + 0.5) / (count + 0.5))
            for term, count in self.found.items()
            if term not in without
        }


@dataclass(frozen=True, slots=True)
class Timed:
    """Hits in the order that time gives them.

    Args:
        hits: Best first.
        notes: How many memories speak of what is asked, where that was looked at.
    """

    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()


def is_timed(cues: QuestionCues) -> bool:
    """Return whether time changes the order of the hits."""
    return bool(cues.moments) or cues.order is not None or cues.wants_several or cues.wants_recent


def looked_at(cues: QuestionCues, k: int) -> int:
    """Return how many hits time needs to find the k best: the set is larger than what is shown of it."""
    if cues.order is not None or cues.wants_several or cues.wants_recent:
        return max(k, _SET)
    return max(k, _TELLING) if cues.moments else k


def weighed_by_time(hits: Sequence[Hit], cues: QuestionCues, topic: Topic, k: int) -> Timed:
    """Return the k best hits in the order that time gives them.

    A turn that tells of a time asked for gains a little. Then the **member set** is taken: what has an event time,
    comes from the speaker whom the question names, scores at least 0.6 of the best, and holds about as much of the
    topic as what holds most of it: 0.8 of its idf, and that 0.4 of the whole. Neighbours of a member, which windows
    bring up, are none.

    - For the first or the latest, two members or more stand by time before all else.
    - For how many, members stand before all else: the best k of them, oldest first where times are counted.
    - For what is recent, members gain, the newest most: half of it is left for one that is 30 days older.

    Moved hits take the scores of the places they move to, so that scores still fall from hit to hit.

    Args:
        hits: Best first, as many as `looked_at` says.
        cues: Of the question.
        topic: What it is about.
        k: How many are wanted.

    Cost: the terms of each dated hit, 20 microseconds for a turn.
    """
    found = _by_score(
        hits, [_TOLD * (place < max(k, _TELLING) and _tells(hit, cues.moments)) for place, hit in enumerate(hits)]
    )
    if cues.order is None and not cues.wants_several and not cues.wants_recent:
        return Timed(tuple(found[:k]))
    members = _members(found, topic, cues)
    if cues.wants_several:
        shown = members[:k]
        front = in_order(shown, "first") if cues.wants_times else shown
        notes = _counted(len(members), len(shown), is_ordered=cues.wants_times)
        return Timed(tuple(_led(found, front)[:k]), notes)
    if len(members) < 2:
        return Timed(tuple(found[:k]))
    if cues.order is None:
        return Timed(tuple(_by_score(found, _recency(found, members))[:k]))
    front = in_order(members, cues.order)
    end = "oldest" if cues.order == "first" else "newest"
    notes = (f"{len(members)} memories speak of what is asked; they stand first, the {end} before the others",)
    return Timed(tuple(_led(found, front)[:k]), notes)


def in_order(hits: Sequence[Hit], order: Order) -> list[Hit]:
    """Return hits by the time of what they tell of, oldest first for ``first``, newest first for ``latest``.

    That is when they were said, unless they name one time that lies wholly before or after.
    """
    return sorted(hits, key=lambda hit: (_happened(hit), hit.cube.time, hit.cube.row), reverse=order == "latest")


def told_of(text: str, said: datetime) -> tuple[Moment, ...]:
    """Return the times that a memory tells of, given when it was said."""
    return moments(text, said)


def in_micros(start: datetime, end: datetime) -> tuple[int, int]:
    """Return a range in microseconds, as universal time; the ends of the calendar stay far off."""
    first, last = (micros(min(max(moment, _FIRST), _LAST).replace(tzinfo=UTC)) for moment in (start, end))
    return first, last


def _members(hits: Sequence[Hit], topic: Topic, cues: QuestionCues) -> list[Hit]:
    """Return the hits that are comparable in what they say of the topic, best first."""
    least = _FLOOR * hits[0].score if hits else 0.0
    near = [hit for hit in hits if hit.score >= least and _is_dated(hit)]
    named = [hit for hit in near if any(reason.leg == "speaker" for reason in hit.why)]
    speakers = {hit.cube.header.provenance.speaker or "" for hit in named}
    weights = topic.weights(cues, sorted(speakers))
    shares = [(hit, _held(weights, topic.analyzer.terms(hit.cube.text))) for hit in named or near]
    most = max((share for _, share in shares), default=0.0)
    if most < _LEAST * sum(weights.values()):
        return []
    return [hit for hit, share in shares if share > 0 and share >= _SHARE * most]


def _held(weights: Mapping[str, float], terms: Sequence[str]) -> float:
    mine = set(terms)
    return sum(weight for term, weight in weights.items() if term in mine)


def _led(hits: Sequence[Hit], front: Sequence[Hit]) -> list[Hit]:
    """Return some hits before the others; the scores stay where they were."""
    ids = {hit.cube.id for hit in front}
    return [
        _scored(hit, place.score)
        for hit, place in zip((*front, *(hit for hit in hits if hit.cube.id not in ids)), hits, strict=True)
    ]


def _by_score(hits: Sequence[Hit], gains: Sequence[float]) -> list[Hit]:
    return sorted(
        (_scored(hit, hit.score + gain) for hit, gain in zip(hits, gains, strict=True)), key=lambda hit: -hit.score
    )


def _scored(hit: Hit, score: float) -> Hit:
    if score == hit.score:
        return hit
    others = tuple(reason for reason in hit.why if reason.leg != "time")
    before = sum(reason.score for reason in hit.why if reason.leg == "time")
    return replace(hit, score=score, why=(*others, Reason("time", before + score - hit.score, 0)))


def _recency(hits: Sequence[Hit], members: Sequence[Hit]) -> list[float]:
    """Return what each hit gains by being recent."""
    newest = max(hit.cube.time for hit in members)
    ids = {hit.cube.id for hit in members}

    def gain(hit: Hit) -> float:
        return _RECENT / (1 + (newest - hit.cube.time) / timedelta(days=_RECENT_DAYS))

    return [gain(hit) if hit.cube.id in ids else 0.0 for hit in hits]


def _counted(size: int, shown: int, *, is_ordered: bool) -> tuple[str, ...]:
    if not size:
        return ("no memory holds enough of the question's words to be counted",)
    verb = "memory speaks" if size == 1 else "memories speak"
    part = "" if shown == size else f", {shown} of them shown"
    order = ", oldest first" if is_ordered and shown > 1 else ""
    return (f"{size} {verb} of what is counted{part}{order}; two may tell of the same",)


def _is_dated(hit: Hit) -> bool:
    return hit.cube.header.life.valid_from is not None


def _happened(hit: Hit) -> datetime:
    """Return when what a memory tells of was."""
    said = hit.cube.time.replace(tzinfo=None)
    told = told_of(hit.cube.text, hit.cube.time)
    if len(told) != 1 or said.date() in (told[0].start.date(), told[0].end.date()):
        return said
    if told[0].start > _FIRST and told[0].end <= said:
        return told[0].end
    return told[0].start if said < told[0].start and told[0].end < _LAST else said


def _tells(hit: Hit, asked: Sequence[Moment]) -> bool:
    if not asked or not _is_dated(hit):
        return False
    told = told_of(hit.cube.text, hit.cube.time)
    return any(one.start < other.end and other.start < one.end for one in asked for other in told)
