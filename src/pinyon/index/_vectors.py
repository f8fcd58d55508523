"""The vectors of the slots of a table: made at once, shared between versions, or fetched when a job has made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..core.cube import Cube
from ..core.payload import Kind
from .base import Journal
from .dense import Dense
from .table import NEVER, Table

__all__ = ["Make", "Vectors"]

Slots = NDArray[np.intp]
Make = Callable[[Sequence[str]], NDArray[np.float32]]
_AWAITED = 64  # cubes whose vector is looked for at a question, the longest waiting first


class Vectors:
    """A row for every slot whose vector is known.

    Args:
        source: The store.
        embedder: Fingerprint of the vectors, or an empty text for none.
        make: Makes the vectors of texts, (N, E); None takes them from the store.
        table: Whose slots these are.
        dense: The rows.
        lacking: Rows of cubes whose vectors are still to come, the longest waiting first.
    """

    def __init__(
        self,
        source: Journal,
        embedder: str,
        make: Make | None,
        table: Table,
        dense: Dense,
        lacking: Iterable[int] = (),
    ) -> None:
        self._source = source
        self._embedder = embedder
        self._make = make
        self._table = table
        self.dense = dense
        self.lacking: dict[int, None] = dict.fromkeys(lacking)

    def add(self, first: int, cubes: Sequence[Cube], texts: Sequence[str]) -> None:
        """Find the vectors of versions that the table has just taken in.

        Args:
            first: Slot of the first of them.
            cubes: The versions, those of a row in their order.
            texts: What is embedded of each.
        """
        self.dense.reserve(len(self._table))
        alike = self._alike(first)
        if self._make is not None:
            silent = np.flatnonzero(alike < 0)
            if len(silent):
                made = self._make([texts[place] for place in silent.tolist()]).astype(np.float16)  # as in a store
                self.dense.put(first + silent, made)
            self._share(first, alike)
        elif self._embedder:
            alike[alike >= first] = -1  # what is fetched for a version goes to all that say the same
            sharing = np.flatnonzero(alike >= 0)
            alike[sharing[~self.dense.rows(alike[sharing]).any(axis=1)]] = -1
            self._share(first, alike)
            is_waiting = (self._table.column("died")[first:] == NEVER) & (alike < 0)
            waiting = [c.row for c, w in zip(cubes, is_waiting.tolist(), strict=True) if w and c.kind is Kind.TEXT]
            for row in waiting:
                self.lacking.pop(row, None)  # a next version waits at the end
            self.lacking.update(dict.fromkeys(waiting))
            self._fill(waiting)

    def _alike(self, first: int) -> Slots:
        """Return for each slot from the first on the earliest of a version before it that says the same, or -1."""
        table = self._table
        out = np.full(len(table) - first, -1, dtype=np.intp)
        later = table.column("version")[first:] > 1
        if not later.any():
            return out
        slots, _ = table.versions_of(np.unique(table.column("row")[first:][later]))
        row, said = (table.column(name)[slots] for name in ("row", "said"))
        order = np.lexsort((slots, said, row))
        slots, row, said = slots[order], row[order], said[order]
        is_first = np.append(True, (row[1:] != row[:-1]) | (said[1:] != said[:-1]))[: len(slots)]
        earliest = slots[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]
        repeats = (slots >= first) & (slots != earliest)
        out[slots[repeats] - first] = earliest[repeats]
        return out

    def _share(self, first: int, alike: Slots) -> None:
        """Give versions the vectors of those that say the same."""
        places = np.flatnonzero(alike >= 0)
        if len(places):
            self.dense.put(first + places, self.dense.rows(alike[places]))

    def drop(self, rows: Sequence[int], slots: Slots) -> None:
        """Let go of the vectors of cubes that are gone."""
        for row in rows:
            self.lacking.pop(row, None)
        if len(slots):
            self.dense.clear(slots)

    def fetch(self) -> None:
        """Fetch vectors that have come in the meantime, as long as those that wait longest have come."""
        while self.lacking:
            waiting = list(islice(self.lacking, _AWAITED))
            if not self._fill(waiting):
                return

    def _fill(self, rows: Sequence[int]) -> int:
        """Fetch the vectors of rows as far as there are any; return the number of cubes that no longer lack one."""
        found = self._source.vectors(self._embedder, rows)
        slots, places = self._table.alike(found.rows, found.versions)
        if not len(slots):
            return 0
        self.dense.put(slots, found.data[places])
        served = self._table.column("row")[slots[self._table.column("alive")[slots]]].tolist()
        for row in served:
            self.lacking.pop(row, None)
        return len(served)
