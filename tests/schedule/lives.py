"""A store with a lifecycle over it, and the table of moves written out once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pinyon.core.access import Access, Policy
from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Lineage, Parent, State_
from pinyon.core.payload import State, Text
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.govern import Forgetter, Retention
from pinyon.govern.rights import joined_rights
from pinyon.schedule.due import LifecycleConfig
from pinyon.schedule.lifecycle import Lifecycle
from pinyon.store import Store
from pinyon.store.side import Usage
from pinyon.testing import FixedClock

DAY = 24 * 3600
ANN = Scope(user="ann")
LEGAL: dict[str, dict[str, str]] = {  # the state table of the specification, written out once more
    "used": {"generated": "activated", "merged": "activated"},
    "activate": {"generated": "activated", "merged": "activated", "archived": "activated"},
    "merge": {"generated": "archived", "activated": "archived"},
    "unmerge": {"activated": "archived", "merged": "archived"},
    "idle": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "capacity": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "supersede": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "rule_archive": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "archive": dict.fromkeys(("generated", "activated", "merged"), "archived"),
    "restore": {"archived": "activated"},
    "ttl": dict.fromkeys(("generated", "activated", "merged", "archived"), "expired"),
    "age": {"archived": "expired"},
    "rule_expire": dict.fromkeys(("generated", "activated", "merged", "archived"), "expired"),
    "expire": dict.fromkeys(("generated", "activated", "merged", "archived"), "expired"),
    "freeze": dict.fromkeys(("generated", "activated", "merged", "archived"), "frozen"),
    "thaw": {"frozen": "archived"},  # what it was before, as the test makes it
    "write": {},
    "overlap": {},
    "purge": {},
    "rule_forget": {},
    "forget": {},
}


@dataclass
class World:
    """A store with a lifecycle over it, and short words for what tests do."""

    engine: Any
    config: LifecycleConfig = field(default_factory=LifecycleConfig)
    clock: FixedClock = field(default_factory=FixedClock)

    def __post_init__(self) -> None:
        self.store = Store(self.engine)
        self.retention = Retention(self.store)
        self.life = Lifecycle(
            self.store,
            self.clock,
            joined=joined_rights,
            forget=Forgetter(self.store, self.retention),
            rules=self.retention,
            config=self.config,
        )

    def view(self, scope: Scope = ANN, policy: Policy | None = None, states: Sequence[str] = EVERY_STATE) -> View:
        access = Access.of(scope, policy or Policy(), moment=self.clock.now())
        return View(scope, ("main",), Where(states=tuple(states)), access)

    def add(self, text: str, *, life: Life | None = None, owner: Scope = ANN, **header: Any) -> Cube:
        draft = Draft(Text(text), Header(life=life or Life(), **header))
        (placed,) = self.store.put([draft], owner=owner, space="main", now=self.clock.now())
        return placed.cube

    def state(self, text: str, *parents: Cube) -> Cube:
        blob = self.engine.blobs.put(text.encode())
        lineage = Lineage(tuple(Parent(p.id, p.version, "converted") for p in parents))
        draft = Draft(State((blob,), {"model": "m"}), Header(lineage=lineage), key=text)
        (placed,) = self.store.put([draft], owner=ANN, space="main", now=self.clock.now())
        return placed.cube

    def use(self, *cubes: Cube) -> None:
        def used(old: Any) -> dict[int, Usage]:
            return {cube.row: Usage(old.get(cube.row, Usage()).count + 1, self.clock.now(), 0.0) for cube in cubes}

        self.engine.usage.change([cube.row for cube in cubes], used)

    def now(self, cube: Cube) -> Cube:
        return self.engine.by_rows([cube.row])[cube.row]

    def stands(self, cube: Cube) -> str:
        found = self.engine.by_rows([cube.row]).get(cube.row)
        return "gone" if found is None else found.header.life.state

    def live(self) -> set[str]:
        view = View(ANN, ("main",), Where(), None, None, self.clock.now())
        return {cube.id for cube in self.engine.find(view, newest_first=False, limit=100_000, after=None)}


def of(state: State_) -> Life:
    return Life(state=state, thaws_to="archived" if state == "frozen" else None)
