"""The index of a store: follows its journal, answers questions, rests in a snapshot."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.cube import Cube
from ..core.distinct import distinct
from ..core.events import Head
from ..core.render import introduction
from ..core.where import View
from ..errors import MissingExtra
from ._explained import explained
from ._names import Names
from ._pool import Asked, Seen, filled, gathered, looked_again, shares, topic_of
from ._vectors import Make, Vectors
from .analyze import Analyzer
from .base import Found, Journal, Leg
from .dense import Dense
from .fuse import FuseConfig, Scale, best_of, fuse
from .graph import Graph, GraphConfig, again
from .lexical import Lexical, LexicalConfig, LexicalScores
from .region import Region, Regions
from .rerank import Aspects, RerankConfig, features, rerank
from .snapshot import Loaded, Manifest, Sealer, Snapshots
from .table import Table

__all__ = ["IndexConfig", "Ranking", "SearchIndex", "index_text"]

Scores = NDArray[np.float32]
Slots = NDArray[np.intp]
_BATCH = 2048  # entries of the journal read together
_SAVE_AFTER = 1000  # cubes that a new process would have to read again: about 50 ms of work
_GONE_SHARE = 4  # a snapshot leaves out the slots that nothing keeps when they are more than a quarter


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """Constants of the legs and of their sum.

    Args:
        keeps_past: Whether earlier versions stay, so that searches can look at an earlier time. Each takes the room of
            a cube, but no other vector where it says the same.
    """

    lexical: LexicalConfig = LexicalConfig()
    fuse: FuseConfig = FuseConfig()
    graph: GraphConfig = GraphConfig()
    rerank: RerankConfig = RerankConfig()
    keeps_past: bool = True


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best cubes of a question.

    Args:
        found: Best first.
        considered: Cubes that the view admits.
        terms: Terms of the question that occur among them, with the number of cubes they occur in.
        lacking: How many of them still wait for their vector.
    """

    found: tuple[Found, ...]
    considered: int
    terms: Mapping[str, int]
    lacking: int = 0


def index_text(cube: Cube) -> str:
    """Return the words under which a cube is found: its introduction and its text."""
    return introduction(cube) + cube.text


