from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Lineage, Parent, Rights, State_
from pinyon.core.payload import Blob, State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import BadInput, Conflict, Denied, NotFound, PinyonError
from pinyon.govern import Forgetter, Retention, Rule
from pinyon.govern.rights import joined_rights
from pinyon.schedule.lifecycle import Lifecycle
from pinyon.schedule.moves import MOVES, STATES, Trigger, life_after
from pinyon.schedule.sweep import LifecycleConfig
from pinyon.store import MemoryEngine, SqliteEngine, Store
from pinyon.store.side import Usage
from pinyon.testing import FixedClock

DAY = 24 * 3600
ANN = Scope(user="ann")
LEGAL: dict[str, dict[str, str]] = {  # the state table of the specification, written out once more
    "used": {"generated": "activated", "merged": "activated"},
    "activate": {"generated": "activated", "merged": "activated", "archived": "activated"},
    "merge": {"generated": "archived", "activated": "archived"},
    "unmerge": {"activated": "archived", "merged": "archived"},
    "idle": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "capacity": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "supersede": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "rule_archive": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "archive": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "restore": {"archived": "activated"},
    "ttl": dict.fromkeys(("generated", "activated", "merged", "archived"), "expired"),
    "age": {"archived": "expired"},
    "rule_expire": dict.fromkeys(("generated", "activated", "merged", "archived"), "expired"),
    "expire": dict.fromkeys(("generated", "activated", "merged", "archived"), "expired"),
    "freeze": dict.fromkeys(("generated", "activated", "merged", "archived"), "frozen"),
    "thaw": {"frozen": "archived"},  # what it was before, as the test makes it
    "write": {},
    "overlap": {},
    "purge": {},
    "rule_forget": {},
    "forget": {},
}


@dataclass
class World:
    """A store with a lifecycle over it, and short words for what tests do."""

    engine: Any
    config: LifecycleConfig = field(default_factory=LifecycleConfig)
    clock: FixedClock = field(default_factory=FixedClock)

    def __post_init__(self) -> None:
        self.store = Store(self.engine)
        self.retention = Retention(self.store)
        self.life = Lifecycle(
            self.store,
            self.clock,
            joined=joined_rights,
            forget=Forgetter(self.store, self.retention),
            rules=self.retention,
            config=self.config,
        )

    def view(self, scope: Scope = ANN, policy: Policy | None = None, states: Sequence[str] = EVERY_STATE) -> View:
        access = Access.of(scope, policy or Policy(), moment=self.clock.now())
        return View(scope, ("main",), Where(states=tuple(states)), access)

    def add(self, text: str, *, life: Life | None = None, owner: Scope = ANN, **header: Any) -> Cube:
        draft = Draft(Text(text), Header(life=life or Life(), **header))
        (placed,) = self.store.put([draft], owner=owner, space="main", now=self.clock.now())
        return placed.cube

    def state(self, text: str, *parents: Cube) -> Cube:
        blob = self.engine.blobs.put(text.encode())
        lineage = Lineage(tuple(Parent(p.id, p.version, "converted") for p in parents))
        draft = Draft(State((blob,), {"model": "m"}), Header(lineage=lineage), key=text)
        (placed,) = self.store.put([draft], owner=ANN, space="main", now=self.clock.now())
        return placed.cube

    def use(self, *cubes: Cube) -> None:
        def used(old: Any) -> dict[int, Usage]:
            return {cube.row: Usage(old.get(cube.row, Usage()).count + 1, self.clock.now(), 0.0) for cube in cubes}

        self.engine.usage.change([cube.row for cube in cubes], used)

    def now(self, cube: Cube) -> Cube:
        return self.engine.by_rows([cube.row])[cube.row]

    def stands(self, cube: Cube) -> str:
        found = self.engine.by_rows([cube.row]).get(cube.row)
        return "gone" if found is None else found.header.life.state

    def live(self) -> set[str]:
        view = View(ANN, ("main",), Where(), None, None, self.clock.now())
        return {cube.id for cube in self.engine.find(view, newest_first=False, limit=100_000, after=None)}


@pytest.fixture
def world(engine: Any) -> World:
    return World(engine)


