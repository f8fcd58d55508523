"""Static word vectors read straight from the files of the `wordllama` package, shared by every subject.

The package itself is never imported: its files are all that is needed, and so an environment of a rival can use the
same vectors with numpy, safetensors and tokenizers alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIMENSIONS", "StaticVectors"]

DIMENSIONS = 256
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"


def _package_folder() -> Path:
    spec = importlib.util.find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the package 'wordllama' is not installed; hint: pip install --no-deps wordllama")
    return Path(next(iter(spec.submodule_search_locations)))


class StaticVectors:
    """Turn texts into unit rows: the mean of their token rows, scaled to length one.

    Cost: about 0.1 ms a turn, most of it the tokenizer.
    """

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        folder = _package_folder()
        self._rows: NDArray[np.float32] = load_file(str(folder / _WEIGHTS))["embedding.weight"].astype(np.float32)
        self._tokenizer: Any = Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def rows(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row a text, (N, 256); a text without tokens is a row of zeros."""
        out = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for number, encoding in enumerate(self._tokenizer.encode_batch(list(texts), add_special_tokens=False)):
            if encoding.ids:
                row = self._rows[encoding.ids].mean(axis=0)
                out[number] = row / max(float(np.linalg.norm(row)), 1e-12)
        return out
