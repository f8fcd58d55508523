"""The same random calls on PostgreSQL and in plain Python objects, compared with each other and with `View.admits`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))
sys.path.insert(0, str(Path(__file__).parents[1] / "schedule"))

from lives import World
from pg_server import WHY_NOT, wiped
from test_lifecycle_rules import LifeWalk
from test_lifecycle_walk import walk
from test_rights_contract import compare, random_worlds
from test_time_contract import Walk as TimeWalk
from worlds import BLOBS

from pinyon.store import MemoryEngine, Store
from pinyon.store.postgres import PostgresEngine, grant_walls
from pinyon.testing import FixedClock

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


class Walk(TimeWalk):
    """The walk of the contract, with PostgreSQL in the place of SQLite."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.sqlite = Store(wiped("walk"))
        self.memory = Store(MemoryEngine())
        self.clock = FixedClock("2024-05-01T12:00")
        self.ids: list[str] = []
        self.worlds = {0: (0, {})}
        for store in self.both():
            for data in BLOBS:
                store.engine.blobs.put(data)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if hasattr(self, "sqlite"):
                self.sqlite.engine.close()


def at_length(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )


Walk.TestCase.settings = at_length(4, 12)
TestWalk = Walk.TestCase


@pytest.mark.slow
class TestWalkAtLength(Walk.TestCase):  # type: ignore[misc]  # made by Hypothesis
    settings = at_length(100, 100)


def test_lives_are_led_as_the_plain_machine_says() -> None:
    engine = wiped("life")
    try:
        walk(World(engine), 120, seed=3)
    finally:
        engine.close()


class ServedLives(LifeWalk):
    """The walk of lives that Hypothesis chooses, on PostgreSQL."""

    def engine(self) -> PostgresEngine:
        return wiped("lives")


ServedLives.TestCase.settings = at_length(3, 12)
TestLives = ServedLives.TestCase


@pytest.mark.slow
class TestLivesAtLength(ServedLives.TestCase):  # type: ignore[misc]  # made by Hypothesis
    settings = at_length(100, 100)


@pytest.mark.parametrize("role", [None, "pinyon_caller"])
@random_worlds
@at_length(10, 1)
def test_random_rights_are_read_as_the_plain_form_reads_them(role, made, asked, where, word) -> None:  # type: ignore[no-untyped-def]
    engine = wiped("rights")
    if role is not None:
        grant_walls(engine, role)
        engine.close()
        engine = wiped("rights", role=role)
    try:
        compare((Store(engine), Store(MemoryEngine())), made, asked, where, word)
    finally:
        engine.close()
