"""What rights, versions, the journal and the past cost, beside a bare table and beside the same without them.

Each ratio is of two medians of one run, taken in turns. Prints Markdown and, with --json, writes the figures.

Example:
    python benchmarks/govern.py
    python benchmarks/govern.py --cubes 20000 --only cost
    python benchmarks/govern.py --postgres    # the reading part on a PostgreSQL server of its own, too
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from _corpus import Corpus

from pinyon import Memory
from pinyon.core.cube import Cube, Draft, seal_id
from pinyon.core.header import Header, Life, Provenance, Rights
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.measure.base import surroundings
from pinyon.store import SqliteEngine, Store
from pinyon.store._rows import VALUE_COLUMNS, values_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "postgres"))

NOW = datetime(2024, 5, 1, tzinfo=UTC)
BATCH = 1000
GROUPS = 100  # each may read 1 % of the cubes
QUESTIONS = 60


def drafts_of(texts: Sequence[str], rights: Callable[[int], Rights] | None = None) -> list[Draft]:
    """Return texts as turns of conversations of forty."""
    return [
        Draft(
            Text(text),
            Header(
                Provenance(unit="turn", thread=f"t{n // 40}", position=n % 40, speaker=("Ann", "Bob")[n % 2]),
                Header().rights if rights is None else rights(n),
                Life(valid_from=NOW + timedelta(minutes=n)),
            ),
            key=f"{n}",
        )
        for n, text in enumerate(texts)
    ]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# --- cost of a write -----------------------------------------------------------------------------------------------


class Bare:
    """The table of cubes alone, with its indexes: no journal, no versions, no seals, no rights."""

    def __init__(self, folder: Path, name: str) -> None:
        with tempfile.TemporaryDirectory() as other:
            engine = SqliteEngine(Path(other) / "pinyon.db")
            engine.close()
            with sqlite3.connect(Path(other) / "pinyon.db") as db:
                schema = [
                    s
                    for (s,) in db.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'cubes' AND sql IS NOT NULL")
                ]
                self.columns = [row[1] for row in db.execute("PRAGMA table_info(cubes)")]
            db.close()
        self.db = sqlite3.connect(folder / name, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000", "cache_size = -65536"):
            self.db.execute(f"PRAGMA {pragma}").fetchall()
        for statement in schema:
            self.db.execute(statement)
        self.last = 0
        marks = ",".join("?" * len(self.columns))
        self.insert_values = f"INSERT INTO cubes ({VALUE_COLUMNS}) VALUES ({marks})"
        self.insert = f"INSERT INTO cubes ({','.join(self.columns)}) VALUES ({marks})"

    def put(self, rows: Sequence[Sequence[object]]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany(self.insert, rows)
        self.db.execute("COMMIT")

    def make(self, drafts: Sequence[Draft]) -> None:
        """Write drafts as rows with an id, without seal, journal or rights."""
        owner = Scope(user="ann")
        rows = []
        for draft in drafts:
            id = seal_id(draft, owner, "main")
            self.last += 1
            cube = Cube(id, self.last, 1, "main", owner, draft.payload, draft.header, NOW, NOW, "", "", self.last)
            rows.append(values_of(cube, 0))
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany(self.insert_values, rows)
        self.db.execute("COMMIT")


def cost(texts: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Compare writing cubes with a bare table: given the rows ready, and making the same rows of the same drafts."""
    for name, size, number in (("one durable add", 1, 200), (f"{BATCH} in one transaction", BATCH, 5)):
        found: dict[str, list[float]] = {"ours": [], "given": [], "made": []}
        for round in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                store = Store(SqliteEngine(Path(folder) / "ours.db"))
                tables = [Bare(Path(folder), "given.db"), Bare(Path(folder), "made.db")]
                mine, theirs = _parts(texts, size, number), _parts(texts, size, number)  # headers keep their JSON
                seconds: dict[str, list[float]] = {name: [] for name in found}
                rows = _rows_of(_parts(texts, size, number))
                for part, other, values in zip(mine, theirs, rows, strict=True):
                    works = {
                        "ours": partial(store.put, part, owner=Scope(user="ann"), space="main", now=NOW),
                        "given": partial(tables[0].put, values),
                        "made": partial(tables[1].make, other),
                    }
                    names = list(works)
                    for who in names[round % 3 :] + names[: round % 3]:
                        seconds[who].append(timed(works[who]))
                store.engine.close()
                for table in tables:
                    table.db.close()
            for who in found:
                found[who].append(statistics.median(seconds[who]) / size)
        for who, what in (("made", "rows made of the same drafts"), ("given", "rows given ready")):
            yield {
                "what": f"{name}, beside a bare table with its {what}",
                "ours_ms": 1000 * statistics.median(found["ours"]),
                "bare_ms": 1000 * statistics.median(found[who]),
                "ratio": statistics.median(o / b for o, b in zip(found["ours"], found[who], strict=True)),
                "limit": 1.5,
            }


def _parts(texts: Sequence[str], size: int, number: int) -> list[list[Draft]]:
    parts = [drafts_of(texts[n * size : (n + 1) * size]) for n in range(number)]
    return [[replace(d, key=f"{n}-{d.key}") for d in part] for n, part in enumerate(parts)]


