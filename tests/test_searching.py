from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pinyon.core.access import Access, Policy
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Provenance, Rights
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import View, Where
from pinyon.index import Analyzer, IndexConfig
from pinyon.searching import Finder
from pinyon.store import Engine, MemoryEngine, SqliteEngine, Store
from pinyon.testing import HashEmbedder
from pinyon.text import Hits

NOW = datetime(2024, 5, 1, tzinfo=UTC)
WORDS = "bees mill river old blue door winter boat letter garden".split()
ANN = Scope(user="ann")
EVERYWHERE = Where()
QUESTIONS = (
    "old mill", 'who said "blue door"', '"ees mi"', "what did Ann say of bees", "Quillon and the river", "?",
    '"Quillon"',
)  # fmt: skip


def _finder(engine: Engine) -> Finder:
    return Finder(engine, HashEmbedder(16), Analyzer(), None, IndexConfig())


def _drafts(draw: random.Random, count: int) -> list[Draft]:
    """Return turns of one conversation, some of which only others may read, some by a speaker whom only they know."""
    out = []
    for position in range(count):
        is_closed = draw.random() < 0.4
        place = Provenance(
            unit="turn",
            thread="t",
            position=position,
            speaker="Quillon" if is_closed and draw.random() < 0.5 else draw.choice(("Ann", None)),
        )
        rights = draw.choice((Rights(deny=("user:ann",)), Rights(sensitivity=("health",)))) if is_closed else Rights()
        text = " ".join(draw.choices(WORDS, k=draw.randint(2, 6)))
        tags = draw.choice(((), ("red",)))
        out.append(Draft(Text(text), Header(provenance=place, rights=rights, tags=tags), key=f"k{position}"))
    return out


def _view(where: Where = EVERYWHERE, at: int | None = None) -> View:
    policy = Policy(clearances=(("user:bob", ("health",)),))
    return View(ANN, where=where, access=Access.of(ANN, policy), at=at)


def _said(hits: Hits) -> list[tuple[object, ...]]:
    return [
        (hit.cube.text, hit.cube.header.provenance.position, [(r.leg, r.rank) for r in hit.why]) for hit in hits.hits
    ]


@pytest.mark.parametrize("seed", range(12))
def test_a_search_with_unreadable_cubes_equals_one_in_a_world_without_them(seed: int) -> None:
    draw = random.Random(seed)
    drafts = _drafts(draw, draw.choice((3, 9, 25)))
    whole, mine = (Store(MemoryEngine()) for _ in range(2))
    whole.put(drafts, owner=Scope(), space="main", now=NOW)
    mine.put([d for d in drafts if d.header.rights == Rights()], owner=Scope(), space="main", now=NOW)
    for where in (Where(), Where(speaker="Ann"), Where(tags=("red",))):
        for question in QUESTIONS:
            one, other = (_finder(store.engine).search(question, 10, _view(where)) for store in (whole, mine))
            assert _said(one) == _said(other)
            assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in other.hits], abs=1e-5)
            assert (one.considered, one.terms, one.notes) == (other.considered, other.terms, other.notes)


def _changed(store: Store, cube: Cube, text: str, tags: tuple[str, ...] = ()) -> None:
    store.update(
        cube.id,
        lambda old: replace(old, payload=Text(text), header=replace(old.header, tags=tags)),
        view=View(),
        actor=Scope(),
        now=NOW,
        op="overwrite",
    )


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    engine = MemoryEngine() if request.param == "memory" else SqliteEngine(tmp_path / "m.db")
    yield Store(engine)
    engine.close()


def test_hits_of_an_earlier_time_are_the_cubes_of_that_time(store: Store) -> None:
    first, second = (p.cube for p in store.put(
        [Draft(Text("the old mill"), Header(tags=("red",))), Draft(Text("the old boat"))],
        owner=Scope(), space="main", now=NOW,
    ))  # fmt: skip
    at = store.engine.head().seq
    _changed(store, first, "the blue door")
    _changed(store, second, "the old letter", ("red",))
    finder = _finder(store.engine)

    def texts(question: str, where: Where = EVERYWHERE, then: int | None = at) -> list[str]:
        return [hit.cube.text for hit in finder.search(question, 5, View(where=where, at=then)).hits]

    assert texts("mill") == ["the old mill", "the old boat"]  # what is near without standing out comes after
    assert texts("old", Where(tags=("red",))) == ["the old mill"]
    assert texts("old", Where(tags=("red",)), None) == ["the old letter"]
    assert texts('"old mill"')[0] == "the old mill"
    assert texts('"old mill"', then=None) == texts("old mill", then=None)
    store.remove([first.id], view=View(), actor=Scope(), now=NOW)
    assert texts("mill old") == ["the old boat"]


def test_who_lost_a_right_does_not_find_what_it_could_read_before(store: Store) -> None:
    cube = store.put([Draft(Text("the old mill"))], owner=Scope(), space="main", now=NOW)[0].cube
    at = store.engine.head().seq
    store.update(
        cube.id,
        lambda old: replace(old, header=replace(old.header, rights=Rights(deny=("user:ann",)))),
        view=View(),
        actor=Scope(),
        now=NOW,
        op="overwrite",
    )
    finder = _finder(store.engine)
    for question in ("mill", '"old mill"'):
        assert finder.search(question, 5, _view(at=at)).hits == ()
        assert len(finder.search(question, 5, View(Scope(user="bob"), at=at)).hits) == 1


def test_a_small_memory_shows_all_that_is_near_and_the_best_first(store: Store) -> None:
    store.put([Draft(Text("I never eat meat."))], owner=Scope(), space="main", now=NOW)
    finder = _finder(store.engine)
    assert [hit.cube.text for hit in finder.search("what should I cook", 5, View()).hits] == ["I never eat meat."]
    store.put([Draft(Text("The boat is blue.")), Draft(Text("Cook rice."))], owner=Scope(), space="main", now=NOW)
    hits = finder.search("what should I cook", 5, View()).hits
    assert hits[0].cube.text == "Cook rice."
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len({hit.cube.id for hit in hits}) == len(hits) == 3
