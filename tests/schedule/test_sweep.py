from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pinyon.core.access import Access
from pinyon.core.cube import Cube
from pinyon.core.header import Life, Lineage, Parent, Rights
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import Where
from pinyon.errors import BadInput
from pinyon.govern import Forgetter, Retention, Rule
from pinyon.govern.rights import joined_rights
from pinyon.schedule.due import LifecycleConfig
from pinyon.schedule.lifecycle import Lifecycle
from pinyon.schedule.moves import STATES
from pinyon.store import SqliteEngine, Store
from pinyon.testing import FixedClock

sys.path.insert(0, str(Path(__file__).parent))

from lives import ANN, DAY, World, of


@pytest.fixture
def world(engine: Any) -> World:
    return World(engine)


def test_use_activates(world: World) -> None:
    used, unused = world.add("bees"), world.add("mill")
    world.use(used)
    swept = world.life.sweep()
    assert [(m.id, m.before, m.after, m.trigger) for m in swept.moves] == [(used.id, "generated", "activated", "used")]
    assert world.stands(unused) == "generated"


def test_a_life_without_any_use_goes_from_idle_to_expired_to_gone(world: World) -> None:
    cube = world.add("bees")
    seen = []
    for days in (29, 1, 364, 1, 29, 1):
        world.clock.advance(days * DAY)
        world.life.sweep()
        seen.append(world.stands(cube))
    assert seen == ["generated", "archived", "archived", "expired", "expired", "gone"]
    last = list(world.store.journal())[-1]
    assert (last.op, last.cube, last.hash) == ("forget", cube.id, "")
    assert world.store.check() == []


def test_the_last_use_counts_where_it_is_later_than_the_last_change(world: World) -> None:
    cube = world.add("bees")
    world.clock.advance(20 * DAY)
    world.use(cube)
    world.clock.advance(20 * DAY)
    assert world.life.sweep().counts == {"used": 1}
    world.clock.advance(30 * DAY)
    assert world.life.sweep().counts == {"idle": 1}


def test_a_time_to_live_ends_at_its_moment_and_a_pin_outlasts_everything(world: World) -> None:
    end = world.clock.now() + timedelta(days=1)
    short, kept = world.add("bees", life=Life(expires=end)), world.add("mill", life=Life(expires=end, pinned=True))
    world.clock.advance(DAY - 1)
    assert world.life.sweep().moves == ()
    world.clock.advance(1)
    assert world.life.sweep().counts == {"ttl": 1}
    world.clock.advance(2000 * DAY)
    world.life.sweep()
    assert [world.stands(cube) for cube in (short, kept)] == ["gone", "generated"]


def test_states_of_models_go_when_the_time_of_their_source_is_up(world: World) -> None:
    source = world.add("bees", life=Life(expires=world.clock.now() + timedelta(days=1)))
    cache = world.state("kv", source)
    summary = world.add("sum", lineage=Lineage((Parent(source.id, 1),)))
    world.clock.advance(DAY)
    assert world.life.sweep().counts == {"ttl": 1}
    assert [world.stands(c) for c in (source, cache, summary)] == ["expired", "gone", "generated"]


def test_the_sweeper_passes_over_what_is_frozen(world: World) -> None:
    cube = world.add("bees", life=of("frozen"))
    world.use(cube)
    world.clock.advance(9999 * DAY)
    swept = world.life.sweep()
    assert (swept.moves, swept.left, swept.looked) == ((), (), 1)


def test_what_was_merged_lives_on_when_its_parents_have_aged(world: World) -> None:
    parents = [world.add(text) for text in ("bees", "mill")]
    made = world.life.merge([p.id for p in parents], Text("both"), view=world.view())
    for _ in range(40):
        world.clock.advance(20 * DAY)
        world.use(made)
        world.life.sweep()
    assert [world.stands(each) for each in (made, *parents)] == ["activated", "gone", "gone"]


