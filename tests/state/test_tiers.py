"""Where the tensors of states are at hand."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pinyon.core.payload import Blob  # noqa: E402
from pinyon.errors import BadInput, Damaged, NotFound  # noqa: E402
from pinyon.state.tensor_file import tensor_bytes  # noqa: E402
from pinyon.state.tiers import StateShelf, TierConfig  # noqa: E402
from pinyon.store import FileBlobs, MemoryBlobs  # noqa: E402


class Counting(FileBlobs):
    """Blobs that count how often they are read."""

    reads = 0

    def view(self, blob: Blob) -> memoryview:
        self.reads += 1
        return super().view(blob)


def put(blobs: FileBlobs | MemoryBlobs, number: int, size: int = 256) -> Blob:
    return blobs.put(tensor_bytes({"x": torch.full((size,), float(number))}))


def test_a_state_is_mapped_first_and_taken_into_memory_when_it_is_used_again(tmp_path: Path) -> None:
    blobs = Counting(tmp_path)
    shelf = StateShelf()
    blob = put(blobs, 3)
    for _ in range(4):
        assert torch.equal(shelf.get(blob, blobs).tensors["x"], torch.full((256,), 3.0))
    said = shelf.statistics
    assert (said.held, said.hits) == ({"ram": 1}, {"store": 1, "mapped": 1, "ram": 2})
    assert (said.ram_bytes, said.mapped_bytes, blobs.reads) == (blob.bytes, 0, 1)


def test_a_file_is_mapped_and_writing_into_the_view_changes_nothing(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    blob = put(blobs, 1)
    view = blobs.view(blob)
    assert isinstance(view.obj, mmap.mmap)
    view[-1] = 255
    assert bytes(blobs.view(blob)) == blobs.get(blob)


@settings(max_examples=30)
@given(
    uses=st.lists(st.integers(0, 7), min_size=1, max_size=40),
    ram=st.integers(0, 5000),
    mapped=st.integers(0, 5000),
    in_files=st.booleans(),
)
def test_the_budgets_hold_and_the_answer_is_always_right(
    tmp_path_factory: pytest.TempPathFactory, uses: list[int], ram: int, mapped: int, in_files: bool
) -> None:
    blobs = FileBlobs(tmp_path_factory.mktemp("b")) if in_files else MemoryBlobs()
    shelf = StateShelf(TierConfig(ram, mapped))
    known = [put(blobs, n, 50 * (n + 1)) for n in range(8)]
    for n in uses:
        assert torch.equal(shelf.get(known[n], blobs).tensors["x"], torch.full((50 * (n + 1),), float(n)))
        said = shelf.statistics
        assert said.ram_bytes <= ram
        assert said.mapped_bytes <= mapped
    assert sum(said.hits.values()) == len(uses)


def test_what_saves_more_stays() -> None:
    blobs = MemoryBlobs()
    one, two, three = (put(blobs, n) for n in range(3))
    shelf = StateShelf(TierConfig(ram_bytes=2 * one.bytes))
    for _ in range(3):
        shelf.get(one, blobs, saving=9.0)
    shelf.get(two, blobs, saving=1.0)
    shelf.get(three, blobs, saving=5.0)
    assert shelf.names() == {one.sha256, three.sha256}
    assert shelf.statistics.evicted == 1


def test_what_was_used_long_ago_makes_room() -> None:
    blobs = MemoryBlobs()
    old, new = put(blobs, 1), put(blobs, 2)
    shelf = StateShelf(TierConfig(ram_bytes=old.bytes))
    for _ in range(3):
        shelf.get(old, blobs)
    for _ in range(200):
        shelf.get(new, blobs)
    assert shelf.names() == {new.sha256}


def test_a_forgotten_state_is_let_go_at_once(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    shelf = StateShelf()
    blob = put(blobs, 1)
    shelf.get(blob, blobs)
    blobs.remove(blob)
    assert shelf.drop([blob.sha256, "0" * 64]) == 1
    with pytest.raises(NotFound):
        shelf.get(blob, blobs)
    assert shelf.statistics.dropped == 1
    assert not shelf.names()


def test_a_state_that_is_forgotten_while_it_is_read_does_not_stay() -> None:
    shelf = StateShelf()

    class Slow(MemoryBlobs):
        def view(self, blob: Blob) -> memoryview:
            data = super().view(blob)
            shelf.drop([blob.sha256])  # another thread forgets it now
            return data

    blobs = Slow()
    shelf.get(put(blobs, 1), blobs)
    assert not shelf.names()


@pytest.mark.parametrize("change", [lambda data: data[:-4], lambda data: data[:-1] + b"\x7f", lambda data: b""])
def test_a_damaged_file_is_never_used(tmp_path: Path, change) -> None:
    blobs = FileBlobs(tmp_path)
    blob = put(blobs, 1)
    (path,) = (path for path in tmp_path.rglob(blob.sha256) if path.is_file())
    path.write_bytes(change(path.read_bytes()))
    shelf = StateShelf()
    with pytest.raises(Damaged, match=blob.sha256):
        shelf.get(blob, blobs)
    assert not shelf.names()


def test_many_threads_read_a_state_once(tmp_path: Path) -> None:
    blobs = Counting(tmp_path)
    shelf = StateShelf()
    known = [put(blobs, n, 5000) for n in range(3)]
    wrong: list[int] = []

    def work() -> None:
        for turn in range(60):
            n = turn % 3
            if float(shelf.get(known[n], blobs).tensors["x"][0]) != n:
                wrong.append(n)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert blobs.reads == 3
    assert sum(shelf.statistics.hits.values()) == 480


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(100)


def flip(path: Path) -> None:
    """Write other numbers in place and set the time of writing back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\x00\x00\x80\x7f" * 2)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"\xff" * path.stat().st_size)
    other.rename(path)


