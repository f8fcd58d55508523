"""Random worlds with rights, policies and histories, and the plain answer to who sees what in them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pinyon.core.access import Access, Policy, SpaceRights
from pinyon.core.cube import Cube, Draft
from pinyon.core.events import Changes, Event, Head
from pinyon.core.header import Header, Life, Provenance, Rights
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.index import Analyzer, IndexConfig, Ranking, SearchIndex
from pinyon.store import MemoryEngine, Store, VectorRows
from pinyon.store._writer import Writer
from pinyon.testing import HashEmbedder

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
ALL = 10_000
TOLERANCE = 1e-5
"""Inner products differ in their last bit with the size of a matrix, and a scale made of two cubes magnifies that."""
EMBEDDER = HashEmbedder(16)
WORDS = "bees mill river old blue door winter boat letter garden stone lamp".split()
SPACES = ("main", "work", "lab")
SPEAKERS = (None, "Ann", "Bob Stone")
OWNERS = (Scope(), Scope(), Scope(user="ann"), Scope(user="bob"), Scope(agent="bot"), Scope("t"))
CALLERS = (
    Scope(),
    Scope(user="ann"),
    Scope(user="bob", agent="bot"),
    Scope(user="cid", session="s1"),
    Scope("t", "ann"),
)
PRINCIPALS = ("user:ann", "user:bob", "user:cid", "agent:bot", "session:s1", "group:crew", "role:clerk", "*")
LABELS = ("health", "money")
PURPOSES = ("care", "audit")


@dataclass
class Ruled:
    """A store in which cubes have rights and change; indexes make their vectors themselves."""

    seed: int
    size: int = 24
    plain: bool = False
    store: Store = field(default_factory=lambda: Store(MemoryEngine()))
    cubes: dict[str, Cube] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def rights(self) -> Rights:
        """Return rights, the default ones as often as not."""
        draw = self.draw
        if self.plain or draw.random() < 0.5:
            return Rights()

        def some(names: Sequence[str], chance: float) -> tuple[str, ...]:
            return tuple(name for name in names if draw.random() < chance)

        edge = NOW + timedelta(hours=draw.choice((-3, -1, 1, 3)))
        return Rights(
            sensitivity=some(LABELS, 0.2),
            read=some(PRINCIPALS[:-1], 0.2) if draw.random() < 0.9 else ("*",),
            deny=some(PRINCIPALS[:-1], 0.05),
            purposes=some(PURPOSES, 0.1),
            opens=edge if draw.random() < 0.1 else None,
            closes=edge + timedelta(hours=1) if draw.random() < 0.1 else None,
            hours=draw.choice(((600, 800), (1300, 700))) if draw.random() < 0.1 else None,
        )

    def policy(self) -> Policy:
        """Return what a tenant may have ruled."""
        draw = self.draw
        spaces = tuple(
            (space, SpaceRights(self.rights(), draw.choice(((), ("user:ann",), ("*",)))))
            for space in SPACES
            if draw.random() < 0.4
        )
        return Policy(
            groups=(("crew", tuple(draw.sample(PRINCIPALS[:4], 2))),),
            roles=(("clerk", ("group:crew",)),) if draw.random() < 0.5 else (),
            spaces=spaces,
            clearances=(("user:ann", LABELS), ("group:crew", LABELS[:1])) if draw.random() < 0.5 else (),
            is_closed=draw.random() < 0.2,
        )

    def view(self, at: int | None = None) -> View:
        """Return a random view, mostly with no more filter than the caller's rights."""
        draw = self.draw
        moment = NOW + timedelta(hours=draw.choice((-2, 0, 2)))
        scope = draw.choice(CALLERS)
        policy = Policy() if self.plain else self.policy()
        access = Access.of(scope, policy, purpose=draw.choice((None, *PURPOSES)), moment=moment)
        where = draw.choice((Where(), Where(), Where(), self._where()))
        return View(
            scope,
            draw.choice((SPACES, SPACES[:1], SPACES[1:])),
            where,
            access=draw.choice((None, access, access, access)),
            at=at,
            moment=draw.choice((None, moment)),
        )

    def _where(self) -> Where:
        draw = self.draw
        return draw.choice(
            (
                Where(states=EVERY_STATE),
                Where(states=("stale", "archived", "expired")),
                Where(speaker="Ann"),
                Where(session="s1"),
                Where(thread="t1"),
                Where(valid_at=NOW + timedelta(hours=draw.choice((-2, 0, 2)))),
                Where(since=NOW - timedelta(hours=1), until=NOW + timedelta(hours=2)),
            )
        )

    def life(self) -> Life:
        """Return some stage of a life."""
        draw = self.draw
        hours = [timedelta(hours=hour) for hour in (-4, -1, 0, 1)]
        begins = NOW + draw.choice(hours) if draw.random() < 0.4 else None
        return Life(
            state=draw.choice(["generated"] * 6 + ["activated", "merged", "frozen", "archived", "expired"]),
            valid_from=begins,
            valid_to=None if begins is None or draw.random() < 0.5 else begins + timedelta(hours=2),
            expires=NOW + draw.choice(hours) if draw.random() < 0.2 else None,
            stale=draw.random() < 0.1,
        )

    def text(self) -> str:
        """Return some words."""
        return " ".join(self.draw.choices(WORDS, k=self.draw.randint(1, 6)))

    def draft(self) -> Draft:
        """Return a cube to write; positions are given, so that they do not hang on what else is there."""
        draw = self.draw
        unit = draw.choice(("turn", "turn", "turn", "note", "chunk"))
        place = Provenance(
            unit=unit,
            thread=None if unit == "note" else draw.choice(("t1", "t1", "t2")),
            position=draw.randrange(40),
            speaker=draw.choice(SPEAKERS),
        )
        header = Header(provenance=place, rights=self.rights(), life=self.life())
        session = draw.choice((None, "s1"))
        return Draft(Text(self.text()), header, key=f"{draw.random()}", session=session)

    def add(self, count: int) -> None:
        """Write some cubes."""
        for _ in range(count):
            owner, space = self.draw.choice(OWNERS), self.draw.choice(SPACES)
            placed = self.store.put([self.draft()], owner=owner, space=space, now=NOW)
            self.cubes |= {p.cube.id: p.cube for p in placed}

    def change(self) -> None:
        """Let one cube get other words, another place in its thread, another stage of its life, or other rights."""
        cube = self.cubes[self.draw.choice(sorted(self.cubes))]
        what = self.draw.choice(("words", "place", "life", "life", "rights"))

        def changed(old: Cube) -> Cube:
            header = old.header
            if what == "words":
                return replace(old, payload=Text(self.text()))
            if what == "place":
                where = replace(
                    header.provenance, position=self.draw.randrange(40), thread=self.draw.choice(("t1", "t2"))
                )
                return replace(old, header=replace(header, provenance=where))
            if what == "life":
                return replace(old, header=replace(header, life=self.life()))
            return replace(old, header=replace(header, rights=self.rights()))

        wanted = changed(cube)
        with self.store.engine.transaction() as tx:  # whatever its rights say, and though it may be frozen
            writer = Writer(tx, cube.owner, cube.space, NOW)
            self.cubes[cube.id] = writer.revise(tx.live([cube.id])[cube.id], wanted.payload, wanted.header, "overwrite")
            writer.finish()

    def forget(self) -> None:
        """Remove one cube."""
        cube = self.cubes.pop(self.draw.choice(sorted(self.cubes)))
        with self.store.engine.transaction() as tx:
            writer = Writer(tx, cube.owner, cube.space, NOW)
            writer.note("forget", cube, version=0, seal="")
            tx.erase([cube])
            writer.finish()

    def live(self, steps: int, *, forgets: bool = True) -> None:
        """Let random things happen."""
        self.add(3)
        for _ in range(steps):
            dice = self.draw.random()
            if dice < 0.4 or len(self.cubes) < 3:
                self.add(1)
            elif dice < 0.95 or not forgets:
                self.change()
            else:
                self.forget()

    def index(self, source: object = None, **more: object) -> SearchIndex:
        """Return a fresh index of the store, or of another journal."""
        index = SearchIndex(
            source or self.store.engine,  # type: ignore[arg-type]
            analyzer=Analyzer(),
            embedder=EMBEDDER.fingerprint,
            dimensions=EMBEDDER.dimensions,
            make=EMBEDDER.embed,
            **more,  # type: ignore[arg-type]
        )
        index.follow()
        return index

    def question(self) -> str:
        """Return some words, sometimes with a name."""
        return " ".join(self.draw.choices([*WORDS, "Ann", "Bob Stone"], k=self.draw.randint(1, 4)))


