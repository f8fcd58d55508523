"""Stretches of the calendar: days, weeks, months, seasons and years as half-open ranges."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta

__all__ = [
    "DAYS", "FEASTS", "MONTHS", "SEASONS", "Range", "around", "day", "feast", "half_beside", "in_month", "moved",
    "season", "stretch", "weekday",
]  # fmt: skip

Range = tuple[datetime, datetime]
"""From the first moment to the one after the last."""

DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = "january february march april may june july august september october november december".split()
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
"""First month, as the weather services of the northern hemisphere count."""


FEASTS: dict[str, tuple[int, int] | tuple[int, int, int] | int] = {
    "christmas eve": (12, 24), "christmas": (12, 25), "boxing day": (12, 26), "new year's eve": (12, 31),
    "new year's day": (1, 1), "new year's": (1, 1), "valentine's day": (2, 14), "halloween": (10, 31),
    "independence day": (7, 4), "good friday": -2, "easter sunday": 0, "easter monday": 1, "easter": 0,
    "mother's day": (5, 6, 2), "memorial day": (5, 0, -1), "father's day": (6, 6, 3), "labor day": (9, 0, 1),
    "labour day": (9, 0, 1), "thanksgiving": (11, 3, 4),
}  # fmt: skip
"""Month and day; month, day of the week and which of them, -1 the last; or days after Easter Sunday. As in the USA."""


def day(moment: datetime) -> datetime:
    """Return the first moment of a day."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def moved(moment: datetime, unit: str, number: int) -> datetime:
    """Return a moment so many units later, from days to decades; the 31st becomes the last of its month."""
    if unit in ("day", "night", "morning", "evening", "afternoon"):
        return moment + timedelta(days=number)
    if unit in ("week", "weekend", "fortnight"):
        return moment + timedelta(days=(14 if unit == "fortnight" else 7) * number)
    months = number * {"month": 1, "year": 12, "decade": 120}[unit] + moment.month - 1
    year, month = moment.year + months // 12, months % 12 + 1
    return moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))


def stretch(moment: datetime, unit: str) -> Range:
    """Return the day, week (from Monday), weekend, month, year or decade that a moment lies in."""
    start = day(moment)
    if unit == "week":
        start -= timedelta(days=start.weekday())
    elif unit == "weekend":
        start += timedelta(days=5 - start.weekday())
        return start, start + timedelta(days=2)
    elif unit == "month":
        start = start.replace(day=1)
    elif unit == "year":
        start = start.replace(month=1, day=1)
    elif unit == "decade":
        start = start.replace(year=start.year // 10 * 10, month=1, day=1)
    return start, moved(start, unit, 1)


def around(moment: datetime, unit: str) -> Range:
    """Return what "two months ago" means of a moment two months ago: its day, else half as long on either side."""
    start = day(moment)
    if unit in ("week", "fortnight"):
        return start - timedelta(days=3), start + timedelta(days=4)
    if unit == "weekend":
        return stretch(moment, "weekend")
    if unit == "month":
        return start - timedelta(days=15), start + timedelta(days=16)
    if unit in ("year", "decade"):
        return moved(start, "month", -6), moved(start, "month", 6)
    return start, start + timedelta(days=1)


def in_month(base: datetime, year: int | None, month: int, number: int | None = None) -> Range | None:
    """Return a month, or a day of it; without a year the latest that has begun. None for a day that does not exist."""
    start = day(base).replace(day=1, month=month)
    if year is not None:
        start = start.replace(year=year)
    elif start > base:
        start = start.replace(year=start.year - 1)
    if number is None:
        return stretch(start, "month")
    if not 1 <= number <= monthrange(start.year, month)[1]:
        return None
    first = start.replace(day=number)
    if year is None and first > base:
        first = moved(first, "year", -1)
    return first, first + timedelta(days=1)


def season(year: int, name: str) -> Range:
    """Return the season that begins in a year; a winter runs into the next one."""
    start = datetime(year, SEASONS[name], 1)
    return start, moved(start, "month", 3)


def weekday(base: datetime, number: int, step: int) -> Range:
    """Return the last (step -1) or next (step 1) such day of the week, never the day itself; 0 takes this week's."""
    start = day(base)
    if step == 0:
        first = start + timedelta(days=number - start.weekday())
    elif step < 0:
        first = start - timedelta(days=(start.weekday() - number - 1) % 7 + 1)
    else:
        first = start + timedelta(days=(number - start.weekday() - 1) % 7 + 1)
    return first, first + timedelta(days=1)


def half_beside(moment: datetime, unit: str, number: int, sign: int) -> Range:
    """Return what lies so many and a half units before (sign -1) or after, such as "a year and a half ago"."""
    halves = {
        "decade": ("year", 5),
        "year": ("month", 6),
        "month": ("day", 15),
        "fortnight": ("day", 7),
        "week": ("day", 3),
    }
    smaller, half = halves.get(unit, ("day", 0))
    beside = moved(moved(moment, unit, sign * number), smaller, sign * half)
    if unit != "year":
        return around(beside, smaller)
    start = day(beside)  # nobody means the month
    return start - timedelta(days=60), start + timedelta(days=61)


def feast(year: int, name: str) -> datetime:
    """Return the day of a feast in a year."""
    found = FEASTS[name]
    if isinstance(found, int):
        return _easter(year) + timedelta(days=found)
    if len(found) == 2:
        return datetime(year, *found)
    month, number, which = found
    if which < 0:
        last = datetime(year, month, monthrange(year, month)[1])
        return last - timedelta(days=(last.weekday() - number) % 7)
    first = datetime(year, month, 1)
    return first + timedelta(days=(number - first.weekday()) % 7 + 7 * (which - 1))


def _easter(year: int) -> datetime:
    """Return Easter Sunday of the western churches, by the rule of Meeus, Jones and Butcher (Meeus 1991, ch. 8)."""
    century, rest = divmod(year, 100)
    golden = year % 19
    moon = (19 * golden + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    sunday = (32 + 2 * (century % 4) + 2 * (rest // 4) - moon - rest % 4) % 7
    late = (golden + 11 * moon + 22 * sunday) // 451
    month, number = divmod(moon + sunday - 7 * late + 114, 31)
    return datetime(year, month, number + 1)