def of(state: State_) -> Life:
    return Life(state=state, thaws_to="archived" if state == "frozen" else None)


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_names_every_trigger_once() -> None:
    assert sorted(move.trigger for move in MOVES) == sorted(get_args(Trigger)) == sorted(LEGAL)


@pytest.mark.parametrize(("state", "trigger"), list(product(STATES, get_args(Trigger))))
def test_every_state_meets_every_trigger_as_the_specification_says(state: State_, trigger: Trigger) -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    cube = Cube("0" * 32, 1, 1, "main", ANN, Text("a"), Header(life=of(state)), moment, moment, "")
    wanted = LEGAL[trigger].get(state)
    if wanted is None:
        with pytest.raises(Conflict, match=state):
            life_after(cube, trigger)
    else:
        life = life_after(cube, trigger)
        assert life.state == wanted
        assert life.thaws_to == (state if wanted == "frozen" else None)


@pytest.mark.parametrize(
    ("state", "verb"), list(product(STATES, ("activate", "archive", "restore", "expire", "freeze", "thaw")))
)
def test_every_verb_moves_a_stored_cube_or_leaves_it_as_it_is(world: World, state: State_, verb: Any) -> None:
    cube = world.add("bees", life=of(state))
    wanted = LEGAL[verb].get(state)
    if wanted is None:
        with pytest.raises(Conflict, match=state):
            getattr(world.life, verb)(cube.id, view=world.view())
        assert world.now(cube) == cube
        return
    after = getattr(world.life, verb)(cube.id, view=world.view(), why="a test")
    assert after.header.life.state == wanted
    assert world.now(cube) == after
    event = world.engine.events_of(cube.id)[-1]
    assert event.op == ("restore" if verb == "restore" else "state")
    assert dict(event.detail) == {"trigger": verb, "from": state, "to": wanted, "why": "a test"}
    assert world.store.check() == []


def test_only_whoever_may_freeze_freezes_and_thaws(world: World) -> None:
    keeper = Scope(user="kim")
    policy = Policy(spaces=(("main", SpaceRights(Rights(read=("*",), freeze=("user:kim",)), reach=("user:kim",))),))
    cube = world.add("bees")
    with pytest.raises(Denied):
        world.life.freeze(cube.id, view=world.view(ANN, policy))
    frozen = world.life.freeze(cube.id, view=world.view(keeper, policy))
    with pytest.raises(Denied):
        world.life.thaw(cube.id, view=world.view(ANN, policy))
    assert world.now(cube) == frozen
    assert world.life.thaw(cube.id, view=world.view(keeper, policy)).header.life == Life()


def test_a_stranger_moves_nothing(world: World) -> None:
    cube = world.add("bees")
    for verb in (world.life.activate, world.life.archive, world.life.expire, world.life.freeze, world.life.pin):
        with pytest.raises(NotFound):
            verb(cube.id, view=world.view(Scope(user="bob")))
    assert world.now(cube) == cube


def test_a_reader_who_may_not_write_archives_and_expires_nothing(world: World) -> None:
    cube = world.add("bees", rights=Rights(read=("user:bob",)))
    kept = world.state("kv", cube)
    for verb in (world.life.archive, world.life.expire, world.life.pin):
        with pytest.raises(Denied):
            verb(cube.id, view=world.view(Scope(user="bob")))
    assert (world.now(cube), world.stands(kept)) == (cube, "generated")


def test_a_frozen_cube_is_changed_by_nothing(world: World) -> None:
    cube = world.life.freeze(
        world.add("bees", life=Life(expires=datetime(2024, 1, 2, tzinfo=UTC))).id, view=world.view()
    )
    other = world.add("mill")
    with pytest.raises(Conflict, match="frozen"):
        world.life.merge([cube.id, other.id], Text("both"), view=world.view())
    with pytest.raises(Conflict, match="frozen"):
        world.life.pin(cube.id, view=world.view())
    with pytest.raises(PinyonError):
        world.store.update(
            cube.id, lambda old: replace(old, payload=Text("x")), view=world.view(), actor=ANN, now=world.clock.now()
        )
    with pytest.raises(PinyonError):
        world.store.remove([cube.id], view=world.view(), actor=ANN, now=world.clock.now())
    world.clock.advance(1000 * DAY)
    world.life.sweep()
    assert world.now(cube) == cube


# --- restoring and merging ------------------------------------------------------------------------------------------


