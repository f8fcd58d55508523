from __future__ import annotations

import numpy as np
import pytest

from pinyon import Document, Note
from pinyon.index import Analyzer, IndexConfig, RerankConfig
from pinyon.measure import Corpus, Question, Room, run_corpus
from pinyon.measure.plain import Plain, Weights, benches, recalls, stacked, sums
from pinyon.models import StaticEmbedder


def test_the_plain_ranking_finds_what_the_index_finds(demo: Corpus) -> None:
    [bench] = benches(demo)
    plain = recalls(bench, sums(stacked(bench), Weights.of(IndexConfig())), (1, 10, 50))
    items = run_corpus(demo, ks=(1, 10, 50), index=IndexConfig(rerank=RerankConfig(pool=0))).items
    index = np.array([[item.recall(k) for k in (1, 10, 50)] for item in items])
    np.testing.assert_allclose(plain, index)


def test_notes_without_a_thread_have_no_section() -> None:
    room = Room("main", (Note("Ann keeps bees."), Note("Bob sails.")), (Question("bees", ("Ann keeps bees.",)),))
    [bench] = benches(Corpus("notes", (room,), lambda cube: (cube.text,)))
    legs = bench.plain.legs("bees")
    assert legs["turn"].tolist()[0] > 0
    assert not legs["section"].any()


@pytest.mark.parametrize("radius", [1, 2, 7])
def test_a_window_is_the_sum_over_a_loop_of_neighbours(demo: Corpus, radius: int) -> None:
    plain = benches(demo)[0].plain
    values = plain.length
    threads = [cube.header.provenance.thread for cube in plain.cubes]
    wanted = [
        sum(v for j, v in enumerate(values) if abs(i - j) <= radius and threads[i] == threads[j])
        for i in range(len(plain))
    ]
    np.testing.assert_allclose(plain.windowed(values, radius), wanted)


def test_units_that_are_not_linked_are_their_own_window() -> None:
    text = "\n\n".join(f"Paragraph {i} tells of bees and of boats. " * 20 for i in range(5))
    room = Room("main", (Document(text, source="a.txt"),), ())
    corpus = Corpus("document", (room,), lambda _: ())
    [bench] = benches(corpus, linked=frozenset({"turn"}))
    assert (bench.plain.before == -1).all()
    linked = Plain(bench.plain.cubes, Analyzer(), StaticEmbedder(), linked=frozenset({"turn", "chunk"}))
    assert (linked.before >= 0).sum() == len(linked) - 1