def test_capacity_archives_the_least_wanted_first(engine: Any) -> None:
    world = World(engine, LifecycleConfig(capacity=3))
    low = world.add("low", life=Life(priority=0.0))
    pinned = world.add("pinned", life=Life(priority=0.0, pinned=True))
    frozen = world.add("frozen", life=of("frozen"))
    world.clock.advance(60)
    old, used, newest = world.add("old"), world.add("used"), world.add("newest")
    world.clock.advance(60)
    world.use(used)
    told = world.life.sweep(dry_run=True)
    swept = world.life.sweep()
    assert told.counts == swept.counts == {"used": 1, "capacity": 2}
    assert [world.stands(c) for c in (low, old)] == ["archived", "archived"]
    assert [world.stands(c) for c in (pinned, frozen, used, newest)] == [
        "generated",
        "frozen",
        "activated",
        "generated",
    ]
    assert world.life.sweep().moves == ()


def test_rules_come_before_the_defaults_and_holds_before_all(world: World) -> None:
    rules = [
        Rule("court", where=Where(tags=("case",)), hold=True),
        Rule("temp", where=Where(tags=("temp",)), max_age=timedelta(days=2), action="forget"),
        Rule("slow", where=Where(tags=("slow",)), max_idle=timedelta(days=90)),
    ]
    world.retention.change(rules, access=Access.of(ANN), now=world.clock.now())
    end = world.clock.now() + timedelta(days=1)
    held = world.add("case", tags=("case", "temp"), life=Life(expires=end))
    temp, slow, plain = (world.add(name, tags=(name,)) for name in ("temp", "slow", "plain"))
    made = world.add("sum", lineage=Lineage((Parent(temp.id, 1),)), tags=("slow",))
    world.clock.advance(40 * DAY)
    swept = world.life.sweep()
    assert {(m.id, m.trigger, m.why) for m in swept.moves if m.trigger != "idle"} == {
        (temp.id, "rule_forget", "rule temp")
    }
    assert [world.stands(c) for c in (held, temp, slow, plain, made)] == [
        "generated", "gone", "generated", "archived", "gone",
    ]  # fmt: skip
    world.clock.advance(50 * DAY)
    assert world.life.sweep().counts == {"rule_archive": 1}
    world.clock.advance(3000 * DAY)
    world.life.sweep()
    assert world.stands(held) == "generated"


def test_a_dry_run_says_what_the_sweep_does_and_writes_nothing(world: World) -> None:
    cubes = [world.add(str(n), life=Life(pinned=n % 5 == 0)) for n in range(20)]
    world.use(*cubes[:4])
    world.clock.advance(31 * DAY)
    world.use(*cubes[6:10])
    seq = world.engine.head().seq
    told = world.life.sweep(dry_run=True)
    assert world.engine.head().seq == seq
    assert told.moves
    assert world.life.sweep().moves == told.moves
    seq = world.engine.head().seq
    assert world.life.sweep().moves == ()
    assert world.engine.head().seq == seq


def test_a_sweep_with_a_limit_goes_on_where_it_ended(world: World) -> None:
    for n in range(25):
        world.add(str(n))
    world.clock.advance(31 * DAY)
    reached, moved, rounds, told = 0, [], 0, []
    while True:
        swept = world.life.sweep(batch=4, after=reached, limit=6, progress=told.append)
        moved += [move.id for move in swept.moves]
        assert len(swept.moves) <= 6
        reached, rounds = swept.reached, rounds + 1
        if swept.is_done:
            break
    assert (len(moved), len(set(moved)), rounds) == (25, 25, 5)
    assert world.live() == set()
    assert max(told) <= 4
    with pytest.raises(BadInput):
        world.life.sweep(batch=0)


def test_a_killed_sweep_is_completed_by_the_next(world: World) -> None:
    cubes = [world.add(str(n)) for n in range(12)]
    world.clock.advance(31 * DAY)

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.life.sweep(batch=5, progress=killed)
    assert [world.stands(c) for c in cubes].count("archived") == 5
    assert len(world.life.sweep(batch=5).moves) == 7
    assert {world.now(c).version for c in cubes} == {2}
    assert world.store.check() == []


class Meddler(Retention):
    """Rules that change cubes between the moment they are looked at and the moment they are moved."""

    def __init__(self, store: Store, meddle: Any) -> None:
        super().__init__(store)
        self.meddle = meddle

    def rulings(self, used: Any, now: datetime) -> Any:
        found = super().rulings(used, now)
        self.meddle()
        return found


