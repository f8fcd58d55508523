"""What every index knows of each cube: whose it is, when it was, and what stands next to it.

A column store in plain arrays. A cube has a *slot*, its position in every column and in the vector matrix. Columns of
names hold small codes, so that a scope or a filter becomes one vectorised comparison, made before anything is ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.where import LIVE_STATES, View
from ._column import Array, Codes, Column

__all__ = ["Region", "Table"]

Mask = NDArray[np.bool_]
Slots = NDArray[np.intp]
_NAMES = ("space", "tenant", "user", "agent", "session", "source", "speaker", "kind", "state", "thread", "section")
_NUMBERS: dict[str, tuple[type[np.generic], int]] = {  # type and fill value
    "row": (np.int64, 0),
    "version": (np.int32, 0),
    "time": (np.int64, 0),
    "position": (np.int64, 0),
    "before": (np.int32, -1),
    "after": (np.int32, -1),
    "length": (np.int32, 0),
    "alive": (np.bool_, 0),
    "is_turn": (np.bool_, 0),
}
_SECTION_TURNS = 32
"""Turns of a conversation without sessions, or chunks under one heading, that count as one section."""
_SELECTIVE = 8  # a region below 1/8 of the slots is worked on slot by slot: gathering costs 5 to 8 times a pass
_KEPT_REGIONS_BYTES = 64 << 20
_SHORT_WALK = 16  # steps back from the end of a thread before its place is searched for


@dataclass(frozen=True, slots=True)
class Region:
    """The slots one call may touch, with the statistics of exactly these.

    Args:
        mask: Which slots, (N,).
        slots: The same as ascending numbers when they are few, else None.
        size: Their number.
        lengths: Number of terms of these, 0 elsewhere, (N + 1,); the last one is that of a neighbour that is not there.
        spans: Numbers of terms in the windows of three and of five around each slot, (N + 1,) each.
        mean_length: Mean number of terms of these.
        section_lengths: Terms in each section, counted over these slots, (number of sections,).
        mean_section_length: Mean over sections that hold any of these slots.
        sections: Number of those sections.
    """

    mask: Mask
    slots: Slots | None
    size: int
    lengths: NDArray[np.float32]
    spans: tuple[NDArray[np.float32], NDArray[np.float32]]
    mean_length: float
    section_lengths: NDArray[np.float32]
    mean_section_length: float
    sections: int

    @property
    def is_everything(self) -> bool:
        """Whether no slot lies outside."""
        return self.size == len(self.mask)

    @property
    def bytes(self) -> int:
        """What keeping it costs."""
        return sum(a.nbytes for a in (self.mask, self.lengths, *self.spans, self.section_lengths))


class Table:
    """Columns over slots, filled by following the journal."""

    def __init__(self) -> None:
        self._columns = {name: Column(dtype, fill) for name, (dtype, fill) in _NUMBERS.items()}
        self._columns |= {name: Column(np.int32) for name in _NAMES}
        self._codes = {name: Codes() for name in _NAMES}
        self._slot_of = Column(np.int32, -1)  # by row
        self._last = Column(np.int32, -1)  # by code of a thread: the slot at its end
        self._alive = 0
        self._regions: dict[View, Region] = {}

    def __len__(self) -> int:
        return self._columns["row"].size

    @property
    def alive(self) -> int:
        """Number of slots that hold a cube as it is now."""
        return self._alive

    def column(self, name: str) -> Array:
        """Return a column as an array over all slots, a view that must not be kept across changes."""
        return self._columns[name].view

    def links(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the slot before and after each in its thread, (N + 1,) each; -1, which is also the last, is none."""
        return self._columns["before"].guarded, self._columns["after"].guarded

    def slot(self, row: int) -> int | None:
        """Return the slot of a living cube."""
        if not 0 <= row < self._slot_of.size:
            return None
        found = int(self._slot_of.data[row])
        return None if found < 0 else found

    def slots_of(self, rows: NDArray[np.int64]) -> Slots:
        """Return the slots of rows, -1 where no cube lives."""
        known = (rows >= 0) & (rows < self._slot_of.size)
        out = np.full(len(rows), -1, dtype=np.intp)
        out[known] = self._slot_of.data[rows[known]]
        return out

    def name(self, column: str, code: int) -> str | None:
        """Return the name behind a code."""
        return None if code < 0 else self._codes[column].names[code]

    def speakers(self) -> list[str]:
        """Return every name of a speaker, in order of code."""
        return self._codes["speaker"].names

    def add(self, cube: Cube, length: int) -> int:
        """Take in a cube, or its next version, and return its slot; see `add_many`."""
        return self.add_many([cube], [length])

    def add_many(self, cubes: Sequence[Cube], lengths: Sequence[int]) -> int:
        """Take in cubes, or their next versions, at the next slots; return the first of these.

        Args:
            cubes: As the store holds them now, no row twice.
            lengths: Number of terms of each.
        """
        start = len(self)
        if not cubes:
            return start
        rows = np.array([cube.row for cube in cubes], dtype=np.int64)
        former = self._replaced(rows)
        names = list(zip(*map(_names, cubes), strict=True))
        for name, values in zip(_NAMES, names, strict=True):
            self._columns[name].extend(self._codes[name].of_many(values))
        self._columns["row"].extend(rows)
        self._columns["version"].extend([cube.version for cube in cubes])
        self._columns["time"].extend([micros(cube.time) for cube in cubes])
        self._columns["position"].extend([-1 if (p := c.header.provenance.position) is None else p for c in cubes])
        self._columns["length"].extend(lengths)
        self._columns["is_turn"].extend([cube.header.provenance.unit == "turn" for cube in cubes])
        for name in ("before", "after"):
            self._columns[name].reach(start + len(cubes))
        self._columns["alive"].extend(np.ones(len(cubes), dtype=np.bool_))
        self._slot_of.reach(int(rows.max()) + 1)
        self._slot_of.data[rows] = np.arange(start, start + len(cubes), dtype=np.int32)
        self._alive += len(cubes)
        self._last.reach(len(self._codes["thread"]))
        self._link(np.arange(start, start + len(cubes)), former)
        self._regions.clear()
        return start

    def drop(self, row: int) -> None:
        """Take out a cube; taking out what is not there is no error."""
        slot = self.slot(row)
        if slot is None:
            return
        self._slot_of.data[row] = -1
        self._columns["alive"].data[slot] = False
        self._alive -= 1
        before, after = self._columns["before"].data, self._columns["after"].data
        left, right = int(before[slot]), int(after[slot])
        if left >= 0:
            after[left] = right
        if right >= 0:
            before[right] = left
        thread = int(self._columns["thread"].data[slot])
        if thread >= 0 and int(self._last.data[thread]) == slot:
            self._last.data[thread] = left
        before[slot] = after[slot] = -1
        self._regions.clear()

    def _replaced(self, rows: NDArray[np.int64]) -> dict[int, int]:
        """Take out what has these rows; return by row which slot stood before it in its thread."""
        out: dict[int, int] = {}
        slots = self.slots_of(rows)
        for slot, row in zip(slots[slots >= 0].tolist(), rows[slots >= 0].tolist(), strict=True):
            out[row] = int(self._columns["before"].data[slot])
            self.drop(row)
        return out

    def _link(self, slots: Slots, former: Mapping[int, int]) -> None:
        """Put those slots into their threads, by position and row, that are turns of one.

        A chunk is large enough to be its own window: with neighbours, documents lose 4 points of recall@1 (measured by
        benchmarks/retrieval.py --only variants).

        Args:
            slots: Ascending, not linked yet.
            former: By row, the slot before that of the version before.
        """
        slots = slots[self.column("is_turn")[slots] & (self.column("thread")[slots] >= 0)]
        slots = slots[self._is_live(self.column("state")[slots])]
        if not len(slots):
            return
        thread, position, row = (self.column(n)[slots] for n in ("thread", "position", "row"))
        order = np.lexsort((row, position, thread))
        slots, thread, position, row = slots[order], thread[order], position[order], row[order]
        is_first = np.append(True, thread[1:] != thread[:-1])
        first = np.flatnonzero(is_first)
        last = self._last.data[thread[first]]
        end_position, end_row = self.column("position")[last], self.column("row")[last]
        follows = (last < 0) | (end_position < position[first])
        follows |= (end_position == position[first]) & (end_row < row[first])
        group = np.cumsum(is_first) - 1
        fits = follows[group]  # all of the batch comes after what its thread held: the usual case, without a loop
        left = np.where(is_first, last[group], np.append(-1, slots[:-1]))
        before, after = self._columns["before"].data, self._columns["after"].data
        before[slots[fits]] = left[fits]
        joined = fits & (left >= 0)
        after[left[joined]] = slots[joined]
        is_last = fits & np.append(is_first[1:], True)
        self._last.data[thread[is_last]] = slots[is_last]
        for slot, own in zip(slots[~fits].tolist(), row[~fits].tolist(), strict=True):
            self._insert(slot, self._place(slot, former.get(own, -1)))

    def _insert(self, slot: int, left: int) -> None:
        """Put a slot after another in its thread, or at the beginning for -1."""
        before, after = self._columns["before"].data, self._columns["after"].data
        right = int(after[left]) if left >= 0 else self._beginning(slot)
        before[slot], after[slot] = left, right
        if left >= 0:
            after[left] = slot
        if right >= 0:
            before[right] = slot
        else:
            self._last.data[self._columns["thread"].data[slot]] = slot

    def _place(self, slot: int, guess: int) -> int:
        """Return the slot after which another belongs, -1 for the beginning of its thread."""
        position, row, thread = (self._columns[n].data for n in ("position", "row", "thread"))
        before, after = self._columns["before"].data, self._columns["after"].data
        own, last = (position[slot], row[slot]), int(self._last.data[thread[slot]])
        if guess >= 0 and thread[guess] == thread[slot] and (position[guess], row[guess]) < own:
            right = int(after[guess])
            if guess == last or (right >= 0 and own < (position[right], row[right])):
                return guess
        left = last
        for _ in range(_SHORT_WALK):
            if left < 0 or (position[left], row[left]) < own:
                return left
            left = int(before[left])
        linked = self._linked(slot)
        linked = linked[(position[linked] < own[0]) | ((position[linked] == own[0]) & (row[linked] < own[1]))]
        return int(linked[np.lexsort((row[linked], position[linked]))[-1]]) if len(linked) else -1

    def _beginning(self, slot: int) -> int:
        """Return the first slot of a slot's thread, -1 when it is empty."""
        linked = self._linked(slot)
        heads = linked[self.column("before")[linked] < 0]
        return int(heads[0]) if len(heads) else -1

    def _linked(self, slot: int) -> Slots:
        """Return the slots that stand linked in the thread of a slot."""
        thread = self._columns["thread"].data[slot]
        slots = np.flatnonzero(self.column("thread") == thread)
        is_end = slots == self._last.data[thread]
        found: Slots = slots[is_end | (self.column("after")[slots] >= 0)]
        return found

    @property
    def live(self) -> int:
        """Number of cubes in a state that ordinary searches find, whoever owns them."""
        return int(np.count_nonzero(self.column("alive") & self._is_live(self.column("state"))))

    def _is_live(self, state: Array) -> Mask:
        found: Mask = np.isin(state, [self._codes["state"].find(name) for name in LIVE_STATES])
        return found

    def region(self, view: View) -> Region:
        """Return the slots that a view admits, tags and metadata aside; kept until the table changes."""
        found = self._regions.get(view)
        if found is None:
            found = self._measured(*self._admitted(view))
            if sum(region.bytes for region in self._regions.values()) + found.bytes > _KEPT_REGIONS_BYTES:
                self._regions.clear()
            self._regions[view] = found
        return found

    def within(self, region: Region, rows: NDArray[np.int64]) -> Region:
        """Return the part of a region that these rows are."""
        slots = self.slots_of(rows)
        slots = slots[slots >= 0]
        slots = np.sort(slots[region.mask[slots]])
        if len(slots) * _SELECTIVE < len(self):
            return self._measured(None, slots)
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[slots] = True
        return self._measured(mask, None)

    def _measured(self, mask: Mask | None, slots: Slots | None) -> Region:
        """Return the region of these slots; given as numbers, only they are looked at."""
        count = len(self)
        lengths = np.zeros(count + 1, dtype=np.float32)
        number = len(self._codes["section"]) + 1  # the first one is that of what has no section
        section, length = self.column("section"), self.column("length")
        before, after = self.links()
        filled = np.zeros(number, dtype=np.bool_)
        if slots is not None:
            mask = np.zeros(count, dtype=np.bool_)
            mask[slots] = True
            lengths[slots] = mine = length[slots]
            size, inside = len(slots), section[slots] + 1
            summed = np.bincount(inside, weights=mine, minlength=number)
            filled[inside] = True
            spans = _spans_at(slots, lengths, before, after)
        else:
            mask = self.column("alive").astype(np.bool_) if mask is None else mask
            np.multiply(length, mask, out=lengths[:-1], casting="unsafe")
            size = int(np.count_nonzero(mask))
            summed = np.bincount(section + 1, weights=lengths[:-1], minlength=number)
            filled[section + 1 if size == count else section[mask] + 1] = True
            spans = _spans(lengths, before, after)
        total = float(lengths.sum(dtype=np.float64))
        sections = int(np.count_nonzero(filled[1:]))
        section_lengths = summed[1:].astype(np.float32)
        mean_section = max(1.0, float(summed[1:].sum()) / max(1, sections))
        mean = max(1.0, total / max(1, size))
        return Region(mask, slots, size, lengths, spans, mean, section_lengths, mean_section, sections)

    def _admitted(self, view: View) -> tuple[Mask | None, Slots | None]:
        """Return what a view admits as a mask, or as numbers where that is little."""
        sieve = _Sieve(self._columns["alive"].view)
        where, scope = view.where, view.scope
        for name, value in (("user", scope.user), ("agent", scope.agent)):
            self._sift(sieve, name, {None, value})
        self._sift(sieve, "tenant", {scope.tenant})
        for name, value in (("speaker", where.speaker), ("session", where.session)):
            if value is not None:
                self._sift(sieve, name, {value})
        if where.thread is not None:
            tail = "\x00" + where.thread
            self._sift(sieve, "thread", {t for t in self._codes["thread"].names if t.endswith(tail)})
        if where.source is not None:
            end = "/" + where.source
            ours = {s for s in self._codes["source"].names if s == where.source or s.endswith(end)}
            self._sift(sieve, "source", ours)
        if where.since is not None:
            sieve.keep(sieve.of(self.column("time")) >= micros(where.since))
        if where.until is not None:
            sieve.keep(sieve.of(self.column("time")) < micros(where.until))
        self._sift(sieve, "space", set(view.spaces))
        self._sift(sieve, "state", set(where.states))
        if where.kinds:
            self._sift(sieve, "kind", {kind.value for kind in where.kinds})
        return sieve.mask, sieve.slots

    def _sift(self, sieve: _Sieve, name: str, wanted: Iterable[str | None]) -> None:
        """Keep the slots whose name is one of those wanted."""
        codes = self._codes[name]
        admitted = np.zeros(len(codes) + 1, dtype=np.bool_)  # the last place is that of None
        found = [code for value in wanted if (code := codes.find(value)) >= -1]
        admitted[found] = True
        if admitted.all():
            return
        column = sieve.of(self.column(name))
        if len(found) == 1:
            sieve.keep(column == found[0])
        elif len(found) == 2:
            sieve.keep((column == found[0]) | (column == found[1]))
        else:
            sieve.keep(admitted[column])

    def compact(self) -> Slots:
        """Give up the slots of cubes that are gone, and their names; return the slots that stay, in order."""
        kept = np.flatnonzero(self.column("alive"))
        renumbered = np.full(len(self) + 1, -1, dtype=np.int32)  # the last place is that of -1
        renumbered[kept] = np.arange(len(kept), dtype=np.int32)
        for name, (dtype, fill) in _NUMBERS.items():
            data = self.column(name)[kept]
            self._columns[name] = Column(dtype, fill, renumbered[data] if name in ("before", "after") else data)
        for name in _NAMES:
            self._codes[name], column = self._codes[name].only(self.column(name)[kept])
            self._columns[name] = Column(np.int32, 0, column)
        self._index()
        self._regions.clear()
        return kept

    def _index(self) -> None:
        """Find rows and ends of threads again from the columns."""
        alive = np.flatnonzero(self.column("alive"))
        self._alive = len(alive)
        rows = self.column("row")[alive]
        self._slot_of = Column(np.int32, -1)
        self._slot_of.reach(int(rows.max()) + 1 if len(rows) else 0)
        self._slot_of.data[rows] = alive
        thread = self.column("thread")[alive]
        ends = self.column("is_turn")[alive] & (thread >= 0) & (self.column("after")[alive] < 0)
        ends &= self._is_live(self.column("state")[alive])
        self._last = Column(np.int32, -1)
        self._last.reach(len(self._codes["thread"]))
        self._last.data[thread[ends]] = alive[ends]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return everything as arrays, for a snapshot; `restored` is its inverse."""
        out: dict[str, NDArray[np.generic]] = {f"column.{n}": self.column(n) for n in (*_NUMBERS, *_NAMES)}
        for name, codes in self._codes.items():
            out[f"names.{name}"], out[f"ends.{name}"] = codes.packed()
        return out

    @classmethod
    def restored(cls, arrays: Mapping[str, Array]) -> Table:
        """Return the table whose `arrays` these are."""
        table = cls()
        for name, (dtype, fill) in _NUMBERS.items():
            table._columns[name] = Column(dtype, fill, arrays[f"column.{name}"])
        for name in _NAMES:
            table._columns[name] = Column(np.int32, 0, arrays[f"column.{name}"])
            table._codes[name] = Codes.unpacked(arrays[f"names.{name}"], arrays[f"ends.{name}"])
        table._index()
        return table


class _Sieve:
    """What is left of all slots: a mask while that is much, numbers once it is little."""

    def __init__(self, alive: Mask) -> None:
        self.mask: Mask | None = alive.astype(np.bool_)
        self.slots: Slots | None = None

    def of(self, column: Array) -> Array:
        return column if self.slots is None else column[self.slots]

    def keep(self, holds: Mask) -> None:
        if self.slots is not None:
            self.slots = self.slots[holds]
        elif self.mask is not None:
            self.mask &= holds
            if np.count_nonzero(self.mask) * _SELECTIVE < len(self.mask):
                self.slots, self.mask = np.flatnonzero(self.mask), None


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


def _names(cube: Cube) -> tuple[str | None, ...]:
    """Return the names of a cube in the order of the columns."""
    p, o = cube.header.provenance, cube.owner
    thread = None
    if p.thread is not None:
        thread = f"{cube.space}\x00{o.tenant or ''}\x00{o.user or ''}\x00{o.agent or ''}\x00{p.thread}"
    return (
        cube.space, o.tenant, o.user, o.agent, o.session, p.source, p.speaker, cube.kind.value,
        cube.header.life.state, thread, _section(thread, cube),
    )  # fmt: skip


def _section(thread: str | None, cube: Cube) -> str | None:
    """Return the coarse unit a cube belongs to: its session, its heading, or a stretch of its thread."""
    p = cube.header.provenance
    if thread is None:
        return None
    if p.unit == "turn":
        return thread if cube.owner.session is not None else f"{thread}\x00{(p.position or 0) // _SECTION_TURNS}"
    return f"{thread}\x00{'/'.join(p.section)}\x00{(p.position or 0) // _SECTION_TURNS}"
