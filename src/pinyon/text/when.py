"""When: what expressions of time mean, beside the moment at which they were said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..extras import require
from ._calendar import DAYS, MONTHS, SEASONS, Range, around, day, in_month, moved, season, stretch, weekday

__all__ = ["Anchored", "Moment", "anchored", "day", "moments"]

_MONTH = "|".join([*MONTHS, *(f"{name[:3]}\\.?" for name in MONTHS if name != "may"), "sept\\.?"])
_DAY = "|".join(DAYS)
_SEASON = "|".join(SEASONS)
_UNIT = "day|night|morning|evening|afternoon|week|weekend|month|year|decade"
_COUNTS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "couple": 2, "couple of": 2, "a couple of": 2, "a couple": 2, "three": 3,
    "few": 3, "a few": 3, "several": 4, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "a dozen": 12,
}  # fmt: skip
_COUNT = "|".join([r"\d{1,3}", *sorted(_COUNTS, key=len, reverse=True)])
_FEASTS = {
    "christmas eve": (12, 24), "christmas": (12, 25), "new year's eve": (12, 31), "new year's day": (1, 1),
    "new year's": (1, 1), "valentine's day": (2, 14), "halloween": (10, 31), "independence day": (7, 4),
}  # fmt: skip
_STEPS = {"last": -1, "past": -1, "previous": -1, "this": 0, "next": 1, "coming": 1, "following": 1}
_STEP = "|".join(_STEPS)
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


_Rule = Callable[[re.Match[str], datetime], Range | None]


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
    if not _ANY.search(text):
        return ()
    kept: list[Moment] = []
    for one in sorted(_found(text, base), key=lambda one: -len(one.text)):  # of those that overlap the longest
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
        if re.match(rf"(?:{_DAY}|{_MONTH}|\d|{_STEP}|yesterday|today|that|then)\b", event, re.IGNORECASE):
            continue
        sign = -1 if found["side"].lower() in ("before", "prior to") else 1
        unit = (found["unit"] or "").lower()
        number = _number(found["number"] or "one") if unit else 1
        out.append(Anchored(event, unit, sign * number, found.group().strip(" ?.!,")))
    return tuple(out)


_ANCHORED = re.compile(
    rf"\b(?:(?P<number>{_COUNT}|the)\s+(?P<unit>{_UNIT})s?\s+)?(?P<side>before|prior to|after|following)\s+"
    r"(?P<event>(?:(?:his|her|their|my|our|your|the|\w+'s)\s+)[\w' -]{2,60})",
    re.IGNORECASE,
)


def _number(said: str) -> int:
    said = said.lower()
    return int(said) if said.isdecimal() else _COUNTS.get(said, 1)


def _month(said: str) -> int:
    return next(number for number, name in enumerate(MONTHS, 1) if name.startswith(said.lower().rstrip(".")[:3]))


def _year(said: str | None) -> int | None:
    return None if said is None else int(said)


def _absolute(found: re.Match[str], base: datetime) -> Range | None:
    number = found["day"]
    return in_month(base, _year(found["year"]), _month(found["month"]), None if number is None else int(number))


def _part_of_month(found: re.Match[str], base: datetime) -> Range | None:
    whole = in_month(base, _year(found["year"]), _month(found["month"]))
    if whole is None:
        return None
    first, last = {"early": (0, 10), "mid": (10, 20), "middle of": (10, 20), "late": (20, 31), "end of": (20, 31)}[
        found["part"].lower()
    ]
    return whole[0] + timedelta(days=first), min(whole[0] + timedelta(days=last), whole[1])


def _numeric(found: re.Match[str], _: datetime) -> Range | None:
    try:
        first = datetime(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        return None
    return first, first + timedelta(days=1)


def _whole_year(found: re.Match[str], base: datetime) -> Range:
    return stretch(base.replace(year=int(found["year"]), month=1, day=1), "year")


def _of_season(found: re.Match[str], base: datetime) -> Range:
    name, said = found["season"].lower(), (found["step"] or "").lower()
    if found["year"]:
        return season(int(found["year"]), name)
    year = base.year
    if said and _STEPS[said] > 0:
        return season(year if season(year, name)[0] > base else year + 1, name)
    if said and _STEPS[said] < 0:  # over already
        while season(year, name)[1] > base:
            year -= 1
        return season(year, name)
    return season(year if season(year, name)[0] <= base else year - 1, name) if not said else season(year, name)


def _feast(found: re.Match[str], base: datetime) -> Range | None:
    month, number = _FEASTS[found["feast"].lower()]
    said = (found["step"] or "").lower()
    if said and _STEPS[said] > 0:
        latest = in_month(base, None, month, number)
        return None if latest is None else (moved(latest[0], "year", 1), moved(latest[1], "year", 1))
    return in_month(base, _year(found["year"]), month, number)


def _fixed(days: int) -> _Rule:
    return lambda _, base: (day(base) + timedelta(days=days), day(base) + timedelta(days=days + 1))


def _stepped(found: re.Match[str], base: datetime) -> Range:
    unit, step = found["unit"].lower(), _STEPS[found["step"].lower()]
    if unit == "weekend":
        this = stretch(base, "weekend")
        if step < 0 and this[1] <= base + timedelta(days=1):  # said on a Sunday: the one before
            return moved(this[0], "week", -1), moved(this[1], "week", -1)
        return moved(this[0], "week", step), moved(this[1], "week", step)
    if unit == "week":
        this = stretch(base, "week")
        return moved(this[0], "week", step), moved(this[1], "week", step)
    return stretch(moved(stretch(base, unit)[0], unit, step), unit)


def _last_few(found: re.Match[str], base: datetime) -> Range:
    step, number = _STEPS[found["step"].lower()], _number(found["number"])
    edge = moved(day(base), found["unit"].lower(), step * number)
    return (edge, day(base) + timedelta(days=1)) if step < 0 else (day(base), edge + timedelta(days=1))


def _ago(found: re.Match[str], base: datetime) -> Range:
    unit = found["unit"].lower()
    return around(moved(base, unit, -_number(found["number"])), unit)


def _ahead(found: re.Match[str], base: datetime) -> Range:
    unit = found["unit"].lower()
    return around(moved(base, unit, _number(found["number"])), unit)


def _of_week(found: re.Match[str], base: datetime) -> Range:
    said = (found["step"] or "last").lower()
    return weekday(base, DAYS.index(found["name"].lower()), _STEPS[said])


def _beside_date(found: re.Match[str], base: datetime) -> Range | None:
    """Return what lies so far from a date: "two days before 8 May 2023", "the Friday before …", "the week after …"."""
    inner = moments(found["date"], base)
    if not inner:
        return None
    start, sign = inner[0].start, -1 if found["side"].lower() in ("before", "prior to") else 1
    if found["name"]:
        return weekday(start, DAYS.index(found["name"].lower()), sign)
    unit = found["unit"].lower()
    if found["number"].lower() == "the" and unit in ("week", "weekend", "month", "year"):
        if unit == "week":  # the seven days beside it
            return (start - timedelta(days=7), start) if sign < 0 else (inner[0].end, inner[0].end + timedelta(days=7))
        this = stretch(start, unit)
        by = sign if unit != "weekend" or sign < 0 or this[0] < start else 0
        return stretch(moved(this[0], "week" if unit == "weekend" else unit, by), unit)
    return around(moved(start, unit, sign * _number(found["number"])), unit)


_YEAR = r"(?P<year>(?:19|20)\d{2})"
_DATE = (
    rf"(?:the\s+)?(?:\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_MONTH})|(?:{_MONTH})\s+\d{{1,2}}(?:st|nd|rd|th)?)"
    r"(?:,?\s*(?:19|20)\d{2})?|\d{4}-\d{2}-\d{2}|yesterday|today|christmas"
)
_RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = tuple(
    (re.compile(rf"\b(?:{pattern})(?!\w)", re.IGNORECASE), rule)
    for pattern, rule in (
        (
            rf"(?:(?P<number>{_COUNT}|the)\s+(?:(?P<unit>{_UNIT})s?|(?P<name>{_DAY})))\s+"
            rf"(?P<side>before|prior to|after|following)\s+(?P<date>{_DATE})",
            _beside_date,
        ),
        (
            rf"(?:the\s+)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH})(?:,?\s*{_YEAR})?",
            _absolute,
        ),
        (rf"(?P<month>{_MONTH})\s+(?:the\s+)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?!\d)(?:,?\s*{_YEAR})?", _absolute),
        (r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})", _numeric),
        (r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})", _numeric),
        (
            rf"(?:the\s+)?(?P<part>early|mid|middle of|late|end of)[\s-]+(?P<month>{_MONTH})"
            rf"(?:,?\s*(?:of\s+)?{_YEAR})?",
            _part_of_month,
        ),
        (
            rf"(?P<month>{_MONTH})(?P<day>),?\s*(?:of\s+)?{_YEAR}",
            lambda f, b: in_month(b, int(f["year"]), _month(f["month"])),
        ),
        (
            rf"(?:in|during|since|until|by|last|this past)\s+(?P<month>{_MONTH})",
            lambda f, b: in_month(b, None, _month(f["month"])),
        ),
        (
            rf"(?P<month>{'|'.join(m for m in MONTHS if m not in ('may', 'march'))})",
            lambda f, b: in_month(b, None, _month(f["month"])),
        ),
        (
            rf"(?:in\s+)?(?:(?:the|this)\s+)?(?:(?P<step>{_STEP})\s+)?(?P<season>{_SEASON})\s+(?:of\s+)?{_YEAR}",
            _of_season,
        ),
        (rf"(?:this\s+)?(?P<step>{_STEP})\s+(?P<season>{_SEASON})(?P<year>)", _of_season),
        (rf"(?:in|during|over)\s+(?:the\s+)?(?P<step>)(?P<season>{_SEASON})(?P<year>)", _of_season),
        (rf"(?:(?P<step>{_STEP})\s+)?(?P<feast>{'|'.join(_FEASTS)})(?:,?\s*(?:of\s+)?{_YEAR})?", _feast),
        (r"(?:the\s+)?day before yesterday", _fixed(-2)),
        (r"(?:the\s+)?day after tomorrow", _fixed(2)),
        (r"yesterday|last night", _fixed(-1)),
        (r"today|tonight|this (?:morning|afternoon|evening)|just now", _fixed(0)),
        (r"tomorrow", _fixed(1)),
        (rf"(?:the\s+)?(?P<step>last|past|next)\s+(?P<number>{_COUNT})\s+(?P<unit>{_UNIT})s?", _last_few),
        (r"(?:the\s+|this\s+)?(?P<step>" + _STEP + r")\s+(?P<unit>week|weekend|month|year|decade)", _stepped),
        (rf"(?:about\s+|around\s+)?(?P<number>{_COUNT})\s+(?P<unit>{_UNIT})s?\s+(?:ago|back|earlier)", _ago),
        (rf"in\s+(?P<number>{_COUNT})\s+(?P<unit>{_UNIT})s?", _ahead),
        (rf"(?:this\s+)?(?P<step>{_STEP})\s+(?P<name>{_DAY})", _of_week),
        (rf"on\s+(?P<step>)(?P<name>{_DAY})", _of_week),
        (rf"(?:in|during|since|until|by|before|after|of)\s+{_YEAR}", _whole_year),
    )
)
_ANY = re.compile(  # one of these stands in whatever a rule reads; 10 us instead of 400
    rf"\b(?:{_MONTH}|{_DAY}|{_SEASON}|{'|'.join(_FEASTS)}|(?:{_UNIT})s?|yesterday|today|tonight|tomorrow|just now)"
    r"(?!\w)|\d{4}",
    re.IGNORECASE,
)
_BOUND = re.compile(r"\b(before|until|prior to|by|after|since|between|from)\s+(?:the\s+)?$", re.IGNORECASE)


def _found(text: str, base: datetime) -> Iterator[Moment]:
    for pattern, rule in _RULES:
        for match in pattern.finditer(text):
            try:
                meant = rule(match, base)
            except (OverflowError, ValueError):  # beyond the calendar
                meant = None
            if meant is not None:
                yield Moment(*meant, match.group(), match.start())


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
