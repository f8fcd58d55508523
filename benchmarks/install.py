"""Measure what a stranger waits for: from the clone to the first useful answer, and what that takes on the disk.

Clones the repository's last commit into a fresh folder, runs `make demo` there, and then a search of the command line
twice. Prints a table with the limits; the packages come from wherever pip is set up to take them, so the seconds are
those of a warm package cache when pip has one.

    python benchmarks/install.py
    python benchmarks/install.py --json benchmarks/results/install.json
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pinyon.measure.base import surroundings

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S, LIMIT_MB, LIMIT_SEARCH_S = 120.0, 250.0, 1.0
STARTS = 5
_FIRST = " ms among "  # the demo says so after each of its questions


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pinyon-install-") as folder:
        rows = measured(Path(folder))
    print("| what | limit | measured | holds |\n|---|---|---:|---|")
    for row in rows:
        print(f"| {row['what']} | {row['limit']} | {row['measured']} | {'yes' if row['holds'] else 'no'} |")
    if given.json is not None:
        command = shlex.join(["python", "benchmarks/install.py", *(sys.argv[1:] if arguments is None else arguments)])
        about: Mapping[str, Any] = {"command": command, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        kept = {**about, "commit": _head(ROOT), "machine": surroundings(), "rows": rows}
        given.json.write_text(json.dumps(kept, indent=1, default=list) + "\n", encoding="utf-8")
    return 0 if all(row["holds"] for row in rows) else 1


def measured(folder: Path) -> list[dict[str, Any]]:
    """Return one row for each limit."""
    clone, home = folder / "pinyon", folder / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    environment = {**os.environ, "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    environment.pop("VIRTUAL_ENV", None)
    first, whole = _demo(clone, environment)
    base = clone / ".venv"
    megabytes = sum(file.lstat().st_size for file in base.rglob("*") if not file.is_dir()) / 1e6
    has_torch = subprocess.run([base / "bin/python", "-c", "import torch"], capture_output=True, check=False)
    starts = _searches(base / "bin/pinyon", folder / "notes.db", environment)
    return [
        _row("from the clone to the first answer of `make demo`, s", f"<= {LIMIT_S:.0f}", first, first <= LIMIT_S),
        _row("the whole of `make demo`, s", "", whole, True),
        _row("base install, MB", f"< {LIMIT_MB:.0f}", megabytes, megabytes < LIMIT_MB),
        {"what": "torch in it", "limit": "no", "measured": "no" if has_torch.returncode else "yes",
         "holds": has_torch.returncode != 0},
        _row("`pinyon search`, every start after the first, s", f"< {LIMIT_SEARCH_S:.0f}", max(starts[1:]),
             max(starts[1:]) < LIMIT_SEARCH_S),
    ]  # fmt: skip


def _row(what: str, limit: str, value: float, holds: bool) -> dict[str, Any]:
    return {"what": what, "limit": limit, "measured": f"{value:.2f}", "holds": holds}


def _demo(clone: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Return the seconds until the demo shows its first answer, and those until it ends."""
    start, first = time.perf_counter(), None
    with subprocess.Popen(
        ["make", "demo"], cwd=clone, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        said = []
        for line in demo.stdout or ():
            said.append(line)
            if first is None and _FIRST in line:
                first = time.perf_counter() - start
    if demo.returncode or first is None:
        raise SystemExit(f"`make demo` ended with {demo.returncode} and said:\n{''.join(said)}")
    return first, time.perf_counter() - start


def _searches(pinyon: Path, path: Path, environment: Mapping[str, str]) -> list[float]:
    """Return the seconds of some searches of the command line over the reference of Python, one process each."""
    told = "from pydoc_data.topics import topics; print('\\n\\n'.join(topics.values()))"
    python = str(pinyon.parent / "python")
    text = subprocess.run([python, "-c", told], capture_output=True, text=True, check=True).stdout
    source = path.with_suffix(".txt")
    source.write_text(text, encoding="utf-8")
    subprocess.run(
        [pinyon, "import", str(source), "--path", str(path)], env=dict(environment), capture_output=True, check=True
    )
    seconds = []
    for _ in range(1 + STARTS):
        start = time.perf_counter()
        search = [str(pinyon), "search", "how is a slice of a list taken?", "--path", str(path)]
        subprocess.run(search, env=dict(environment), capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def _head(folder: Path) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
