"""What a migration needs of a store in memory beyond its contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from ..core.scope import Scope
from .base import Transaction
from .inmemory import MemoryEngine, _MemoryTransaction
from .migrate import ReadSource
from .side import Job

__all__ = ["MemoryRest"]


class MemoryRest:
    """Lists and writes what `Engine` does not.

    Args:
        engine: The store.
    """

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    def settings(self) -> dict[str, str]:
        """Return all notes of the store about itself."""
        return dict(self._engine._tables.settings)

    def sources(self) -> list[ReadSource]:
        """Return the marks of all sources."""
        return [
            ReadSource(space, Scope(tenant, user, agent), mark)
            for (space, tenant, user, agent, _), mark in self._engine._tables.sources.items()
        ]

    def tenants(self) -> list[str | None]:
        """Return whom the audit knows."""
        return list({entry.line.actor.tenant for entry in self._engine.audit._entries})

    def mark_forgotten(self, tx: Transaction, rows: Mapping[str, int]) -> None:
        """Note inside a transaction that ids were forgotten, with the rows they had."""
        mine = cast(_MemoryTransaction, tx)  # of this engine
        for id, row in rows.items():
            mine._set(mine._t.forgotten, id, row)

    def put_jobs(self, jobs: Sequence[Job]) -> None:
        """Write jobs with their numbers."""
        mine = self._engine.jobs
        with mine.transaction():
            for job in jobs:
                mine._jobs[job.id] = job
            mine._last = max(mine._last, *(job.id for job in jobs))
