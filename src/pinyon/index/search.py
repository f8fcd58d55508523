"""The index of a store: follows its journal, answers questions, rests in a snapshot."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.cube import Cube
from ..core.events import Event, Head
from ..core.render import introduction
from ..core.where import View
from .analyze import Analyzer
from .base import Found, Leg
from .dense import Dense
from .fuse import FuseConfig, fuse
from .lexical import Lexical, LexicalConfig
from .snapshot import Manifest, Snapshots
from .table import Region, Table

__all__ = ["IndexConfig", "Journal", "Ranking", "SearchIndex", "index_text"]

Scores = NDArray[np.float32]
_SAVE_AFTER = 1000  # cubes that a new process would have to read again: about 50 ms of work
_EXPLAINED = 20  # hits that are told their rank in every leg


class _VectorRows(Protocol):
    @property
    def rows(self) -> NDArray[np.int64]: ...
    @property
    def versions(self) -> NDArray[np.int64]: ...
    @property
    def data(self) -> NDArray[np.float16]: ...


class Journal(Protocol):
    """What an index reads of a store; every engine of the store room is one."""

    @property
    def identity(self) -> str: ...
    def head(self) -> Head: ...
    def journal(self, after: int, limit: int) -> list[Event]: ...
    def by_rows(self, rows: Sequence[int]) -> dict[int, Cube]: ...
    def vectors(self, fingerprint: str, rows: Sequence[int]) -> _VectorRows: ...


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """Constants of the legs and of their sum."""

    lexical: LexicalConfig = LexicalConfig()
    fuse: FuseConfig = FuseConfig()


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best cubes of a question.

    Args:
        found: Best first.
        considered: Cubes that the view admits.
        terms: Terms of the question that occur among them, with the number of cubes they occur in.
    """

    found: tuple[Found, ...]
    considered: int
    terms: Mapping[str, int]


def index_text(cube: Cube) -> str:
    """Return the words under which a cube is found: its introduction and its text."""
    return introduction(cube) + cube.text


