from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Provenance, Rights
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import View
from pinyon.index import Regions, Table

from .ruled import NOW, SPACES, Ruled, ask, assert_alike, assert_as_if_alone

SIZES = (1, 7, 24)
ANN = Scope(user="ann")


@pytest.mark.parametrize("start", range(0, 240, 40))
def test_a_search_with_unreadable_cubes_equals_one_in_a_world_without_them(start: int) -> None:
    """Two hundred and forty random rights worlds: results, scores, legs, counts, terms and order."""
    seen = 0
    for seed in range(start, start + 40):
        world = Ruled(seed)
        world.add(SIZES[seed % 3] + 4)
        index = world.index()
        for _ in range(2):
            seen += assert_as_if_alone(world, index, world.view())
    assert seen > 100


@pytest.mark.slow
def test_a_thousand_worlds_with_histories_agree_with_the_plain_decision() -> None:
    for seed in range(1000, 2000):
        world = Ruled(seed)
        world.live(24)
        index = world.index()
        for at in (None, world.draw.randint(0, world.store.engine.head().seq)):
            assert_as_if_alone(world, index, world.view(at))


def _cube(row: int, rights: Rights | None = None, life: Life | None = None, version: int = 1, seq: int = 0) -> Cube:
    header = Header(
        provenance=Provenance(unit="turn", thread="t", position=row), rights=rights or Rights(), life=life or Life()
    )
    owner = Scope(user="bob")
    return Cube(f"{row:032x}", row, version, "main", owner, Text("x"), header, NOW, NOW, "", "", seq or row)


def _view(scope: Scope = ANN, policy: Policy | None = None, moment: datetime | None = NOW, **more: object) -> View:
    access = Access.of(scope, policy or Policy(), moment=moment)
    return View(scope, access=access, moment=moment, **more)  # type: ignore[arg-type]


def _rows(table: Table, view: View) -> list[int]:
    return table.column("row")[Regions(table).of(view).mask].tolist()


def test_the_turns_around_an_unreadable_one_are_neighbours() -> None:
    table = Table()
    named = Rights(read=("user:ann",))
    table.add_many([_cube(1, named), _cube(2), _cube(3, named)], [1, 1, 1])
    regions = Regions(table)
    before, after = regions.of(_view()).links
    assert (before.tolist(), after.tolist()) == ([-1, -1, 0, -1], [2, -1, -1, -1])
    owner = regions.of(_view(Scope(user="bob")))
    assert [links.tolist() for links in owner.links] == [links.tolist() for links in table.links()]


def test_rights_of_the_past_are_those_of_today() -> None:
    table = Table()
    named = Rights(read=("user:ann",))
    table.add_many([_cube(1, named), _cube(2)], [1, 1])
    table.add_many([_cube(1, None, None, 2, 3), _cube(2, named, None, 2, 4)], [1, 1])
    assert _rows(table, _view(at=2)) == [2]
    assert _rows(table, _view(Scope(user="bob"), at=2)) == [1, 2]


def test_time_that_changes_nothing_makes_no_other_region() -> None:
    table = Table()
    hours = [timedelta(hours=hour) for hour in range(4)]
    table.add_many([_cube(1, life=Life(expires=NOW + hours[2])), _cube(2), _cube(3)], [1, 1, 1])
    table.add(_cube(4, Rights(read=("*",), opens=NOW + hours[1])), 1)
    regions, bob = Regions(table), Scope(user="bob")
    found = [regions.of(_view(bob, moment=NOW + timedelta(minutes=30 * half))) for half in range(6)]
    assert [region.size for region in found] == [3, 3, 4, 4, 3, 3]
    assert found[0] is found[1]
    assert found[2] is found[3]
    assert found[4] is found[5]
    assert regions.of(_view(bob, moment=None)).size == 3  # what is bound to a time is closed, and nothing expires


def test_a_rule_that_changes_is_heeded_at_once() -> None:
    table = Table()
    table.add_many([_cube(1), _cube(2, Rights(sensitivity=("health",)))], [1, 1])
    reach = SpaceRights(Rights(read=("user:ann",)), reach=("user:ann",))
    regions = Regions(table)
    for policy, size in (
        (Policy(), 0),
        (Policy(spaces=(("main", reach),)), 2),
        (Policy(spaces=(("main", reach),), clearances=(("user:bob", ("health",)),)), 1),
        (Policy(spaces=(("main", replace(reach, rights=Rights(read=("*",), deny=("user:ann",)))),)), 0),
    ):
        assert regions.of(_view(policy=policy)).size == size


def test_rights_that_come_later_are_worked_out_for_callers_who_asked_before() -> None:
    table = Table()
    regions = Regions(table)
    for row, rights in enumerate((Rights(), Rights(read=("user:ann",)), Rights(read=("*",)), Rights(deny=("*",))), 1):
        table.add(_cube(row, rights), 1)
        assert regions.of(_view()).size == min(row - 1, 2)
    table.drop(2)
    assert len(table.compact()) == 3
    assert _rows(table, _view()) == [3]
    assert regions.of(_view()).size == 1


def test_conditions_on_metadata_share_the_region_of_the_view_without_them() -> None:
    world = Ruled(0)
    world.add(20)
    index = world.index()
    view = View(spaces=SPACES)
    tagged = replace(view, where=replace(view.where, tags=("red",)))
    assert index._regions.of(view) is index._regions.of(tagged)
    assert_alike(ask(index, "old mill", view), ask(index, "old mill", tagged))
