from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import BadInput
from pinyon.index import Analyzer, IndexConfig, SearchIndex, index_text
from pinyon.store import VectorRows

from .ruled import EMBEDDER, NOW, SPACES, Ruled, ask, assert_alike, assert_as_if_alone


def _now(world: Ruled) -> int:
    return world.store.engine.head().seq


@pytest.mark.parametrize("seed", range(16))
def test_an_earlier_time_is_answered_as_it_would_have_been_then(seed: int) -> None:
    """A fresh index that read the journal only so far finds the same, without what was forgotten or closed since."""
    world = Ruled(seed, plain=seed % 3 == 0)
    index = world.index()
    for _ in range(4):
        world.live(12, forgets=seed % 2 == 0)
        index.follow()
        for _ in range(4):
            assert_as_if_alone(world, index, world.view(at=world.draw.randint(0, _now(world) + 1)))
        assert_as_if_alone(world, index, world.view())


@pytest.mark.parametrize("seed", range(8))
def test_every_instant_of_a_history_is_answered_as_it_was(seed: int) -> None:
    world = Ruled(seed, plain=True)
    world.live(25)
    index = world.index()
    for at in range(_now(world) + 2):
        view = View(world.draw.choice((Scope(), Scope(user="ann"))), SPACES, at=at)
        assert_as_if_alone(world, index, view)


@pytest.mark.parametrize("seed", range(8))
def test_an_index_built_from_the_journal_knows_the_same_past_as_the_live_one(seed: int, tmp_path: Path) -> None:
    """Whether it followed every step, skipped some, came back from a snapshot, or begins now."""
    world = Ruled(seed)
    live, seldom, written = world.index(), world.index(), world.index(folder=tmp_path)
    for number in range(20):
        world.live(3)
        live.follow()
        if number % 7 == 6:
            seldom.follow()
            written.follow()
            assert written._save()
            written = world.index(folder=tmp_path)
            assert written.is_restored
    seldom.follow()
    written.follow()
    fresh = world.index()
    for at in (None, *world.draw.sample(range(1, _now(world)), 6)):
        view, text = world.view(at), world.question()
        wanted = ask(fresh, text, view)
        for index in (live, seldom, written):
            assert_alike(ask(index, text, view), wanted)


def test_at_the_end_of_the_journal_the_answer_is_that_of_the_present() -> None:
    world = Ruled(1)
    world.live(60)
    index = world.index()
    for at in (_now(world), _now(world) + 5):
        view = View(spaces=SPACES)
        assert index._regions.of(replace(view, at=at)) is index._regions.of(view)


def test_before_the_beginning_nothing_is_found() -> None:
    world = Ruled(1)
    world.live(20)
    assert ask(world.index(), "bees mill", View(spaces=SPACES, at=0)).considered == 0


def _turn(world: Ruled, text: str, position: int, user: str | None = None) -> Cube:
    header = Header(provenance=Provenance(unit="turn", thread="t", position=position))
    return world.store.put([Draft(Text(text), header)], owner=Scope(user=user), space="main", now=NOW)[0].cube


def _becomes(world: Ruled, cube: Cube, *, text: str | None = None, **life: object) -> None:
    def changed(old: Cube) -> Cube:
        said = old.payload if text is None else Text(text)
        return replace(old, payload=said, header=replace(old.header, life=replace(old.header.life, **life)))

    view = View(cube.owner, where=Where(states=EVERY_STATE))
    world.store.update(cube.id, changed, view=view, actor=cube.owner, now=NOW, op="overwrite")


def test_the_words_of_then_are_found_then_and_those_of_now_are_found_now() -> None:
    world = Ruled(0)
    cube = _turn(world, "the old mill", 0)
    before = _now(world)
    _becomes(world, cube, text="the blue door")
    index = world.index()
    assert [len(ask(index, text, View(at=before)).terms) for text in ("mill", "door")] == [1, 0]
    assert [len(ask(index, text, View()).terms) for text in ("mill", "door")] == [0, 1]


def test_what_expired_or_was_archived_since_was_there() -> None:
    world = Ruled(0)
    first, second = _turn(world, "old mill", 0), _turn(world, "old boat", 1)
    before = _now(world)
    _becomes(world, first, state="expired")
    _becomes(world, second, state="archived")
    index = world.index()
    assert {f.row for f in ask(index, "old", View(at=before)).found} == {first.row, second.row}
    assert ask(index, "old", View()).considered == 0


@pytest.mark.parametrize("state", ["generated", "frozen"])
def test_an_end_that_was_set_then_holds_then_and_never_of_what_was_frozen(state: str) -> None:
    world = Ruled(0)
    cube = _turn(world, "old mill", 0)
    before = _now(world)
    _becomes(world, cube, expires=NOW, state=state)
    index, after = world.index(), _now(world)
    moments = [NOW + timedelta(hours=hour) for hour in (-1, 0, 1)]
    assert [ask(index, "old", View(at=before, moment=moment)).considered for moment in moments] == [1, 1, 1]
    held = int(state == "frozen")
    assert [ask(index, "old", View(at=after, moment=moment)).considered for moment in moments] == [1, held, held]
    assert [ask(index, "old", View(moment=moment)).considered for moment in moments] == [1, held, held]


