"""Arrays that grow, and names as small numbers: what the table of an index is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Codes", "Column"]

Array = NDArray[Any]
"""A column: its type of numbers is known by its name alone."""

_SMALLEST = 64


class Column:
    """An array that grows; what lies beyond its end holds the fill value.

    There is always at least one such place, so that index -1 of `guarded` is the fill value: a link that leads nowhere
    can be followed without asking.

    Args:
        dtype: Of the values.
        fill: Value of places that were never set.
        data: Its first values, copied.
    """

    def __init__(self, dtype: type[np.generic], fill: int = 0, data: Array | None = None) -> None:
        self._fill = fill
        self.size = 0 if data is None else len(data)
        self.data: Array = np.full(max(_SMALLEST, self.size + 1), fill, dtype=dtype)
        if data is not None:
            self.data[: self.size] = data

    @property
    def view(self) -> Array:
        """The values, not to be kept across changes."""
        return self.data[: self.size]

    @property
    def guarded(self) -> Array:
        """The values and one fill value after them, not to be kept across changes."""
        return self.data[: self.size + 1]

    def reach(self, size: int) -> None:
        """Grow to at least this many values; the added ones are the fill value."""
        if size >= len(self.data):
            grown = np.full(max(size + 1, 2 * len(self.data)), self._fill, dtype=self.data.dtype)
            grown[: self.size] = self.data[: self.size]
            self.data = grown
        self.size = max(self.size, size)

    def extend(self, values: Sequence[int] | Array) -> None:
        """Append values."""
        start = self.size
        self.reach(start + len(values))
        self.data[start : self.size] = values


class Codes:
    """Names as small numbers; None is -1.

    Args:
        names: In order of code.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = list(names)
        self._code = {name: number for number, name in enumerate(self._names)}
        self._packed: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._names) if self._packed is None else len(self._packed[1])

    @property
    def names(self) -> list[str]:
        """The names in order of code, not to be changed."""
        self._read()
        return self._names

    def _read(self) -> None:
        """Read names that came packed; most of them are never asked for."""
        if self._packed is None:
            return
        text, stops = self._packed[0].tobytes(), self._packed[1].tolist()
        self._packed = None
        self._names = [text[a:b].decode("utf-8", "replace") for a, b in zip([0, *stops[:-1]], stops, strict=False)]
        self._code = {name: number for number, name in enumerate(self._names)}

    def of_many(self, names: Sequence[str | None]) -> list[int]:
        """Return the codes of names, giving codes to those that are met for the first time."""
        self._read()
        known, kept = self._code, self._names
        out: list[int] = []
        for name in names:
            if name is None:
                out.append(-1)
                continue
            code = known.get(name)
            if code is None:
                code = known[name] = len(kept)
                kept.append(name)
            out.append(code)
        return out

    def find(self, name: str | None) -> int:
        """Return the code of a name, -1 for None and -2 for a name that never occurred."""
        if name is None:
            return -1
        self._read()
        return self._code.get(name, -2)

    def packed(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the names as UTF-8 bytes, one after the other, and where each ends."""
        if self._packed is not None:
            return self._packed
        encoded = [name.encode("utf-8") for name in self.names]
        return np.frombuffer(b"".join(encoded), dtype=np.uint8), np.cumsum([len(e) for e in encoded], dtype=np.int64)

    @classmethod
    def unpacked(cls, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> Codes:
        """Return the names that `packed` gave."""
        codes = cls()
        codes._packed = (data, ends)
        return codes

    def only(self, column: NDArray[np.int32]) -> tuple[Codes, NDArray[np.int32]]:
        """Return the names that a column uses, and the column in their codes."""
        used = np.zeros(len(self) + 1, dtype=np.bool_)  # the last place is that of -1
        used[column] = True
        used[-1] = False
        renumbered = np.cumsum(used, dtype=np.int32) - 1
        renumbered[-1] = -1
        return Codes(self.names[i] for i in np.flatnonzero(used).tolist()), renumbered[column].astype(np.int32)
