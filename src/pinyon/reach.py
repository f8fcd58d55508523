"""The embedder of a memory as a search may use it: never waited for long, and not needed to know what it made."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import PinyonError
from .models import Embedder
from .schedule import last_failure
from .store import Engine

__all__ = ["Reach"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_REST_S = 15.0  # after a failure: a search that asks in vain can take seconds
_LOOKED_AT = 64  # entries of the journal at each end of it whose vectors tell the width of all


class Reach:
    """Asks an embedder that may be out of reach, and leaves it alone for a while after it failed.

    Args:
        engine: The store that keeps its vectors.
        embedder: Which.
        now: Seconds of a clock that never goes back.
    """

    def __init__(self, engine: Engine, embedder: Embedder, now: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._embedder = embedder
        self._now = now
        self._until = float("-inf")
        self._fingerprint: str | None = None
        self._width: int | None = None
        self._failure = ""

    @property
    def failure(self) -> str:
        """Why it gave nothing the last time it was asked for anything; empty when it gave it."""
        return self._failure or last_failure(self._engine, self._embedder)

    def fingerprint(self) -> str | None:
        """Return its fingerprint, or None while it cannot tell it."""
        if self._fingerprint is None:
            self._fingerprint = self._asked(lambda: self._embedder.fingerprint)
        return self._fingerprint

    def made_width(self) -> int | None:
        """Return the width of the vectors that it made, or None when it made none or cannot be named."""
        name = self.fingerprint()
        if self._width is None and name is not None:
            last = self._engine.head().seq
            for after in dict.fromkeys((0, max(0, last - _LOOKED_AT))):
                rows = sorted({event.row for event in self._engine.journal(after, _LOOKED_AT)})
                data = self._engine.vectors(name, rows).data
                if len(data):
                    self._width = int(data.shape[1])
                    break
        return self._width

    def width(self) -> int | None:
        """Return the width of its vectors, asking it where it made none; None while it cannot tell."""
        return self.made_width() or self._asked(lambda: self._embedder.dimensions)

    def question(self, question: str) -> NDArray[np.float32] | None:
        """Return the row of a question, or None while the embedder is out of reach."""
        return self._asked(lambda: self._embedder.embed_query(question))

    def _asked(self, ask: Callable[[], T]) -> T | None:
        if self._now() < self._until:
            return None
        try:
            given = ask()
        except Exception as error:  # whatever an embedder raises, memories are found without it
            self._until = self._now() + _REST_S
            self._failure = error.message if isinstance(error, PinyonError) else f"{type(error).__name__}: {error}"
            _LOG.debug("the embedder failed", exc_info=True)
            return None
        self._failure = ""
        return given
