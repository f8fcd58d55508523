from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pinyon.core.cube import Cube, Draft
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.core.where import LIVE_STATES, View, Where
from pinyon.index import Analyzer, IndexConfig, SearchIndex, index_text
from pinyon.store import MemoryEngine, Store
from pinyon.testing import HashEmbedder

ANALYZER = Analyzer()
NOW = datetime(2024, 5, 1, tzinfo=UTC)
EVERY = View(where=Where(states=(*LIVE_STATES, "archived", "expired")))


@dataclass
class World:
    """A store in memory with random turns, and indexes that follow it."""

    seed: int = 0
    embedder: HashEmbedder = field(default_factory=HashEmbedder)
    engine: MemoryEngine = field(default_factory=MemoryEngine)
    cubes: dict[str, Cube] = field(default_factory=dict)
    _counts: dict[str, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.store = Store(self.engine)
        self.words = [
            f"{a}{b}" for a in ("bo", "ka", "li", "mu", "ne", "po") for b in ("rast", "dim", "lox", "nuv", "tep")
        ]

    def index(self, folder: Path | None = None, config: IndexConfig | None = None) -> SearchIndex:
        """Return a fresh index that has followed the store."""
        index = SearchIndex(
            self.engine,
            analyzer=Analyzer(),
            embedder=self.embedder.fingerprint,
            dimensions=self.embedder.dimensions,
            folder=folder,
            config=config,
        )
        index.follow()
        return index

    def text(self) -> str:
        """Return some words, the first ones of the list more often."""
        count = self.draw.choice((1, 3, 8, 20))
        return " ".join(self.words[min(int(self.draw.expovariate(0.15)), len(self.words) - 1)] for _ in range(count))

    def add(
        self, count: int, *, user: str | None = None, speaker: str | None = None, source: str | None = None
    ) -> list[Cube]:
        """Write turns of a few sessions, some at places between those that are there."""
        drafts = []
        for _ in range(count):
            session = f"s{self.draw.randrange(1 + count // 9)}"
            position = self.draw.choice((None, None, self.draw.randrange(2000)))
            provenance = Provenance(
                unit="turn",
                thread=self.draw.choice((session, session, session, None)),
                position=position,
                speaker=speaker or self.draw.choice(("Ann", "Bo Lind", None)),
                source=source,
            )
            life = Life(valid_from=NOW - timedelta(days=self.draw.randrange(400)))
            key = f"{self.draw.random()}"
            drafts.append(Draft(Text(self.text()), Header(provenance=provenance, life=life), key=key, session=session))
        placed = self.store.put(drafts, owner=Scope(user=user), space="main", now=NOW, embed=self._vectors)
        self.cubes |= {p.cube.id: p.cube for p in placed}
        return [p.cube for p in placed]

    def write(self, texts: Sequence[str]) -> None:
        """Write turns that say these texts, in one thread."""
        drafts = [
            Draft(Text(text), Header(provenance=Provenance(unit="turn", thread="t", position=n)), key=f"w{n}")
            for n, text in enumerate(texts)
        ]
        placed = self.store.put(drafts, owner=Scope(), space="main", now=NOW, embed=self._vectors)
        self.cubes |= {p.cube.id: p.cube for p in placed}

    def update(self, cube: Cube, *, state: str | None = None) -> None:
        """Give a cube other words, or another state of its life."""

        def change(old: Cube) -> Cube:
            if state is None:
                return replace(old, payload=Text(self.text()))
            return replace(old, header=replace(old.header, life=replace(old.header.life, state=state)))

        view = replace(EVERY, scope=cube.owner)
        actor = cube.owner
        self.cubes[cube.id] = self.store.update(cube.id, change, view=view, actor=actor, now=NOW, embed=self._vectors)

    def forget(self, cubes: Sequence[Cube]) -> None:
        """Remove cubes."""
        for cube in cubes:
            view = replace(EVERY, scope=cube.owner)
            self.store.remove([cube.id], view=view, actor=cube.owner, now=NOW)
            del self.cubes[cube.id]

    def disturb(self, share: float) -> None:
        """Update, archive and forget some of the cubes."""
        for cube in list(self.cubes.values()):
            dice = self.draw.random()
            if dice < share:
                self.update(cube)
            elif dice < 1.5 * share:
                self.update(cube, state="archived")
            elif dice < 2 * share:
                self.forget([cube])

    def questions(self, count: int) -> list[str]:
        """Return questions of one to four words, some with a name."""
        return [
            " ".join(
                [
                    *self.draw.sample(self.words, self.draw.randint(1, 4)),
                    *self.draw.choice(([], ["ann"], ["Lind", "Bo"])),
                ]
            )
            for _ in range(count)
        ]

    def ask(self, index: SearchIndex, question: str, view: View | None = None, k: int = 10) -> dict[int, float]:
        """Return rows and scores as the index finds them."""
        vector = self.embedder.embed_query(question)
        found = index.search(question, vector=vector, view=view or View(), k=k).found
        return {f.row: f.score for f in found}

    def _vectors(self, cubes: Sequence[Cube]) -> tuple[str, NDArray[np.float16]]:
        return self.embedder.fingerprint, self.embedder.embed([index_text(c) for c in cubes]).astype(np.float16)

    def exhaustive(self, question: str, view: View, config: IndexConfig | None = None) -> dict[int, float]:
        """Return the score of every admitted cube by row, worked out cube by cube from the definition."""
        return _exhaustive(
            list(self.cubes.values()), question, view, self.embedder, config or IndexConfig(), self._counts
        )

    def reach(self, question: str, view: View) -> float:
        """Return how much of the most a text could score the best turn does, worked out from the definition."""
        seen = [_counted(c, self._counts) for c in self.cubes.values() if view.admits(c)]
        mean = max(1.0, sum(map(Counter.total, seen)) / max(1, len(seen)))
        best, most = [0.0] * len(seen), 0.0
        for term, times in Counter(ANALYZER.terms(question)).items():
            df = sum(1 for found in seen if found[term])
            idf = times * math.log(1 + (len(seen) - df + 0.5) / (df + 0.5))
            most += 2.2 * idf  # k1 + 1
            best = [b + idf * _saturated(f[term], f.total(), mean, 1.2, 0.75) for b, f in zip(best, seen, strict=True)]
        return max(best) / most


@pytest.fixture
def world() -> Callable[..., World]:
    return World


def _saturated(tf: float, length: float, mean: float, k1: float, b: float) -> float:
    return tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean))


