"""Encrypted memories, and spaces with a key of their own, through the facade."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlcipher3")

from pinyon import Memory
from pinyon.errors import BadInput, Conflict, Denied, NotFound, WrongKey
from pinyon.govern import search_bytes
from pinyon.store import new_key

KEY = bytes(range(32))


def test_a_space_with_its_own_key_is_used_like_any_other(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", key=KEY, user="ann") as memory:
        memory.add("alpha in the open")
        memory.own_key(space="ward")
        ward = memory.at(space="ward")
        ward.add("beta in the ward")
        assert [hit.cube.text for hit in ward.search("beta").hits] == ["beta in the ward"]
        assert [cube.text for cube in memory.list().cubes] == ["alpha in the open"]
        assert [cube.text for cube in ward.at(space="main").list().cubes] == ["alpha in the open"]
        assert memory.stats().by_space == {"main": 1, "ward": 1}
        with pytest.raises(Conflict, match="holds memories"):
            memory.own_key()
    with Memory.open(tmp_path / "m.db", key=KEY, user="ann", space="ward") as memory:
        assert [cube.text for cube in memory.list().cubes] == ["beta in the ward"]


def test_shredding_a_space_leaves_the_rest_and_no_copy_opens(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", key=KEY) as memory:
        memory.add("alpha")
        memory.own_key(space="ward")
        memory.add("beta", space="ward")
        assert memory.shred(space="ward").space == "ward"
        assert memory.list(space="ward").cubes == ()
        assert [cube.text for cube in memory.list().cubes] == ["alpha"]
        with pytest.raises(NotFound):
            memory.shred(space="ward")


def test_rules_and_audit_of_the_memory_hold_in_its_rooms(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", key=KEY) as memory:
        memory.own_key(space="ward")
        memory.rights.grant(read=["user:ann"], write=["user:ann"], space="ward")
        with pytest.raises(Denied):
            memory.add("x", space="ward", user="eve")
        assert [entry.line.action for entry in memory.audit(allowed=False)] == ["add"]


def test_a_person_is_forgotten_in_rooms_too(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", key=KEY) as memory:
        memory.own_key(space="ward")
        memory.add("one", user="ann")
        memory.add("two", user="ann", space="ward")
        done = memory.forget(about="ann", user="ann")
        assert len(done.cubes) == 2
        assert [room.receipt is not None for room in done.rooms] == [True]
        assert memory.stats(user="ann").cubes == 0


def test_without_its_key_nothing_is_read_and_nothing_is_changed(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "m.db", key="a passphrase", user="ann") as memory:
        memory.add("vermilion", tags=["umbra"], metadata={"ochre": "sienna"})
        memory.search("vermilion")
    before = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()}
    for key in (None, "another", new_key()):
        with pytest.raises(WrongKey):
            Memory.open(tmp_path / "m.db", key=key)
    assert {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()} == before
    assert not search_bytes(tmp_path, ["vermilion", "umbra", "ochre", "sienna"])
    with pytest.raises(BadInput, match="no file to encrypt"):
        Memory.open(":memory:", key=KEY)
    with Memory.open(":memory:") as memory, pytest.raises(BadInput, match="no vault"):
        memory.own_key(space="ward")
