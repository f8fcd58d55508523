"""Room in the log: made after small commits follow each other, never read, given back where the disk is full."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from pinyon import Memory
from pinyon.store._log_room import LogRoom

STEP = 1 << 20
_ADDS = """
import os, signal, sys
from pinyon import Memory
memory = Memory.open(sys.argv[1])
for number in range(60):
    memory.add(f"note {number} about bees")
print(os.path.getsize(sys.argv[1] + "-wal"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
_FULL = """
import resource, signal, sys
from pinyon import Memory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
memory = Memory.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))
for number in range(40):
    memory.add(f"note {number} about bees")
print(len(memory.list(limit=100).cubes))
"""


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def test_small_commits_make_room_and_later_ones_fit_into_it(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path) as memory:
        lengths = []
        for number in range(60):
            memory.add(f"note {number} about bees")
            lengths.append(_log_of(path).stat().st_size)
        steps = [after - before for before, after in pairwise(lengths)]
        assert max(steps) >= STEP
        assert lengths[-1] == lengths[-2]
        assert {cube.text for cube in memory.list(limit=100).cubes} == {
            f"note {number} about bees" for number in range(60)
        }
    with Memory.open(path) as memory:
        assert memory.verify().is_sound


def test_a_few_adds_leave_no_room_behind(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path) as memory:
        for number in range(8):
            memory.add(f"note {number} about bees")
        assert _log_of(path).stat().st_size < STEP // 2


def test_nothing_is_lost_when_the_process_is_killed_with_room_behind_the_last_commit(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    done = subprocess.run([sys.executable, "-c", _ADDS, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert int(done.stdout) > STEP
    assert _log_of(path).stat().st_size == int(done.stdout)
    with Memory.open(path) as memory:
        assert len(memory.list(limit=100).cubes) == 60
        memory.add("after the kill")
        assert memory.verify().is_sound
        assert len(memory.list(limit=100).cubes) == 61


def test_another_process_reads_and_writes_past_the_room(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with Memory.open(path) as memory:
        for number in range(60):
            memory.add(f"note {number} about bees")
        other = "import sys; from pinyon import Memory; m = Memory.open(sys.argv[1]); m.add('from elsewhere')\n"
        subprocess.run([sys.executable, "-c", other, str(path)], check=True)
        memory.add("after it")
        assert len(memory.list(limit=100).cubes) == 62
        assert memory.verify().is_sound


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on the size of files here")
def test_where_files_cannot_grow_a_commit_takes_the_bytes_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    done = subprocess.run([sys.executable, "-c", _FULL, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "40"


def test_what_was_made_and_could_not_be_finished_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"")
    room = LogRoom(log)
    written = os.write
    monkeypatch.setattr("pinyon.store._log_room.os.write", lambda file, data: written(file, data[:100]))
    for number in range(1, 20):
        with log.open("ab") as out:
            out.write(b"x" * 100)
        room.make()
        assert log.read_bytes() == b"x" * 100 * number


def test_large_commits_make_no_room(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"")
    room = LogRoom(log)
    for _ in range(20):
        with log.open("ab") as out:
            out.write(bytes(STEP // 4))
        room.make()
    assert log.stat().st_size == 20 * STEP // 4


def test_sqlite_alone_reads_a_log_with_room(tmp_path: Path) -> None:
    path = tmp_path / "bare.db"
    room = LogRoom(_log_of(path))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t (x)")
    for number in range(600):
        db.execute("BEGIN IMMEDIATE")
        room.make()
        db.execute("INSERT INTO t VALUES (?)", (f"{number}" * 50,))
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM t").fetchone() == (600,)
    assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    other.close()
    db.close()
