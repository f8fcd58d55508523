"""Search inside PostgreSQL against a plain computation, and against the plain query that falls into the filter trap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
from pg_server import WHY_NOT, shared

from pinyon.core.cube import Draft
from pinyon.core.header import Header, Life
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import View, Where
from pinyon.errors import BadInput
from pinyon.store import Store
from pinyon.store.postgres import PostgresEngine, PostgresSearch, grant_walls

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]
NOW = datetime(2024, 5, 1, tzinfo=UTC)
CUBES = 4000
OF_ANN = 40  # one in a hundred
WIDTH = 16
ANN = Scope(user="ann")
K = 10


@dataclass
class World:
    engine: PostgresEngine
    data: np.ndarray
    ann: np.ndarray
    questions: np.ndarray

    def nearest(self, question: np.ndarray, rows: np.ndarray) -> list[int]:
        """Return the nearest rows, each compared."""
        near = self.data[rows - 1].astype(np.float32) @ question.astype(np.float16).astype(np.float32)
        return rows[np.argsort(-near, kind="stable")[:K]].tolist()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    engine = PostgresEngine(f"{shared().address}?schema=searched", buckets=2)
    chance = np.random.default_rng(7)
    data = chance.normal(size=(CUBES, WIDTH))
    data = (data / np.linalg.norm(data, axis=1, keepdims=True)).astype(np.float16)
    ann = np.sort(chance.choice(np.arange(1, CUBES + 1), OF_ANN, replace=False))
    store, mine = Store(engine), set(ann.tolist())
    start = 0
    while start < CUBES:  # runs of one owner, so that rows are known beforehand
        owner = ANN if start + 1 in mine else Scope(user="bob")
        end = start + 1
        while end < CUBES and (end + 1 in mine) == (start + 1 in mine) and end - start < 1000:
            end += 1
        made = [Draft(Text(f"cube {number} says word{number % 97}")) for number in range(start + 1, end + 1)]
        store.put(made, owner=owner, space="main", now=NOW,
                  embed=lambda cubes: ("f", data[[cube.row - 1 for cube in cubes]]))  # fmt: skip
        start = end
    with engine.links.hold() as db:
        db.execute("ANALYZE")
    PostgresSearch(engine, "f").prepare()
    questions = chance.normal(size=(30, WIDTH))
    yield World(engine, data, ann, questions / np.linalg.norm(questions, axis=1, keepdims=True))
    engine.close()


def recall(found: list[list[int]], wanted: list[list[int]]) -> float:
    return sum(len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)) / sum(len(b) for b in wanted)


def test_a_hundredth_of_the_rows_is_searched_exactly_where_the_plain_query_finds_hardly_any(world: World) -> None:
    wanted = [world.nearest(question, world.ann) for question in world.questions]
    plain = []
    with world.engine.links.hold() as db:
        for setting in ("enable_seqscan", "enable_sort", "enable_hashjoin", "enable_mergejoin"):
            db.execute(f"SET {setting} = off")  # the plan that PostgreSQL takes by itself at a hundred thousand rows
        for question in world.questions:
            said = "[" + ",".join(map(str, question)) + "]"
            found = db.execute(
                "SELECT v.row FROM vectors v JOIN cubes c ON c.space = v.space AND c.row = v.row"
                f" WHERE v.embedder = 1 AND c.\"user\" = 'ann' ORDER BY v.data::halfvec({WIDTH}) <#> %s LIMIT {K}",
                (said,),
            )
            plain.append([row for (row,) in found])
        db.close()
    search = PostgresSearch(world.engine, "f")
    ours = [[one.row for one in search.search([], q, View(ANN), K)] for q in world.questions]
    assert recall(plain, wanted) < 0.3
    assert recall(ours, wanted) >= 0.99


@pytest.mark.parametrize("who", ["ann", "bob"])
def test_above_the_limit_the_index_goes_on_until_enough_are_found(world: World, who: str) -> None:
    search = PostgresSearch(world.engine, "f", exact_below=1)
    bobs = np.setdiff1d(np.arange(1, CUBES + 1), world.ann)
    rows = world.ann if who == "ann" else bobs
    wanted = [world.nearest(question, rows) for question in world.questions]
    found = [[one.row for one in search.search([], q, View(Scope(user=who)), K)] for q in world.questions]
    assert all(set(mine) <= set(rows.tolist()) for mine in found)
    assert recall(found, wanted) >= 0.95


def test_words_are_found_in_scope_alone_and_fused_with_vectors(world: World) -> None:
    search = PostgresSearch(world.engine, "f")
    row = int(world.ann[0])
    found = search.search([f"word{row % 97}", "& | ! (", "\x00"], world.data[row - 1], View(ANN), 3)
    assert (found[0].row, found[0].legs["words"], found[0].legs["vectors"]) == (row, 1, 1)
    assert {one.row for one in search.search([f"word{row % 97}"], None, View(ANN), 99)} == {
        r for r in world.ann.tolist() if r % 97 == row % 97
    }
    assert search.search(["word1"], None, View(Scope(user="carl")), 9) == []
    assert search.search([], None, View(ANN), 9) == []


def test_a_text_of_megabytes_and_one_without_vector_are_found_by_words(address: str) -> None:
    engine = PostgresEngine(address, buckets=2)
    search = PostgresSearch(engine, "f", config="english")
    long = " ".join(f"w{number}" for number in range(60_000))
    draft = Draft(Text("bees " + long), Header(life=Life(state="archived")))
    Store(engine).put([draft], owner=ANN, space="main", now=NOW)
    search.prepare()
    view = View(ANN, where=Where(states=("archived",)))
    assert [one.row for one in search.search(["bee"], np.ones(4), view, 3)] == [1]
    search.prepare()  # once more changes nothing
    engine.close()


def test_a_question_of_another_width_is_refused(world: World) -> None:
    with pytest.raises(BadInput, match="16 dimensions"):
        PostgresSearch(world.engine, "f").search([], np.ones(3), View(ANN), 3)


def test_under_row_level_security_the_answers_are_the_same(world: World) -> None:
    grant_walls(world.engine, "pinyon_searcher")
    walled = PostgresEngine(f"{shared().address}?schema=searched", role="pinyon_searcher")
    for question in world.questions[:5]:
        for limit in (1, 20_000):
            one, two = (PostgresSearch(e, "f", exact_below=limit) for e in (world.engine, walled))
            assert one.search(["word3"], question, View(ANN), K) == two.search(["word3"], question, View(ANN), K)
    walled.close()
