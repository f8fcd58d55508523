"""Changes of the first sum that need no model, each tried on every corpus beside the sum as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..index import IndexConfig
from .base import Corpus
from .plain import LINKED, Bench, Plain, Saturation, Weights, benches, recalls, robertson, stacked, sums
from .stats import Interval, difference

__all__ = ["VARIANTS", "Trial", "Variant", "try_variants", "variants_table"]

Scores = NDArray[np.float32]
Legs = Mapping[str, Scores]
_BASE = Weights.of(IndexConfig())
_TURNS = frozenset({"turn"})
_NEAR = 8  # terms apart at which two words of a question still count as near each other
_WIDER = replace(_BASE, window2=1.0, speaker=0.3)
_CONTEXTUAL = replace(_WIDER, dense=0.2)


@dataclass(frozen=True, slots=True)
class Variant:
    """One change.

    Args:
        name: For the table.
        scores: Room and its legs as they are to scores, (questions, N).
        linked: Units whose neighbours are their windows.
    """

    name: str
    scores: Callable[[Bench, Legs], Scores]
    linked: frozenset[str] = _TURNS


@dataclass(frozen=True, slots=True)
class Trial:
    """What a variant finds in a corpus.

    Args:
        variant: Its name.
        corpus: Name of the corpus.
        k: Depth.
        recall: Mean over the questions.
        gain: Over the first variant, paired.
    """

    variant: str
    corpus: str
    k: int
    recall: float
    gain: Interval


def _weighted(weights: Weights) -> Callable[[Bench, Legs], Scores]:
    return lambda _, legs: sums(legs, weights)


def _saturated(saturation: Saturation) -> Callable[[Bench, Legs], Scores]:
    return lambda bench, _: sums(stacked(bench, saturation), _BASE)


def _steeper(power: float) -> Callable[[Bench, Legs], Scores]:
    return lambda bench, _: sums(stacked(bench, idf=lambda size, found: robertson(size, found) ** power), _BASE)


def _window_meaning(share: float, total: float, weights: Weights) -> Callable[[Bench, Legs], Scores]:
    """Give a share of the dense weight to the mean vector of the window of five."""

    def scores(bench: Bench, legs: Legs) -> Scores:
        plain = bench.plain
        vectors = plain.windowed(plain.vectors, 2)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        wide = np.stack([plain.meaning(plain.embedder.embed_query(q.text), vectors) for q in bench.questions])
        dense = np.float32((1 - share) * total) * legs["dense"] + np.float32(share * total) * wide
        return sums({**legs, "dense": dense}, replace(weights, dense=1.0))

    return scores


def _dense_feedback(top: int, weight: float) -> Callable[[Bench, Legs], Scores]:
    """Move the question's vector towards the mean of the best cubes (Rocchio 1971)."""

    def scores(bench: Bench, legs: Legs) -> Scores:
        plain, first = bench.plain, sums(legs, _BASE)
        rows = []
        for question, row in zip(bench.questions, first, strict=True):
            mean = plain.vectors[_top(row, top)].mean(axis=0)
            query = plain.embedder.embed_query(question.text) + weight * mean / max(float(np.linalg.norm(mean)), 1e-9)
            rows.append(plain.meaning((query / max(float(np.linalg.norm(query)), 1e-9)).astype(np.float32)))
        return sums({**legs, "dense": np.stack(rows)}, _BASE)

    return scores


def _word_feedback(top: int, terms: int, weight: float) -> Callable[[Bench, Legs], Scores]:
    """Ask also for the most telling terms of the best cubes (as RM3, Abdul-Jaleel et al. 2004)."""

    def scores(bench: Bench, legs: Legs) -> Scores:
        plain, first = bench.plain, sums(legs, _BASE)
        rows: list[dict[str, Scores]] = []
        for question, row in zip(bench.questions, first, strict=True):
            asked = {term: float(n) for term, n in Counter(plain.analyzer.terms(question.text)).items()}
            rows.append(plain.words(asked | _telling(plain, _top(row, top), asked, terms, weight)))
        words = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return sums({**legs, **words}, _BASE)

    return scores


def _telling(
    plain: Plain, slots: Sequence[int], asked: Mapping[str, float], number: int, weight: float
) -> dict[str, float]:
    worth: Counter[str] = Counter()
    for slot in slots:
        for term, count in Counter(plain.terms[slot]).items():
            if term not in asked:
                idf = robertson(len(plain), len(plain.holders[term]))
                worth[term] += count / max(1.0, float(plain.length[slot])) * idf  # type: ignore[assignment]  # a float count
    best = worth.most_common(number)
    return {term: weight * value / best[0][1] for term, value in best}


def _near(weight: float) -> Callable[[Bench, Legs], Scores]:
    """Add for every two words of the question how near they stand in a cube (after Büttcher et al. 2006)."""

    def scores(bench: Bench, legs: Legs) -> Scores:
        plain = bench.plain
        places: dict[str, dict[int, list[int]]] = {}
        for slot, terms in enumerate(plain.terms):
            for place, term in enumerate(terms):
                places.setdefault(term, {}).setdefault(slot, []).append(place)
        rows = np.stack([_nearness(plain, places, question.text) for question in bench.questions])
        return np.asarray(sums(legs, _BASE) + np.float32(weight) * rows, dtype=np.float32)

    return scores


