"""Embed texts with any function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ._rows import as_texts, checked_rows
from .base import Vectors

__all__ = ["CallableEmbedder"]


class CallableEmbedder:
    """Make an embedder of a function from texts to rows.

    For a model that this room does not know. What the function returns is checked and scaled to length 1, so that a
    faulty one cannot spoil an index.

    Args:
        function: Takes a list of N texts, returns N rows of E finite numbers: lists, arrays or anything numpy reads.
            It is given questions as it is given texts, one at a time. What it raises passes through.
        fingerprint: Names the model exactly; change it whenever the function would return other vectors.
        dimensions: Width E of a row, >= 1.
        is_instant: Whether it embeds over 1,000 texts a second and may run as the index follows the journal;
            default False.

    Raises:
        BadInput: The fingerprint is empty or `dimensions` is below 1.

    Example:
        >>> embedder = CallableEmbedder(lambda texts: [[len(t), 4] for t in texts], fingerprint="length", dimensions=2)
        >>> (embedder.embed(["", "abc"]) * 5).tolist()
        [[0.0, 5.0], [3.0, 4.0]]
    """

    def __init__(
        self,
        function: Callable[[list[str]], object],
        *,
        fingerprint: str,
        dimensions: int,
        is_instant: bool = False,
    ) -> None:
        if not fingerprint:
            raise BadInput("fingerprint must not be empty")
        if dimensions < 1:
            raise BadInput(f"dimensions must be >= 1, got {dimensions!r}")
        self._function = function
        self._fingerprint = fingerprint
        self._dimensions = dimensions
        self._is_instant = is_instant

    @property
    def fingerprint(self) -> str:
        """The name that was given."""
        return self._fingerprint

    @property
    def dimensions(self) -> int:
        """Width of a row, E."""
        return self._dimensions

    @property
    def is_instant(self) -> bool:
        """What was given."""
        return self._is_instant

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit rows, float32 (N, E).

        Raises:
            ModelError: The function returned rows of another shape, NaN or infinity.
        """
        checked = as_texts(texts)
        if not checked:
            return np.zeros((0, self._dimensions), dtype=np.float32)
        source = f"the embedding function {self._fingerprint!r}"
        return checked_rows(self._function(checked), count=len(checked), dimensions=self._dimensions, source=source)

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Return the unit row of a question, float32 (E,).

        Raises:
            ModelError: As for `embed`.
        """
        row: NDArray[np.float32] = self.embed([question])[0]
        return row
