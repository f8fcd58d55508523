"""Every engine of the store room; makes the random worlds importable."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinyon.store import Engine, MemoryEngine, SqliteEngine, Store
from pinyon.store.vault import Vault

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "postgres"))

from pg_server import WHY_NOT, wiped


@pytest.fixture(params=["sqlite", "encrypted", "memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    engine: Engine
    if request.param == "postgres":
        if WHY_NOT:
            pytest.skip(WHY_NOT)
        engine = wiped("contract")
    elif request.param == "encrypted":
        pytest.importorskip("sqlcipher3")
        path = tmp_path / "memory.db"
        engine = SqliteEngine(path, keys=Vault.create(path, bytes(32)).keys)
    else:
        engine = SqliteEngine(tmp_path / "memory.db") if request.param == "sqlite" else MemoryEngine()
    yield Store(engine)
    engine.close()
