"""Retrieval heads of a small model: found, checked by silencing them, given the memory they need, and audited.

A  the search: how many heads, in which layers, how long it takes; two halves of it without a common fact
B  the cause: the best heads silenced, and as many others ten times, on facts that were not used to find them
C  the cache: budgets by heads against even ones at equal bytes, the question not yet known
D  the audit: is an answer read or invented, on questions that can be answered and that cannot

`run` is called by `state.py`, which prints the tables.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from pinyon.measure.stats import wilson
from pinyon.models.backbone import Backbone
from pinyon.models.cache import StateCache
from pinyon.state import CachePolicy, SinkWindow, SnapKV, compress
from pinyon.state.head_check import HeadCheck, check_heads
from pinyon.state.head_profile import HeadProfile, stability
from pinyon.state.mean_token import compress_with_mean
from pinyon.state.needle_prompts import (
    CHECK_FACTS,
    FIND_FACTS,
    HELD_FACTS,
    NeedleFact,
    NeedlePrompt,
    first_line,
    hide_facts,
    needle_prompt,
    reference_sentences,
    word_recall,
)
from pinyon.state.read_audit import Source, answer_with_audit
from pinyon.state.retrieval_heads import RetrievalHeads, find_heads

PARTS = "ABCD"
KNOWN_TOP = {(17, 3), (18, 6), (23, 2), (18, 7), (17, 4)}  # of SmolLM2-135M-Instruct, the specification
SHARES = (0.3,)  # of the bytes of a whole cache
ANSWER_TOKENS = 16
Row = dict[str, Any]
Cutter = Callable[[StateCache, int], None]


def run(
    backbone: Backbone,
    small: bool = False,
    *,
    only: str = PARTS,
    profile: HeadProfile | None = None,
    told: Callable[[str], object] | None = None,
) -> dict[str, list[Row]]:
    """Measure, and compare with the limits.

    Args:
        backbone: SmolLM2-135M-Instruct; of another model the layers and names of heads are only shown.
        small: A few of everything, for a first impression.
        only: Letters of the parts.
        profile: Of an earlier search with `FIND_FACTS`, instead of part A.
        told: Told what is done.

    Returns:
        Rows, each with its part, and limits with what was measured and whether it holds.
    """
    told = told or (lambda _: None)
    rows: list[Row] = []
    limits: list[Row] = []
    if profile is None or "A" in only:
        profile = _search(backbone, small, rows, limits, told)
    for part, work in (("B", _cause), ("C", _budgets), ("D", _audit)):
        if part in only:
            work(backbone, profile, small, rows, limits, told)
    shown = [{"what": one["what"], "shown": one["measured"]} for one in limits if one["holds"] is None]
    return {"rows": rows + shown, "limits": [one for one in limits if one["holds"] is not None]}


def _search(
    backbone: Backbone, small: bool, rows: list[Row], limits: list[Row], told: Callable[[str], object]
) -> HeadProfile:
    begun, processor = time.perf_counter(), time.process_time()
    options: dict[str, Any] = {"lengths": (400,), "trials": 8} if small else {"trials": 16}
    profile = find_heads(backbone, FIND_FACTS, **options, progress=lambda done, _: told(f"trial {done}"))
    wall, spent = time.perf_counter() - begun, time.process_time() - processor
    scores, found = profile.scores, profile.retrieval_heads
    deep = [head for head in found if 17 <= head[0] <= 24]
    share = len(found) / len(scores)
    kv_heads = sum(score >= profile.threshold for layer in profile.kv_scores() for score in layer)
    rows.append(
        {
            "part": "A",
            "trials": len(profile.trials),
            "counted": len(profile.counted),
            "seconds": round(wall, 1),
            "processor_seconds": round(spent, 1),
            "heads": len(found),
            "share": round(share, 4),
            "zero": round(sum(score == 0 for score in scores.values()) / len(scores), 4),
            "kv_heads": kv_heads,
            "top": [[*head, round(scores[head], 3), round(profile.activation[head], 2)] for head in found[:20]],
        }
    )
    _limit(limits, "heads in layers 17 to 24", ">= 5", len(deep), len(deep) >= 5)
    _limit(limits, "trials that count", ">= 10", len(profile.counted), None if small else len(profile.counted) >= 10)
    _limit(limits, "processor seconds of the search", "< 180", round(spent), None if small else spent < 180)
    alike = len(set(profile.ranked[:5]) & KNOWN_TOP)
    _limit(limits, "of the top five, known from the specification", ">= 3", alike, None if small else alike >= 3)
    _limit(limits, "share of heads at or above 0.1", "0.02 to 0.09", round(share, 3), 0.02 <= share <= 0.09)
    halves = [replace(profile, trials=profile.trials[start::2]) for start in (0, 1)]  # no fact is in both
    same = stability(*halves)
    rows.append({"part": "A", "halves": [len(half.counted) for half in halves], "correlation": round(same, 3)})
    _limit(limits, "correlation of two searches without a common fact", ">= 0.7", round(same, 3), same >= 0.7)
    return profile


def _cause(
    backbone: Backbone,
    profile: HeadProfile,
    small: bool,
    rows: list[Row],
    limits: list[Row],
    told: Callable[[str], object],
) -> None:
    text = backbone.encode(" ".join(reference_sentences()[300:340]))[: 150 if small else 400]
    used = {trial.told for trial in profile.trials}
    facts = [fact for fact in CHECK_FACTS if fact.told not in used][: 6 if small else 16]
    found = check_heads(
        backbone,
        profile,
        facts,
        counts=(5,) if small else (5, 10),
        draws=10,
        lengths=(300,) if small else (600,),
        max_tokens=ANSWER_TOKENS,
        text=text,
        progress=lambda done, all_: told(f"masking {done} of {all_}"),
    )
    rows += _masked(found)
    top, others = found.points_lost(5)
    _limit(limits, "points of recall that the best 5 cost", ">= 50", round(top, 1), top >= 50)
    _limit(limits, "points of recall that 5 others cost, mean of 10 draws", "<= 10", round(others, 1), others <= 10)
    worst = max(100 * (found.whole.recall - row.recall) for row in found.others(5))
    _limit(limits, "the same, worst of 10 draws", "shown", round(worst, 1), None)
    if not small:
        ten, mean = found.top(10), fmean(row.recall for row in found.others(10))
        _limit(limits, "recall without the best 10, by that without 10 others", "<= 0.4", round(ten.recall / mean, 3),
               ten.recall <= 0.4 * mean)  # fmt: skip
        rise = (ten.loss or 0.0) - (found.whole.loss or 0.0)
        _limit(limits, "nats of loss that the best 10 cost on ordinary text", "< 0.3", round(rise, 3), rise < 0.3)
        everywhere = check_heads(
            backbone, profile, facts[:6], counts=(5,), draws=2, max_tokens=ANSWER_TOKENS, when="everywhere",
            progress=lambda done, all_: told(f"masking everywhere {done} of {all_}"),
        )  # fmt: skip
        rows += _masked(everywhere)
        cost, _ = everywhere.points_lost(5)
        _limit(limits, "points that the best 5 cost when silent in the prompt too", "shown", round(cost, 1), None)


def _masked(found: HeadCheck) -> list[Row]:
    return [
        {
            "part": "B",
            "when": found.when,
            "needles": len(found.facts),
            "which": row.which,
            "count": len(row.heads),
            "draw": row.draw,
            "recall": round(row.recall, 4),
            "loss": None if row.loss is None else round(row.loss, 4),
        }
        for row in found.rows
    ]


def _budgets(
    backbone: Backbone,
    profile: HeadProfile,
    small: bool,
    rows: list[Row],
    limits: list[Row],
    told: Callable[[str], object],
) -> None:
    """Cut each prompt once under every policy; only facts that the whole cache answers count."""
    length, wanted = (300, 3) if small else (600, 10)
    depths = (0.1, 0.3, 0.5, 0.7)
    recalls: dict[tuple[float, str], list[float]] = {}
    sizes: dict[tuple[float, str], list[float]] = {}
    kept: list[float] = []
    for number, fact in enumerate(HELD_FACTS):  # the policies were shaped with the others in view
        if len(kept) == wanted:
            break
        prompt = needle_prompt(backbone, fact, length=length, depth=depths[number % 4], seed=3000 + number)
        cache = backbone.cache()
        backbone.prefill(prompt.context, cache)
        whole = _recall(backbone, prompt, cache.clone())
        if whole <= 0.5:
            continue
        kept.append(whole)
        for share in SHARES:
            entries = int(share * len(prompt.context))
            for name, cut in _cutters(backbone, profile, len(prompt.context), number).items():
                told(f"needle {len(kept)}, {name}, {share:g}")
                mine = cache.clone()
                cut(mine, entries)
                sizes.setdefault((share, name), []).append(mine.nbytes / cache.nbytes)
                recalls.setdefault((share, name), []).append(_recall(backbone, prompt, mine))
    rows.append(
        {"part": "C", "policy": "whole cache", "bytes": 1.0, "recall": round(fmean(kept), 4), "needles": wanted}
    )
    for (share, name), found in recalls.items():
        right = wilson(sum(one > 0.5 for one in found), len(found))
        rows.append(
            {
                "part": "C",
                "policy": name,
                "budget": share,
                "bytes": round(fmean(sizes[share, name]), 4),
                "recall": round(fmean(found), 4),
                "repeated": [round(right.value, 3), round(right.low, 3), round(right.high, 3)],
                "needles": len(found),
            }
        )
    _budget_limits(limits, {key: fmean(found) for key, found in recalls.items()}, fmean(kept), sizes)


def _budget_limits(
    limits: list[Row],
    mean: Mapping[tuple[float, str], float],
    whole: float,
    sizes: Mapping[tuple[float, str], list[float]],
) -> None:
    for share in SHARES:
        ours = mean[share, "full heads"]
        _limit(limits, f"recall of full heads at {share:.0%} of the bytes, by that of all", ">= 0.9",
               round(ours / whole, 3), ours >= 0.9 * whole)  # fmt: skip
        for name in ("random heads", "even, latest"):
            there = mean[share, name]
            _limit(limits, f"the same of {name}", "< 0.5", round(there / whole, 3), there < 0.5 * whole)
        even = max(mean[share, "even, latest"], mean[share, "even, SnapKV"])
        best = max(ours, mean[share, "shared by score, SnapKV"])
        _limit(limits, f"best by heads less best even at {share:.0%}", "> 0", round(best - even, 3), best > even)
        spread = [fmean(found) for (at, _), found in sizes.items() if at == share]
        _limit(limits, f"largest part of the bytes at {share:.0%}", f"<= {share}", round(max(spread), 4),
               max(spread) <= share)  # fmt: skip


def _cutters(backbone: Backbone, profile: HeadProfile, length: int, seed: int) -> dict[str, Cutter]:
    full = RetrievalHeads(profile, recent=24, length=length)
    every = [(layer, group) for layer in range(profile.layers) for group in range(profile.kv_heads)]
    others = sorted(set(every) - set(full.full_heads))
    drawn = tuple(random.Random(seed).sample(others, min(len(others), len(full.full_heads))))  # as many
    policies: dict[str, CachePolicy] = {
        "full heads": full,
        "full heads, those that copy alone": RetrievalHeads(profile, recent=24, length=length, finders=None),
        "random heads": RetrievalHeads(profile, recent=24, length=length, chosen=drawn),
        "even, latest": SinkWindow(positions="original"),
        "even, SnapKV": SnapKV(),
        "shared by score, SnapKV": RetrievalHeads(profile, "shared", SnapKV(), recent=16, length=length),
    }

    def cutter(policy: CachePolicy) -> Cutter:
        return lambda cache, entries: _done(compress(backbone, cache, policy, entries=entries))

    cuts = {name: cutter(policy) for name, policy in policies.items()}
    cuts["full heads, mean token"] = lambda cache, entries: _done(
        compress_with_mean(backbone, cache, full, entries=entries)
    )
    return cuts


def _done(_: object) -> None:
    """Forget what a cut says of itself."""


def _recall(backbone: Backbone, prompt: NeedlePrompt, cache: StateCache) -> float:
    said = backbone.continuation(prompt.question, cache, max_tokens=ANSWER_TOKENS).text
    return word_recall(prompt.asked.answer, first_line(said))


def _audit(
    backbone: Backbone,
    profile: HeadProfile,
    small: bool,
    rows: list[Row],
    limits: list[Row],
    told: Callable[[str], object],
) -> None:
    """Hide four facts in each text; ask for them, and for the facts of the next text."""
    facts = [*FIND_FACTS, *CHECK_FACTS]
    random.Random(5).shuffle(facts)
    groups = [facts[start : start + 4] for start in range(0, 8 if small else 44, 4)]
    seen: list[Row] = []
    for number, group in enumerate(groups):
        length, depths = (330, 500)[not small], (0.1, 0.35, 0.6, 0.85)
        prompt = hide_facts(backbone, group, depths, length=length, asked=group[0], seed=4000 + number)
        sources = [Source(str(place), *hidden.sentence) for place, hidden in enumerate(prompt.hidden)]
        cache = backbone.cache()
        backbone.prefill(prompt.context, cache)
        for is_there, asked in ((True, group), (False, groups[(number + 1) % len(groups)])):
            for fact in asked:
                told(f"audit {len(seen) + 1}")
                seen.append(_audited(backbone, profile, prompt, cache.clone(), fact, sources, is_there))
    answered = [row for row in seen if row["is_there"] and row["recall"] > 0.5][:40]
    unanswerable = [row for row in seen if not row["is_there"]][:40]
    for name in ("grounded", "on_sources"):
        found = auroc([row[name] for row in answered], [row[name] for row in unanswerable])
        rows.append(
            {
                "part": "D",
                "sign": name,
                "answered": len(answered),
                "unanswerable": len(unanswerable),
                "auroc": round(found, 4),
                "mean_answered": round(fmean(row[name] for row in answered), 4),
                "mean_unanswerable": round(fmean(row[name] for row in unanswerable), 4),
            }
        )
        _limit(limits, f"AUROC of {name}", ">= 0.8", round(found, 3), found >= 0.8 if name == "grounded" else None)
    flagged = sum(row["is_suspect"] for row in unanswerable), sum(row["is_suspect"] for row in answered)
    grounded = sum(row["is_grounded"] for row in unanswerable), sum(row["is_grounded"] for row in answered)
    rows.append(
        {
            "part": "D",
            "suspect_unanswerable": flagged[0],
            "suspect_answered": flagged[1],
            "grounded_unanswerable": grounded[0],
            "grounded_answered": grounded[1],
        }
    )


def _audited(
    backbone: Backbone,
    profile: HeadProfile,
    prompt: NeedlePrompt,
    cache: StateCache,
    fact: NeedleFact,
    sources: Sequence[Source],
    is_there: bool,
) -> Row:
    question = hide_question(backbone, prompt, fact)
    found = answer_with_audit(backbone, cache, question, profile, sources, max_tokens=20)
    return {
        "is_there": is_there,
        "recall": word_recall(fact.answer, found.answer),
        "grounded": found.grounded,
        "on_sources": found.on_sources,
        "sink": fmean([token.sink for token in found.tokens] or [0.0]),
        "is_grounded": any(sentence.is_grounded for sentence in found.sentences),
        "is_suspect": any(sentence.is_suspect for sentence in found.sentences),
        "answer": found.answer,
    }


def hide_question(backbone: Backbone, prompt: NeedlePrompt, fact: NeedleFact) -> tuple[int, ...]:
    """Return the tokens that ask the same text for another fact."""
    return hide_facts(backbone, [], [], length=len(prompt.context), asked=fact).question


def auroc(higher: Sequence[float], lower: Sequence[float]) -> float:
    """Return how often a value of the first kind is above one of the second, equals counted as one half."""
    pairs = [(a > b) + 0.5 * (a == b) for a in higher for b in lower]
    return fmean(pairs) if pairs else 0.5


def _limit(limits: list[Row], what: str, limit: str, measured: Any, holds: bool | None) -> None:
    limits.append({"what": what, "limit": limit, "measured": measured, "holds": holds})