def _nearness(plain: Plain, places: Mapping[str, Mapping[int, Sequence[int]]], question: str) -> Scores:
    out = np.zeros(len(plain), dtype=np.float32)
    terms = [term for term in dict.fromkeys(plain.analyzer.terms(question)) if term in places]
    for a, b in combinations(terms, 2):
        idf = robertson(len(plain), max(len(places[a]), len(places[b])))
        for slot in places[a].keys() & places[b].keys():
            distance = min(abs(x - y) for x in places[a][slot] for y in places[b][slot])
            if distance <= _NEAR:
                out[slot] += idf / max(1, distance)
    best = out.max(initial=0)
    return out / best if best > 0 else out


def _covered(weight: float) -> Callable[[Bench, Legs], Scores]:
    """Add the share of the question's terms, by idf, that stand in the window of five."""

    def scores(bench: Bench, legs: Legs) -> Scores:
        plain = bench.plain
        rows = []
        for question in bench.questions:
            total, out = 1e-9, np.zeros(len(plain), dtype=np.float32)
            for term in set(plain.analyzer.terms(question.text)) & plain.holders.keys():
                idf = robertson(len(plain), len(plain.holders[term]))
                total += idf
                out += np.float32(idf) * (plain.windowed(plain.tf(term), 2) > 0)
            rows.append(out / np.float32(total))
        return np.asarray(sums(legs, _BASE) + np.float32(weight) * np.stack(rows), dtype=np.float32)

    return scores


VARIANTS = (
    Variant("the first sum", _weighted(_BASE), LINKED),
    Variant("a chunk is its own window", _weighted(_BASE)),
    Variant("window2 1, speaker 0.3", _weighted(_WIDER)),
    Variant("window2 1, speaker 0.3, dense 0.2", _weighted(_CONTEXTUAL)),
    Variant("window2 1, speaker 0.3, dense 0.1 and 0.2 over five", _window_meaning(2 / 3, 0.3, _WIDER)),
    Variant("dense 0.15 and 0.15 over five", _window_meaning(0.5, 0.3, _BASE)),
    Variant("k1 0.9", _saturated(Saturation(0.9, 0.75))),
    Variant("k1 2.0", _saturated(Saturation(2.0, 0.75))),
    Variant("b 0.4", _saturated(Saturation(1.2, 0.4))),
    Variant("b 0.9", _saturated(Saturation(1.2, 0.9))),
    Variant("idf to the power 1.25", _steeper(1.25)),
    Variant("idf to the power 0.75", _steeper(0.75)),
    Variant("dense feedback, 0.3 of the best 3", _dense_feedback(3, 0.3)),
    Variant("word feedback, 0.1 of 5 terms of the best 10", _word_feedback(10, 5, 0.1)),
    Variant("nearness 0.1", _near(0.1)),
    Variant("nearness 0.2", _near(0.2)),
    Variant("coverage 0.3", _covered(0.3)),
)
"""The first one is what the others are compared with; all others take a chunk as its own window."""


def try_variants(
    corpora: Sequence[tuple[Corpus, Sequence[int]]],
    *,
    variants: Sequence[Variant] = VARIANTS,
    progress: Callable[[int], object] | None = None,
) -> tuple[Trial, ...]:
    """Run every variant on every corpus.

    Args:
        corpora: Each with the depths to report.
        variants: The first one is the base of the gains.
        progress: Told 1 after each variant and corpus.
    """
    out: list[Trial] = []
    for corpus, ks in corpora:
        rooms: dict[frozenset[str], list[tuple[Bench, Legs]]] = {}
        base: NDArray[np.float64] | None = None
        for variant in variants:
            if variant.linked not in rooms:
                rooms[variant.linked] = [(b, stacked(b)) for b in benches(corpus, linked=variant.linked)]
            here = rooms[variant.linked]
            found = np.concatenate([recalls(bench, variant.scores(bench, legs), ks) for bench, legs in here])
            base = found if base is None else base
            for place, k in enumerate(ks):
                ours, theirs = found[:, place].tolist(), base[:, place].tolist()
                out.append(Trial(variant.name, corpus.name, k, float(found[:, place].mean()), difference(ours, theirs)))
            if progress is not None:
                progress(1)
    return tuple(out)


def variants_table(trials: Sequence[Trial]) -> str:
    """Return recall with the gain over the first variant; a star marks gains whose 95 % interval excludes 0."""
    columns = list(dict.fromkeys((t.corpus, t.k) for t in trials))
    cells = {(t.variant, t.corpus, t.k): t for t in trials}
    head = [f"{corpus} @{k}" for corpus, k in columns]
    lines = ["### Variants without a model", "", f"| variant | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name in dict.fromkeys(t.variant for t in trials):
        row = [_cell(cells[name, corpus, k]) for corpus, k in columns]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _cell(trial: Trial) -> str:
    star = "*" if trial.gain.low > 0 or trial.gain.high < 0 else ""
    return f"{100 * trial.recall:.1f} ({100 * trial.gain.value:+.1f}{star})"


def _top(row: Scores, number: int) -> list[int]:
    best: list[int] = np.argsort(-row, kind="stable")[:number].tolist()
    return best
