"""Measure what ConvoMem asks for, without a model: sound questions, dilution curves, and the choice of the size router.

Prints one table for each item of the specification with its limit and whether it holds, and at the end one line for
each item; progress goes to standard error. Questions and filler come from templates, so nothing is needed beside the
package. A part that is measured again replaces itself in the result file; each keeps its command, machine and seconds.

    python benchmarks/convomem.py
    python benchmarks/convomem.py --only invariants,validity,planner
    python benchmarks/convomem.py --only dilution --items 120 --subjects pinyon,bm25,full --json /tmp/curves.json
    python benchmarks/convomem.py --only whole,extraction
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from _convomem_curves import CONTROL, SUBJECTS, Row, dilutions, interval, table, whole
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
    embedding_faults,
    mixed,
    passages_of,
    question_faults,
    standard,
    validity,
    world_bytes,
)
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.stats import bootstrap, difference, wilson
from pinyon.measure.subject import Passage
from pinyon.measure.subjects import BM25
from pinyon.models import StaticTokenCounter
from pinyon.text import Hits, Pack, SizeRouter
from pinyon.text.blocks import BlockExtract, OnePassExtract
from pinyon.text.model_profile import ModelProfile

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("invariants", "validity", "dilution", "whole", "changing", "abstention", "planner", "extraction")
ITEMS = {
    "1. generator and mixer": ("invariants",),
    "2. validity": ("validity",),
    "3. dilution": ("dilution", "whole"),
    "4. categories": ("categories",),
    "5. changing facts and abstention": ("changing", "abstention"),
    "7. size router": ("planner",),
}
"""Items of "works" in the specification, with the parts that show them; the sixth needs a model that reads."""
PUBLISHED = {10: 12_800, 20: 24_600, 30: 36_500, 50: 61_800, 70: 87_000, 100: 125_000, 150: 228_000}
"""Conversations to tokens of user facts, as published; 20, 50 and 70 lie between their neighbours."""


def verdicts(parts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Print one line for each item whose parts were all measured: how many of its statements about pinyon hold."""
    out: list[dict[str, Any]] = []
    for item, names in ITEMS.items():
        if not all(name in parts for name in names):
            continue
        rows = [row for name in names for row in parts[name]["rows"] if not row["what"].startswith(CONTROL)]
        missed = [f"{row['what']}: {row['measured']}" for row in rows if not row["holds"]]
        out.append({"item": item, "holds": not missed, "statements": len(rows), "missed": missed})
    print("### Verdicts\n\n| item | statements that hold | missed |\n|---|---:|---|")
    for one in out:
        held = one["statements"] - len(one["missed"])
        print(f"| {one['item']} | {held} of {one['statements']} | {'; '.join(one['missed'])} |")
    print(flush=True)
    return out


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
    gap = difference(right["explicit"], right["off"])
    shown = "; ".join(f"{mode} {interval(found, 0)}" for mode, found in share.items())
    return table(
        f"5a. Final state in the first hit, {len(items)} changing facts with 3 states or more, {size} conversations",
        [
            (
                "supersession by subject and attribute against none",
                ">= 30 points",
                f"{interval(gap)} ({shown})",
                gap.value >= 0.3,
            )
        ],
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
    cells = [interval(s) for s in shown]
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
    print("| form | evidence held, % | ms |\n|---|---:|---:|")
    shares = {name: bootstrap(held[name], seed=seed) for name in forms}
    for name in forms:
        print(f"| {name} | {interval(shares[name])} | {np.median(ms[name]):.1f} |")
    print(flush=True)
    return [{"form": name, "held": asdict(shares[name]), "ms": float(np.median(ms[name]))} for name in forms]


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
    parser.add_argument("--jobs", type=int, default=2, help="subjects that are measured at a time")
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
    file = options.json or ROOT / "benchmarks" / "results" / "convomem.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    world = Templates(seed=options.seed).world()
    for part in wanted:
        begun = time.perf_counter()
        try:
            found = measured(part, world, names, options)
        except PinyonError as error:
            print(error, file=sys.stderr)
            return 1
        about = {"command": command, "machine": machine, "versions": versions, "seed": options.seed}
        about["seconds"] = round(time.perf_counter() - begun, 1)
        kept = written(file)
        kept["parts"][part] = about | found
        if "categories" in found:
            kept["parts"]["categories"] = about | {"rows": found.pop("categories")}
            del kept["parts"][part]["categories"]
        file.write_text(json.dumps(kept, default=asdict) + "\n", encoding="utf-8")
    kept = written(file)
    kept["verdicts"] = verdicts(kept["parts"])
    file.write_text(json.dumps(kept, default=asdict) + "\n", encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} s in all.")
    return 0


def written(file: Path) -> dict[str, Any]:
    """Return what a result file holds, or an empty one."""
    if file.exists():
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(kept.get("parts"), dict):
            return kept
    return {"parts": {}}


def measured(part: str, world: World, names: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Measure one part."""
    seed: int = options.seed
    if part == "dilution":
        return dilutions(names, options.items, seed, options.jobs)
    if part == "whole":
        return whole(seed, options.jobs)
    rows: Mapping[str, Callable[[], list[dict[str, Any]]]] = {
        "invariants": lambda: invariants(world, seed),
        "validity": lambda: validities(world),
        "changing": lambda: changing(world, 10, seed),
        "abstention": lambda: abstention(100, seed),
        "planner": planner,
        "extraction": lambda: extraction(world, options.items, seed),
    }
    return {"rows": rows[part]()}


if __name__ == "__main__":
    raise SystemExit(main())
