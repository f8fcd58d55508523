"""The questions of a corpus asked anew: in words that their evidence does not share, and of turns that stand alone.

Conversations with questions are mostly asked about in their own words, and their turns lean on their neighbours. A
second look that learns from these alone trusts words and neighbours where neither says anything. Here the same evidence
is looked for under harder circumstances; what is made is for learning, and no person would ask it so.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..core.cube import Cube
from ..core.experience import Conversation, Turn
from ..errors import BadInput
from ..index import Analyzer, index_text
from ..memory import Memory
from ..models import Embedder, StaticEmbedder
from .base import Corpus, Room

__all__ = ["in_other_words", "scattered"]

_TOKEN = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")
_BEGINNING = 4  # letters in which a word and the one in its place differ somewhere; else it is a form of the same
_MOST_BETWEEN = 5  # paragraphs between two turns: as wide as the window of five
_NAMES = "evidence"  # entry of the metadata that holds the names a turn carries


def in_other_words(corpus: Corpus, *, embedder: Embedder | None = None) -> Corpus:
    """Return a corpus whose questions share no term with their evidence and name no speaker.

    Each word that the evidence holds gives way to the word of the same room that is nearest in meaning, holds none of
    the evidence's terms, and is no form of the word itself; where there is none it is left out, as names are.

    Args:
        corpus: Rooms and questions.
        embedder: Of words; None takes the static one.

    Returns:
        The same rooms; questions that are left without a term are left out.

    Cost: a product of each word to be replaced with all words of a room.
    """
    chosen = embedder or StaticEmbedder()
    rooms = []
    for room, cubes in _stored(corpus):
        words = _Words(cubes, chosen)
        held = _terms_of_evidence(corpus, cubes, words.analyzer)
        asked = []
        for question in room.questions:
            taken = {term for name in question.evidence for term in held.get(name, ())}
            text = words.reworded(question.text, taken)
            if words.analyzer.terms(text):
                asked.append(replace(question, text=text))
        rooms.append(replace(room, questions=tuple(asked)))
    return Corpus(f"{corpus.name}, in other words", tuple(rooms), corpus.names)


def scattered(corpus: Corpus, texts: Sequence[Sequence[str]], *, seed: int = 0) -> Corpus:
    """Return a corpus in which every turn stands alone: in random order, of nobody, amid talk of other things.

    As in talk with an assistant, where a short remark stands between long texts that follow from each other.

    Args:
        corpus: Rooms and questions.
        texts: Texts as their paragraphs in order; some that follow each other come after each turn. At least one.
        seed: Of the order and the choice.

    Raises:
        BadInput: There are no texts, or one has no paragraphs.
    """
    if not texts or not all(texts):
        raise BadInput("scattered turns need texts with paragraphs to stand between")
    rng = random.Random(seed)
    rooms = []
    for room, cubes in _stored(corpus):
        turns: list[Turn] = []
        for cube in rng.sample(cubes, len(cubes)):
            turns.append(Turn(cube.text, role="user", metadata={_NAMES: list(corpus.names(cube))}))
            text = rng.choice(texts)
            start = rng.randrange(len(text))
            for said in text[start : start + rng.randint(1, _MOST_BETWEEN)]:
                turns.append(Turn(said, role="assistant", metadata={_NAMES: []}))
        rooms.append(Room(room.space, (Conversation(tuple(turns), session=room.space),), room.questions))
    return Corpus(f"{corpus.name}, turns alone", tuple(rooms), _carried)


def _carried(cube: Cube) -> tuple[str, ...]:
    names = cube.header.metadata[_NAMES]
    return tuple(map(str, names)) if isinstance(names, Sequence) else ()


def _stored(corpus: Corpus) -> Iterable[tuple[Room, list[Cube]]]:
    """Yield every room with what a memory makes of it."""
    with Memory.open(":memory:") as memory:
        for room in corpus.rooms:
            here = memory.at(space=room.space)
            here.add_many(room.experiences)
            yield room, list(here.iterate())


def _terms_of_evidence(corpus: Corpus, cubes: Sequence[Cube], analyzer: Analyzer) -> Mapping[str, set[str]]:
    held: dict[str, set[str]] = {}
    for cube in cubes:
        for name in corpus.names(cube):
            held.setdefault(name, set()).update(analyzer.terms(index_text(cube)))
    return held


class _Words:
    """The words of a room, by meaning."""

    def __init__(self, cubes: Sequence[Cube], embedder: Embedder) -> None:
        self.analyzer = Analyzer()
        self._embedder = embedder
        self._names = {word for cube in cubes for word in (cube.header.provenance.speaker or "").lower().split()}
        said = dict.fromkeys(word for cube in cubes for word in self.analyzer.content(cube.text))
        self._words = [w for w in said if w.isalpha() and len(w) > 2 and w not in self._names]
        self._stems = [(*self.analyzer.terms(word), "")[0] for word in self._words]
        self._vectors = embedder.embed(self._words)  # (words, E)

    def reworded(self, text: str, taken: set[str]) -> str:
        """Return a text without names and without the terms that are taken."""
        out = []
        for token in _TOKEN.findall(text):
            terms = set(self.analyzer.terms(token))
            if re.split("['’]", token.lower())[0] in self._names:
                continue
            out.append(self._instead(token.lower(), terms, taken) if terms & taken else token)
        return " ".join(word for word in out if word)

    def _instead(self, word: str, terms: set[str], taken: set[str]) -> str:
        near: NDArray[np.float32] = self._vectors @ self._embedder.embed_query(word)
        order: list[int] = np.argsort(-near, kind="stable").tolist()
        for at in order:
            other, stem = self._words[at], self._stems[at]
            if stem and stem not in taken | terms and other[:_BEGINNING] != word[:_BEGINNING]:
                return other
        return ""
