"""What kind of answer a question wants: a time, a number, the first or the latest of several, everything of a kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from .when import Anchored, Moment, anchored, moments

__all__ = ["Order", "QuestionCues", "read_question"]

Order = Literal["first", "latest"]

_TIME = re.compile(
    r"^(?:when\b|since when|how long|(?:what|which) (?:date|day|month|year|time|season)\b)", re.IGNORECASE
)
_NUMBER = re.compile(r"\bhow (?:many|much|often|old)\b|\bnumber of\b", re.IGNORECASE)
_TIMES = re.compile(r"\bhow (?:many times|often)\b", re.IGNORECASE)
_SPANS = "seconds|minutes|hours|days|nights|weeks|months|years"
_COUNTED = re.compile(
    rf"\bhow (?:many times|often)\b|\bhow many (?!(?:more |other |full )?(?:{_SPANS})\b)", re.IGNORECASE
)
_FIRST = re.compile(
    r"\b(?:earliest|initially|originally|begin|began|begun|first)\b"
    r"(?<!first(?= (?:place|prize|aid|names?|class|grade|lady|half|day|week|weekend|month|quarter|year)\b))",
    re.IGNORECASE,
)
_UNIT = (
    rf"(?:{_SPANS}|second|minute|hour|day|night|morning|afternoon|evening|week|weekend|month|quarter|seasons?|year"
    r"|decades?|century|spring|summer|autumn|fall|winter|christmas|easter|thanksgiving|halloween|october"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:jan|febr)uary|march|april|may|june|july|august|(?:sept|nov|dec)ember)"
)
_LATEST = re.compile(
    r"\b(?:latest|newest|most recent(?:ly)?"
    r"|(?<!at )(?<!n't )(?<!not )(?<!will )(?<!would )(?<!to )last (?=\w)"  # else the verb
    rf"(?!(?:(?:\d+|two|three|four|five|six|few|several|couple(?: of)?) )?{_UNIT}(?:'s)?\b)"  # else a time
    r"(?!(?:names?|long|longer|for|until|till|through|all|an?|only|about|more|less|just|into|past|over)\b))",
    re.IGNORECASE,
)
_LAST_OF_ALL = re.compile(
    r"^(?:who|whom|whose|what|which|where|when)\b"
    r"(?!.*(?:\bat|n't|not|will|would|can|could|should|may|might|it|expected to|going to|likely to|meant to) last\b)"
    r".* last\s*[?.!]*$",
    re.IGNORECASE,
)
_RECENT = re.compile(
    r"\b(?:(?<!most )recent(?:ly)?|lately|now|nowadays|current(?:ly)?|presently|these days|at the moment|at present)\b",
    re.IGNORECASE,
)
_JUDGEMENT = re.compile(
    r"^(?:would|could|might|is|does|do|did|are|was|were|has|have|can)\b"
    r"|\b(?:might|likely|potential(?:ly)?|would|could|considered|possibly|probably)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class QuestionCues:
    """What the words of a question say about its answer.

    Args:
        wants_time: It asks when something was.
        wants_number: It asks how many or how much.
        wants_judgement: It asks whether something is so, or what is likely.
        wants_several: Its answer is a count of what several memories tell; not of days or other units of time.
        wants_times: What it counts are times that something was.
        wants_recent: It asks for what is so now or was lately, and names no time.
        order: It asks for the first or the latest of several memories, or None.
        moments: Times it speaks of.
        anchored: Times it speaks of beside an event that is a memory itself.
    """

    wants_time: bool = False
    wants_number: bool = False
    wants_judgement: bool = False
    wants_several: bool = False
    wants_times: bool = False
    wants_recent: bool = False
    order: Order | None = None
    moments: tuple[Moment, ...] = ()
    anchored: tuple[Anchored, ...] = ()


def read_question(text: str, now: datetime | None = None, *, language: str = "english") -> QuestionCues:
    """Return what a question wants.

    Args:
        text: The question.
        now: When it is asked, for "yesterday"; default the end of the calendar, so that only what names a day counts.
        language: As for `moments`; the other cues are read in English alone.

    Example:
        >>> read_question("What was the latest book that Ann read in May 2023?").order
        'latest'
    """
    asked = text.strip()
    spoken = moments(asked, now or datetime(9000, 1, 1, tzinfo=UTC), language=language)
    if language != "english":
        return QuestionCues(moments=spoken)
    return QuestionCues(
        wants_time=bool(_TIME.search(asked)),
        wants_number=bool(_NUMBER.search(asked)),
        wants_judgement=bool(_JUDGEMENT.search(asked)),
        wants_several=bool(_COUNTED.search(asked)),
        wants_times=bool(_TIMES.search(asked)),
        wants_recent=bool(_RECENT.search(asked)) and not spoken,
        order=_order(asked),
        moments=spoken,
        anchored=anchored(asked),
    )


def _order(asked: str) -> Order | None:
    """Return the order a question asks for; of several the one that is said first."""
    first = _FIRST.search(asked)
    latest = _LATEST.search(asked) or _LAST_OF_ALL.search(asked)
    if first is None or latest is None:
        return "first" if first else "latest" if latest else None
    return "first" if first.start() < latest.start() else "latest"
