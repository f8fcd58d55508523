"""A process killed at any moment loses nothing it had acknowledged."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import faults
import pytest
from _faults_files import look_at_files, read_again_and_again
from faults import WORK, Killed, kill, traffic

from pinyon import Memory
from pinyon.importing import import_files

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
TRIALS = 21  # of each kind a seventh; `python benchmarks/faults.py --trials 200` runs more
SECONDS = 6.0


@pytest.mark.parametrize("work", ["add", "update", "forget", "files", "embed"])
def test_of_a_process_that_is_killed_nothing_is_lost(
    tmp_path: Path, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "LONGEST_S", dict.fromkeys(WORK, 0.4))
    assert kill(work, tmp_path, random.Random(work)).problems == ()


def test_two_writers_and_two_readers_at_once_lose_nothing(tmp_path: Path) -> None:
    shared = traffic(tmp_path, 3.0, writers=2, readers=2)
    assert shared.problems == ()
    assert min(shared.updates, shared.adds, shared.reads) > 0


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path, trial: int) -> None:
    work = list(WORK)[trial % len(WORK)]
    assert kill(work, tmp_path, random.Random(trial)).problems == ()


@pytest.mark.slow
def test_writers_and_readers_at_once_lose_nothing_and_see_no_half(tmp_path: Path) -> None:
    shared = traffic(tmp_path, SECONDS)
    assert shared.problems == ()
    assert min(shared.updates, shared.adds, shared.reads) > 0


# --- the driver itself sees what is wrong ----------------------------------------------------------------------------


def test_a_half_read_file_a_lost_version_and_a_wrong_mark_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    with Memory.open(tmp_path / "m.db", embedder=faults.EMBEDDER) as memory:
        done = []
        for name, version in read_again_and_again(memory, folder):
            done.append({"file": name, "version": version})
            if version == 3:
                break
        assert list(look_at_files(memory, folder, done)) == []

        assert any("is lost" in said for said in look_at_files(memory, folder, [{"file": "1.md", "version": 9}]))

        (cube, *_) = [c for c in memory.iterate(where={"source": str(folder / "1.md")}) if "version" in c.text]
        memory.update(cube.id, text=cube.text.replace("version 3", "version 2"))
        said = list(look_at_files(memory, folder, done))
        assert any("in the versions [2, 3] at once" in one for one in said)
        assert any("says something else than the memory" in one for one in said)  # and its mark says it is known

        (folder / "2.md").write_text("# Title\n\nOther.\n", encoding="utf-8")
        import_files(memory, [folder / "2.md"])
        assert any("2.md is lost" in one for one in look_at_files(memory, folder, done))


def test_a_file_of_which_a_part_is_gone_is_known_by_half(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    with Memory.open(tmp_path / "m.db", embedder=faults.EMBEDDER) as memory:
        next(read_again_and_again(memory, folder))
        cube = next(iter(memory.iterate(where={"source": str(folder / "0.md")})))
        memory.forget([cube.id])
        assert any("0.md is known by half" in one for one in look_at_files(memory, folder, []))


def test_figures_are_written_as_json_and_say_how_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(work: str, _folder: Path, _chance: random.Random, *, writers: int) -> Killed:
        return Killed(work, 0.1, 2 * writers, ("something is lost",) if work == "forget" else ())

    def shared(_folder: Path, seconds: float) -> faults.Traffic:
        return faults.Traffic(seconds, 1, 2, 3)

    monkeypatch.setattr(faults, "kill", killed)
    monkeypatch.setattr(faults, "traffic", shared)
    out = tmp_path / "deep" / "faults.json"
    monkeypatch.setattr("sys.argv", ["faults.py", "--trials", "14", "--seconds", "3", "--json", str(out)])
    assert faults.main() == 1
    told = json.loads(out.read_text())
    assert told["command"] == "python benchmarks/faults.py --trials 14 --seconds 3"
    assert [(row["work"], row["trials"], row["acknowledged"]) for row in told["killed"]] == [(w, 2, 4) for w in WORK]
    assert {row["work"]: row["with_a_fault"] for row in told["killed"]} == {w: 2 * (w == "forget") for w in WORK}
    assert told["traffic"]["reads"] == 3
    assert len(told["problems"]) == 2
    assert "something is lost" in capsys.readouterr().out
