"""Uses a day, against the sum over every use."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pinyon.core.scope import Scope
from pinyon.errors import BadInput, Busy
from pinyon.schedule import Heat, sessions_of
from pinyon.schedule.heat import joined
from pinyon.store._memory_jobs import MemoryUsage
from pinyon.store.side import MOST_SESSIONS, Usage, UsageTable
from pinyon.testing import FixedClock

DAY = 86_400.0
WEEK = timedelta(days=7)


def naive_rate(moments: Sequence[float], now: float, half_life_days: float) -> float:
    """The definition: every use by itself, moments in seconds."""
    decay = math.log(2) / half_life_days
    return decay * sum(math.exp(-decay * (now - moment) / DAY) for moment in moments)


class CountingUsage(MemoryUsage):
    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def change(self, rows: Sequence[int], change: Callable[[Mapping[int, Usage]], Mapping[int, Usage]]) -> None:
        self.writes += 1
        super().change(rows, change)


@given(
    gaps=st.lists(st.floats(0, 40 * DAY), min_size=1, max_size=30),
    wait=st.floats(0, 100 * DAY),
    most=st.integers(1, 8),
    half_life=st.floats(0.01, 60),
)
def test_the_rate_is_the_sum_over_every_use(gaps: list[float], wait: float, most: int, half_life: float) -> None:
    clock = FixedClock(0)
    heat = Heat(MemoryUsage(), clock, half_life=timedelta(days=half_life), most=most)
    moments: list[float] = []
    for gap in gaps:
        clock.advance(gap)
        moments.append(clock.now().timestamp())
        heat.note([7])
    clock.advance(wait)
    expected = naive_rate(moments, clock.now().timestamp(), half_life)
    assert heat.rate(7) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0, 40 * DAY), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_the_order_in_which_uses_are_told_does_not_matter(moments: list[float], random: object) -> None:
    shuffled = list(moments)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    clock = FixedClock(41 * DAY)
    heat = Heat(MemoryUsage(), clock, most=3)
    for moment in shuffled:
        heat.note([1], FixedClock(moment).now())
    assert heat.rate(1) == pytest.approx(naive_rate(moments, 41 * DAY, 7.0), rel=1e-6)
    assert heat.usage([1])[1].count == len(moments)


def test_steady_use_tends_to_its_uses_a_day() -> None:
    clock = FixedClock()
    heat = Heat(MemoryUsage(), clock)
    for _ in range(24 * 90):
        clock.advance(3600)
        heat.note([1])
    assert heat.rate(1) == pytest.approx(24, rel=0.01)


def test_the_rate_halves_in_a_half_life(usage: UsageTable) -> None:
    clock = FixedClock()
    heat = Heat(usage, clock, half_life=WEEK)
    heat.note([1, 1, 2])
    before = heat.rates([1, 2, 3])
    clock.advance(7 * DAY)
    assert heat.rates([1, 2, 3]) == {row: pytest.approx(rate / 2) for row, rate in before.items()}
    assert before[3] == 0.0
    assert before[1] == pytest.approx(2 * before[2])


def test_a_clock_that_jumps_back_makes_nothing_hotter() -> None:
    clock = FixedClock()
    heat = Heat(MemoryUsage(), clock)
    heat.note([1])
    rate = heat.rate(1)
    clock.advance(-30 * DAY)
    assert heat.rate(1) == rate


def test_many_uses_cost_one_write() -> None:
    table = CountingUsage()
    heat = Heat(table, FixedClock(), most=100)
    for row in range(99):
        heat.note([row])
    assert table.writes == 0
    assert heat.rate(5) > 0
    heat.note([5])
    assert table.writes == 1
    assert table.of([5])[5].count == 2


def test_old_uses_are_written_at_the_next_one() -> None:
    table, clock = CountingUsage(), FixedClock()
    heat = Heat(table, clock, longest=timedelta(seconds=30))
    heat.note([1])
    clock.advance(29)
    heat.note([1])
    assert table.writes == 0
    clock.advance(1)
    heat.note([1])
    assert table.writes == 1


def texts_used(heat: Heat, *uses: tuple[str, str | None]) -> None:
    for text, session in uses:
        heat.note([1], texts={1: text}, by=Scope(user="ann", session=session))


def test_each_session_counts_once_and_up_to_the_most(usage: UsageTable) -> None:
    heat, counts = Heat(usage, FixedClock()), []
    for session in ("a", "a", "b", *map(str, range(20))):
        texts_used(heat, ("x", session))
        heat.flush()
        counts.append(sessions_of(usage.of([1])[1], "x"))
    assert counts[:3] == [1, 1, 2]
    assert max(counts) == counts[-1] == MOST_SESSIONS
    assert sessions_of(usage.of([1])[1], "y") == 0


def test_sessions_of_several_processes_add_up_and_those_without_a_name_count_by_process(usage: UsageTable) -> None:
    for expected in (1, 2, 3):
        heat = Heat(usage, FixedClock())
        texts_used(heat, ("x", None), ("x", None))
        heat.close()
        assert sessions_of(usage.of([1])[1], "x") == expected
    for _ in range(2):
        heat = Heat(usage, FixedClock())
        texts_used(heat, ("x", "monday"))
        heat.close()
    assert sessions_of(usage.of([1])[1], "x") == 4


def test_people_and_tenants_do_not_share_a_session() -> None:
    heat = Heat(MemoryUsage(), FixedClock())
    for by in (Scope("t", "ann", None, "1"), Scope(None, "ann", None, "1"), Scope("t", "bob", None, "1")):
        heat.note([1], texts={1: "x"}, by=by)
    assert sessions_of(heat.usage([1])[1], "x") == 3


@pytest.mark.parametrize("most", [1, 100])
def test_another_text_begins_anew(usage: UsageTable, most: int) -> None:
    clock = FixedClock()
    heat = Heat(usage, clock, most=most)
    for text, session in (("x", "a"), ("x", "b"), ("y", "c")):
        texts_used(heat, (text, session))
        clock.advance(1)
    found = heat.usage([1])[1]
    assert (sessions_of(found, "x"), sessions_of(found, "y"), found.count) == (0, 1, 3)


def test_a_use_without_a_text_leaves_the_sessions_as_they_are(usage: UsageTable) -> None:
    heat = Heat(usage, FixedClock())
    texts_used(heat, ("x", "a"))
    heat.flush()
    heat.note([1])
    assert sessions_of(heat.usage([1])[1], "x") == 1


def test_what_rests_names_no_session_and_joins_no_two_memories() -> None:
    table = MemoryUsage()
    heat = Heat(table, FixedClock())
    heat.note([1, 2], texts={1: "x", 2: "x"}, by=Scope(user="ann", session="with my doctor"))
    heat.close()
    one, two = table.of([1])[1], table.of([2])[2]
    assert "doctor" not in repr((one, two))
    assert set(one.sessions).isdisjoint(two.sessions)


MOMENTS = st.none() | st.integers(0, 3).map(lambda days: FixedClock(days * DAY).now())
USES = st.builds(
    Usage,
    st.integers(0, 5),
    MOMENTS,
    st.just(1.0),
    st.sampled_from(["", "x", "y"]),
    st.lists(st.sampled_from("abcd"), unique=True).map(lambda names: tuple(sorted(names))),
)


@given(USES, USES)
def test_two_sets_of_uses_are_one_in_either_order(one: Usage, other: Usage) -> None:
    assume(one.text == other.text or one.last != other.last)
    assert joined(one, other) == joined(other, one)
    if one.text == other.text:
        assert joined(one, other).sessions == tuple(sorted({*one.sessions, *other.sessions}))


def test_closing_writes_what_was_gathered(usage: UsageTable) -> None:
    heat = Heat(usage, FixedClock())
    heat.note([4])
    heat.close()
    assert usage.of([4])[4].count == 1


def test_two_processes_add_up(usage: UsageTable) -> None:
    clock = FixedClock()
    one, other = Heat(usage, clock), Heat(usage, clock)
    one.note([1])
    other.note([1, 1])
    one.close()
    other.close()
    assert usage.of([1])[1].count == 3


def test_what_is_forgotten_is_cold(usage: UsageTable) -> None:
    heat = Heat(usage, FixedClock())
    heat.note([1, 2])
    heat.flush()
    heat.note([1])
    heat.forget([1])
    heat.close()
    assert set(usage.of([1, 2])) == {2}


def test_a_store_that_is_busy_fails_no_search(caplog: pytest.LogCaptureFixture) -> None:
    class BusyUsage(MemoryUsage):
        def change(self, rows: Sequence[int], change: Callable[[Mapping[int, Usage]], Mapping[int, Usage]]) -> None:
            raise Busy("held")

    heat = Heat(BusyUsage(), FixedClock(), most=1)
    with caplog.at_level(logging.WARNING):
        heat.note([1])
    assert "could not be noted" in caplog.text


@pytest.mark.parametrize("wrong", [{"half_life": timedelta(0)}, {"most": 0}, {"longest": timedelta(seconds=-1)}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Heat(MemoryUsage(), FixedClock(), **wrong)  # type: ignore[arg-type]
