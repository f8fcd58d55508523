"""Moments, read from what people write."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.clock import SystemClock, from_micros, instant, micros
from pinyon.errors import BadInput


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2023-05-08", "2023-05-08T00:00:00+00:00"),
        ("20230508", "2023-05-08T00:00:00+00:00"),
        ("2023-05-08T13:56:00+02:00", "2023-05-08T11:56:00+00:00"),
        ("2023-05-08T13:56:00Z", "2023-05-08T13:56:00+00:00"),
        (" 2023-05-08 13:56 ", "2023-05-08T13:56:00+00:00"),
        ("Mon, 08 May 2023 13:56:00 +0200", "2023-05-08T11:56:00+00:00"),
        ("Mon, 08 May 2023 13:56:00 -0000", "2023-05-08T13:56:00+00:00"),
        (date(2023, 5, 8), "2023-05-08T00:00:00+00:00"),
        (datetime(2023, 5, 8, 1), "2023-05-08T01:00:00+00:00"),
        (datetime(2023, 5, 8, 1, tzinfo=timezone(timedelta(hours=-3))), "2023-05-08T04:00:00+00:00"),
        (0, "1970-01-01T00:00:00+00:00"),
        (-0.5, "1969-12-31T23:59:59.500000+00:00"),
    ],
)
def test_a_moment_is_read(value: object, said: str) -> None:
    assert instant(value).isoformat() == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "2023-13-01", "2023-05-08T25:00", True, None, [], math.nan, math.inf, 1e30, -1e30,
     datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
     datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))],
    ids=str,
)  # fmt: skip
def test_what_is_no_moment_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match="not a moment"):
        instant(value)  # type: ignore[arg-type]


@given(st.text(max_size=30) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Za-z]{3} \d{2,5} [\d:+ -]{1,15}"))
def test_any_text_is_a_moment_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        assert instant(text).tzinfo is UTC


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_come_back(moment: datetime) -> None:
    assert from_micros(micros(moment)) == moment


def test_the_clock_of_the_system_shows_utc() -> None:
    assert SystemClock().now().tzinfo is UTC
