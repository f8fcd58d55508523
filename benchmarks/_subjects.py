"""The subjects of the speed benchmark: one function each, run in a process of its own.

A subject takes its task (a JSON object) and returns its figures (a JSON object). `speed.py` starts this file as
``python _subjects.py SUBJECT TASK`` and reads the last line of its output. The task names the folder of the prepared
corpus, the size, and a scratch folder; times come back in milliseconds, sizes in bytes.

pinyon's own subjects lie in `_pinyon.py`; mem0's, which needs another environment, in `mem0_add.py`.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _corpus import Item, Prepared
from _static import DIMENSIONS, StaticVectors

__all__ = ["SUBJECTS", "Figures", "Task", "disk_bytes", "resident", "summary", "timed"]

Task = dict[str, Any]
Figures = dict[str, Any]

# What a text index of pinyon's kind holds, and nothing else: the strictest baseline of an add.
_SCHEMA = "CREATE VIRTUAL TABLE turns USING fts5(id UNINDEXED, text, context, tokenize = 'porter unicode61')"
_WORD = re.compile(r"\w+")
# Function words, left out by the second lexical baseline: most retrievers drop them, and they cost most of the time.
_STOP = frozenset(
    _WORD.findall(
        "a about after all also am an and any are as at be been before but by can could did do does for from had has "
        "have he her him his how i if in into is it its just me more my no not of on or our out she so some than that "
        "the their them then there these they this to up us was we were what when where which who whom whose why will "
        "with would you your"
    )
)


def summary(samples: list[float]) -> Figures:
    """Return median and 95th percentile of times in ms."""
    ordered = sorted(samples)
    return {
        "ms": statistics.median(ordered),
        "p95_ms": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "samples": len(ordered),
    }


def timed(call: Callable[[Any], object], arguments: Iterable[Any], *, warm: int = 0) -> list[float]:
    """Return the time of each call in ms, the first `warm` left out."""
    times = []
    for argument in arguments:
        start = time.perf_counter()
        call(argument)
        times.append(1000 * (time.perf_counter() - start))
    return times[warm:]


def resident() -> dict[str, int]:
    """Return resident memory in bytes: all of it, and the part that is not a mapped file (0 where unknown)."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return {
            "rss": 1024 * int(fields["VmRSS"].split()[0]),
            "anonymous": 1024 * int(fields.get("RssAnon", "0").split()[0]),
        }
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rss": peak if sys.platform == "darwin" else 1024 * peak, "anonymous": 0}


def growth(before: dict[str, int]) -> Figures:
    """Return how far resident memory has grown since `before`."""
    now = resident()
    return {"rss_bytes": now["rss"] - before["rss"], "anonymous_bytes": now["anonymous"] - before["anonymous"]}


def disk_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(found.stat().st_size for found in folder.rglob("*") if found.is_file())


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def flush(task: Task) -> Figures:
    """Time writing and flushing 4 kB: what the disk takes of every durable add, and of the rival's several times."""
    with (Path(task["scratch"]) / "flushed").open("wb", buffering=0) as out:

        def write(block: bytes) -> None:
            out.write(block)
            os.fsync(out.fileno())

        return summary(timed(write, [bytes(4096)] * 200))


def sqlite_add(task: Task) -> Figures:
    """Time single inserts into a bare FTS5 table, each a durable transaction (WAL, synchronous FULL)."""
    path = Path(task["scratch"]) / "bare.db"
    connection = _connect(path)
    connection.execute(_SCHEMA)

    def insert(numbered: tuple[int, Item]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO turns VALUES (?, ?, ?)", (f"{numbered[0]:032x}", numbered[1].text, numbered[1].context)
        )
        connection.execute("COMMIT")

    items = list(Prepared(Path(task["corpus"])).items(task["warm"] + task["count"]))
    figures = summary(timed(insert, enumerate(items), warm=task["warm"]))
    connection.close()
    return {**figures, "sqlite": sqlite3.sqlite_version}


