from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pinyon.core.scope import Scope
from pinyon.core.where import View, Where
from pinyon.index import GraphConfig, IndexConfig, LexicalConfig, SearchIndex

VIEWS = (
    View(),
    View(scope=Scope(user="ann")),
    View(where=Where(speaker="Ann")),
    View(where=Where(session="s0")),
    View(where=Where(states=("archived",))),
)


def _agree(world, index: SearchIndex, view: View, questions: list[str]) -> None:
    for question in questions:
        wanted = world.exhaustive(question, view)
        found = world.ask(index, question, view, k=10)
        best = sorted((score for score in wanted.values() if score > 1e-6), reverse=True)[:10]
        assert list(found.values()) == pytest.approx(best, rel=1e-4, abs=1e-5)
        for row, score in found.items():
            assert score == pytest.approx(wanted[row], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("size", [1, 7, 63])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_the_definition(world: Callable, size: int, seed: int) -> None:
    here = world(seed)
    here.add(size)
    here.add(size // 2, user="ann")
    index = here.index()
    for view in VIEWS:
        _agree(here, index, view, here.questions(5))


def test_scores_of_five_thousand_turns_are_those_of_the_definition(world: Callable) -> None:
    here = world(1)
    here.add(4500)
    here.add(500, user="ann")
    index = here.index()
    _agree(here, index, View(), here.questions(1))
    _agree(here, index, View(scope=Scope(user="ann"), where=Where(speaker="Ann")), here.questions(1))


@pytest.mark.parametrize("seed", range(6))
def test_scores_stay_right_when_cubes_change_and_go(world: Callable, seed: int) -> None:
    here = world(seed)
    index = here.index()
    for _ in range(4):
        here.add(15)
        here.add(5, user="ann")
        here.disturb(0.1)
        index.follow()
        for view in VIEWS:
            _agree(here, index, view, here.questions(2))


@pytest.mark.parametrize("seed", range(3))
def test_adds_between_searches_give_the_same_index_as_a_rebuild(world: Callable, seed: int) -> None:
    here = world(seed)
    index = here.index()
    for _ in range(30):
        here.add(here.draw.randint(1, 4))
        index.follow()
        here.ask(index, "borast kadim")
    rebuilt = here.index()
    for question in here.questions(10):
        assert here.ask(index, question) == here.ask(rebuilt, question)


def test_a_restricted_search_ranks_only_the_rows_given(world: Callable) -> None:
    here = world(2)
    cubes = here.add(60)
    index = here.index()
    rows = np.array(sorted(c.row for c in cubes[:20]), dtype=np.int64)
    found = index.search("borast kadim", vector=None, view=View(), rows=rows, k=50)
    assert found.considered == 20
    assert {f.row for f in found.found} <= set(rows.tolist())


def test_ranks_count_the_cubes_that_a_leg_puts_higher(world: Callable) -> None:
    here = world(3)
    here.add(80)
    index = here.index()
    vector = here.embedder.embed_query("borast")
    found = index.search("borast", vector=vector, view=View(), k=80).found[:20]
    for name in ("turn", "dense", "section"):
        legs = [f.legs[name] for f in found if name in f.legs]
        legs.sort(key=lambda leg: -leg.score)
        assert all(a.rank <= b.rank for a, b in pairwise(legs))
    assert any(f.legs["turn"].rank == 1 for f in found if "turn" in f.legs)


def test_without_a_vector_words_and_names_rank(world: Callable) -> None:
    here = world(4)
    here.add(40)
    found = here.index().search("borast", vector=None, view=View(), k=5).found
    assert found
    assert all("dense" not in f.legs and "window2" in f.legs for f in found)


def test_vectors_that_come_later_are_fetched(world: Callable) -> None:
    here = world(5)
    here._vectors = lambda cubes: None  # as a background job would have it
    cubes = here.add(200)
    index = here.index()
    assert index.lacking == 200
    del here._vectors
    name, data = here._vectors(cubes)
    from pinyon.store import VectorRows

    rows = np.array([c.row for c in cubes], dtype=np.int64)
    with here.engine.transaction() as tx:
        tx.put_vectors(name, VectorRows(rows, np.ones(200, dtype=np.int64), data))
    index.follow()
    assert index.lacking == 0
    _agree(here, index, View(), here.questions(3))


def test_a_snapshot_gives_the_same_answers(world: Callable, tmp_path: Path) -> None:
    here = world(6)
    here.add(1200)
    here.disturb(0.05)
    index = here.index(tmp_path)
    asked = here.questions(10)
    before = [here.ask(index, q) for q in asked]
    assert index.save()
    assert [here.ask(index, q) for q in asked] == [pytest.approx(b) for b in before]
    again = here.index(tmp_path)
    assert again.is_restored
    assert [here.ask(again, q) for q in asked] == [pytest.approx(b) for b in before]


def test_an_index_from_a_snapshot_goes_on_following(world: Callable, tmp_path: Path) -> None:
    here = world(7)
    here.add(1100)
    here.index(tmp_path).save()
    here.add(30)
    here.disturb(0.02)
    again = here.index(tmp_path)
    _agree(here, again, View(), here.questions(2))
    assert again.problems(c.row for c in here.cubes.values()) == []


def test_a_store_with_another_history_does_not_use_the_snapshot(world: Callable, tmp_path: Path) -> None:
    here, other = world(8), world(9)
    here.add(1100)
    here.index(tmp_path).save()
    other.add(1100)
    other.engine.identity = here.engine.identity  # a copy of the file that went its own way
    index = other.index(tmp_path)
    assert not index.is_restored
    assert len(index) == 1100


def _folder_holds(folder: Path, name: str) -> bool:
    return any(name.encode() in file.read_bytes() for file in folder.iterdir() if file.is_file())


def test_nothing_of_a_forgotten_cube_stays_in_a_later_snapshot(world: Callable, tmp_path: Path) -> None:
    here = world(10)
    here.add(1500)
    secret = here.add(3, user="zebediah", speaker="Quillon", source="/home/secret-diary.txt")
    index = here.index(tmp_path)
    vector = here.embedder.embed([c.text for c in secret])
    assert index.save()
    names = ("zebediah", "Quillon", "secret-diary.txt")
    assert all(_folder_holds(tmp_path, name) for name in names)
    here.forget(secret)
    assert index.save()
    assert not any(_folder_holds(tmp_path, name) for name in names)
    again = here.index(tmp_path)
    assert again.is_restored
    assert len(again) == 1500
    rows = next(iter(tmp_path.glob("*.vectors"))).stat().st_size // (4 * vector.shape[1])
    assert rows == 1500
    _agree(here, again, View(), here.questions(1))


def test_a_snapshot_written_by_a_process_that_missed_a_forgetting_is_dropped(world: Callable, tmp_path: Path) -> None:
    here = world(11)
    cubes = here.add(1500)
    index = here.index(tmp_path)
    follow, index.follow = index.follow, lambda progress=None: 0  # the other process has not looked yet
    here.forget(cubes[:1])
    index.save()
    assert not (tmp_path / "CURRENT").exists()
    index.follow = follow
    assert index.save()
    assert len(here.index(tmp_path)) == 1499


@pytest.mark.parametrize("keeps_past", [False, True])
def test_slots_of_cubes_that_changed_often_are_given_up_or_kept(
    world: Callable, tmp_path: Path, keeps_past: bool
) -> None:
    here = world(12)
    cubes = here.add(1000)
    index = here.index(tmp_path, IndexConfig(keeps_past=keeps_past))
    for cube in cubes[:600]:
        here.update(here.cubes[cube.id])
    index.follow()
    index.save()
    slots = here.engine.head().seq if keeps_past else 1000
    assert next(iter(tmp_path.glob("*.vectors"))).stat().st_size == slots * 4 * here.embedder.dimensions
    _agree(here, index, View(), here.questions(1))


def test_the_tail_is_folded_in_without_a_change_of_answers(world: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world(13)
    index, plain = here.index(), here.index()
    monkeypatch.setattr("pinyon.index.lexical._SMALLEST_MERGE", 200)
    for _ in range(10):
        here.add(40)
        here.disturb(0.03)
        index.follow()
    monkeypatch.undo()
    plain.follow()
    for question in here.questions(10):
        assert here.ask(index, question) == pytest.approx(here.ask(plain, question), rel=1e-5)


def test_impossible_constants_are_refused() -> None:
    with pytest.raises(ValueError, match="BM25"):
        LexicalConfig(b=1.0)
    with pytest.raises(ValueError, match="sizes"):
        GraphConfig(pool=0)


def test_the_graph_is_not_asked_about_a_narrow_region(world: Callable, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    here = world(14)
    here.add(1500)
    here.add(40, user="ann")
    config = IndexConfig(graph=GraphConfig(least_slots=1000))
    index = here.index(tmp_path, config)
    assert index.build_graph()
    narrow = View(where=Where(session="s3"))
    _agree(here, index, narrow, here.questions(3))


def test_with_a_graph_the_best_are_those_of_the_exact_search(world: Callable, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    here = world(15)
    here.add(3000)
    exact = here.index()
    wide = GraphConfig(least_slots=1000)
    index = here.index(tmp_path, IndexConfig(graph=wide))
    assert index.build_graph()
    index = here.index(tmp_path, IndexConfig(graph=wide))
    here.add(60)
    here.disturb(0.01)
    index.follow()
    exact.follow()
    shared = 0
    for question in (asked := here.questions(20)):
        shared += len(set(here.ask(index, question)) & set(here.ask(exact, question)))
    assert shared >= 0.95 * 10 * len(asked)


def test_a_damaged_graph_is_left_alone_and_built_again(world: Callable, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    here = world(16)
    here.add(1500)
    config = IndexConfig(graph=GraphConfig(least_slots=1000))
    assert here.index(tmp_path, config).build_graph()
    graph = next(iter(tmp_path.glob("*.graph")))
    graph.write_bytes(graph.read_bytes()[:-100])
    index = here.index(tmp_path, config)
    assert index.is_restored
    _agree(here, index, View(), here.questions(2))  # exact, because there is no graph
    assert index.build_graph()
    assert here.index(tmp_path, config)._graph is not None


def test_a_graph_outlives_snapshots_and_takes_in_what_came_since(world: Callable, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    here = world(19)
    here.add(1200)
    config = IndexConfig(graph=GraphConfig(least_slots=1000))
    index = here.index(tmp_path, config)
    assert index.build_graph()
    index._save()  # copies the graph as it is
    here.add(1100)
    assert index.save()
    assert index._graph.covered == 2300
    assert here.index(tmp_path, config)._graph.covered == 2300


def test_a_forgetting_drops_the_graph_with_the_vectors_in_it(world: Callable, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    here = world(17)
    cubes = here.add(1500)
    config = IndexConfig(graph=GraphConfig(least_slots=1000))
    index = here.index(tmp_path, config)
    assert index.build_graph()
    here.forget(cubes[:5])
    assert index.save()
    again = here.index(tmp_path, config)
    assert again._graph is not None
    assert again._graph.covered == 1495


def test_searches_of_several_threads_do_not_disturb_each_other(world: Callable) -> None:
    from concurrent.futures import ThreadPoolExecutor

    here = world(18)
    here.add(300)
    index = here.index()
    asked = here.questions(60)
    alone = [here.ask(index, q) for q in asked]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda q: here.ask(index, q), asked)) == alone
