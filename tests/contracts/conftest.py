"""Every engine of the store room; makes the random worlds importable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinyon.store import Engine, MemoryEngine, SqliteEngine, Store

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    engine: Engine = SqliteEngine(tmp_path / "memory.db") if request.param == "sqlite" else MemoryEngine()
    yield Store(engine)
    engine.close()
