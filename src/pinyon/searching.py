"""The finding half of a memory: one index over one store, kept up to date, whatever embedder it uses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .core.clock import from_micros
from .core.cube import Cube
from .core.where import View
from .errors import ModelError, StoreError
from .index import Analyzer, Aspects, IndexConfig, Leg, Ranking, SearchIndex
from .index.snapshot import Sealer
from .models import Embedder, StaticEmbedder
from .schedule import EmbedJob
from .store import Engine
from .text import Hit, Hits, Reason
from .text.questions import QuestionCues, read_question
from .text.timing import in_micros, is_timed, weighed_by_time
from .text.when import day, moments

__all__ = ["Finder"]

_LITERAL = Reason("literal", 1.0, 1)
_TIMED = 30  # hits that time may put in another order
_STILL = timedelta(days=90)  # a memory that has been still for longer is asked about in its own time
_HOLDERS = 1000  # newest cubes with a literal text that are ranked among each other

_LOG = logging.getLogger(__name__)


class Finder:
    """Search over a store.

    The vectors of an instant embedder are made as the index follows the journal and rest in its snapshot alone. Those
    of a slow one are made by a background job and rest in the store; until they are complete, searches use the static
    embedder.

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

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the vectors that searches use."""
        return (self._serving or self.embedder).fingerprint

    def wrote(self) -> None:
        """Tell that cubes were written, so that vectors that are made in the background are made."""
        if not self.embedder.is_instant:
            self._background().start()

    def index(self) -> SearchIndex:
        """Return the index, up to date with the journal."""
        with self._lock:
            if self._index is None:
                self._settle()
                self._index = self._index or self._new_index()
            self._index.follow()
            return self._index

    def search(self, question: str, k: int, view: View) -> Hits:
        """Return the best hits of a view."""
        start = time.perf_counter()
        with self._lock:  # a change of embedder replaces both
            index, serving = self.index(), self._serving or self.embedder
        followed = time.perf_counter()
        vector = serving.embed_query(question)
        embedded = time.perf_counter()
        rows = self._engine.rows(view) if view.where.conditions else None
        cues = self._cues(index, question, view)
        aspects = self._aspects(index, question, serving, cues, view)
        wide = max(k, _TIMED) if is_timed(cues) else k
        ranking = index.search(question, vector=vector, view=view, rows=rows, k=wide, aspects=aspects, is_filled=True)
        hits = self._hits(ranking, view)
        hits = weighed_by_time(hits, cues)[:k] if is_timed(cues) else hits
        ranked = time.perf_counter()
        hits, notes = self._literal(index, question, vector, hits, k, view)
        if ranking.lacking:
            notes.append("some memories still wait for their vector and are found by words alone")
        end = time.perf_counter()
        steps = {"follow": followed - start, "embed": embedded - followed, "rank": ranked - embedded}
        steps |= {"read": end - ranked, "total": end - start}
        ms = {step: 1000 * seconds for step, seconds in steps.items()}
        return Hits(tuple(hits), ranking.considered, ranking.terms, ms, tuple(notes))

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

    def _aspects(self, index: SearchIndex, question: str, serving: Embedder, cues: QuestionCues, view: View) -> Aspects:
        """Return what the ranking is told of a question; an event that dates it is looked up first."""
        ranges = [(moment.start, moment.end) for moment in cues.moments]
        embed = serving.embed_query if serving.is_instant else None
        for one in cues.anchored:
            who = [word for word in question.split() if word[:1].isupper() and word not in one.text]
            event = " ".join((one.event, *who[1:]))  # the first word is upper-case whoever it is
            vector = serving.embed_query(event)
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
        self, index: SearchIndex, question: str, vector: NDArray[np.float32], hits: list[Hit], k: int, view: View
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

    def likeness(self, question: str, texts: Sequence[str]) -> Sequence[float]:
        """Return how near texts are in meaning to a question, by the fastest embedder at hand."""
        embedder = self.embedder if self.embedder.is_instant else StaticEmbedder()
        scores: list[float] = (embedder.embed(texts) @ embedder.embed_query(question)).tolist()
        return scores

    def catch_up(self, progress: Callable[[int], object] | None = None) -> int:
        """Make every vector that is lacking, now; return their number."""
        done = 0 if self.embedder.is_instant else EmbedJob(self._engine, self.embedder).run(progress)
        self._settle()
        self.index()
        return done

    def rebuild(self, progress: Callable[[int], object] | None = None) -> int:
        """Build the index again from the journal; return the number of cubes in it."""
        with self._lock:
            self.index().forget_snapshot()
            fresh = self._new_index()
            fresh.follow(progress)
            if not fresh.build_graph():
                fresh.save()
            self._index = fresh
            return len(fresh)

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
                except (StoreError, ModelError):  # every search has said so; the snapshot can be made again
                    _LOG.warning("the index was not written because it cannot be brought up to date", exc_info=True)

    def _new_index(self) -> SearchIndex:
        serving = self._serving or self.embedder
        return SearchIndex(
            self._engine,
            analyzer=self.analyzer,
            embedder=serving.fingerprint,
            dimensions=serving.dimensions,
            make=serving.embed if serving.is_instant else None,
            folder=self._folder,
            sealer=self._sealer,
            config=self._constants,
        )

    def _settle(self) -> None:
        """Choose whose vectors searches use: a slow embedder's once they are complete, until then the static ones."""
        with self._lock:
            wanted = self.embedder
            chosen = wanted
            if not wanted.is_instant:
                if self._serving is None and self._is_complete():
                    return
                if self._engine.missing_vectors(wanted.fingerprint, 1):
                    self._background().start()
                    chosen = StaticEmbedder()
            if self._serving is None or self._serving.fingerprint != chosen.fingerprint:
                self._serving = chosen
                self._index = None

    def _is_complete(self) -> bool:
        """Serve the wanted embedder's snapshot if it lacks no vector: a look at the store's takes 0.4 s at 100,000."""
        index = self._new_index()
        if index.is_restored:
            index.follow()
        if not index.is_restored or index.lacking:
            return False
        self._serving, self._index = self.embedder, index
        return True

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
