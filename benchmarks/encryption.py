"""Measure what encryption at rest costs: the same store and index, plain and encrypted, in one run.

Plain and encrypted take turns step by step, each round in fresh files; the ratio is the median over the rounds. Store
and index are used below the facade, so that nothing but the encryption differs; the vectors are the static embedder's.

Example:
    python benchmarks/encryption.py
    python benchmarks/encryption.py --cubes 6000 --rounds 2 --json results/encryption.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from _corpus import Corpus, Item

from pinyon.core.cube import Draft
from pinyon.core.header import Header, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import DEFAULT_SPACE, Scope
from pinyon.core.where import View
from pinyon.index import Analyzer, SearchIndex
from pinyon.models import StaticEmbedder
from pinyon.store import SqliteEngine, Store
from pinyon.store._cipher import Keys
from pinyon.store.vault import Vault, new_key

NOW = datetime(2024, 5, 1, tzinfo=UTC)
_OPENS = 3  # fresh processes a round
BATCH = 1000  # cubes a transaction, as the facade writes many
KINDS = ("plain", "encrypted")
ROWS = {
    "single_ms": "single durable add, ms",
    "bulk_per_s": "bulk add, cubes/s",
    "search_ms": "search and read 10 cubes, ms",
    "open_ms": "open cold and search once, ms",
    "disk_mib": "disk, MiB",
}


class Subject:
    """A store with its index, plain or encrypted."""

    def __init__(self, path: Path, keys: Keys | None, embedder: StaticEmbedder) -> None:
        self.path, self.embedder = path, embedder
        self.engine = SqliteEngine(path, keys=keys)
        self.store = Store(self.engine)
        start = time.perf_counter()
        self.index = SearchIndex(
            self.engine,
            analyzer=Analyzer("english"),
            embedder=embedder.fingerprint,
            dimensions=embedder.dimensions,
            make=embedder.embed,
            folder=path.with_name(path.name + ".index"),
            sealer=None if keys is None else keys.index,
        )
        self.load_s = time.perf_counter() - start

    def put(self, items: Sequence[Item]) -> None:
        drafts = [
            Draft(Text(item.text), Header(provenance=Provenance(speaker=item.speaker, thread=item.session)))
            for item in items
        ]
        self.store.put(drafts, owner=Scope(), space=DEFAULT_SPACE, now=NOW)

    def ask(self, question: str) -> int:
        vector = self.embedder.embed([question])[0]
        ranking = self.index.search(question, vector=vector, view=View(), k=10)
        return len(self.engine.by_rows([scored.row for scored in ranking.found]))

    def close(self) -> None:
        self.engine.close()


def one_round(folder: Path, corpus: Corpus, cubes: int, singles: int, asked: int) -> dict[str, dict[str, float]]:
    """Do everything on a plain and an encrypted store by turns, step by step, so that both meet the same machine."""
    embedder, key = StaticEmbedder(), new_key()
    paths = {kind: folder / kind / "m.db" for kind in KINDS}
    vault = Vault.create(paths["encrypted"], key)
    subjects = {kind: Subject(paths[kind], vault.keys if kind == "encrypted" else None, embedder) for kind in KINDS}
    items = list(corpus.items(0, cubes + singles))
    out: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    bulk = by_turns(subjects, [items[begin : begin + BATCH] for begin in range(0, cubes, BATCH)], Subject.put)
    single = by_turns(subjects, [[item] for item in items[cubes:]], Subject.put)
    for subject in subjects.values():
        subject.index.follow()
        subject.index.save()
    questions = corpus.questions(asked)
    by_turns(subjects, questions[:3], Subject.ask)
    search = by_turns(subjects, questions, Subject.ask)
    opened: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for subject in subjects.values():
        subject.close()
    for _ in range(_OPENS):
        for kind in KINDS:
            command = [sys.executable, __file__, "--open", str(paths[kind]), "--ask", questions[1]]
            command += ["--key", key.hex()] if kind == "encrypted" else []
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            opened[kind].append(float(done.stdout))
    for kind in KINDS:
        files = [file for file in paths[kind].parent.rglob("*") if file.is_file()]
        out[kind] = {
            "bulk_per_s": cubes / sum(bulk[kind]),
            "single_ms": median(single[kind]) * 1e3,
            "search_ms": median(search[kind]) * 1e3,
            "open_ms": median(opened[kind]) * 1e3,
            "disk_mib": sum(file.stat().st_size for file in files) / 2**20,
        }
    return out


def by_turns(
    subjects: dict[str, Subject], things: Sequence[Any], step: Callable[[Subject, Any], object]
) -> dict[str, list[float]]:
    """Return the seconds of a step for each thing and kind; who goes first alternates."""
    out: dict[str, list[float]] = {kind: [] for kind in subjects}
    for number, thing in enumerate(things):
        for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
            out[kind].append(timed(lambda kind=kind, thing=thing: step(subjects[kind], thing)))
    return out


def timed(step: Any) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def open_once(path: Path, key: str, question: str) -> None:
    """Print the seconds from nothing open to the first answer, without the embedder's own loading."""
    embedder = StaticEmbedder()
    embedder.embed([question])
    for file in path.parent.rglob("*"):
        if file.is_file() and hasattr(os, "posix_fadvise"):
            with open(file, "rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    keys = Vault.open(path, bytes.fromhex(key)).keys if key else None
    subject = Subject(path, keys, embedder)
    assert subject.index.is_restored
    assert subject.ask(question)
    print(time.perf_counter() - start)
    subject.close()


def changes(folder: Path, corpus: Corpus, cubes: int) -> dict[str, float]:
    """Return the seconds that changes of keys take."""
    path = folder / "m.db"
    vault = Vault.create(path, new_key())
    subject = Subject(path, vault.keys, StaticEmbedder())
    items = list(corpus.items(0, cubes))
    for begin in range(0, cubes, BATCH):
        subject.put(items[begin : begin + BATCH])
    subject.close()
    room = vault.add_room("diary")
    inner = Subject(room.path, room.keys, StaticEmbedder())
    inner.put(items[:BATCH])
    inner.close()
    return {
        f"`rotate_master`, {cubes:,} cubes": timed(vault.rotate_master),
        f"`shred` of a space of {BATCH:,} cubes": timed(lambda: vault.shred("diary")),
        "`rotate_key` to 32 bytes": timed(lambda: vault.rotate_key(new_key())),
        "`rotate_key` to a passphrase": timed(lambda: vault.rotate_key("a passphrase")),
        "`Vault.open` by a passphrase": timed(lambda: Vault.open(path, "a passphrase")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cubes", type=int, default=20_000)
    parser.add_argument("--singles", type=int, default=200)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--key", default="", help=argparse.SUPPRESS)
    parser.add_argument("--ask", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.open is not None:
        open_once(given.open, given.key, given.ask)
        return
    data = os.environ.get("PINYON_DATA")
    corpus = Corpus(Path(data) if data else None)
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(one_round(Path(folder), corpus, given.cubes, given.singles, given.questions))
        print(f"round {number + 1}: {rounds[-1]}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        turning = changes(Path(folder), corpus, given.cubes)
    report(given, rounds, turning, corpus)


def report(
    given: argparse.Namespace, rounds: list[dict[str, dict[str, float]]], turning: dict[str, float], corpus: Corpus
) -> None:
    header = {
        "command": " ".join(["python", "benchmarks/encryption.py", *sys.argv[1:]]),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in ("pinyon", "cryptography", "sqlcipher3")),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "corpus": corpus.origin,
    }
    print("\n".join(f"{name}: {value}" for name, value in header.items()), end="\n\n")
    print(f"### {given.cubes:,} cubes, median of {given.rounds} rounds\n")
    print("| | plain | encrypted | encrypted / plain | lowest – highest |\n|---|---|---|---|---|")
    for name, words in ROWS.items():
        plain, sealed = ([one[kind][name] for one in rounds] for kind in KINDS)
        ratios = sorted(s / p for p, s in zip(plain, sealed, strict=True))
        print(
            f"| {words} | {median(plain):,.2f} | {median(sealed):,.2f} | {median(ratios):.2f} |"
            f" {ratios[0]:.2f} – {ratios[-1]:.2f} |"
        )
    print("\n| change of keys | s |\n|---|---|")
    for name, seconds in turning.items():
        print(f"| {name} | {seconds:.3f} |")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(
            json.dumps({**header, "rounds": rounds, "changes": turning}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
