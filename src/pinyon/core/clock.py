"""Time as an argument: clocks, and instants read from what people write."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

from ..errors import BadInput

__all__ = ["Clock", "Instant", "SystemClock", "from_micros", "instant", "micros"]

Instant = datetime | date | str | int | float
"""What a caller may give as a moment: aware or naive datetime, date, ISO 8601 text, or seconds since 1970."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Where "now" comes from; tests pass a fixed one."""

    def now(self) -> datetime:
        """Return the present as an aware UTC datetime."""
        ...


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """Return the present as an aware UTC datetime."""
        return datetime.now(UTC)


def instant(value: Instant) -> datetime:
    """Read a moment as an aware UTC datetime.

    Args:
        value: A datetime (naive means UTC), a date (its midnight, UTC), seconds since 1970, ISO 8601 text, or the
            date line of an e-mail.

    Raises:
        BadInput: The value is no moment, or lies outside the years 1 to 9999.

    Example:
        >>> instant("2023-05-08T13:56").isoformat()
        '2023-05-08T13:56:00+00:00'
        >>> instant(0).year
        1970
    """
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            moment = _EPOCH + timedelta(seconds=value)
        elif isinstance(value, str):
            moment = _from_text(value.strip())
        else:
            raise TypeError
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError) as error:
        raise BadInput(
            f"{value!r} is not a moment in time", hint="write it as 2023-05-08 or 2023-05-08T13:56:00+02:00"
        ) from error


def _from_text(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parsedate_to_datetime(text)


def micros(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware datetime (negative before)."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    """Return the aware UTC datetime of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)
