"""A clock that goes backwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinyon.testing import FixedClock


def test_the_journal_never_goes_back_in_time(opened, tmp_path: Path) -> None:
    clock = FixedClock("2024-05-01")
    memory = opened(tmp_path / "m.db", clock)
    for number in range(5):
        memory.add(f"note {number}")
        clock.advance(-3600)
    times = [event.time for event in memory.store.journal()]
    assert times == sorted(times)


@pytest.mark.parametrize("moment", ["0001-01-01", "1969-12-31", "9999-12-31"])
def test_every_verb_works_with_a_clock_that_is_far_off(opened, tmp_path: Path, moment: str) -> None:
    clock = FixedClock("2024-05-01")
    memory = opened(tmp_path / "m.db", clock)
    first = memory.add("Ann keeps bees.").cubes[0]
    clock.set(moment)
    second = memory.add("Bob keeps goats.").cubes[0]
    memory.update(first.id, text="Ann keeps wasps.")
    memory.forget([second.id])
    assert [hit.cube.text for hit in memory.search("Who keeps wasps?").hits] == ["Ann keeps wasps."]
    assert [cube.id for cube in memory.list().cubes] == [first.id]
    assert memory.check() == []
