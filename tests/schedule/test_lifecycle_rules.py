"""The life of memories under rules that Hypothesis chooses and shrinks, beside the plain machine of the random walk."""

from __future__ import annotations

import random
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pinyon.core.header import Life
from pinyon.store import MemoryEngine

sys.path.insert(0, str(Path(__file__).parent))

from lives import DAY, World
from test_lifecycle_walk import Machine, Plain, act, compare

VERBS = ("activate", "archive", "restore", "expire", "freeze", "thaw", "pin", "unpin", "merge", "use", "write")


class LifeWalk(RuleBasedStateMachine):
    """Adds, moves, lets time pass and sweeps, in whatever order breaks it."""

    def engine(self) -> Any:
        return MemoryEngine()

    @initialize()
    def open(self) -> None:
        self.world, self.machine, self.step = World(self.engine()), Machine(), 0

    @rule(days=st.none() | st.integers(1, 90))
    def add(self, days: int | None) -> None:
        self.step += 1
        now = self.world.clock.now()
        expires = None if days is None else now + timedelta(days=days)
        cube = self.world.add(f"text {self.step}", life=Life(expires=expires))
        self.machine.cubes[cube.id] = Plain("generated", cube.text, now, expires)

    @precondition(lambda self: self.machine.cubes)
    @rule(verb=st.sampled_from(VERBS), chosen=st.randoms(use_true_random=False))
    def act(self, verb: str, chosen: random.Random) -> None:
        self.step += 1
        act(self.world, self.machine, chosen, verb, self.step)

    @rule(days=st.sampled_from((1, 5, 20, 40, 370)))
    def wait(self, days: int) -> None:
        self.world.clock.advance(days * DAY)

    @rule(batch=st.sampled_from((1, 3, 1000)))
    def sweep(self, batch: int) -> None:
        self.world.life.sweep(batch=batch)
        self.machine.sweep(self.world.clock.now())

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "world"):
            compare(self.world, self.machine)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            assert self.world.store.check() == []
            self.world.engine.close()


def at_length(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )


LifeWalk.TestCase.settings = at_length(25, 30)
TestLifeWalk = LifeWalk.TestCase


@pytest.mark.slow
class TestLifeWalkAtLength(LifeWalk.TestCase):  # type: ignore[misc]  # made by Hypothesis
    settings = at_length(100, 100)
