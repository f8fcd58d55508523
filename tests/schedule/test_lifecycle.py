from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from pinyon.core.access import Policy, SpaceRights
from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Lineage, Parent, Rights, State_
from pinyon.core.payload import Blob, Text
from pinyon.core.scope import Scope
from pinyon.errors import BadInput, Conflict, Denied, NotFound, PinyonError
from pinyon.schedule.moves import MOVES, STATES, Trigger, life_after

sys.path.insert(0, str(Path(__file__).parent))

from lives import ANN, DAY, LEGAL, World, of


@pytest.fixture
def world(engine: Any) -> World:
    return World(engine)


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


def test_what_is_superseded_names_what_took_its_place(world: World) -> None:
    old, new = world.add("Ann lives in Ulm."), world.add("Ann lives in Bonn.")
    away = world.life.supersede(old.id, new.id, view=world.view())
    assert (away.header.life.state, away.header.life.superseded_by) == ("archived", new.id)
    assert world.live() == {new.id}
    assert world.life.restore(old.id, view=world.view()).header.life == Life(state="activated")
    with pytest.raises(NotFound):
        world.life.supersede(old.id, "f" * 32, view=world.view())


def test_pins_are_written_once(world: World) -> None:
    cube = world.life.pin(world.add("bees").id, view=world.view())
    assert (cube.version, cube.header.life.pinned) == (2, True)
    assert world.life.pin(cube.id, view=world.view()) == cube
    assert not world.life.unpin(cube.id, view=world.view()).header.life.pinned
