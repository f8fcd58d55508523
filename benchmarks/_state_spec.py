"""Looking ahead before a cut: SpecKV on needles whose question is not known yet.

Source: the small set-ups of Galim et al. 2025, arXiv 2506.08373: self-draft and truncated drafts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from pinyon.measure.planted import reference_filler
from pinyon.measure.stats import difference
from pinyon.models.backbone import Backbone
from pinyon.models.base import Message
from pinyon.models.cache import StateCache
from pinyon.state import (
    CacheView,
    Compressor,
    KeyNorm,
    RandomKeep,
    SinkWindow,
    SnapKV,
    SpecKV,
    SpecKVPC,
    SpecPC,
    compress,
    truncated,
)

__all__ = ["Notes", "Progress", "answered", "limit_of", "notes", "paired", "run", "run_sparse", "seeded"]

Progress = Callable[[str], None]
WINDOW = 32
LOOKAHEAD = 48
_PLACES = (
    "Alder Basalt Cobalt Dorset Ember Fjord Gable Hawk Indigo Jackdaw Kestrel Lagoon Marble Nettle Opal Plover Quartz"
    " Rookery Sable Tundra Umber Viaduct Wharf Yew"
).split()


@dataclass(frozen=True, slots=True)
class Notes:
    """A text with facts, and a question for each that is asked after the cut.

    Args:
        ids: The prompt: text and request.
        questions: What is read to ask for each fact, up to its value.
        values: Tokens of each value.
    """

    ids: tuple[int, ...]
    questions: tuple[tuple[int, ...], ...]
    values: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Watched(SpecKV):
    """SpecKV that leaves its scores behind."""

    seen: tuple[dict[int, Tensor], ...] = ()

    def score(self, view: CacheView) -> Tensor:
        """Return the votes, and note those of the text."""
        worth = SpecKV.score(self, view)
        self.seen[0][view.layer] = worth[0][:, view.origins[0] < view.read - self.window]
        return worth


def notes(backbone: Backbone, count: int, *, facts: int = 4, paragraphs: int = 9, seed: int = 0) -> list[Notes]:
    """Return texts of some 600 tokens."""
    return [_notes(backbone, facts, paragraphs, Random(f"{seed} notes {number}")) for number in range(count)]


def seeded(backbone: Backbone, texts: int, seeds: int) -> list[tuple[int, int, Notes]]:
    """Return texts of several seeds with their number and seed, the first of each seed first."""
    drawn = [(seed, notes(backbone, texts, seed=seed)) for seed in range(seeds)]
    return [(number, seed, found[number]) for number in range(texts) for seed, found in drawn]


def run(
    backbone: Backbone,
    texts: int = 5,
    *,
    draft_texts: int = 1,
    sizes: Sequence[int] = (64, 128),
    removed: Sequence[int] = (2, 6, 12, 18),
    seeds: int = 3,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Measure recall of facts that are asked after the cut, by policy and budget, and by the strength of the draft.

    Policies are compared on the same facts, with 95 % intervals of the differences.

    Args:
        backbone: A small chat model; it is its own draft.
        texts: Of each seed, each with four facts.
        draft_texts: Of each seed for the truncated drafts, at most `texts`.
        sizes: Entries of each head, above 32.
        removed: Layers that truncated drafts lack.
        seeds: How many seeds texts are drawn with.
        progress: Called with a line after each text.
    """
    found: dict[tuple[str, int], list[float]] = {}
    drafts: dict[int, list[dict[str, float]]] = {}
    tokens: list[int] = []
    for number, seed, one in seeded(backbone, texts, seeds):
        full = backbone.cache()
        backbone.prefill(one.ids, full)
        tokens.append(len(one.ids))
        known = [answered(backbone, full, one, fact) for fact in range(len(one.values))]
        found.setdefault(("full cache", 0), []).extend(map(float, known))
        ahead = backbone.continuation([], full.clone(), max_tokens=LOOKAHEAD).ids
        for size in sizes:
            for name, cache in _cuts(backbone, full, one, ahead, size, Random(f"{seed} {number}")):
                right = [float(answered(backbone, cache, one, fact)) for fact, is_known in enumerate(known) if is_known]
                found.setdefault((name, size), []).extend(right)
        if number < draft_texts:
            for gone in removed:
                drafts.setdefault(gone, []).append(_weaker(backbone, full, one, ahead, gone, min(sizes), known))
        progress(f"text {number} of seed {seed}: {sum(known)} facts known, lookahead {backbone.decode(ahead)!r}")
    rows: list[dict[str, Any]] = [
        {"policy": name, "entries": size or "all", "facts": len(right), "recall": statistics.mean(right or [0.0])}
        for (name, size), right in found.items()
    ]
    rows += [
        {"policy": f"draft without its last {gone} layers", "entries": min(sizes), **_pooled(parts)}
        for gone, parts in drafts.items()
    ]
    least = {name: right for (name, size), right in found.items() if size in (0, min(sizes))}
    return {"rows": rows, "limits": _limits(rows, least), "prompt_tokens": statistics.mean(tokens), "seeds": seeds}