def test_restoring_a_version_brings_its_words_back_under_the_rights_of_today(world: World) -> None:
    cube = world.add("bees", tags=("a",))
    rights = Rights(deny=("user:bob",))

    def change(old: Cube) -> Cube:
        return replace(old, payload=Text("wasps"), header=replace(old.header, tags=("b",), rights=rights))

    world.store.update(cube.id, change, view=world.view(), actor=ANN, now=world.clock.now())
    world.life.archive(cube.id, view=world.view())
    back = world.life.restore(cube.id, 1, view=world.view())
    assert (back.text, back.header.tags, back.header.rights) == ("bees", ("a",), rights)
    assert back.header.life.state == "activated"
    assert [v.op for v in world.store.history(cube.id, world.view())][-2:] == ["state", "restore"]
    with pytest.raises(NotFound, match="no version 9"):
        world.life.restore(world.life.archive(cube.id, view=world.view()).id, 9, view=world.view())


def test_a_merge_is_one_transaction_and_is_taken_apart_again(world: World) -> None:
    soon, late = (datetime(2025, month, 1, tzinfo=UTC) for month in (1, 2))
    one = world.add("bees", life=Life(expires=late), tags=("a",), rights=Rights(sensitivity=("health",)))
    two = world.add("mill", life=Life(expires=soon, priority=1.0), tags=("b",), metadata={"k": 1})
    made = world.life.merge([one.id, two.id], Text("bees at the mill"), view=world.view(), why="same")
    life = made.header.life
    assert (life.state, life.expires, life.priority) == ("merged", soon, 1.0)
    assert made.header.lineage.parents == (Parent(one.id, 1, "merged"), Parent(two.id, 1, "merged"))
    assert (made.header.tags, made.header.rights.sensitivity) == (("a", "b"), ("health",))
    assert [world.now(p).header.life.superseded_by for p in (one, two)] == [made.id] * 2
    assert world.live() == {made.id}
    assert world.engine.events_of(one.id)[-1].detail["into"] == made.id
    apart = world.life.restore(made.id, view=world.view())
    assert apart.header.life.state == "archived"
    assert [world.now(p).header.life for p in (one, two)] == [
        Life(state="activated", expires=late),
        Life(state="activated", expires=soon, priority=1.0),
    ]
    assert world.live() == {one.id, two.id}
    assert world.store.check() == []


def test_a_merged_cube_that_was_used_is_taken_apart_all_the_same(world: World) -> None:
    parents = [world.add(text) for text in ("bees", "mill")]
    made = world.life.merge([p.id for p in parents], Text("both"), view=world.view())
    world.use(made)
    world.life.sweep()
    assert world.stands(made) == "activated"
    world.life.restore(made.id, view=world.view())
    assert [world.stands(each) for each in (made, *parents)] == ["archived", "activated", "activated"]
    assert world.life.restore(made.id, view=world.view()).header.life.state == "activated"
    with pytest.raises(Conflict, match="nothing that cube"):
        world.life.restore(made.id, view=world.view())


def test_a_merge_that_cannot_be_whole_changes_nothing(world: World) -> None:
    one, two = world.add("bees"), world.add("mill", life=Life(state="archived"))
    seq = world.engine.head().seq
    with pytest.raises(Conflict, match="archived"):
        world.life.merge([one.id, two.id], Text("both"), view=world.view())
    with pytest.raises(BadInput, match="at least two"):
        world.life.merge([one.id, one.id], Text("both"), view=world.view())
    with pytest.raises(NotFound):
        world.life.merge([one.id, world.add("wasps", owner=Scope(user="bob")).id], Text("both"), view=world.view())
    assert world.engine.head().seq == seq + 1
    assert world.now(one) == one


def test_what_is_merged_belongs_to_its_one_owner(world: World) -> None:
    mine, everyones = world.add("bees"), world.add("mill", owner=Scope())
    made = world.life.merge([mine.id, everyones.id], Text("both"), view=world.view())
    assert (made.owner.user, made.owner.tenant) == ("ann", None)
    shared = [world.add(text, owner=Scope()) for text in ("river", "door")]
    assert world.life.merge([s.id for s in shared], Text("b"), view=world.view()).owner.user is None


