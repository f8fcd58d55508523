"""Kill pinyon at random moments, let many processes write at once, and count what was lost.

``python benchmarks/faults.py --trials 200 --seconds 60`` prints two tables and ends with 1 when anything was lost; with
``--writers 4`` four processes write to each memory when they are killed. The tests of ``tests/faults`` run the same
functions with fewer trials.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from _faults_files import look_at_files, read_again_and_again

from pinyon import Conversation, Cube, Memory, Turn
from pinyon.core.header import Header
from pinyon.core.payload import Text
from pinyon.core.where import View, Where
from pinyon.errors import PinyonError
from pinyon.index import index_text
from pinyon.measure.base import surroundings
from pinyon.models import Vectors
from pinyon.testing import HashEmbedder

__all__ = ["WORK", "Killed", "Traffic", "kill", "traffic"]

TURNS = 3  # of each conversation that is added: they must come together or not at all
WORDS = "bees mill river old blue door winter boat letter garden stone lamp road field bread".split()
# From the first sign of life to the kill; else 0.5.
LONGEST_S = {"import": 2.0, "index": 2.0, "files": 1.5, "embed": 1.5}
EMBEDDER = HashEmbedder(16)


class Slow(HashEmbedder):
    """An embedder that is slow enough to be killed at its work in the background."""

    def __init__(self) -> None:
        super().__init__(16, is_instant=False)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the rows of `EMBEDDER`, after a while."""
        time.sleep(0.002 * len(texts))
        return super().embed(texts)


