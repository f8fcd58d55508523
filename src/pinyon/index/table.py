"""What every index knows of each cube: whose it is, when it was, and what stands next to it.

A column store in plain arrays. A cube has a *slot*, its position in every column and in the vector matrix. Columns of
names hold small codes, so that a scope or a filter becomes one vectorised comparison, made before anything is ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.where import LIVE_STATES, View

__all__ = ["Region", "Table"]

Mask = NDArray[np.bool_]
_NAMES = ("space", "tenant", "user", "agent", "session", "source", "speaker", "kind", "state", "thread", "section")
_NUMBERS: dict[str, type[np.generic]] = {
    "row": np.int64,
    "version": np.int32,
    "time": np.int64,
    "position": np.int64,
    "before": np.int32,
    "after": np.int32,
    "length": np.int32,
    "alive": np.bool_,
}
_SECTION_TURNS = 32
"""Turns of a conversation without sessions, or chunks under one heading, that count as one section."""


class _Column:
    """An array that grows."""

    def __init__(self, dtype: type[np.generic], data: NDArray[np.generic] | None = None) -> None:
        self.data = np.zeros(64, dtype=dtype) if data is None else data.copy()
        self.size = 0 if data is None else len(data)

    def append(self, value: object) -> None:
        if self.size == len(self.data):
            grown = np.zeros(max(64, self.size * 2), dtype=self.data.dtype)
            grown[: self.size] = self.data
            self.data = grown
        self.data[self.size] = value  # type: ignore[call-overload]  # the column's own type
        self.size += 1

    @property
    def view(self) -> NDArray[np.generic]:
        return self.data[: self.size]


class _Codes:
    """Names as small numbers; None is -1."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = list(names)
        self.code = {name: number for number, name in enumerate(self.names)}

    def of(self, name: str | None) -> int:
        if name is None:
            return -1
        found = self.code.get(name)
        if found is None:
            found = self.code[name] = len(self.names)
            self.names.append(name)
        return found

    def find(self, name: str | None) -> int:
        """Return the code of a name, -1 for None and -2 for a name that never occurred."""
        return -1 if name is None else self.code.get(name, -2)


@dataclass(frozen=True, slots=True)
class Region:
    """The slots one call may touch, with the statistics of exactly these.

    Args:
        mask: Which slots, (N,).
        size: Their number.
        mean_length: Mean number of terms of these.
        section_lengths: Terms in each section, counted over these slots, (number of sections,).
        mean_section_length: Mean over sections that hold any of these slots.
        sections: Number of those sections.
    """

    mask: Mask
    size: int
    mean_length: float
    section_lengths: NDArray[np.float64]
    mean_section_length: float
    sections: int


