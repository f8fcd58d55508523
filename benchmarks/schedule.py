"""Measure the scheduler: what is kept at hand, what is worth building, and a queue whose workers are killed.

Prints Markdown tables with the limits; progress goes to stderr. The words are those of the Python reference that comes
with Python (``pydoc_data.topics``), embedded by the static embedder, so the runs need no other data and no network.

Example:
    python benchmarks/schedule.py
    python benchmarks/schedule.py --only shift,zipf,compute --seeds 5
    python benchmarks/schedule.py --only queue --jobs 10000 --workers 4 --json results/schedule.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pydoc_data.topics import topics
from statistics import mean
from typing import Any

import numpy as np

from pinyon.core.budget import Budget, Footprint
from pinyon.core.clock import SystemClock
from pinyon.index import Analyzer
from pinyon.models import StaticEmbedder
from pinyon.schedule import (
    POLICIES,
    Built,
    Context,
    CostModel,
    Found,
    Heat,
    Item,
    Listener,
    Patience,
    Promoter,
    Queue,
    StateRules,
    Task,
    WorkingSet,
)
from pinyon.store import MemoryEngine, SqliteEngine
from pinyon.testing import FixedClock, WordCounter

TOPICS = ("debugger", "string-methods")  # the two topics of the trace that have most to say and least in common
OTHERS = ("import", "comparisons", "assignment", "execmodel", "customization")
HAND = 20  # memories at hand in the topic-shift trace: MemOS, official code
QUESTION_WORDS = 16
SMOLLM = CostModel(t_direct=11.3 / 1560, t_cached=0.26 / 1560, t_build=10.0 / 1560, bytes_per_token=46_080)
"""SmolLM2-135M in fp32 on one core with 1,560 tokens of context, as measured in the specification."""


@dataclass
class World:
    """Memories with their vectors."""

    texts: list[str]
    topics: list[str]
    vectors: np.ndarray
    embedder: StaticEmbedder
    tokens: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, names: Sequence[str], most: int | None = None) -> World:
        pairs = [(text, name) for name in names for text in paragraphs(name)]
        kept = list(dict(reversed(pairs)).items())[::-1][:most]
        texts = [text for text, _ in kept]
        embedder = StaticEmbedder()
        counts = WordCounter().count_many(texts)
        return cls(texts, [topic for _, topic in kept], embedder.embed(texts), embedder, counts)

    def question(self, row: int) -> str:
        """Return how a memory begins: what somebody asks who is after it."""
        return " ".join(self.texts[row].split()[:QUESTION_WORDS])


def paragraphs(name: str) -> list[str]:
    found = (" ".join(part.split()) for part in re.split(r"\n\s*\n", topics[name]))
    return [text for text in found if 60 <= len(text) <= 600 and text[0].isalpha()]


class States:
    """The states of a trace: the promotion rule decides after each question, and its jobs are done at once.

    A prompt holds the memories at hand, so each question uses them all. They have been the same for two sessions.

    Args:
        world: The memories.
        clock: Of the trace.
        most: Memories of average length whose states fit the budget.
        only_at_hand: Whether the rule looks at the memories at hand alone, so that a state goes with its memory; else
            it looks at every memory that was ever used, over its horizon of a week.
    """

    def __init__(self, world: World, clock: FixedClock, most: int, *, only_at_hand: bool) -> None:
        engine = MemoryEngine()
        self._world, self._only_at_hand = world, only_at_hand
        self._heat, self._queue = Heat(engine.usage, clock), Queue(engine.jobs, clock)
        self._room = int(most * mean(world.tokens)) * SMOLLM.bytes_per_token
        self._promoter = Promoter(self._queue, SMOLLM, StateRules(price=0.0), Budget(bytes=self._room))
        self._worker = self._queue.worker({"convert": self._convert, "drop": self._drop}, "bench")
        self._seen: set[int] = set()
        self.built: dict[int, Built] = {}
        self.text_s = self.scheduled_s = 0.0

    def follow(self, at_hand: Sequence[int]) -> None:
        """Take the memories at hand for one question as read, and let the rule decide."""
        for row in at_hand:
            self.text_s += SMOLLM.t_direct * self._world.tokens[row]
            each = SMOLLM.t_cached if row in self.built else SMOLLM.t_direct
            self.scheduled_s += each * self._world.tokens[row]
        self._heat.note(list(at_hand))
        self._seen |= set(at_hand)
        rates = self._heat.rates(sorted(at_hand if self._only_at_hand else self._seen))
        items = [
            Item(row, cost=Footprint(tokens=self._world.tokens[row]), rate=rate, sessions=2, digest=str(row))
            for row, rate in rates.items()
        ]
        decided = self._promoter.states(items, list(self.built.values()))
        self._savings = {one.row: one.saving for one in decided if one.verb == "promote"}
        self._worker.run()
        if sum(self._world.tokens[row] for row in self.built) * SMOLLM.bytes_per_token > self._room:
            raise SystemExit("the budget of the states was exceeded")

    def of(self, topic: str) -> int:
        """Return how many states of a topic are held."""
        return sum(self._world.topics[row] == topic for row in self.built)

    def _convert(self, task: Task) -> None:
        row = int(str(task.arguments["row"]))
        self.built[row] = Built(row, str(row), self._savings[row])
        self.scheduled_s += SMOLLM.t_build * self._world.tokens[row]

    def _drop(self, task: Task) -> None:
        self.built.pop(int(str(task.arguments["row"])))


def topic_shift(seed: int, policy: str = "value", questions: int = 60, apart_s: float = 20) -> dict[str, Any]:
    """Ask about one topic, then about another, and see how fast the memories at hand, and their states, follow.

    A listener that finds at hand what a question needs searches again after ten seconds only, so that questions which
    come faster than that are followed more slowly.
    """
    world, chance, clock = World.of((*TOPICS, *OTHERS)), random.Random(seed), FixedClock()
    uses: Counter[int] = Counter()

    def search(text: str, limit: int) -> list[Found]:
        scores = world.vectors @ world.embedder.embed_query(text)
        rows = np.argsort(-scores, kind="stable")[:limit].tolist()
        return [Found(item(row), world.texts[row], world.vectors[row]) for row in rows]

    def item(row: int) -> Item:
        uses[row] += 1  # shown as a hit
        return Item(row, cost=Footprint(tokens=1), uses=uses[row], last=clock.now())

    working = WorkingSet(Budget(tokens=HAND), POLICIES[policy]())
    listener = Listener(working, search, world.embedder.embed_query, Analyzer().terms, clock)
    searches, shares, needed = 0, [], None
    states = {name: States(world, clock, HAND, only_at_hand=name == "at hand") for name in ("at hand", "a week")}
    held: dict[str, list[int]] = {name: [] for name in states}
    for turn in range(2 * questions):
        topic = TOPICS[turn >= questions]
        row = chance.choice([row for row, name in enumerate(world.topics) if name == topic])
        searches += listener.hear(world.question(row)).has_searched
        clock.advance(apart_s)
        for name, kept in states.items():
            kept.follow(list(working.rows))
            held[name].append(kept.of(TOPICS[0]))
        if turn >= questions:
            share = mean(world.topics[r] == TOPICS[1] for r in working.rows) if working.rows else 0.0
            shares.append(share)
            if share >= 0.8 and needed is None:
                needed = turn - questions + 1
    of_states = {
        name: {
            "topic_1_before": held[name][questions - 1],
            "topic_1_after_8": held[name][questions + 7],
            "topic_2_at_end": kept.of(TOPICS[1]),
            "ratio": kept.scheduled_s / kept.text_s,
        }
        for name, kept in states.items()
    }
    return {
        "share_after_8": shares[7], "questions_to_80": needed, "searches": searches, "held": len(working.rows),
        "states": of_states,
    }  # fmt: skip


class ByChance:
    """A baseline: a place is worth a number drawn at random."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def score(self, item: Item, context: Context) -> float:  # noqa: ARG002  # the protocol's
        return self._chance.random()


