"""Words: BM25 over several granularities from one inverted index.

Only turns (or chunks) are indexed. The scores of a window of neighbours and of a whole section are computed at the
question from the same postings, because the term frequency of a window is the sum of its members' frequencies. So
every granularity sees exactly the cubes that the caller may see, and nothing is stored three times.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ..core.distinct import distinct
from ..errors import BadInput
from ._column import Column
from .region import Region
from .table import Table

__all__ = ["Granularity", "Lexical", "LexicalConfig", "LexicalScores"]

Slots = NDArray[np.int32]
Scores = NDArray[np.float32]
_DENSE = 5  # a term in more than a fifth of all slots is scored in whole passes; measured, 4 to 8 differ by a tenth
_EXHAUSTIVE_SLOTS = 1 << 17  # up to here windows are worked out wherever a term occurs near
_POOL = 1 << 15  # beyond, for so many that promise most: at 1,000,000 the ten best were the same for 40 of 40 questions
_SMALLEST_MERGE = 1 << 16  # postings of the tail, which every question reads through: 20 us a term
_LARGEST_MERGE = 1 << 20  # the same, where the base is large: 0.2 ms a term


@dataclass(frozen=True, slots=True)
class LexicalConfig:
    """Weights of the granularities and the constants of BM25."""

    k1: float = 1.2  # Robertson and Zaragoza 2009; 0.9 to 1.5 differ by less than a point on LoCoMo
    b: float = 0.75  # the same source
    window1: float = 0.5  # the sum of granularities that finds 73.5 % on LoCoMo; folds choose 0.2 to 0.7
    window2: float = 1.0  # chosen in each of six folds by conversation: benchmarks/retrieval.py --only crossvalidate
    section: float = 0.5  # the same

    def __post_init__(self) -> None:
        if not (self.k1 > 0 and 0 <= self.b < 1):
            raise BadInput(f"BM25 needs k1 > 0 and 0 <= b < 1, got {self.k1!r} and {self.b!r}")


Granularity = str


@dataclass(frozen=True, slots=True)
class LexicalScores:
    """Scores of one question, for the slots that it touches.

    Args:
        slots: Slots that hold a term or stand within two of one that does, ascending, (M,); the others score 0.
        total: Weighted sum of all granularities, (M,).
        legs: The unweighted score of each granularity, (M,) each.
        terms: Terms of the question that occur in the region, with the number of cubes they occur in.
        reach: The best turn's score as a share of the most that any text could score for the question, 0 to 1.
    """

    slots: NDArray[np.intp]
    total: Scores
    legs: Mapping[Granularity, Scores]
    terms: Mapping[str, int]
    reach: float = 0.0

    def spread(self, size: int) -> Scores:
        """Return the total of every slot, (N,)."""
        out = np.zeros(size, dtype=np.float32)
        out[self.slots] = self.total
        return out


@dataclass(frozen=True, slots=True)
class _Term:
    """One term of the question, with where it occurs in the region."""

    docs: NDArray[np.intp]
    tf: Scores
    idf: float


class Lexical:
    """An inverted index: a base sorted by term, and a tail of recent postings in order of arrival.

    Not safe for use by several threads: a question borrows the arrays of the one before.
    """

    def __init__(self, config: LexicalConfig | None = None) -> None:
        self.config = config or LexicalConfig()
        self._keys = np.zeros(0, dtype=np.uint64)
        self._starts = np.zeros(1, dtype=np.int64)
        self._docs = np.zeros(0, dtype=np.int32)
        self._counts = np.zeros(0, dtype=np.uint16)
        self._start_tail()
        self._turn = self._window1 = self._window2 = self._scratch = np.zeros(0, dtype=np.float32)

    def _start_tail(self) -> None:
        self._vocabulary: defaultdict[str, int] = defaultdict()
        self._vocabulary.default_factory = self._vocabulary.__len__  # the next number
        self._tail = (Column(np.int32), Column(np.int32), Column(np.uint16))  # term, slot, count

    @property
    def is_due(self) -> bool:
        """Whether the tail has grown so long that questions feel it, and `merge` pays."""
        return self._tail[0].size > min(max(_SMALLEST_MERGE, len(self._docs) // 8), _LARGEST_MERGE)

    def add(self, slot: int, terms: Sequence[str]) -> None:
        """Take in the terms of a slot; slots come in ascending order."""
        self.add_many(slot, [terms])

    def add_many(self, first: int, terms: Sequence[Sequence[str]]) -> None:
        """Take in the terms of consecutive slots, beyond all that came before."""
        lengths = np.fromiter(map(len, terms), dtype=np.int64, count=len(terms))
        total = int(lengths.sum())
        codes = np.fromiter(map(self._vocabulary.__getitem__, chain.from_iterable(terms)), dtype=np.int64, count=total)
        place = np.repeat(np.arange(len(terms)), lengths)
        width = len(self._vocabulary)
        pairs, counts = np.unique(place * width + codes, return_counts=True)
        place, codes = np.divmod(pairs, max(1, width))
        for column, values in zip(self._tail, (codes, place + first, np.minimum(counts, 65535)), strict=True):
            column.extend(values)

    def postings(self, term: str) -> tuple[Slots, NDArray[np.uint16]]:
        """Return the slots that hold a term, ascending, and how often they do."""
        key = _key(term)
        at = int(np.searchsorted(self._keys, key))
        docs, counts = self._docs[:0], self._counts[:0]
        if at < len(self._keys) and self._keys[at] == key:
            start, end = int(self._starts[at]), int(self._starts[at + 1])
            docs, counts = self._docs[start:end], self._counts[start:end]
        code = self._vocabulary.get(term)
        if code is None:
            return docs, counts
        found = np.flatnonzero(self._tail[0].view == code)
        return (
            np.concatenate((docs, self._tail[1].data[found])),
            np.concatenate((counts, self._tail[2].data[found])),
        )

    def search(self, terms: Sequence[str], table: Table, region: Region) -> LexicalScores:
        """Score the slots of a region.

        BM25 with idf = ln(1 + (n - df + 0.5) / (df + 0.5)), n and df counted in the region alone; windows and sections
        use the idf of the turn, their own frequencies and their own lengths.

        Args:
            terms: Analysed question; a repeated term counts as often as it is said.
            table: The table whose slots these are.
            region: What may be seen.

        Cost: O(total postings of the terms + N) time and O(N) memory, kept for the next question.
        """
        size = len(table)
        self._reserve(size + 1)
        section = table.column("section")
        by_section = np.zeros(len(region.section_lengths) + 1, dtype=np.float32)  # the first is that of no section
        seen: dict[str, int] = {}
        try:
            found: list[_Term] = []
            most = 0.0  # of the sum of idf; what no cube says weighs most
            for text, times in Counter(terms).items():
                term = self._term(text, times, region)
                if term is None:
                    most += _idf(times, 0, region.size)
                    continue
                most += term.idf
                seen[text] = len(term.docs)
                found.append(term)
                self._score_turns(term, region)
                self._score_sections(term, section, by_section, region)
            by_section[0] = 0.0
            if size > _EXHAUSTIVE_SLOTS and sum(len(term.docs) for term in found) > _POOL:
                slots = self._promising(table, region, by_section)
                self._score_windows_of(slots, found, region)
            else:
                for term in found:
                    if len(term.docs) * _DENSE > size:
                        self._score_windows_in_passes(term, table, region)
                    else:
                        self._score_windows(term, table, region)
                slots = self._seen(np.flatnonzero(self._window2[:size]), region)
            best = float(self._turn[:size].max(initial=0))
            reach = best / (most * (self.config.k1 + 1.0)) if most > 0 else 0.0
            return self._gathered(slots, section, by_section, seen, reach)
        finally:
            for scores in (self._turn, self._window1, self._window2, self._scratch):
                scores[: size + 1] = 0.0

    def _reserve(self, size: int) -> None:
        if len(self._turn) < size:
            room = max(size, 2 * len(self._turn))
            self._turn, self._window1, self._window2, self._scratch = (np.zeros(room, np.float32) for _ in range(4))

    def _term(self, text: str, times: int, region: Region) -> _Term | None:
        docs, counts = self.postings(text)
        if not region.is_everything:
            inside = region.mask.take(docs)
            docs, counts = docs[inside], counts[inside]
        found = len(docs)
        if not found:
            return None
        return _Term(docs.astype(np.intp), counts.astype(np.float32), _idf(times, found, region.size))

    def _saturated(self, tf: Scores, lengths: Scores, mean: float, idf: float) -> Scores:
        """Return idf · tf · (k1 + 1) / (tf + k1 · (1 - b + b · length / mean)), in the memory of `lengths`."""
        k1, b = self.config.k1, self.config.b
        lengths *= np.float32(k1 * b / mean)
        lengths += np.float32(k1 * (1.0 - b))
        lengths += tf
        np.divide(tf, lengths, out=lengths)
        lengths *= np.float32(idf * (k1 + 1.0))
        return lengths

    def _score_turns(self, term: _Term, region: Region) -> None:
        self._turn[term.docs] += self._saturated(term.tf, region.lengths.take(term.docs), region.mean_length, term.idf)

    def _score_windows(self, term: _Term, table: Table, region: Region) -> None:
        """Add one term's part of the scores of the windows of three and of five, around the slots it touches.

        A slot that is touched from several sides is worked out several times, to the same result.
        """
        size = len(table) + 1
        before, after = region.links
        scratch = self._scratch[:size]
        left = right = touched = term.docs
        scratch[touched] = term.tf
        for radius, (leg, span) in enumerate(zip((self._window1, self._window2), region.spans, strict=True), 1):
            left, right = _followed(before, left), _followed(after, right)
            scratch[left] += term.tf
            scratch[right] += term.tf
            touched = np.concatenate((touched, left, right))
            mean = region.mean_length * (2 * radius + 1)
            leg[:size][touched] += self._saturated(scratch.take(touched), span.take(touched), mean, term.idf)
        scratch[touched] = 0.0

    def _score_windows_in_passes(self, term: _Term, table: Table, region: Region) -> None:
        """Do the same for a term that is nearly everywhere."""
        size = len(table) + 1
        before, after = region.links
        tf = np.zeros(size, dtype=np.float32)
        tf[term.docs] = term.tf
        left, right = tf, tf
        for radius, (leg, span) in enumerate(zip((self._window1, self._window2), region.spans, strict=True), 1):
            left, right = left.take(before, mode="wrap"), right.take(after, mode="wrap")
            tf = tf + left + right
            leg[:size] += self._saturated(tf, span.copy(), region.mean_length * (2 * radius + 1), term.idf)

    def _score_sections(self, term: _Term, section: NDArray[np.int32], by_section: Scores, region: Region) -> None:
        tf = np.bincount(section.take(term.docs) + 1, weights=term.tf, minlength=len(by_section))
        hit = np.flatnonzero(tf[1:])
        lengths = region.section_lengths[hit]
        said = tf[hit + 1].astype(np.float32)
        by_section[hit + 1] += self._saturated(said, lengths, region.mean_section_length, term.idf)

    def _seen(self, slots: NDArray[np.intp], region: Region) -> NDArray[np.intp]:
        return slots if region.is_everything else slots[region.mask.take(slots)]

    def _promising(self, table: Table, region: Region, by_section: Scores) -> NDArray[np.intp]:
        """Return the slots that promise most, as if a window scored the sum of its turns; ascending."""
        before, after = region.links
        config, size = self.config, len(table)
        promise, start = self._scratch[: size + 1], np.flatnonzero(self._turn[:size] > 0)
        worth = self._turn.take(start)
        promise[start] = worth * np.float32(1 + config.window1 + config.window2)
        left = right = start
        for weight in (config.window1 + config.window2, config.window2):
            left, right = _followed(before, left), _followed(after, right)
            part = worth * np.float32(weight)
            promise[left] += part
            promise[right] += part
        slots = self._seen(np.flatnonzero(promise[:size] > 0), region)
        worth = promise.take(slots)
        promise[:] = 0.0
        if len(slots) > 2 * _POOL:  # a section says the same of all its slots, and so decides between few
            kept = np.argpartition(worth, len(slots) - 2 * _POOL)[len(slots) - 2 * _POOL :]
            slots, worth = slots[kept], worth[kept]
        worth += np.float32(config.section) * by_section.take(table.column("section").take(slots) + 1)
        if len(slots) > _POOL:
            slots = slots[np.argpartition(worth, len(slots) - _POOL)[len(slots) - _POOL :]]
        return np.sort(slots)

    def _score_windows_of(self, slots: NDArray[np.intp], terms: Sequence[_Term], region: Region) -> None:
        """Add the windows of three and of five around these slots alone."""
        before, after = region.links
        sides = [slots, _followed(before, slots), _followed(after, slots)]
        sides += [_followed(before, sides[1]), _followed(after, sides[2])]
        spans = [span.take(slots) for span in region.spans]
        for term in terms:
            self._scratch[term.docs] = term.tf
            tf = self._scratch.take(sides[0])
            for radius, leg in enumerate((self._window1, self._window2), 1):
                tf = tf + self._scratch.take(sides[2 * radius - 1])
                tf += self._scratch.take(sides[2 * radius])
                mean = region.mean_length * (2 * radius + 1)
                leg[slots] += self._saturated(tf, spans[radius - 1].copy(), mean, term.idf)
            self._scratch[term.docs] = 0.0

    def _gathered(
        self,
        slots: NDArray[np.intp],
        section: NDArray[np.int32],
        by_section: Scores,
        seen: Mapping[str, int],
        reach: float,
    ) -> LexicalScores:
        legs = {
            "turn": self._turn.take(slots),
            "window1": self._window1.take(slots),
            "window2": self._window2.take(slots),
            "section": by_section.take(section.take(slots) + 1),
        }
        config = self.config
        total = legs["turn"] + np.float32(config.window1) * legs["window1"]
        total += np.float32(config.window2) * legs["window2"]
        total += np.float32(config.section) * legs["section"]
        return LexicalScores(slots, total, legs, seen, reach)

    def merge(self, kept: NDArray[np.bool_]) -> None:
        """Fold the tail into the base and drop the postings of slots that are gone.

        Args:
            kept: By slot, whether it stays.

        Cost: O(postings) time; 14 bytes a posting beside what the index holds, until it is done.
        """
        keys, starts, docs, counts = self._sorted_tail(kept)
        old_starts, old_docs, old_counts = self._starts, self._docs, self._counts
        if not kept.all():
            old_starts, old_docs, old_counts = _without_gone(old_starts, old_docs, old_counts, kept)
        merged = distinct(np.concatenate((self._keys, keys)))
        lengths = np.zeros(len(merged), dtype=np.int64)
        old_at, at = np.searchsorted(merged, self._keys), np.searchsorted(merged, keys)
        old_lengths = np.diff(old_starts)
        lengths[old_at] += old_lengths
        lengths[at] += np.diff(starts)
        ends = np.cumsum(lengths)
        first = ends - lengths
        all_docs = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.int32)
        all_counts = np.empty(len(all_docs), dtype=np.uint16)
        behind = first.copy()  # where the tail of each term goes: after its base, whose slots came before
        behind[old_at] += old_lengths
        for where, begins, its_docs, its_counts in (
            (first[old_at], old_starts, old_docs, old_counts),
            (behind[at], starts, docs, counts),
        ):
            target = np.repeat(where - begins[:-1], np.diff(begins))
            target += np.arange(len(target))
            all_docs[target] = its_docs
            all_counts[target] = its_counts
        held = lengths > 0
        self._keys, self._starts = merged[held], np.append(0, ends[held])
        self._docs, self._counts = all_docs, all_counts
        self._start_tail()

    def _sorted_tail(
        self, kept: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64], Slots, NDArray[np.uint16]]:
        """Return keys, starts, slots and counts of the tail, in the order of the base."""
        codes, docs, counts = (column.view for column in self._tail)
        if not kept.all():
            stays = kept[docs]
            codes, docs, counts = codes[stays], docs[stays], counts[stays]
        keys = np.fromiter(map(_key, self._vocabulary), dtype=np.uint64, count=len(self._vocabulary))
        rank = np.empty(len(keys), dtype=np.int32)
        by_key = np.argsort(keys)
        rank[by_key] = np.arange(len(keys), dtype=np.int32)
        order = np.argsort(rank[codes], kind="stable")
        starts = np.append(0, np.cumsum(np.bincount(rank[codes], minlength=len(keys))))
        return keys[by_key], starts, docs[order], counts[order]

    def compact(self, renumbered: NDArray[np.int32]) -> None:
        """Follow a change of slots, after `merge`.

        Args:
            renumbered: The slot from now on by the slot until now; the order stays.
        """
        self._docs = renumbered[self._docs]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the base as arrays, for a snapshot after `merge`."""
        return {"keys": self._keys, "starts": self._starts, "docs": self._docs, "counts": self._counts}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[np.generic]], config: LexicalConfig | None = None) -> Lexical:
        """Return the index whose `arrays` these are; they are read where they lie."""
        lexical = cls(config)
        lexical._keys = arrays["keys"].astype(np.uint64, copy=False)
        lexical._starts = arrays["starts"].astype(np.int64, copy=False)
        lexical._docs = arrays["docs"].astype(np.int32, copy=False)
        lexical._counts = arrays["counts"].astype(np.uint16, copy=False)
        return lexical


def _followed(links: NDArray[np.int32], slots: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where links lead from slots; -1 becomes the last place, which leads to itself."""
    found: NDArray[np.intp] = links.take(slots).astype(np.intp)
    found[found < 0] = len(links) - 1
    return found


def _without_gone(
    starts: NDArray[np.int64], docs: Slots, counts: NDArray[np.uint16], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Slots, NDArray[np.uint16]]:
    stays = kept[docs]
    before = np.append(0, np.cumsum(stays))
    return before[starts], docs[stays], counts[stays]


def _idf(times: int, found: int, size: int) -> float:
    """Return the weight of a term that a question says some times and some of all cubes hold."""
    return times * math.log(1.0 + (size - found + 0.5) / (found + 0.5))


def _key(term: str) -> int:
    """Return a stable 64-bit name of a term; among a million terms two collide with probability 3e-8."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8"), digest_size=8).digest(), "little")
