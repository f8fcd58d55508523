"""States whose tensors were cut, changed, taken away, or were being written when the process was killed."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

torch = pytest.importorskip("torch")

import state_cubes  # noqa: E402

import pinyon.files  # noqa: E402
from pinyon import Memory  # noqa: E402
from pinyon.core.cube import Cube  # noqa: E402
from pinyon.core.payload import State  # noqa: E402
from pinyon.errors import Damaged, NotFound, StoreError  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.testing import HashEmbedder, WordCounter  # noqa: E402

QUESTION = "Where does Ann keep her bees?"
TRIALS = 5  # `python benchmarks/_state_faults.py --trials 50` runs more


@pytest.fixture(scope="module")
def model() -> Backbone:
    return state_cubes.backbone(limit=680)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory.open(tmp_path / "m.db", embedder=HashEmbedder(8), tokens=WordCounter()) as opened:
        for text in state_cubes.TEXTS[:2]:
            opened.add(text)
        yield opened


def files(memory: Memory) -> list[Path]:
    return [path for path in Path(memory.store.engine.location + ".blobs").rglob("*") if path.is_file()]


def forget_what_is_at_hand(memory: Memory) -> None:
    memory.caller.parts.desk.close()


def tensors(memory: Memory, cube: Cube) -> object:
    return memory.caller.parts.desk.tensors(cube, memory.store.engine)


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"\x00",
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "bit of a number": lambda data: data[:-7] + bytes([data[-7] ^ 64]) + data[-6:],
    "other bytes": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tensors_are_named_never_attached_and_made_again(memory: Memory, model: Backbone, damage: str) -> None:
    made = memory.convert(backbone=model)
    (file,) = files(memory)
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    forget_what_is_at_hand(memory)
    with pytest.raises(Damaged, match="was changed on disk"):
        tensors(memory, made.cube)
    answer = memory.ask(QUESTION, generator=model)
    assert answer.saved is None
    assert "was changed on disk" in answer.recall.found.notes[-1]
    assert any("lacks its tensors" in problem for problem in memory.check())
    memory.convert(backbone=model)
    assert memory.check() == []
    again = memory.ask(QUESTION, generator=model)
    assert again.saved is not None


def test_tensors_that_were_taken_away_are_named_and_made_again(memory: Memory, model: Backbone) -> None:
    made = memory.convert(backbone=model)
    files(memory)[0].unlink()
    forget_what_is_at_hand(memory)
    with pytest.raises(NotFound, match="no blob"):
        tensors(memory, made.cube)
    assert memory.ask(QUESTION, generator=model).saved is None
    memory.convert(backbone=model)
    assert memory.check() == []


def test_tensors_of_another_state_in_a_files_place_are_refused(memory: Memory, model: Backbone) -> None:
    one = memory.convert(backbone=model)
    other = memory.convert(query=QUESTION, k=1, backbone=model)
    by_name = {file.name: file for file in files(memory)}
    names = [cube.payload.blobs[0].sha256 for cube in (one.cube, other.cube) if isinstance(cube.payload, State)]
    by_name[names[0]].write_bytes(by_name[names[1]].read_bytes())
    forget_what_is_at_hand(memory)
    with pytest.raises(Damaged):
        tensors(memory, one.cube)


def test_a_mapped_state_outlives_its_file_and_is_dropped_when_it_is_forgotten(memory: Memory, model: Backbone) -> None:
    made = memory.convert(backbone=model)
    forget_what_is_at_hand(memory)
    memory.ask(QUESTION, generator=model)
    assert memory.caller.parts.desk.statistics is not None
    assert memory.caller.parts.desk.statistics.held == {"mapped": 1}
    memory.forget([made.cube.id])
    assert memory.caller.parts.desk.statistics.held == {}
    assert files(memory) == []


@pytest.mark.parametrize("key", [None, "a long passphrase"])
def test_a_purge_removes_what_a_killed_process_left(tmp_path: Path, model: Backbone, key: str | None) -> None:
    if key is not None:
        pytest.importorskip("cryptography")
        pytest.importorskip("sqlcipher3")
    with Memory.open(tmp_path / "k.db", key=key, embedder=HashEmbedder(8), tokens=WordCounter()) as memory:
        memory.add(state_cubes.TEXTS[0])
        purged(memory, model)


def purged(memory: Memory, model: Backbone) -> None:
    memory.convert(backbone=model)
    blobs = memory.store.engine.blobs
    there = set(files(memory))
    blobs.put(b"written, and then the process was killed")
    aside = files(memory)[0].with_name(".aside")
    aside.write_bytes(b"half")
    for path in files(memory):
        os.utime(path, (1_000_000, 1_000_000))
    assert memory.purge(level="log").orphans == 2
    assert set(files(memory)) == there


def test_a_file_system_that_is_full_leaves_no_state_and_no_half_blob(
    memory: Memory, model: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(path: Path, mode: str) -> IO[bytes]:
        open(path, mode).close()
        return os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb")

    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full on this system")
    with monkeypatch.context() as patched:
        patched.setattr(pinyon.files, "open", limited, raising=False)
        with pytest.raises(StoreError, match="could not be written: No space left"):
            memory.convert(backbone=model)
    assert files(memory) == []
    assert list(memory.list(where={"kinds": ["state"]}).cubes) == []
    assert memory.check() == []
    assert memory.convert(backbone=model).outcome == "created"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_process_killed_while_it_saves_leaves_nothing_wrong(tmp_path: Path, trial: int) -> None:
    from _state_faults import kill

    assert kill(tmp_path, random.Random(trial)).problems == ()