def zipf_rows(number: int, requests: int, seed: int) -> list[int]:
    """Return rows drawn by Zipf's law with exponent 1."""
    chance = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, number + 1)
    order = chance.permutation(number)
    return order[chance.choice(number, size=requests, p=weights / weights.sum())].tolist()


def zipf(seed: int, requests: int = 5000, memories: int = 500, share: float = 0.1) -> dict[str, float]:
    """Return the share of requests for a memory that was at hand, for each policy."""
    names = sorted(topics, key=lambda name: (-len(paragraphs(name)), name))
    world = World.of(names, memories)
    asked = zipf_rows(len(world.texts), requests, seed)
    questions = world.embedder.embed([world.question(row) for row in asked])
    cosines = questions @ world.vectors.T
    policies: dict[str, Any] = {name: make() for name, make in POLICIES.items()}
    policies["random"] = ByChance(seed)
    most = int(share * sum(world.tokens))
    found = {name: hit_ratio(world, asked, cosines, policy, Budget(tokens=most)) for name, policy in policies.items()}
    return {
        **found,
        "random victim": random_victims(world, asked, most, seed),
        "hindsight": hindsight(world, asked, most),
    }


def random_victims(world: World, asked: Sequence[int], most: int, seed: int) -> float:
    """The other baseline: what is asked for always comes in, and who leaves for it is drawn at random."""
    chance, held, used, hits = random.Random(seed), [], 0, 0
    for row in asked:
        if row in held:
            hits += 1
            continue
        while used + world.tokens[row] > most:
            used -= world.tokens[held.pop(chance.randrange(len(held)))]
        held.append(row)
        used += world.tokens[row]
    return hits / len(asked)