def _fill(path: Path, corpus: Path, size: int) -> float:
    """Insert `size` items into a bare FTS5 table, 5,000 a transaction; return the seconds it took."""
    connection = _connect(path)
    connection.execute(_SCHEMA)
    items = Prepared(corpus).items(size)
    start = time.perf_counter()
    number = 0
    for batch in _batches(items, 5000):
        connection.execute("BEGIN IMMEDIATE")
        rows = ((f"{number + place:032x}", item.text, item.context) for place, item in enumerate(batch))
        connection.executemany("INSERT INTO turns VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
        number += len(batch)
    taken = time.perf_counter() - start
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return taken


def _ask_fts(task: Task, dropped: frozenset[str]) -> Figures:
    path = Path(task["scratch"]) / "bare.db"
    path.unlink(missing_ok=True)
    taken = _fill(path, Path(task["corpus"]), task["size"])
    before = resident()
    connection = _connect(path)

    def ask(question: str) -> list[Any]:
        words = list(dict.fromkeys(_WORD.findall(question.lower())))
        kept = [word for word in words if word not in dropped] or words
        match = " OR ".join(f'"{word}"' for word in kept)
        return connection.execute(
            "SELECT id FROM turns WHERE turns MATCH ? ORDER BY rank LIMIT 10", (match,)
        ).fetchall()

    figures = summary(timed(ask, task["questions"], warm=task["warm"]))
    figures |= {**growth(before), "disk_bytes": disk_bytes(path.parent), "turns_per_s": task["size"] / taken}
    connection.close()
    path.unlink()
    return figures


def fts5_search(task: Task) -> Figures:
    """Time a bare FTS5 search: porter stems, OR of all the question's words, bm25, the ten best."""
    return _ask_fts(task, frozenset())


def fts5_content_search(task: Task) -> Figures:
    """Time the same without function words, which is what a retriever that drops them asks of the index."""
    return _ask_fts(task, _STOP)


def numpy_search(task: Task) -> Figures:
    """Time exact search: one product of the memory-mapped float32 rows with the question's vector, the ten best."""
    asked = StaticVectors().rows(task["questions"])
    before = resident()
    rows = Prepared(Path(task["corpus"])).vectors(task["size"])

    def ask(question: np.ndarray[Any, np.dtype[np.float32]]) -> object:
        scores = rows @ question
        best = np.argpartition(scores, -10)[-10:]
        return best[np.argsort(-scores[best])]

    figures = summary(timed(ask, asked, warm=task["warm"]))
    return {**figures, **growth(before), "disk_bytes": 4 * DIMENSIONS * task["size"], "numpy": np.__version__}


def usearch_search(task: Task) -> Figures:
    """Time `usearch` HNSW (float16, its default parameters) and count how many of the exact ten best it finds."""
    import usearch
    from usearch.index import Index

    asked = StaticVectors().rows(task["questions"])
    rows = Prepared(Path(task["corpus"])).vectors(task["size"])
    path = Path(task["scratch"]) / "hnsw.usearch"
    index = Index(ndim=DIMENSIONS, metric="cos", dtype="f16")
    start = time.perf_counter()
    for first in range(0, task["size"], 20_000):
        last = min(first + 20_000, task["size"])
        index.add(np.arange(first, last), np.asarray(rows[first:last]))
    built = time.perf_counter() - start
    before = resident()
    index.save(str(path))
    figures = summary(timed(lambda question: index.search(question, 10), asked, warm=task["warm"]))
    found = 0
    for question in asked:
        exact = np.argpartition(rows @ question, -10)[-10:]
        found += len(set(exact.tolist()) & {int(key) for key in index.search(question, 10).keys})
    figures |= {
        "recall_at_10": found / (10 * len(asked)),
        "rss_bytes": int(index.memory_usage),
        "anonymous_bytes": growth(before)["anonymous_bytes"],
        "disk_bytes": path.stat().st_size,
        "turns_per_s": task["size"] / built,
        "usearch": usearch.__version__,
    }
    path.unlink()
    return figures


def embed(task: Task) -> Figures:
    """Time the static vectors alone: one question, and turns a second in batches."""
    vectors = StaticVectors()
    figures = summary(timed(lambda question: vectors.rows([question]), task["questions"], warm=task["warm"]))
    texts = [item.text for item in Prepared(Path(task["corpus"])).items(min(task["size"], 6000))]
    start = time.perf_counter()
    for first in range(0, len(texts), 1024):
        vectors.rows(texts[first : first + 1024])
    return {**figures, "turns_per_s": len(texts) / (time.perf_counter() - start)}


SUBJECTS: dict[str, Callable[[Task], Figures]] = {
    "embed": embed,
    "flush": flush,
    "fts5": fts5_search,
    "fts5-content": fts5_content_search,
    "numpy": numpy_search,
    "sqlite-add": sqlite_add,
    "usearch": usearch_search,
}


def main() -> None:
    name, task = sys.argv[1], json.loads(sys.argv[2])
    if name.startswith("pinyon"):
        from _pinyon import SUBJECTS as ours

        figures = ours[name](task)
    else:
        figures = SUBJECTS[name](task)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
