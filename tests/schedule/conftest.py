"""Tables of usage and jobs, in a file and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pinyon.store import MemoryEngine, SqliteEngine
from pinyon.store.side import JobTable, UsageTable


@pytest.fixture(params=["sqlite", "memory"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = MemoryEngine() if request.param == "memory" else SqliteEngine(tmp_path / "memory.db")
    yield made
    made.close()


@pytest.fixture
def jobs(engine: Any) -> JobTable:
    table: JobTable = engine.jobs
    return table


@pytest.fixture
def usage(engine: Any) -> UsageTable:
    table: UsageTable = engine.usage
    return table
