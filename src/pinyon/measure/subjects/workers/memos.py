"""MemOS's `GeneralTextMemory` without a model: what is said is handed to it as memories, in Qdrant's local folder."""

from __future__ import annotations

import importlib
import logging
import uuid
from collections.abc import Callable, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

__all__ = ["open_store", "prepare", "version"]

Embed = Callable[[Sequence[str]], list[list[float]]]


def version() -> str:
    """Return the version that is measured."""
    return version_of("MemoryOS")


def prepare() -> None:
    """Load the library."""
    logging.disable(logging.WARNING)
    importlib.import_module("memos.memories.textual.general")
    importlib.import_module("qdrant_client")


def open_store(folder: Path, embed: Embed, dimensions: int) -> _Store:
    """Open a memory for each space, whose files all lie in a folder."""
    return _Store(folder, embed, dimensions)


class _Embedder:
    """What MemOS asks of an embedder."""

    def __init__(self, embed: Embed) -> None:
        self.embed = embed


class _Store:
    def __init__(self, folder: Path, embed: Embed, dimensions: int) -> None:
        self._folder, self._embed, self._dimensions = folder, embed, dimensions
        self._memories: dict[str, Any] = {}
        self._ids: dict[str, str] = {}

    def _memory(self, space: str) -> Any:
        """Return the memory of a space; its extractor and embedder are named, as it demands, and never called."""
        if space not in self._memories:
            config = importlib.import_module("memos.configs.memory").GeneralTextMemoryConfig(
                extractor_llm={
                    "backend": "openai",
                    "config": {"model_name_or_path": "none", "api_key": "unused", "api_base": "http://127.0.0.1:9"},
                },
                vector_db={
                    "backend": "qdrant",
                    "config": {
                        "collection_name": "passages",
                        "vector_dimension": self._dimensions,
                        "distance_metric": "cosine",
                        "path": str(self._folder / f"space-{len(self._memories)}"),
                    },
                },
                embedder={
                    "backend": "universal_api",
                    "config": {"provider": "openai", "api_key": "unused", "model_name_or_path": "none"},
                },
            )
            memory = importlib.import_module("memos.memories.textual.general").GeneralTextMemory(config)
            memory.embedder = _Embedder(self._embed)
            self._memories[space] = memory
        return self._memories[space]

    def add(self, space: str, passages: Sequence[dict[str, str]]) -> None:
        """Add everything in one call."""
        items = []
        for passage in passages:
            id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{space} {passage['id']}"))  # it takes nothing else
            self._ids[id] = passage["id"]
            items.append({"id": id, "memory": passage["shown"]})
        self._memory(space).add(items)

    def search(self, space: str, question: str, k: int) -> list[tuple[str, float]]:
        """Search; it returns memories in order, without their scores."""
        found = self._memory(space).search(question, k)
        return [(self._ids[item.id], -float(place)) for place, item in enumerate(found)]
