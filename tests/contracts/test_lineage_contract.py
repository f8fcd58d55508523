"""What is made of others is read by nobody who may not read all of these today: random worlds against plain words."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_rights_contract import Asking, may

from pinyon.core.access import OPEN, Access, Policy, SpaceRights
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Lineage, Parent, Rights, header_from_json, header_to_json
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.index import Analyzer, SearchIndex
from pinyon.store import MemoryEngine, Store, export_cubes, import_archive
from pinyon.store._writer import Writer

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
SPACES = ("main", "work", "ward")
OWNERS = (Scope(), Scope(user="ann"), Scope(user="bob"), Scope(user="bob", agent="bot"))
CALLERS = (*OWNERS, Scope(user="eve"), Scope(tenant="t", user="ann"))
NAMES = ("*", "user:ann", "user:bob", "user:eve", "agent:bot", "group:care", "role:nurse")
LABELS = ("health", "money")
PURPOSES = ("care", "research")
STEWARD = Access.steward(None, NOW)
EVERYTHING = View(STEWARD.scope, SPACES, Where(states=EVERY_STATE), STEWARD)
RELATIONS = ("derived", "merged", "converted")


class World:
    """A store in which things are made of others, and beside it what plain words say of who may read them."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.chance = random.Random(seed)
        self.made_of: dict[str, tuple[str, ...]] = {}
        self.last: dict[tuple[str, str], list[Cube]] = {}  # of what was made: of a source that is gone, all its rules
        self.policy = OPEN
        self.number = 0
        self.index: SearchIndex | None = None  # one that lives through all changes of the rules

    def cube(self, id: str) -> Cube:
        found = self.store.engine.get(id, EVERYTHING)
        assert found is not None
        return found

    def names(self, most: int) -> tuple[str, ...]:
        return tuple(self.chance.sample(NAMES, self.chance.randint(0, most)))

    def rights(self) -> Rights:
        chance = self.chance
        if chance.random() < 0.4:
            return Rights()
        seldom = chance.random() < 0.25
        return Rights(
            read=self.names(2),
            share=self.names(1),
            deny=self.names(1) if seldom else (),
            sensitivity=(chance.choice(LABELS),) if chance.random() < 0.25 else (),
            purposes=(chance.choice(PURPOSES),) if chance.random() < 0.1 else (),
            tasks=("rounds",) if chance.random() < 0.1 else (),
            hours=(600, 780) if chance.random() < 0.1 else None,
        )

    def rule(self) -> None:
        chance = self.chance
        labels = tuple(chance.sample(LABELS, chance.randint(0, 2)))
        spaces = chance.sample(SPACES, chance.randint(0, 3))
        self.policy = Policy(
            groups=(("care", self.names(2)),) if chance.random() < 0.8 else (),
            roles=(("nurse", self.names(2)),) if chance.random() < 0.8 else (),
            spaces=tuple(sorted((name, SpaceRights(self.rights(), self.names(2))) for name in spaces)),
            clearances=(("role:nurse", labels),) if labels and chance.random() < 0.5 else (),
            is_closed=chance.random() < 0.2,
        )

    def step(self) -> None:
        what = self.chance.choice(["put", "put", "make", "make", "make", "change", "change", "update", "purge"])
        if what == "put" or not self.made_of:
            self.put(())
        elif what == "make":
            ids = sorted(self.made_of)
            self.put(tuple(self.chance.sample(ids, min(len(ids), self.chance.randint(1, 3)))))
        else:
            getattr(self, what)(self.chance.choice(sorted(self.made_of)))

    def put(self, sources: tuple[str, ...]) -> None:
        self.number += 1
        parents = tuple(Parent(id, self.cube(id).version, self.chance.choice(RELATIONS)) for id in sources)  # type: ignore[arg-type]
        text = f"bees {self.number}"
        payload = (
            State((), {"model": f"m{self.number}"}, tokens=3) if sources and self.chance.random() < 0.2 else Text(text)
        )
        draft = Draft(payload, Header(rights=self.rights(), lineage=Lineage(parents)), key=text)
        owner, space = self.chance.choice(OWNERS), self.chance.choice(SPACES)
        (placed,) = self.store.put([draft], owner=owner, space=space, now=NOW)
        self.made_of[placed.cube.id] = sources

    def change(self, id: str) -> None:
        rights = self.rights()
        self.write(id, lambda old: replace(old, header=replace(old.header, rights=rights)))

    def update(self, id: str) -> None:
        self.number += 1
        self.write(id, lambda old: replace(old, payload=Text(f"bees anew {self.number}")))

    def write(self, id: str, change: object) -> None:
        self.store.update(id, change, view=EVERYTHING, actor=Scope(user="root"), now=NOW)  # type: ignore[arg-type]

    def purge(self, id: str) -> None:
        rules = self.rules(id)
        children = [made for made, sources in self.made_of.items() if id in sources]
        self.store.remove([id], view=EVERYTHING, actor=Scope(user="root"), now=NOW)
        self.last.update({(made, id): rules for made in children})
        del self.made_of[id]

    def rules(self, id: str) -> list[Cube]:
        """Return every cube whose own rules decide about one: itself, and at any remove what it was made of."""
        out = [self.cube(id)]
        for source in self.made_of[id]:
            out += self.rules(source) if source in self.made_of else self.last[id, source]
        return out

    def check(self) -> None:
        everything = {id: self.rules(id) for id in self.made_of}
        index = self.index = self.index or SearchIndex(self.store.engine, analyzer=Analyzer())
        index.follow()
        for caller in CALLERS:
            for purpose, moment in ((None, NOW), ("care", NOW), ("care", NOW + timedelta(hours=6))):
                asking = Asking(caller, self.policy, purpose, moment, None if purpose is None else "rounds")
                expected = {id for id, rules in everything.items() if all(may(asking, "read", each) for each in rules)}
                view = View(caller, SPACES, Where(states=EVERY_STATE), asking.access)
                assert {id for id in everything if view.allows(self.cube(id)).allowed} == expected
                assert {
                    c.id for c in self.store.engine.find(view, newest_first=False, limit=999, after=None)
                } == expected
                assert self.store.engine.count(view) == len(expected)
                texts = replace(view, where=Where(states=EVERY_STATE))
                rows = {self.cube(id).row for id in expected if isinstance(self.cube(id).payload, Text)}
                ranking = index.search("bees", vector=None, view=texts, k=999)
                assert {found.row for found in ranking.found} == rows


