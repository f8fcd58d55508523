"""How long chunks should be: what the same amount of text from the top of the ranking holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..index import IndexConfig
from ..text import Verbatim
from .base import Corpus
from .plain import Bench, Weights, benches, stacked, sums
from .stats import Interval, bootstrap

__all__ = ["ChunkSize", "chunk_sizes", "chunk_table"]

SIZES = (300, 600, 1000, 1400, 2000)


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """What chunks of one size find.

    Args:
        corpus: Name of the corpus.
        characters: At which a chunk is closed.
        budget_characters: Text taken from the top of the ranking.
        chunks: Their number.
        recall: Share of the questions whose evidence is in that text.
    """

    corpus: str
    characters: int
    budget_characters: int
    chunks: int
    recall: Interval


def chunk_sizes(
    corpus: Corpus, *, sizes: Sequence[int] = SIZES, budgets_characters: Sequence[int] = (2000, 5000, 10000)
) -> tuple[ChunkSize, ...]:
    """Cut the documents of a corpus into chunks of several sizes and compare them at equal amounts of text.

    At equal k longer chunks would win by holding more; a prompt has room for characters, not for hits.

    Args:
        corpus: With evidence by offset, as `passages` and `squad_articles` have it.
        sizes: Characters at which a chunk is closed.
        budgets_characters: Amounts of text.
    """
    out: list[ChunkSize] = []
    for size in sizes:
        writer = Verbatim(chunk_characters=size, longest_characters=2 * size)
        [bench] = benches(corpus, writer=writer)
        scores = sums(stacked(bench), Weights.of(IndexConfig()))
        for budget in budgets_characters:
            found = bootstrap(_within(bench, scores, budget).tolist())
            out.append(ChunkSize(corpus.name, size, budget, len(bench.plain), found))
    return tuple(out)


def chunk_table(measured: Sequence[ChunkSize]) -> str:
    """Return a row a size, a column an amount of text."""
    budgets = list(dict.fromkeys(m.budget_characters for m in measured))
    cells = {(m.characters, m.budget_characters): m for m in measured}
    head = ["chunk characters", "chunks", *(f"{budget:,} characters" for budget in budgets)]
    lines = [f"### Chunk sizes: {measured[0].corpus}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for size in dict.fromkeys(m.characters for m in measured):
        row = [cells[size, budget] for budget in budgets]
        shown = [f"{100 * m.recall.value:.1f} [{100 * m.recall.low:.1f}, {100 * m.recall.high:.1f}]" for m in row]
        lines.append(f"| {size:,} | {row[0].chunks:,} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _within(bench: Bench, scores: NDArray[np.float32], budget: int) -> NDArray[np.float64]:
    """Return for each question which share of its evidence lies in the best chunks that fit the budget."""
    lengths = np.array([len(cube.text) for cube in bench.plain.cubes])
    found, pieces = np.zeros(len(bench.questions)), np.zeros(len(bench.questions))
    for number, slots in bench.gold:
        order = np.argsort(-scores[number], kind="stable")
        fits = order[np.cumsum(lengths[order]) <= budget]
        found[number] += bool(set(slots) & set(fits.tolist()))
        pieces[number] += 1
    return found / pieces