def test_expiring_a_source_drops_the_states_of_models_made_of_it(world: World) -> None:
    source, other = world.add("bees"), world.add("mill")
    kept, second, frozen = world.state("kv", source), world.state("kv2", source), world.state("kv3", source)
    deeper, unrelated = world.state("kv4", second), world.state("kv5", other)
    summary = world.add("sum", lineage=Lineage((Parent(source.id, 1),)))
    world.life.freeze(frozen.id, view=world.view())
    blob = kept.payload.blobs[0]  # type: ignore[union-attr]
    world.life.expire(source.id, view=world.view())
    assert [world.stands(c) for c in (source, kept, second, deeper)] == ["expired", "gone", "gone", "gone"]
    assert [world.stands(c) for c in (frozen, unrelated, summary)] == ["frozen", "generated", "generated"]
    with pytest.raises(NotFound):
        world.engine.blobs.get(Blob(blob.sha256, blob.bytes))


def test_pins_are_written_once(world: World) -> None:
    cube = world.life.pin(world.add("bees").id, view=world.view())
    assert (cube.version, cube.header.life.pinned) == (2, True)
    assert world.life.pin(cube.id, view=world.view()) == cube
    assert not world.life.unpin(cube.id, view=world.view()).header.life.pinned


# --- by itself ------------------------------------------------------------------------------------------------------


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


# --- a random walk beside a plain state machine ---------------------------------------------------------------------


@dataclass
class Plain:
    """What the naive machine knows of one cube."""

    state: str
    text: str
    changed: datetime
    expires: datetime | None = None
    pinned: bool = False
    used: datetime | None = None
    count: int = 0
    previous: str = ""
    by: str = ""
    parents: tuple[str, ...] = ()
    frozen_hash: str = ""


class Machine:
    """The specification's table, straight from its rows."""

    def __init__(self) -> None:
        self.cubes: dict[str, Plain] = {}

    def may(self, id: str, verb: str) -> bool:
        mine = self.cubes[id]
        if verb == "restore" and mine.state in ("merged", "activated") and mine.parents:
            return any(self.is_parked(parent, id) for parent in mine.parents)
        return mine.state in LEGAL[verb]

    def is_parked(self, id: str, by: str) -> bool:
        parent = self.cubes.get(id)
        return parent is not None and parent.state == "archived" and parent.by == by

    def move(self, id: str, verb: str, now: datetime) -> None:
        mine = self.cubes[id]
        if verb == "restore" and mine.state in ("merged", "activated"):
            for parent in mine.parents:
                if self.is_parked(parent, id):
                    self.set(parent, "activated", now)
            self.set(id, "archived", now)
        elif verb == "thaw":
            self.set(id, mine.previous, now)
        else:
            mine.previous = mine.state
            self.set(id, LEGAL[verb][mine.state], now)

    def set(self, id: str, state: str, now: datetime) -> None:
        mine = self.cubes[id]
        if state == "activated":
            mine.by = mine.by if mine.state != "archived" else ""
        mine.state, mine.changed = state, now

    def sweep(self, now: datetime) -> None:
        for id in list(self.cubes):
            mine = self.cubes[id]
            rest = now - max(mine.changed, mine.used or mine.changed)
            live = mine.state in ("generated", "activated", "merged")
            if mine.state == "frozen":
                continue
            if not mine.pinned:
                if mine.state != "expired" and mine.expires is not None and mine.expires <= now:
                    self.set(id, "expired", now)
                    continue
                if mine.state == "expired" and now - mine.changed >= timedelta(days=30):
                    del self.cubes[id]
                    continue
                if mine.state == "archived" and now - mine.changed >= timedelta(days=365):
                    self.set(id, "expired", now)
                    continue
                if live and rest >= timedelta(days=30):
                    self.set(id, "archived", now)
                    continue
            if mine.state in ("generated", "merged") and mine.count:
                self.set(id, "activated", now)


