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
_FIRST = re.compile(r"\b(?:first|earliest|initially|originally|at first|begin|began)\b", re.IGNORECASE)
_LATEST = re.compile(
    r"\b(?:latest|most recent(?:ly)?|current(?:ly)?|newest|lately|nowadays|now|these days|last time)\b", re.IGNORECASE
)
_JUDGEMENT = re.compile(
    r"^(?:would|could|might|is|does|do|did|are|was|were|has|have|can)\b"
    r"|\b(?:might|likely|potential(?:ly)?|would|could|considered|possibly|probably)\b",
    re.IGNORECASE,
)
_SEVERAL = re.compile(
    r"^(?:what|which|who|where)\b.*\b(?:kinds?|types?|all|different|various|\w{2,}[^s'u]s)\b.*\b(?:has|have|does|do|did|are|were)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class QuestionCues:
    """What the words of a question say about its answer.

    Args:
        wants_time: It asks when something was.
        wants_number: It asks how many or how much.
        wants_judgement: It asks whether something is so, or what is likely.
        wants_several: The answer is likely made of several memories: a list, or a count.
        order: It asks for the first or the latest of several memories, or None.
        moments: Times it speaks of.
        anchored: Times it speaks of beside an event that is a memory itself.
    """

    wants_time: bool = False
    wants_number: bool = False
    wants_judgement: bool = False
    wants_several: bool = False
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
    order: Order | None = "latest" if _LATEST.search(asked) else "first" if _FIRST.search(asked) else None
    return QuestionCues(
        wants_time=bool(_TIME.search(asked)),
        wants_number=bool(_NUMBER.search(asked)),
        wants_judgement=bool(_JUDGEMENT.search(asked)),
        wants_several=bool(_TIMES.search(asked) or _SEVERAL.search(asked)),
        order=order,
        moments=spoken,
        anchored=anchored(asked),
    )
