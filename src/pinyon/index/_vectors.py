"""The vectors of the slots of a table: shared between versions, made at once or fetched when a job has made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..core.cube import Cube
from ..core.distinct import distinct
from ..core.payload import Kind
from ._column import Column
from .base import Journal
from .dense import Dense
from .table import NEVER, Table

__all__ = ["Make", "Vectors"]

Rows = NDArray[np.float32]
Slots = NDArray[np.intp]
Make = Callable[[Sequence[str]], NDArray[np.float32]]
_AWAITED = 64  # cubes whose vector is looked for at a question, the longest waiting first


class Vectors:
    """Vectors by slot; versions of a cube that say the same share one.

    Args:
        source: The store.
        embedder: Fingerprint of the vectors, or an empty text for none.
        make: Makes the vectors of texts, (N, E); None takes them from the store.
        table: Whose slots these are.
        dense: The distinct rows.
        places: Which of them is that of each slot, (N,); None for an empty table.
        lacking: Rows of cubes whose vectors are still to come, the longest waiting first.
    """

    def __init__(
        self,
        source: Journal,
        embedder: str,
        make: Make | None,
        table: Table,
        dense: Dense,
        places: NDArray[np.generic] | None = None,
        lacking: Iterable[int] = (),
    ) -> None:
        self._source = source
        self._embedder = embedder
        self._make = make
        self._table = table
        self._places = Column(np.int32, 0, places)
        self.dense = dense
        self.lacking: dict[int, None] = dict.fromkeys(lacking)

    @property
    def places(self) -> NDArray[np.int32]:
        """Which of the distinct rows is that of each slot, (N,)."""
        return self._places.view

    @property
    def _are_own(self) -> bool:
        """Whether every slot has a row of its own, and so the place of its own number."""
        return len(self.dense) == self._places.size

    def scores(self, query: NDArray[np.float32]) -> Rows:
        """Return the inner product of a unit query (E,) with every slot, (N,)."""
        found = self.dense.scores(query)
        return found if self._are_own else found.take(self.places)

    def scores_at(self, slots: Slots, query: NDArray[np.float32]) -> Rows:
        """Return the inner product of a unit query (E,) with some slots, ascending, (M,)."""
        if self._are_own:
            return self.dense.scores_at(slots, query)
        places = self.places[slots].astype(np.intp)
        order = np.argsort(places, kind="stable")
        out = np.empty(len(slots), dtype=np.float32)
        out[order] = self.dense.scores_at(places[order], query)
        return out

    def rows(self, slots: Slots) -> Rows:
        """Return the rows of slots, (N, E)."""
        return self.dense.rows(self.places[slots].astype(np.intp))

    def add(self, first: int, cubes: Sequence[Cube], texts: Sequence[str]) -> None:
        """Find the vectors of versions that the table has just taken in.

        Args:
            first: Slot of the first of them.
            cubes: The versions, those of a row in their order.
            texts: What is embedded of each.
        """
        alike = self._alike(first)
        own, start = np.flatnonzero(alike < 0), len(self.dense)
        self._places.reach(first + len(cubes))
        self.places[first + own] = np.arange(start, start + len(own))
        shared = np.flatnonzero(alike >= 0)
        self.places[first + shared] = self.places[alike[shared]]
        self.dense.reserve(start + len(own))
        if self._make is not None:
            if len(own):
                made = self._make([texts[place] for place in own.tolist()]).astype(np.float16)  # as in a store
                self.dense.put(start + np.arange(len(own)), made)
        elif self._embedder:
            present = np.flatnonzero(self._table.column("died")[first:] == NEVER)
            silent = present[~self.rows(first + present).any(axis=1)]
            waiting = [cubes[place].row for place in silent.tolist() if cubes[place].kind is Kind.TEXT]
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
        slots, _ = table.versions_of(distinct(table.column("row")[first:][later]))
        row, said = (table.column(name)[slots] for name in ("row", "said"))
        order = np.lexsort((slots, said, row))
        slots, row, said = slots[order], row[order], said[order]
        is_first = np.append(True, (row[1:] != row[:-1]) | (said[1:] != said[:-1]))[: len(slots)]
        earliest = slots[np.flatnonzero(is_first)[np.cumsum(is_first) - 1]]
        repeats = (slots >= first) & (slots != earliest)
        out[slots[repeats] - first] = earliest[repeats]
        return out

    def compact(self, kept: Slots) -> None:
        """Keep these slots alone, ascending."""
        used, places = np.unique(self.places[kept], return_inverse=True)
        self.dense.compact(used.astype(np.intp))
        self._places = Column(np.int32, 0, places)

    def drop(self, rows: Sequence[int], slots: Slots) -> None:
        """Let go of the vectors of cubes that are gone."""
        for row in rows:
            self.lacking.pop(row, None)
        if len(slots):
            self.dense.clear(distinct(self.places[slots]).astype(np.intp))

    def lacking_in(self, mask: NDArray[np.bool_]) -> int:
        """Return how many of some slots, (N,), hold a cube whose vector is still to come."""
        slots = self._table.slots_of(np.fromiter(self.lacking, dtype=np.int64, count=len(self.lacking)))
        return int(np.count_nonzero(mask[slots]))

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
        self.dense.put(self.places[slots].astype(np.intp), found.data[places])
        served = self._table.column("row")[slots[self._table.column("alive")[slots]]].tolist()
        for row in served:
            self.lacking.pop(row, None)
        return len(served)
