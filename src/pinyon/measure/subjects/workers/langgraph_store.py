"""LangGraph's store in memory, with an index of vectors."""

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
    return version_of("langgraph")


def prepare() -> None:
    """Load the library."""
    importlib.import_module("langgraph.store.memory")
    importlib.import_module("langgraph.store.base")


def open_store(folder: Path, embed: Embed, dimensions: int) -> _Store:  # noqa: ARG001  # it writes no files
    """Open a store."""
    module = importlib.import_module("langgraph.store.memory")
    return _Store(module.InMemoryStore(index={"dims": dimensions, "embed": embed, "fields": ["text"]}))


class _Store:
    def __init__(self, store: Any) -> None:
        self._store = store

    def add(self, space: str, passages: Sequence[dict[str, str]]) -> None:
        """Put everything in one batch, its quickest way."""
        put = importlib.import_module("langgraph.store.base").PutOp
        self._store.batch([put((space,), passage["id"], {"text": passage["shown"]}) for passage in passages])

    def search(self, space: str, question: str, k: int) -> list[tuple[str, float]]:
        """Search the namespace."""
        return [(hit.key, float(hit.score)) for hit in self._store.search((space,), query=question, limit=k)]