@pytest.mark.parametrize("damage", [cut, flip, replace, Path.unlink], ids=["cut", "flip", "replace", "remove"])
@pytest.mark.parametrize("uses", [2, 9], ids=["taken into memory", "mapped"])
def test_a_file_that_is_damaged_after_its_first_use_is_never_used(
    tmp_path: Path, damage: Callable[[Path], None], uses: int
) -> None:
    blobs, shelf = FileBlobs(tmp_path), StateShelf(TierConfig(uses=uses))
    blob = put(blobs, 1, 5000)
    shelf.get(blob, blobs)
    assert shelf.statistics.held == {"mapped": 1}
    time.sleep(0.02)  # the clock of a file system ticks
    (path,) = (path for path in tmp_path.rglob(blob.sha256) if path.is_file())
    damage(path)
    for _ in range(2):
        with pytest.raises(NotFound if damage is Path.unlink else Damaged, match=blob.sha256):
            shelf.get(blob, blobs)
    assert (shelf.names(), shelf.statistics.touched) == (frozenset(), 1)


def test_a_file_that_was_touched_and_is_whole_is_read_anew(tmp_path: Path) -> None:
    blobs, shelf = Counting(tmp_path), StateShelf(TierConfig(uses=9))
    blob = put(blobs, 1)
    shelf.get(blob, blobs)
    (path,) = (path for path in tmp_path.rglob(blob.sha256) if path.is_file())
    os.utime(path, (1, 1))
    for _ in range(3):
        assert torch.equal(shelf.get(blob, blobs).tensors["x"], torch.full((256,), 1.0))
    assert (blobs.reads, shelf.statistics.touched) == (2, 1)


def test_what_is_taken_into_memory_is_checked_again(tmp_path: Path) -> None:
    class Blind(FileBlobs):
        def marks(self, blob: Blob) -> tuple[int, ...] | None:
            return None

    blobs, shelf = Blind(tmp_path), StateShelf()
    blob = put(blobs, 1)
    shelf.get(blob, blobs)
    (path,) = (path for path in tmp_path.rglob(blob.sha256) if path.is_file())
    flip(path)
    with pytest.raises(Damaged, match=blob.sha256):
        shelf.get(blob, blobs)
    assert not shelf.names()


def test_what_lies_in_memory_does_not_depend_on_its_file(tmp_path: Path) -> None:
    blobs, shelf = FileBlobs(tmp_path), StateShelf()
    blob = put(blobs, 1)
    for _ in range(2):
        shelf.get(blob, blobs)
    (path,) = (path for path in tmp_path.rglob(blob.sha256) if path.is_file())
    cut(path)
    assert torch.equal(shelf.get(blob, blobs).tensors["x"], torch.full((256,), 1.0))
    assert shelf.statistics.held == {"ram": 1}


def test_a_mapped_state_that_does_not_fit_into_memory_stays_mapped(tmp_path: Path) -> None:
    blobs = Counting(tmp_path)
    small, large = put(blobs, 1), put(blobs, 2, 5000)
    shelf = StateShelf(TierConfig(ram_bytes=small.bytes))
    for _ in range(4):
        shelf.get(small, blobs)
        shelf.get(large, blobs)
    said = shelf.statistics
    assert (said.held, said.evicted, blobs.reads) == ({"ram": 1, "mapped": 1}, 0, 2)
    assert said.hits == {"store": 2, "mapped": 4, "ram": 2}


def test_impossible_budgets_are_refused() -> None:
    with pytest.raises(BadInput, match="not possible"):
        TierConfig(ram_bytes=-1)
