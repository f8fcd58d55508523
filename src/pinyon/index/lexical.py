"""Words: BM25 over several granularities from one inverted index.

Only turns (or chunks) are indexed. The scores of a window of neighbours and of a whole section are computed at the
question from the same postings, because the term frequency of a window is the sum of its members' frequencies. So
every granularity sees exactly the cubes that the caller may see, and nothing is stored three times.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .table import Region, Table

__all__ = ["Granularity", "Lexical", "LexicalConfig", "LexicalScores"]

Slots = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class LexicalConfig:
    """Weights of the granularities and the constants of BM25."""

    k1: float = 1.2  # Robertson and Zaragoza 2009; 0.9 to 1.5 differ by less than a point on LoCoMo
    b: float = 0.75  # the same source
    window1: float = 0.5  # ../MEASURED: the sum that finds 73.5 % on LoCoMo
    window2: float = 0.5  # the same
    section: float = 0.5  # the same


Granularity = str


@dataclass(frozen=True, slots=True)
class LexicalScores:
    """Scores of one question over all slots of a table.

    Args:
        total: Weighted sum of all granularities, (N,); 0 where nothing matched.
        legs: The unweighted score of each granularity, (N,) each.
        terms: Terms of the question that occur in the region, with the number of cubes they occur in.
    """

    total: NDArray[np.float32]
    legs: Mapping[Granularity, NDArray[np.float32]]
    terms: Mapping[str, int]


class Lexical:
    """An inverted index: a sorted base in arrays, and a tail of recent cubes in dictionaries."""

    def __init__(self, config: LexicalConfig | None = None) -> None:
        self.config = config or LexicalConfig()
        self._keys = np.zeros(0, dtype=np.uint64)
        self._starts = np.zeros(1, dtype=np.int64)
        self._docs = np.zeros(0, dtype=np.int32)
        self._counts = np.zeros(0, dtype=np.uint16)
        self._tail: dict[str, tuple[array[int], array[int]]] = {}
        self._scratch = np.zeros(0, dtype=np.float32)

    def add(self, slot: int, terms: Sequence[str]) -> None:
        """Take in the terms of a slot; slots come in ascending order."""
        tail = self._tail
        for term, count in Counter(terms).items():
            found = tail.get(term)
            if found is None:
                found = tail[term] = (array("i"), array("H"))
            found[0].append(slot)
            found[1].append(min(count, 65535))

    def postings(self, term: str) -> tuple[Slots, NDArray[np.uint16]]:
        """Return the slots that hold a term, ascending, and how often they do."""
        key = _key(term)
        at = int(np.searchsorted(self._keys, key))
        docs, counts = self._docs[:0], self._counts[:0]
        if at < len(self._keys) and self._keys[at] == key:
            start, end = int(self._starts[at]), int(self._starts[at + 1])
            docs, counts = self._docs[start:end], self._counts[start:end]
        recent = self._tail.get(term)
        if recent is None:
            return docs, counts
        slots, times = np.array(recent[0], dtype=np.int32), np.array(recent[1], dtype=np.uint16)
        return np.concatenate((docs, slots)), np.concatenate((counts, times))

    def search(self, terms: Sequence[str], table: Table, region: Region) -> LexicalScores:
        """Score every slot of a region.

        BM25 with idf = ln(1 + (n - df + 0.5) / (df + 0.5)), n and df counted in the region alone; windows and sections
        use the idf of the turn, their own frequencies and their own lengths.

        Args:
            terms: Analysed question; a repeated term counts as often as it is said.
            table: The table whose slots these are.
            region: What may be seen.

        Cost: O(total postings of the terms + N) time and O(N) memory.
        """
        size = len(table)
        config = self.config
        if len(self._scratch) < size:
            self._scratch = np.zeros(max(size, 2 * len(self._scratch)), dtype=np.float32)
        legs = {name: np.zeros(size, dtype=np.float32) for name in ("turn", "window1", "window2")}
        by_section = np.zeros(len(region.section_lengths), dtype=np.float32)
        length = table.column("length")
        before, after, section = table.column("before"), table.column("after"), table.column("section")
        seen: dict[str, int] = {}
        for term, times in Counter(terms).items():
            docs, counts = self.postings(term)
            inside = region.mask[docs]
            if not inside.all():
                docs, counts = docs[inside], counts[inside]
            found = len(docs)
            if not found:
                continue
            seen[term] = found
            tf = counts.astype(np.float32)
            idf = times * math.log(1.0 + (region.size - found + 0.5) / (found + 0.5))
            legs["turn"][docs] += idf * self._saturate(tf, length[docs], region.mean_length)
            self._windows(docs, tf, idf, legs, region, length, before, after)
            sections = section[docs]
            grouped = sections >= 0
            touched = np.bincount(sections[grouped], weights=tf[grouped], minlength=len(by_section))
            hit = np.flatnonzero(touched)
            by_section[hit] += idf * self._saturate(
                touched[hit].astype(np.float32), region.section_lengths[hit], region.mean_section_length
            )
        legs["section"] = self._spread(by_section, legs["window2"], section)
        total = legs["turn"] + config.window1 * legs["window1"] + config.window2 * legs["window2"]
        total += config.section * legs["section"]
        return LexicalScores(total, legs, seen)

    def _saturate(self, tf: NDArray[np.float32], length: NDArray[np.generic], mean: float) -> NDArray[np.float32]:
        k1, b = self.config.k1, self.config.b
        norm = k1 * (1.0 - b + b * length.astype(np.float32) / np.float32(mean))
        out: NDArray[np.float32] = (tf * np.float32(k1 + 1.0) / (tf + norm)).astype(np.float32)
        return out

    def _windows(
        self,
        docs: Slots,
        tf: NDArray[np.float32],
        idf: float,
        legs: Mapping[str, NDArray[np.float32]],
        region: Region,
        length: NDArray[np.generic],
        before: NDArray[np.generic],
        after: NDArray[np.generic],
    ) -> None:
        """Add one term's part of the scores of the windows of three and of five."""
        scratch = self._scratch
        scratch[docs] = tf
        touched = [docs]
        ends = {"before": docs, "after": docs}
        for radius, name in ((1, "window1"), (2, "window2")):
            for side, links in (("before", before), ("after", after)):
                at = ends[side] = np.where(ends[side] >= 0, links[ends[side]], -1)
                kept = at >= 0
                kept[kept] = region.mask[at[kept]]
                scratch[at[kept]] += tf[kept]
                touched.append(at[kept])
            slots = np.unique(np.concatenate(touched))
            span = _span(slots, radius, length, before, after, region.mask)
            legs[name][slots] += idf * self._saturate(scratch[slots], span, region.mean_length * (2 * radius + 1))
        scratch[np.concatenate(touched)] = 0.0

    def _spread(
        self, by_section: NDArray[np.float32], touched: NDArray[np.float32], section: NDArray[np.generic]
    ) -> NDArray[np.float32]:
        """Give each slot with some match nearby the score of its section."""
        out = np.zeros_like(touched)
        slots = np.flatnonzero(touched)
        sections = section[slots]
        slots, sections = slots[sections >= 0], sections[sections >= 0]
        out[slots] = by_section[sections]
        return out

    def merge(self, alive: NDArray[np.bool_]) -> None:
        """Fold the tail into the base and drop the postings of dead slots."""
        terms = list(self._tail)
        sizes = np.array([len(self._tail[term][0]) for term in terms], dtype=np.int64)
        keys = np.repeat(np.array([_key(term) for term in terms], dtype=np.uint64), sizes)
        docs = np.concatenate(
            [np.zeros(0, dtype=np.int32), *(np.array(self._tail[t][0], dtype=np.int32) for t in terms)]
        )
        counts = np.concatenate(
            [np.zeros(0, dtype=np.uint16), *(np.array(self._tail[t][1], dtype=np.uint16) for t in terms)]
        )
        keys = np.concatenate((np.repeat(self._keys, np.diff(self._starts)), keys))
        docs, counts = np.concatenate((self._docs, docs)), np.concatenate((self._counts, counts))
        kept = alive[docs]
        keys, docs, counts = keys[kept], docs[kept], counts[kept]
        order = np.argsort(keys, kind="stable")  # base before tail, both ascending by slot
        keys, self._docs, self._counts = keys[order], docs[order], counts[order]
        self._keys, first = np.unique(keys, return_index=True)
        self._starts = np.append(first, len(keys)).astype(np.int64)
        self._tail = {}

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the base as arrays, for a snapshot after `merge`."""
        return {"keys": self._keys, "starts": self._starts, "docs": self._docs, "counts": self._counts}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]], config: LexicalConfig | None = None) -> Lexical:
        """Return the index whose `arrays` these are."""
        lexical = cls(config)
        lexical._keys = arrays["keys"].astype(np.uint64, copy=False)
        lexical._starts = arrays["starts"].astype(np.int64, copy=False)
        lexical._docs = arrays["docs"].astype(np.int32, copy=False)
        lexical._counts = arrays["counts"].astype(np.uint16, copy=False)
        return lexical


def _span(
    slots: Slots,
    radius: int,
    length: NDArray[np.generic],
    before: NDArray[np.generic],
    after: NDArray[np.generic],
    mask: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return the terms in the windows around slots, counting only what may be seen."""
    total = length[slots].astype(np.float32)
    for links in (before, after):
        at = slots
        for _ in range(radius):
            at = np.where(at >= 0, links[at], -1)
            seen = at >= 0
            seen[seen] = mask[at[seen]]
            total[seen] += length[at[seen]].astype(np.float32)
    return total


def _key(term: str) -> int:
    """Return a stable 64-bit name of a term; among a million terms two collide with probability 3e-8."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8"), digest_size=8).digest(), "little")
