"""Measure what pinyon costs beside the bare tools it is made of and beside mem0, each subject in a process of its own.

Prints Markdown tables of medians, 95th percentiles, ratios and limits; progress goes to stderr. Times are wall times of
one process at a time, with the threads each library takes by default.

Example:
    python benchmarks/speed.py --sizes 6000,100000 --plot benchmarks/results/speed.png
    python benchmarks/speed.py --sizes 6000 --skip-mem0
    python benchmarks/speed.py --sizes 6000 --only-adds --flush-ms 4    # on a disk that flushes in 4 ms
    python benchmarks/speed.py --resume             # keeps the cells that are already in the JSON file

The corpus is real text that the machine already has: the folder named by PINYON_DATA, when set, and the Python
reference.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from _corpus import Corpus, Prepared
from _flush import slow_flush
from _report import limits, plot, tables
from rivals import cache_folder, make_mem0

import pinyon

HERE = Path(__file__).resolve().parent
_PACKAGES = ("pinyon", "numpy", "usearch", "wordllama", "tokenizers", "safetensors")
_BASELINES = ("fts5", "fts5-content", "numpy", "usearch")
_SINGLE_ADDS = 200  # adds a round: short, so that a round seldom spans a change of the disk's speed
_MEM0_COUNTS = (300, 1500)  # turns; the rival adds a few hundred a second
_MANY = 100_000  # beyond this size fewer questions are asked


@dataclass
class Run:
    """One run: its folders, its settings, and the cells measured so far, saved after each."""

    corpus: Corpus
    prepared: Path
    scratch: Path
    out: Path
    timeout_s: int
    questions: int
    header: dict[str, Any]
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, str] | None = None  # of the subjects; None is that of this process, with compiled files

    def save(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        aside = self.out.with_suffix(".partial")
        aside.write_text(
            json.dumps({**self.header, "cells": self.cells}, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
        aside.replace(self.out)

    def has(self, key: str) -> bool:
        return key in self.cells and "error" not in self.cells[key]

    def cell(self, key: str, command: list[str]) -> None:
        """Run one subject and keep the JSON object on the last line of its output, or why there is none."""
        start = time.perf_counter()
        print(f"{key} ...", end=" ", file=sys.stderr, flush=True)
        try:
            environment = _compiling(self.environment)
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=self.timeout_s, check=False, env=environment
            )
            lines = done.stdout.strip().splitlines()
            if done.returncode == 0 and lines:
                self.cells[key] = json.loads(lines[-1])
            else:
                last = (done.stderr.strip().splitlines() or ["no output"])[-1]
                self.cells[key] = {"error": self._plain(f"exit {done.returncode}: {last}")}
        except subprocess.TimeoutExpired:
            self.cells[key] = {"error": f"stopped after {self.timeout_s} s"}
        self.cells[key] |= {"at": _now(), "commit": self.header["commit"]}
        self.save()
        print(self.cells[key].get("error") or f"{time.perf_counter() - start:.1f} s", file=sys.stderr)

    def _plain(self, message: str) -> str:
        """Take the folders of this machine out of a message: results are shared."""
        for folder, name in ((self.scratch, "SCRATCH"), (self.prepared, "CORPUS"), (HERE.parent, "CHECKOUT")):
            message = message.replace(str(folder), name)
        return message

    def subject(self, key: str, subject: str, size: int, **more: Any) -> None:
        """Run the subject `subject` of `_subjects.py` as cell `key`, in an empty scratch folder of its own."""
        count = self.questions if size <= _MANY else max(20, self.questions // 4)
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            task = {
                "corpus": str(self.prepared),
                "size": size,
                "scratch": scratch,
                "store": str(self.scratch / f"pinyon-{size}" / "memory.db"),
                "questions": self.corpus.questions(count + 5),
                "warm": 5,
                "count": _SINGLE_ADDS,
                "evict": True,
                **more,
            }
            self.cell(key, [sys.executable, str(HERE / "_subjects.py"), subject, json.dumps(task)])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
    return done.stdout.strip() if done.returncode == 0 else ""


def _commit() -> str:
    commit = _output("git", "rev-parse", "--short", "--verify", "HEAD")
    return commit + ("-dirty" if _output("git", "status", "--porcelain", "--", "../src") else "") if commit else "none"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    found["pinyon"] = pinyon.__version__  # that of this checkout, whatever was installed
    return found


def _header(corpus: Corpus, command: list[str]) -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "format": 1,
        "command": ("PINYON_DATA=… " if os.environ.get("PINYON_DATA") else "")
        + " ".join(["python benchmarks/speed.py", *command]),
        "date": _now(),
        "commit": _commit(),
        "machine": ", ".join(
            (
                f"{platform.system()} {platform.machine()}",
                _processor(),
                f"{os.cpu_count()} cores",
                f"{memory / 2**30:.0f} GiB",
            )
        ),
        "load_at_start": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "versions": _versions(),
        "corpus": corpus.origin,
        "corpus_fingerprint": corpus.fingerprint,
    }


def _measure_adds(run: Run, rounds: int) -> None:
    subjects = ("flush", "sqlite-add", "pinyon-add")
    # In turn, so that a disk that slows down slows all three; an incomplete round is measured again.
    for number in range(rounds):
        if not all(run.has(f"{subject}#{number}") for subject in subjects):
            for subject in subjects:
                run.subject(f"{subject}#{number}", subject, _SINGLE_ADDS)


def _measure_size(run: Run, size: int, opened: bool) -> None:
    for subject in _BASELINES:
        if not run.has(f"{subject}@{size}"):
            run.subject(f"{subject}@{size}", subject, size)
    later: list[tuple[str, str, dict[str, Any]]] = [("pinyon-search", "pinyon-search", {})]
    if opened:
        later += [
            ("pinyon-open", "pinyon-open", {"evict": True}),
            ("pinyon-open-warm", "pinyon-open", {"evict": False}),
            ("pinyon-command", "pinyon-command", {}),
        ]
    if all(run.has(f"{name}@{size}") for name in ("pinyon-bulk", *(name for name, _, _ in later))):
        return
    store = run.scratch / f"pinyon-{size}"
    store.mkdir()
    run.subject(f"pinyon-bulk@{size}", "pinyon-bulk", size)  # the store it leaves is what the others read
    for name, subject, more in later:
        if run.has(f"pinyon-bulk@{size}"):
            run.subject(f"{name}@{size}", subject, size, **more)
    shutil.rmtree(store)


def _measure_bulk(run: Run, size: int) -> None:
    if not run.has(f"pinyon-bulk@{size}"):
        (run.scratch / f"pinyon-{size}").mkdir()
        run.subject(f"pinyon-bulk@{size}", "pinyon-bulk", size)


def _measure_mem0(run: Run, python: Path) -> None:
    turns, questions = run.scratch / "turns.json", run.scratch / "questions.json"
    items = Prepared(run.prepared).items(max(_MEM0_COUNTS))
    turns.write_text(json.dumps([{"speaker": i.speaker, "text": i.text} for i in items]), encoding="utf-8")
    questions.write_text(json.dumps(run.corpus.questions(50)), encoding="utf-8")
    for count in _MEM0_COUNTS:
        if not run.has(f"mem0@{count}"):
            files = ["--turns", str(turns), "--questions", str(questions)]
            run.cell(f"mem0@{count}", [str(python), str(HERE / "mem0_add.py"), *files, "--count", str(count)])


def _kept(options: argparse.Namespace, header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the cells of an earlier run that still hold: same corpus, and for pinyon's own the same commit."""
    if not options.resume or not options.json.exists():
        return {}
    earlier = json.loads(options.json.read_text(encoding="utf-8"))
    if earlier.get("corpus_fingerprint") != header["corpus_fingerprint"]:
        print("the earlier cells come from another corpus: measuring all", file=sys.stderr)
        return {}
    cells: dict[str, dict[str, Any]] = earlier["cells"]
    return {
        key: cell for key, cell in cells.items() if not key.startswith("pinyon") or cell["commit"] == header["commit"]
    }