class SearchIndex:
    """Words, meaning and names of all text cubes of a store.

    Derived: everything in it can be read again from the journal. Safe for use by several threads.

    Args:
        source: The store to follow.
        analyzer: Text to terms.
        embedder: Fingerprint of the vectors to use, or an empty text for none.
        dimensions: Their width.
        folder: Where snapshots lie, or None for an index in memory alone.
        config: Constants.
    """

    def __init__(
        self,
        source: Journal,
        *,
        analyzer: Analyzer,
        embedder: str = "",
        dimensions: int = 1,
        folder: Path | None = None,
        config: IndexConfig | None = None,
    ) -> None:
        self._source = source
        self._analyzer = analyzer
        self._embedder = embedder
        self._config = config or IndexConfig()
        self._snapshots = None if folder is None else Snapshots(folder)
        self._lock = threading.RLock()
        self._table = Table()
        self._lexical = Lexical(self._config.lexical)
        self._dense = Dense(dimensions)
        self._lacking: set[int] = set()
        self._head = Head()
        self._saved_size = 0
        self._load()

    def __len__(self) -> int:
        """Return the number of cubes that can be found."""
        return int(np.count_nonzero(self._table.column("alive")))

    @property
    def lacking(self) -> int:
        """Cubes whose vector is still to come."""
        return len(self._lacking)

    def _load(self) -> None:
        if self._snapshots is None:
            return
        wanted = Manifest(self._source.identity, 0, "", self._analyzer.fingerprint, self._embedder)
        found = self._snapshots.load(wanted)
        if found is None:
            return
        manifest, arrays, vectors = found
        entry = self._source.journal(manifest.seq - 1, 1)
        if vectors.shape[1] != self._dense.dimensions or not entry or entry[0].chain != manifest.chain:
            return  # the store has another history now: it was restored from a copy
        self._table = Table.restored({n[6:]: a for n, a in arrays.items() if n.startswith("table.")})
        self._lexical = Lexical.restored(
            {n[8:]: a for n, a in arrays.items() if n.startswith("lexical.")}, self._config.lexical
        )
        self._dense = Dense(self._dense.dimensions, vectors)
        self._lacking = set(manifest.lacking)
        self._head = Head(manifest.seq, manifest.chain)
        self._saved_size = len(self._table)

    def follow(self, progress: Callable[[int], object] | None = None) -> int:
        """Read what the journal says since the last time, and return the number of entries read.

        Args:
            progress: Told the number of entries after each batch.
        """
        with self._lock:
            read = 0
            while events := self._source.journal(self._head.seq, 2048):
                self._take(events)
                last = events[-1]
                self._head = Head(last.seq, last.chain)
                read += len(events)
                if progress is not None:
                    progress(len(events))
                fresh = len(self._table) - self._saved_size
                if fresh > max(20_000, self._saved_size):  # doubling: a killed import is not read again from the start
                    self._save()
            if self._lacking:
                self._fill(sorted(self._lacking))
            return read

    def _take(self, events: Sequence[Event]) -> None:
        rows = list(dict.fromkeys(event.row for event in events))
        cubes = self._source.by_rows(rows)
        fresh: list[int] = []
        version = self._table.column("version")
        for row in rows:
            cube, slot = cubes.get(row), self._table.slot(row)
            if cube is None:
                self._table.drop(row)
                self._lacking.discard(row)
            elif slot is None or int(version[slot]) != cube.version:
                terms = self._analyzer.terms(index_text(cube))
                self._lexical.add(self._table.add(cube, len(terms)), terms)
                fresh.append(row)
                version = self._table.column("version")
        self._dense.reserve(len(self._table))
        if self._embedder and fresh:
            self._lacking.update(fresh)
            self._fill(fresh)

    def _fill(self, rows: Sequence[int]) -> None:
        """Fetch vectors that have come in the meantime."""
        found = self._source.vectors(self._embedder, rows)
        version = self._table.column("version")
        kept: list[int] = []
        slots: list[int] = []
        for number, (row, made) in enumerate(zip(found.rows.tolist(), found.versions.tolist(), strict=True)):
            slot = self._table.slot(row)
            if slot is not None and int(version[slot]) == made:
                kept.append(number)
                slots.append(slot)
                self._lacking.discard(row)
        if kept:
            self._dense.put(np.array(slots, dtype=np.int64), found.data[kept].astype(np.float32))

    def search(
        self,
        question: str,
        *,
        vector: NDArray[np.float32] | None,
        view: View,
        rows: NDArray[np.int64] | None = None,
        k: int = 10,
    ) -> Ranking:
        """Rank the cubes of a view for a question.

        Args:
            question: Any text; operators have no meaning in it.
            vector: Its unit row (E,), or None to go by words and names alone.
            view: What the caller may see and asks for; conditions on tags and metadata are the store's to check.
            rows: Restrict to these rows, or None.
            k: How many, >= 0.
        """
        with self._lock:
            region = self._table.region(view)
            if rows is not None:
                region = self._table.measure(region.mask & self._table.pick(rows))
            if not region.size or k <= 0:
                return Ranking((), region.size, {})
            words = self._lexical.search(self._analyzer.terms(question), self._table, region)
            meaning = None if vector is None else self._dense.scores(vector)
            named = self._named(question)
            total = fuse(words.total, meaning, named, region.mask, self._config.fuse)
            best = _best(total, k)
            legs = dict(words.legs)
            if meaning is not None:
                legs["dense"] = np.where(region.mask, meaning, 0).astype(np.float32)
            found = self._explain(best, total, legs, named)
            return Ranking(found, region.size, words.terms)

    def _named(self, question: str) -> NDArray[np.bool_] | None:
        """Return the slots of speakers whom the question names, whole words in any case."""
        words = set(re.findall(r"\w+", question.lower()))
        codes = [
            code
            for code, name in enumerate(self._table.speakers())
            if (parts := name.lower().split()) and words >= set(parts)
        ]
        return np.isin(self._table.column("speaker"), codes) if codes else None

    def _explain(
        self,
        best: NDArray[np.int64],
        total: Scores,
        legs: Mapping[str, Scores],
        named: NDArray[np.bool_] | None,
    ) -> tuple[Found, ...]:
        row = self._table.column("row")
        out: list[Found] = []
        for place, slot in enumerate(best.tolist()):
            said: dict[str, Leg] = {}
            for name, scores in legs.items():
                score = float(scores[slot])
                if score > 0:
                    rank = 1 + int(np.count_nonzero(scores > scores[slot])) if place < _EXPLAINED else 0
                    said[name] = Leg(score, rank)
            if named is not None and named[slot]:
                said["speaker"] = Leg(1.0, 1)
            out.append(Found(int(row[slot]), float(total[slot]), said))
        return tuple(out)

    def save(self) -> bool:
        """Write a snapshot when enough has come since the last one; return whether one was written."""
        with self._lock:
            if self._snapshots is None or len(self._table) - self._saved_size < _SAVE_AFTER:
                return False
            return self._save()

    def _save(self) -> bool:
        if self._snapshots is None:
            return False
        self._lexical.merge(self._table.column("alive").astype(np.bool_))
        arrays = {f"table.{n}": a for n, a in self._table.arrays().items()}
        arrays |= {f"lexical.{n}": a for n, a in self._lexical.arrays().items()}
        manifest = Manifest(
            self._source.identity,
            self._head.seq,
            self._head.chain,
            self._analyzer.fingerprint,
            self._embedder,
            tuple(sorted(self._lacking)),
        )
        written = self._snapshots.save(manifest, arrays, self._dense.matrix())
        self._saved_size = len(self._table)
        return written

    def forget_snapshot(self) -> None:
        """Drop the snapshot on disk, because it holds terms and vectors of what was just forgotten."""
        with self._lock:
            if self._snapshots is not None:
                self._snapshots.remove()
                self._saved_size = 0

    def problems(self, rows: Iterable[int]) -> list[str]:
        """Compare with the rows that should be found, and return what disagrees."""
        with self._lock:
            alive = self._table.column("alive")
            mine = set(self._table.column("row")[alive].tolist())
        wanted = set(rows)
        out = [f"the index misses {len(wanted - mine)} cubes"] if wanted - mine else []
        return out + ([f"the index holds {len(mine - wanted)} cubes too many"] if mine - wanted else [])


def _best(total: Scores, k: int) -> NDArray[np.int64]:
    """Return the slots of the k highest positive scores, best first, earlier slots first among equals."""
    if k < len(total):
        edge = np.partition(total, len(total) - k)[len(total) - k]
        slots = np.flatnonzero(total >= max(edge, np.float32(1e-12)))
    else:
        slots = np.flatnonzero(total > 0)
    order = np.argsort(-total[slots], kind="stable")
    best: NDArray[np.int64] = slots[order][:k]
    return best
