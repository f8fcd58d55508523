"""pinyon as a subject of the speed benchmark: the one file here that knows its interface.

Each function takes its task and returns its figures, as in `_subjects.py`. The store of one size is made by
`pinyon_bulk`, at ``task["store"]``, and read by the searches and openings of that size; it has a folder
to itself, because the index rests beside the database.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from _corpus import Item, Prepared
from _subjects import Figures, Task, disk_bytes, growth, resident, summary, timed

if TYPE_CHECKING:
    from pinyon.core.experience import Conversation

__all__ = ["LEGS", "STRICT_LEGS", "SUBJECTS"]

# The baselines that do the work of a leg of pinyon's search: a limit on its time is a multiple of the slowest of them.
LEGS = ("fts5", "numpy")
# The same when function words, which pinyon drops from questions, are dropped from the baseline's too.
STRICT_LEGS = ("fts5-content", "numpy")


def _command(store: Path, question: str) -> list[str]:
    """Return the command line that searches `store`."""
    return [sys.executable, "-m", "pinyon", "search", question, "--path", str(store), "--json"]


def _conversations(items: Iterable[Item]) -> Iterator[Conversation]:
    from datetime import datetime

    from pinyon.core.experience import Conversation, Turn

    for session, group in itertools.groupby(items, key=lambda item: item.session):
        turns = tuple(
            Turn(item.text, speaker=item.speaker, role="user", time=datetime.fromisoformat(item.time + "+00:00"))
            for item in group
        )
        yield Conversation(turns, session=session)


def pinyon_add(task: Task) -> Figures:
    """Time single adds with the defaults: each durable, embedded and searchable when the call returns."""
    from pinyon import Memory

    memory = Memory.open(Path(task["scratch"]) / "single.db")
    items = list(Prepared(Path(task["corpus"])).items(task["warm"] + task["count"]))
    times = timed(lambda item: memory.add(item.text, time=item.time), items, warm=task["warm"])
    memory.close()
    return summary(times)


def pinyon_bulk(task: Task) -> Figures:
    """Time a bulk add from the open store until a search finds the last turn, the embedder's loading included."""
    from pinyon import Memory

    store = Path(task["store"])
    items = Prepared(Path(task["corpus"])).items(task["size"])
    kept: list[Item] = []  # the last item passes by here, so that the search below can look for it

    def passing() -> Iterator[Item]:
        for item in items:
            kept[:] = [item]
            yield item

    before = resident()
    memory = Memory.open(store)
    start = time.perf_counter()
    memory.add_many(_conversations(passing()))
    added = time.perf_counter() - start
    hits = memory.search(kept[0].text, k=10).hits
    taken = time.perf_counter() - start
    figures = growth(before)
    memory.close()
    return {
        "turns_per_s": task["size"] / taken,
        "add_s": added,
        "searchable_s": taken,
        "found_last": any(hit.cube.text == kept[0].text for hit in hits),
        "disk_bytes": disk_bytes(store.parent),
        **figures,
    }


def pinyon_search(task: Task) -> Figures:
    """Time searches with the defaults, k = 10, the question's embedding included."""
    from pinyon import Memory

    before = resident()
    memory = Memory.open(Path(task["store"]))
    times = timed(lambda question: memory.search(question, k=10), task["questions"], warm=task["warm"])
    figures = {**summary(times), **growth(before), "disk_bytes": disk_bytes(Path(task["store"]).parent)}
    memory.close()
    return figures


def _evict(folder: Path) -> bool:
    """Ask the system to drop the files of a folder from its page cache; return whether it can be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    return True


def pinyon_open(task: Task) -> Figures:
    """Time, in a process that has done nothing yet, the import, the opening and the first search."""
    evicted = bool(task["evict"]) and _evict(Path(task["store"]).parent)
    start = time.perf_counter()
    from pinyon import Memory

    imported = time.perf_counter()
    memory = Memory.open(Path(task["store"]))
    opened = time.perf_counter()
    memory.search(task["questions"][0], k=10)
    searched = time.perf_counter()
    memory.close()
    return {
        "ms": 1000 * (searched - imported),  # open and first search, what the limit is on
        "import_ms": 1000 * (imported - start),
        "open_ms": 1000 * (opened - imported),
        "first_search_ms": 1000 * (searched - opened),
        "evicted": evicted,
    }


def pinyon_command(task: Task) -> Figures:
    """Time the command line from the start of the process to its end: interpreter, import, opening, search, output."""
    store = Path(task["store"])

    def call(question: str) -> None:
        done = subprocess.run(_command(store, question), capture_output=True, text=True, check=False)
        if done.returncode != 0 or not done.stdout.strip():
            raise RuntimeError(f"the command line failed with {done.returncode}: {done.stderr.strip()[-400:]}")

    return summary(timed(call, task["questions"][:6], warm=1))


SUBJECTS: dict[str, Callable[[Task], Figures]] = {
    "pinyon-add": pinyon_add,
    "pinyon-bulk": pinyon_bulk,
    "pinyon-command": pinyon_command,
    "pinyon-open": pinyon_open,
    "pinyon-search": pinyon_search,
}
