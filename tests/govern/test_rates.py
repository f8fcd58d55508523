"""Calls are counted by the store, and no clock that jumps helps or hurts for long."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from pinyon.core.access import Access, Limit, Policy
from pinyon.core.scope import Scope
from pinyon.errors import Denied
from pinyon.govern.rates import Rates
from pinyon.store import Engine, MemoryEngine

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
ANN = Scope(user="ann")


def access(*limits: Limit, scope: Scope = ANN) -> Access:
    return Access.of(scope, Policy(roles=(("guest", ("user:ann", "user:bob")),), limits=limits))


def passes(engine: Engine, who: Access, now: datetime, *, action: str = "read", space: str = "main") -> bool:
    try:
        Rates(engine).count(who, action, space, now)  # type: ignore[arg-type]
    except Denied as error:
        assert error.rule == "rate"
        return False
    return True


@pytest.mark.parametrize("seed", range(20))
def test_no_stretch_of_time_holds_more_calls_than_allowed_and_none_is_refused_without_need(seed: int) -> None:
    chance = random.Random(seed)
    calls, per = chance.randint(1, 6), chance.choice([1, 60, 3600])
    who, engine = access(Limit("user:ann", "read", calls, per)), MemoryEngine()
    now, passed = START, list[datetime]()
    for _ in range(300):
        now += timedelta(seconds=chance.choice([0, per / 200, per / 7, per / 2, per * 1.5]) * chance.random())
        within = [at for at in passed if at > now - timedelta(seconds=per)]
        if passes(engine, who, now):
            assert len(within) < calls
            passed.append(now)
        else:  # what is counted together, a sixtieth of the window, runs out together
            late = timedelta(seconds=per + 2 * per / 60)
            assert len([at for at in passed if at > now - late]) >= calls


def test_a_refused_call_says_when_to_come_back_and_that_is_true() -> None:
    who, engine = access(Limit("user:ann", "read", 2, 60)), MemoryEngine()
    assert passes(engine, who, START)
    assert passes(engine, who, START + timedelta(seconds=30))
    with pytest.raises(Denied, match=r"may be tried again at 2024-05-01T12:01:01\+00:00, in 21 seconds$"):
        Rates(engine).count(who, "read", "main", START + timedelta(seconds=40))
    assert not passes(engine, who, START + timedelta(seconds=59))
    assert passes(engine, who, START + timedelta(seconds=61))


def test_a_clock_that_jumps_back_locks_nobody_out_and_resets_nothing() -> None:
    for jump in (timedelta(seconds=1), timedelta(seconds=59), timedelta(days=400)):
        who, engine = access(Limit("user:ann", "read", 2, 60)), MemoryEngine()
        assert passes(engine, who, START)
        assert passes(engine, who, START)
        back = START - jump
        assert not passes(engine, who, back)
        assert not passes(engine, who, back)
        longest = max(jump, timedelta()) if jump <= timedelta(seconds=60) else timedelta()
        assert passes(engine, who, back + longest + timedelta(seconds=62))


def test_each_holder_counts_by_itself_over_sessions_and_processes() -> None:
    limit, engine = Limit("role:guest", "read", 1, 60), MemoryEngine()
    bob = access(limit, scope=Scope(user="bob", session="1"))
    assert passes(engine, access(limit), START)
    assert passes(engine, bob, START)
    assert not passes(engine, access(limit, scope=Scope(user="bob", session="2")), START)
    assert passes(engine, access(limit, scope=Scope(user="eve")), START)  # no guest
    assert passes(engine, bob, START, action="write")


def test_every_limit_that_concerns_a_call_must_let_it_pass_and_a_refused_one_is_counted_nowhere() -> None:
    both = access(Limit("*", "read", 3, 60), Limit("user:ann", "read", 1, 60, "ward"))
    engine = MemoryEngine()
    assert passes(engine, both, START, space="ward")
    assert not passes(engine, both, START, space="ward")
    assert passes(engine, both, START)
    assert passes(engine, both, START)
    assert not passes(engine, both, START)


def test_no_calls_at_all_may_be_the_limit() -> None:
    assert not passes(MemoryEngine(), access(Limit("*", "write", 0, 60)), START, action="write")
