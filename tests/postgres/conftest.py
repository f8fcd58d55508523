"""One server for the process, and a schema of its own for each store."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pg_server import WHY_NOT, Server, shared


@pytest.fixture
def postgres() -> Server:
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    return shared()


@pytest.fixture
def address(postgres: Server) -> str:
    """Address of a schema that nobody has used."""
    return f"{postgres.address}?schema=t{uuid.uuid4().hex[:16]}"
