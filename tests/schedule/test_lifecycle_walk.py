from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pinyon.core.header import Life
from pinyon.core.payload import Text
from pinyon.errors import BadInput, Conflict, PinyonError
from pinyon.store import MemoryEngine, SqliteEngine

sys.path.insert(0, str(Path(__file__).parent))

from lives import ANN, DAY, LEGAL, World


@dataclass
class Plain:
    """What the naive machine knows of one cube."""

    state: str
    text: str
    changed: datetime
    expires: datetime | None = None
    pinned: bool = False
    used: datetime | None = None
    count: int = 0
    previous: str = ""
    by: str = ""
    parents: tuple[str, ...] = ()
    frozen_hash: str = ""


class Machine:
    """The specification's table, straight from its rows."""

    def __init__(self) -> None:
        self.cubes: dict[str, Plain] = {}

    def may(self, id: str, verb: str) -> bool:
        mine = self.cubes[id]
        if verb == "restore" and mine.state in ("merged", "activated") and mine.parents:
            return any(self.is_parked(parent, id) for parent in mine.parents)
        return mine.state in LEGAL[verb]

    def is_parked(self, id: str, by: str) -> bool:
        parent = self.cubes.get(id)
        return parent is not None and parent.state == "archived" and parent.by == by

    def move(self, id: str, verb: str, now: datetime) -> None:
        mine = self.cubes[id]
        if verb == "restore" and mine.state in ("merged", "activated"):
            for parent in mine.parents:
                if self.is_parked(parent, id):
                    self.set(parent, "activated", now)
            self.set(id, "archived", now)
        elif verb == "thaw":
            self.set(id, mine.previous, now)
        else:
            mine.previous = mine.state
            self.set(id, LEGAL[verb][mine.state], now)

    def set(self, id: str, state: str, now: datetime) -> None:
        mine = self.cubes[id]
        if state == "activated":
            mine.by = mine.by if mine.state != "archived" else ""
        mine.state, mine.changed = state, now

    def sweep(self, now: datetime) -> None:
        for id in list(self.cubes):
            mine = self.cubes[id]
            rest = now - max(mine.changed, mine.used or mine.changed)
            live = mine.state in ("generated", "activated", "merged")
            if mine.state == "frozen":
                continue
            if not mine.pinned:
                if mine.state != "expired" and mine.expires is not None and mine.expires <= now:
                    self.set(id, "expired", now)
                    continue
                if mine.state == "expired" and now - mine.changed >= timedelta(days=30):
                    del self.cubes[id]
                    continue
                if mine.state == "archived" and now - mine.changed >= timedelta(days=365):
                    self.set(id, "expired", now)
                    continue
                if live and rest >= timedelta(days=30):
                    self.set(id, "archived", now)
                    continue
            if mine.state in ("generated", "merged") and mine.count:
                self.set(id, "activated", now)


def walk(world: World, steps: int, seed: int) -> None:
    rng = random.Random(seed)
    machine = Machine()
    verbs = ("activate", "archive", "restore", "expire", "freeze", "thaw", "pin", "unpin", "merge", "use", "write")
    for step in range(steps):
        kind = rng.choices(("add", "move", "time", "sweep"), (4, 14, 2, 1))[0]
        now = world.clock.now()
        if kind == "add" or not machine.cubes:
            expires = now + timedelta(days=rng.randint(1, 90)) if rng.random() < 0.3 else None
            cube = world.add(f"text {step}", life=Life(expires=expires))
            machine.cubes[cube.id] = Plain("generated", cube.text, now, expires)
        elif kind == "time":
            world.clock.advance(rng.choice((1, 5, 20)) * DAY)
        elif kind == "sweep":
            world.life.sweep(batch=rng.choice((3, 50, 1000)))
            machine.sweep(now)
        else:
            act(world, machine, rng, rng.choice(verbs), step)
        if step % 50 == 0 or step == steps - 1:
            compare(world, machine)
    assert world.store.check() == []


def act(world: World, machine: Machine, rng: random.Random, verb: str, step: int) -> None:
    now, view = world.clock.now(), world.view()
    id = rng.choice(list(machine.cubes))
    mine = machine.cubes[id]
    if verb == "use":
        cube = world.engine.get(id, view)
        world.use(cube)
        mine.used, mine.count = now, mine.count + 1
    elif verb in ("pin", "unpin"):
        if mine.state == "frozen":
            with pytest.raises(Conflict):
                getattr(world.life, verb)(id, view=view)
        else:
            getattr(world.life, verb)(id, view=view)
            if mine.pinned != (verb == "pin"):
                mine.pinned, mine.changed = verb == "pin", now
    elif verb == "write":
        text = f"text {step} again"
        if mine.state == "frozen":
            with pytest.raises(PinyonError):
                world.store.update(id, lambda old: replace(old, payload=Text(text)), view=view, actor=ANN, now=now)
        else:
            stale = [o for o, c in machine.cubes.items() if id in c.parents]
            if not stale:  # staleness is the store's, and tested there
                world.store.update(id, lambda old: replace(old, payload=Text(text)), view=view, actor=ANN, now=now)
                mine.text, mine.changed = text, now
    elif verb == "merge":
        other = rng.choice(list(machine.cubes))
        fits = other != id and all(machine.cubes[each].state in LEGAL["merge"] for each in (id, other))
        if not fits:
            with pytest.raises((Conflict, BadInput)):
                world.life.merge([id, other], Text(f"merge {step}"), view=view)
            return
        made = world.life.merge([id, other], Text(f"merge {step}"), view=view)
        both = [machine.cubes[each] for each in (id, other)]
        ends = [each.expires for each in both if each.expires is not None]
        machine.cubes[made.id] = Plain(
            "merged", made.text, now, min(ends, default=None), any(each.pinned for each in both), parents=(id, other)
        )
        for each in both:
            each.state, each.changed, each.by = "archived", now, made.id
    elif machine.may(id, verb):
        after = getattr(world.life, verb)(id, view=view)
        machine.move(id, verb, now)
        mine.frozen_hash = after.hash if verb == "freeze" else ""
    else:
        with pytest.raises(Conflict):
            getattr(world.life, verb)(id, view=view)


def compare(world: World, machine: Machine) -> None:
    now = world.clock.now()
    every = world.engine.find(world.view(), newest_first=False, limit=100_000, after=None)
    assert {cube.id for cube in every} == set(machine.cubes)
    for cube in every:
        mine, life = machine.cubes[cube.id], cube.header.life
        said = (life.state, cube.text, cube.updated, life.expires, life.pinned, life.superseded_by or "")
        assert said == (mine.state, mine.text, mine.changed, mine.expires, mine.pinned, mine.by)
        if mine.state == "frozen":
            assert cube.hash == mine.frozen_hash
    wanted = {
        id
        for id, mine in machine.cubes.items()
        if mine.state == "frozen"
        or (mine.state in ("generated", "activated", "merged") and (mine.expires is None or mine.expires > now))
    }
    assert world.live() == wanted


def test_a_random_walk_agrees_with_a_plain_machine() -> None:
    walk(World(MemoryEngine()), 2000, seed=1)


def test_a_random_walk_in_a_file_agrees_too(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "memory.db", durability="normal")
    walk(World(engine), 400, seed=2)
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_ten_thousand_steps_agree_with_a_plain_machine(kind: str, tmp_path: Path) -> None:
    engine: Any = MemoryEngine() if kind == "memory" else SqliteEngine(tmp_path / "memory.db", durability="normal")
    walk(World(engine), 10_000, seed=3)
    engine.close()
