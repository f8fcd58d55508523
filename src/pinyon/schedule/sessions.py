"""In how many sessions a text was used as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ..errors import BadInput

__all__ = ["Sessions"]


class Sessions:
    """Count, up to a few, the sessions in which each memory was used with the text that it has.

    Kept in this process alone: after a restart the count begins anew, so that a promotion comes a session later and
    never too early.

    Args:
        enough: Sessions beyond which nobody counts, >= 1.

    Raises:
        BadInput: `enough` is below 1.
    """

    def __init__(self, enough: int = 2) -> None:  # `StateRules.sessions`
        if enough < 1:
            raise BadInput(f"enough must be >= 1, got {enough!r}")
        self._enough = enough
        self._lock = threading.Lock()
        self._seen: dict[int, tuple[str, frozenset[str]]] = {}

    def note(self, used: Iterable[tuple[int, str]], session: str) -> None:
        """Note that rows were used in a session.

        Args:
            used: Rows with the digests of their texts, ``Item.digest``.
            session: Names the session.
        """
        with self._lock:
            for row, digest in used:
                before, names = self._seen.get(row, ("", frozenset[str]()))
                if before != digest:
                    names = frozenset()
                if len(names) < self._enough:
                    names = names | {session}
                self._seen[row] = (digest, names)

    def of(self, row: int, digest: str) -> int:
        """Return the sessions in which a row was used with a text, at most `enough`."""
        with self._lock:
            known, names = self._seen.get(row, ("", frozenset[str]()))
            return len(names) if known == digest else 0

    def forget(self, rows: Iterable[int]) -> None:
        """Drop what is known of rows whose cubes are forgotten."""
        with self._lock:
            for row in rows:
                self._seen.pop(row, None)
