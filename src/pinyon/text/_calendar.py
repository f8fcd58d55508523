"""Stretches of the calendar: days, weeks, months, seasons and years as half-open ranges."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta

__all__ = ["DAYS", "MONTHS", "SEASONS", "Range", "around", "day", "in_month", "moved", "season", "stretch", "weekday"]

Range = tuple[datetime, datetime]
"""From the first moment to the one after the last."""

DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = "january february march april may june july august september october november december".split()
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
"""First month, as the weather services of the northern hemisphere count."""


def day(moment: datetime) -> datetime:
    """Return the first moment of a day."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def moved(moment: datetime, unit: str, number: int) -> datetime:
    """Return a moment so many days, weeks, weekends, months or years later; the 31st becomes the last of its month."""
    if unit in ("day", "night", "morning", "evening", "afternoon"):
        return moment + timedelta(days=number)
    if unit in ("week", "weekend"):
        return moment + timedelta(days=7 * number)
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
    if unit == "week":
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
