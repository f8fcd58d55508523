"""mem0 without a model: ``infer=False`` keeps what is said word for word, in Qdrant's local folder."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

__all__ = ["open_store", "prepare", "version"]

Embed = Callable[[Sequence[str]], list[list[float]]]


def version() -> str:
    """Return the version that is measured."""
    return version_of("mem0ai")


def prepare() -> None:
    """Load the library; whoever started this process turned its telemetry off and gave it a key that is never used."""
    logging.disable(logging.WARNING)
    importlib.import_module("mem0")


def open_store(folder: Path, embed: Embed, dimensions: int) -> _Store:
    """Open a memory whose files all lie in a folder."""
    memory = importlib.import_module("mem0").Memory.from_config(
        {
            "vector_store": {
                "provider": "qdrant",
                "config": {"path": str(folder / "qdrant"), "embedding_model_dims": dimensions, "on_disk": True},
            },
            "history_db_path": str(folder / "history.db"),
        }
    )
    memory.embedding_model = _Embedder(embed)  # read at each call, so replacing it after opening is enough
    return _Store(memory)


class _Embedder:
    """What mem0 asks of an embedder."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:  # noqa: ARG002  # its callers pass it
        return self._embed([text])[0]

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:  # noqa: ARG002  # so too
        return self._embed(texts)


class _Store:
    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self._ids: dict[tuple[str, str], list[str]] = {}

    def add(self, space: str, passages: Sequence[dict[str, str]]) -> None:
        """Add everything in one call, its quickest way."""
        messages = [{"role": p["role"] or "user", "content": p["shown"]} for p in passages]
        for passage in passages:
            self._ids.setdefault((space, passage["shown"]), []).append(passage["id"])
        self._memory.add(messages, user_id=space, infer=False)

    def search(self, space: str, question: str, k: int) -> list[tuple[str, float]]:
        """Search with its default settings, except that it cuts off as little as it can: cosines below 0."""
        found = self._memory.search(question, top_k=k, filters={"user_id": space}, threshold=0.0)["results"]
        return [(id, float(hit["score"])) for hit in found for id in self._ids[space, hit["memory"]]][:k]
