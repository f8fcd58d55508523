from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pinyon.core.scope import Scope
from pinyon.core.where import LIVE_STATES, View, Where
from pinyon.index import Analyzer, Aspects, IndexConfig, RerankConfig, SearchIndex, index_text
from pinyon.index.cues import cues_of, unpacked
from pinyon.index.rerank import FITS, WEIGHTS

from . import ruled

DAY = 86_400_000_000
MARKS = ("asks", "ends_asking", "first_person", "second_person", "exclaims", "capitals")
SCALED = ("question", "topic", "near_question", "near_topic", "wide_question", "wide_topic", "near_feedback")


class Watch:
    """Keeps what the second look was told."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.base: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self.found: Mapping[str, NDArray[np.float32]] = {}

    def __call__(
        self, rows: NDArray[np.int64], base: NDArray[np.float32], found: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self.rows, self.base, self.found = rows.tolist(), base.copy(), found


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b) / max(float(np.linalg.norm(a)), 1e-9)


def _scaled(values: list[float]) -> list[float]:
    low, high = sum(values) / len(values), max(values)
    return [(value - low) / (high - low) if high - low >= 1e-6 else 0.0 for value in values]


def _naive(here, view: View, question: str, rows: list[int], aspects: Aspects) -> dict[str, list[float]]:
    """Work out the features of rows, turn by turn, from the definition; the shares of words aside."""
    cubes = {c.row: c for c in here.cubes.values()}
    seen = {row for row, c in cubes.items() if view.admits(c)}
    threads: dict[object, list[int]] = {}
    for row, c in cubes.items():
        p, o = c.header.provenance, c.owner
        if p.unit == "turn" and p.thread is not None and c.header.life.state in LIVE_STATES:
            threads.setdefault((c.space, o.tenant, o.user, o.agent, p.thread), []).append(row)
    place: dict[int, tuple[list[int], int]] = {}
    for members in threads.values():
        members.sort(key=lambda r: (-1 if (p := cubes[r].header.provenance.position) is None else p, r))
        place |= {row: (members, at) for at, row in enumerate(members)}
    asked = set(question.lower().split())
    vector = {
        row: here.embedder.embed([index_text(cubes[row])])[0].astype(np.float16).astype(np.float32) for row in seen
    }
    names = {c.header.provenance.speaker for row, c in cubes.items() if row in seen and c.header.provenance.speaker}
    named = {name for name in names if set(name.lower().split()) <= asked}
    said = {word for name in named for word in name.lower().split()}
    about = " ".join(word for word in Analyzer().content(question) if word not in said)
    query = here.embedder.embed_query(question)
    topic = aspects.embed(about) if about and aspects.embed else query

    def beside(row: int, step: int) -> int | None:
        members, at = place.get(row, ([row], 0))
        found = members[at + step] if 0 <= at + step < len(members) else None
        return found if found in seen else None

    def window(row: int, reach: int) -> NDArray[np.float32]:
        around = [row, *(r for d in range(1, reach + 1) for s in (-d, d) if (r := beside(row, s)) is not None)]
        return np.sum([vector[r] for r in around], axis=0)

    def speaks(row: int | None) -> float:
        return float(row is not None and cubes[row].header.provenance.speaker in named)

    mean = np.mean([vector[row] for row in rows[:5]], axis=0)
    feedback = topic + mean / max(float(np.linalg.norm(mean)), 1e-9)
    feedback /= np.linalg.norm(feedback)
    out: dict[str, list[float]] = {
        name: [] for name in (*SCALED, "speaker", "spoken_to", "answered", "alike", "prompted")
    }
    out |= {"begins": [], "length": [], "moment": [], **{name: [] for name in MARKS}}
    kinship = []
    for row in rows:
        near, wide = window(row, 2), window(row, 4)
        before = beside(row, -1)
        kinship.append(_cosine(near - vector[row], vector[row]))
        count = len(Analyzer().terms(index_text(cubes[row])))
        marks = unpacked(np.array([cues_of(cubes[row].text)]))
        for name, value in (
            ("question", float(vector[row] @ query)),
            ("topic", float(vector[row] @ topic)),
            ("near_question", _cosine(near, query)),
            ("near_topic", _cosine(near, topic)),
            ("wide_question", _cosine(wide, query)),
            ("wide_topic", _cosine(wide, topic)),
            ("near_feedback", _cosine(near, feedback)),
            ("speaker", speaks(row)),
            ("spoken_to", speaks(before)),
            ("answered", speaks(beside(row, 1))),
            ("alike", float(np.mean([max(float(vector[row] @ vector[best]), 0.0) for best in rows[:3]]))),
            ("prompted", 0.0 if before is None else float("?" in cubes[before].text)),
            ("begins", float(before is None)),
            ("length", math.log1p(min(count, 54)) / 4),
            *((name, min(1.0, 40 / count) * float(marks[name][0])) for name in MARKS),
            ("moment", _closeness(cubes[row].time.timestamp() * 1e6, aspects.moments)),
        ):
            out[name].append(value)
    out |= {name: _scaled(out[name]) for name in SCALED}
    flow = sum(kinship) / len(kinship)
    for name in {*FITS} - {"turn", "window1", "window2", "section"}:
        out[f"flowing_{name}"] = [flow * value for value in out[name]]
        out[f"alone_{name}"] = [
            (1 - min(max(near / 0.5, 0.0), 1.0)) * value for near, value in zip(kinship, out[name], strict=True)
        ]
    return out


def _closeness(time: float, moments: tuple[tuple[int, int], ...]) -> float:
    worth = [math.exp(-max(time - end, 0) / (7 * DAY) - max(start - time, 0) / (2 * DAY)) for start, end in moments]
    return max(worth, default=0.0)


@pytest.mark.parametrize("size", [1, 7, 63])
@pytest.mark.parametrize("seed", range(3))
def test_features_are_those_of_the_definition(world: Callable, size: int, seed: int) -> None:
    here = world(seed)
    here.add(size)
    here.add(size // 2, user="ann")
    watch = Watch()
    index = here.index(config=IndexConfig(rerank=RerankConfig(watch=watch)))
    middle = int(ruled.NOW.timestamp() * 1e6) - 200 * DAY
    aspects = Aspects(here.embedder.embed_query, True, True, False, ((middle, middle + 30 * DAY),))
    for view in (View(), View(scope=Scope(user="ann")), View(where=Where(speaker="Ann"))):
        for question in here.questions(3):
            vector = here.embedder.embed_query(question)
            watch.rows = []
            index.search(question, vector=vector, view=view, k=10, aspects=aspects)
            if watch.rows:
                for name, wanted in _naive(here, view, question, watch.rows, aspects).items():
                    assert watch.found[name].tolist() == pytest.approx(wanted, rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize("seed", range(3))
def test_every_fit_counts_by_how_much_the_words_reached(world: Callable, seed: int) -> None:
    here = world(seed)
    here.add(60)
    here.add(20, user="ann")
    watch = Watch()
    index = here.index(config=IndexConfig(rerank=RerankConfig(watch=watch)))
    for view in (View(), View(scope=Scope(user="ann")), View(where=Where(speaker="Ann"))):
        for question in [*here.questions(4), "borast unheard"]:
            vector = here.embedder.embed_query(question)
            found = index.search(question, vector=vector, view=view, k=5, aspects=Aspects()).found
            reach = here.reach(question, view)
            assert 0 <= reach <= 1
            assert all(f.legs["reach"].score == pytest.approx(reach, rel=1e-4) for f in found)
            for name in FITS:
                wanted = watch.found[name] * min(1.0, reach / 0.4)
                np.testing.assert_allclose(watch.found[f"reached_{name}"], wanted, rtol=1e-4, atol=1e-5)


def test_what_is_nearest_in_meaning_is_looked_at_whatever_the_words_say(world: Callable) -> None:
    here = world(4)
    here.add(300)
    question = "borast kadim"
    vector = here.embedder.embed_query(question)
    looks = []
    for nearest in (0, 7):
        watch = Watch()
        index = here.index(config=IndexConfig(rerank=RerankConfig(pool=20, nearest=nearest, watch=watch)))
        index.search(question, vector=vector, view=View(), k=5, aspects=Aspects())
        looks.append(watch.rows)
    few, more = looks
    assert more[: len(few)] == few
    dense = {
        c.row: float(here.embedder.embed([index_text(c)])[0].astype(np.float16).astype(np.float32) @ vector)
        for c in here.cubes.values()
    }
    nearest = sorted(dense, key=lambda row: (-dense[row], row))[:7]
    assert set(more) == {*few, *nearest}
    assert set(more) > set(few)


@pytest.mark.parametrize("seed", range(3))
def test_a_memory_that_fits_into_the_pool_is_looked_at_whole(world: Callable, seed: int) -> None:
    here = world(seed)
    here.add(60)
    question = here.questions(1)[0]
    vector = here.embedder.embed_query(question)
    turns = {c.row for c in here.cubes.values() if View().admits(c) and c.header.provenance.unit == "turn"}
    looked: dict[tuple[int, bool], set[int]] = {}
    for pool in (len(here.cubes), len(here.cubes) // 2):
        watch = Watch()
        index = here.index(config=IndexConfig(rerank=RerankConfig(pool=pool, nearest=5, watch=watch)))
        for is_filled in (False, True):
            found = index.search(question, vector=vector, view=View(), k=5, aspects=Aspects(), is_filled=is_filled)
            looked[pool, is_filled] = set(watch.rows)
            assert len(found.found) == 5
            assert all(a.score >= b.score for a, b in pairwise(found.found))
    assert looked[len(here.cubes), True] == turns
    assert looked[len(here.cubes), False] < turns  # the sum puts some below what stands out at all
    assert looked[len(here.cubes) // 2, True] == looked[len(here.cubes) // 2, False]


def test_a_long_text_shows_no_more_of_itself_than_a_short_one(world: Callable) -> None:
    here = world(5)
    text = "Why? I say so! You, Ann and Bo Lind, did not. "
    watch = Watch()
    index = here.index(config=IndexConfig(rerank=RerankConfig(watch=watch)))
    here.write([text + "kadim " * 10, text + "kadim " * 100])
    index.follow()
    index.search("kadim", vector=here.embedder.embed_query("kadim"), view=View(), aspects=Aspects())
    short, long = (watch.rows.index(row) for row in sorted(watch.rows))
    for name in MARKS:
        assert watch.found[name][long] < 0.5 * watch.found[name][short] or watch.found[name][short] == 0
    assert watch.found["asks"][short] == 1
    assert watch.found["length"][long] == pytest.approx(math.log1p(54) / 4)


@pytest.mark.parametrize("seed", range(3))
def test_the_second_score_is_the_weighted_sum_and_decides_the_order(world: Callable, seed: int) -> None:
    here = world(seed)
    here.add(60)
    watch = Watch()
    index = here.index(config=IndexConfig(rerank=RerankConfig(watch=watch)))
    for question in here.questions(4):
        vector = here.embedder.embed_query(question)
        found = index.search(
            question, vector=vector, view=View(), k=60, aspects=Aspects(here.embedder.embed_query)
        ).found
        sums = [sum(weight * float(watch.found[name][at]) for name, weight in WEIGHTS) for at in range(len(watch.rows))]
        best, first = sorted(sums, reverse=True)[:20], sorted(watch.base.tolist(), reverse=True)[:20]
        shift = sum(first) / len(first) - sum(best) / len(best)
        wanted = {row: each + shift for row, each in zip(watch.rows, sums, strict=True)}
        assert {f.row: f.score for f in found} == pytest.approx(wanted, rel=1e-4, abs=1e-5)
        assert all(a.score >= b.score for a, b in pairwise(found))


def test_a_second_look_at_one_turn_leaves_its_score(world: Callable) -> None:
    here = world(2)
    here.write(["kadim borast"])
    index = here.index()
    vector = here.embedder.embed_query("kadim")
    [first] = index.search("kadim", vector=vector, view=View()).found
    [second] = index.search("kadim", vector=vector, view=View(), aspects=Aspects()).found
    assert second.score == pytest.approx(first.score)


def test_every_weight_is_of_a_feature(world: Callable) -> None:
    here = world(1)
    here.add(9)
    watch = Watch()
    index = here.index(config=IndexConfig(rerank=RerankConfig(watch=watch)))
    vector = here.embedder.embed_query("borast")
    index.search("borast", vector=vector, view=View(), aspects=Aspects())
    assert set(watch.found) == {name for name, _ in WEIGHTS}


@pytest.mark.parametrize("pool", [0, 400])
def test_without_aspects_or_without_a_pool_the_first_sum_stands(world: Callable, pool: int) -> None:
    here = world(2)
    here.add(40)
    index = here.index(config=IndexConfig(rerank=RerankConfig(pool=pool)))
    question = here.questions(1)[0]
    wanted = here.exhaustive(question, View())
    vector = here.embedder.embed_query(question)
    aspects = None if pool else Aspects(here.embedder.embed_query)
    found = index.search(question, vector=vector, view=View(), k=10, aspects=aspects).found
    assert found
    assert all(f.score == pytest.approx(wanted[f.row], rel=1e-4, abs=1e-5) for f in found)


def test_the_second_look_finds_the_same_cubes_when_all_are_asked_for(world: Callable) -> None:
    here = world(3)
    here.add(50)
    index = here.index()
    for question in here.questions(5):
        vector = here.embedder.embed_query(question)
        first = index.search(question, vector=vector, view=View(), k=100).found
        second = index.search(question, vector=vector, view=View(), k=100, aspects=Aspects()).found
        assert {f.row for f in first} == {f.row for f in second}


@pytest.mark.parametrize("seed", range(12))
def test_what_others_wrote_changes_nothing_in_a_second_look(seed: int) -> None:
    world = ruled.Ruled(seed)
    world.live(world.size)
    index = world.index()
    aspects = Aspects(ruled.EMBEDDER.embed_query, True, False, True)
    for _ in range(4):
        view = world.view()
        alone = world.index(ruled.Seen(world.store.engine, view))
        question = world.question()
        vector = ruled.EMBEDDER.embed_query(question)
        one = index.search(question, vector=vector, view=view, k=ruled.ALL, aspects=aspects)
        other = alone.search(question, vector=vector, view=replace(view, at=None), k=ruled.ALL, aspects=aspects)
        theirs = {f.row: f.score for f in other.found}
        assert {f.row for f in one.found} == set(theirs)
        assert all(abs(f.score - theirs[f.row]) <= 1e-3 for f in one.found)


def test_a_snapshot_keeps_the_cues(world: Callable, tmp_path: Path) -> None:
    here = world(6)
    here.add(1200)
    index = here.index(tmp_path)
    asked = here.questions(5)

    def ask(index: SearchIndex) -> list[list[tuple[int, float]]]:
        return [
            [(f.row, round(f.score, 4)) for f in index.search(
                q, vector=here.embedder.embed_query(q), view=View(), aspects=Aspects(here.embedder.embed_query)
            ).found]
            for q in asked
        ]  # fmt: skip

    before = ask(index)
    assert index.save()
    again = here.index(tmp_path)
    assert again.is_restored
    assert ask(again) == before
    column = again._table.column("cues")
    row = again._table.column("row")
    cubes = {c.row: c for c in here.cubes.values()}
    picked = random.Random(1).sample(range(len(row)), 20)
    assert [int(column[slot]) for slot in picked] == [cues_of(cubes[int(row[slot])].text) for slot in picked]
    assert unpacked(column)["asks"].shape == (len(row),)
