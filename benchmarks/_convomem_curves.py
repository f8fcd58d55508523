"""Dilution curves of ConvoMem: what every subject finds while the history grows, for items 3 and 4."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from tqdm import tqdm

from pinyon.measure.base import Report
from pinyon.measure.convomem import ConvoMem, Point, Templates, dilution
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.stats import Interval, difference
from pinyon.measure.subject import Subject
from pinyon.measure.subjects import BM25, Dense, FullContext, Hybrid, LastTokens, PinyonMemory
from pinyon.measure.subjects.pinyon_memory import pinyon_vectors, pinyon_words

__all__ = ["CONTROL", "SUBJECTS", "Row", "dilutions", "interval", "table", "whole"]

CURVE = (2, 10, 30, 100, 300)
OURS = ("pinyon", "pinyon-bm25", "pinyon-dense")  # the product, and each of its legs alone
SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "pinyon": PinyonMemory,
    "pinyon-bm25": pinyon_words,
    "pinyon-dense": pinyon_vectors,
    "full": lambda _: FullContext(),
    "last": lambda _: LastTokens(),
    "bm25": lambda _: BM25(),
    "dense": lambda _: Dense(),
    "hybrid": lambda _: Hybrid(),
}
Row = tuple[str, str, str, bool]
CONTROL = "control, "
"""How rows begin that are no statement about pinyon, and so no part of a verdict."""


def table(title: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Print what was asked, what was found, and whether it holds."""
    print(f"### {title}\n\n| what | limit | measured | holds |\n|---|---|---|---|")
    for what, limit, found, holds in rows:
        print(f"| {what} | {limit} | {found} | {'yes' if holds else '**no**'} |")
    print(flush=True)
    return [dict(zip(("what", "limit", "measured", "holds"), row, strict=True)) for row in rows]


def interval(found: Interval, digits: int = 1) -> str:
    """Return a share as per cent with its interval."""
    return f"{100 * found.value:.{digits}f} [{100 * found.low:.{digits}f}, {100 * found.high:.{digits}f}]"


@dataclass(frozen=True, slots=True)
class Run:
    """One subject on every history.

    Args:
        report: With its name and seconds.
        records: Of every question that was asked.
    """

    report: Report
    records: tuple[Mapping[str, Any], ...]

    def curve(self, name: str = "recall@10") -> dict[tuple[str, int], Point]:
        """Return the points of a metric by category and size."""
        return {(point.category, point.size): point for point in dilution(self.report, name)}

    def recalls(self, size: int) -> dict[str, float]:
        """Return recall@10 of each question that has an answer, by its key."""
        return {
            r["key"]: sum(0 < rank <= 10 for rank in r["ranks"]) / r["k"]
            for r in self.records
            if r["size"] == size and r["category"] != "abstention"
        }

    def tokens(self, size: int) -> float:
        """Return how many tokens a prompt had on average."""
        return float(mean(r["tokens"] for r in self.records if r["size"] == size))


def ran(name: str, sizes: Sequence[int], items: int | None, seed: int) -> Run:
    """Run the measure on one subject."""
    with tempfile.TemporaryDirectory() as folder, tqdm(desc=name, unit="q", file=sys.stderr, leave=False) as bar:
        subject = SUBJECTS[name](Path(folder))
        log = ItemLog(note=lambda what, _, bar=bar: bar.update(what == "end"))
        start = time.perf_counter()
        measure = ConvoMem(templates=Templates(seed=seed), sizes=sizes)
        report = measure.run(subject, MeasureBudget(items=items, seed=seed), log)
        report = replace(report, system=name, seconds=time.perf_counter() - start)
        subject.close()
    records: list[Any] = [{"key": item.key, **item.record} for item in log.items if item.state == "done"]
    return Run(report, tuple(records))