class _Counting:
    """Counts the texts that are embedded."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts.extend(texts)
        return EMBEDDER.embed(texts)


@pytest.mark.parametrize("follows_each", [True, False])
def test_a_version_that_says_the_same_is_not_embedded_again(follows_each: bool) -> None:
    world, made = Ruled(0), _Counting()
    index = SearchIndex(
        world.store.engine,
        analyzer=Analyzer(),
        embedder=EMBEDDER.fingerprint,
        dimensions=EMBEDDER.dimensions,
        make=made,
    )
    cube = _turn(world, "old mill", 0)
    for state in ("activated", "archived", "activated"):
        if follows_each:
            index.follow()
        _becomes(world, cube, state=state)
    _becomes(world, cube, text="blue door")
    index.follow()
    assert made.texts == ["old mill", "blue door"]
    assert_alike(ask(index, "blue door", View()), ask(world.index(), "blue door", View()))
    assert_alike(ask(index, "old mill", View(at=2)), ask(world.index(), "old mill", View(at=2)))


def _store_vector(world: Ruled, cube: Cube) -> None:
    data = EMBEDDER.embed([index_text(cube)]).astype(np.float16)
    with world.store.engine.transaction() as tx:
        tx.put_vectors(EMBEDDER.fingerprint, VectorRows(np.array([cube.row]), np.array([cube.version]), data))


@pytest.mark.parametrize("comes", ["before", "after"])
def test_a_vector_from_the_store_serves_every_version_that_says_the_same(comes: str) -> None:
    world = Ruled(0)
    index = SearchIndex(
        world.store.engine, analyzer=Analyzer(), embedder=EMBEDDER.fingerprint, dimensions=EMBEDDER.dimensions
    )
    cube = _turn(world, "old mill", 0)
    if comes == "before":
        _store_vector(world, cube)
    index.follow()
    _becomes(world, cube, state="activated")
    index.follow()
    if comes == "after":
        assert index.lacking == 1
        _store_vector(world, world.store.engine.by_rows([cube.row])[cube.row])
        index.follow()
    assert index.lacking == 0
    for at in (1, 2):
        assert "dense" in ask(index, "old mill", View(at=at)).found[0].legs


def test_a_version_that_says_again_what_never_got_its_vector_waits_for_one() -> None:
    world = Ruled(0)
    index = SearchIndex(
        world.store.engine, analyzer=Analyzer(), embedder=EMBEDDER.fingerprint, dimensions=EMBEDDER.dimensions
    )
    cube = _turn(world, "old mill", 0)
    index.follow()
    for text in ("blue door", "old mill"):
        _becomes(world, cube, text=text)
        if text == "blue door":
            _store_vector(world, world.store.engine.by_rows([cube.row])[cube.row])
        index.follow()
    assert index.lacking == 1
    _store_vector(world, world.store.engine.by_rows([cube.row])[cube.row])
    index.follow()
    assert index.lacking == 0
    assert index._vectors.rows(np.arange(3)).any(axis=1).all()


def test_only_cubes_that_the_caller_sees_are_said_to_wait_for_a_vector() -> None:
    world = Ruled(0)
    index = SearchIndex(
        world.store.engine, analyzer=Analyzer(), embedder=EMBEDDER.fingerprint, dimensions=EMBEDDER.dimensions
    )
    _store_vector(world, _turn(world, "old mill", 0))
    _turn(world, "old boat", 1, user="bob")
    index.follow()
    assert index.lacking == 1
    assert ask(index, "old", View()).lacking == 0
    assert ask(index, "old", View(Scope(user="bob"))).lacking == 1


def test_an_index_without_a_past_gives_slots_up_and_says_so() -> None:
    world = Ruled(3)
    world.live(60)
    index, whole = world.index(config=IndexConfig(keeps_past=False)), world.index()
    assert index._table.kept == index._table.alive == len(index) < whole._table.kept
    view = world.view()
    assert_alike(ask(index, "old mill", view), ask(whole, "old mill", view))
    assert ask(index, "old mill", View(at=_now(world))).considered == ask(index, "old mill", View()).considered
    with pytest.raises(BadInput, match="no earlier versions"):
        ask(index, "old mill", View(at=1))


def test_a_snapshot_with_a_past_is_not_taken_for_one_without(tmp_path: Path) -> None:
    world = Ruled(4)
    world.live(30)
    assert world.index(folder=tmp_path)._save()
    assert world.index(folder=tmp_path).is_restored
    assert not world.index(folder=tmp_path, config=IndexConfig(keeps_past=False)).is_restored


def test_a_forgotten_cube_leaves_nothing_of_what_it_was(tmp_path: Path) -> None:
    world = Ruled(5)
    world.live(30)
    cube = _turn(world, "zebediah quillon", 3, user="ann")
    before = _now(world)
    _becomes(world, cube, text="old mill")
    view = View(Scope(user="ann"), at=before)
    index = world.index(folder=tmp_path)
    assert ask(index, "quillon", view).terms
    slots = np.flatnonzero(index._table.column("row") == cube.row)
    assert index._vectors.rows(slots).any(axis=1).tolist() == [True, True]
    world.store.remove([cube.id], view=View(Scope(user="ann")), actor=Scope(user="ann"), now=NOW)
    index.follow()
    assert not ask(index, "quillon", view).terms
    assert not index._vectors.rows(slots).any()
    assert index.problems(c.row for c in world.cubes.values()) == []
    assert index._save()
    assert cube.row not in index._table.column("row")
    assert len(index._lexical.postings("quillon")[0]) == 0


def test_a_past_without_a_present_is_a_problem() -> None:
    world = Ruled(6)
    world.live(40)
    index = world.index()
    table = index._table
    old = int(np.flatnonzero(table.column("kept") & ~table.column("alive"))[0])
    table.column("row")[old] = 9_999
    assert any("past of 1 cubes" in problem for problem in index.problems(c.row for c in world.cubes.values()))
