"""What-if spaces: they feel nothing of their origin, and give nothing back but by a merge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from past_worlds import ANN, BOB, NOW, World

from pinyon.branching import branch, merge_branch
from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.cube import Cube
from pinyon.core.header import Rights
from pinyon.core.where import View
from pinyon.errors import BadInput, Conflict, Denied
from pinyon.store import Engine, MemoryEngine, SqliteEngine


@pytest.fixture(params=["sqlite", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    engine: Engine = SqliteEngine(tmp_path / "m.db") if request.param == "sqlite" else MemoryEngine()
    yield World(engine)
    engine.close()


def made_branch(world: World) -> tuple[list[Cube], dict[str, Cube]]:
    cubes = world.add("one", "two", "three", tags=("t",))
    at = world.engine.head().seq
    world.say(cubes[0], "one, later")
    branch(world.store, world.view(), at, "what-if", actor=ANN, now=world.now())
    copies = world.engine.find(world.view(space="what-if"), newest_first=False, limit=9, after=None)
    return cubes, {c.text: c for c in copies}


def test_a_branch_holds_what_was_and_names_it(world: World) -> None:
    cubes, copies = made_branch(world)
    assert list(copies) == ["one", "two", "three"]
    parent = copies["one"].header.lineage.parents[0]
    assert (parent.id, parent.version) == (cubes[0].id, 1)
    assert copies["two"].header.tags == ("t",)
    assert copies["two"].created == cubes[1].created
    assert world.store.check() == []


def test_a_branch_and_its_origin_do_not_feel_each_other(world: World) -> None:
    cubes, copies = made_branch(world)
    world.say(copies["two"], "two if")
    world.say(cubes[2], "three later")
    world.add("here", space="what-if")
    assert world.texts(world.view()) == ["one, later", "two", "three later"]
    assert world.texts(world.view(space="what-if")) == ["one", "two if", "three", "here"]


def test_a_merge_brings_back_what_the_branch_changed(world: World) -> None:
    cubes, copies = made_branch(world)
    world.say(copies["two"], "two if")
    (fresh,) = world.add("here", space="what-if")
    merged = merge_branch(world.store, "what-if", "main", view=world.view(), actor=ANN, now=world.now())
    assert [c.text for c in merged.updated] == ["two if"]
    assert [c.text for c in merged.created] == ["here"]
    assert (merged.unchanged, merged.conflicts) == (2, ())
    assert world.texts(world.view()) == ["one, later", "two if", "three", "here"]
    assert merged.created[0].header.lineage.parents[0].id == fresh.id
    assert world.engine.events_of(cubes[1].id)[-1].op == "merge"
    again = merge_branch(world.store, "what-if", "main", view=world.view(), actor=ANN, now=world.now())
    assert (again.created, again.updated, again.unchanged, again.conflicts) == ((), (), 4, ())
    world.say(fresh, "changed there")
    assert "here" in world.texts(world.view())
    assert world.store.check() == []


@pytest.mark.parametrize(
    ("policy", "ours_last", "text"),
    [
        ("ours", False, "ours"),
        ("theirs", True, "theirs"),
        ("newer", False, "theirs"),
        ("newer", True, "ours"),
    ],
)
def test_what_changed_on_both_sides_is_named_and_decided(world: World, policy: str, ours_last: bool, text: str) -> None:
    cubes, copies = made_branch(world)
    changes = [lambda: world.say(cubes[1], "ours"), lambda: world.say(copies["two"], "theirs")]
    for change in reversed(changes) if ours_last else changes:
        change()
    merged = merge_branch(
        world.store,
        "what-if",
        "main",
        view=world.view(),
        actor=ANN,
        now=world.now(),
        policy=policy,  # type: ignore[arg-type]
    )
    (conflict,) = merged.conflicts
    assert (conflict.cube, conflict.copy, conflict.reason) == (cubes[1].id, copies["two"].id, "changed")
    assert conflict.kept == text
    assert world.texts(world.view())[1] == text


def test_a_merge_after_a_merge_knows_what_it_brought(world: World) -> None:
    _, copies = made_branch(world)
    world.say(copies["two"], "two if")
    merge_branch(world.store, "what-if", "main", view=world.view(), actor=ANN, now=world.now())
    world.say(copies["two"], "two if more")
    merged = merge_branch(world.store, "what-if", "main", view=world.view(), actor=ANN, now=world.now())
    assert ([c.text for c in merged.updated], merged.conflicts) == (["two if more"], ())


def test_a_merge_brings_back_nothing_that_was_forgotten(world: World) -> None:
    cubes, copies = made_branch(world)
    world.say(copies["two"], "two if")
    world.say(copies["three"], "three if")
    world.forget(cubes[1])
    world.move(cubes[2], "frozen")
    merged = merge_branch(
        world.store, "what-if", "main", view=world.view(), actor=ANN, now=world.now(), policy="theirs"
    )
    assert {c.reason for c in merged.conflicts} == {"gone", "closed"}
    assert world.texts(world.view()) == ["one, later", "three"]


def test_a_branch_needs_a_place_of_its_own(world: World) -> None:
    world.add("one")
    world.add("two", space="full")
    with pytest.raises(Conflict, match="holds memories"):
        branch(world.store, world.view(), 1, "full", actor=ANN, now=world.now())
    with pytest.raises(BadInput, match="another space"):
        branch(world.store, world.view(), 1, "main", actor=ANN, now=world.now())
    closed = View(ANN, ("main",), access=Access.of(ANN, Policy(spaces=(("what-if", SpaceRights()),))))
    with pytest.raises(Denied, match="may not write"):
        branch(world.store, closed, 1, "what-if", actor=ANN, now=world.now())
    with pytest.raises(BadInput, match="into itself"):
        merge_branch(world.store, "main", "main", view=world.view(), actor=ANN, now=NOW)
    with pytest.raises(BadInput, match="no policy"):
        merge_branch(world.store, "full", "main", view=world.view(), actor=ANN, now=NOW, policy="x")  # type: ignore[arg-type]


def test_a_branch_that_was_forgotten_can_be_made_again(world: World) -> None:
    _, copies = made_branch(world)
    for copy in copies.values():
        world.forget(copy)
    assert branch(world.store, world.view(), 3, "what-if", actor=ANN, now=world.now()).cubes == 3
    assert world.texts(world.view(space="what-if")) == ["one", "two", "three"]


def test_a_branch_has_the_rights_of_today(world: World) -> None:
    (one,) = world.add("one", rights=Rights(read=("*",)))
    at = world.engine.head().seq
    narrowed = lambda old: replace(old, header=replace(old.header, rights=Rights()))  # noqa: E731
    world.store.update(one.id, narrowed, view=world.view(), actor=ANN, now=world.now())
    assert branch(world.store, world.view(), at, "what-if", actor=ANN, now=world.now()).cubes == 1
    assert world.texts(world.view(BOB, "what-if")) == []