class SearchIndex:
    """Words, meaning and names of all text cubes of a store, as they are and as they were.

    Derived: everything in it can be read again from the journal. Safe for use by several threads.

    Args:
        source: The store to follow.
        analyzer: Text to terms.
        embedder: Fingerprint of the vectors to use, or an empty text for none.
        dimensions: Their width.
        make: Makes the vectors of texts, (N, E); None takes them from the store, as a background job brings them.
        folder: Where snapshots lie, or None for an index in memory alone.
        sealer: Seals the snapshots of an encrypted memory, or None for plain ones.
        config: Constants.
        saves: Whether snapshots are written; else one that is there is read, and stays as it is.
    """

    def __init__(
        self,
        source: Journal,
        *,
        analyzer: Analyzer,
        embedder: str = "",
        dimensions: int = 1,
        make: Make | None = None,
        folder: Path | None = None,
        sealer: Sealer | None = None,
        config: IndexConfig | None = None,
        saves: bool = True,
    ) -> None:
        self._source = source
        self._analyzer = analyzer
        self._embedder = embedder
        self._make = make
        self._config = config or IndexConfig()
        self._snapshots = None if folder is None else Snapshots(folder, sealer)
        self._lock = threading.RLock()
        self._table = Table(keeps_past=self._config.keeps_past)
        self._regions = Regions(self._table)
        self._lexical = Lexical(self._config.lexical)
        self._vectors = Vectors(source, embedder, make, self._table, Dense(dimensions))
        self._names = Names()
        self._graph: Graph | None = None
        self._graph_file: Path | bytearray | None = None
        self._head = Head()
        self._saved_size = 0
        self._has_forgotten = False
        self._is_restored = False
        self._load()
        self._snapshots = self._snapshots if saves else None

    def __len__(self) -> int:
        """Return the number of cubes that can be found."""
        return self._table.alive

    @property
    def is_restored(self) -> bool:
        """Whether it began from a snapshot, and so need not read the journal from the start."""
        return self._is_restored

    @property
    def lacking(self) -> int:
        """Cubes whose vector is still to come."""
        return len(self._vectors.lacking)

    def _load(self) -> None:
        found = None if self._snapshots is None else self._snapshots.load(self._manifest())
        if found is None:
            return
        manifest, vectors = found.manifest, found.vectors
        entry = self._source.journal(manifest.seq - 1, 1)
        if vectors.shape[1] != self._vectors.dense.dimensions or not entry or entry[0].chain != manifest.chain:
            return  # the store has another history now: it was restored from a copy
        self._table = Table.restored(_within(found.arrays, "table."), keeps_past=self._config.keeps_past)
        self._regions = Regions(self._table)
        self._lexical = Lexical.restored(_within(found.arrays, "lexical."), self._config.lexical)
        dense, places = Dense(self._vectors.dense.dimensions, vectors), found.arrays["vectors.places"]
        self._vectors = Vectors(self._source, self._embedder, self._make, self._table, dense, places, manifest.lacking)
        self._head = Head(manifest.seq, manifest.chain)
        self._saved_size = len(self._table)
        self._is_restored = True
        self._open_graph(found)

    def follow(self, progress: Callable[[int], object] | None = None) -> int:
        """Read what the journal says since the last time, and return the number of entries read.

        Args:
            progress: Told the number of entries after each batch.
        """
        with self._lock:
            read = 0
            while (changes := self._source.changes(self._head.seq, _BATCH)).entries:
                self._take(changes.rows)
                self._head = Head(changes.seq, changes.chain)
                read += changes.entries
                if progress is not None:
                    progress(changes.entries)
                fresh = len(self._table) - self._saved_size
                if fresh > max(20_000, self._saved_size):  # doubling: a killed import is not read again from the start
                    self._save()
                elif self._lexical.is_due:
                    self._lexical.merge(self._table.column("kept"))
            self._vectors.fetch()
            return read

    def _take(self, changed: Sequence[int]) -> None:
        """Read cubes again that an entry of the journal names."""
        rows = np.array(changed, dtype=np.int64)
        cubes = self._source.by_rows(rows.tolist())
        slots = self._table.slots_of(rows)
        known = np.where(slots >= 0, self._table.column("version")[slots] if len(self._table) else 0, 0)
        gone: list[int] = []
        fresh: list[Cube] = []
        missed: dict[int, int] = {}  # by row, the version that is here
        for row, slot, version in zip(rows.tolist(), slots.tolist(), known.tolist(), strict=True):
            cube = cubes.get(row)
            if cube is None:
                gone.append(row)
            elif slot < 0 or version != cube.version:
                fresh.append(cube)
                if cube.version > version + 1:
                    missed[row] = version
        self._forget(gone)
        if missed and self._config.keeps_past:
            fresh = self._with_missed(fresh, missed)
        if fresh:
            self._add(fresh)

    def _with_missed(self, fresh: Sequence[Cube], missed: Mapping[int, int]) -> list[Cube]:
        """Return cubes, each after the versions between the one that is here and itself."""
        between: dict[int, list[Cube]] = {cube.row: [] for cube in fresh}
        last = {cube.row: cube.version for cube in fresh}
        for old in self._source.past(list(missed)):
            if missed[old.row] < old.version < last[old.row]:
                between[old.row].append(old)
        return [each for cube in fresh for each in (*between[cube.row], cube)]

    def _add(self, fresh: Sequence[Cube]) -> None:
        """Take in versions, those of a row in their order."""
        texts = [index_text(cube) for cube in fresh]
        terms = [self._analyzer.terms(text) for text in texts]
        first = self._table.add_many(fresh, [len(found) for found in terms], [_digest(text) for text in texts])
        self._lexical.add_many(first, terms)
        self._vectors.add(first, fresh, texts)

    def _forget(self, rows: Sequence[int]) -> None:
        """Take out cubes that the store no longer has, with all that they were."""
        slots = self._table.drop_many(rows)
        self._vectors.drop(rows, slots)
        self._has_forgotten |= len(slots) > 0

    def search(
        self,
        question: str,
        *,
        vector: NDArray[np.float32] | None,
        view: View,
        rows: NDArray[np.int64] | None = None,
        k: int = 10,
        aspects: Aspects | None = None,
        is_filled: bool = False,
    ) -> Ranking:
        """Rank the cubes of a view for a question.

        Args:
            question: Any text; operators have no meaning in it.
            vector: Its unit row (E,), or None to go by words and names alone.
            view: What the caller may see and asks for; conditions on tags and metadata are the store's to check.
            rows: Restrict to these rows, or None.
            k: How many, >= 0.
            aspects: What else is known of the question, for a second look at the best turns; None ranks by the sum.
            is_filled: Whether what does not stand out comes too, until there are k: after, or as a second look says.

        Cost: the postings of its terms and one pass over the vectors of the region; beyond 200,000 slots, where the
            extra ``hnsw`` is there and the region is everything, the postings and a millisecond.
        """
        with self._lock:
            region = self._regions.of(view)
            if rows is not None:
                region = self._regions.within(region, rows)
            if not region.size or k <= 0:
                return Ranking((), region.size, {})
            words = self._lexical.search(self._analyzer.terms(question), self._table, region)
            seen = self._candidates(words, vector, region, k)
            named = self._named(question, seen.slots)
            dense = np.zeros(len(seen.slots), dtype=np.float32) if seen.dense is None else seen.dense
            total = fuse(seen.places, seen.lexical, dense, named, seen.scale, self._config.fuse)
            row = self._table.column("row")

            def ties(places: Slots) -> NDArray[np.int64]:  # slots change when cubes do, rows never
                return row[seen.slots[places]]

            pool = self._config.rerank.pool if aspects is not None and vector is not None else 0
            best = best_of(total, max(pool, 2 * k) if pool else k, ties)
            turns = best[:0]
            if pool and aspects is not None and vector is not None:
                best = looked_again(best, total, dense, self._config.rerank, ties, is_all=is_filled)
                is_turn = self._table.column("is_turn")[seen.slots[best]]
                turns = best[is_turn]
                if len(turns):
                    asked = Asked(question, vector, aspects)
                    found = self._features(asked, seen, turns, named, region)
                    if self._config.rerank.watch is not None:
                        self._config.rerank.watch(row[seen.slots[turns]], total[turns], found)
                    total[turns] = rerank(found, self._config.rerank.weights, total[turns])
                best = best[np.lexsort((ties(best), -total[best]))][:k]
            if is_filled and seen.dense is not None and len(best) < k:
                best = filled(best, total, seen.dense, k, ties)
            said = explained(best, seen.places, seen.legs, seen.dense, named)
            for hit in np.flatnonzero(np.isin(best, turns)).tolist():
                said[hit]["reach"] = Leg(words.reach, 0)  # how much words counted in its second look
            rows, sums = row[seen.slots[best]].tolist(), total[best].tolist()
            hits = tuple(Found(row, score, legs) for row, score, legs in zip(rows, sums, said, strict=True))
            return Ranking(hits, region.size, words.terms, self._vectors.lacking_in(region.mask))

    def newest(self, view: View) -> int | None:
        """Return the time of the latest event in a view, in microseconds, or None when nothing is in it."""
        with self._lock:
            region = self._regions.of(view)
            return int(self._table.column("time")[region.mask].max()) if region.size else None

    def _candidates(self, words: LexicalScores, vector: NDArray[np.float32] | None, region: Region, k: int) -> Seen:
        """Choose how inner products are found: for every slot, slot by slot, or where the graph points."""
        if vector is None:
            return Seen(words.slots, None, np.arange(len(words.slots)), words.total, words.legs, Scale(), words.reach)
        graph, config = self._graph, self._config.graph
        size = len(self._table)
        if (
            graph is not None
            and graph.covered >= config.least_slots
            and not region.is_past
            and region.size == self._table.live  # else what others wrote would decide where the graph leads
        ):
            return self._pointed(graph, words, vector, region, k)
        if region.slots is not None:
            slots, places = region.slots, np.searchsorted(region.slots, words.slots)
            dense = self._vectors.scores_at(slots, vector)
        elif region.is_everything:
            slots, places = np.arange(size), words.slots
            dense = self._vectors.scores(vector)
        else:
            slots = np.flatnonzero(region.mask)
            places = np.searchsorted(slots, words.slots)
            dense = self._vectors.scores(vector)[slots]
        return Seen(slots, dense, places, words.total, words.legs, Scale.of(dense), words.reach)

    def _pointed(self, graph: Graph, words: LexicalScores, vector: NDArray[np.float32], region: Region, k: int) -> Seen:
        """Score what the graph points at, what came after it was built, and the best by words."""
        config = self._config.graph
        share = region.size / len(region.mask)
        near = graph.near(vector, int(max(config.candidates, 2 * k) / share))
        near = near[region.mask[near]]
        late = np.flatnonzero(region.mask[graph.covered :]) + graph.covered
        if len(late):
            late = late[np.sort(best_of(self._vectors.scores_at(late, vector), max(config.candidates, k)))]
        chosen = np.sort(best_of(words.total, max(config.pool, k)))
        slots = distinct(np.concatenate((near, late, words.slots[chosen])))
        dense = self._vectors.scores_at(slots, vector)
        places = np.searchsorted(slots, words.slots[chosen])
        scale = Scale(graph.mean(vector, self._vectors, region.mask), float(dense.max()) if len(dense) else 0.0)
        legs = {name: scores[chosen] for name, scores in words.legs.items()}
        return Seen(slots, dense, places, words.total[chosen], legs, scale, words.reach)

    def _features(
        self, asked: Asked, seen: Seen, turns: Slots, named: NDArray[np.bool_] | None, region: Region
    ) -> dict[str, Scores]:
        """Return what a second look says of those candidates that are turns, best first."""
        codes: list[int] = []
        if named is not None:  # names that only others can see change nothing
            codes = distinct(self._table.column("speaker")[seen.slots[named]]).tolist()
        names = [self._table.speakers()[code] for code in codes]
        about = topic_of(asked.question, names, self._analyzer)
        topic = asked.aspects.embed(about) if asked.aspects.embed is not None and about else asked.vector
        legs = shares(seen.lexical, seen.legs, seen.places, turns)
        candidates = gathered(seen.slots[turns], legs, codes, self._table, self._vectors, region, seen.reach)
        return features(candidates, asked.vector, topic, asked.aspects)

    def _named(self, question: str, slots: Slots) -> NDArray[np.bool_] | None:
        """Return which slots are of speakers whom the question names, whole words in any case."""
        codes = self._names.among(question, self._table.speakers())
        if not codes:
            return None
        speaker = self._table.column("speaker")
        said = speaker if len(slots) == len(speaker) else speaker[slots]
        return np.asarray(said == codes[0]) if len(codes) == 1 else np.isin(said, codes)

    def save(self) -> bool:
        """Write a snapshot when enough has come since the last one; return whether one was written.

        One that still holds something of a forgotten cube is replaced in any case.
        """
        with self._lock:
            if self._snapshots is None:
                return False
            self.follow()
            is_stale = self._has_forgotten and self._saved_size > 0
            if len(self._table) - self._saved_size < _SAVE_AFTER and not is_stale:
                return False
            self._extend_graph(self._config.graph.build_s)
            return self._save()

    def build_graph(self) -> bool:
        """Build the graph to its end and write a snapshot with it; return whether there is one."""
        with self._lock:
            self.follow()
            self._extend_graph(float("inf"))
            return self._graph is not None and self._save()

    def _extend_graph(self, seconds: float) -> None:
        """Let the graph catch up with the slots, where there are enough of them and the extra is there."""
        config = self._config.graph
        if not self._embedder or self._vectors.lacking or len(self._table) < config.least_slots:
            return
        self._compact_if_due()
        try:
            if self._graph is None:
                self._graph, self._graph_file = Graph(self._vectors.dense.dimensions, config), None
        except MissingExtra:
            return  # the exact pass answers as well, only slower
        late = len(self._table) - self._graph.covered
        if late * 20 <= len(self._table):  # a twentieth is scored exactly in a few milliseconds
            return
        try:
            self._graph.extend(self._vectors, self._table.column("alive"), self._graph_file, seconds=seconds)
        except RuntimeError:  # its file went while it was mapped; the next snapshot makes another
            self._graph = self._graph_file = None

    def _compact_if_due(self) -> None:
        gone = len(self._table) - self._table.kept
        if not gone or not (self._has_forgotten or gone * _GONE_SHARE > len(self._table)):
            return
        size = len(self._table)
        self._lexical.merge(self._table.column("kept"))
        kept = self._table.compact()
        renumbered = np.full(size, -1, dtype=np.int32)
        renumbered[kept] = np.arange(len(kept), dtype=np.int32)
        self._lexical.compact(renumbered)
        self._vectors.compact(kept)
        self._names = Names()
        self._graph = self._graph_file = None

    def _save(self) -> bool:
        if self._snapshots is None:
            return False
        self._compact_if_due()
        self._lexical.merge(self._table.column("kept"))
        arrays = {f"table.{n}": a for n, a in self._table.arrays().items()}
        arrays["vectors.places"] = self._vectors.places
        arrays |= {f"lexical.{n}": a for n, a in self._lexical.arrays().items()}
        shape = (len(self._vectors.dense), self._vectors.dense.dimensions)
        saved = self._snapshots.save(self._manifest(), arrays, self._vectors.dense.parts(), shape, self._write_graph())
        if saved is None:
            return False
        dimensions = self._vectors.dense.dimensions
        self._vectors.dense = Dense(dimensions, saved.vectors)  # what lies in the file need not lie in memory
        self._open_graph(saved)
        self._saved_size = len(self._table)
        self._has_forgotten = False
        if any(event.op == "forget" for event in self._source.journal(self._head.seq, _BATCH)):
            self.forget_snapshot()  # somebody forgot a cube meanwhile, and did not see this snapshot
        return True

    def _manifest(self) -> Manifest:
        """Return what a snapshot written now would be made from."""
        return Manifest(
            self._source.identity,
            self._head.seq,
            self._head.chain,
            self._analyzer.fingerprint,
            self._embedder,
            tuple(self._vectors.lacking),
            0 if self._graph is None else self._graph.covered,
            self._config.keeps_past,
        )

    def _write_graph(self) -> Callable[[Path | None], bytearray | None] | None:
        """Return what writes the graph to a file, or None when there is none."""
        if self._graph is None:
            return None
        if self._graph_file is not None and not self._graph.is_changed:
            return partial(again, self._graph_file)
        return self._graph.save

    def _open_graph(self, loaded: Loaded) -> None:
        """Take the graph from a snapshot, mapped."""
        self._graph = self._graph_file = None
        if loaded.graph is not None:
            covered, dimensions = loaded.manifest.covered, self._vectors.dense.dimensions
            self._graph = Graph.opened(loaded.graph, covered, dimensions, self._config.graph)
            self._graph_file = None if self._graph is None else loaded.graph

    def forget_snapshot(self) -> None:
        """Drop the snapshot on disk, because it holds terms and vectors of what was just forgotten."""
        with self._lock:
            if self._snapshots is not None:
                self._snapshots.remove()
                self._saved_size = 0

    def problems(self, rows: Iterable[int]) -> list[str]:
        """Compare with the rows that should be found, and the snapshot with its checksums; return what disagrees."""
        with self._lock:
            row = self._table.column("row")
            mine, kept = (set(row[self._table.column(name)].tolist()) for name in ("alive", "kept"))
            out = [] if self._snapshots is None else self._snapshots.problems()
        wanted = set(rows)
        out.extend([f"the index holds the past of {len(kept - mine)} cubes that are gone"] if kept - mine else [])
        out.extend([f"the index misses {len(wanted - mine)} cubes"] if wanted - mine else [])
        return out + ([f"the index holds {len(mine - wanted)} cubes too many"] if mine - wanted else [])


def _digest(text: str) -> int:
    """Return a number for a text; two versions of one cube share one by chance with probability 5e-20."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little", signed=True)


def _within(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
