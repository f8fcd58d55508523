"""Measure whether a preference is found, and respected, after up to 300 exchanges of other talk.

Every subject gets the same preferences, the same talk and the same rule that chooses from what it recalls.

    python benchmarks/prefeval.py
    python benchmarks/prefeval.py --items 28 --subjects pinyon,bm25
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from pinyon.errors import PinyonError
from pinyon.measure import Report
from pinyon.measure.base import surroundings
from pinyon.measure.prefeval import PrefEval
from pinyon.measure.registry import NOWHERE, subject_called
from pinyon.measure.session import ItemLog, MeasureBudget

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("PINYON_DATA") or ROOT.parent / "shared" / "data")
SUBJECTS = "pinyon,full,last,bm25,dense,hybrid,random"
GIVEN = "preference given"


def measured(name: str, folder: Path, budget: MeasureBudget) -> Report:
    """Run one subject in this process."""
    with (
        tempfile.TemporaryDirectory() as place,
        tqdm(desc=name, unit="preference", file=sys.stderr, leave=False) as bar,
    ):
        subject = subject_called(name, Path(place), NOWHERE)
        log = ItemLog(note=lambda what, _: bar.update() if what == "end" else None)
        start = time.perf_counter()
        try:
            report = PrefEval(folder).run(subject, budget, log)
        finally:
            subject.close()
        return replace(
            report, system=name, seconds=time.perf_counter() - start, failed=log.count("failed"),
            skipped=log.count("skipped"),
        )  # fmt: skip


def table(reports: Sequence[Report], name: str) -> str:
    """Return one metric of every subject: a row a subject, a column a distance, with 95 % intervals."""
    groups = list(dict.fromkeys(m.group for r in reports for m in r.metrics if m.group != GIVEN))
    lines = [f"### {name}", "", f"| subject | {' | '.join(groups)} |", "|---|" + "---:|" * len(groups)]
    for report in reports:
        found = {m.group: m for m in report.metrics if m.name == name}
        cells = [
            f"{100 * m.value:.1f} [{100 * m.low:.1f}, {100 * m.high:.1f}]" if (m := found.get(group)) else ""
            for group in groups
        ]
        lines.append(f"| {report.system} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds prefeval (default: $PINYON_DATA)")
    parser.add_argument("--subjects", default=SUBJECTS, help=f"default: {SUBJECTS}")
    parser.add_argument("--items", type=int, default=140, help="preferences (default: 140 of all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "prefeval.json")
    options = parser.parse_args(arguments)
    budget = MeasureBudget(seconds_per_item=600, seconds=36_000, items=options.items, seed=options.seed)
    kept = ["--items", str(options.items), "--subjects", options.subjects, "--seed", str(options.seed)]
    command = shlex.join(["python", "benchmarks/prefeval.py", *kept])
    machine, versions = surroundings()
    print(f"`{command}` on {machine}; " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "\n", flush=True)
    reports = []
    try:
        for name in options.subjects.split(","):
            report = replace(measured(name, options.data / "prefeval", budget), command=command)
            reports.append(replace(report, machine=machine, versions=versions).without_items())
    except PinyonError as error:
        print(error, file=sys.stderr)
        return 1
    for metric in ("recall@1", "recall@5", "recall@10", "in 1,000 tokens", "choice by rule"):
        print(table(reports, metric))
    given = next(m for m in reports[0].metrics if m.group == GIVEN)
    print(
        f"The rule with the preference given to it: {100 * given.value:.1f} [{100 * given.low:.1f}, "
        f"{100 * given.high:.1f}] of {given.n}; chance is 25."
    )
    print(f"{sum(r.seconds for r in reports):.0f} s in all; failed items: {sum(r.failed for r in reports)}.")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"reports": [r.to_json() for r in reports]}) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
