"""A disk that fills up while memories are written."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.errors import StoreError

resource = pytest.importorskip("resource", reason="limits on files need a POSIX system")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the root of a file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    try:
        is_mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    if not is_mounted:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(memory: Memory) -> StoreError:
    """Add until the disk is full and return what was raised."""
    for number in range(100_000):
        try:
            memory.add(f"{number} " + "bees and wax " * 100)
        except StoreError as error:
            return error
    raise AssertionError("the disk did not fill up")


def everything(memory: Memory) -> list[str]:
    return [f"{cube.id} {cube.hash} {cube.text}" for cube in memory.iterate()]


def test_a_full_disk_is_named_and_what_was_there_stays(opened, small_disk: Path) -> None:
    memory = opened(small_disk / "m.db")
    memory.add("Ann keeps bees.")
    error = fill(memory)
    assert "full" in error.message
    assert "\n" not in error.message
    assert "Ann keeps bees." in {cube.text for cube in memory.iterate()}
    assert memory.store.check() == []
    memory.close()


def test_a_memory_works_again_when_the_disk_has_space(opened, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 2**20)
    memory = opened(small_disk / "m.db")
    fill(memory)
    before = everything(memory)
    ballast.unlink()
    memory.add("The lighthouse keeper whistles.")
    assert everything(memory)[: len(before)] == before
    assert memory.search("Who whistles?").hits[0].cube.text == "The lighthouse keeper whistles."
    assert memory.check() == []
    memory.close()


def test_a_full_disk_leaves_no_half_blob(opened, small_disk: Path) -> None:
    memory = opened(small_disk / "m.db")
    with pytest.raises(StoreError, match="could not be written"):
        memory.store.engine.blobs.put(b"x" * 8 * 2**20)
    assert [path for path in (small_disk / "m.db.blobs").rglob("*") if path.is_file()] == []
    memory.close()


def test_a_limit_on_file_sizes_is_named_and_what_was_there_stays(opened, tmp_path: Path) -> None:
    memory = opened(tmp_path / "m.db")
    memory.add("Ann keeps bees.")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        error = fill(memory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert "could not read or write" in error.message or "full" in error.message
    memory.add("The lighthouse keeper whistles.")
    assert {"Ann keeps bees.", "The lighthouse keeper whistles."} <= {cube.text for cube in memory.iterate()}
    assert memory.check() == []
