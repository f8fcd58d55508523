"""What one call may touch, found before anything is ranked or counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core.access import Reading
from ..core.clock import micros
from ..core.distinct import distinct
from ..core.where import View, Where
from ..errors import BadInput
from ._column import Array
from ._rights import Opened, Rulings
from ._threads import Links, ThreadOrder
from .table import NEVER, Table

__all__ = ["Region", "Regions"]

Mask = NDArray[np.bool_]
Slots = NDArray[np.intp]
_SELECTIVE = 8  # a region below 1/8 of the slots is worked on slot by slot: gathering costs 5 to 8 times a pass
_KEPT_REGIONS_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Region:
    """The slots one call may touch, with the statistics of exactly these.

    Args:
        mask: Which slots, (N,).
        slots: The same as ascending numbers when they are few, else None.
        size: Their number.
        links: The slot before and after each in its thread, as `Table.links`, for who sees no more than the caller.
        lengths: Number of terms of these, 0 elsewhere, (N + 1,); the last one is that of a neighbour that is not there.
        spans: Numbers of terms in the windows of three and of five around each slot, (N + 1,) each.
        mean_length: Mean number of terms of these.
        section_lengths: Terms in each section, counted over these slots, (number of sections,).
        mean_section_length: Mean over sections that hold any of these slots.
        sections: Number of those sections.
        is_past: Whether it is how things stood at an earlier time.
    """

    mask: Mask
    slots: Slots | None
    size: int
    links: Links
    lengths: NDArray[np.float32]
    spans: tuple[NDArray[np.float32], NDArray[np.float32]]
    mean_length: float
    section_lengths: NDArray[np.float32]
    mean_section_length: float
    sections: int
    is_past: bool

    @property
    def is_everything(self) -> bool:
        """Whether no slot lies outside."""
        return self.size == len(self.mask)

    @property
    def bytes(self) -> int:
        """What keeping it costs."""
        return sum(a.nbytes for a in (self.mask, *self.links, self.lengths, *self.spans, self.section_lengths))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What decides about a region; two views with equal ones have the same region.

    Args:
        walls: Tenant, user and agent of the caller.
        spaces: Spaces to look into, with what the caller may do there.
        where: The filter without tags and metadata.
        at: Number of the journal's entry, or None for the present.
        rights: What rights on cubes come to, as `Opened.key`.
        over: How many slots have expired.
    """

    walls: tuple[str | None, str | None, str | None]
    spaces: tuple[tuple[str, Reading], ...]
    where: Where
    at: int | None
    rights: bytes
    over: int


