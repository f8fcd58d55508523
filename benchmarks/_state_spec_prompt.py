"""Prompts cut by what a draft attends to, SpecPC: on a tiny trained pair, and as released on a small chat model.

Source: the small set-ups of Galim et al. 2025, arXiv 2506.08373: a pair from scratch, and ablations that must lose.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from _state_spec import Progress, answered, limit_of, paired, seeded
from _tiny_pair import Recall, TinyPair, prompts, right, train_pair

from pinyon.models.backbone import Backbone
from pinyon.state import SpecPC

__all__ = ["run_pair", "run_weighting"]

_SETTINGS = ((4, 1 / 4), (4, 1 / 6), (4, 1 / 8), (8, 1 / 4), (8, 1 / 6), (16, 1 / 4))
"""Windows and shares of the prompt. The first is the one that the specification asks for: of a prompt of 96 tokens it
leaves 20 beside the window for the two that are needed; the others leave 12, 8, 16, 8 and 8."""


def run_pair(
    pairs: Sequence[TinyPair] | None = None,
    *,
    count: int = 200,
    size: int = 96,
    seeds: int = 3,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Measure SpecPC and its ablations on tiny trained pairs, where draft and target truly differ.

    Each setting compares on the same prompts of all pairs, with 95 % intervals of the differences. Prompts are drawn
    from texts as those of the training.

    Args:
        pairs: Trained ones, by seed; None trains one for each seed.
        count: Prompts of each pair.
        size: Tokens of each.
        seeds: How many pairs are trained; of the first seeds from which both learn, the others are named.
        progress: Called with a line now and then.
    """
    if pairs is None:
        pairs, failed = _trained(seeds, progress)
    else:
        failed = []
    config = SpecPC(window=4, kernel=3, neighbours=3, skip_layers=1)
    whole: dict[str, list[float]] = {"target, whole prompt": [], "draft, whole prompt": [], "random": []}
    found: dict[tuple[int, float], dict[str, list[float]]] = {}
    for seed, pair in enumerate(pairs):
        asked = prompts(count, size=size, seed=seed)
        ids = [one.ids for one in asked]
        draw = Random(seed)
        drawn = [_drawn(one, size // 4, config.window, draw) for one in ids]
        read = {"target, whole prompt": (pair.target, ids), "draft, whole prompt": (pair.draft, ids)}
        for name, (model, given) in {**read, "random": (pair.target, drawn)}.items():
            whole[name] += right(model, asked, given)
        for window, share in _SETTINGS:
            answers = found.setdefault((window, share), {})
            for name, chosen in _ablations(replace(config, window=window)).items():
                answers.setdefault(name, []).extend(_cut_right(pair, chosen, asked, int(size * share)))
            progress(f"seed {seed}, window {window}, {share:.3g}: {_means(answers)}")
    rows: list[dict[str, Any]] = [
        {
            "policy": name,
            "share": 0.25 if name == "random" else 1.0,
            "prompts": len(answers),
            **_by_seed(answers, count),
        }
        for name, answers in whole.items()
    ]
    rows += [
        {"policy": name, "window": window, "share": share, "prompts": len(answers), **_by_seed(answers, count)}
        for (window, share), by in found.items()
        for name, answers in by.items()
    ]
    first = found[_SETTINGS[0]]["SpecPC"]
    mean = statistics.mean(whole["target, whole prompt"])
    limits = [
        limit_of(
            "SpecPC at 25 % / whole prompt", ">= 0.9", statistics.mean(first) / max(mean, 1e-9), lambda m: m >= 0.9
        ),
        limit_of("random at 25 %", "<= 0.4", statistics.mean(whole["random"]), lambda m: m <= 0.4),
    ]
    for (window, share), by in found.items():
        where = f"window {window}, {share:.3g} of the prompt"
        limits += [
            paired(f"{where}: {name.removeprefix('SpecPC, ')} loses", answers, by["SpecPC"], "< 0")
            for name, answers in by.items()
            if name != "SpecPC"
        ]
    losses = [pair.losses for pair in pairs]
    return {
        "rows": rows,
        "limits": limits,
        "losses": losses,
        "seeds": len(pairs),
        "not learned": failed,
        "model": "pairs trained here",
    }


def run_weighting(
    backbone: Backbone, texts: int = 5, *, seeds: int = 3, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Measure what each part brings to SpecPC as it is released, where the question ends the prompt.

    Args:
        backbone: A small chat model; it is its own draft.
        texts: Of each seed, each with four facts, each of which is asked.
        seeds: How many seeds texts are drawn with.
        progress: Called with a line after each text.
    """
    variants = _ablations(SpecPC())
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number, seed, one in seeded(backbone, texts, seeds):
        full = backbone.cache()
        backbone.prefill(one.ids, full)
        for fact, (question, value) in enumerate(zip(one.questions, one.values, strict=True)):
            if not answered(backbone, full, one, fact):
                continue
            prompt = (*one.ids, *question)
            for name, chosen in variants.items():
                cut = chosen.cut(backbone, prompt, entries=len(prompt) // 4)
                rows = backbone.forward([*cut.ids, *value[:-1]], logits="all")
                assert rows is not None
                found[name].append(float(rows[-len(value) :].argmax(dim=-1).tolist() == list(value)))
        progress(f"text {number} of seed {seed}: {len(found['SpecPC'])} facts, {_means(found)}")
    return {
        "rows": [
            {"policy": name, "share": 0.25, "facts": len(answers), "recall": statistics.mean(answers or [0.0])}
            for name, answers in found.items()
        ],
        "limits": [
            paired(f"{name.removeprefix('SpecPC, ')} loses", answers, found["SpecPC"], "< 0")
            for name, answers in found.items()
            if name != "SpecPC"
        ],
        "seeds": seeds,
    }


def _trained(count: int, progress: Progress) -> tuple[list[TinyPair], list[int]]:
    """Return so many pairs that have learned, and the seeds from which one did not, at most three times as many."""
    pairs: list[TinyPair] = []
    failed: list[int] = []
    for seed in range(3 * count):
        pair = train_pair(seed=seed, progress=progress)
        if pair.has_learned:
            pairs.append(pair)
        else:
            failed.append(seed)
        if len(pairs) == count:
            break
    return pairs, failed


def _ablations(config: SpecPC) -> dict[str, SpecPC]:
    """Return a configuration and what is left of it without each of its parts."""
    return {
        "SpecPC": config,
        "SpecPC, no pooling": replace(config, kernel=1, neighbours=1),
        "SpecPC, no weighting": replace(config, weighted=False),
        "SpecPC, no layer skipped": replace(config, skip_layers=0),
    }


def _cut_right(pair: TinyPair, config: SpecPC, asked: Sequence[Recall], entries: int) -> list[float]:
    cut = [config.cut(pair.draft, one.ids, entries=entries).ids for one in asked]
    return right(pair.target, asked, cut)


def _by_seed(answers: Sequence[float], count: int) -> dict[str, Any]:
    """Return the share of right answers, of all and of each seed."""
    parts = [answers[start : start + count] for start in range(0, len(answers), count)]
    return {"recall": statistics.mean(answers), "of each seed": [statistics.mean(part) for part in parts]}


def _means(found: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{name} {statistics.mean(answers or [0.0]):.3f}" for name, answers in found.items())


def _drawn(ids: Sequence[int], count: int, window: int, draw: Random) -> list[int]:
    """Return random tokens of a prompt in their order, its end included."""
    end = len(ids) - window
    places = [*sorted(draw.sample(range(end), count - window)), *range(end, len(ids))]
    return [ids[place] for place in places]