def all_ran(names: Sequence[str], sizes: Sequence[int], items: int | None, seed: int, jobs: int) -> dict[str, Run]:
    """Run the measure on every subject, each in a process of its own, some at a time."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = pool.map(ran, names, *(repeat(each) for each in (sizes, items, seed)))
        return dict(zip(names, runs, strict=True))


def dilutions(names: Sequence[str], items: int | None, seed: int, jobs: int) -> dict[str, Any]:
    """Run the measure on every subject, print items 3 and 4, and return their rows and the reports."""
    runs = all_ran(names, CURVE, items, seed, jobs)
    _print_curves("recall@10 of evidence messages", {name: run.curve() for name, run in runs.items()})
    held = {name: run.curve("in 2,000 tokens") for name, run in runs.items()}
    _print_curves("evidence inside the recalled prompt (2,000 tokens; full context takes all)", held)
    print(
        "### Tokens of the prompt\n\n| system |"
        + "".join(f" N={n} |" for n in CURVE)
        + "\n|---|"
        + "---:|" * len(CURVE)
    )
    for name, run in runs.items():
        print(f"| {name} |" + "".join(f" {run.tokens(n):,.0f} |" for n in CURVE))
    print()
    asked = len(next(iter(runs.values())).recalls(CURVE[0]))
    out = {
        "questions": asked,
        "rows": table(f"3. Dilution, {asked} questions with an answer", list(_dilution_rows(runs))),
        "tokens": {name: {n: run.tokens(n) for n in CURVE} for name, run in runs.items()},
        "reports": [run.report.to_json() for run in runs.values()],
    }
    if "bm25" in runs:
        out["categories"] = table("4. Categories, BM25 at 100 conversations", list(_category_rows(runs["bm25"])))
    return out


def whole(seed: int, jobs: int) -> dict[str, Any]:
    """Ask pinyon and its legs every question: what 60 questions, whose intervals span 15 points, cannot tell."""
    runs = all_ran(OURS, CURVE, None, seed, jobs)
    curves = {name: run.curve() for name, run in runs.items()}
    _print_curves("recall@10 of evidence messages, all questions", curves)
    asked = len(runs["pinyon"].recalls(CURVE[0]))
    rows = list(_against_legs(runs, "pinyon", OURS[1:], CURVE))
    title = f"3b. Pinyon against its legs, all {asked} questions with an answer"
    return {"questions": asked, "rows": table(title, rows), "reports": [run.report.to_json() for run in runs.values()]}


def _print_curves(title: str, curves: Mapping[str, Mapping[tuple[str, int], Point]]) -> None:
    points = next(iter(curves.values()))
    sizes = sorted({size for _, size in points})
    print(f"### Dilution: {title}, %\n\n| category | system |" + "".join(f" N={n} |" for n in sizes))
    print("|---|---|" + "---:|" * len(sizes))
    for category in dict.fromkeys(category for category, _ in points):
        for name, curve in curves.items():
            found = [curve.get((category, n)) for n in sizes]
            cells = ["" if p is None else f"{100 * p.value:.0f} [{100 * p.low:.0f}, {100 * p.high:.0f}]" for p in found]
            print(f"| {category} | {name} | " + " | ".join(cells) + " |")
    print()


def _dilution_rows(runs: Mapping[str, Run]) -> Iterator[Row]:
    for name, run in runs.items():
        if name in ("full", "last"):
            continue
        who = name if name.startswith("pinyon") else CONTROL + name
        points = [run.curve()["overall", n] for n in CURVE]
        falls = all(b.value <= a.high for a, b in pairwise(points))
        shown = ", ".join(f"{100 * p.value:.1f}" for p in points)
        yield f"{who}: recall@10 falls with N", "never above the interval before", shown, falls
        found = mean(
            sum(rank > 0 for rank in r["ranks"]) / r["k"] for r in run.records if r["size"] == CURVE[0] and r["k"] <= 2
        )
        yield f"{who}: all found where the history fits into 50 hits", "100 %", f"{100 * found:.1f} %", found == 1
    yield from _against_legs(runs, "hybrid", ("bm25", "dense"), CURVE)
    if "full" in runs:
        held = runs["full"].curve("in 2,000 tokens")
        share = min(held["overall", n].value for n in CURVE)
        yield "full context holds the evidence", "100 %", f"{100 * share:.1f} %", share == 1
        fit = np.corrcoef(CURVE, [runs["full"].tokens(n) for n in CURVE])[0, 1] ** 2
        yield "tokens of full context are linear in N", "R² > 0.99", f"{fit:.4f}", bool(fit > 0.99)


def _against_legs(runs: Mapping[str, Run], mine: str, legs: Sequence[str], sizes: Sequence[int]) -> Iterator[Row]:
    """Yield one row a size: how much more is found than by the better leg, question by question."""
    if not {mine, *legs} <= set(runs):
        return
    who = mine if mine == "pinyon" else CONTROL + mine
    for size in sizes:
        ours = runs[mine].recalls(size)
        theirs = {leg: runs[leg].recalls(size) for leg in legs}
        better = max(legs, key=lambda leg: sum(theirs[leg].values()))
        gap = difference(list(ours.values()), [theirs[better][key] for key in ours])
        what = f"{who} against its better leg, {better}, N={size}"
        yield what, ">= -1 point", interval(gap), gap.value >= -0.01


def _category_rows(run: Run) -> Iterator[Row]:
    curve = run.curve()
    facts = curve["user_facts", 100]
    for category in ("implicit_connection", "preferences"):
        point = curve[category, 100]
        gap = 100 * (facts.value - point.value)
        shown = f"{gap:.1f} ({_shown(point)} of {point.n} against {_shown(facts)} of {facts.n})"
        yield f"{category} below user_facts", ">= 15 points", shown, gap >= 15


def _shown(point: Point) -> str:
    return interval(Interval(point.value, point.low, point.high, point.n), 0)