class Seen:
    """The journal of a world in which there is only what a view lets its caller see, filters aside.

    Cubes are as they were at the view's time, with the rights of today.
    """

    def __init__(self, engine: MemoryEngine, view: View) -> None:
        self.identity = engine.identity
        self._events: list[Event] = [e for e in engine.journal(0, ALL) if e.row]
        rows = sorted({e.row for e in self._events})
        today = engine.by_rows(rows)
        then = today if view.at is None else engine.by_rows(rows, view.at)
        everything = replace(view, where=Where(states=EVERY_STATE), spaces=SPACES)
        self.cubes: dict[int, Cube] = {}
        for row, cube in then.items():
            later = None if today[row].version == cube.version else today[row]
            if everything.admits(cube, later):
                header = replace(cube.header, rights=today[row].header.rights)
                self.cubes[row] = replace(cube, header=header, version=1)

    def head(self) -> Head:
        return Head()

    def journal(self, after: int, limit: int) -> list[Event]:
        return self._events[after : after + limit]

    def changes(self, after: int, limit: int) -> Changes:
        entries = self.journal(after, limit)
        last = entries[-1] if entries else None
        rows = tuple(dict.fromkeys(e.row for e in entries))
        return Changes(rows, len(entries), after + len(entries), last.chain if last else "")

    def by_rows(self, rows: Sequence[int]) -> dict[int, Cube]:
        return {row: self.cubes[row] for row in rows if row in self.cubes}

    def past(self, rows: Sequence[int]) -> list[Cube]:
        return []

    def vectors(self, fingerprint: str, rows: Sequence[int]) -> VectorRows:
        raise AssertionError("vectors are made")


