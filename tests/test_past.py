"""The time machine agrees with a naive replay, and nothing it does rewrites what was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from past_worlds import ANN, BOB, NOW, World

from pinyon import Memory
from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Lineage, Parent, Rights
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, LIVE_STATES, View, Where
from pinyon.errors import BadInput, Conflict, Denied, NotFound
from pinyon.past import as_of_view, diff, instant_seq, log, rollback, undo
from pinyon.store import Engine, MemoryEngine, SqliteEngine
from pinyon.testing import FixedClock


@pytest.fixture(params=["sqlite", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    engine: Engine = SqliteEngine(tmp_path / "m.db") if request.param == "sqlite" else MemoryEngine()
    yield World(engine)
    engine.close()


def content(cube: Cube) -> tuple[object, Header]:
    return cube.payload, cube.header


# --- random walks --------------------------------------------------------------------------------------------------


def walk(world: World, seed: int, steps: int) -> None:
    chance = random.Random(seed)
    cubes: dict[str, Cube] = {}
    for number in range(steps):
        what = chance.choice(["add", "add", "say", "say", "move", "forget", "back"])
        actor = chance.choice([ANN, ANN, BOB])
        mine = [c for c in cubes.values() if c.owner.user == actor.user]
        if what == "add" or not mine:
            states = chance.choice(["generated", "archived", "frozen"])
            (cube,) = world.add(f"note {number}", owner=actor, life=Life(states))  # type: ignore[arg-type]
            cubes[cube.id] = cube
            continue
        cube = chance.choice(mine)
        view = world.view(actor, states=EVERY_STATE)
        if cube.header.life.state == "frozen":
            continue
        if what == "say":
            cubes[cube.id] = world.say(cube, f"text {chance.randrange(3)}", actor)
        elif what == "move":
            cubes[cube.id] = world.move(cube, chance.choice(["archived", "activated"]), actor)
        elif what == "back":
            version = chance.randint(1, cube.version)
            back = rollback(world.store, cube.id, version, view=view, actor=actor, now=world.now())
            cubes[cube.id] = world.keep(back)
        else:
            world.forget(cubes.pop(cube.id), actor)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_as_of_and_diff_equal_a_naive_replay(seed: int, data: st.DataObject) -> None:
    world = World()
    walk(world, seed, 40)
    head = world.engine.head().seq
    states = data.draw(st.sampled_from([LIVE_STATES, EVERY_STATE, ("archived",)]))
    view = world.view(data.draw(st.sampled_from([ANN, BOB])), states=states)
    first, second = sorted(data.draw(st.tuples(st.integers(0, head), st.integers(0, head))))
    before, after = world.naive(view, first), world.naive(view, second)
    at = replace(view, at=first)
    assert {c.id: c for c in world.engine.find(at, newest_first=False, limit=999, after=None)} == before
    found = diff(world.store, view, first, second)
    assert {c.id for c in found.created} == set(after) - set(before)
    assert {c.id for c in found.gone} == set(before) - set(after)
    both = {id: (before[id], after[id]) for id in set(before) & set(after)}
    both = {id: pair for id, pair in both.items() if content(pair[0]) != content(pair[1])}
    assert {new.id: (old, new) for old, new in (*found.changed, *found.moved)} == both
    assert all(old.header.life.state != new.header.life.state for old, new in found.moved)
    assert all(old.payload == new.payload for old, new in found.moved)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_undo_and_redo_agree_with_what_was(seed: int) -> None:
    world = World()
    walk(world, seed, 20)
    view = world.view(states=EVERY_STATE)
    now = {c.id: content(c) for c in world.engine.find(view, newest_first=False, limit=99, after=None)}
    for _ in range(3):
        try:
            done = undo(world.store, view=view, actor=ANN, now=world.now())
        except BadInput:
            return
        undo(world.store, view=view, actor=ANN, now=world.now())
        then = {c.id: content(c) for c in world.engine.find(view, newest_first=False, limit=99, after=None)}
        assert then == now
        assert all(cube.id in now for cube in done.cubes)


def test_a_hundred_steps_on_sqlite_leave_a_sound_store(tmp_path: Path) -> None:
    world = World(SqliteEngine(tmp_path / "m.db"))
    walk(world, 5, 100)
    assert world.store.check() == []
    view = world.view(states=EVERY_STATE)
    for at in range(0, world.engine.head().seq, 7):
        then = world.engine.find(replace(view, at=at), newest_first=False, limit=999, after=None)
        assert {c.id: c for c in then} == world.naive(view, at)
    world.engine.close()


# --- as of ---------------------------------------------------------------------------------------------------------


def test_an_instant_lies_after_the_last_entry_before_it(world: World) -> None:
    (cube,) = world.add("one")
    world.say(cube, "two")
    moments = [NOW, NOW + timedelta(minutes=1), NOW + timedelta(minutes=1.5), NOW + timedelta(days=9)]
    assert [instant_seq(world.store, moment) for moment in moments] == [0, 1, 1, 2]
    assert [world.texts(as_of_view(world.store, world.view(), moment)) for moment in moments] == [
        [], ["one"], ["one"], ["two"],
    ]  # fmt: skip


def test_what_had_expired_by_then_was_not_there(world: World) -> None:
    world.add("one", life=Life(expires=NOW + timedelta(minutes=5)))
    assert world.texts(as_of_view(world.store, world.view(), NOW + timedelta(minutes=4))) == ["one"]
    assert world.texts(as_of_view(world.store, world.view(), NOW + timedelta(minutes=5))) == []


# --- rollback ------------------------------------------------------------------------------------------------------


def test_a_rollback_appends_and_a_rollback_of_it_is_identity(world: World) -> None:
    (one,) = world.add("one", tags=("a",))
    two = world.say(one, "two")
    view = world.view()
    back = rollback(world.store, one.id, 1, view=view, actor=ANN, now=world.now())
    assert (back.version, content(back)) == (3, content(one))
    again = rollback(world.store, one.id, 2, view=view, actor=ANN, now=world.now())
    assert (again.version, content(again)) == (4, content(two))
    assert [v.op for v in world.store.history(one.id, view)] == ["create", "overwrite", "restore", "restore"]
    assert world.engine.events_of(one.id)[-1].detail == {"to": 2}
    assert world.store.check() == []


def test_a_rollback_to_what_is_changes_nothing(world: World) -> None:
    (one,) = world.add("one")
    assert rollback(world.store, one.id, 1, view=world.view(), actor=ANN, now=world.now()) == one
    assert world.engine.head().seq == 1


def test_an_archived_cube_comes_back_by_rollback(world: World) -> None:
    (one,) = world.add("one")
    world.move(one, "archived")
    assert rollback(world.store, one.id, 1, view=world.view(), actor=ANN, now=world.now()).header == one.header


def test_what_cannot_be_rolled_back_says_so(world: World) -> None:
    (one,) = world.add("one")
    (frozen,) = world.add("ice")
    with pytest.raises(NotFound, match="no version 2"):
        rollback(world.store, one.id, 2, view=world.view(), actor=ANN, now=world.now())
    with pytest.raises(NotFound):
        rollback(world.store, one.id, 1, view=world.view(BOB), actor=BOB, now=world.now())
    world.say(frozen, "colder")
    world.move(frozen, "frozen")
    with pytest.raises(Denied, match="frozen"):
        rollback(world.store, frozen.id, 1, view=world.view(), actor=ANN, now=world.now())
    world.move(one, "expired")
    with pytest.raises(Conflict, match="expired"):
        rollback(world.store, one.id, 1, view=world.view(), actor=ANN, now=world.now())


def test_a_rollback_raises_nobodys_rights(world: World) -> None:
    (one,) = world.add("one", owner=Scope(), rights=Rights(read=("user:bob",)))
    policy = Policy(spaces=(("main", SpaceRights(Rights(read=("*",), write=("*",)))),))
    access = Access.of(BOB, policy)
    view = View(BOB, ("main",), Where(states=EVERY_STATE), access)
    boss = View(ANN, ("main",), Where(states=EVERY_STATE), Access.of(ANN, policy))
    narrowed = lambda old: replace(old, header=replace(old.header, rights=Rights()))  # noqa: E731
    world.store.update(one.id, narrowed, view=boss, actor=ANN, now=world.now())
    with pytest.raises(Denied, match="right to share"):
        rollback(world.store, one.id, 1, view=view, actor=BOB, now=world.now())


# --- diff ----------------------------------------------------------------------------------------------------------


def test_a_diff_names_what_came_changed_moved_and_went(world: World) -> None:
    one, two, three, four = world.add("one", "two", "three", "four")
    start = world.engine.head().seq
    said, froze = world.say(one, "ONE"), world.move(two, "activated")
    world.move(three, "archived")
    world.forget(four)
    (five,) = world.add("five")
    world.add("bob's", owner=BOB)
    found = diff(world.store, world.view(), start, world.engine.head().seq)
    assert (found.created, found.changed, found.moved, found.gone) == (
        (five,),
        ((one, said),),
        ((two, froze),),
        (three,),
    )
    assert not diff(world.store, world.view(), start, start)


def test_a_diff_that_runs_backwards_is_bad_input(world: World) -> None:
    with pytest.raises(BadInput, match="before"):
        diff(world.store, world.view(), 2, 1)


# --- log -----------------------------------------------------------------------------------------------------------


def test_a_log_tells_what_the_caller_may_see_and_no_more(world: World) -> None:
    (one,) = world.add("one")
    (his,) = world.add("his", owner=BOB)
    world.say(one, "two")
    world.say(his, "still his", BOB)
    world.forget(his, BOB)
    lines = list(log(world.store, world.view()))
    assert [(line.op, line.version) for line in lines] == [("overwrite", 2), ("create", 1)]
    assert not any(his.id in repr(line) for line in lines)
    assert not hasattr(lines[0], "seq")
    assert [line.op for line in log(world.store, world.view(BOB))] == ["forget", "overwrite", "create"]


def test_a_log_can_be_narrowed(world: World) -> None:
    cubes = world.add("one", "two", "three")
    world.say(cubes[0], "ONE")
    (shared,) = world.add("shared", owner=Scope())
    world.say(shared, "ours", BOB)
    view = world.view()
    assert [line.op for line in log(world.store, view, limit=2)] == ["overwrite", "create"]
    assert [line.actor for line in log(world.store, view, actor=BOB)] == [BOB]
    assert len(list(log(world.store, view, op="create"))) == 4
    assert len(list(log(world.store, view, until=NOW + timedelta(minutes=1)))) == 3
    assert [line.op for line in log(world.store, view, since=NOW + timedelta(minutes=2))] == [
        "overwrite", "create", "overwrite",
    ]  # fmt: skip
    with pytest.raises(BadInput):
        list(log(world.store, view, limit=0))


def test_a_long_log_is_read_from_its_end(world: World) -> None:
    world.add(*(f"note {number}" for number in range(1200)))
    assert len(list(log(world.store, world.view(), limit=2000))) == 1200


# --- undo ----------------------------------------------------------------------------------------------------------


def test_undoing_an_add_archives_and_undoing_that_brings_it_back(world: World) -> None:
    world.add("keep")
    world.add("one", "two")
    view = world.view()
    done = undo(world.store, view=view, actor=ANN, now=world.now())
    assert (done.ops, len(done.cubes), done.kept) == (("create",), 2, ())
    assert world.texts(view) == ["keep"]
    undo(world.store, view=view, actor=ANN, now=world.now())
    assert world.texts(view) == ["keep", "one", "two"]
    assert world.store.check() == []


def test_several_steps_are_undone_at_once(world: World) -> None:
    (one,) = world.add("one")
    world.say(one, "two")
    world.say(one, "three")
    done = undo(world.store, view=world.view(), actor=ANN, now=world.now(), steps=2)
    assert done.ops == ("overwrite", "overwrite")
    assert world.texts(world.view()) == ["one"]


def test_what_others_changed_since_is_left_alone(world: World) -> None:
    (shared,) = world.add("shared", owner=Scope())
    world.say(shared, "mine", ANN)
    world.say(shared, "his", BOB)
    done = undo(world.store, view=world.view(), actor=ANN, now=world.now())
    assert (done.cubes, done.kept) == ((), (shared.id,))
    assert world.texts(world.view()) == ["his"]


def test_what_became_stale_is_fresh_again(world: World) -> None:
    (source,) = world.add("source")
    (made,) = world.add("made of it", lineage=Lineage((Parent(source.id, 1),)))
    world.say(source, "changed")
    view = world.view()
    assert world.texts(view) == ["changed"]
    undo(world.store, view=view, actor=ANN, now=world.now())
    assert world.texts(view) == ["source", "made of it"]
    undo(world.store, view=view, actor=ANN, now=world.now())
    assert world.texts(view) == ["changed"]
    assert world.engine.get(made.id, world.view(states=("stale",))) is not None
    assert world.store.check() == []


def test_forgetting_cannot_be_undone_and_says_so(world: World) -> None:
    (one,) = world.add("one")
    world.forget(one)
    head = world.engine.head()
    with pytest.raises(BadInput, match="was forgotten"):
        undo(world.store, view=world.view(), actor=ANN, now=world.now())
    assert world.engine.head() == head


def test_nobody_undoes_what_somebody_else_did(world: World) -> None:
    world.add("shared", owner=Scope())
    with pytest.raises(BadInput, match="nothing to undo"):
        undo(world.store, view=world.view(), actor=ANN, now=world.now())
    with pytest.raises(BadInput, match="steps"):
        undo(world.store, view=world.view(), actor=ANN, now=world.now(), steps=0)


def test_an_earlier_time_finds_what_expired_since_swept_or_not() -> None:
    clock = FixedClock("2024-05-01")
    memory = Memory.open(":memory:", clock=clock)
    memory.add("temporary zebra", expires=clock.now() + timedelta(seconds=60))
    clock.advance(10)
    middle = clock.now()
    clock.advance(100)
    over = clock.now()
    for _ in range(2):
        then = memory.as_of(middle)
        assert [hit.cube.text for hit in then.search("zebra").hits] == ["temporary zebra"]
        assert [cube.text for cube in then.list().cubes] == ["temporary zebra"]
        assert "zebra" in then.recall("zebra").text
        for later in (memory, memory.as_of(over)):
            assert later.search("zebra").hits == ()
            assert later.list().cubes == ()
        memory.sweep()
    assert [cube.text for cube in memory.diff(middle).gone] == ["temporary zebra"]


def test_undoing_says_why_something_stays_and_passes_over_no_rule() -> None:
    clock = FixedClock("2024-05-01")
    memory = Memory.open(":memory:", clock=clock, user="ann")
    cube = memory.add("a note").cubes[0]
    clock.advance(1)
    memory.freeze(cube.id)
    memory.at(user="bob").add("not Ann's", space="other")
    undone = memory.undo()
    assert (undone.kept, undone.reasons) == ((cube.id,), ("is frozen",))
    memory.thaw(cube.id)
    clock.advance(1)
    memory.rights.grant(read=["user:bob"], space="ward")
    with pytest.raises(BadInput, match="rules were changed"):
        memory.undo()
    assert memory.get(cube.id).header.life.state == "generated"
    clock.advance(1)
    memory.update(cube.id, text="another")
    assert [each.text for each in memory.undo().cubes] == ["a note"]
