"""pinyon itself as a subject, through the verbs that a user calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from ...core.experience import Conversation, Experience, Note, Turn
from ...core.payload import Json
from ...index import IndexConfig
from ...memory import Memory
from ...models import Embedder, Generator
from ...text import Hit
from ..resident import folder_bytes, resident_bytes
from ..retrieval import CONTROLS
from ..subject import Context, Held, Passage, Ranked

__all__ = ["PinyonMemory", "pinyon_vectors", "pinyon_words"]

_NAME = "passage"  # entry of the metadata that holds the id
_CITED = re.compile(r"\s*\[\d+\]")


class PinyonMemory:
    """A pinyon memory in a file.

    Passages with a speaker or a role are turns of their session, all others are notes.

    Args:
        folder: Where the file is made.
        name: For tables.
        index: Weights and constants, or None for the default.
        embedder: As for `Memory.open`.
        generator: Writes answers; None answers by quoting.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "pinyon",
        index: IndexConfig | None = None,
        embedder: Embedder | str | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.name = name
        self._folder = folder
        self._before = resident_bytes()
        self._generator = generator
        self._memory = Memory.open(folder / "memory.db", index=index, embedder=embedder)

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Add the passages; on return they are on the disk and can be found."""
        here = self._memory.at(space=space)
        here.add_many(_experiences(passages))
        here.catch_up()

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        """Search; a passage that was kept in several parts counts once, where its best part stands."""
        depth = k
        while True:
            found = self._memory.at(space=space).search(question, k=depth).hits
            best: dict[str, float] = {}
            for hit in found:
                for id in _ids([hit]):
                    best.setdefault(id, hit.score)
            if len(best) >= k or len(found) < depth:
                return [Ranked(id, score) for id, score in list(best.items())[:k]]
            depth *= 2

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        """Recall."""
        recalled = self._memory.at(space=space).recall(question, budget_tokens=budget_tokens)
        ids = tuple(dict.fromkeys(_ids(recalled.hits)))
        return Context(recalled.text, ids, recalled.context.footprint.tokens)

    def ask(self, space: str, question: str) -> str | None:
        """Ask, and return the answer without the numbers of its citations; an empty text when it knows none."""
        answer = self._memory.at(space=space).ask(question, generator=self._generator)
        return _CITED.sub("", answer.text) if answer.is_known else ""

    def footprint(self) -> Held:
        """Return the growth of the process and the bytes of the memory's files."""
        return Held(max(0, resident_bytes() - self._before), folder_bytes(self._folder))

    def close(self) -> None:
        """Close the memory."""
        self._memory.close()


def _ids(hits: Iterable[Hit]) -> Iterator[str]:
    for hit in hits:
        name = hit.cube.header.metadata.get(_NAME)
        if isinstance(name, str):
            yield name


def _experiences(passages: Sequence[Passage]) -> Iterator[Experience]:
    for (session, is_turn), group in groupby(passages, key=lambda p: (p.session, bool(p.speaker or p.role))):
        if is_turn:
            yield Conversation(tuple(map(_turn, group)), session=session)
        else:
            yield from (Note(p.text, time=p.time, metadata=_named(p)) for p in group)


def _turn(passage: Passage) -> Turn:
    return Turn(passage.text, speaker=passage.speaker, role=passage.role, time=passage.time, metadata=_named(passage))


def _named(passage: Passage) -> Mapping[str, Json]:
    return {_NAME: passage.id}


def pinyon_words(folder: Path) -> PinyonMemory:
    """Return pinyon with BM25 of the turn or chunk alone."""
    return PinyonMemory(folder, name="pinyon, BM25 alone", index=CONTROLS["BM25 of the turn or chunk"])


def pinyon_vectors(folder: Path) -> PinyonMemory:
    """Return pinyon with vectors alone."""
    return PinyonMemory(folder, name="pinyon, vectors alone", index=CONTROLS["dense alone"])
