"""A store, a clock, and everything that was ever written, kept the slow way: the oracle of the time machine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, LIVE_STATES, View, Where
from pinyon.store import Engine, MemoryEngine, Store

NOW = datetime(2024, 5, 1, tzinfo=UTC)
ANN, BOB = Scope(user="ann"), Scope(user="bob")


@dataclass
class World:
    """A store, a clock, and everything that was ever written, kept the slow way."""

    engine: Engine = field(default_factory=MemoryEngine)
    minutes: int = 0
    replayed: list[tuple[int, str, Cube | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store(self.engine)

    def now(self) -> datetime:
        self.minutes += 1
        return NOW + timedelta(minutes=self.minutes)

    def view(self, scope: Scope = ANN, space: str = "main", states: tuple[str, ...] = LIVE_STATES) -> View:
        return View(scope, (space,), Where(states=states))

    def add(self, *texts: str, owner: Scope = ANN, space: str = "main", **header: object) -> list[Cube]:
        drafts = [Draft(Text(text), Header(**header)) for text in texts]  # type: ignore[arg-type]
        placed = self.store.put(drafts, owner=owner, space=space, now=self.now())
        return [self.keep(p.cube) for p in placed]

    def keep(self, cube: Cube) -> Cube:
        if not self.replayed or all(seq != cube.seq for seq, _, _ in self.replayed):
            self.replayed.append((cube.seq, cube.id, cube))
        return cube

    def say(self, cube: Cube, text: str, actor: Scope = ANN) -> Cube:
        view = self.view(actor, cube.space, EVERY_STATE)
        change = lambda old: replace(old, payload=Text(text))  # noqa: E731
        return self.keep(self.store.update(cube.id, change, view=view, actor=actor, now=self.now()))

    def move(self, cube: Cube, state: str, actor: Scope = ANN) -> Cube:
        def change(old: Cube) -> Cube:
            life = replace(old.header.life, state=state)  # type: ignore[arg-type]
            return replace(old, header=replace(old.header, life=life))

        view = self.view(actor, cube.space, EVERY_STATE)
        return self.keep(self.store.update(cube.id, change, view=view, actor=actor, now=self.now(), op="state"))

    def forget(self, cube: Cube, actor: Scope = ANN) -> None:
        self.store.remove([cube.id], view=self.view(actor, cube.space, EVERY_STATE), actor=actor, now=self.now())
        self.replayed.append((self.engine.head().seq, cube.id, None))

    def texts(self, view: View) -> list[str]:
        return [c.text for c in self.engine.find(view, newest_first=False, limit=999, after=None)]

    def naive(self, view: View, at: int) -> dict[str, Cube]:
        """Return what a view shows after an entry, from everything that was ever written."""
        gone = {id for _, id, cube in self.replayed if cube is None}
        then: dict[str, Cube] = {}
        today: dict[str, Cube] = {}
        for seq, id, cube in self.replayed:
            if cube is not None and id not in gone:
                today[id] = cube
                if seq <= at:
                    then[id] = cube
        return {id: cube for id, cube in then.items() if view.admits(cube, today[id])}