@pytest.fixture
def world(store: Store) -> Iterator[World]:
    return World(store, 0)


def run(world: World, seed: int, steps: int) -> None:
    world.chance = random.Random(seed)
    for number in range(steps):
        world.step()
        if number % 6 == 5:
            world.rule()
            world.check()
            world.rule()  # with nothing written in between
            world.check()
    assert world.store.check() == []


@pytest.mark.parametrize("seed", range(3))
def test_a_product_is_read_by_whoever_reads_it_and_every_source(world: World, seed: int) -> None:
    run(world, seed, 36)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 60))
def test_a_product_is_read_by_whoever_reads_it_and_every_source_in_many_worlds(world: World, seed: int) -> None:
    run(world, seed, 60)


def test_headers_with_bounds_are_their_json_again(world: World) -> None:
    bound: list[Header] = []
    while not any(each.gone for header in bound for each in header.rights.bounds):
        world.step()
        bound = [header for id in world.made_of if (header := world.cube(id).header).rights.bounds]
    for header in bound:
        assert header_from_json(header_to_json(header)) == header


def test_what_rests_beside_its_sources_needs_no_bounds(world: World) -> None:
    ann = Scope(user="ann")
    one = world.store.put(
        [Draft(Text("one"), Header(rights=Rights(read=("group:care",))))], owner=ann, space="main", now=NOW
    )
    lineage = Lineage((Parent(one[0].cube.id, 1),))
    made = world.store.put([Draft(Text("made"), Header(lineage=lineage))], owner=ann, space="main", now=NOW)
    assert made[0].cube.header.rights == Rights()


def test_an_archive_keeps_the_law(world: World, tmp_path: Path) -> None:
    world.chance = random.Random(7)
    for _ in range(40):
        world.step()
    other = Store(MemoryEngine())
    for number, owner in enumerate(OWNERS):  # each imports its own, so that some come before what they were made of
        mine = [cube for id in world.made_of if (cube := world.cube(id)).owner == owner]
        path = tmp_path / f"{number}.pinyon"
        export_cubes(world.store.engine, mine, path, created=NOW)
        import_archive(other.engine, path, access=replace(STEWARD, scope=owner), now=NOW)
    moved = World(other, 7)
    moved.made_of, moved.last = world.made_of, world.last
    for _ in range(5):
        moved.rule()
        moved.check()


def test_what_an_earlier_version_made_is_bound_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(Writer, "_bound", lambda _, header, *__: header)
        for _ in range(40):
            world.put(tuple(world.chance.sample(sorted(world.made_of), min(2, len(world.made_of)))))
    assert not any(world.cube(id).header.rights.bounds for id in world.made_of)
    assert world.store.bind(actor=Scope(), now=NOW) > 10
    assert world.store.bind(actor=Scope(), now=NOW) == 0
    for _ in range(5):
        world.rule()
        world.check()
