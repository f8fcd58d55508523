"""Many writers at once, and a server that is killed under load: nothing that was acknowledged is lost."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from pg_server import WHY_NOT, Server, make_folder, unpack

from pinyon.store import Store
from pinyon.store.postgres import PostgresEngine

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.fixture
def durable() -> Iterator[Server]:
    """A server that waits for its disk, and may be killed."""
    folder = make_folder()
    server = Server(unpack(), folder, is_durable=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_eight_writers_lose_no_update_and_leave_no_deadlock(durable: Server) -> None:
    from postgres import fill, write_together

    address = f"{durable.address}?schema=together"
    engine = PostgresEngine(address, buckets=2)
    fill(engine, 5000, with_vectors=False)
    found = write_together(engine, address, 8, 5.0)
    assert found.problems == ()
    assert found.adds > 8
    assert found.updates > 8
    assert Store(engine).check() == []
    engine.close()


def test_a_killed_server_has_every_acknowledged_write(durable: Server) -> None:
    from postgres import kill_under_load

    address = f"{durable.address}?schema=killed"
    engine = PostgresEngine(address, buckets=2)
    trials = list(kill_under_load(durable, engine, address, 3))
    assert [problem for trial in trials for problem in trial.problems] == []
    assert all(trial.adds for trial in trials)
    assert Store(engine).check() == []
    engine.close()
