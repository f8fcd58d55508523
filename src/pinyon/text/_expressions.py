"""Expressions of time in English: the rules that read one, each with what it means beside the moment it was said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from ._calendar import (
    DAYS,
    FEASTS,
    MONTHS,
    SEASONS,
    Range,
    around,
    day,
    feast,
    half_beside,
    in_month,
    moved,
    season,
    stretch,
    weekday,
)

__all__ = ["COUNT", "DAY", "MONTH", "STEP", "UNIT", "names_time", "number_of", "readings"]

MONTH = "|".join([*MONTHS, *(f"{name[:3]}\\.?" for name in MONTHS if name != "may"), "sept\\.?"])
DAY = "|".join(DAYS)
_SEASON = "|".join(SEASONS)
UNIT = "day|night|morning|evening|afternoon|week|weekend|fortnight|month|year|decade"
_COUNTS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "couple": 2, "couple of": 2, "a couple of": 2, "a couple": 2, "three": 3,
    "few": 3, "a few": 3, "several": 4, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "a dozen": 12,
}  # fmt: skip
COUNT = "|".join([r"\d{1,3}", *sorted(_COUNTS, key=len, reverse=True)])
_FEAST = "|".join(sorted(FEASTS, key=len, reverse=True))
_STEPS = {"last": -1, "past": -1, "previous": -1, "this": 0, "next": 1, "coming": 1, "following": 1}
STEP = "|".join(_STEPS)
_PARTS = {
    "early": 0, "beginning of": 0, "start of": 0, "mid": 1, "middle of": 1, "late": 2, "end of": 2,
}  # fmt: skip
_PART = "|".join(_PARTS)
_ORDINALS = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": -1}

_Rule = Callable[[re.Match[str], datetime], Range | None]


def names_time(text: str) -> bool:
    """Return whether any rule may read something in a text; 10 microseconds instead of 500."""
    return _ANY.search(text) is not None


def readings(text: str, base: datetime) -> Iterator[tuple[re.Match[str], Range]]:
    """Return what each rule reads in a text, overlapping ones too.

    Args:
        text: Any text.
        base: When it was said, without a zone.
    """
    for pattern, rule in _RULES:
        for match in pattern.finditer(text):
            try:
                meant = rule(match, base)
            except (OverflowError, ValueError):  # beyond the calendar
                meant = None
            if meant is not None:
                yield match, meant


def _meaning(date: str, base: datetime) -> Range | None:
    """Return what a whole text means, by the rule that reads most of it."""
    found = max(readings(date, base), key=lambda one: len(one[0][0]), default=None)
    return None if found is None else found[1]


def number_of(said: str) -> int:
    """Return what a number in digits or words means; 1 for any other word."""
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
    third = _PARTS[found["part"].lower()]
    end = whole[1] if third == 2 else whole[0] + timedelta(days=10 * third + 10)
    return whole[0] + timedelta(days=10 * third), end


def _part_of_year(found: re.Match[str], base: datetime) -> Range:
    start = stretch(base, "year")[0]
    start = (
        moved(start, "year", _STEPS[found["step"].lower()]) if found["step"] else start.replace(year=int(found["year"]))
    )
    third = _PARTS[found["part"].lower()]
    return moved(start, "month", 4 * third), moved(start, "month", 4 * third + 4)


def _so_far(found: re.Match[str], base: datetime) -> Range:
    """Return what "earlier this year" means, or "later this week"."""
    whole, now = stretch(base, found["unit"].lower()), day(base) + timedelta(days=1)
    return (whole[0], now) if found["side"].lower() == "earlier" else (now, max(whole[1], now + timedelta(days=1)))


def _between_months(found: re.Match[str], base: datetime) -> Range | None:
    year = _year(found["year"])
    last = in_month(base, year, _month(found["month"]))
    if last is None:
        return None
    if found["year1"]:
        first = in_month(base, int(found["year1"]), _month(found["month1"]))
    else:  # the latest before the end
        first = in_month(last[1] - timedelta(days=1), None, _month(found["month1"]))
    return None if first is None or first[0] > last[0] else (first[0], last[1])


def _week_of_month(found: re.Match[str], base: datetime) -> Range | None:
    whole = in_month(base, _year(found["year"]), _month(found["month"]))
    if whole is None:
        return None
    number = _ORDINALS[found["nth"].lower()]
    if found["unit"].lower() == "week":
        first = whole[1] - timedelta(days=7) if number < 0 else whole[0] + timedelta(days=7 * number)
        return first, min(first + timedelta(days=7), whole[1])
    saturday = whole[0] + timedelta(days=(5 - whole[0].weekday()) % 7)
    first = saturday + timedelta(days=7 * number)
    if number < 0:
        first = weekday(whole[1], 5, -1)[0]
    return first, first + timedelta(days=2)


def _week_of(found: re.Match[str], base: datetime) -> Range | None:
    inner = _meaning(found["date"], base)
    return stretch(inner[0], found["unit"].lower()) if inner else None


def _quarter(found: re.Match[str], base: datetime) -> Range:
    start = moved(base.replace(year=int(found["year"]), month=1, day=1), "month", 3 * int(found["quarter"]) - 3)
    return day(start), moved(day(start), "month", 3)


def _numeric(found: re.Match[str], _: datetime) -> Range | None:
    month, number = int(found["month"]), int(found["day"])
    if month > 12 and found.re.groupindex["month"] < found.re.groupindex["day"] < found.re.groupindex["year"]:
        month, number = number, month  # 24/12/2022
    try:
        first = datetime(int(found["year"]), month, number)
    except ValueError:
        return None
    return first, first + timedelta(days=1)


def _whole_decade(found: re.Match[str], base: datetime) -> Range:
    return stretch(base.replace(year=int(found["year"]), month=1, day=1), "decade")


def _whole_year(found: re.Match[str], base: datetime) -> Range:
    return stretch(base.replace(year=int(found["year"]), month=1, day=1), "year")


def _of_years_season(found: re.Match[str], base: datetime) -> Range:
    return season(base.year + _STEPS[found["step"].lower()], found["season"].lower())


def _but_one(found: re.Match[str], base: datetime) -> Range:
    """Return what "the summer before last" means, or "the week after next"."""
    said, step = found["what"].lower(), -1 if found["side"].lower() == "before" else 1
    if said in SEASONS:
        over = base.year + 1
        while season(over, said)[1 if step < 0 else 0] > base:
            over -= 1
        return season(over - 1 if step < 0 else over + 2, said)
    if said in DAYS:
        first = weekday(base, DAYS.index(said), step)[0] + timedelta(days=7 * step)
        return first, first + timedelta(days=1)
    start = stretch(base, said)[0]
    moved_to = moved(start, "week" if said == "weekend" else said, 2 * step)
    return stretch(moved_to, said)


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


def _feast(found: re.Match[str], base: datetime) -> Range:
    name, said = found["feast"].lower(), (found["step"] or "").lower()
    if found["year"]:
        start = feast(int(found["year"]), name)
    else:
        start = feast(base.year, name)
        if start > base:
            start = feast(base.year - 1, name)
        if said and _STEPS[said] > 0:
            start = feast(start.year + 1, name)
    return start, start + timedelta(days=1)


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
    step, number = _STEPS[found["step"].lower()], number_of(found["number"])
    edge = moved(day(base), found["unit"].lower(), step * number)
    return (edge, day(base) + timedelta(days=1)) if step < 0 else (day(base), edge + timedelta(days=1))


def _ago(found: re.Match[str], base: datetime) -> Range:
    unit = found["unit"].lower()
    return around(moved(base, unit, -number_of(found["number"])), unit)


def _long_ago(found: re.Match[str], base: datetime) -> Range:
    """Return what "over a year ago" means: from one to two years ago; and "less than a year ago"."""
    unit, number = found["unit"].lower(), number_of(found["number"])
    edge = moved(day(base), unit, -number)
    return (edge, day(base)) if found["side"].lower() in ("less than", "under") else (moved(edge, unit, -1), edge)


def _half_ago(found: re.Match[str], base: datetime) -> Range:
    number = number_of(found["number"]) if found["number"] else 0
    unit = next(found[name] for name in ("unit", "unit2") if found.groupdict().get(name))
    return half_beside(base, unit.lower(), number, -1)


def _ahead(found: re.Match[str], base: datetime) -> Range:
    unit = found["unit"].lower()
    return around(moved(base, unit, number_of(found["number"])), unit)


def _of_week(found: re.Match[str], base: datetime) -> Range:
    said = (found["step"] or "last").lower()
    return weekday(base, DAYS.index(found["name"].lower()), _STEPS[said])


def _beside_date(found: re.Match[str], base: datetime) -> Range | None:
    """Return what lies so far from a date: "two days before 8 May 2023", "the Friday before …", "the week after …"."""
    inner = _meaning(found["date"], base)
    if inner is None:
        return None
    start, sign = inner[0], -1 if found["side"].lower() in ("before", "prior to") else 1
    if found["name"]:
        return weekday(start, DAYS.index(found["name"].lower()), sign)
    unit = found["unit"].lower()
    if found["number"].lower() == "the" and unit in ("week", "weekend", "month", "year"):
        if unit == "week":  # the seven days beside it
            return (start - timedelta(days=7), start) if sign < 0 else (inner[1], inner[1] + timedelta(days=7))
        this = stretch(start, unit)
        by = sign if unit != "weekend" or sign < 0 or this[0] < start else 0
        return stretch(moved(this[0], "week" if unit == "weekend" else unit, by), unit)
    return around(moved(start, unit, sign * number_of(found["number"])), unit)


_YEAR = r"(?P<year>(?:19|20)\d{2})"
_DATE = (
    rf"(?:the\s+)?(?:\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{MONTH})|(?:{MONTH})\s+\d{{1,2}}(?:st|nd|rd|th)?)"
    r"(?:,?\s*(?:19|20)\d{2})?|\d{4}-\d{2}-\d{2}|yesterday|today|christmas"
)
_RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = tuple(
    (re.compile(rf"\b(?:{pattern})(?!\w)", re.IGNORECASE), rule)
    for pattern, rule in (
        (
            rf"(?:(?P<number>{COUNT}|the)\s+(?:(?P<unit>{UNIT})s?|(?P<name>{DAY})))\s+"
            rf"(?P<side>before|prior to|after|following)\s+(?P<date>{_DATE})",
            _beside_date,
        ),
        (
            rf"(?:the\s+)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{MONTH})(?:,?\s*{_YEAR})?",
            _absolute,
        ),
        (rf"(?P<month>{MONTH})\s+(?:the\s+)?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?!\d)(?:,?\s*{_YEAR})?", _absolute),
        (r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})", _numeric),
        (r"(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.\s?(?P<year>(?:19|20)\d{2})", _numeric),
        (r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})", _numeric),
        (
            rf"(?:the\s+)?(?P<part>{_PART})[\s-]+(?P<month>{MONTH})(?:,?\s*(?:of\s+)?{_YEAR})?",
            _part_of_month,
        ),
        (
            rf"(?:the\s+)?(?P<part>{_PART})[\s-]+(?:{_YEAR}|(?P<step>last|this|next)\s+year)",
            _part_of_year,
        ),
        (r"(?P<side>earlier|later)\s+this\s+(?P<unit>week|month|year|decade)", _so_far),
        (
            rf"(?:between|from)\s+(?P<month1>{MONTH})(?:,?\s*(?P<year1>(?:19|20)\d{{2}}))?\s*"
            rf"(?:and|to|until|till|through|-|–)\s*(?P<month>{MONTH})(?:,?\s*{_YEAR})?(?!,?\s*\d)",
            _between_months,
        ),
        (
            rf"(?:the\s+)?(?P<nth>{'|'.join(_ORDINALS)})\s+(?P<unit>week|weekend)\s+(?:of|in)\s+(?P<month>{MONTH})"
            rf"(?:,?\s*(?:of\s+)?{_YEAR})?",
            _week_of_month,
        ),
        (rf"(?:the\s+)?(?P<unit>week|weekend)\s+of\s+(?P<date>{_DATE})", _week_of),
        (rf"Q(?P<quarter>[1-4])\s+(?:of\s+)?{_YEAR}", _quarter),
        (r"(?:in\s+)?(?:the\s+)?(?P<year>(?:19|20)\d0)s", _whole_decade),
        (
            rf"(?P<month>{MONTH})(?P<day>),?\s*(?:of\s+)?{_YEAR}",
            lambda f, b: in_month(b, int(f["year"]), _month(f["month"])),
        ),
        (
            rf"(?:in|during|since|until|by|last|this past)\s+(?P<month>{MONTH})",
            lambda f, b: in_month(b, None, _month(f["month"])),
        ),
        (
            rf"(?P<month>{'|'.join(m for m in MONTHS if m not in ('may', 'march'))})",
            lambda f, b: in_month(b, None, _month(f["month"])),
        ),
        (
            rf"(?:in\s+)?(?:(?:the|this)\s+)?(?:(?P<step>{STEP})\s+)?(?P<season>{_SEASON})\s+(?:of\s+)?{_YEAR}",
            _of_season,
        ),
        (rf"(?:this\s+)?(?P<step>{STEP})\s+(?P<season>{_SEASON})(?P<year>)", _of_season),
        (rf"(?P<step>last|this|next)\s+year's\s+(?P<season>{_SEASON})", _of_years_season),
        (rf"(?:the\s+)?(?P<season>{_SEASON})\s+of\s+(?P<step>last|this|next)\s+year", _of_years_season),
        (rf"the\s+(?P<what>{_SEASON}|{DAY}|week|weekend|month|year)\s+(?P<side>before)\s+last", _but_one),
        (rf"the\s+(?P<what>{_SEASON}|{DAY}|week|weekend|month|year)\s+(?P<side>after)\s+next", _but_one),
        (rf"(?:in|during|over)\s+(?:the\s+)?(?P<step>)(?P<season>{_SEASON})(?P<year>)", _of_season),
        (rf"(?:(?P<step>{STEP})\s+)?(?P<feast>{_FEAST})(?:,?\s*(?:of\s+)?{_YEAR})?", _feast),
        (r"(?:the\s+)?day before yesterday", _fixed(-2)),
        (r"(?:the\s+)?day after tomorrow", _fixed(2)),
        (r"yesterday|last night", _fixed(-1)),
        (r"today|tonight|this (?:morning|afternoon|evening)|just now", _fixed(0)),
        (r"tomorrow", _fixed(1)),
        (rf"(?:the\s+)?(?P<step>last|past|next)\s+(?P<number>{COUNT})\s+(?P<unit>{UNIT})s?", _last_few),
        (r"(?:the\s+|this\s+)?(?P<step>" + STEP + r")\s+(?P<unit>week|weekend|month|year|decade)", _stepped),
        (rf"(?:about\s+|around\s+)?(?P<number>{COUNT})\s+(?P<unit>{UNIT})s?\s+(?:ago|back|earlier)", _ago),
        (
            rf"(?P<side>over|more than|less than|under)\s+(?P<number>{COUNT})\s+(?P<unit>{UNIT})s?"
            r"\s+(?:ago|back|earlier)",
            _long_ago,
        ),
        (rf"(?:about\s+|around\s+)?(?P<number>)half\s+an?\s+(?P<unit>{UNIT})\s+(?:ago|back|earlier)", _half_ago),
        (
            rf"(?P<number>{COUNT})\s+(?:(?P<unit>{UNIT})s?\s+and\s+a\s+half|and\s+a\s+half\s+(?P<unit2>{UNIT})s?)"
            r"\s+(?:ago|back|earlier)",
            _half_ago,
        ),
        (rf"in\s+(?P<number>{COUNT})\s+(?P<unit>{UNIT})s?", _ahead),
        (rf"(?:this\s+)?(?P<step>{STEP})\s+(?P<name>{DAY})", _of_week),
        (rf"on\s+(?P<step>)(?P<name>{DAY})", _of_week),
        (rf"(?:in|during|since|until|by|before|after|of)\s+{_YEAR}", _whole_year),
    )
)
_ANY = re.compile(  # one of these stands in whatever a rule reads; 10 us instead of 400
    rf"\b(?:{MONTH}|{DAY}|{_SEASON}|{_FEAST}|(?:{UNIT})s?|yesterday|today|tonight|tomorrow|just now)"
    r"(?!\w)|\d{4}",
    re.IGNORECASE,
)