def run_sparse(
    backbone: Backbone,
    texts: int = 3,
    *,
    sizes: Sequence[tuple[int, int]] = ((256, 256), (128, 128), (64, 64), (32, 32)),
    timed: Sequence[tuple[int, int]] = ((2048, 2048), (1024, 1024), (512, 512)),
    tokens: int = 8192,
    entries: int = 128,
    seeds: int = 3,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Measure vertical-slash reading: what stays and is answered with few columns, and time at one long text.

    Args:
        backbone: A small chat model; it is its own draft.
        texts: Of each seed, each with four facts, whose questions are read after the cut.
        sizes: Columns and slash, below what the texts hold.
        timed: Columns and slash for the long text.
        tokens: Of the long text and its draft; 0 leaves it out.
        entries: Of each head.
        seeds: How many seeds texts are drawn with; the long text is of the first.
        progress: Called with a line now and then.
    """
    found: dict[str, list[dict[str, float]]] = {}
    lengths: list[int] = []
    for number, seed, one in seeded(backbone, texts, seeds):
        full = backbone.cache()
        backbone.prefill(one.ids, full)
        known = [answered(backbone, full, one, fact) for fact in range(len(one.values))]
        ahead = backbone.continuation([], full, max_tokens=LOOKAHEAD).ids
        lengths.append(len(one.ids) + len(ahead))
        dense = _sparsely(backbone, one.ids, ahead, entries, None)
        for pair in (None, *sizes):
            cache = dense if pair is None else _sparsely(backbone, one.ids, ahead, entries, pair)
            right = [float(answered(backbone, cache, one, fact)) for fact, is_known in enumerate(known) if is_known]
            parts = found.setdefault("dense" if pair is None else f"{pair[0]} + {pair[1]}", [])
            parts.extend({"recall": one_right, "jaccard": _jaccard(dense, cache)} for one_right in right)
        progress(f"text {number} of seed {seed}: {sum(known)} facts known")
    rows = [{"columns + slash": name, "facts": len(parts), **_mean(parts)} for name, parts in found.items() if parts]
    speed = _timed(backbone, tokens, timed, entries, progress) if tokens else []
    limits = [
        limit_of(
            f"seconds of {row['columns + slash']} / seconds of dense reading, {tokens} tokens",
            "< 1",
            row["seconds / dense"],
            lambda m: m < 1,
        )
        for row in speed[1:]
    ]
    return {"rows": [*rows, *speed], "limits": limits, "tokens": statistics.mean(lengths), "seeds": seeds}


def _sparsely(
    backbone: Backbone, ids: Sequence[int], ahead: Sequence[int], entries: int, pair: tuple[int, int] | None
) -> StateCache:
    """Return the cache of a prompt that was read with some columns and a slash; None reads densely."""
    vertical, slash = (len(ids) + len(ahead), 1) if pair is None else pair
    policy = SpecKV(queries=WINDOW, vertical=vertical, slash=slash)
    return policy.prefill(backbone, ids, entries=entries, lookahead_ids=ahead).cache


def _timed(
    backbone: Backbone, tokens: int, pairs: Sequence[tuple[int, int]], entries: int, progress: Progress
) -> list[dict[str, Any]]:
    """Return processor time of reading one long text, as shares of that of dense reading."""
    draw, filler = Random("0 long"), list(reference_filler())
    text = backbone.encode(" ".join(draw.choice(filler) for _ in range(tokens // 4)))[:tokens]
    ids, ahead = text[:-64], text[-64:]
    rows: list[dict[str, Any]] = []
    dense, unit = None, 1.0
    for pair in (None, *pairs):
        begin = time.process_time()
        cache = _sparsely(backbone, ids, ahead, entries, pair)
        seconds = time.process_time() - begin
        if dense is None:
            dense, unit = cache, seconds
        name = "dense" if pair is None else f"{pair[0]} + {pair[1]}"
        rows.append(
            {
                "columns + slash": name,
                "tokens": len(text),
                "seconds / dense": seconds / unit,
                "jaccard": _jaccard(dense, cache),
            }
        )
        progress(f"{name}: {seconds:.1f} s")
    return rows


def _jaccard(one: StateCache, other: StateCache) -> float:
    """Return how much of what two caches keep is the same, a mean over heads."""
    shares = []
    for ours, theirs in zip(one.layers, other.layers, strict=True):
        for a, b in zip(ours.uniform().origins.tolist(), theirs.uniform().origins.tolist(), strict=True):
            shares.append(len(set(a) & set(b)) / len(set(a) | set(b)))
    return statistics.mean(shares)


def _notes(backbone: Backbone, facts: int, paragraphs: int, draw: Random) -> Notes:
    filler = list(reference_filler())
    text = [" ".join(draw.sample(filler, 3)) for _ in range(paragraphs)]
    places, values = draw.sample(_PLACES, facts), [str(draw.randrange(1000, 10000)) for _ in range(facts)]
    for place, value, at in zip(places, values, sorted(draw.sample(range(paragraphs), facts)), strict=True):
        text[at] += f" The secret code of the {place} archive is {value}."
    request = "Repeat every secret code that the text tells."
    talk = [Message("user", "\n".join([*text, "", request]))]
    prompt = backbone.render(talk)
    questions = []
    for place in places:
        longer = [*talk, Message("assistant", "~"), Message("user", f"What is the secret code of the {place} archive?")]
        asked = backbone.render(longer).rpartition("~")[2]
        questions.append(tuple(backbone.encode(f"{asked}The secret code of the {place} archive is")))
    return Notes(
        tuple(backbone.encode(prompt)), tuple(questions), tuple(tuple(backbone.encode(f" {value}")) for value in values)
    )


def answered(backbone: Backbone, cache: StateCache, one: Notes, fact: int) -> bool:
    """Return whether the likeliest tokens after a question are the value."""
    value = one.values[fact]
    rows = backbone.forward([*one.questions[fact], *value[:-1]], cache.clone(), logits="all")
    assert rows is not None
    return rows[-len(value) :].argmax(dim=-1).tolist() == list(value)


def _cuts(
    backbone: Backbone, full: StateCache, one: Notes, ahead: Sequence[int], size: int, draw: Random
) -> list[tuple[str, StateCache]]:
    """Return caches of some entries by the name of their policy."""
    ids, shuffled = list(one.ids), draw.sample(list(ahead), len(ahead))
    wrong = backbone.encode(
        "The text is about the weather of the north, and it tells no code at all. Nothing else is said."
    )
    cuts = [
        ("SpecKV, self-draft", looked(backbone, full, ids, ahead, size)),
        ("SpecKV, lookahead shuffled", looked(backbone, full, ids, shuffled, size)),
        ("SpecKV, misleading draft", looked(backbone, full, ids, wrong, size)),
        ("SpecKV, no lookahead", looked(backbone, full, ids, (), size)),
    ]
    for name, policy in (
        ("SnapKV", SnapKV(queries=WINDOW)),
        ("key norm", KeyNorm(recent=WINDOW)),
        ("StreamingLLM", SinkWindow()),
        ("random", RandomKeep(draw.randrange(10**6), positions="original")),
    ):
        cache = full.clone()
        compress(backbone, cache, policy, entries=size)
        cuts.append((name, cache))
    both = SpecKVPC(prompt=SpecPC(lookahead=LOOKAHEAD), cache=SpecKV(queries=WINDOW), prompt_entries=len(ids) // 2)
    cascade = both.prefill(backbone, backbone, ids, entries=size, lookahead=LOOKAHEAD)
    return [*cuts, ("SpecKVPC, half of the prompt", cascade.looked.cache)]


def looked(
    backbone: Backbone,
    full: StateCache,
    ids: Sequence[int],
    ahead: Sequence[int],
    size: int,
    policy: SpecKV | None = None,
) -> StateCache:
    """Return what `SpecKV.prefill` gives, from a cache that has read the prompt already."""
    cache = full.clone()
    cache.crop(len(ids) - WINDOW)
    chosen = replace(policy or SpecKV(queries=WINDOW), lookahead=len(ahead))
    Compressor(backbone, cache, chosen, entries=size).forward([*ids[-WINDOW:], *ahead])
    if ahead:
        cache.crop(len(ids) - 1)
        backbone.forward(ids[-1:], cache)
    return cache


def _weaker(
    backbone: Backbone, full: StateCache, one: Notes, ahead: Sequence[int], gone: int, size: int, known: Sequence[bool]
) -> dict[str, float]:
    """Compare what a truncated draft lets stay, by its lookahead and by its attention, with what the model does."""
    draft = truncated(backbone, backbone.n_layers - gone)
    quarter = len(one.ids) // 4
    prompts = [set(SpecPC().cut(model, one.ids, entries=quarter).kept) for model in (backbone, draft)]
    weak = draft.continuation(one.ids, max_tokens=LOOKAHEAD).ids
    scores: list[dict[int, Tensor]] = []
    caches = []
    for tokens in (ahead, weak):
        seen: dict[int, Tensor] = {}
        caches.append(looked(backbone, full, one.ids, tokens, size, Watched(queries=WINDOW, seen=(seen,))))
        scores.append(seen)
    agreement = [
        _spearman(scores[0][layer][head], scores[1][layer][head])
        for layer in scores[0]
        for head in range(len(scores[0][layer]))
    ]
    right = [float(answered(backbone, caches[1], one, fact)) for fact, is_known in enumerate(known) if is_known]
    return {
        "jaccard": _jaccard(caches[0], caches[1]),
        "spearman": statistics.mean(agreement),
        "prompt_jaccard": len(prompts[0] & prompts[1]) / len(prompts[0] | prompts[1]),
        "recall": statistics.mean(right or [0.0]),
        "facts": float(len(right)),
    }


def _spearman(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([part.argsort().argsort().double() for part in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def _mean(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.mean(part[key] for part in parts) for key in parts[0]}


def _pooled(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the means over texts, but recall over all their facts."""
    facts = sum(part["facts"] for part in parts)
    right = sum(part["facts"] * part["recall"] for part in parts)
    return {**_mean(parts), "facts": facts, "recall": right / facts if facts else 0.0}


def _limits(rows: Sequence[dict[str, Any]], right: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return the limits; `right` says for the smallest budget which facts each policy answers."""
    ours = "SpecKV, self-draft"
    limits = [
        paired("SpecKV - SnapKV at the smallest budget", right[ours], right["SnapKV"], "> 0"),
        paired("SnapKV - StreamingLLM", right["SnapKV"], right["StreamingLLM"], "> 0"),
        paired("SpecKV, lookahead shuffled loses", right["SpecKV, lookahead shuffled"], right[ours], "< 0"),
        paired("SpecKV, no lookahead loses", right["SpecKV, no lookahead"], right[ours], "< 0"),
    ]
    drafts = [row for row in rows if "jaccard" in row]
    if len(drafts) > 1:
        for key, what in (("jaccard", "SpecKV"), ("prompt_jaccard", "SpecPC")):
            overlap = [1.0, *(row[key] for row in drafts)]
            falls = overlap == sorted(overlap, reverse=True) and overlap[-1] < 1
            said = f"{what}: Jaccard falls with the layers that the draft lacks"
            limits.append(limit_of(said, "falling", overlap, lambda _, falls=falls: falls))
        weak = [row for row in rows if row.get("jaccard", 0) > 0.3]
        same = right["StreamingLLM"][: int(weak[0]["facts"])] if weak else []  # of the texts that the drafts have read
        limits.append(
            limit_of(
                "recall of drafts with Jaccard above 0.3 - StreamingLLM on the same facts, points",
                "> 0",
                100 * (min(row["recall"] for row in weak) - statistics.mean(same)) if same else None,
                lambda m: m is None or m > 0,
            )
        )
    return limits


def paired(what: str, ours: Sequence[float], theirs: Sequence[float], limit: str) -> dict[str, Any]:
    """Return a limit on the difference of two policies on the same facts, with its interval."""
    gain = difference(ours, theirs)
    spread = f"points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return limit_of(f"{what}, {spread}", limit, 100 * gain.value, lambda m: m > 0 if limit == "> 0" else m < 0)


def limit_of(what: str, limit: str, measured: Any, holds: Callable[[Any], bool]) -> dict[str, Any]:
    return {"what": what, "limit": limit, "measured": measured, "holds": bool(holds(measured))}
