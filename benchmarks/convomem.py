"""Measure what ConvoMem asks for, without a model: sound questions, dilution curves, and the choice of the size router.

Prints one table for each item of the specification with its limit and whether it holds; progress goes to standard
error. Questions and filler come from templates, so nothing is needed beside the package.

    python benchmarks/convomem.py
    python benchmarks/convomem.py --only invariants,validity,planner
    python benchmarks/convomem.py --only dilution --items 120 --subjects pinyon,bm25,full
    python benchmarks/convomem.py --only extraction --items 36
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from tqdm import tqdm

from pinyon import Conversation, Memory, Turn
from pinyon.core.budget import Budget
from pinyon.core.cube import Cube
from pinyon.errors import PinyonError
from pinyon.measure.base import surroundings
from pinyon.measure.convomem import (
    SIZES,
    ChatMessage,
    ConvoMem,
    EvidenceItem,
    Templates,
    World,
    choose_threshold,
    dilution,
    embedding_faults,
    mixed,
    passages_of,
    question_faults,
    standard,
    validity,
    world_bytes,
)
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.stats import wilson
from pinyon.measure.subject import Passage, Subject
from pinyon.measure.subjects import BM25, Dense, FullContext, Hybrid, LastTokens, PinyonMemory
from pinyon.measure.subjects.pinyon_memory import pinyon_vectors, pinyon_words
from pinyon.models import StaticTokenCounter
from pinyon.text import Hits, Pack, SizeRouter
from pinyon.text.blocks import BlockExtract, OnePassExtract
from pinyon.text.model_profile import ModelProfile

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("invariants", "validity", "dilution", "changing", "abstention", "extraction", "planner")
CURVE = (2, 10, 30, 100, 300)
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
PUBLISHED = {10: 12_800, 20: 24_600, 30: 36_500, 50: 61_800, 70: 87_000, 100: 125_000, 150: 228_000}
"""Conversations to tokens of user facts, as published; 20, 50 and 70 lie between their neighbours."""
Row = tuple[str, str, str, bool]


def table(title: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Print what was asked, what was found, and whether it holds."""
    print(f"### {title}\n\n| what | limit | measured | holds |\n|---|---|---|---|")
    for what, limit, found, holds in rows:
        print(f"| {what} | {limit} | {found} | {'yes' if holds else '**no**'} |")
    print(flush=True)
    return [dict(zip(("what", "limit", "measured", "holds"), row, strict=True)) for row in rows]


# --- 1 and 2: are the questions sound ------------------------------------------------------------------------------


def mutations(item: EvidenceItem) -> Iterator[tuple[str, EvidenceItem]]:
    """Yield an item with each of the four faults that it can have."""
    first, evidence = item.chats[0], item.evidence[0]
    without = replace(first, messages=tuple(m for m in first.messages if m != evidence))
    yield "evidence deleted", replace(item, chats=(without, *item.chats[1:]))
    if item.k > 1:
        second = item.chats[1]
        more = replace(second, messages=(*second.messages, evidence))
        yield "evidence duplicated", replace(item, chats=(first, more, *item.chats[2:]))
        yield "evidence swapped", replace(item, chats=(second, first, *item.chats[2:]))
    third = replace(first, messages=(*first.messages, ChatMessage("Narrator", "It rains.")))
    yield "third speaker", replace(item, chats=(third, *item.chats[1:]))


def is_mixed_well(item: EvidenceItem, size: int, world: World) -> bool:
    """Return whether one history is what it must be."""
    case = standard(item, size, world.filler, random.Random(f"{item.id} {size}"))
    ids = [chat.id for chat in case.chats]
    places = [ids.index(chat.id) for chat in item.chats]
    return (
        len(ids) == max(size, item.k)
        and len(set(ids)) == len(ids)
        and places == sorted(places)
        and all(chat.person == item.person for chat in case.chats)
    )


