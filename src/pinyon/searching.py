"""The finding half of a memory: one index over one store, kept up to date, whatever embedder it uses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .core.clock import from_micros
from .core.cube import Cube
from .core.where import View
from .errors import BadInput, ModelError, StoreError
from .index import Analyzer, Aspects, IndexConfig, Leg, Ranking, SearchIndex
from .index.snapshot import Sealer
from .models import Embedder, StaticEmbedder, embedder_from
from .models.base import Interruptible
from .reach import Reach
from .schedule import EmbedJob, Spreading
from .store import Engine
from .text import Hit, Hits, Reason
from .text.questions import QuestionCues, read_question
from .text.timing import Topic, in_micros, is_timed, looked_at, weighed_by_time
from .text.when import day, moments

__all__ = ["WAITING", "Finder"]

WAITING = "vectors are lacking for "
"""How `Finder.trouble` begins."""

_LITERAL = Reason("literal", 1.0, 1)
_STILL = timedelta(days=90)  # a memory that has been still for longer is asked about in its own time
_SOON = 2000  # cubes whose static vectors are made while a question waits: 0.3 s
_COUNTED = 1000  # cubes without a vector that are counted one by one
_HOLDERS = 1000  # newest cubes with a literal text that are ranked among each other

_LOG = logging.getLogger(__name__)


Embed = Callable[[str], NDArray[np.float32] | None]


@dataclass(frozen=True, slots=True)
class _Way:
    """How a question is searched for.

    Args:
        index: Where.
        embed: Gives the vectors of questions to it, or None for one while it cannot.
        vector: That of this question.
        notes: What is to be said of it.
        embed_again: The same where it takes no time, for a second look; else None.
    """

    index: SearchIndex
    embed: Embed
    vector: NDArray[np.float32] | None
    notes: tuple[str, ...]
    embed_again: Callable[[str], NDArray[np.float32]] | None = None


class Finder:
    """Search over a store.

    The vectors of an instant embedder are made as the index follows the journal and rest in its snapshot alone. Those
    of a slow one are made by a background job and rest in the store; until they are complete, searches use the static
    embedder. A slow one may be out of reach at any time: then questions are answered without it.

    Args:
        engine: The store.
        embedder: Whose vectors are wanted.
        analyzer: Text to terms.
        folder: Where index snapshots lie, or None to keep none.
        constants: Weights of the ranking.
        sealer: Seals the snapshots of an encrypted memory, or None.
    """

    def __init__(
        self,
        engine: Engine,
        embedder: Embedder,
        analyzer: Analyzer,
        folder: Path | None,
        constants: IndexConfig,
        sealer: Sealer | None = None,
    ) -> None:
        self.embedder = embedder
        self.analyzer = analyzer
        self._engine = engine
        self._folder = folder
        self._sealer = sealer
        self._constants = constants
        self._lock = threading.RLock()
        self._index: SearchIndex | None = None
        self._serving: Embedder | None = None
        self._job: EmbedJob | None = None
        self._reach = Reach(engine, embedder)
        self._static: StaticEmbedder | None = None
        self._spare: SearchIndex | None = None
        self._is_beside = False

    def beside(self, engine: Engine) -> Finder:
        """Return what searches the same store as another engine sees it: in a transaction that may yet be undone.

        It begins from the snapshot on the disk where there is one, keeps none, and makes no vectors in the background.

        Args:
            engine: How the store is seen.

        Cost: without a snapshot, the time in which the whole index is made.
        """
        other = Finder(engine, self.embedder, self.analyzer, self._folder, self._constants, self._sealer)
        other._serving, other._static, other._reach = self._serving, self._static, self._reach
        other._is_beside = True
        return other

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the vectors that searches use."""
        with self._lock:
            if self._serving is None:
                self._settle()
            return (self._serving or self.embedder).fingerprint

    def chosen(self) -> str:
        """Return the fingerprint of the wanted embedder, or its class where it cannot tell that."""
        return self._reach.fingerprint() or type(self.embedder).__name__

    def waiting(self) -> int:
        """Return how many cubes the wanted embedder has made no vector for; beyond a thousand, about how many."""
        index = self.index()
        if self._serving is None or self._serving is self.embedder:
            return index.lacking
        name = self._reach.fingerprint()
        if name is None:
            return len(index)
        lacking = len(self._engine.missing_vectors(name, _COUNTED))
        return lacking if lacking < _COUNTED else max(lacking, len(index) - self._engine.fingerprints().get(name, 0))

    def failure(self) -> str:
        """Return why the wanted embedder made no vectors, or an empty text when it made them or nobody has asked it."""
        return "" if self.embedder.is_instant else self._reach.failure

    def trouble(self) -> str:
        """Return one sentence on vectors that the wanted embedder could not make; empty while it makes them."""
        failure = self.failure()
        waiting = self.waiting() if failure else 0
        return f"{WAITING}{waiting} of the memories: {failure}" if waiting else ""

    def wrote(self) -> None:
        """Tell that cubes were written, so that vectors that are made in the background are made."""
        if not self.embedder.is_instant and not self._is_beside:
            self._background().start()

    def index(self) -> SearchIndex:
        """Return the index, up to date with the journal."""
        with self._lock:
            if self._index is None:
                if self._serving is None or not self._is_beside:
                    self._settle()
                self._index = self._index or self._new_index(self._serving or self.embedder)
            self._index.follow()
            return self._index

    def search(self, question: str, k: int, view: View) -> Hits:
        """Return the best hits of a view."""
        start = time.perf_counter()
        self.index()
        followed = time.perf_counter()
        way = self._way(question)
        index, vector = way.index, way.vector
        embedded = time.perf_counter()
        rows = self._engine.rows(view) if view.where.conditions else None
        cues = self._cues(index, question, view)
        aspects = self._aspects(way, question, cues, view)
        wide = looked_at(cues, k)
        ranking = index.search(question, vector=vector, view=view, rows=rows, k=wide, aspects=aspects, is_filled=True)
        hits = self._hits(ranking, view)
        told: tuple[str, ...] = ()
        if is_timed(cues):
            topic = Topic(question, self.analyzer, ranking.terms, ranking.considered)
            timed = weighed_by_time(hits, cues, topic, k)
            hits, told = list(timed.hits), timed.notes
        ranked = time.perf_counter()
        hits, said = self._literal(index, question, vector, hits, k, view)
        notes = [*way.notes, *said, *told]
        if ranking.lacking:
            notes.append("some memories still wait for their vector and are found by words alone")
        end = time.perf_counter()
        steps = {"follow": followed - start, "embed": embedded - followed, "rank": ranked - embedded}
        steps |= {"read": end - ranked, "total": end - start}
        ms = {step: 1000 * seconds for step, seconds in steps.items()}
        return Hits(tuple(hits), ranking.considered, ranking.terms, ms, tuple(notes))

    def _way(self, question: str) -> _Way:
        """Return where a question is searched for and by which vector; by another or none while its own gives none."""
        with self._lock:  # a change of embedder replaces both
            index, serving = self.index(), self._serving or self.embedder
        if serving.is_instant:
            notes = (trouble,) if (trouble := self.trouble()) else ()
            return _Way(index, serving.embed_query, serving.embed_query(question), notes, serving.embed_query)
        vector = self._reach.question(question)
        if vector is not None:
            self._spare = None
            return _Way(index, self._reach.question, vector, ())
        spare, static = self._spare_index(len(index)), self._static_embedder()
        how = "words alone" if spare is None else "words and the static vectors"
        said = (f"searched by {how}, for the embedder is out of reach: {self._reach.failure}",)
        if spare is None:
            return _Way(index, lambda _: None, None, said)
        return _Way(spare, static.embed_query, static.embed_query(question), said, static.embed_query)

    def _spare_index(self, size: int) -> SearchIndex | None:
        """Return an index of static vectors where there is one on the disk, or it is made soon enough."""
        with self._lock:
            if self._spare is None:
                index = self._new_index(self._static_embedder())
                self._spare = index if index.is_restored or size <= _SOON else None
            if self._spare is not None:
                self._spare.follow()
            return self._spare

    def _static_embedder(self) -> StaticEmbedder:
        if self._static is None:
            self._static = StaticEmbedder()
        return self._static

    def _cues(self, index: SearchIndex, question: str, view: View) -> QuestionCues:
        """Read what a question says of time and of its answer, in English alone.

        Without a second look at the best, a question is its words and nothing more.
        Where the latest memory is much older than the question, months and feasts are those before that memory.
        """
        is_read = self._constants.rerank.pool > 0 and self.analyzer.language == "english"
        newest = index.newest(view) if is_read else None
        if newest is None:
            return QuestionCues()
        latest = from_micros(newest)
        asked = view.moment or latest
        return read_question(question, latest if asked - latest > _STILL else asked)

    def _aspects(self, way: _Way, question: str, cues: QuestionCues, view: View) -> Aspects:
        """Return what the ranking is told of a question; an event that dates it is looked up first."""
        ranges = [(moment.start, moment.end) for moment in cues.moments]
        index, embed = way.index, way.embed_again
        for one in cues.anchored:
            who = [word for word in question.split() if word[:1].isupper() and word not in one.text]
            event = " ".join((one.event, *who[1:]))  # the first word is upper-case whoever it is
            vector = way.embed(event)
            found = self._hits(index.search(event, vector=vector, view=view, k=1, aspects=Aspects(embed)), view)
            for hit in found:
                told = moments(hit.cube.text, hit.cube.time)
                start = told[0].start if told else day(hit.cube.time.replace(tzinfo=None))
                ranges.append(one.beside((start, told[0].end if told else start + timedelta(days=1))))
        return Aspects(
            embed,
            cues.wants_time,
            cues.wants_number,
            cues.wants_judgement,
            tuple(in_micros(start, end) for start, end in ranges),
        )

    def _hits(self, ranking: Ranking, view: View) -> list[Hit]:
        """Return what was ranked as hits; what was forgotten or closed in between is left out."""
        cubes = self._admitted([found.row for found in ranking.found], view)
        return [
            Hit(cubes[found.row], found.score, _reasons(found.legs.items()))
            for found in ranking.found
            if found.row in cubes
        ]

    def _admitted(self, rows: Sequence[int], view: View) -> dict[int, Cube]:
        """Return those cubes of rows that a view admits, as they were at its time."""
        today = self._engine.by_rows(rows)
        if view.at is None:
            return {row: cube for row, cube in today.items() if view.admits(cube)}
        then = self._engine.by_rows(rows, view.at)
        return {row: cube for row, cube in then.items() if row in today and view.admits(cube, _later(cube, today[row]))}

    def _literal(
        self, index: SearchIndex, question: str, vector: NDArray[np.float32] | None, hits: list[Hit], k: int, view: View
    ) -> tuple[list[Hit], list[str]]:
        """Put cubes that hold a quoted text, or a question without words, letter for letter, first."""
        wanted = _quoted(question)
        if not wanted and not self.analyzer.terms(question):
            wanted = question.strip()
        if not wanted:
            return hits, []
        holding = {cube.row: cube for cube in self._engine.containing(wanted, view, max(k, _HOLDERS))}
        if not holding:
            return hits, [f"no memory holds {wanted!r} letter for letter"]
        rows = np.array(sorted(holding), dtype=np.int64)
        among = index.search(question, vector=vector, view=view, rows=rows, k=k)
        ranked = {hit.cube.row: hit for hit in self._hits(among, view)}
        above = 1 + max((hit.score for hit in hits), default=0.0)
        first = [Hit(hit.cube, above + hit.score, (_LITERAL, *hit.why)) for hit in ranked.values()]
        first += [Hit(cube, above, (_LITERAL,)) for row, cube in holding.items() if row not in ranked]
        return [*first, *(hit for hit in hits if hit.cube.row not in holding)][:k], []

    def nearby(self) -> Embedder:
        """Return the fastest embedder at hand: the memory's own where it is instant."""
        return self.embedder if self.embedder.is_instant else self._static_embedder()

    def likeness(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return how near texts are in meaning to a question, by the fastest embedder at hand."""
        embedder = self.nearby()
        scores: list[float] = (embedder.embed(texts) @ embedder.embed_query(question)).tolist()
        return scores

    def catch_up(
        self,
        progress: Callable[[int], object] | None = None,
        over: Spreading = "here",
        workers: int | None = None,
    ) -> int:
        """Make every vector that is lacking, now, here or in other processes; return their number."""
        job = EmbedJob(self._engine, self.embedder)
        if over != "here" and isinstance(self.embedder, Interruptible):
            raise BadInput("an endpoint is asked from this process", hint="spread local embedders, as minilm or e5")
        if self.embedder.is_instant:
            done = 0
        elif over == "here":
            done = job.run(progress)
        else:
            done = job.run_spread(self._made_of(), over, workers, progress)
        self._settle()
        self.index()
        return done

    def _made_of(self) -> str | Embedder:
        """Return what other processes make this embedder of: its word where it has one, else itself."""
        word = self._engine.setting("embedder")
        is_named = word is not None and embedder_from(word).fingerprint == self.embedder.fingerprint
        return word if word is not None and is_named else self.embedder

    def rebuild(self, progress: Callable[[int], object] | None = None) -> int:
        """Build the index again from the journal; return the number of cubes in it."""
        with self._lock:
            self.index().forget_snapshot()
            fresh = self._new_index(self._serving or self.embedder)
            self._spare = None
            fresh.follow(progress)
            if not fresh.build_graph():
                fresh.save()
            self._index = fresh
            return len(fresh)

    def begin_again(self) -> None:
        """Let go of what was read of the journal, because some of it may have been undone."""
        with self._lock:
            self._index = self._spare = None

    def forgot(self) -> None:
        """Tell that cubes were forgotten, so that no snapshot on disk still holds their words."""
        if self._folder is not None:
            self.index().forget_snapshot()

    def problems(self, rows: Iterable[int]) -> list[str]:
        """Compare the index with the rows that should be found."""
        return self.index().problems(rows)

    def close(self) -> None:
        """End background work and write the snapshot."""
        if self._job is not None:
            self._job.stop()
        with self._lock:
            if self._index is not None:
                try:
                    self._index.save()
                except (StoreError, ModelError) as error:  # every search has said so; it can be made again
                    _LOG.warning("the index was not written: %s", error.message)

    def _new_index(self, serving: Embedder) -> SearchIndex:
        """Return an index by the vectors of an embedder, which is not asked for their width where it made some."""
        width = None if serving.is_instant else self._reach.width()
        return SearchIndex(
            self._engine,
            analyzer=self.analyzer,
            embedder=serving.fingerprint,
            dimensions=width or serving.dimensions,
            make=serving.embed if serving.is_instant else None,
            folder=self._folder,
            sealer=self._sealer,
            config=self._constants,
            saves=not self._is_beside,
        )

    def _settle(self) -> None:
        """Choose whose vectors searches use: a slow embedder's once they are complete, until then the static ones."""
        with self._lock:
            wanted = self.embedder
            chosen = wanted
            if not wanted.is_instant:
                if self._serving is None and self._is_complete():
                    return
                if not self._is_ready():
                    chosen = self._static_embedder()
            if self._serving is None or self._serving.fingerprint != chosen.fingerprint:
                self._serving = chosen
                self._index = None

    def _is_complete(self) -> bool:
        """Serve the wanted embedder's snapshot if it lacks no vector: a look at the store's takes 0.4 s at 100,000."""
        if self._reach.made_width() is None:
            return False
        index = self._new_index(self.embedder)
        if index.is_restored:
            index.follow()
        if not index.is_restored or index.lacking:
            return False
        self._serving, self._index = self.embedder, index
        return True

    def _is_ready(self) -> bool:
        """Return whether the wanted embedder lacks no vector; what it lacks is made in the background."""
        name = self._reach.fingerprint()
        if name is not None and not self._engine.missing_vectors(name, 1):
            return self._reach.width() is not None
        self.wrote()
        return False

    def _background(self) -> EmbedJob:
        with self._lock:
            if self._job is None:
                self._job = EmbedJob(self._engine, self.embedder, done=self._settle)
            return self._job


def _later(cube: Cube, today: Cube) -> Cube | None:
    """Return what became of a cube, or None when it is still as it was."""
    return None if today.version == cube.version else today


def _reasons(legs: Iterable[tuple[str, Leg]]) -> tuple[Reason, ...]:
    reasons = [Reason(name, leg.score, leg.rank) for name, leg in legs]
    return tuple(sorted(reasons, key=lambda reason: (reason.rank == 0, reason.rank)))


def _quoted(question: str) -> str:
    """Return the first text in double quotes, or an empty text."""
    parts = question.split('"')
    return parts[1] if len(parts) >= 3 and parts[1].strip() else ""
