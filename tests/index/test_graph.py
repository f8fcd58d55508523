from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pinyon.index import Dense, GraphConfig
from pinyon.index.graph import Graph
from pinyon.models import StaticEmbedder

pytest.importorskip("usearch")


def _sentences(count: int) -> list[str]:
    from pydoc_data.topics import topics

    words = " ".join(topics[name] for name in sorted(topics)).split()
    draw = np.random.default_rng(0)
    starts = draw.integers(0, len(words) - 20, count)
    return [
        " ".join(words[start : start + length])
        for start, length in zip(starts, draw.integers(5, 20, count), strict=True)
    ]


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return StaticEmbedder().embed(_sentences(1600))


def _recall(graph: Graph, rows: np.ndarray, queries: np.ndarray) -> float:
    found = 0
    for query in queries:
        near = graph.near(query, 400)
        best = near[np.argsort(-(rows[near] @ query), kind="stable")[:10]]  # scored again, as the index does
        found += len(set(best.tolist()) & set(np.argsort(-(rows @ query), kind="stable")[:10].tolist()))
    return found / (10 * len(queries))


@pytest.mark.slow
def test_nineteen_of_twenty_of_the_exact_best_are_found_among_twenty_thousand(tmp_path: Path) -> None:
    rows = StaticEmbedder().embed(_sentences(20_100))
    kept, queries = rows[:20_000], rows[20_000:]
    config = GraphConfig()
    graph = Graph(256, config)
    graph.extend(Dense(256, kept), np.ones(20_000, dtype=np.bool_), None, seconds=float("inf"))
    assert graph.covered == 20_000
    assert _recall(graph, kept, queries) >= 0.95
    graph.save(tmp_path / "graph")
    again = Graph.opened(tmp_path / "graph", 20_000, 256, config)
    assert _recall(again, kept, queries) >= 0.95


def test_a_graph_from_a_file_takes_in_what_came_since(rows: np.ndarray, tmp_path: Path) -> None:
    dense, config, path = Dense(256, rows[:1500]), GraphConfig(), tmp_path / "graph"
    graph = Graph(256, config)
    graph.extend(dense, np.ones(1000, dtype=np.bool_), None, seconds=float("inf"))
    graph.save(path)
    again = Graph.opened(path, 1000, 256, config)
    again.extend(dense, np.ones(1500, dtype=np.bool_), path, seconds=float("inf"))
    assert again.covered == 1500
    assert _recall(again, rows[:1500], rows[1500:1520]) >= 0.95


def test_building_stops_when_its_time_is_over(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinyon.index.graph._PORTION", 100)
    graph = Graph(256, GraphConfig())
    graph.extend(Dense(256, rows), np.ones(len(rows), dtype=np.bool_), None, seconds=0.0)
    assert graph.covered == 100


def test_dead_slots_and_slots_without_a_vector_are_left_out(rows: np.ndarray) -> None:
    kept = rows[:100].copy()
    kept[50] = 0
    alive = np.arange(100) != 7
    graph = Graph(256, GraphConfig())
    graph.extend(Dense(256, kept), alive, None, seconds=float("inf"))
    found, whole = set(graph.near(rows[7], 100).tolist()), set(range(100)) - {7, 50}
    assert found <= whole
    assert len(found) >= 0.9 * len(whole)  # a graph may miss some, and its threads link it differently each time


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_while_it_was_saved_is_not_opened(rows: np.ndarray, tmp_path: Path, share: float) -> None:
    graph, path = Graph(256, GraphConfig()), tmp_path / "graph"
    graph.extend(Dense(256, rows[:500]), np.ones(500, dtype=np.bool_), None, seconds=float("inf"))
    graph.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert Graph.opened(path, 500, 256, GraphConfig()) is None


def test_a_graph_of_another_width_is_not_opened(rows: np.ndarray, tmp_path: Path) -> None:
    graph = Graph(256, GraphConfig())
    graph.extend(Dense(256, rows[:100]), np.ones(100, dtype=np.bool_), None, seconds=float("inf"))
    graph.save(tmp_path / "graph")
    assert Graph.opened(tmp_path / "graph", 100, 128, GraphConfig()) is None
    assert Graph.opened(tmp_path / "graph", 99, 256, GraphConfig()) is None


def test_the_mean_inner_product_is_estimated_from_a_sample(rows: np.ndarray) -> None:
    many = np.repeat(rows, 10, axis=0)
    graph = Graph(256, GraphConfig())
    graph.covered = len(many)
    mask = np.ones(len(many), dtype=np.bool_)
    exact = float((many @ rows[1]).mean())
    assert graph.mean(rows[1], Dense(256, many), mask) == pytest.approx(exact, abs=0.01)
    assert graph.mean(rows[1], Dense(256, many), ~mask) == 0.0
