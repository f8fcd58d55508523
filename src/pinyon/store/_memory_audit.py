"""The audit in plain Python objects."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..core.events import GENESIS
from ._audit_chain import chained, problems_of, raw_of
from .side import AuditEntry, AuditLine

__all__ = ["MemoryAudit"]


class MemoryAudit:
    """Lines in a list; everything is gone with the process."""

    def __init__(self) -> None:
        self._entries: list[AuditEntry] = []
        self._lock = threading.Lock()

    def append(self, lines: Sequence[AuditLine]) -> None:
        """Write lines."""
        with self._lock:
            last = self._entries[-1] if self._entries else None
            self._entries.extend(list(chained(lines, last.seq if last else 0, last.chain if last else GENESIS)))

    def read(
        self,
        after: int,
        limit: int,
        *,
        tenant: str | None,
        allowed: bool | None = None,
        cube: str | None = None,
        newest_first: bool = False,
    ) -> list[AuditEntry]:
        """Return entries of a tenant after a number (before it when the newest come first; 0 begins at the end)."""
        found = [
            entry
            for entry in list(self._entries)
            if entry.line.actor.tenant == tenant
            and (allowed is None or entry.line.allowed == allowed)
            and (cube is None or entry.line.cube == cube)
        ]
        if newest_first:
            return [entry for entry in reversed(found) if not after or entry.seq < after][:limit]
        return [entry for entry in found if entry.seq > after][:limit]

    def problems(self) -> list[str]:
        """Return where the chain breaks."""
        entries = list(self._entries)
        head = (entries[-1].seq, entries[-1].chain) if entries else None
        return problems_of(((e.seq, raw_of(e.line), e.chain) for e in entries), head)
