"""When: what expressions of time mean, beside the moment at which they were said.

English is read by rules of our own, other languages by dateparser (the extra ``time``). Of the 86 expressions that
``tests/text/test_when.py`` labelled first, dateparser 1.5 reads 26 as they are meant: it answers with one day where a
week, a season or "since May" is said. It takes 3 ms for each, and sees times in "I may go". So it is no fall-back for
English either. Feasts that move are computed, and tested against ``dateutil.easter``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..extras import require
from ._calendar import Range, around, day, moved
from ._expressions import COUNT, DAY, MONTH, STEP, UNIT, names_time, number_of, readings

__all__ = ["Anchored", "Moment", "anchored", "day", "moments"]

_EVER = (datetime.min, datetime.max)


@dataclass(frozen=True, slots=True)
class Moment:
    """What an expression means.

    Args:
        start: First moment; `datetime.min` for "before …".
        end: The one after the last; `datetime.max` for "after …" and "since …".
        text: The expression.
        at: Where it begins in the text.
    """

    start: datetime
    end: datetime
    text: str
    at: int

    def holds(self, moment: datetime) -> bool:
        """Return whether a moment lies in it."""
        return self.start <= moment.replace(tzinfo=None) < self.end


@dataclass(frozen=True, slots=True)
class Anchored:
    """A time beside an event that has to be looked up, such as "two weeks before her birthday".

    Args:
        event: The words of the event.
        unit: Of the distance, or an empty text for "before …" and "after …" alone.
        number: So many of them later; negative for earlier.
        text: The expression.
    """

    event: str
    unit: str
    number: int
    text: str

    def beside(self, event: Range) -> Range:
        """Return when it was, given when the event was."""
        if not self.unit:
            return (_EVER[0], event[0]) if self.number < 0 else (event[1], _EVER[1])
        return around(moved(event[0], self.unit, self.number), self.unit)


def moments(text: str, base: datetime, *, language: str = "english") -> tuple[Moment, ...]:
    """Return what the expressions of time in a text mean, in order.

    Without a year a month is the latest that had begun, and so for days and feasts. "Last week" is the week before
    that of `base`, from Monday; "two months ago" is a month around that day. Zones are dropped: a day is a day of
    whoever speaks.

    Args:
        text: A question or a memory.
        base: When it was said.
        language: English is read by rules of our own; any other by the library of the extra ``time``.

    Raises:
        MissingExtra: The language is another, and the extra is not installed.

    Example:
        >>> [m.start.date().isoformat() for m in moments("We met last Friday.", datetime(2023, 5, 8))]
        ['2023-05-05']
    """
    base = base.replace(tzinfo=None)
    if language != "english":
        return _by_library(text, base, language)
    if not names_time(text):
        return ()
    kept: list[Moment] = []
    read = (Moment(*meant, match.group(), match.start()) for match, meant in readings(text, base))
    for one in sorted(read, key=lambda one: -len(one.text)):  # of those that overlap the longest
        if all(one.at + len(one.text) <= other.at or other.at + len(other.text) <= one.at for other in kept):
            kept.append(one)
    return tuple(_widened(text, sorted(kept, key=lambda one: one.at)))


def anchored(text: str) -> tuple[Anchored, ...]:
    """Return the times of a question that hang on an event which is itself a memory.

    Example:
        >>> anchored("What did Ann do two weeks before her birthday?")[0].event
        'her birthday'
    """
    out = []
    for found in _ANCHORED.finditer(text):
        event = found["event"].strip(" ?.!,")
        if re.match(rf"(?:{DAY}|{MONTH}|\d|{STEP}|yesterday|today|that|then)\b", event, re.IGNORECASE):
            continue
        sign = -1 if found["side"].lower() in ("before", "prior to") else 1
        unit = (found["unit"] or "").lower()
        number = number_of(found["number"] or "one") if unit else 1
        out.append(Anchored(event, unit, sign * number, found.group().strip(" ?.!,")))
    return tuple(out)


_ANCHORED = re.compile(
    rf"\b(?:(?P<number>{COUNT}|the)\s+(?P<unit>{UNIT})s?\s+)?(?P<side>before|prior to|after|following)\s+"
    r"(?P<event>(?:(?:his|her|their|my|our|your|the|\w+'s)\s+|(?(unit)(?:i|we|you|he|she|they)\s+|(?!)))[\w' -]{2,60})",
    re.IGNORECASE,
)
_BOUND = re.compile(r"\b(before|until|prior to|by|after|since|between|from)\s+(?:the\s+)?$", re.IGNORECASE)


def _widened(text: str, found: list[Moment]) -> Iterator[Moment]:
    """Read "before", "since" and "between … and …" around what was found."""
    skip = False
    for place, one in enumerate(found):
        if skip:
            skip = False
            continue
        said = _BOUND.search(text[: one.at])
        word = said[1].lower() if said else one.text.split()[0].lower()
        following = found[place + 1] if place + 1 < len(found) else None
        if word in ("between", "from") and following is not None:
            gap = text[one.at + len(one.text) : following.at].strip().lower()
            if gap in ("and", "to", "until", "-", "through"):
                whole = text[one.at : following.at + len(following.text)]
                first = one
                if not re.search(r"\d{4}", one.text) and (shared := re.search(r"\d{4}$", following.text)):
                    first = next(iter(moments(f"{one.text} {shared[0]}", following.end)), one)  # one year for both
                yield Moment(min(first.start, following.start), max(first.end, following.end), whole, one.at)
                skip = True
                continue
        if word in ("before", "until", "prior to", "by"):
            yield replace(one, start=_EVER[0], end=one.end if word in ("by", "until") else one.start)
        elif word in ("after", "since"):
            yield replace(one, start=one.start if word == "since" else one.end, end=_EVER[1])
        else:
            yield one


def _by_library(text: str, base: datetime, language: str) -> tuple[Moment, ...]:
    search = require("dateparser.search", f"read times in {language}")
    codes = {"german": "de", "french": "fr", "spanish": "es", "italian": "it", "dutch": "nl", "portuguese": "pt"}
    settings = {"RELATIVE_BASE": base, "PREFER_DATES_FROM": "past", "RETURN_AS_TIMEZONE_AWARE": False}
    found = search.search_dates(text, languages=[codes.get(language, language)], settings=settings) or []
    out: list[Moment] = []
    end = 0
    for said, moment in found:
        at = max(text.find(said, end), 0)
        end = at + len(said)
        start = day(moment)
        out.append(Moment(start, start + timedelta(days=1), said, at))
    return tuple(out)
