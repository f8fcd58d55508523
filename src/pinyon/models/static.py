"""Embed texts by the mean of fixed token vectors, offline and at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.distinct import distinct
from ..errors import ModelError
from ._bundled import package_folder, sampled_digest
from ._rows import as_texts, as_unicode
from .base import Vectors

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["StaticEmbedder", "StaticTokenCounter"]

_WEIGHTS = Path("weights", "l2_supercat_256.safetensors")
_TOKENIZER = Path("tokenizers", "l2_supercat_tokenizer_config.json")
_TENSOR = "embedding.weight"
_HEADER_LIMIT_BYTES = 1 << 20  # the real header has 88
_PIECE_CHARACTERS = 8192  # longer texts are cut: one call on 10 MB takes 1 GB, measured
_GROUP_CHARACTERS = 1 << 16  # of one call to the tokenizer; bounds memory
_GROUP_PIECES = 256  # the tokenizer spreads a call over the cores; more gains nothing, measured
_POOL_TOKENS = 512  # rows gathered at once: 512 kB, stays in the second-level cache


class StaticEmbedder:
    """Embed texts offline with the 256-dimensional token vectors that the wordllama package carries.

    The default of a memory: no model to load, no network, thousands of turns a second. Safe to share among threads.

    With w_t the vector of token t, a text of tokens t_1 … t_n becomes sum_i w_{t_i}, scaled to length 1; the mean and
    the sum point the same way, so nothing is divided by n.

    Args:
        folder: Holds ``weights/l2_supercat_256.safetensors`` and ``tokenizers/l2_supercat_tokenizer_config.json``;
            default the installed wordllama package, which is never imported.

    Raises:
        MissingExtra: No folder was given and wordllama is not installed.
        ModelError: The files cannot be read or are not what their names say.

    Example:
        >>> rows = StaticEmbedder().embed(["a brown dog", "tax law"])
        >>> rows.shape
        (2, 256)

    Cost: O(tokens · E) time; 16 MB mapped from the file and at most 32 MB for the rows in use.
    Source: WordLlama 0.4, l2_supercat_256 (MIT).
    Deviates: a text longer than 8,192 characters is cut between words, which changes no token; where it holds no
        space to cut at, each cut adds one token. Importing wordllama would configure logging for the whole process.
    """

    def __init__(self, *, folder: Path | None = None) -> None:
        root = _wordllama_folder() if folder is None else folder
        self._files = (root / _WEIGHTS, root / _TOKENIZER)
        self._half = _map_tensor(self._files[0])  # (V, E) float16
        self._table = np.empty(self._half.shape, dtype=np.float32)  # rows are filled when a text first uses them
        self._is_filled = np.zeros(self._half.shape[0], dtype=np.bool_)
        self._tokens = _Tokens(self._files[1], limit=self._half.shape[0])
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Name of the weights and the tokenizer, with a digest of both files."""
        if not self._fingerprint:
            self._fingerprint = f"static:wordllama-l2_supercat-{self.dimensions}:{sampled_digest(*self._files)}"
        return self._fingerprint

    @property
    def dimensions(self) -> int:
        """Width of a row, 256."""
        return int(self._half.shape[1])

    @property
    def is_instant(self) -> bool:
        """True: it runs as the index follows the journal."""
        return True

    @property
    def counter(self) -> StaticTokenCounter:
        """A token counter that shares this embedder's tokenizer."""
        return StaticTokenCounter(_tokens=self._tokens)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit rows, float32 (N, 256); a text without a token gives a zero row."""
        checked = as_texts(texts)
        rows = np.zeros((len(checked), self.dimensions), dtype=np.float32)
        for owners, pieces in _groups(checked):
            self._add(rows, owners, [encoding.ids for encoding in self._tokens.encode(pieces)])
        lengths = np.sqrt(np.einsum("ne,ne->n", rows, rows))[:, None]  # (N, 1)
        np.divide(rows, lengths, out=rows, where=lengths > 0)
        return rows

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Return the unit row of a question, float32 (256,)."""
        row: NDArray[np.float32] = self.embed([question])[0]
        return row

    def _add(self, rows: Vectors, owners: Sequence[int], ids: Sequence[Sequence[int]]) -> None:
        """Add the vectors of the tokens of each piece to the row of its text."""
        flat = np.fromiter(chain.from_iterable(ids), np.intp, sum(map(len, ids)))
        self._fill(flat)
        start = 0
        # A gather and a sum for each piece is 4 to 8 times faster than np.add.reduceat over all of them, measured.
        for owner, piece in zip(owners, ids, strict=True):
            end = start + len(piece)
            for first in range(start, end, _POOL_TOKENS):
                rows[owner] += self._table.take(flat[first : min(first + _POOL_TOKENS, end)], axis=0).sum(axis=0)
            start = end

    def _fill(self, tokens: NDArray[np.intp]) -> None:
        """Widen the float16 rows of tokens not met before; two threads that meet write the same numbers."""
        fresh = tokens[~self._is_filled[tokens]]
        if fresh.size:
            fresh = distinct(fresh)
            self._table[fresh] = self._half[fresh]
            self._is_filled[fresh] = True