def _rows_of(parts: Sequence[Sequence[Draft]]) -> list[list[Sequence[object]]]:
    """Return drafts as the rows that a store makes of them."""
    with tempfile.TemporaryDirectory() as folder:
        engine = SqliteEngine(Path(folder) / "rows.db")
        store = Store(engine)
        for part in parts:
            store.put(part, owner=Scope(user="ann"), space="main", now=NOW)
        engine.close()
        db = sqlite3.connect(Path(folder) / "rows.db")
        rows = iter(db.execute("SELECT * FROM cubes ORDER BY row").fetchall())
        db.close()
    return [[next(rows) for _ in part] for part in parts]


# --- reading -------------------------------------------------------------------------------------------------------


def reading(texts: Sequence[str], questions: Sequence[str], server: str | None) -> Iterator[dict[str, Any]]:
    """Compare searches in the past, and under rights, with searches of everything there is now."""
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory.open(server or Path(folder) / "memory.db")
        engine = memory.store.engine
        mine = drafts_of(texts, lambda n: Rights(read=(f"group:g{n % GROUPS}",)))
        for start in range(0, len(mine), BATCH):
            memory.store.put(mine[start : start + BATCH], owner=Scope(user="owner"), space="main", now=NOW)
        before = engine.head().seq
        changed = [c.id for c in engine.by_rows(range(1, len(mine), 5)).values()]
        view = memory.at(user="owner")
        for id in changed[: len(mine) // 20]:
            view.update(id, tags=["changed"])
        memory.rights.group("g7", add=["user:ann"])
        owner, ann = memory.at(user="owner"), memory.at(user="ann")
        moment = engine.journal(before - 1, 1)[0].time
        owner.search(questions[0])
        plain = _search_ms(owner, questions)
        past = owner.as_of(moment)
        first = 1000 * timed(lambda: past.search(questions[0]))
        yield _ratio("search as of an instant", _search_ms(past, questions), plain, 3.0, first_ms=first)
        ann.search(questions[0])
        narrow = _search_ms(ann, questions)
        yield _ratio("search of the 1 % one may read", narrow, plain, 2.0, recall_at_10=_recall(ann, mine, questions))
        memory.close()


@contextmanager
def own_server() -> Iterator[str]:
    """Give the address of a schema on a PostgreSQL server that lasts as long as this."""
    from pg_server import Server, make_folder, unpack

    folder = make_folder()
    server = Server(unpack(), folder, is_durable=True)
    try:
        server.start()
        yield f"{server.address}?schema=govern"
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _search_ms(memory: Memory, questions: Sequence[str]) -> list[float]:
    return [1000 * timed(lambda q=question: memory.search(q, k=10)) for question in questions]


def _ratio(what: str, ours: Sequence[float], plain: Sequence[float], limit: float, **more: float) -> dict[str, Any]:
    mine, theirs = statistics.median(ours), statistics.median(plain)
    return {"what": what, "ours_ms": mine, "bare_ms": theirs, "ratio": mine / theirs, "limit": limit, **more}


def _recall(ann: Memory, mine: Sequence[Draft], questions: Sequence[str]) -> float:
    """Return how much of what a world of the readable cubes alone would find is found."""
    with Memory.open(":memory:") as world:
        readable = [draft for n, draft in enumerate(mine) if n % GROUPS == 7]
        world.store.put(readable, owner=Scope(user="owner"), space="main", now=NOW)
        alone = world.at(user="owner")
        shares = []
        for question in questions:
            wanted = {hit.cube.text for hit in alone.search(question, k=10).hits}
            found = {hit.cube.text for hit in ann.search(question, k=10).hits}
            shares.append(len(wanted & found) / max(1, len(wanted)))
    return statistics.mean(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cubes", type=int, default=100_000, help="cubes of the reading part")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the writing part")
    parser.add_argument("--server", metavar="ADDRESS", help="read from this PostgreSQL store, which must be empty")
    parser.add_argument("--postgres", action="store_true", help="also read from a server that is made for it")
    parser.add_argument("--only", choices=("cost", "reading"), help="one part")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    data = os.environ.get("PINYON_DATA")
    corpus = Corpus(Path(data) if data else None)
    texts = [item.text for item in corpus.items(0, max(given.cubes, 5 * BATCH))]
    lines: list[dict[str, Any]] = []
    if given.only != "reading":
        lines += cost(texts, given.rounds)
    if given.only != "cost":
        lines += reading(texts[: given.cubes], corpus.questions(QUESTIONS), given.server)
    if given.only != "cost" and given.postgres:
        with own_server() as address:
            found = list(reading(texts[: given.cubes], corpus.questions(QUESTIONS), address))
        lines += [{**line, "what": f"Postgres, {line['what']}"} for line in found]
    print("| what | ms | beside, ms | ratio | limit | holds |\n|---|---|---|---|---|---|")
    for line in lines:
        more = "".join(f"; {key} {value:.3g}" for key, value in line.items() if key in ("first_ms", "recall_at_10"))
        holds = "yes" if line["ratio"] <= line["limit"] else "no"
        print(
            f"| {line['what']}{more} | {line['ours_ms']:.3f} | {line['bare_ms']:.3f} | {line['ratio']:.2f}"
            f" | {line['limit']} | {holds} |"
        )
    if given.json is not None:
        command = shlex.join(["python", "benchmarks/govern.py", *sys.argv[1:]])
        machine, versions = surroundings()
        told = {"command": command, "machine": machine, "versions": versions, "cubes": given.cubes, "rows": lines}
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
