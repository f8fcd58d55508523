"""Newer facts take the place of older ones while they are added."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinyon import Conversation, Memory, Turn
from pinyon.core.clock import instant
from pinyon.errors import BadInput


def fact(memory: Memory, text: str, time: str, attribute: str = "boss") -> str:
    return memory.add(text, time=time, metadata={"subject": "Ann", "attribute": attribute}).cubes[0].id


def test_a_newer_fact_archives_the_older_and_names_it() -> None:
    with Memory.open(":memory:", user="ann") as memory:
        old = fact(memory, "Bob", "2024-01-01")
        new = fact(memory, "Eve", "2024-05-01")
        life = memory.get(old).header.life
        assert (life.state, life.superseded_by) == ("archived", new)
        assert life.valid_to == memory.get(new).time
        assert [(p.id, p.relation) for p in memory.get(new).header.lineage.parents] == [(old, "supersedes")]
        assert [cube.text for cube in memory.list().cubes] == ["Eve"]
        states = ["generated", "archived"]
        assert [c.text for c in memory.list(where={"valid_at": "2024-02-01", "states": states}).cubes] == ["Bob"]
        assert [version.op for version in memory.history(old)] == ["create", "state"]


def test_one_that_comes_late_but_happened_early_finds_its_place() -> None:
    with Memory.open(":memory:") as memory:
        new = fact(memory, "Eve", "2024-05-01")
        old = fact(memory, "Bob", "2024-01-01")
        assert memory.get(old).header.life.superseded_by == new
        assert memory.get(new).header.life.superseded_by is None


def test_saying_the_same_again_changes_nothing() -> None:
    with Memory.open(":memory:") as memory:
        old, new = fact(memory, "Bob", "2024-01-01"), fact(memory, "Eve", "2024-05-01")
        assert fact(memory, "Eve", "2024-05-01") == new
        assert memory.get(new).version == 1
        assert fact(memory, "Bob", "2024-01-01") == old
        assert memory.get(old).header.life.superseded_by == new


def test_other_attributes_people_and_callers_are_left_alone() -> None:
    with Memory.open(":memory:") as memory:
        mine = fact(memory.at(user="ann"), "Bob", "2024-01-01")
        fact(memory.at(user="ann"), "Lisbon", "2024-02-01", "home")
        fact(memory.at(user="eve"), "Mallory", "2024-03-01")
        assert memory.get(mine, user="ann").header.life.superseded_by is None


def test_rules_read_what_people_say_and_keep_the_turns() -> None:
    with Memory.open(":memory:", conflicts="rules") as memory:
        turns = [Turn("I live in Lisbon.", speaker="Ann", time=instant("2023-01-01")), Turn("Lovely.", speaker="Bob")]
        memory.add(Conversation(tuple(turns)), session="one")
        memory.add(Conversation((Turn("I moved to Porto.", speaker="Ann", time=instant("2024-01-01")),)), session="two")
        old, new = (next(c for c in memory.list().cubes if town in c.text) for town in ("Lisbon", "Porto"))
        assert old.header.life.superseded_by == new.id
        assert old.header.life.state == "generated"  # a turn is evidence of what was said
        recalled = memory.recall("Where does Ann live, in which town?")
        assert "Porto" in recalled.text
        assert "Lisbon" not in recalled.text
        assert any("taken the place of" in note for note in recalled.found.notes)


def test_off_is_off_and_the_choice_stays(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", conflicts="off") as memory:
        old = fact(memory, "Bob", "2024-01-01")
        fact(memory, "Eve", "2024-05-01")
        assert memory.get(old).header.life.superseded_by is None
    with Memory.open(tmp_path / "m.db") as memory:
        assert memory.caller.parts.conflicts == "off"
    with pytest.raises(BadInput, match="contradictions"):
        Memory.open(":memory:", conflicts="perhaps")  # type: ignore[arg-type]


def test_a_frozen_fact_is_not_closed() -> None:
    with Memory.open(":memory:", user="ann") as memory:
        old = fact(memory, "Bob", "2024-01-01")
        memory.freeze(old)
        fact(memory, "Eve", "2024-05-01")
        assert memory.get(old).header.life.superseded_by is None