def invariants(world: World, seed: int) -> list[dict[str, Any]]:
    """Print item 1."""
    sound = sum(not embedding_faults(i) and not question_faults(i) for i in world.items)
    faulty = [(name, changed) for item in world.items for name, changed in mutations(item)]
    rejected = sum(bool(embedding_faults(changed)) for _, changed in tqdm(faulty, "mutations", leave=False))
    pairs = [(item, size) for item in world.items for size in SIZES]
    well = sum(is_mixed_well(item, size, world) for item, size in tqdm(pairs, "mixing", leave=False))
    same = world_bytes(world) == world_bytes(Templates(seed=seed).world())
    n = len(world.items)
    return table(
        f"1. Generator and mixer, {n} questions",
        [
            ("own output accepted", "all", f"{sound} of {n}", sound == n),
            ("four mutations rejected", "all", f"{rejected} of {len(faulty)}", rejected == len(faulty)),
            (f"histories of {len(SIZES)} sizes well mixed", "all", f"{well} of {len(pairs)}", well == len(pairs)),
            ("same seed, same bytes", "yes", "yes" if same else "no", same),
        ],
    )


def validities(world: World) -> list[dict[str, Any]]:
    """Print item 2."""
    found = [(item, validity(item)) for item in world.items]
    n = len(found)
    facts = [v for item, v in found if item.category != "abstention"]
    partial = [v for item, v in found if item.category != "changing" and v.partial is not None]
    changing = [v for item, v in found if item.category == "changing"]
    enough = sum(v.with_evidence for _, v in found)
    guessed = sum(v.without_evidence is False for v in facts)
    half = sum(v.partial is False for v in partial)
    before = sum(v.previous is True and v.addresses is True for v in changing)
    return table(
        f"2. Validity with an exact reader, {n} questions",
        [
            ("questions", ">= 300", str(n), n >= 300),
            ("right with the evidence", ">= 99 %", f"{100 * enough / n:.1f} %", enough >= 0.99 * n),
            ("right without", "0", f"{guessed} of {len(facts)}", guessed == 0),
            ("right with a part of it", "0", f"{half} of {len(partial)}", half == 0),
            (
                "changing: the state before when the last is gone, each state alone",
                "all",
                f"{before} of {len(changing)}",
                before == len(changing),
            ),
        ],
    )


# --- 3 and 4: what the growing history costs -----------------------------------------------------------------------


