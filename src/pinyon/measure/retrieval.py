"""Put questions with known evidence to a memory and count what it finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import BadInput
from ..index import FuseConfig, IndexConfig, LexicalConfig, RerankConfig
from ..memory import Memory
from ..models import Embedder
from .base import Corpus, Item, Question, Report, recall_metrics, surroundings, timings

__all__ = ["CONTROLS", "KS", "run_corpus"]

KS = (1, 5, 10, 20, 50)
_ALONE = 1000.0  # weight at which the other leg only breaks ties: its share of the sum is at most a thousandth
_NO_SECOND_LOOK = RerankConfig(pool=0)

CONTROLS: dict[str, IndexConfig] = {
    "BM25 of the turn or chunk": IndexConfig(
        LexicalConfig(window1=0.0, window2=0.0, section=0.0), FuseConfig(dense=0.0, speaker=0.0), rerank=_NO_SECOND_LOOK
    ),
    "dense alone": IndexConfig(
        LexicalConfig(window1=0.0, window2=0.0, section=0.0),
        FuseConfig(dense=_ALONE, speaker=0.0),
        rerank=_NO_SECOND_LOOK,
    ),
    "the first sum alone": IndexConfig(rerank=_NO_SECOND_LOOK),
}
"""Single legs and their sum, through the same index, text and questions."""


def run_corpus(
    corpus: Corpus,
    *,
    ks: Sequence[int] = KS,
    system: str = "default",
    index: IndexConfig | None = None,
    embedder: Embedder | str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """Add a corpus to a fresh memory, ask every question, and report recall@k.

    Everything goes through the verbs of `Memory`: what is measured is what a user gets.

    Args:
        corpus: Rooms and questions.
        ks: Depths, each >= 1; the deepest one is asked for.
        system: How the report calls what was measured.
        index: Weights and constants, or None for the default.
        embedder: As for `Memory.open`.
        progress: Told 1 after each question.

    Returns:
        A report whose recall is the share of a question's evidence among the first k, averaged over the questions.

    Raises:
        BadInput: Evidence of a question is in no cube.
    """
    start = time.perf_counter()
    items: list[Item] = []
    cubes = 0
    with Memory.open(":memory:", index=index, embedder=embedder) as memory:
        for room in corpus.rooms:
            here = memory.at(space=room.space)
            here.add_many(room.experiences)
            here.catch_up()
            stored = list(here.iterate())
            known = {name for cube in stored for name in corpus.names(cube)}
            cubes += len(stored)
            for question in room.questions:
                items.append(_ask(here, room.space, question, corpus, known, max(ks)))
                if progress is not None:
                    progress(1)
    machine, versions = surroundings()
    middle, slow = timings(items)
    return Report(
        name=corpus.name,
        system=system,
        metrics=recall_metrics(items, ks),
        n=sum(item.is_counted for item in items),
        seconds=time.perf_counter() - start,
        cubes=cubes,
        search_ms=middle,
        search_p95_ms=slow,
        machine=machine,
        versions=versions,
        items=tuple(items),
    )


def _ask(memory: Memory, space: str, question: Question, corpus: Corpus, known: set[str], k: int) -> Item:
    missing = set(question.evidence) - known
    if missing or not question.evidence:
        raise BadInput(f"the evidence {sorted(missing)!r} of {question.text!r} is in no cube of {corpus.name}")
    start = time.perf_counter()
    found = memory.search(question.text, k=k)
    ms = (time.perf_counter() - start) * 1000
    rank: dict[str, int] = {}
    for place, hit in enumerate(found.hits, 1):
        for name in corpus.names(hit.cube):
            rank.setdefault(name, place)
    ranks = tuple(rank.get(name, 0) for name in dict.fromkeys(question.evidence))
    return Item(space, question.text, question.category, ranks, ms, question.is_counted)
