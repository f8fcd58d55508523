"""What every index knows of each cube: whose it is, when it was, and what stands next to it.

A column store in plain arrays. A version of a cube has a *slot*, its position in every column and in the vector matrix.
Columns of names hold small codes, so that a scope or a filter becomes one vectorised comparison, made before anything
is ranked. The slot of a present version is *alive*; that of an earlier one is *kept* for questions about the past.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.header import Rights, rights_to_json
from ..core.payload import canonical
from ..core.where import LIVE_STATES
from ._column import Array, Codes, Column
from .cues import cues_of

__all__ = ["NEVER", "Table"]

Mask = NDArray[np.bool_]
Slots = NDArray[np.intp]
NEVER = int(np.iinfo(np.int64).max)
"""A moment, or a number of the journal, that does not come."""
_NAMES = (
    "space", "tenant", "user", "agent", "session", "source", "speaker", "kind", "state", "rights", "thread", "section",
)  # fmt: skip
_NUMBERS: dict[str, tuple[type[np.generic], int]] = {  # type and fill value
    "row": (np.int64, 0),
    "version": (np.int32, 0),
    "time": (np.int64, 0),
    "until": (np.int64, NEVER),  # microseconds of `Life.valid_to`
    "expires": (np.int64, NEVER),
    "born": (np.int64, 0),  # the journal's entry that made this version
    "died": (np.int64, NEVER),  # the one that made the next
    "said": (np.int64, 0),  # a digest of the words, so that versions that say the same share a vector
    "position": (np.int64, 0),
    "before": (np.int32, -1),
    "after": (np.int32, -1),
    "length": (np.int32, 0),
    "cues": (np.int32, 0),  # of a turn, packed by `cues_of`
    "alive": (np.bool_, 0),
    "kept": (np.bool_, 0),
    "is_turn": (np.bool_, 0),
}
_SECTION_TURNS = 32
"""Turns of a conversation without sessions, or chunks under one heading, that count as one section."""
_SHORT_WALK = 16  # steps back from the end of a thread before its place is searched for


class Table:
    """Columns over slots, filled by following the journal.

    Args:
        keeps_past: Whether the slots of earlier versions are kept.
    """

    def __init__(self, *, keeps_past: bool = True) -> None:
        self.keeps_past = keeps_past
        self.edition = 0
        """Goes up with every change."""
        self.numbering = 0
        """Goes up when slots and codes change their numbers."""
        self._columns = {name: Column(dtype, fill) for name, (dtype, fill) in _NUMBERS.items()}
        self._columns |= {name: Column(np.int32) for name in _NAMES}
        self._codes = {name: Codes() for name in _NAMES}
        self._slot_of = Column(np.int32, -1)  # by row
        self._last = Column(np.int32, -1)  # by code of a thread: the slot at its end
        self._alive = self._kept = 0

    def __len__(self) -> int:
        return self._columns["row"].size

    @property
    def alive(self) -> int:
        """Number of slots that hold a cube as it is now."""
        return self._alive

    @property
    def kept(self) -> int:
        """Number of slots that hold a cube as it is now or as it was."""
        return self._kept

    def column(self, name: str) -> Array:
        """Return a column as an array over all slots, a view that must not be kept across changes."""
        return self._columns[name].view

    def codes(self, name: str) -> Codes:
        """Return the names behind the codes of a column, not to be changed."""
        return self._codes[name]

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

    def versions_of(self, rows: NDArray[np.int64]) -> tuple[Slots, Slots]:
        """Return every kept slot of rows, ascending, and the place of its row among these."""
        rows = np.where((rows >= 0) & (rows < self._slot_of.size), rows, self._slot_of.size)
        place = np.full(self._slot_of.size + 1, -1, dtype=np.intp)
        place[rows] = np.arange(len(rows))
        place[-1] = -1
        at = place[self.column("row")]
        slots = np.flatnonzero((at >= 0) & self.column("kept"))
        return slots, at[slots]

    def alike(self, rows: NDArray[np.int64], versions: NDArray[np.int64]) -> tuple[Slots, Slots]:
        """Return the kept slots that say the same as these versions of these rows, and the place of each among them."""
        if self._alive == self._kept:
            slots = self.slots_of(rows)
            at = np.flatnonzero(slots >= 0)
            at = at[self.column("version")[slots[at]] == versions[at]]
            return slots[at], at
        slots, at = self.versions_of(rows)
        said = self.column("said")[slots]
        exact = self.column("version")[slots] == versions[at]
        wanted, is_known = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.bool_)
        wanted[at[exact]], is_known[at[exact]] = said[exact], True
        same = exact | (is_known[at] & (said == wanted[at]))
        return slots[same], at[same]

    def name(self, column: str, code: int) -> str | None:
        """Return the name behind a code."""
        return None if code < 0 else self._codes[column].names[code]

    def speakers(self) -> list[str]:
        """Return every name of a speaker, in order of code."""
        return self._codes["speaker"].names

    def add(self, cube: Cube, length: int) -> int:
        """Take in a cube, or its next version, and return its slot; see `add_many`."""
        return self.add_many([cube], [length])

    def add_many(self, cubes: Sequence[Cube], lengths: Sequence[int], said: Sequence[int] | None = None) -> int:
        """Take in cubes, or their next versions, at the next slots; return the first of these.

        Args:
            cubes: As the store holds them now; before each, if they were missed, versions between this one and the one
                that is here, oldest first.
            lengths: Number of terms of each.
            said: A digest of the words of each.
        """
        start = len(self)
        if not cubes:
            return start
        rows = np.array([cube.row for cube in cubes], dtype=np.int64)
        born = [cube.seq for cube in cubes]
        died = _ends(rows.tolist(), born)
        is_present = np.array(died) == NEVER
        former = self._replaced(dict(zip(rows[::-1].tolist(), born[::-1], strict=True)))
        names = list(zip(*map(_names, cubes), strict=True))
        for name, values in zip(_NAMES, names, strict=True):
            self._columns[name].extend(self._codes[name].of_many(values))
        lives = [cube.header.life for cube in cubes]
        added: dict[str, Sequence[int] | Array] = {
            "row": rows,
            "version": [cube.version for cube in cubes],
            "time": [micros(cube.time) for cube in cubes],
            "until": [NEVER if life.valid_to is None else micros(life.valid_to) for life in lives],
            "expires": [NEVER if life.expires is None else micros(life.expires) for life in lives],
            "born": born,
            "died": died,
            "said": said or [0] * len(cubes),
            "position": [-1 if (p := c.header.provenance.position) is None else p for c in cubes],
            "length": lengths,
            "cues": [cues_of(c.text) if c.header.provenance.unit == "turn" else 0 for c in cubes],
            "is_turn": [cube.header.provenance.unit == "turn" for cube in cubes],
            "alive": is_present,
            "kept": np.ones(len(cubes), dtype=np.bool_),
        }
        for name, numbers in added.items():
            self._columns[name].extend(numbers)
        for name in ("before", "after"):
            self._columns[name].reach(start + len(cubes))
        slots = start + np.flatnonzero(is_present)
        self._slot_of.reach(int(rows.max()) + 1)
        self._slot_of.data[rows[is_present]] = slots
        self._alive += len(slots)
        self._kept += len(cubes)
        self._last.reach(len(self._codes["thread"]))
        self._link(slots, former)
        self.edition += 1
        return start

    def drop(self, row: int) -> None:
        """Take out a cube with all its versions; taking out what is not there is no error."""
        self.drop_many([row])

    def drop_many(self, rows: Sequence[int]) -> Slots:
        """Take out cubes with all their versions; return the slots that held them."""
        if not len(rows):
            return np.zeros(0, dtype=np.intp)
        slots, _ = self.versions_of(np.array(rows, dtype=np.int64))
        if not len(slots):
            return slots
        for slot in slots[self.column("alive")[slots]].tolist():
            self._retire(slot)
        self._columns["kept"].data[slots] = False
        self._kept -= len(slots)
        self.edition += 1
        return slots

    def _retire(self, slot: int) -> None:
        """Take a slot out of the present."""
        self._slot_of.data[self._columns["row"].data[slot]] = -1
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

    def _replaced(self, born: Mapping[int, int]) -> dict[int, int]:
        """Take what has these rows out of the present; return by row which slot stood before it in its thread.

        Args:
            born: By row, the number of the version that comes next.
        """
        out: dict[int, int] = {}
        slots = self.slots_of(np.fromiter(born, dtype=np.int64, count=len(born)))
        for row, slot in zip(born, slots.tolist(), strict=True):
            if slot >= 0:
                out[row] = int(self._columns["before"].data[slot])
                self._retire(slot)
                self._columns["died"].data[slot] = born[row]
                self._columns["kept"].data[slot] = self.keeps_past
                self._kept -= not self.keeps_past
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
        slots = slots[self.is_live(self.column("state")[slots])]
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
        return int(np.count_nonzero(self.column("alive") & self.is_live(self.column("state"))))

    def is_live(self, state: Array) -> Mask:
        """Return which of some codes of states are such that ordinary searches find."""
        found: Mask = np.isin(state, [self._codes["state"].find(name) for name in LIVE_STATES])
        return found

    def compact(self) -> Slots:
        """Give up the slots of cubes that are gone, and their names; return the slots that stay, in order."""
        kept = np.flatnonzero(self.column("kept"))
        renumbered = np.full(len(self) + 1, -1, dtype=np.int32)  # the last place is that of -1
        renumbered[kept] = np.arange(len(kept), dtype=np.int32)
        for name, (dtype, fill) in _NUMBERS.items():
            data = self.column(name)[kept]
            self._columns[name] = Column(dtype, fill, renumbered[data] if name in ("before", "after") else data)
        for name in _NAMES:
            self._codes[name], column = self._codes[name].only(self.column(name)[kept])
            self._columns[name] = Column(np.int32, 0, column)
        self._index()
        self.edition += 1
        self.numbering += 1
        return kept

    def _index(self) -> None:
        """Find rows and ends of threads again from the columns."""
        alive = np.flatnonzero(self.column("alive"))
        self._alive = len(alive)
        self._kept = int(np.count_nonzero(self.column("kept")))
        rows = self.column("row")
        self._slot_of = Column(np.int32, -1)
        self._slot_of.reach(int(rows.max()) + 1 if len(rows) else 0)
        self._slot_of.data[rows[alive]] = alive
        thread = self.column("thread")[alive]
        ends = self.column("is_turn")[alive] & (thread >= 0) & (self.column("after")[alive] < 0)
        ends &= self.is_live(self.column("state")[alive])
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
    def restored(cls, arrays: Mapping[str, Array], *, keeps_past: bool = True) -> Table:
        """Return the table whose `arrays` these are."""
        table = cls(keeps_past=keeps_past)
        for name, (dtype, fill) in _NUMBERS.items():
            table._columns[name] = Column(dtype, fill, arrays[f"column.{name}"])
        for name in _NAMES:
            table._columns[name] = Column(np.int32, 0, arrays[f"column.{name}"])
            table._codes[name] = Codes.unpacked(arrays[f"names.{name}"], arrays[f"ends.{name}"])
        table._index()
        return table


def _names(cube: Cube) -> tuple[str | None, ...]:
    """Return the names of a cube in the order of the columns."""
    p, o = cube.header.provenance, cube.owner
    thread = None
    if p.thread is not None:
        thread = f"{cube.space}\x00{o.tenant or ''}\x00{o.user or ''}\x00{o.agent or ''}\x00{p.thread}"
    return (
        cube.space, o.tenant, o.user, o.agent, o.session, p.source, p.speaker, cube.kind.value,
        cube.header.life.standing, _rights(cube.header.rights), thread, _section(thread, cube),
    )  # fmt: skip


def _ends(rows: Sequence[int], born: Sequence[int]) -> list[int]:
    """Return for each version in which entry of the journal the next one of its row came, `NEVER` for the last."""
    following: dict[int, int] = {}
    ends: list[int] = []
    for row, number in zip(reversed(rows), reversed(born), strict=True):
        ends.append(following.get(row, NEVER))
        following[row] = number
    return ends[::-1]


def _rights(rights: Rights) -> str | None:
    """Return rights as one text; None for those that everybody has by default."""
    said = rights_to_json(rights)
    return canonical(said) if said else None


def _section(thread: str | None, cube: Cube) -> str | None:
    """Return the coarse unit a cube belongs to: its session, its heading, or a stretch of its thread."""
    p = cube.header.provenance
    if thread is None:
        return None
    if p.unit == "turn":
        return thread if cube.owner.session is not None else f"{thread}\x00{(p.position or 0) // _SECTION_TURNS}"
    return f"{thread}\x00{'/'.join(p.section)}\x00{(p.position or 0) // _SECTION_TURNS}"