def dilutions(names: Sequence[str], items: int | None, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run the measure on every subject and print items 3 and 4."""
    curves: dict[str, dict[tuple[str, int], Any]] = {}
    held: dict[str, dict[tuple[str, int], Any]] = {}
    tokens: dict[str, dict[int, float]] = {}
    fits: dict[str, list[float]] = {}
    reports = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder, tqdm(desc=name, unit="q", file=sys.stderr, leave=False) as bar:
            subject = SUBJECTS[name](Path(folder))
            log = ItemLog(note=lambda what, _, bar=bar: bar.update(what == "end"))
            start = time.perf_counter()
            report = ConvoMem(sizes=CURVE).run(subject, MeasureBudget(items=items, seed=seed), log)
            reports.append(replace(report, system=name, seconds=time.perf_counter() - start))
            subject.close()
        curves[name] = {(p.category, p.size): p for p in dilution(report)}
        held[name] = {(p.category, p.size): p for p in dilution(report, "in 2,000 tokens")}
        records: list[Any] = [item.record for item in log.items if item.state == "done"]
        tokens[name] = {n: mean(r["tokens"] for r in records if r["size"] == n) for n in CURVE}
        fits[name] = [sum(rank > 0 for rank in r["ranks"]) / r["k"] for r in records if r["size"] == 2 and r["k"] <= 2]
    _print_curves("recall@10 of evidence messages", names, curves)
    _print_curves("evidence inside the recalled prompt (2,000 tokens; full context takes all)", names, held)
    print(
        "### Tokens of the prompt\n\n| system |"
        + "".join(f" N={n} |" for n in CURVE)
        + "\n|---|"
        + "---:|" * len(CURVE)
    )
    for name in names:
        print(f"| {name} |" + "".join(f" {tokens[name][n]:,.0f} |" for n in CURVE))
    print()
    rows = list(_dilution_rows(names, curves, held, tokens, fits))
    out = table("3. Dilution", rows)
    if "bm25" in names:
        out += table("4. Categories, BM25 at 100 conversations", list(_category_rows(curves["bm25"])))
    return out, [report.to_json() for report in reports]


def _print_curves(title: str, names: Sequence[str], curves: dict[str, dict[tuple[str, int], Any]]) -> None:
    print(f"### Dilution: {title}, %\n\n| category | system |" + "".join(f" N={n} |" for n in CURVE))
    print("|---|---|" + "---:|" * len(CURVE))
    for category in dict.fromkeys(category for category, _ in curves[names[0]]):
        for name in names:
            points = [curves[name].get((category, n)) for n in CURVE]
            cells = [
                "" if p is None else f"{100 * p.value:.0f} [{100 * p.low:.0f}, {100 * p.high:.0f}]" for p in points
            ]
            print(f"| {category} | {name} | " + " | ".join(cells) + " |")
    print()


def _dilution_rows(
    names: Sequence[str],
    curves: dict[str, dict[tuple[str, int], Any]],
    held: dict[str, dict[tuple[str, int], Any]],
    tokens: dict[str, dict[int, float]],
    fits: dict[str, list[float]],
) -> Iterator[Row]:
    for name in names:
        if name in ("full", "last"):
            continue
        points = [curves[name]["overall", n] for n in CURVE]
        falls = all(b.value <= a.high for a, b in pairwise(points))
        shown = ", ".join(f"{100 * p.value:.1f}" for p in points)
        yield f"{name}: recall@10 falls with N", "never above the interval before", shown, falls
        whole = mean(fits[name])
        yield f"{name}: all found where the history fits into the hits", "100 %", f"{100 * whole:.1f} %", whole == 1
    for mine, legs in (("pinyon", ("pinyon-bm25", "pinyon-dense")), ("hybrid", ("bm25", "dense"))):
        if mine in names and set(legs) <= set(names):
            gaps = [
                curves[mine]["overall", n].value - max(curves[leg]["overall", n].value for leg in legs) for n in CURVE
            ]
            yield f"{mine} against its better leg", ">= -1 point", f"{100 * min(gaps):+.1f}", min(gaps) >= -0.01
    if "full" in names:
        share = min(held["full"]["overall", n].value for n in CURVE)
        yield "full context holds the evidence", "100 %", f"{100 * share:.1f} %", share == 1
        fit = np.corrcoef(CURVE, [tokens["full"][n] for n in CURVE])[0, 1] ** 2
        yield "tokens of full context are linear in N", "R² > 0.99", f"{fit:.4f}", bool(fit > 0.99)


def _category_rows(curve: dict[tuple[str, int], Any]) -> Iterator[Row]:
    facts = curve["user_facts", 100].value
    for category in ("implicit_connection", "preferences"):
        gap = 100 * (facts - curve[category, 100].value)
        yield f"{category} below user_facts", ">= 15 points", f"{gap:.1f}", gap >= 15


# --- 5: what has changed, and what nobody said ---------------------------------------------------------------------


def changing(world: World, size: int, seed: int) -> list[dict[str, Any]]:
    """Print the first half of item 5: read only the first hit of the same store, with and without supersession."""
    items = [item for item in world.items if item.category == "changing" and item.k >= 3]
    right: dict[str, list[bool]] = {mode: [] for mode in ("off", "explicit", "rules")}
    for item in tqdm(items, "changing facts", leave=False):
        [case] = mixed([item], size, world.filler, seed=seed, mode="standard")
        for mode, found in right.items():
            with Memory.open(":memory:", conflicts=mode) as memory:
                memory.add_many(_talks(passages_of(case.chats), item if mode != "rules" else None))
                hits = memory.search(item.question, k=10).hits
                valid = [hit for hit in hits if hit.cube.header.life.superseded_by is None]
                found.append(bool(valid) and item.answer in valid[0].cube.text)
    share = {mode: wilson(sum(found), len(found)) for mode, found in right.items()}
    gap = 100 * (share["explicit"].value - share["off"].value)
    shown = "; ".join(f"{m} {100 * s.value:.0f} [{100 * s.low:.0f}, {100 * s.high:.0f}]" for m, s in share.items())
    return table(
        f"5a. Final state in the first hit, {len(items)} changing facts with 3 states or more, {size} conversations",
        [("supersession by subject and attribute against none", ">= 30 points", f"{gap:+.1f} ({shown})", gap >= 30)],
    )


def _talks(passages: Sequence[Passage], item: EvidenceItem | None) -> Iterator[Conversation]:
    """Yield conversations; with an item, its evidence says of what it speaks."""
    said = set() if item is None else {message.text for message in item.evidence}
    about = {} if item is None else {"subject": item.about[0], "attribute": item.about[1]}
    for session in dict.fromkeys(passage.session for passage in passages):
        turns = tuple(
            Turn(p.text, p.speaker, p.role, p.time, about if p.text in said else {})
            for p in passages
            if p.session == session
        )
        yield Conversation(turns, session=session)


def abstention(size: int, seed: int) -> list[dict[str, Any]]:
    """Print the second half of item 5: a threshold from one half of the people, tried on the other."""
    log = ItemLog()
    ConvoMem(templates=Templates(seed, persons=24), sizes=(size,)).run(BM25(), MeasureBudget(seed=seed), log)
    sets: dict[tuple[str, bool], list[float]] = {}
    for item in log.items:
        record: Any = item.record
        person = int(item.key.split(" ")[1].split("-")[0][1:])
        sets.setdefault((record["category"], person % 2 == 0), []).append(record["support"])
    bars, false, cost = [], [], []
    for dev in (True, False):  # chosen on one half, tried on the other
        bar = choose_threshold(sets["user_facts", dev], sets["abstention", dev], most_false=0.05)
        bars.append(bar)
        false += [score >= bar for score in sets["abstention", not dev]]
        cost += [score < bar for score in sets["user_facts", not dev]]
    shown = [wilson(sum(found), len(found)) for found in (false, cost)]
    cells = [f"{100 * s.value:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]" for s in shown]
    return table(
        f"5b. Abstention by the share of the question that the best of three hits covers, {size} conversations,"
        f" {len(false)} and {len(cost)} questions, each half judged by the threshold of the other",
        [
            (
                f"false answers at thresholds of {bars[0]:.2f} and {bars[1]:.2f}",
                "<= 10 %",
                cells[0],
                mean(false) <= 0.1,
            ),
            ("cost on user_facts", "<= 10 points", cells[1], mean(cost) <= 0.1),
        ],
    )


# --- the forms of the size router ----------------------------------------------------------------------------------


class Shelf:
    """A memory as the mechanisms of the text room see it."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.counter = StaticTokenCounter()
        self.cubes = list(memory.iterate())

    def search(self, question: str, k: int) -> Hits:
        """Search."""
        return self.memory.search(question, k=k)

    def everything(self, limit: int) -> Sequence[Cube]:
        """Return the cubes in order."""
        return self.cubes[:limit]

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Count."""
        return self.counter.count_many(texts)


def extraction(world: World, items: int, seed: int, size: int = 100) -> list[dict[str, Any]]:
    """Print how much evidence each form without a model brings into one prompt."""
    forms = {
        "hybrid retrieval": SizeRouter(),
        "block extraction": BlockExtract(),
        "one-pass extraction": OnePassExtract(),
    }
    held: dict[str, list[float]] = {name: [] for name in forms}
    ms: dict[str, list[float]] = {name: [] for name in forms}
    chosen = random.Random(seed).sample([i for i in world.items if i.category != "abstention"], items)
    for case in tqdm(list(mixed(chosen, size, world.filler, seed=seed)), "extraction", leave=False):
        with Memory.open(":memory:") as memory:
            passages = passages_of(case.chats)
            memory.add_many(_talks(passages, None))
            shelf, budget = Shelf(memory), Budget(tokens=2000)
            for item in case.items:
                wanted = [message.text for message in item.evidence]
                for name, form in forms.items():
                    start = time.perf_counter()
                    found = form.retrieve(item.question, shelf, budget)
                    ms[name].append(1000 * (time.perf_counter() - start))
                    text = Pack().compose(found.hits, shelf, budget).text
                    held[name].append(mean(line in text for line in wanted))
    print(f"### Evidence in 2,000 tokens without a model, {items} questions, {size} conversations\n")
    print("| form | evidence held | ms |\n|---|---:|---:|")
    for name in forms:
        print(f"| {name} | {100 * mean(held[name]):.1f} % | {np.median(ms[name]):.1f} |")
    print(flush=True)
    return [{"form": name, "held": mean(held[name]), "ms": float(np.median(ms[name]))} for name in forms]


def planner() -> list[dict[str, Any]]:
    """Print item 7."""
    router = SizeRouter(reader=ModelProfile(), most_seconds=5.0)
    budget = Budget(tokens=1_000_000)
    found = {n: router.decide_by_size(tokens, -(-n // 10), budget) for n, tokens in PUBLISHED.items()}
    rows: list[Row] = []
    for n, decision in found.items():
        wants_full = n <= 70
        holds = (decision.form == "full") == wants_full
        limit = "full context" if wants_full else "something else"
        rows.append((f"{n} conversations, {PUBLISHED[n]:,} tokens", limit, decision.note, holds))
    return table("7. The size router on the published curve with a limit of 5 s", rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--items", type=int, default=60, help="questions of the curves, of 360")
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help=f"some of {','.join(SUBJECTS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="OUT", help="default: benchmarks/results/convomem.json")
    options = parser.parse_args(arguments)
    wanted, names = options.only.split(","), options.subjects.split(",")
    if unknown := [*(set(wanted) - set(PARTS)), *(set(names) - set(SUBJECTS))]:
        parser.error(f"there is no {', '.join(unknown)}")
    said = sys.argv[1:] if arguments is None else list(arguments)
    command = shlex.join(["python", "benchmarks/convomem.py", *(a for a in said if not a.startswith("--json="))])
    machine, versions = surroundings()
    start = time.perf_counter()
    print(f"`{command}` on {machine}; " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "\n", flush=True)
    out: dict[str, Any] = {"command": command, "machine": machine, "versions": versions, "seed": options.seed}
    world = Templates(seed=options.seed).world()
    try:
        for part in wanted:
            if part == "invariants":
                out[part] = invariants(world, options.seed)
            elif part == "validity":
                out[part] = validities(world)
            elif part == "dilution":
                out[part], out["reports"] = dilutions(names, options.items, options.seed)
            elif part == "changing":
                out[part] = changing(world, 10, options.seed)
            elif part == "abstention":
                out[part] = abstention(100, options.seed)
            elif part == "extraction":
                out[part] = extraction(world, options.items, options.seed)
            else:
                out[part] = planner()
    except PinyonError as error:
        print(error, file=sys.stderr)
        return 1
    out["seconds"] = time.perf_counter() - start
    file = options.json or ROOT / "benchmarks" / "results" / "convomem.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(out, default=asdict) + "\n", encoding="utf-8")
    print(f"{out['seconds']:.0f} s in all.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