def _compiling(environment: dict[str, str] | None) -> dict[str, str]:
    """Return an environment in which Python keeps what it has compiled, as it does where nobody forbids it."""
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="6000,100000,1000000", help="cubes, by commas (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "speed.json", help="where the cells are kept")
    parser.add_argument("--plot", type=Path, help="draw cost against size into this PNG (needs matplotlib)")
    parser.add_argument("--resume", action="store_true", help="measure only the cells the JSON file lacks")
    parser.add_argument(
        "--questions", type=int, default=200, help="questions a search cell; a quarter beyond 100,000 cubes"
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds of single adds (default: %(default)s)")
    parser.add_argument("--timeout", type=int, default=3600, help="seconds a cell may take (default: %(default)s)")
    parser.add_argument(
        "--flush-ms", type=float, help="let every flush of every subject last this long, as on a slower disk (Linux)"
    )
    parser.add_argument("--only-adds", action="store_true", help="single adds, bulk adds and the rival; no searches")
    parser.add_argument("--skip-mem0", action="store_true", help="leave the rival out")
    parser.add_argument("--mem0-python", type=Path, help="interpreter of an environment with mem0ai; default: make one")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a limit is not met or not measured")
    return parser.parse_args()


def _shown(arguments: list[str]) -> list[str]:
    """Return the arguments with paths cut to their names."""
    return [Path(word).name if "/" in word or "\\" in word else word for word in arguments]


def main() -> int:
    options = _parse()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    data = os.environ.get("PINYON_DATA")
    corpus = Corpus(Path(data) if data else None)
    header = _header(corpus, _shown(sys.argv[1:]))
    cache = cache_folder()  # not the system's folder for temporary files, which may lie in memory
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=cache) as scratch:
        run = Run(
            corpus,
            cache / f"corpus-{corpus.fingerprint}",
            Path(scratch),
            options.json,
            options.timeout,
            options.questions,
            header,
        )
        run.cells = _kept(options, header)
        if options.flush_ms:
            run.environment = slow_flush(Path(scratch), options.flush_ms)
            header["flush_ms"] = options.flush_ms
        header["cells_of_earlier_runs"] = sum("error" not in cell for cell in run.cells.values())
        print(f"preparing {sizes[-1]:,} items", file=sys.stderr)
        Prepared(run.prepared).make(corpus, max(sizes[-1], *_MEM0_COUNTS))
        if not run.has(f"embed@{sizes[0]}"):
            run.subject(f"embed@{sizes[0]}", "embed", sizes[0])
        _measure_adds(run, options.rounds)
        if not options.skip_mem0:
            _measure_mem0(run, options.mem0_python or make_mem0(cache / "mem0"))
        opened = 100_000 if 100_000 in sizes else sizes[-1]
        for size in sizes:
            if options.only_adds:
                _measure_bulk(run, size)
            else:
                _measure_size(run, size, opened=size == opened)
        run.save()
    for cell in run.cells.values():
        if "qdrant_client" in cell:  # the rival's, read in its own environment
            header["versions"] |= {"mem0ai": cell["version"], "qdrant-client": cell["qdrant_client"]}
    run.save()
    for name in (
        "command",
        "date",
        "commit",
        "machine",
        "load_at_start",
        "versions",
        "corpus",
        "flush_ms",
        "cells_of_earlier_runs",
    ):
        if name in header:
            print(f"{name}: {header[name]}")
    print("\n" + tables(run.cells, sizes))
    if options.plot:
        plot(run.cells, sizes, options.plot)
        print(f"plot: {options.plot.name}", file=sys.stderr)
    return int(options.strict and not all(limit.is_met for limit in limits(run.cells, sizes)))


if __name__ == "__main__":
    sys.exit(main())