@dataclass(frozen=True, slots=True)
class Killed:
    """One process that was killed.

    Args:
        work: What it was doing.
        after_s: Seconds from its first sign of life to the kill.
        acknowledged: Writes it had said were done.
        problems: What was wrong afterwards.
    """

    work: str
    after_s: float
    acknowledged: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Many processes at one file.

    Args:
        seconds: For how long.
        updates: Acknowledged updates of one counter.
        adds: Acknowledged conversations.
        reads: Looks at the whole.
        problems: What was wrong then or afterwards.
    """

    seconds: float
    updates: int = 0
    adds: int = 0
    reads: int = 0
    problems: tuple[str, ...] = field(default=())


def kill(work: str, folder: Path, chance: random.Random, *, writers: int = 1) -> Killed:
    """Start processes that do some work on one memory, kill them at a random moment, and look at what they leave.

    Args:
        work: A key of `WORK`.
        folder: Empty, for the memory.
        chance: Chooses the moment.
        writers: How many processes.
    """
    path = folder / "memory.db"
    processes = [_start("--work", work, str(path), str(chance.randrange(2**31))) for _ in range(writers)]
    said: list[str] = []
    readers = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.readline())
        readers.append(threading.Thread(target=lambda out=process.stdout: said.extend(out)))
    for reader in readers:
        reader.start()
    delay = chance.uniform(0, LONGEST_S.get(work, 0.5))
    time.sleep(delay)
    ended = [process.returncode for process in processes if process.poll() is not None]
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process, reader in zip(processes, readers, strict=True):
        process.wait()
        reader.join()
        if process.stdout is not None:
            process.stdout.close()
    done = [json.loads(line) for line in said if line.endswith("\n")]
    problems = [f"a process ended by itself with {code}" for code in ended]
    acknowledged = [one for one in done if "ready" not in one]
    problems.extend(_after_kill(work, path, acknowledged))
    return Killed(work, delay, len(acknowledged), tuple(problems))


def _after_kill(work: str, path: Path, done: list[dict[str, object]]) -> Iterator[str]:
    try:
        with _open(path, work) as memory:
            yield from memory.check()
            if work == "files":
                yield from look_at_files(memory, path.with_name("files"), done)
            if work == "embed":
                yield from _look_at_vectors(memory)
            yield from _look(memory, work, done)
            added = memory.add("The lighthouse keeper whistles.")
            if memory.search("Who whistles in the lighthouse?", k=1).hits[0].cube.id != added.cubes[0].id:
                yield "a memory that was added afterwards is not found"
            yield from memory.check()
    except PinyonError as error:
        yield f"{type(error).__name__}: {error.message}"


def _look(memory: Memory, work: str, done: list[dict[str, object]]) -> Iterator[str]:
    """Compare what is there with what was acknowledged."""
    cubes = {cube.id: cube for cube in memory.iterate()}
    for session, number in Counter(cube.owner.session for cube in cubes.values() if cube.owner.session).items():
        if number % TURNS and work != "forget":
            yield f"{number} turns of conversation {session!r} are there: one was written by half"
    for one in done:
        for id in one.get("added", ()):  # type: ignore[attr-defined]  # a list, as the workers write it
            if id not in cubes:
                yield f"the acknowledged cube {id} is not there"
        for id in one.get("forgotten", ()):  # type: ignore[attr-defined]
            if id in cubes:
                yield f"cube {id}, acknowledged as forgotten, is still there"
        if "counted" in one and int(cubes[str(one["id"])].text.split()[-1]) < int(str(one["counted"])):
            yield f"the acknowledged update to {one['counted']} is lost"
    question = "the old mill by the river in winter"
    if work == "embed":
        memory.search(question)  # the vectors are complete now; searches change over to them
    before = [(hit.cube.id, round(hit.score, 5)) for hit in memory.search(question, k=20).hits]
    memory.reindex()
    after = [(hit.cube.id, round(hit.score, 5)) for hit in memory.search(question, k=20).hits]
    if sorted(before) != sorted(after) and [score for _, score in before] != [score for _, score in after]:
        yield "the index answers otherwise than one built afresh"


def _look_at_vectors(memory: Memory) -> Iterator[str]:
    """Make what is lacking, and compare each vector with one made now."""
    engine = memory.store.engine
    memory.catch_up()
    if engine.missing_vectors(EMBEDDER.fingerprint, 1):
        yield "a vector is lacking after all were made"
    cubes = list(memory.iterate())
    vectors = engine.vectors(EMBEDDER.fingerprint, sorted(cube.row for cube in cubes))
    kept = dict(zip(vectors.rows.tolist(), vectors.data, strict=True))
    wanted = EMBEDDER.embed([index_text(cube) for cube in cubes]).astype("float16")
    for cube, vector in zip(cubes, wanted, strict=True):
        if cube.row not in kept or (kept[cube.row] != vector).any():
            yield f"the vector of {cube.id} is not that of its text"


# --- what the killed processes do ----------------------------------------------------------------------------------


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _conversation(chance: random.Random, number: int, turns: int = TURNS) -> Conversation:
    made = (f"{' '.join(chance.sample(WORDS, 6))} {number}-{place}" for place in range(turns))
    return Conversation(tuple(Turn(text, speaker=chance.choice(["Ann", "Bob"])) for text in made), session=f"s{number}")


def _add(memory: Memory, chance: random.Random) -> None:
    for number in range(10**9):
        _say(added=[cube.id for cube in memory.add(_conversation(chance, number)).cubes])


def _import(memory: Memory, chance: random.Random) -> None:
    for number in range(0, 10**9, 1000):
        made = (_conversation(chance, number + place) for place in range(500))
        _say(added=[cube.id for cube in memory.add_many(made).cubes])


def _update(memory: Memory, chance: random.Random) -> None:
    ids = [memory.add(f"counter {letter} 0").cubes[0].id for letter in "abcde"]
    counts = dict.fromkeys(ids, 0)
    while True:
        id = chance.choice(ids)
        counts[id] += 1
        memory.update(id, text=f"{' '.join(chance.sample(WORDS, 3))} {counts[id]}")
        _say(id=id, counted=counts[id])


def _forget(memory: Memory, chance: random.Random) -> None:
    for number in range(10**9):
        cubes = memory.add(_conversation(chance, number)).cubes
        memory.search("the mill", k=1)
        _say(forgotten=[cube.id for cube in memory.forget([cubes[0].id]).cubes], added=[cubes[1].id])


def _index(memory: Memory, chance: random.Random) -> None:
    path = Path(memory.stats().location)
    for number in range(0, 10**9, 1000):
        made = [_conversation(chance, number + place) for place in range(400)]
        _say(added=[cube.id for cube in memory.add_many(made).cubes])
        memory.search("the old mill", k=3)
        memory.reindex()
        memory.close()  # writes a snapshot
        memory = _open(path)


def _files(memory: Memory, _: random.Random) -> None:
    for name, version in read_again_and_again(memory, Path(memory.stats().location).with_name("files")):
        _say(file=name, version=version)


def _embed(memory: Memory, chance: random.Random) -> None:
    for number in range(10**9):
        _say(added=[cube.id for cube in memory.add(_conversation(chance, number)).cubes])
        time.sleep(0.01)  # the work in the background keeps up


WORK: dict[str, Callable[[Memory, random.Random], None]] = {
    "add": _add,
    "import": _import,
    "update": _update,
    "forget": _forget,
    "index": _index,
    "files": _files,
    "embed": _embed,
}
"""What can be killed: a name, and what the process does until it is."""

TOGETHER = ("add", "import", "forget")
"""What several processes can do to one memory without undoing what the others were told is done."""


# --- many at once --------------------------------------------------------------------------------------------------


def traffic(folder: Path, seconds: float, *, writers: int = 4, readers: int = 4) -> Traffic:
    """Let processes write and read one memory at once, and compare what is there with what they were told.

    Args:
        folder: Empty, for the memory.
        seconds: How long they work.
        writers: Processes that add and update.
        readers: Processes that count and search.
    """
    path = folder / "memory.db"
    with _open(path) as memory:
        counter = memory.add("counter 0").cubes[0].id
    roles = ["write"] * writers + ["read"] * readers
    processes = [_start("--share", role, str(path), counter, str(n), str(seconds)) for n, role in enumerate(roles)]
    problems: list[str] = []
    totals: Counter[str] = Counter()
    for process, role in zip(processes, roles, strict=True):
        out, _ = process.communicate()
        if process.returncode:
            problems.append(f"a process that should {role} failed with {process.returncode}: {out[-300:]}")
            continue
        said = json.loads(out)
        problems.extend(said.pop("problems"))
        totals.update(said)
    with _open(path) as memory:
        problems.extend(memory.check())
        counted = memory.get(counter).text
        if counted != f"counter {totals['updates']}":
            problems.append(f"{totals['updates']} updates were acknowledged and {counted!r} is there")
        there = memory.store.engine.count(View()) - 1
        if there != TURNS * totals["adds"]:
            problems.append(f"{TURNS * totals['adds']} turns were acknowledged and {there} are there")
    return Traffic(seconds, totals["updates"], totals["adds"], totals["reads"], tuple(problems))


def _write(memory: Memory, counter: str, number: int, seconds: float) -> dict[str, object]:
    chance = random.Random(number)
    updates = adds = 0
    end = time.monotonic() + seconds

    def more(cube: Cube) -> Cube:
        return replace(cube, payload=Text(f"counter {int(cube.text.split()[-1]) + 1}"), header=Header())

    while time.monotonic() < end:
        memory.add(_conversation(chance, number * 10**6 + adds))
        adds += 1
        now = memory.get(counter).updated
        memory.store.update(counter, more, view=View(), actor=memory.scope, now=now, embed=_vectors)
        updates += 1
    return {"updates": updates, "adds": adds, "problems": []}


def _vectors(cubes: Sequence[Cube]) -> tuple[str, object]:
    return EMBEDDER.fingerprint, EMBEDDER.embed([cube.text for cube in cubes]).astype("float16")


def _read(memory: Memory, counter: str, seconds: float) -> dict[str, object]:
    problems: set[str] = set()
    reads = last = 0
    end = time.monotonic() + seconds
    engine = memory.store.engine
    while time.monotonic() < end:
        there = engine.count(View()) - 1
        newest = engine.find(
            View(where=Where(session=f"s{(reads % 4) * 10**6}")), newest_first=True, limit=9, after=None
        )
        found = memory.search("the old mill by the river", k=5)
        counted = int(memory.get(counter).text.split()[-1])
        if there % TURNS or len(newest) % TURNS or (found.considered - 1) % TURNS:
            problems.add(f"a reader saw half a conversation: {there}, {len(newest)}, {found.considered - 1} turns")
        if counted < last:
            problems.add(f"a reader saw the counter go back from {last} to {counted}")
        last = counted
        reads += 1
    return {"reads": reads, "problems": sorted(problems)}


# --- the command ---------------------------------------------------------------------------------------------------


def _open(path: Path, work: str = "") -> Memory:
    return Memory.open(path, embedder=Slow() if work == "embed" else EMBEDDER)


def _start(*arguments: str) -> subprocess.Popen[str]:
    source = Path(__file__).resolve().parents[1] / "src"
    paths = [str(source), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _table(rows: Sequence[Sequence[object]]) -> None:
    widths = [max(len(str(row[place])) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)))
    print()


def _kill_all(trials: int, seed: int, writers: int) -> list[Killed]:
    names = list(WORK) if writers == 1 else list(TOGETHER)
    out: list[Killed] = []
    for trial in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            chance = random.Random(f"{seed}-{trial}")
            out.append(kill(names[trial % len(names)], Path(folder), chance, writers=writers))
        if sys.stderr.isatty():
            print(f"\r{trial + 1} of {trials}", end="", file=sys.stderr, flush=True)
    return out


def main() -> int:
    """Run the trials and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=200, help="processes to kill")
    parser.add_argument("--seconds", type=float, default=60, help="how long four writers and four readers work at once")
    parser.add_argument(
        "--writers", type=int, default=1, help="processes that write to the memory when they are killed"
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses the moments")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write what was found")
    parser.add_argument("--work", nargs=3, metavar=("WORK", "PATH", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--share", nargs=5, metavar=("ROLE", "PATH", "COUNTER", "N", "S"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work, path, seed = given.work
        memory = _open(Path(path), work)
        _say(ready=True)
        WORK[work](memory, random.Random(int(seed)))
    if given.share:
        role, path, counter, number, seconds = given.share
        with _open(Path(path)) as memory:
            if role == "write":
                print(json.dumps(_write(memory, counter, int(number), float(seconds))))
            else:
                print(json.dumps(_read(memory, counter, float(seconds))))
        return 0
    return _run(given.trials, given.seconds, given.seed, given.writers, given.json)


def _run(trials: int, seconds: float, seed: int, writers: int, file: Path | None) -> int:
    """Run the trials, print the tables, write them, and return the exit code."""
    command = _command()
    load = os.getloadavg()[0]
    print(
        f"{platform.platform()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, load {load:.1f}"
    )
    print(f"{command}\n")
    start = time.perf_counter()
    killed = _kill_all(trials, seed, writers)
    rows = _summed(killed)
    _table([("killed while it", "trials", "acknowledged", "with a fault"), *(tuple(row.values()) for row in rows)])
    with tempfile.TemporaryDirectory() as folder:
        shared = traffic(Path(folder), seconds)
    _table(
        [
            ("at once", "seconds", "updates", "adds", "reads", "faults"),
            ("4 writers, 4 readers", shared.seconds, shared.updates, shared.adds, shared.reads, len(shared.problems)),
        ]
    )
    problems = [f"{one.work} after {one.after_s:.3f} s: {problem}" for one in killed for problem in one.problems]
    problems.extend(shared.problems)
    for problem in problems:
        print(problem)
    if file is not None:
        machine, versions = surroundings()
        told = {
            "command": command, "machine": machine, "versions": {**versions, "SQLite": sqlite3.sqlite_version},
            "date": time.strftime("%Y-%m-%d"), "load_at_start": load, "seed": seed, "writers": writers, "killed": rows,
            "traffic": {"writers": 4, "readers": 4, **asdict(shared)}, "problems": problems,
            "seconds": time.perf_counter() - start,
        }  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if problems else 0


def _command() -> str:
    """Return what was typed, without the file it writes."""
    said, kept = iter(sys.argv[1:]), []
    for word in said:
        if word == "--json":
            next(said, None)
        elif not word.startswith("--json="):
            kept.append(word)
    return shlex.join(["python", "benchmarks/faults.py", *kept])


def _summed(killed: Sequence[Killed]) -> list[dict[str, object]]:
    """Return one row a kind of work that was killed."""
    rows: list[dict[str, object]] = []
    for name in WORK:
        mine = [one for one in killed if one.work == name]
        if mine:
            acknowledged = sum(one.acknowledged for one in mine)
            faulty = sum(1 for one in mine if one.problems)
            rows.append({"work": name, "trials": len(mine), "acknowledged": acknowledged, "with_a_fault": faulty})
    return rows


if __name__ == "__main__":
    sys.exit(main())