class StaticTokenCounter:
    """Count tokens as the Llama 2 tokenizer does, without special tokens.

    For budgets of prompts when the model's own tokenizer is not at hand. Safe to share among threads.

    Raises:
        MissingExtra: wordllama, which carries the tokenizer, is not installed.
        ModelError: The tokenizer file cannot be read; raised at the first count.
    """

    def __init__(self, *, _tokens: _Tokens | None = None) -> None:
        self._tokens = _Tokens(_wordllama_folder() / _TOKENIZER) if _tokens is None else _tokens

    def count(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return self.count_many([text])[0]

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        checked = as_texts(texts)
        counts = [0] * len(checked)
        for owners, pieces in _groups(checked):
            for owner, encoding in zip(owners, self._tokens.encode(pieces), strict=True):
                counts[owner] += len(encoding)
        return counts


_FEW = 4  # texts: below, handing them to the tokenizer's threads costs more than it saves


class _Tokens:
    """A tokenizer that is loaded at its first use, for it takes 0.1 s; `limit` is the number of vectors it may name."""

    def __init__(self, file: Path, *, limit: int | None = None) -> None:
        self._file = file
        self._limit = limit
        self._lock = Lock()
        self._tokenizer: Tokenizer | None = None

    def encode(self, texts: list[str]) -> list[Encoding]:
        tokenizer = self._tokenizer or self._load()
        try:
            if len(texts) < _FEW:
                return [tokenizer.encode(text, add_special_tokens=False) for text in texts]
            return tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:  # half of a surrogate pair, which the tokenizer cannot take
            return tokenizer.encode_batch_fast([as_unicode(text) for text in texts], add_special_tokens=False)

    def _load(self) -> Tokenizer:
        from tokenizers import Tokenizer

        with self._lock:
            if self._tokenizer is None:
                try:
                    content = self._file.read_bytes()
                except OSError as error:
                    raise ModelError(f"the tokenizer {str(self._file)!r} cannot be read: {error.strerror}") from error
                try:
                    tokenizer = Tokenizer.from_buffer(content)
                except ValueError as error:
                    raise ModelError(f"{str(self._file)!r} is no tokenizer file") from error
                size = tokenizer.get_vocab_size()
                if self._limit is not None and size > self._limit:
                    raise ModelError(
                        f"{str(self._file)!r} knows {size} tokens and the weights hold {self._limit} vectors"
                    )
                self._tokenizer = tokenizer
            return self._tokenizer


def _wordllama_folder() -> Path:
    return package_folder("wordllama", purpose="embed texts offline", hint="pip install 'wordllama>=0.4,<0.5'")


def _map_tensor(file: Path) -> NDArray[np.float16]:
    """Map the token vectors of a safetensors file, (V, E), without reading them."""
    try:
        with file.open("rb") as stream:
            header_bytes = int.from_bytes(stream.read(8), "little")
            header = stream.read(header_bytes) if header_bytes <= _HEADER_LIMIT_BYTES else b""
        entry = json.loads(header)[_TENSOR]
        if entry["dtype"] != "F16":
            raise ModelError(f"{str(file)!r} holds {entry['dtype']!r} where 'F16' was expected")
        tokens, width = entry["shape"]
        offset = 8 + header_bytes + entry["data_offsets"][0]
        return np.memmap(file, dtype=np.float16, mode="r", offset=offset, shape=(tokens, width))
    except OSError as error:
        raise ModelError(f"the weights {str(file)!r} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{str(file)!r} is no safetensors file with a tensor {_TENSOR!r}") from error


def _groups(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Yield pieces of texts, with the positions of their texts, in portions of bounded size."""
    owners: list[int] = []
    pieces: list[str] = []
    room = _GROUP_CHARACTERS
    for owner, text in enumerate(texts):
        for piece in (text,) if len(text) <= _PIECE_CHARACTERS else _cut(text):
            owners.append(owner)
            pieces.append(piece)
            room -= len(piece)
            if room <= 0 or len(pieces) == _GROUP_PIECES:
                yield owners, pieces
                owners, pieces, room = [], [], _GROUP_CHARACTERS
    if pieces:
        yield owners, pieces


def _cut(text: str) -> Iterator[str]:
    """Yield a long text in pieces whose tokens, one piece after the other, are those of the whole.

    The tokenizer writes a space as "▁", puts one before each text it is given, and knows no token with a "▁" after
    another character. So a single space between two words may be replaced by the end of a piece. It may not beside ">"
    or "<", which could belong to a special token such as "</s>": the text on either side of one is a text of its own.
    """
    start = 0
    while len(text) - start > _PIECE_CHARACTERS:
        end = start + _PIECE_CHARACTERS
        space = text.rfind(" ", start + 1, end)
        while space > 0 and (text[space - 1] in " ▁>" or text[space + 1] in " ▁<"):
            space = text.rfind(" ", start + 1, space)
        if space > 0:
            yield text[start:space]
            start = space + 1
        else:
            yield text[start:end]
            start = end
    yield text[start:]