def ask(index: SearchIndex, text: str, view: View, rows: NDArray[np.int64] | None = None) -> Ranking:
    """Return everything an index finds."""
    return index.search(text, vector=EMBEDDER.embed_query(text), view=view, rows=rows, k=ALL)


def assert_as_if_alone(world: Ruled, index: SearchIndex, view: View, questions: int = 1) -> int:
    """Compare with a fresh index over what the view's caller sees, and with the plain decision; return how many saw."""
    engine = world.store.engine
    assert isinstance(engine, MemoryEngine)
    seen = Seen(engine, view)
    region = index._regions.of(view)
    row = index._table.column("row")
    wanted = sorted(cube.row for cube in seen.cubes.values() if cube.space in view.spaces and view.where.matches(cube))
    assert sorted(row[region.mask].tolist()) == wanted
    assert region.slots is None or sorted(row[region.slots].tolist()) == wanted
    alone = world.index(seen)
    part = np.array(world.draw.sample(wanted, len(wanted) // 2), dtype=np.int64)
    for rows in (None, part):
        for _ in range(questions):
            text = world.question()
            assert_alike(ask(index, text, view, rows), ask(alone, text, replace(view, at=None), rows))
    return len(wanted)


def assert_alike(one: Ranking, other: Ranking) -> None:
    """Compare two rankings: counts, terms, order, scores, and what each leg said."""
    assert one.considered == other.considered
    assert dict(one.terms) == dict(other.terms)
    a, b = ({found.row: found for found in ranking.found} for ranking in (one, other))
    assert a.keys() == b.keys()
    for mine, theirs in zip(one.found, other.found, strict=True):
        assert abs(mine.score - theirs.score) <= TOLERANCE
        assert mine.row == theirs.row or abs(mine.score - b[mine.row].score) <= TOLERANCE  # equal but for rounding
        assert mine.legs.keys() == b[mine.row].legs.keys()
        for leg, said in mine.legs.items():
            assert abs(said.score - b[mine.row].legs[leg].score) <= TOLERANCE


def keeping_no_past() -> IndexConfig:
    """Return the constants of an index without earlier versions."""
    return IndexConfig(keeps_past=False)
