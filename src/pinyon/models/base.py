"""Ports to models: what turns text into vectors, tokens and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Embedder", "Generator", "Interruptible", "Message", "TokenCounter", "Vectors"]

Vectors = NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit rows.

    Attributes:
        fingerprint: Names weights, tokenizer, pooling and prefix exactly; vectors of two fingerprints never mix.
        dimensions: Width E of a row.
        is_instant: Fast enough (over 1,000 texts a second) to run as the index follows the journal; otherwise a
            background job embeds.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def is_instant(self) -> bool: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 rows of length 1 for passages, (N, E); a text without a known token gives a zero row."""
        ...

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Return the float32 row of a question, (E,)."""
        ...


@runtime_checkable
class Interruptible(Protocol):
    """An embedder that asks again when it gets no answer, and can be told to leave that."""

    def interrupt(self) -> None:
        """Let every request that waits to be sent again fail now; later ones are sent as ever."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """One turn given to a generator."""

    role: Literal["system", "user", "assistant"]
    content: str


@runtime_checkable
class Generator(Protocol):
    """Turns to text."""

    @property
    def name(self) -> str: ...

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        """Return the continuation of a conversation.

        Raises:
            ModelError: The endpoint or model failed; the message says how.
        """
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """Counts prompt tokens."""

    def count(self, text: str) -> int:
        """Return the number of tokens of a text, without special tokens."""
        ...

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        ...
