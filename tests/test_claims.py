"""Newer facts take the place of older ones while they are added."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinyon import Conversation, Memory, Rights, Turn
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


def held(memory: Memory, moment: str, **who: str) -> list[str]:
    found = memory.search("Bob Eve Tom Kim", where={"valid_at": moment}, **who).hits  # type: ignore[arg-type]
    listed = memory.list(where={"valid_at": moment}, **who).cubes  # type: ignore[arg-type]
    assert {hit.cube.id for hit in found} <= {cube.id for cube in listed}
    return sorted(cube.text for cube in listed)


def test_a_late_fact_ends_where_the_next_one_began_though_that_was_superseded() -> None:
    with Memory.open(":memory:") as memory:
        bob, eve = fact(memory, "Bob", "2020-01-01"), fact(memory, "Eve", "2022-01-01")
        kim, tom = fact(memory, "Kim", "2018-01-01"), fact(memory, "Tom", "2021-01-01")
        spans = {}
        for id in (kim, bob, tom, eve):
            life = memory.get(id).header.life
            spans[id] = (life.superseded_by, None if life.valid_to is None else life.valid_to.year)
        assert spans == {kim: (bob, 2020), bob: (tom, 2021), tom: (eve, 2022), eve: (None, None)}
        years = {year: held(memory, f"{year}-06-01") for year in (2017, 2018, 2020, 2021, 2023)}
        assert years == {2017: [], 2018: ["Kim"], 2020: ["Bob"], 2021: ["Tom"], 2023: ["Eve"]}


def test_what_was_put_away_by_hand_neither_ends_a_fact_nor_holds() -> None:
    with Memory.open(":memory:") as memory:
        bob = fact(memory, "Bob", "2020-01-01")
        memory.archive(bob)
        kim = fact(memory, "Kim", "2018-01-01")
        assert memory.get(kim).header.life.superseded_by is None
        assert held(memory, "2021-01-01") == ["Kim"]


def test_a_private_word_hides_no_shared_one() -> None:
    with Memory.open(":memory:") as memory:
        shared = fact(memory, "Bob", "2020-01-01")
        private = fact(memory.at(user="ann"), "Eve", "2021-01-01")
        assert memory.get(shared).header.life.superseded_by is None
        later = fact(memory, "Tom", "2022-01-01")
        assert memory.get(shared).header.life.superseded_by == later
        assert memory.get(private, user="ann").header.life.superseded_by is None  # not the caller's to change
        assert held(memory, "2020-06-01") == ["Bob"]
        assert held(memory, "2021-06-01") == ["Bob"]


def test_a_fact_for_fewer_readers_hides_none_that_more_may_read() -> None:
    with Memory.open(":memory:", user="ann") as memory:
        said = {"subject": "Ann", "attribute": "boss"}
        rights = Rights(read=("user:bob",))
        old = memory.add("Bob", time="2020-01-01", metadata=said, rights=rights).cubes[0].id
        fact(memory, "Eve", "2021-01-01")
        assert memory.get(old).header.life.superseded_by is None
        new = memory.add("Tom", time="2022-01-01", metadata=said, rights=rights).cubes[0].id
        assert memory.get(old).header.life.superseded_by == new