def _section(cube: Cube) -> tuple[object, ...] | None:
    p, o = cube.header.provenance, cube.owner
    if p.thread is None:
        return None
    return (cube.space, o.tenant, o.user, o.agent, p.thread)


def _counted(cube: Cube, counts: dict[str, Counter[str]]) -> Counter[str]:
    if cube.hash not in counts:
        counts[cube.hash] = Counter(ANALYZER.terms(index_text(cube)))
    return counts[cube.hash]


def _exhaustive(
    cubes: list[Cube],
    question: str,
    view: View,
    embedder: HashEmbedder,
    config: IndexConfig,
    counts: dict[str, Counter[str]],
) -> dict[int, float]:
    lexical = config.lexical
    seen = [c for c in cubes if view.admits(c)]
    if not seen:
        return {}
    terms = {c.row: _counted(c, counts) for c in cubes}
    length = {row: sum(found.values()) for row, found in terms.items()}
    rows = {c.row for c in seen}
    mean = max(1.0, sum(length[r] for r in rows) / len(rows))

    threads: dict[object, list[Cube]] = defaultdict(list)
    for c in cubes:
        p = c.header.provenance
        if p.unit == "turn" and p.thread is not None and c.header.life.state in LIVE_STATES:
            threads[_section(c)].append(c)
    window: dict[tuple[int, int], list[int]] = {(row, r): [row] for row in rows for r in (1, 2)}
    for thread in threads.values():
        thread.sort(key=lambda c: (-1 if (p := c.header.provenance.position) is None else p, c.row))
        for at, c in enumerate(thread):
            for r in (1, 2):
                near = thread[max(0, at - r) : at + r + 1]
                window[c.row, r] = [other.row for other in near if other.row in rows]
    sections: dict[object, list[int]] = defaultdict(list)
    for c in seen:
        sections[_section(c)].append(c.row)
    sections.pop(None, None)
    totals = [sum(length[r] for r in members) for members in sections.values()]
    mean_section = max(1.0, sum(totals) / max(1, len(totals)))

    asked = Counter(ANALYZER.terms(question))
    idf = {}
    for term, times in asked.items():
        df = sum(1 for r in rows if terms[r][term])
        if df:
            idf[term] = times * math.log(1 + (len(rows) - df + 0.5) / (df + 0.5))

    def bm25(members: list[int], average: float) -> float:
        whole = sum(length[r] for r in members)
        counts = {t: sum(terms[r][t] for r in members) for t in idf}
        return sum(idf[t] * _saturated(n, whole, average, lexical.k1, lexical.b) for t, n in counts.items() if n)

    by_section = {name: bm25(members, mean_section) for name, members in sections.items()}
    words = {}
    for c in seen:
        wide = bm25(window[c.row, 2], 5 * mean)
        near = by_section.get(_section(c), 0.0) if wide > 0 else 0.0
        words[c.row] = (
            bm25([c.row], mean)
            + lexical.window1 * bm25(window[c.row, 1], 3 * mean)
            + lexical.window2 * wide
            + lexical.section * near
        )
    vector = embedder.embed_query(question)
    stored = embedder.embed([index_text(c) for c in seen]).astype(np.float16).astype(np.float32)
    dense = dict(zip([c.row for c in seen], (stored @ vector).tolist(), strict=True))
    low, high, best = sum(dense.values()) / len(dense), max(dense.values()), max(words.values())
    asked_words = set(question.lower().split())
    out = {}
    for c in seen:
        score = words[c.row] / best if best > 0 else 0.0
        score += config.fuse.dense * max(0.0, (dense[c.row] - low) / (high - low)) if high > low else 0.0
        speaker = c.header.provenance.speaker
        if speaker and set(speaker.lower().split()) <= asked_words and score > 0:
            score += config.fuse.speaker
        out[c.row] = score
    return out
