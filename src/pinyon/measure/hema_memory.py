"""HEMA as a subject: over vectors alone, as published, and over a memory of pinyon."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.experience import Turn
from ..index import IndexConfig
from ..memory import Memory
from ..models import Embedder, StaticEmbedder, StaticTokenCounter, TokenCounter
from ..recipes import HemaChat, hema
from ..text.hema import Hema, HemaConfig, Prompt, VectorMemory
from ..text.summarize import Summarizer
from .resident import resident_bytes
from .subject import Context, Held, Passage, Ranked

__all__ = ["HemaMemory", "HemaOverMemory"]


class HemaMemory:
    """HEMA over vectors in memory, ranked by cosine; each passage is a turn.

    Args:
        embedder: Of passages and questions; None is the static one.
        config: Constants; ``most=0, tail=0`` leaves the compact memory alone.
        summarizer: Writes the sentences; None extracts them.
        tokens: Counts the tokens of a prompt; None counts as the static embedder does.
        name: For tables.
    """

    def __init__(
        self,
        embedder: Embedder | None = None,
        *,
        config: HemaConfig | None = None,
        summarizer: Summarizer | None = None,
        tokens: TokenCounter | None = None,
        name: str = "HEMA",
    ) -> None:
        self.name = name
        self._embedder = embedder or StaticEmbedder()
        self._config = config or HemaConfig()
        self._summarizer = summarizer
        self._counter = tokens or StaticTokenCounter()
        self._spaces: dict[str, tuple[Hema, VectorMemory]] = {}
        self._ids: dict[str, dict[str, str]] = {}
        self._before = resident_bytes()

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Hold the conversation on: every passage is a turn, and what is due is done in between."""
        memory, _ = self._of(space)
        for passage in passages:
            memory.add_turns([_turn(passage)])
            self._ids[space].update((chunk.id, passage.id) for chunk in memory.latest)

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        """Return the nearest passages by cosine."""
        near = self._of(space)[1].nearest(question, k)
        return [Ranked(self._ids[space][each.chunk.id], each.score) for each in near]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        """Return summaries, retrieved passages and the last ones, within the budget."""
        prompt = self._of(space)[0].recall(question, budget_tokens=budget_tokens)
        return _context(prompt, self._ids[space])

    def ask(self, space: str, question: str) -> str | None:  # noqa: ARG002  # the protocol's
        """Return None: it does not answer."""
        return None

    def footprint(self) -> Held:
        """Return the growth of the process; nothing lies on a disk."""
        return Held(max(0, resident_bytes() - self._before), 0)

    def close(self) -> None:
        """Release nothing."""

    def mechanism(self, space: str) -> Hema:
        """Return the mechanism of a space, to look into it."""
        return self._of(space)[0]

    def _of(self, space: str) -> tuple[Hema, VectorMemory]:
        if space not in self._spaces:
            shelf = VectorMemory(self._embedder, self._counter)
            self._spaces[space] = (Hema(shelf, summarizer=self._summarizer, config=self._config), shelf)
            self._ids[space] = {}
        return self._spaces[space]


class HemaOverMemory:
    """HEMA over a pinyon memory, ranked as the memory ranks; each passage is a turn.

    Args:
        embedder: As for `Memory.open`.
        config: Constants.
        index: Weights of the ranking; None takes the memory's own.
        tokens: As for `HemaMemory`.
        name: For tables.
    """

    def __init__(
        self,
        embedder: Embedder | str | None = None,
        *,
        config: HemaConfig | None = None,
        index: IndexConfig | None = None,
        tokens: TokenCounter | None = None,
        name: str = "HEMA over pinyon",
    ) -> None:
        self.name = name
        self._before = resident_bytes()
        self._memory = Memory.open(":memory:", embedder=embedder, index=index, tokens=tokens)
        self._config = config or HemaConfig()
        self._chats: dict[str, HemaChat] = {}
        self._ids: dict[str, dict[str, str]] = {}

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Hold the conversation on, as for `HemaMemory`."""
        chat = self._of(space)
        for passage in passages:
            chat.add_turns([_turn(passage)])
            self._ids[space].update((chunk.id, passage.id) for chunk in chat.hema.latest)
        self._memory.catch_up()

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        """Return the best passages of the memory."""
        hits = self._memory.at(space=space).search(question, k=k).hits
        return [Ranked(self._ids[space][hit.cube.id], hit.score) for hit in hits if hit.cube.id in self._ids[space]]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        """Return summaries, retrieved passages and the last ones, within the budget."""
        return _context(self._of(space).recall(question, budget_tokens=budget_tokens), self._ids[space])

    def ask(self, space: str, question: str) -> str | None:
        """Return what the memory answers by quoting."""
        return self._memory.at(space=space).ask(question).text

    def footprint(self) -> Held:
        """Return the growth of the process; nothing lies on a disk."""
        return Held(max(0, resident_bytes() - self._before), 0)

    def close(self) -> None:
        """Close the memory."""
        self._memory.close()

    def _of(self, space: str) -> HemaChat:
        if space not in self._chats:
            self._chats[space] = hema(self._memory.at(space=space), config=self._config)
            self._ids[space] = {}
        return self._chats[space]


def _turn(passage: Passage) -> Turn:
    return Turn(passage.text, speaker=passage.speaker, role=passage.role, time=passage.time)


def _context(prompt: Prompt, ids: dict[str, str]) -> Context:
    return Context(prompt.text, tuple(ids[id] for id in prompt.ids if id in ids), prompt.tokens)
