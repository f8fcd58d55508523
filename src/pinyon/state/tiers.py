"""Where the tensors of states rest while they are used: memory, mapped files, the store."""

from __future__ import annotations

import math
import mmap
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..core.budget import Budget, Footprint
from ..core.payload import Blob
from ..core.select import select
from ..errors import BadInput
from ..store import Blobs, FileBlobs
from .tensor_file import TensorFile, read_tensors

__all__ = ["StateShelf", "StateTier", "TierConfig", "TierStatistics"]

StateTier = Literal["ram", "mapped", "store"]
"""Held in memory; mapped from a file, of which the system holds what it has room for; read anew at each use."""

_HALF_LIFE = 64  # uses of the shelf after which one use of a state counts half; ours


@dataclass(frozen=True, slots=True)
class TierConfig:
    """How much of states may be at hand.

    Args:
        ram_bytes: Most bytes in memory, >= 0.
        mapped_bytes: Most bytes of mapped files, >= 0.
        uses: Uses after which a mapped state is taken into memory, >= 1.

    Raises:
        BadInput: A number is out of its range.
    """

    ram_bytes: int = 512 << 20  # ours: some 11,000 tokens of a model of 135 million weights
    mapped_bytes: int = 4 << 30  # ours
    uses: int = 2  # ours: what is used once need not be copied

    def __post_init__(self) -> None:
        if self.ram_bytes < 0 or self.mapped_bytes < 0 or self.uses < 1:
            raise BadInput(f"these tiers are not possible: {self!r}", hint="bytes >= 0, uses >= 1")


@dataclass(frozen=True, slots=True)
class TierStatistics:
    """How a shelf of states did so far.

    Args:
        ram_bytes: Bytes held in memory now.
        mapped_bytes: Bytes of mapped files now.
        held: States in each tier now.
        hits: Uses that each tier answered; ``store`` counts those that had to be read.
        evicted: States that had to leave for worthier ones.
        dropped: States that went because they were forgotten.
        touched: Mapped states that were read anew because something had touched their file.
    """

    ram_bytes: int
    mapped_bytes: int
    held: Mapping[StateTier, int]
    hits: Mapping[StateTier, int]
    evicted: int
    dropped: int
    touched: int = 0


@dataclass(slots=True)
class _Held:
    """A state at hand."""

    name: str
    file: TensorFile
    tier: StateTier
    bytes: int
    is_mapped: bool  # its tensors look into a file; also while its copy in memory is being made
    marks: tuple[int, ...] | None
    saving: float
    uses: int = 0
    heat: float = 0.0
    at: int = 0

    def worth(self, now: int) -> float:
        """Return the seconds that its latest uses saved, for each of its bytes."""
        return self.saving * self.heat * math.exp2((self.at - now) / _HALF_LIFE) / max(1, self.bytes)

    def use(self, now: int, saving: float) -> None:
        """Note one use."""
        self.heat = 1.0 + self.heat * math.exp2((self.at - now) / _HALF_LIFE)
        self.at, self.saving, self.uses = now, saving, self.uses + 1