def hindsight(world: World, asked: Sequence[int], most: int) -> float:
    """The best choice that never changes, made after all requests are known: about the most that is possible."""
    used = hits = 0
    counts = Counter(asked)
    for row in sorted(counts, key=lambda row: -counts[row] / world.tokens[row]):
        if used + world.tokens[row] <= most:
            used += world.tokens[row]
            hits += counts[row]
    return hits / len(asked)


def hit_ratio(world: World, asked: Sequence[int], cosines: np.ndarray, policy: Any, budget: Budget) -> float:
    clock, hits = FixedClock(), 0
    working = WorkingSet(budget, policy)
    items = {row: Item(row, cost=Footprint(tokens=tokens)) for row, tokens in enumerate(world.tokens)}
    labels = [frozenset({topic}) for topic in world.topics]
    most = 0
    for row, near in zip(asked, cosines, strict=True):
        hits += row in working.rows
        old = items[row]
        items[row] = replace(old, uses=old.uses + 1, last=clock.now(), labels=labels[row])
        most = max(most, items[row].uses)
        seen = {other: float(near[other]) for other in (*working.rows, row)}
        working.offer([items[row]], Context(clock.now(), seen, labels[row], most))
        clock.advance(600)
    return hits / len(asked)


def compute(seed: int, price: float, days: int = 28, a_day: int = 200, memories: int = 500) -> dict[str, float]:
    """Return the seconds of a model that reads every requested memory, with promotion to state and without."""
    names = sorted(topics, key=lambda name: (-len(paragraphs(name)), name))
    world = World.of(names, memories)
    asked, clock, engine = zipf_rows(len(world.texts), days * a_day, seed), FixedClock(), MemoryEngine()
    heat, queue = Heat(engine.usage, clock), Queue(engine.jobs, clock)
    state_bytes = SMOLLM.bytes_per_token * sum(world.tokens)
    promoter = Promoter(queue, SMOLLM, StateRules(price=price), Budget(bytes=state_bytes // 10))
    built: dict[int, Built] = {}
    days_seen: dict[int, set[int]] = {}
    direct = scheduled = built_s = 0.0

    def convert(task: Task) -> None:
        nonlocal built_s
        row = int(str(task.arguments["row"]))
        built[row] = Built(row, world.texts[row], savings[row])
        built_s += SMOLLM.t_build * world.tokens[row]

    def drop(task: Task) -> None:
        built.pop(int(str(task.arguments["row"])))

    worker = queue.worker({"convert": convert, "drop": drop}, "bench")
    for day in range(days):
        for row in asked[day * a_day : (day + 1) * a_day]:
            tokens = world.tokens[row]
            direct += SMOLLM.t_direct * tokens
            scheduled += (SMOLLM.t_cached if row in built else SMOLLM.t_direct) * tokens
            days_seen.setdefault(row, set()).add(day)
            heat.note([row])
            clock.advance(86_400 / a_day)
        rates = heat.rates(list(days_seen))
        items = [
            Item(row, cost=Footprint(tokens=world.tokens[row]), rate=rate, sessions=len(days_seen[row]),
                 digest=world.texts[row])
            for row, rate in rates.items()
        ]  # fmt: skip
        decided = promoter.states(items, list(built.values()))
        savings = {one.row: one.saving for one in decided if one.verb == "promote"}
        worker.run()
        used = sum(SMOLLM.bytes_per_token * world.tokens[row] for row in built)
        if used > state_bytes // 10:
            raise SystemExit(f"the budget was exceeded: {used:,} bytes")
    return {
        "text_s": direct, "scheduled_s": scheduled + built_s, "built_s": built_s, "states": len(built),
        "ratio": (scheduled + built_s) / direct,
    }  # fmt: skip


def killed(path: Path, jobs: int, workers: int, kills: int, seed: int) -> dict[str, Any]:
    """Let processes work through a queue, kill them at random, and count what became of each job."""
    engine = SqliteEngine(path, durability="normal")
    queue = Queue(engine.jobs, SystemClock())
    start = time.perf_counter()
    for number in range(jobs):
        queue.add("count", {"number": number}, most_attempts=1000)
    added_s = time.perf_counter() - start
    chance, dead = random.Random(seed), 0
    start = time.perf_counter()
    running = {process.pid: process for process in (worker_process(path) for _ in range(workers))}
    while (counts := queue.counts())["waiting"] + counts["running"]:
        time.sleep(chance.uniform(0.1, 0.6))
        print(f"\r{counts['done']:,} done, {dead} killed", end="", file=sys.stderr)
        holding = {int(job.worker.split("-")[0]) for job in engine.jobs.find(states=["running"])} & running.keys()
        if dead < kills and holding:  # not one that is still starting
            victim = running.pop(chance.choice(sorted(holding)))
            os.kill(victim.pid, signal.SIGKILL)
            dead += victim.wait() == -signal.SIGKILL
            fresh = worker_process(path)
            running[fresh.pid] = fresh
    codes = [process.wait(timeout=120) for process in running.values()]
    seconds = time.perf_counter() - start
    print(file=sys.stderr)
    effects = [engine.setting(f"effect-{number}") for number in range(jobs)]
    again = sum(job.attempts > 1 for job in engine.jobs.find(limit=jobs))
    problems = engine.problems()
    engine.close()
    return {
        "jobs": jobs, "workers": workers, "killed": dead, "begun_again": again, "counts": counts,
        "lost": effects.count(None), "once": effects.count("1"), "more_than_once": jobs - effects.count("1")
        - effects.count(None), "exit_codes": codes, "problems": problems, "added_per_s": jobs / added_s,
        "done_per_s": jobs / seconds,
    }  # fmt: skip


def worker_process(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--work", str(path)])


def work(path: Path) -> None:
    """Do what `killed` asks of each process."""
    engine = SqliteEngine(path, durability="normal")

    def count(task: Task) -> None:
        with engine.transaction() as tx:
            name = f"effect-{task.arguments['number']}"
            tx.set_setting(name, str(int(tx.setting(name) or 0) + 1))
            task.finish()

    queue = Queue(engine.jobs, SystemClock(), patience=Patience(lease=timedelta(seconds=2)))
    worker = queue.worker({"count": count})
    while (counts := queue.counts())["waiting"] + counts["running"]:
        if not worker.run():
            time.sleep(0.05)
    worker.close()
    engine.close()


def interval(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def report_shift(seeds: int) -> tuple[list[str], dict[str, Any]]:
    lines = [f"### Topic shift: 60 questions on {TOPICS[0]}, then 60 on {TOPICS[1]}; {HAND} memories at hand", ""]
    lines += [
        "| policy | share of topic 2 after 8 | questions to 80 %, worst | searches of 120 | limit |",
        "|---|---|---|---|---|",
    ]
    out: dict[str, Any] = {}
    for policy, apart_s in [*((name, 20) for name in sorted(POLICIES)), ("value", 5)]:
        runs = [topic_shift(seed, policy, apart_s=apart_s) for seed in range(seeds)]
        out[f"{policy}, {apart_s} s"] = runs
        worst = max((run["questions_to_80"] or 99 for run in runs), default=0)
        verdict = f"80 % within 8: {'met' if worst <= 8 else 'MISSED'}" if (policy, apart_s) == ("value", 20) else ""
        shares = interval([run["share_after_8"] for run in runs])
        searches = mean(run["searches"] for run in runs)
        slowest = str(worst) if worst < 99 else "never"
        lines.append(f"| {policy}, {apart_s} s apart | {shares} | {slowest} | {searches:.0f} | {verdict} |")
    return [*lines, "", *report_states(out["value, 20 s"])], out


def report_states(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return what became of topic 1's states, of the runs of `value` with 20 s between questions."""
    lines = [f"States of topic 1 in those runs (`value`, 20 s apart); room for {HAND} of average length", ""]
    lines += [
        "| the rule looks at | held before the shift | after 8 questions | of topic 2 at the end | seconds / text only"
        " | limit |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("at hand", "a week"):
        found = [run["states"][name] for run in runs]
        before, after, others = (
            f"{mean(one[key] for one in found):.1f}" for key in ("topic_1_before", "topic_1_after_8", "topic_2_at_end")
        )
        limit = ""
        if name == "at hand":
            is_met = all(one["topic_1_after_8"] <= 0.2 * one["topic_1_before"] for one in found)
            limit = f"≤ 20 % of before, each run: {'met' if is_met else 'MISSED'}"
        ratio = interval([one["ratio"] for one in found])
        what = "the memories at hand" if name == "at hand" else "every memory, over a week"
        lines.append(f"| {what} | {before} | {after} | {others} | {ratio} | {limit} |")
    return lines


def report_zipf(seeds: int) -> tuple[list[str], dict[str, Any]]:
    runs = [zipf(seed) for seed in range(seeds)]
    lines = ["### Zipf(1.0): 500 memories, 5,000 requests, a budget of 10 % of their tokens", ""]
    lines += ["| policy | hit ratio | / random | limit |", "|---|---|---|---|"]
    for policy in sorted(runs[0], key=lambda name: -mean(run[name] for run in runs)):
        over = mean(run[policy] / run["random"] for run in runs)
        limit = ""
        if policy == "value":
            is_met = all(run["value"] >= run["lru"] and run["value"] >= 1.5 * run["random"] for run in runs)
            limit = f"≥ lru and ≥ 1.5 × random in each run: {'met' if is_met else 'MISSED'}"
        lines.append(f"| {policy} | {interval([run[policy] for run in runs])} | {over:.2f} | {limit} |")
    return lines, {"runs": runs}


def report_compute(seeds: int) -> tuple[list[str], dict[str, Any]]:
    lines = ["### Seconds of SmolLM2-135M on one core: 5,600 requests in 28 days, state budget 10 %", ""]
    lines += ["| price, s/byte | text only, s | scheduled, s | of that building, s | ratio | limit |"]
    lines += ["|---|---|---|---|---|---|"]
    out: dict[str, Any] = {}
    for price in (0.0, 1e-8, 1e-7, float("inf")):
        runs = [compute(seed, price) for seed in range(seeds)]
        out[str(price)] = runs
        ratios = [run["ratio"] for run in runs]
        is_met = all(ratio == 1.0 for ratio in ratios) if price == float("inf") else max(ratios) < 1.0
        limit = f"{'= 1' if price == float('inf') else '< 1'}: {'met' if is_met else 'MISSED'}"
        text, ours, built = (mean(run[name] for run in runs) for name in ("text_s", "scheduled_s", "built_s"))
        lines.append(f"| {price:g} | {text:,.0f} | {ours:,.0f} | {built:,.0f} | {interval(ratios)} | {limit} |")
    return lines, out


def report_queue(jobs: int, workers: int, kills: int) -> tuple[list[str], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        found = killed(Path(folder, "memory.db"), jobs, workers, kills, seed=5)
    is_met = found["once"] == jobs == found["counts"]["done"] and not found["problems"]
    lines = [f"### Queue: {workers} processes, {jobs:,} jobs, {found['killed']} of them killed (`kill -9`)", ""]
    lines += [
        "| done | lost | effects once | effects twice | begun again | jobs/s | limit |",
        "|---|---|---|---|---|---|---|",
    ]
    lines.append(
        f"| {found['counts']['done']:,} | {found['lost']} | {found['once']:,} | {found['more_than_once']} |"
        f" {found['begun_again']} | {found['done_per_s']:,.0f} | each done, once: {'met' if is_met else 'MISSED'} |"
    )
    return lines, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="shift,zipf,compute,queue")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work is not None:
        work(given.work)
        return
    reports: dict[str, Callable[[], tuple[list[str], dict[str, Any]]]] = {
        "shift": lambda: report_shift(given.seeds),
        "zipf": lambda: report_zipf(given.seeds),
        "compute": lambda: report_compute(given.seeds),
        "queue": lambda: report_queue(given.jobs, given.workers, given.kills),
    }
    names = given.only.split(",")
    if unknown := [name for name in names if name not in reports]:
        parser.error(f"{unknown} is none of {', '.join(reports)}")
    command = " ".join(["python", "benchmarks/schedule.py", *sys.argv[1:]])
    header = {"command": command, "python": sys.version.split()[0],
              "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
              "time": datetime.now(UTC).isoformat(timespec="seconds"), "seeds": given.seeds}  # fmt: skip
    print("\n".join(f"{name}: {value}" for name, value in header.items()), end="\n\n")
    cells: dict[str, Any] = {}
    for name in names:
        start = time.perf_counter()
        lines, cells[name] = reports[name]()
        print("\n".join(lines), f"\n({time.perf_counter() - start:.0f} s)\n", sep="\n", flush=True)
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({**header, "cells": cells}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
