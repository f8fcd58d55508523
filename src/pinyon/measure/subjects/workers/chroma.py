"""A plain Chroma collection for each space, in a folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

__all__ = ["open_store", "prepare", "version"]

Embed = Callable[[Sequence[str]], list[list[float]]]
_BATCH = 2000  # it refuses more than 5,461 in one call


def version() -> str:
    """Return the version that is measured."""
    return version_of("chromadb")


def prepare() -> None:
    """Load the library."""
    importlib.import_module("chromadb.config")


def open_store(folder: Path, embed: Embed, dimensions: int) -> _Store:  # noqa: ARG001  # it sees the width by itself
    """Open a client that writes into a folder, without telemetry."""
    settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
    return _Store(importlib.import_module("chromadb").PersistentClient(str(folder / "chroma"), settings), embed)


class _Store:
    def __init__(self, client: Any, embed: Embed) -> None:
        self._client = client
        self._embed = embed
        self._collections: dict[str, Any] = {}

    def _collection(self, space: str) -> Any:
        if space not in self._collections:
            self._collections[space] = self._client.create_collection(
                f"space-{len(self._collections)}", embedding_function=None, metadata={"hnsw:space": "cosine"}
            )
        return self._collections[space]

    def add(self, space: str, passages: Sequence[dict[str, str]]) -> None:
        """Add in large batches."""
        for start in range(0, len(passages), _BATCH):
            batch = passages[start : start + _BATCH]
            texts = [passage["shown"] for passage in batch]
            self._collection(space).add(ids=[p["id"] for p in batch], documents=texts, embeddings=self._embed(texts))

    def search(self, space: str, question: str, k: int) -> list[tuple[str, float]]:
        """Query the collection."""
        found = self._collection(space).query(query_embeddings=self._embed([question]), n_results=k)
        return [(id, -float(far)) for id, far in zip(found["ids"][0], found["distances"][0], strict=True)]
