"""In how many sessions a text was used as it is."""

from __future__ import annotations

import pytest

from pinyon.errors import BadInput
from pinyon.schedule import Sessions


def test_each_session_counts_once_and_up_to_enough() -> None:
    seen = Sessions(enough=3)
    counts = []
    for session in ("a", "a", "b", "c", "d"):
        seen.note([(1, "x")], session)
        counts.append(seen.of(1, "x"))
    assert counts == [1, 1, 2, 3, 3]
    assert seen.of(2, "x") == 0


def test_another_text_begins_anew() -> None:
    seen = Sessions()
    seen.note([(1, "x")], "a")
    seen.note([(1, "x")], "b")
    seen.note([(1, "y")], "c")
    assert (seen.of(1, "x"), seen.of(1, "y")) == (0, 1)


def test_what_is_forgotten_is_not_counted() -> None:
    seen = Sessions()
    seen.note([(1, "x"), (2, "x")], "a")
    seen.forget([1])
    assert (seen.of(1, "x"), seen.of(2, "x")) == (0, 1)


def test_counting_to_nothing_is_refused() -> None:
    with pytest.raises(BadInput):
        Sessions(enough=0)