def test_a_cube_that_changes_while_it_is_swept_is_looked_at_again(world: World) -> None:
    cubes = [world.add(str(n)) for n in range(4)]
    world.clock.advance(31 * DAY)
    left = [
        lambda: world.life.freeze(cubes[0].id, view=world.view()),
        lambda: world.life.pin(cubes[1].id, view=world.view()),
        lambda: world.store.remove([cubes[2].id], view=world.view(), actor=ANN, now=world.clock.now()),
    ]

    def meddle() -> None:
        while left:
            left.pop()()

    life = Lifecycle(
        world.store,
        world.clock,
        joined=joined_rights,
        forget=Forgetter(world.store),
        rules=Meddler(world.store, meddle),
    )
    swept = life.sweep()
    assert [world.stands(c) for c in cubes] == ["frozen", "generated", "gone", "archived"]
    assert [m.id for m in swept.moves] == [cubes[3].id]
    assert swept.left == ()


def test_a_cube_that_never_rests_is_left_to_the_next_sweep(world: World) -> None:
    restless, quiet = world.add("bees"), world.add("mill")
    world.clock.advance(31 * DAY)
    turn = iter(range(100))

    def meddle() -> None:
        def change(old: Cube) -> Cube:
            return replace(old, header=replace(old.header, metadata={"turn": next(turn)}))

        earlier = world.clock.now() - timedelta(days=31)
        world.store.update(restless.id, change, view=world.view(), actor=ANN, now=earlier)

    life = Lifecycle(
        world.store, FixedClock(world.clock.now() + timedelta(days=31)), joined=joined_rights,
        forget=Forgetter(world.store), rules=Meddler(world.store, meddle),
    )  # fmt: skip
    swept = life.sweep()
    assert swept.left == (restless.id,)
    assert [world.stands(c) for c in (restless, quiet)] == ["generated", "archived"]


def test_every_tenant_is_swept_whatever_its_rights_say(world: World) -> None:
    closed = Rights(deny=("*",), purposes=("audit",), closes=datetime(2024, 1, 2, tzinfo=UTC))
    owners = (Scope(), ANN, Scope(tenant="t", user="ann"), Scope(tenant="u", agent="bot"))
    cubes = [world.add("bees", owner=owner, rights=closed) for owner in owners]
    world.clock.advance(31 * DAY)
    assert world.life.sweep().counts == {"idle": 4}
    assert {world.stands(cube) for cube in cubes} == {"archived"}
    actors = {world.engine.events_of(cube.id)[-1].actor for cube in cubes}
    assert actors == {Scope(tenant=tenant, agent="sweeper") for tenant in (None, "t", "u")}


def test_two_sweepers_at_once_move_everything_once(tmp_path: Path) -> None:
    world = World(SqliteEngine(tmp_path / "memory.db", durability="normal"))
    cubes = [world.add(str(n)) for n in range(60)]
    world.clock.advance(31 * DAY)
    with ThreadPoolExecutor(3) as pool:
        swept = [each.result() for each in [pool.submit(world.life.sweep, batch=7) for _ in range(3)]]
    assert sorted(move.id for each in swept for move in each.moves) == sorted(cube.id for cube in cubes)
    assert {world.now(cube).version for cube in cubes} == {2}
    assert world.store.check() == []
    world.engine.close()


@pytest.mark.parametrize("field", ["archive_after", "expire_after", "purge_after"])
def test_a_time_of_zero_is_refused(field: str) -> None:
    with pytest.raises(BadInput, match=field):
        LifecycleConfig(**{field: timedelta(0)})
    with pytest.raises(BadInput, match="capacity"):
        LifecycleConfig(capacity=-1)


def test_none_switches_a_default_off(engine: Any) -> None:
    world = World(engine, LifecycleConfig(archive_after=None, expire_after=None, purge_after=None))
    cubes = [world.add(state, life=of(state)) for state in STATES]
    world.clock.advance(9999 * DAY)
    assert world.life.sweep().moves == ()
    assert [world.stands(c) for c in cubes] == list(STATES)
