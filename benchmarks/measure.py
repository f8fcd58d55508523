"""Run the measuring room as `make measure-small` and `make measure-full` do, and make the leaderboard.

    python benchmarks/measure.py --small                 # ten minutes on two cores, prints the tables
    python benchmarks/measure.py --full                  # everything, also the rivals whose environments exist
    python benchmarks/measure.py --full --only locomo --subjects pinyon,bm25,mem0
    python benchmarks/measure.py --pack results leaderboard.json   # figures without questions, fit to be committed
    python benchmarks/measure.py --leaderboard           # docs/leaderboard.md and results/leaderboard.html

Question sets are read from the folder named by PINYON_DATA; measures whose data are not there are left out and named.
Results go to ``$PINYON_BENCH_CACHE/measured``, and the same command goes on where it ended.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rivals import RECIPES, cache_folder
from tqdm import tqdm

from pinyon.measure import (
    MEASURES,
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
from pinyon.measure.registry import has_data

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one measure is put to; `seconds` is the longest time of one subject in a small run."""

    measure: str
    small: tuple[str, ...]
    full: tuple[str, ...]
    seconds: float


CONTROLS = ("full", "last", "bm25", "dense", "hybrid", "random")
PLANS = (
    Plan("locomo", ("pinyon", "bm25", "dense", "hybrid", "random"), ("pinyon", *CONTROLS), 60),
    Plan("locomo-merged", (), ("pinyon", "bm25", "dense", "hybrid"), 60),
    Plan("sort", ("pinyon", "bm25"), ("pinyon", "bm25", "random"), 60),
    Plan("convomem", ("pinyon", "bm25"), ("pinyon", "full", "last", "bm25", "dense", "hybrid"), 60),
    Plan("prefeval", ("pinyon",), ("pinyon", "last", "bm25", "dense", "hybrid"), 60),
    Plan("planted", ("pinyon", "bm25", "last"), ("pinyon", "hema", "hema-pinyon", *CONTROLS), 60),
    Plan("longmemeval", (), ("pinyon", "bm25", "dense", "hybrid"), 60),
    Plan("needles", ("pinyon", "bm25", "dense"), ("pinyon", "bm25", "dense", "hybrid", "last"), 30),
)
WITH_RIVALS = ("locomo",)


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


def rivals_here(folder: Path) -> tuple[str, ...]:
    """Return the rivals whose environments have been made."""
    return tuple(name for name in RECIPES if (folder / name / "recipe.json").exists())


def measure(
    plan: Plan, subjects: Sequence[str], budget: MeasureBudget, out: Path, places: Places
) -> tuple[Report, ...]:
    """Run one measure on its subjects."""
    size = "--small" if budget.small else "--full"
    items = f" --items {budget.items}" if budget.items else ""
    command = f"python benchmarks/measure.py {size}{items} --only {plan.measure} --subjects {','.join(subjects)}"
    bars = Bars()
    try:
        return run(
            [plan.measure], subjects, budget, out, places=places, command=command, progress=bars,
        )  # fmt: skip
    finally:
        bars.close()


def make_leaderboard() -> None:
    """Write both pages from the committed results."""
    files = sorted(RESULTS.glob("leaderboard*.json"), key=lambda file: file.stem)
    (ROOT / "docs" / "leaderboard.md").write_text(leaderboard_markdown(files), encoding="utf-8")
    (RESULTS / "leaderboard.html").write_text(leaderboard_html(files), encoding="utf-8")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--small", action="store_true", help="a sample of each measure")
    what.add_argument("--full", action="store_true", help="everything")
    what.add_argument("--leaderboard", action="store_true", help="make the pages from the committed results")
    what.add_argument("--pack", nargs=2, type=Path, metavar=("FOLDER", "FILE"), help="write a folder's figures as JSON")
    parser.add_argument("--only", help="measures, divided by commas")
    parser.add_argument("--subjects", help="subjects instead of those of the plan, divided by commas")
    parser.add_argument("--items", type=int, help="most items of a measure, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of results")
    parser.add_argument("--data", type=Path, default=os.environ.get("PINYON_DATA"), help="default PINYON_DATA")
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
    places = Places(None if given.data is None else Path(given.data), cache_folder())
    out = given.out or cache_folder() / "measured" / ("small" if given.small else "full")
    wanted = given.only.split(",") if given.only else [plan.measure for plan in PLANS]
    reports: list[Report] = []
    for plan in (plan for plan in PLANS if plan.measure in wanted):
        known = next(known for known in MEASURES if known.name == plan.measure)
        planned = plan.small if given.small else plan.full
        if not given.small and plan.measure in WITH_RIVALS:
            planned = (*planned, *rivals_here(places.rivals or cache_folder()))
        subjects = tuple(given.subjects.split(",")) if given.subjects else planned
        if not subjects:
            continue
        if not has_data(known, places) and not known.is_optional:
            print(f"{plan.measure} is left out: {known.data!r} is not in the data folder", file=sys.stderr)
            continue
        seconds = plan.seconds if given.small else 4 * 3600.0
        budget = MeasureBudget(seconds=seconds, items=given.items, small=given.small, seed=given.seed)
        found = measure(plan, subjects, budget, out, places)
        print(summary(found), flush=True)
        reports.extend(found)
    if not reports:
        print("nothing was measured", file=sys.stderr)
        return 1
    print("\n".join(str(file) for file in write_report(reports, out)), file=sys.stderr)
    return 1 if any(report.error for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