@dataclass(slots=True)
class _Loading:
    """A state that somebody is reading; others wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    is_dropped: bool = False
    waiting: int = 0


class StateShelf:
    """Keep the tensors of the states that save most at hand, within budgets of bytes.

    What is returned is read-only by agreement: `cache_from` copies it, or shares it with a cache that never writes into
    its tensors. Safe to share among threads; two that want the same state read it once.

    A mapped file is looked at before each use: one that was cut, written to, replaced or removed since it was checked
    is read and checked anew. What is taken into memory is read from the file again and checked as well. What happens to
    a file after `get` has returned and before a cache that shares it has read its first new tokens, which copies
    all of it, is not seen: blobs are written whole, renamed into place and never written to again, so only somebody
    else's hand could do it, and a copy at each use would cost what mapping saves.

    Args:
        config: How much may be at hand.
    """

    def __init__(self, config: TierConfig = TierConfig()) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._loading: dict[str, _Loading] = {}
        self._hits: Counter[StateTier] = Counter()
        self._now = self._evicted = self._dropped = self._touched = 0

    @property
    def statistics(self) -> TierStatistics:
        """How it did so far."""
        with self._lock:
            tiers: Counter[StateTier] = Counter(held.tier for held in self._held.values())
            return TierStatistics(
                self._bytes("ram"),
                self._bytes("mapped"),
                dict(tiers),
                dict(self._hits),
                self._evicted,
                self._dropped,
                self._touched,
            )

    def get(self, blob: Blob, blobs: Blobs, *, saving: float = 1.0) -> TensorFile:
        """Return the tensors of a state, from the nearest tier that has them.

        Args:
            blob: Their name.
            blobs: Where they rest.
            saving: Seconds that a use saves; with the uses it decides what stays at hand.

        Raises:
            NotFound: They are not in the store.
            Damaged: They were changed there.
        """
        name = blob.sha256
        with self._lock:
            self._now += 1
            if (held := self._held.get(name)) is not None and not held.is_mapped:
                return self._used(held, saving)
            loading = self._loading.setdefault(name, _Loading())
            loading.waiting += 1
        try:
            with loading.lock:
                return self._read(blob, blobs, saving, loading)
        finally:
            with self._lock:
                loading.waiting -= 1
                if not loading.waiting and self._loading.get(name) is loading:
                    del self._loading[name]

    def drop(self, names: Iterable[str]) -> int:
        """Let go of states that were forgotten, also of those that are just being read; return how many went.

        Args:
            names: SHA-256 of their blobs.
        """
        gone = 0
        with self._lock:
            for name in names:
                if (loading := self._loading.pop(name, None)) is not None:
                    loading.is_dropped = True
                if self._held.pop(name, None) is not None:
                    gone += 1
            self._dropped += gone
        return gone

    def names(self) -> frozenset[str]:
        """Return the SHA-256 of what is at hand."""
        with self._lock:
            return frozenset(self._held)

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            for loading in self._loading.values():
                loading.is_dropped = True
            self._held.clear()
            self._loading.clear()

    def _read(self, blob: Blob, blobs: Blobs, saving: float, loading: _Loading) -> TensorFile:
        """Return a state that is mapped or not at hand; nobody else is here for the same one."""
        with self._lock:
            held = self._held.get(blob.sha256)
            if held is not None and not held.is_mapped:
                return self._used(held, saving)
        if held is not None and held.marks != _marks(blob, blobs):
            with self._lock:
                self._held.pop(blob.sha256, None)
                self._touched += 1
            held = None
        if held is None:
            held = _opened(blob, blobs, saving)
        with self._lock:
            self._used(held, saving)
            if not loading.is_dropped:
                self._place(held)
            if not held.is_mapped or held.tier != "ram":
                return held.file
        try:
            copied = read_tensors(blobs.get(blob))
        except BaseException:
            with self._lock:
                self._held.pop(blob.sha256, None)
            raise
        with self._lock:
            if held.tier == "ram":  # it may have had to make room meanwhile
                held.file, held.is_mapped = copied, False
        return copied

    def _used(self, held: _Held, saving: float) -> TensorFile:
        self._hits[held.tier] += 1
        held.use(self._now, saving)
        return held.file

    def _place(self, held: _Held) -> None:
        """Give a state the best place that its worth earns, and move those that have to make room."""
        self._held[held.name] = held
        if held.is_mapped:
            held.tier = "mapped"
        if not held.is_mapped or held.uses >= self._config.uses:
            held.tier = "ram"
            self._fit("ram", self._config.ram_bytes)
        self._fit("mapped", self._config.mapped_bytes)

    def _fit(self, tier: StateTier, most: int) -> None:
        """Keep the worthiest states of a tier.

        Of the others, those that look into a file do so on; the rest are read from the store at their next use.
        """
        mine = [held for held in self._held.values() if held.tier == tier]
        chosen = select(
            mine, Budget(bytes=most), worth=lambda held: held.worth(self._now), cost=lambda h: Footprint(bytes=h.bytes)
        )
        for held in chosen.dropped:
            if tier == "ram" and held.is_mapped:
                held.tier = "mapped"
            else:
                self._evicted += 1
                del self._held[held.name]

    def _bytes(self, tier: StateTier) -> int:
        return sum(held.bytes for held in self._held.values() if held.tier == tier)


def _opened(blob: Blob, blobs: Blobs, saving: float) -> _Held:
    """Return a state as its store has it, checked."""
    marks = _marks(blob, blobs)  # before it is checked: a change that comes between shows at the next use
    data = blobs.view(blob)
    is_mapped = isinstance(data.obj, mmap.mmap)
    return _Held(blob.sha256, read_tensors(data), "store", blob.bytes, is_mapped, marks, saving)


def _marks(blob: Blob, blobs: Blobs) -> tuple[int, ...] | None:
    return blobs.marks(blob) if isinstance(blobs, FileBlobs) else None