class Table:
    """Columns over slots, filled by following the journal."""

    def __init__(self) -> None:
        self._columns = {name: _Column(dtype) for name, dtype in _NUMBERS.items()}
        self._columns |= {name: _Column(np.int32) for name in _NAMES}
        self._codes = {name: _Codes() for name in _NAMES}
        self._slot: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self.generation = 0
        self._regions: dict[object, tuple[int, Region]] = {}

    def __len__(self) -> int:
        return self._columns["row"].size

    def column(self, name: str) -> NDArray[np.generic]:
        """Return a column as an array over all slots, a view that must not be kept across changes."""
        return self._columns[name].view

    def slot(self, row: int) -> int | None:
        """Return the slot of a living cube."""
        return self._slot.get(row)

    def name(self, column: str, code: int) -> str | None:
        """Return the name behind a code."""
        return None if code < 0 else self._codes[column].names[code]

    def speakers(self) -> list[str]:
        """Return every name of a speaker, in order of code."""
        return self._codes["speaker"].names

    def add(self, cube: Cube, length: int) -> int:
        """Take in a cube, or its next version, and return its slot.

        Args:
            cube: As the store holds it now.
            length: Number of its terms.
        """
        self.drop(cube.row)
        p, o = cube.header.provenance, cube.owner
        slot = len(self)
        thread = (
            None
            if p.thread is None
            else "\x00".join(_text(v) for v in (cube.space, o.tenant, o.user, o.agent, p.thread))
        )
        names = (
            cube.space, o.tenant, o.user, o.agent, o.session, p.source, p.speaker, cube.kind.value,
            cube.header.life.state, thread, _section(thread, cube),
        )  # fmt: skip
        for name, value in zip(_NAMES, names, strict=True):
            self._columns[name].append(self._codes[name].of(value))
        position = -1 if p.position is None else p.position
        numbers = (cube.row, cube.version, micros(cube.time), position, -1, -1, length, True)
        for name, number in zip(_NUMBERS, numbers, strict=True):
            self._columns[name].append(number)
        self._slot[cube.row] = slot
        if thread is not None and cube.header.life.state in LIVE_STATES:
            self._link(slot)
        self.generation += 1
        return slot

    def drop(self, row: int) -> None:
        """Take out a cube; taking out what is not there is no error."""
        slot = self._slot.pop(row, None)
        if slot is None:
            return
        self._columns["alive"].data[slot] = False
        before, after = self._columns["before"].data, self._columns["after"].data
        left, right = int(before[slot]), int(after[slot])
        if left >= 0:
            after[left] = right
        if right >= 0:
            before[right] = left
        thread = int(self._columns["thread"].data[slot])
        if self._last.get(thread) == slot:
            if left >= 0:
                self._last[thread] = left
            else:
                del self._last[thread]
        before[slot] = after[slot] = -1
        self.generation += 1

    def _link(self, slot: int) -> None:
        """Put a slot into its thread by position, walking back from the end."""
        before, after = self._columns["before"].data, self._columns["after"].data
        position, row = self._columns["position"].data, self._columns["row"].data
        thread = int(self._columns["thread"].data[slot])
        place = (position[slot], row[slot])
        left, right = self._last.get(thread, -1), -1
        while left >= 0 and (position[left], row[left]) > place:
            left, right = int(before[left]), left
        before[slot], after[slot] = left, right
        if left >= 0:
            after[left] = slot
        if right >= 0:
            before[right] = slot
        else:
            self._last[thread] = slot

    def region(self, view: View) -> Region:
        """Return the slots that a view admits, tags and metadata aside; kept until the table changes."""
        found = self._regions.get(view)
        if found is not None and found[0] == self.generation:
            return found[1]
        region = self.measure(self._mask(view))
        if len(self._regions) >= 64:
            self._regions.clear()
        self._regions[view] = (self.generation, region)
        return region

    def measure(self, mask: Mask) -> Region:
        """Return a region of exactly these slots."""
        length = self.column("length")
        size = int(np.count_nonzero(mask))
        section = self.column("section")
        inside = mask & (section >= 0)
        number = len(self._codes["section"].names)
        lengths = np.bincount(section[inside], weights=length[inside], minlength=number)
        filled = int(np.count_nonzero(np.bincount(section[inside], minlength=number)))
        total = float(length[mask].sum())
        return Region(
            mask, size, max(1.0, total / max(1, size)), lengths, max(1.0, float(lengths.sum()) / max(1, filled)), filled
        )

    def _mask(self, view: View) -> Mask:
        where, scope = view.where, view.scope
        code = {name: codes.find for name, codes in self._codes.items()}
        mask: Mask = self.column("alive").astype(np.bool_)
        mask &= self._among("space", view.spaces)
        mask &= self.column("tenant") == code["tenant"](scope.tenant)
        for name, value in (("user", scope.user), ("agent", scope.agent)):
            column = self.column(name)
            mask &= (column == -1) | (column == code[name](value))
        mask &= self._among("state", where.states)
        if where.kinds:
            mask &= self._among("kind", [kind.value for kind in where.kinds])
        for name, value in (("speaker", where.speaker), ("session", where.session)):
            if value is not None:
                mask &= self.column(name) == code[name](value)
        if where.source is not None:
            end = "/" + where.source
            mask &= self._among(
                "source", [s for s in self._codes["source"].names if s == where.source or s.endswith(end)]
            )
        if where.thread is not None:
            tail = "\x00" + where.thread
            mask &= self._among("thread", [t for t in self._codes["thread"].names if t.endswith(tail)])
        if where.since is not None:
            mask &= self.column("time") >= micros(where.since)
        if where.until is not None:
            mask &= self.column("time") < micros(where.until)
        return mask

    def _among(self, name: str, values: Iterable[str]) -> Mask:
        codes = [self._codes[name].find(value) for value in values]
        if len(codes) == 1:
            return self.column(name) == codes[0]
        return np.isin(self.column(name), codes)

    def pick(self, rows: NDArray[np.int64]) -> Mask:
        """Return the mask of the slots of these rows."""
        mask = np.zeros(len(self), dtype=np.bool_)
        slots = [self._slot[row] for row in rows.tolist() if row in self._slot]
        mask[slots] = True
        return mask

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return everything as arrays, for a snapshot; `restored` is its inverse."""
        out: dict[str, NDArray[np.generic]] = {f"column.{n}": self.column(n) for n in (*_NUMBERS, *_NAMES)}
        for name, codes in self._codes.items():
            encoded = [text.encode("utf-8") for text in codes.names]
            out[f"names.{name}"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            out[f"ends.{name}"] = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return out

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Table:
        """Return the table whose `arrays` these are."""
        table = cls()
        for name, dtype in (*_NUMBERS.items(), *((n, np.int32) for n in _NAMES)):
            table._columns[name] = _Column(dtype, arrays[f"column.{name}"].astype(dtype))
        for name in _NAMES:
            data, ends = arrays[f"names.{name}"].tobytes(), arrays[f"ends.{name}"].tolist()
            starts = [0, *ends[:-1]] if ends else []
            table._codes[name] = _Codes(data[a:b].decode("utf-8") for a, b in zip(starts, ends, strict=True))
        alive = np.flatnonzero(table.column("alive"))
        table._slot = dict(zip(table.column("row")[alive].tolist(), alive.tolist(), strict=True))
        linked = alive[(table.column("thread")[alive] >= 0) & (table.column("after")[alive] < 0)]
        live = {table._codes["state"].find(state) for state in LIVE_STATES}
        state, thread = table.column("state"), table.column("thread")
        table._last = {int(thread[slot]): int(slot) for slot in linked if int(state[slot]) in live}
        return table


def _section(thread: str | None, cube: Cube) -> str | None:
    """Return the coarse unit a cube belongs to: its session, its heading, or a stretch of its thread."""
    p = cube.header.provenance
    if thread is None:
        return None
    if p.unit == "turn":
        return thread if cube.owner.session is not None else f"{thread}\x00{(p.position or 0) // _SECTION_TURNS}"
    return f"{thread}\x00{'/'.join(p.section)}\x00{(p.position or 0) // _SECTION_TURNS}"


def _text(value: str | None) -> str:
    return "" if value is None else value
