"""The first sum in plain arrays: the slow reference, and the bench on which its weights are tried out.

A leg is one number for every question and cube. They are computed once; then a set of weights costs a sum, and a few
hundred sets can be compared in seconds. `tests/measure/test_plain.py` holds it against the index itself.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..core.clock import SystemClock
from ..core.cube import Cube
from ..index import Analyzer, IndexConfig, index_text
from ..memory import Memory
from ..models import Embedder, StaticEmbedder
from ..text import Verbatim
from .base import Corpus, Question

__all__ = [
    "LINKED", "Bench", "Idf", "Plain", "Saturation", "Weights", "benches", "recalls", "robertson", "stacked", "sums"
]  # fmt: skip

Scores = NDArray[np.float32]
_SECTION_TURNS = 32  # as in index/table.py
LINKED = frozenset({"turn"})
"""Units that the index links to their neighbours."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each leg counts beside the turn, whose weight is 1."""

    window1: float
    window2: float
    section: float
    dense: float
    speaker: float

    @classmethod
    def of(cls, config: IndexConfig) -> Weights:
        """Return the weights of a configuration of the index."""
        lexical, fuse = config.lexical, config.fuse
        return cls(lexical.window1, lexical.window2, lexical.section, fuse.dense, fuse.speaker)


Idf = Callable[[int, int], float]
"""Number of cubes and number of those with the term to the weight of the term."""


def robertson(size: int, found: int) -> float:
    """Return ln(1 + (n - df + 0.5) / (df + 0.5))."""
    return math.log(1.0 + (size - found + 0.5) / (found + 0.5))


@dataclass(frozen=True, slots=True)
class Saturation:
    """The constants of BM25."""

    k1: float = 1.2
    b: float = 0.75

    def __call__(self, tf: Scores, length: Scores, mean: float) -> Scores:
        """Return what frequencies are worth in texts of these lengths."""
        worth = tf * (self.k1 + 1) / (tf + self.k1 * (1 - self.b + self.b * length / mean))
        return np.asarray(worth, dtype=np.float32)


