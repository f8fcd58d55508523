"""Files and folders that may be read and not written."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.testing import HashEmbedder, WordCounter

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the tests drop their rights in a forked process")


def open_memory(path: Path) -> Memory:
    return Memory.open(path, embedder=HashEmbedder(8), tokens=WordCounter())


def found(memory: Memory, question: str) -> list[str]:
    return [hit.cube.text for hit in memory.search(question).hits]


@pytest.fixture
def path(public_folder: Path) -> Path:
    """Return a memory that was closed, in a folder that may not be written."""
    path = public_folder / "m.db"
    with open_memory(path) as memory:
        memory.add("Ann keeps bees.")
    path.chmod(0o444)
    public_folder.chmod(0o555)
    return path


def test_a_memory_in_a_read_only_folder_can_be_searched(path: Path, as_nobody) -> None:
    assert as_nobody(lambda: found(open_memory(path), "Who keeps bees?")) == "['Ann keeps bees.']"


def test_a_memory_in_a_read_only_folder_is_sound(path: Path, as_nobody) -> None:
    assert as_nobody(lambda: open_memory(path).check()) == "[]"


def test_opening_and_closing_in_a_read_only_folder_leaves_it_as_it_is(path: Path, as_nobody) -> None:
    before = path.read_bytes(), sorted(os.listdir(path.parent))

    def use() -> None:
        with open_memory(path) as memory:
            memory.search("bees")

    assert as_nobody(use) == "None"
    assert (path.read_bytes(), sorted(os.listdir(path.parent))) == before


def test_adding_to_a_read_only_folder_is_refused_with_one_sentence(path: Path, as_nobody) -> None:
    said = as_nobody(lambda: open_memory(path).add("Bob keeps goats."))
    assert said.startswith(f"StoreError: {path} cannot be written\nhint: check the rights")


def test_a_read_only_file_in_a_folder_of_all_can_be_searched(path: Path, as_nobody) -> None:
    path.parent.chmod(0o777)
    before = sorted(os.listdir(path.parent))
    assert as_nobody(lambda: found(open_memory(path), "Who keeps bees?")) == "['Ann keeps bees.']"
    assert sorted(os.listdir(path.parent)) == before


def test_choosing_the_embedder_by_name_does_not_write_to_a_read_only_memory(path: Path, as_nobody) -> None:
    Memory.open(embedder="static").search("?")  # loads what nobody may not be able to read
    said = as_nobody(lambda: Memory.open(path, embedder="static", tokens=WordCounter()).list().cubes[0].text)
    assert said == "Ann keeps bees."


def test_a_memory_that_another_process_writes_can_be_searched(public_folder: Path, as_nobody) -> None:
    path = public_folder / "m.db"
    with open_memory(path) as memory:
        memory.add("Ann keeps bees.")
        ready, told = os.pipe()
        waiting, go = os.pipe()

        def use() -> str:
            os.write(told, b"x")
            os.read(waiting, 1)
            mine = open_memory(path)
            first = len(mine.list().cubes)
            os.write(told, b"x")
            until(lambda: len(mine.list().cubes) > first)
            return f"{first} {found(mine, 'Who keeps whales?')[0]}"

        child = as_nobody_in_thread(as_nobody, use)
        os.read(ready, 1)
        memory.add("Bob keeps goats.")  # lies in the log when the reader opens
        os.write(go, b"x")
        os.read(ready, 1)
        memory.add("Eve keeps whales.")
        said = child()
    assert said == "2 Eve keeps whales."


def until(is_so) -> None:
    """Wait for something, at most 20 seconds."""
    end = time.monotonic() + 20
    while not is_so() and time.monotonic() < end:
        time.sleep(0.005)


def as_nobody_in_thread(as_nobody, use):
    """Start `use` at once and return what waits for its answer."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(as_nobody(use)))
    thread.start()

    def wait() -> str:
        thread.join()
        return said[0]

    return wait


def test_a_reader_goes_on_when_the_writer_has_closed(public_folder: Path, as_nobody) -> None:
    path = public_folder / "m.db"
    memory = open_memory(path)
    memory.add("Ann keeps bees.")
    reading, writing = os.pipe()

    def use() -> str:
        mine = open_memory(path)
        mine.search("bees")
        os.write(writing, b"x")
        until(lambda: not Path(f"{path}-wal").exists())
        return str(found(mine, "Who keeps bees?"))

    child = as_nobody_in_thread(as_nobody, use)
    os.read(reading, 1)
    memory.close()
    assert child() == "['Ann keeps bees.']"


def test_a_folder_without_a_memory_that_may_not_be_written_is_named(public_folder: Path, as_nobody) -> None:
    path = public_folder / "m.db"
    public_folder.chmod(0o555)
    said = as_nobody(lambda: open_memory(path))
    assert said.startswith(f"StoreError: {path} cannot be opened\nhint: ")


def test_a_log_without_its_writer_in_a_read_only_folder_is_named(public_folder: Path, as_nobody) -> None:
    memory = open_memory(public_folder / "m.db")
    memory.add("Ann keeps bees.")
    folder = public_folder / "copy"
    folder.mkdir()
    for name in ("m.db", "m.db-wal"):
        (folder / name).write_bytes((public_folder / name).read_bytes())
    folder.chmod(0o555)
    memory.close()
    said = as_nobody(lambda: open_memory(folder / "m.db").list())
    assert said.startswith(f"StoreError: {folder / 'm.db'} cannot be")


def test_a_file_that_may_not_be_read_is_named(path: Path, as_nobody) -> None:
    path.chmod(0o600)
    said = as_nobody(lambda: open_memory(path))
    assert said.startswith(f"StoreError: {path} cannot be")