def walk(world: World, steps: int, seed: int) -> None:
    rng = random.Random(seed)
    machine = Machine()
    verbs = ("activate", "archive", "restore", "expire", "freeze", "thaw", "pin", "unpin", "merge", "use", "write")
    for step in range(steps):
        kind = rng.choices(("add", "move", "time", "sweep"), (4, 14, 2, 1))[0]
        now = world.clock.now()
        if kind == "add" or not machine.cubes:
            expires = now + timedelta(days=rng.randint(1, 90)) if rng.random() < 0.3 else None
            cube = world.add(f"text {step}", life=Life(expires=expires))
            machine.cubes[cube.id] = Plain("generated", cube.text, now, expires)
        elif kind == "time":
            world.clock.advance(rng.choice((1, 5, 20)) * DAY)
        elif kind == "sweep":
            world.life.sweep(batch=rng.choice((3, 50, 1000)))
            machine.sweep(now)
        else:
            act(world, machine, rng, rng.choice(verbs), step)
        if step % 50 == 0 or step == steps - 1:
            compare(world, machine)
    assert world.store.check() == []


def act(world: World, machine: Machine, rng: random.Random, verb: str, step: int) -> None:
    now, view = world.clock.now(), world.view()
    id = rng.choice(list(machine.cubes))
    mine = machine.cubes[id]
    if verb == "use":
        cube = world.engine.get(id, view)
        world.use(cube)
        mine.used, mine.count = now, mine.count + 1
    elif verb in ("pin", "unpin"):
        if mine.state == "frozen":
            with pytest.raises(Conflict):
                getattr(world.life, verb)(id, view=view)
        else:
            getattr(world.life, verb)(id, view=view)
            if mine.pinned != (verb == "pin"):
                mine.pinned, mine.changed = verb == "pin", now
    elif verb == "write":
        text = f"text {step} again"
        if mine.state == "frozen":
            with pytest.raises(PinyonError):
                world.store.update(id, lambda old: replace(old, payload=Text(text)), view=view, actor=ANN, now=now)
        else:
            stale = [o for o, c in machine.cubes.items() if id in c.parents]
            if not stale:  # staleness is the store's, and tested there
                world.store.update(id, lambda old: replace(old, payload=Text(text)), view=view, actor=ANN, now=now)
                mine.text, mine.changed = text, now
    elif verb == "merge":
        other = rng.choice(list(machine.cubes))
        fits = other != id and all(machine.cubes[each].state in LEGAL["merge"] for each in (id, other))
        if not fits:
            with pytest.raises((Conflict, BadInput)):
                world.life.merge([id, other], Text(f"merge {step}"), view=view)
            return
        made = world.life.merge([id, other], Text(f"merge {step}"), view=view)
        both = [machine.cubes[each] for each in (id, other)]
        ends = [each.expires for each in both if each.expires is not None]
        machine.cubes[made.id] = Plain(
            "merged", made.text, now, min(ends, default=None), any(each.pinned for each in both), parents=(id, other)
        )
        for each in both:
            each.state, each.changed, each.by = "archived", now, made.id
    elif machine.may(id, verb):
        after = getattr(world.life, verb)(id, view=view)
        machine.move(id, verb, now)
        mine.frozen_hash = after.hash if verb == "freeze" else ""
    else:
        with pytest.raises(Conflict):
            getattr(world.life, verb)(id, view=view)


def compare(world: World, machine: Machine) -> None:
    now = world.clock.now()
    every = world.engine.find(world.view(), newest_first=False, limit=100_000, after=None)
    assert {cube.id for cube in every} == set(machine.cubes)
    for cube in every:
        mine, life = machine.cubes[cube.id], cube.header.life
        said = (life.state, cube.text, cube.updated, life.expires, life.pinned, life.superseded_by or "")
        assert said == (mine.state, mine.text, mine.changed, mine.expires, mine.pinned, mine.by)
        if mine.state == "frozen":
            assert cube.hash == mine.frozen_hash
    wanted = {
        id
        for id, mine in machine.cubes.items()
        if mine.state in ("generated", "activated", "merged", "frozen") and (mine.expires is None or mine.expires > now)
    }
    assert world.live() == wanted


def test_a_random_walk_agrees_with_a_plain_machine() -> None:
    walk(World(MemoryEngine()), 2000, seed=1)


def test_a_random_walk_in_a_file_agrees_too(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "memory.db", durability="normal")
    walk(World(engine), 400, seed=2)
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_ten_thousand_steps_agree_with_a_plain_machine(kind: str, tmp_path: Path) -> None:
    engine: Any = MemoryEngine() if kind == "memory" else SqliteEngine(tmp_path / "memory.db", durability="normal")
    walk(World(engine), 10_000, seed=3)
    engine.close()
