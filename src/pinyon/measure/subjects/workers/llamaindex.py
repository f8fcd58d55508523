"""LlamaIndex with its own store of vectors in memory, a node a passage."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

__all__ = ["open_store", "prepare", "version"]

Embed = Callable[[Sequence[str]], list[list[float]]]


def version() -> str:
    """Return the version that is measured."""
    return version_of("llama-index-core")


def prepare() -> None:
    """Load the library."""
    importlib.import_module("llama_index.core")


def open_store(folder: Path, embed: Embed, dimensions: int) -> _Store:  # noqa: ARG001  # it writes no files
    """Open an index for each space."""
    return _Store(embed)


class _Store:
    """The vectors are computed here and handed to its nodes, as its own pipeline does with a batch."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._core = importlib.import_module("llama_index.core")
        self._schema = importlib.import_module("llama_index.core.schema")
        self._bundle = importlib.import_module("llama_index.core.schema").QueryBundle
        self._mock = importlib.import_module("llama_index.core.embeddings").MockEmbedding(embed_dim=1)
        self._indexes: dict[str, Any] = {}

    def add(self, space: str, passages: Sequence[dict[str, str]]) -> None:
        """Insert everything in one call."""
        rows = self._embed([passage["shown"] for passage in passages])
        nodes = [
            self._schema.TextNode(id_=passage["id"], text=passage["shown"], embedding=row)
            for passage, row in zip(passages, rows, strict=True)
        ]
        if space not in self._indexes:
            self._indexes[space] = self._core.VectorStoreIndex(nodes, embed_model=self._mock)
        else:
            self._indexes[space].insert_nodes(nodes)

    def search(self, space: str, question: str, k: int) -> list[tuple[str, float]]:
        """Retrieve the nearest nodes."""
        if space not in self._indexes:
            return []
        retriever = self._indexes[space].as_retriever(similarity_top_k=k)
        found = retriever.retrieve(self._bundle(question, embedding=self._embed([question])[0]))
        return [(hit.node.node_id, float(hit.score)) for hit in found]