class Plain:
    """All cubes of one space, by slot in the order of their rows.

    Args:
        cubes: Of one space.
        analyzer: Text to terms.
        embedder: Of texts and questions.
        linked: Units whose neighbours count as their windows; the others are windows of their own.
    """

    def __init__(
        self, cubes: Sequence[Cube], analyzer: Analyzer, embedder: Embedder, *, linked: Set[str] = LINKED
    ) -> None:
        self.cubes = tuple(sorted(cubes, key=lambda cube: cube.row))
        self.analyzer = analyzer
        self.embedder = embedder
        self.terms = [analyzer.terms(index_text(cube)) for cube in self.cubes]
        self.length = np.array([len(terms) for terms in self.terms], dtype=np.float32)
        self.before, self.after = _neighbours(self.cubes, linked)
        self.section = _sections(self.cubes)
        vectors = embedder.embed([index_text(cube) for cube in self.cubes])
        self.vectors = vectors.astype(np.float16).astype(np.float32)  # as a store keeps them
        self.holders: dict[str, dict[int, int]] = {}  # term to slot to frequency
        for slot, terms in enumerate(self.terms):
            for term, count in Counter(terms).items():
                self.holders.setdefault(term, {})[slot] = count

    def __len__(self) -> int:
        return len(self.cubes)

    def tf(self, term: str) -> Scores:
        """Return how often each cube says a term, (N,)."""
        out = np.zeros(len(self), dtype=np.float32)
        found = self.holders.get(term, {})
        out[list(found)] = list(found.values())
        return out

    def windowed(self, values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
        """Return sums over each cube and its neighbours up to a distance, for (N,) or (N, E)."""
        out = values.copy()
        for links in (self.before, self.after):
            at = links
            for _ in range(radius):
                there = at >= 0
                out[there] += values[at[there]]
                at = np.where(there, links[at], -1)
        return out

    @cached_property
    def spans(self) -> tuple[Scores, Scores]:
        """Lengths of the windows of three and of five."""
        return self.windowed(self.length, 1), self.windowed(self.length, 2)

    def words(
        self, terms: Mapping[str, float], saturation: Saturation = Saturation(), idf: Idf = robertson
    ) -> dict[str, Scores]:
        """Return the BM25 of every granularity for terms with how often they are asked, (N,) each."""
        size, mean = len(self), max(1.0, float(self.length.mean()))
        number = 1 + max(0, int(self.section.max(initial=-1)))
        inside = self.section >= 0
        lengths = np.bincount(self.section[inside], self.length[inside], number).astype(np.float32)
        mean_section = max(1.0, float(lengths.sum()) / max(1, number))
        legs = {name: np.zeros(size, dtype=np.float32) for name in ("turn", "window1", "window2")}
        by_section = np.zeros(number, dtype=np.float32)
        for term, times in terms.items():
            tf = self.tf(term)
            found = int(np.count_nonzero(tf))
            if not found:
                continue
            weight = np.float32(times * idf(size, found))
            legs["turn"] += weight * saturation(tf, self.length, mean)
            legs["window1"] += weight * saturation(self.windowed(tf, 1), self.spans[0], mean * 3)
            legs["window2"] += weight * saturation(self.windowed(tf, 2), self.spans[1], mean * 5)
            grouped = np.bincount(self.section[inside], tf[inside], number).astype(np.float32)
            by_section += weight * saturation(grouped, lengths, mean_section)
        spread = np.where((legs["window2"] > 0) & inside, by_section[self.section], 0)
        return legs | {"section": spread.astype(np.float32)}

    def meaning(self, query: NDArray[np.float32], vectors: NDArray[np.float32] | None = None) -> Scores:
        """Return inner products, shifted and stretched as the index does it, (N,)."""
        scores = (self.vectors if vectors is None else vectors) @ query
        low, high = float(scores.mean()), float(scores.max())
        out: Scores = np.maximum((scores - low) / max(high - low, 1e-9), 0).astype(np.float32)
        return out

    def named(self, question: str) -> Scores:
        """Return 1 for the cubes whose speaker the question names, (N,)."""
        words = set(re.findall(r"\w+", question.lower()))
        said = [(c.header.provenance.speaker or "").lower().split() for c in self.cubes]
        return np.array([bool(parts) and words >= set(parts) for parts in said], dtype=np.float32)

    def legs(self, question: str, saturation: Saturation = Saturation(), idf: Idf = robertson) -> dict[str, Scores]:
        """Return every leg of a question."""
        terms = {term: float(n) for term, n in Counter(self.analyzer.terms(question)).items()}
        return self.words(terms, saturation, idf) | {
            "dense": self.meaning(self.embedder.embed_query(question)),
            "speaker": self.named(question),
        }


@dataclass(frozen=True, slots=True)
class Bench:
    """One room of a corpus as plain arrays.

    Args:
        name: Of the room.
        plain: Its cubes.
        questions: Those that count.
        gold: For each piece of evidence the number of its question and the slots that carry it.
    """

    name: str
    plain: Plain
    questions: tuple[Question, ...]
    gold: tuple[tuple[int, tuple[int, ...]], ...]


def benches(
    corpus: Corpus,
    *,
    embedder: Embedder | None = None,
    linked: Set[str] = LINKED,
    writer: Verbatim | None = None,
) -> tuple[Bench, ...]:
    """Add a corpus to a memory, as a user would, and return what the memory then holds, room by room.

    Args:
        corpus: Rooms and questions.
        embedder: None for the static one.
        linked: Units whose neighbours count as their windows.
        writer: Cuts documents into chunks, or None for the way a memory does it.
    """
    chosen = embedder or StaticEmbedder()
    out: list[Bench] = []
    with Memory.open(":memory:", embedder=chosen) as memory:
        for room in corpus.rooms:
            here = memory.at(space=room.space)
            if writer is None:
                here.add_many(room.experiences)
            else:
                drafts = [draft for experience in room.experiences for draft in writer.write(experience)]
                here.store.put(drafts, owner=here.scope, space=room.space, now=SystemClock().now())
            plain = Plain(tuple(here.iterate()), Analyzer(), chosen, linked=linked)
            carried: dict[str, list[int]] = {}
            for slot, cube in enumerate(plain.cubes):
                for name in corpus.names(cube):
                    carried.setdefault(name, []).append(slot)
            questions = tuple(q for q in room.questions if q.is_counted)
            gold = tuple(
                (number, tuple(carried[name]))
                for number, q in enumerate(questions)
                for name in dict.fromkeys(q.evidence)
            )
            out.append(Bench(room.space, plain, questions, gold))
    return tuple(out)


def stacked(bench: Bench, saturation: Saturation = Saturation(), idf: Idf = robertson) -> dict[str, Scores]:
    """Return every leg of every question, (questions, N) each."""
    rows = [bench.plain.legs(question.text, saturation, idf) for question in bench.questions]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def sums(legs: Mapping[str, Scores], weights: Weights) -> Scores:
    """Return the fused score of legs of any shape (..., N)."""
    words = legs["turn"] + np.float32(weights.window1) * legs["window1"]
    words = words + np.float32(weights.window2) * legs["window2"] + np.float32(weights.section) * legs["section"]
    best = words.max(axis=-1, keepdims=True)
    total = words / np.where(best > 0, best, 1) + np.float32(weights.dense) * legs["dense"]
    total = total + np.float32(weights.speaker) * legs["speaker"] * (total > 0)
    return np.asarray(total, dtype=np.float32)


def recalls(bench: Bench, scores: Scores, ks: Sequence[int]) -> NDArray[np.float64]:
    """Return recall@k of every question, (questions, len(ks)), from scores (questions, N)."""
    found = np.zeros((len(bench.questions), len(ks)))
    pieces = np.zeros(len(bench.questions))
    depth = np.array(ks)
    for number, slots in bench.gold:
        row = scores[number]
        rank = min(_rank(row, slot) for slot in slots)
        found[number] += (rank > 0) & (rank <= depth)
        pieces[number] += 1
    return found / pieces[:, None]


def _rank(row: Scores, slot: int) -> int:
    """Return the rank of a slot from 1, earlier slots first among equals; beyond the end when it scores nothing."""
    score = row[slot]
    if score <= 0:
        return len(row) + 1_000_000
    return 1 + int(np.count_nonzero(row > score)) + int(np.count_nonzero(row[:slot] == score))


def _neighbours(cubes: Sequence[Cube], linked: Set[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    before = np.full(len(cubes), -1, dtype=np.int64)
    after = np.full(len(cubes), -1, dtype=np.int64)
    threads: dict[str, list[int]] = {}
    for slot, cube in enumerate(cubes):
        p = cube.header.provenance
        if p.thread is not None and p.unit in linked:
            threads.setdefault(p.thread, []).append(slot)
    for members in threads.values():
        members.sort(key=lambda slot: (cubes[slot].header.provenance.position or 0, cubes[slot].row))
        before[members[1:]] = members[:-1]
        after[members[:-1]] = members[1:]
    return before, after


def _sections(cubes: Sequence[Cube]) -> NDArray[np.int64]:
    codes: dict[tuple[object, ...], int] = {}
    out = np.full(len(cubes), -1, dtype=np.int64)
    for slot, cube in enumerate(cubes):
        p = cube.header.provenance
        if p.thread is None:
            continue
        stretch = (p.position or 0) // _SECTION_TURNS
        unit = (p.thread,) if p.unit == "turn" and cube.owner.session else (p.thread, p.section, stretch)
        out[slot] = codes.setdefault(unit, len(codes))
    return out
