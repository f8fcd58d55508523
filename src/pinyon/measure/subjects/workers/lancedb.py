"""A plain LanceDB table for each space, searched exactly."""

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
    return version_of("lancedb")


def prepare() -> None:
    """Load the library."""
    importlib.import_module("lancedb")


def open_store(folder: Path, embed: Embed, dimensions: int) -> _Store:  # noqa: ARG001  # it sees the width by itself
    """Open a database in a folder."""
    return _Store(importlib.import_module("lancedb").connect(str(folder / "lance")), embed)


class _Store:
    def __init__(self, database: Any, embed: Embed) -> None:
        self._database = database
        self._embed = embed
        self._tables: dict[str, Any] = {}

    def add(self, space: str, passages: Sequence[dict[str, str]]) -> None:
        """Add everything in one commit."""
        texts = [passage["shown"] for passage in passages]
        rows = [
            {"id": passage["id"], "text": text, "vector": row}
            for passage, text, row in zip(passages, texts, self._embed(texts), strict=True)
        ]
        if space in self._tables:
            self._tables[space].add(rows)
        else:
            self._tables[space] = self._database.create_table(f"space_{len(self._tables)}", rows)

    def search(self, space: str, question: str, k: int) -> list[tuple[str, float]]:
        """Search by cosine."""
        if space not in self._tables:
            return []
        query = self._tables[space].search(self._embed([question])[0]).distance_type("cosine").select(["id"])
        return [(row["id"], -float(row["_distance"])) for row in query.limit(k).to_list()]
