"""Archives that write themselves when something has changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.dumping import dump_every
from pinyon.errors import BadInput, StoreError
from pinyon.importing import import_archive
from pinyon.store import check_archive
from pinyon.testing import FixedClock

DAY = timedelta(days=1)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock("2024-05-01")


@pytest.fixture
def memory(tmp_path: Path, clock: FixedClock) -> Iterator[Memory]:
    with Memory.open(tmp_path / "m.db", user="ann", clock=clock) as opened:
        opened.add("The hives stand behind the mill.")
        opened.add("Bob's own words.", user="bob")
        yield opened


def archives(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pinyon"))


def turn(memory: Memory, clock: FixedClock, seconds: float = 86_400) -> int:
    clock.advance(seconds)
    return memory.work()


def test_a_dump_holds_what_its_caller_sees_and_recurs_when_something_changed(
    memory: Memory, clock: FixedClock, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    dump_every(memory, str(folder), every=DAY)
    assert memory.at(user="root").work() == 1  # whoever works
    (first,) = archives(folder)
    assert check_archive(first).cubes == 1
    assert turn(memory, clock) == 1
    assert archives(folder) == [first]  # nothing has changed
    memory.add("Bees swarm in May.")
    assert turn(memory, clock, 60) == 0
    assert turn(memory, clock) == 1
    assert len(archives(folder)) == 2
    with Memory.open(":memory:", user="ann") as other:
        assert import_archive(other, archives(folder)[-1]).created == 2


def test_what_others_write_makes_no_new_archive(memory: Memory, clock: FixedClock, tmp_path: Path) -> None:
    dump_every(memory, str(tmp_path / "b"), every=DAY)
    memory.work()
    memory.add("More of bob's words.", user="bob")
    assert turn(memory, clock) == 1
    assert len(archives(tmp_path / "b")) == 1


def test_a_tag_asks_for_an_archive_within_a_minute(memory: Memory, clock: FixedClock, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    dump_every(memory, str(folder), on_tag="keep")
    assert memory.work() == 1
    assert not archives(folder)  # nothing bears it
    kept = memory.add("The blue hive.", tags=["keep"]).cubes[0]
    turn(memory, clock, 60)
    assert [check_archive(path).cubes for path in archives(folder)] == [1]
    memory.add("Without a label.")
    turn(memory, clock, 60)
    assert len(archives(folder)) == 1
    memory.update(kept.id, text="The red hive.")
    turn(memory, clock, 60)
    assert len(archives(folder)) == 2


def test_asking_again_changes_how_often(memory: Memory, tmp_path: Path) -> None:
    first = dump_every(memory, str(tmp_path), every=DAY)
    assert dump_every(memory, str(tmp_path), every=DAY).id == first.id
    second = dump_every(memory, str(tmp_path), every=DAY / 2)
    assert second.id != first.id
    assert memory.jobs.get(first.id).state == "cancelled"
    other = dump_every(memory, str(tmp_path), every=DAY, tags=["work"])
    assert other.id not in (first.id, second.id)


def test_dumps_are_sealed(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    dump_every(memory, str(tmp_path / "b"), every=DAY, seal_file=str(tmp_path / "key"))
    memory.work()
    (path,) = archives(tmp_path / "b")
    assert check_archive(path, seal_key=b"k" * 32).cubes == 1


def test_what_cannot_be_done_is_refused_at_once(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing says when"):
        dump_every(memory, str(tmp_path))
    with pytest.raises(BadInput, match="positive"):
        dump_every(memory, str(tmp_path), every=timedelta(0))
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be made"):
        dump_every(memory, str(tmp_path / "file" / "b"), every=DAY)
    with pytest.raises(StoreError, match="key file"):
        dump_every(memory, str(tmp_path), every=DAY, seal_file=str(tmp_path / "nokey"))
    assert not memory.store.engine.jobs.find(kind="dump")