class Regions:
    """The regions of a table, kept until it changes.

    Args:
        table: Filled by somebody else.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._edition = self._numbering = -1
        self._kept: dict[_Asked, Region] = {}
        self._bytes = 0
        self._rulings = Rulings()
        self._order = ThreadOrder()
        self._newest = 0
        self._expiries: NDArray[np.int64] | None = None

    def of(self, view: View) -> Region:
        """Return the slots that a view admits, tags and metadata aside.

        Raises:
            BadInput: It looks at an earlier time, and earlier versions are not kept.
        """
        self._refresh()
        access = view.holds
        opened = self._rulings.of(access)
        scope, where = access.scope, view.where
        asked = _Asked(
            (scope.tenant, scope.user, scope.agent),
            tuple((space, access.reading(space)) for space in view.spaces),
            replace(where, tags=(), metadata=()) if where.tags or where.metadata else where,
            self._instant(view.at),
            opened.key,
            self._over(view),
        )
        found = self._kept.get(asked)
        if found is None:
            found = self._made(asked, opened, view)
            self._bytes += found.bytes
            if self._bytes > _KEPT_REGIONS_BYTES:
                self._kept.clear()
                self._bytes = found.bytes
            self._kept[asked] = found
        return found

    def _refresh(self) -> None:
        """Let go of what the table has outgrown."""
        table = self._table
        if self._edition == table.edition:
            return
        self._edition = table.edition
        if self._numbering != table.numbering:
            self._numbering = table.numbering
            self._rulings, self._order = Rulings(), ThreadOrder()
        self._kept.clear()
        self._bytes = 0
        self._rulings.read(table.codes("rights").names)
        self._newest = int(table.column("born").max(initial=0))
        self._expiries = None

    def _instant(self, at: int | None) -> int | None:
        """Return an earlier time, or None for one at which everything was as it is."""
        if at is None or at >= self._newest:
            return None
        if not self._table.keeps_past:
            raise BadInput(
                f"this index keeps no earlier versions and cannot look at entry {at} of the journal",
                hint="open the memory with IndexConfig(keeps_past=True)",
            )
        return at

    def _over(self, view: View) -> int:
        """Return how many slots have expired; equal numbers are the same slots."""
        if view.moment is None:
            return 0
        if self._expiries is None:
            expires = self._table.column("expires")
            self._expiries = np.sort(expires[expires != NEVER])
        return int(np.searchsorted(self._expiries, micros(view.moment), side="right"))

    def _made(self, asked: _Asked, opened: Opened, view: View) -> Region:
        table = self._table
        sieve = _Sieve(table.column("alive"))
        if asked.at is not None:
            sieve = _Sieve(table.column("kept") & (table.column("born") <= asked.at))
            sieve.keep(sieve.of(table.column("died")) > asked.at)
        past = _Past(table, asked.at)
        if asked.over and view.moment is not None:
            past.keep_running(sieve, micros(view.moment))
        self._sift_walls(sieve, past, asked, opened)
        links = self._table.links()
        if asked.at is not None or ((asked.over or not opened.is_plain) and self._is_torn(sieve)):
            links = self._order.links(table, sieve.left)
        self._sift(sieve, asked.where)
        return self._measured(sieve.mask, sieve.slots, links, is_past=asked.at is not None)

    def _sift_walls(self, sieve: _Sieve, past: _Past, asked: _Asked, opened: Opened) -> None:
        """Keep what the caller may read: `access.decide`, in passes over columns."""
        tenant, user, agent = asked.walls
        readings = {space: reading for space, reading in asked.spaces if not reading.is_barred}
        if opened.is_plain and all(r.shared and r.is_cleared and not r.reach for r in readings.values()):
            for name, value in (("user", user), ("agent", agent)):
                self._sift_names(sieve, name, {None, value})
            self._sift_names(sieve, "tenant", {tenant})
            self._sift_names(sieve, "space", set(readings))
            return
        self._sift_names(sieve, "space", set(readings))
        self._sift_names(sieve, "tenant", {tenant})
        if opened.barred.any():
            sieve.keep(~opened.barred[past.today(sieve, "rights")])
        table = self._table
        owned, mine = np.zeros(sieve.size, dtype=np.bool_), np.ones(sieve.size, dtype=np.bool_)
        for name, value in (("user", user), ("agent", agent)):
            column = sieve.of(table.column(name))
            owned |= column >= 0
            mine &= (column == -1) | (column == table.codes(name).find(value))
        space = sieve.of(table.column("space"))
        shared, reach, cleared = self._by_space(readings)
        given = (shared[space] & ~owned) | reach[space]
        given &= cleared[space]
        if not opened.is_plain:
            rights = past.today(sieve, "rights")
            given |= opened.granted[rights] & cleared[space]
            given &= opened.cleared[rights]
        sieve.keep((owned & mine) | given)

    def _by_space(self, readings: dict[str, Reading]) -> tuple[Mask, Mask, Mask]:
        """Return of each code of a space whether it shares what nobody owns, reaches further, and clears its labels."""
        codes = self._table.codes("space")
        out = np.zeros((3, len(codes) + 1), dtype=np.bool_)
        for space, reading in readings.items():
            if (code := codes.find(space)) >= 0:
                out[:, code] = reading.shared, reading.reach, reading.is_cleared
        return out[0], out[1], out[2]

    def _is_torn(self, sieve: _Sieve) -> bool:
        """Return whether the caller sees some turns of a thread of the present and not its others."""
        table = self._table
        thread = table.column("thread")
        seen = np.zeros(len(table.codes("thread")) + 1, dtype=np.bool_)
        seen[thread[sieve.left]] = True
        seen[-1] = False  # the last place is that of no thread
        hidden = table.column("alive") & table.column("is_turn")
        hidden[sieve.left] = False
        return bool(seen[thread[hidden]].any())

    def _sift(self, sieve: _Sieve, where: Where) -> None:
        """Keep what a filter admits."""
        table = self._table
        for name, value in (("speaker", where.speaker), ("session", where.session)):
            if value is not None:
                self._sift_names(sieve, name, {value})
        if where.thread is not None:
            tail = "\x00" + where.thread
            self._sift_names(sieve, "thread", {t for t in table.codes("thread").names if t.endswith(tail)})
        if where.source is not None:
            end = "/" + where.source
            ours = {s for s in table.codes("source").names if s == where.source or s.endswith(end)}
            self._sift_names(sieve, "source", ours)
        if where.since is not None:
            sieve.keep(sieve.of(table.column("time")) >= micros(where.since))
        if where.until is not None:
            sieve.keep(sieve.of(table.column("time")) < micros(where.until))
        if where.valid_at is not None:
            sieve.keep(sieve.of(table.column("time")) <= micros(where.valid_at))
            sieve.keep(sieve.of(table.column("until")) > micros(where.valid_at))
        self._sift_states(sieve, where)
        if where.kinds:
            self._sift_names(sieve, "kind", {*(kind.value for kind in where.kinds), None})  # every cube has a kind

    def _sift_states(self, sieve: _Sieve, where: Where) -> None:
        """Keep what is in the states asked for; of what holds at a time, also what has ended and was archived."""
        if not where.counts_ended:
            self._sift_names(sieve, "state", set(where.states))
            return
        codes, state = self._table.codes("state"), sieve.of(self._table.column("state"))
        is_ended = (state == codes.find("archived")) & (sieve.of(self._table.column("until")) != NEVER)
        sieve.keep(is_ended | np.isin(state, [codes.find(name) for name in where.states]))

    def _sift_names(self, sieve: _Sieve, name: str, wanted: Iterable[str | None]) -> None:
        """Keep the slots whose name is one of those wanted."""
        codes = self._table.codes(name)
        admitted = np.zeros(len(codes) + 1, dtype=np.bool_)  # the last place is that of None
        found = [code for value in wanted if (code := codes.find(value)) >= -1]
        admitted[found] = True
        if admitted.all():
            return
        column = sieve.of(self._table.column(name))
        if len(found) == 1:
            sieve.keep(column == found[0])
        elif len(found) == 2:
            sieve.keep((column == found[0]) | (column == found[1]))
        else:
            sieve.keep(admitted[column])

    def within(self, region: Region, rows: NDArray[np.int64]) -> Region:
        """Return the part of a region that these rows are."""
        table = self._table
        if region.is_past:
            slots = np.flatnonzero(region.mask) if region.slots is None else region.slots
            slots = slots[np.isin(table.column("row")[slots], rows)]
        else:
            slots = table.slots_of(rows)
            slots = slots[slots >= 0]
            slots = distinct(slots[region.mask[slots]])
        if len(slots) * _SELECTIVE < len(table):
            return self._measured(None, slots, region.links, is_past=region.is_past)
        mask = np.zeros(len(table), dtype=np.bool_)
        mask[slots] = True
        return self._measured(mask, None, region.links, is_past=region.is_past)

    def _measured(self, mask: Mask | None, slots: Slots | None, links: Links, *, is_past: bool = False) -> Region:
        """Return the region of these slots; given as numbers, only they are looked at."""
        table = self._table
        count = len(table)
        lengths = np.zeros(count + 1, dtype=np.float32)
        number = len(table.codes("section")) + 1  # the first one is that of what has no section
        section, length = table.column("section"), table.column("length")
        filled = np.zeros(number, dtype=np.bool_)
        if slots is not None:
            mask = np.zeros(count, dtype=np.bool_)
            mask[slots] = True
            lengths[slots] = mine = length[slots]
            size, inside = len(slots), section[slots] + 1
            summed = np.bincount(inside, weights=mine, minlength=number)
            filled[inside] = True
            spans = _spans_at(slots, lengths, *links)
        else:
            mask = table.column("alive").astype(np.bool_) if mask is None else mask
            np.multiply(length, mask, out=lengths[:-1], casting="unsafe")
            size = int(np.count_nonzero(mask))
            summed = np.bincount(section + 1, weights=lengths[:-1], minlength=number)
            filled[section + 1 if size == count else section[mask] + 1] = True
            spans = _spans(lengths, *links)
        total = float(lengths.sum(dtype=np.float64))
        sections = int(np.count_nonzero(filled[1:]))
        section_lengths = summed[1:].astype(np.float32)
        mean_section = max(1.0, float(summed[1:].sum()) / max(1, sections))
        mean = max(1.0, total / max(1, size))
        return Region(
            mask, slots, size, links, lengths, spans, mean, section_lengths, mean_section, sections, is_past
        )  # fmt: skip


class _Sieve:
    """What is left of all slots: a mask while that is much, numbers once it is little."""

    def __init__(self, start: Mask) -> None:
        self.mask: Mask | None = start.astype(np.bool_)
        self.slots: Slots | None = None

    @property
    def left(self) -> Mask | Slots:
        """What is left, as it is held."""
        return self.slots if self.mask is None else self.mask  # type: ignore[return-value]  # one of them is there

    @property
    def size(self) -> int:
        """Length of the columns that `of` gives."""
        return len(self.left)

    def of(self, column: Array) -> Array:
        return column if self.slots is None else column[self.slots]

    def keep(self, holds: Mask) -> None:
        if self.slots is not None:
            self.slots = self.slots[holds]
        elif self.mask is not None:
            self.mask &= holds
            if np.count_nonzero(self.mask) * _SELECTIVE < len(self.mask):
                self.slots, self.mask = np.flatnonzero(self.mask), None


class _Past:
    """What is asked of the present version where an earlier one is looked at."""

    def __init__(self, table: Table, at: int | None) -> None:
        self._table = table
        self._at = at

    def today(self, sieve: _Sieve, name: str) -> Array:
        """Return a column as it is for the present versions of what is left."""
        column = self._table.column(name)
        if self._at is None:
            return sieve.of(column)
        return column[self._table.slots_of(sieve.of(self._table.column("row")))]

    def keep_running(self, sieve: _Sieve, now: int) -> None:
        """Keep what does not expire at or before a moment, and what is frozen."""
        held = sieve.of(self._table.column("state")) == self._table.codes("state").find("frozen")
        sieve.keep(held | (sieve.of(self._table.column("expires")) > now))


def _spans(
    lengths: NDArray[np.float32], before: NDArray[np.int32], after: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the terms in the windows of three and of five around every slot; before and after lead to 0 at last."""
    left, right = lengths.take(before, mode="wrap"), lengths.take(after, mode="wrap")
    three = lengths + left + right
    return three, three + left.take(before, mode="wrap") + right.take(after, mode="wrap")


def _spans_at(
    slots: Slots, lengths: NDArray[np.float32], before: NDArray[np.int32], after: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the same, right for these slots alone."""
    out = (np.zeros_like(lengths), np.zeros_like(lengths))
    total = lengths[slots]
    left, right = before[slots], after[slots]
    for span in out:
        total = total + lengths[left] + lengths[right]
        span[slots] = total
        left, right = before[left], after[right]
    return out
