"""An embedder behind an endpoint that comes and goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pinyon.errors import ModelError
from pinyon.models import Vectors
from pinyon.testing import HashEmbedder


class Fading:
    """A `HashEmbedder` that is slow and, while it is down, tells nothing but its name.

    Args:
        is_down: Whether it begins so.
    """

    fingerprint = "fading-1"
    is_instant = False

    def __init__(self, *, is_down: bool = False) -> None:
        self.is_down = is_down
        self.asked = 0
        self._inner = HashEmbedder(16)

    @property
    def dimensions(self) -> int:
        """As an endpoint, it has to be asked."""
        self._ask()
        return 16

    def embed(self, texts: Sequence[str]) -> Vectors:
        self._ask()
        return self._inner.embed(texts)

    def embed_query(self, question: str) -> NDArray[np.float32]:
        self._ask()
        return self._inner.embed_query(question)

    def _ask(self) -> None:
        self.asked += 1
        if self.is_down:
            raise ModelError("the endpoint is down")
