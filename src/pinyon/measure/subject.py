"""What a measured memory system must do, whoever wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = ["Context", "Held", "Passage", "Ranked", "Subject"]


@dataclass(frozen=True, slots=True)
class Passage:
    """What is added: a turn of a conversation, or a piece of a document.

    Args:
        id: Its name in the question set; evidence is named by it.
        text: As it was said or written.
        speaker: Who said it.
        time: When it was said.
        session: Which conversation or document it belongs to.
        role: ``user`` or ``assistant``, where the source says so.
    """

    id: str
    text: str
    speaker: str | None = None
    time: datetime | None = None
    session: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A passage that was found.

    Args:
        id: Of the passage.
        score: Higher is better; comparable within one search only.
    """

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Context:
    """What a prompt would get.

    Args:
        text: Ready for the prompt.
        ids: Passages that stand whole in the text.
        tokens: Its length by the tokenizer of the default embedder, at most the budget that was given; the control
            that gives everything alone goes beyond it.
    """

    text: str
    ids: tuple[str, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a system occupies.

    Args:
        memory_bytes: Growth of its process since it was made.
        disk_bytes: Files it wrote.
    """

    memory_bytes: int
    disk_bytes: int


class Subject(Protocol):
    """One memory system under test; a space is searched alone."""

    name: str

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Keep the passages, in the order in which they were said; a space may be added to again."""
        ...

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        """Return at most k passages of the space, the best first, each once."""
        ...

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        """Return what a prompt of so many tokens would get."""
        ...

    def ask(self, space: str, question: str) -> str | None:
        """Return an answer, or None from a system that does not answer."""
        ...

    def footprint(self) -> Held:
        """Return what it occupies now."""
        ...

    def close(self) -> None:
        """Release everything; files it wrote may go."""
        ...
