from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import LIVE_STATES, View, Where
from pinyon.index import Region, Regions, Table

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def _cube(row: int, position: int, version: int = 1, thread: str = "t", state: str = "generated") -> Cube:
    header = Header(provenance=Provenance(unit="turn", thread=thread, position=position), life=Life(state=state))
    return Cube(f"{row:032x}", row, version, "main", Scope(), Text("x"), header, NOW, NOW, "")


def _next(cube: Cube, position: int | None) -> Cube:
    p = cube.header.provenance
    return _cube(cube.row, p.position if position is None else position, cube.version + 1, p.thread)


def _in_order(table: Table) -> dict[int, list[int]]:
    """Return the rows of each thread, from its first to its last, checking that both ways agree."""
    before, after = (links[:-1].tolist() for links in table.links())
    alive, thread, row = (table.column(n).tolist() for n in ("alive", "thread", "row"))
    out: dict[int, list[int]] = {}
    for slot, left in enumerate(before):
        if alive[slot] and left < 0 and thread[slot] >= 0:
            at, rows = slot, []
            while at >= 0:
                rows.append(row[at])
                assert after[at] < 0 or before[after[at]] == at
                at = after[at]
            out[thread[slot]] = rows
    return out


@pytest.mark.parametrize("seed", range(20))
def test_neighbours_are_those_of_the_order_of_position_and_row(seed: int) -> None:
    draw, table = random.Random(seed), Table()
    here: dict[int, Cube] = {}
    for _ in range(12):
        batch: dict[int, Cube] = {}
        for _ in range(draw.randint(1, 30)):
            old = draw.choice([None, None, *here]) if here else None
            row = len(here) + len(batch) + 1 if old is None else old
            if row in batch or (old is None and row in here):
                continue
            if row in here:
                batch[row] = _next(here[row], draw.randrange(60) if draw.random() < 0.2 else None)
            else:
                batch[row] = _cube(row, draw.randrange(60), 1, draw.choice("ab"))
        table.add_many(list(batch.values()), [1] * len(batch))
        here |= batch
        for row in draw.sample(sorted(here), min(2, len(here))):
            table.drop(row)
            table.add(here[row], 1)
    for thread in "ab":
        mine = [c for c in here.values() if c.header.provenance.thread == thread]
        mine.sort(key=lambda c: (c.header.provenance.position, c.row))
        if mine:
            assert [c.row for c in mine] in _in_order(table).values()


def test_an_archived_turn_is_nobodys_neighbour() -> None:
    table = Table()
    table.add_many([_cube(1, 0), _cube(2, 1, state="archived"), _cube(3, 2)], [1, 1, 1])
    before, after = table.links()
    assert before.tolist() == [-1, -1, 0, -1]
    assert after.tolist() == [2, -1, -1, -1]


def test_a_turn_put_into_a_very_long_thread_finds_its_place() -> None:
    table = Table()
    table.add_many([_cube(row, 2 * row) for row in range(1, 501)], [1] * 500)
    table.add(_cube(900, 21), 1)
    table.add(_cube(901, 1), 1)
    rows = next(iter(_in_order(table).values()))
    assert rows[:3] == [901, 1, 2]
    assert rows[10:13] == [10, 900, 11]


@pytest.mark.parametrize("size", [1, 7, 63, 900])
def test_a_region_is_what_the_view_admits(world: Callable, size: int) -> None:
    here = world(size)
    here.add(size)
    here.add(size // 3, user="ann", source="notes/a.md")
    here.disturb(0.1)
    cubes = list(here.cubes.values())
    table = Table()
    table.add_many(cubes, [len(c.text.split()) for c in cubes])
    someone = Scope(user="ann")
    for view in (
        View(),
        View(scope=someone),
        View(scope=Scope(user="nobody")),
        View(scope=Scope(tenant="x")),
        View(spaces=("main", "other")),
        View(spaces=("other",)),
        View(scope=someone, where=Where(source="a.md")),
        View(where=Where(speaker="Ann", session="s0")),
        View(where=Where(thread="s0", states=(*LIVE_STATES, "archived"))),
        View(where=Where(since=NOW.replace(year=2023, month=9), until=NOW.replace(month=2))),
    ):
        region = Regions(table).of(view)
        wanted = [slot for slot, cube in enumerate(cubes) if view.admits(cube)]
        assert np.flatnonzero(region.mask).tolist() == wanted
        assert region.slots is None or region.slots.tolist() == wanted
        assert region.size == len(wanted)


def _same(a: Region, b: Region) -> None:
    inside = np.append(a.mask, False)
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    for mine, other in zip(a.spans, b.spans, strict=True):
        np.testing.assert_array_equal(mine[inside], other[inside])
    np.testing.assert_allclose(a.section_lengths, b.section_lengths)
    assert (a.size, a.sections) == (b.size, b.sections)
    assert (a.mean_length, a.mean_section_length) == pytest.approx((b.mean_length, b.mean_section_length))


def test_a_region_worked_out_slot_by_slot_is_that_worked_out_in_passes(world: Callable) -> None:
    here = world(3)
    cubes = here.add(300)
    table = Table()
    table.add_many(cubes, [1 + len(c.text) % 7 for c in cubes])
    mask = np.random.default_rng(0).random(300) < 0.1
    regions, links = Regions(table), table.links()
    _same(regions._measured(mask.copy(), None, links), regions._measured(None, np.flatnonzero(mask), links))


def test_a_table_comes_back_from_its_arrays(world: Callable) -> None:
    here = world(4)
    here.add(200)
    index = here.index()
    here.disturb(0.1)
    index.follow()
    table = index._table
    again = Table.restored(table.arrays())
    _same(Regions(table).of(View()), Regions(again).of(View()))
    assert _in_order(again) == _in_order(table)
    assert again.speakers() == table.speakers()
    cube = next(iter(here.cubes.values()))
    assert again.slot(cube.row) == table.slot(cube.row)
    fresh = here.add(1)[0]
    assert again.add(fresh, 3) == table.add(fresh, 3)
    assert _in_order(again) == _in_order(table)


def test_compaction_keeps_what_lives_and_no_other_name(world: Callable) -> None:
    here = world(5)
    here.add(150)
    gone = here.add(1, speaker="Quillon")
    index = here.index()
    here.disturb(0.1)
    here.forget(gone)
    index.follow()
    table = index._table
    threads = sorted(_in_order(table).values())
    rows = set(table.column("row")[table.column("alive")].tolist())
    table.compact()
    assert set(table.column("row").tolist()) == rows == {c.row for c in here.cubes.values()}
    assert sorted(_in_order(table).values()) == threads
    assert "Quillon" not in table.speakers()


def test_what_was_never_added_has_no_slot() -> None:
    table = Table()
    table.drop(5)
    assert table.slot(5) is None
    assert table.slots_of(np.array([-1, 0, 7], dtype=np.int64)).tolist() == [-1, -1, -1]
    assert Regions(table).of(View()).size == 0
