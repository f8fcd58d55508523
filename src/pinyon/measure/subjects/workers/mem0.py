"""mem0 in Qdrant's local folder: word for word (``infer=False``), or as a model of the caller's writes it."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["open_store", "prepare", "version"]

Embed = Callable[[Sequence[str]], list[list[float]]]


def version() -> str:
    """Return the version that is measured."""
    return version_of("mem0ai")


def prepare() -> None:
    """Load the library; whoever started this process turned its telemetry off and gave it a key that is never used."""
    logging.disable(logging.WARNING)
    importlib.import_module("mem0")


def open_store(folder: Path, embed: Embed, dimensions: int, writer: Mapping[str, str] | None = None) -> _Store:
    """Open a memory whose files all lie in a folder.

    Args:
        folder: Where to.
        embed: Texts to vectors.
        dimensions: Of the vectors.
        writer: Name, address and key of the model that writes memories; None keeps what is said word for word.
    """
    config: dict[str, Any] = {
        "vector_store": {
            "provider": "qdrant",
            "config": {"path": str(folder / "qdrant"), "embedding_model_dims": dimensions, "on_disk": True},
        },
        "history_db_path": str(folder / "history.db"),
    }
    if writer is not None:
        llm = {"model": writer["model"], "openai_base_url": writer["base_url"], "api_key": writer["api_key"]}
        config["llm"] = {"provider": "openai", "config": llm}
    memory = importlib.import_module("mem0").Memory.from_config(config)
    memory.embedding_model = _Embedder(embed)  # read at each call, so replacing it after opening is enough
    return _Store(memory) if writer is None else _Written(memory)


class _Embedder:
    """What mem0 asks of an embedder."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:  # noqa: ARG002  # its callers pass it
        return self._embed([text])[0]

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:  # noqa: ARG002  # so too
        return self._embed(texts)


class _Store:
    """What is said, word for word."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self._ids: dict[tuple[str, str], list[str]] = {}

    def add(self, space: str, passages: Sequence[dict[str, str]]) -> None:
        """Add everything in one call, its quickest way."""
        messages = [_message(passage) for passage in passages]
        for passage in passages:
            self._ids.setdefault((space, passage["shown"]), []).append(passage["id"])
        self._memory.add(messages, user_id=_user(space), infer=False)

    def search(self, space: str, question: str, k: int) -> list[tuple[str, float]]:
        """Search with its default settings, except that it cuts off as little as it can: cosines below 0."""
        return [(id, float(hit["score"])) for hit in self._found(space, question, k) for id in self._of(space, hit)][:k]

    def _found(self, space: str, question: str, k: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._memory.search(
            question, top_k=k, filters={"user_id": _user(space)}, threshold=0.0
        )["results"]
        return found

    def _of(self, space: str, hit: Mapping[str, Any]) -> list[str]:
        return self._ids[space, hit["memory"]]


class _Written(_Store):
    """What its model makes of each passage; a passage is found when a memory that was written of it is."""

    def add(self, space: str, passages: Sequence[dict[str, str]]) -> None:
        """Add one by one, so that what is written can be traced; mem0 itself shows its model the last ten messages."""
        for passage in passages:
            self._memory.add([_message(passage)], user_id=_user(space), metadata={"passage": passage["id"]})

    def search(self, space: str, question: str, k: int) -> list[tuple[str, float]]:
        """Search until there are k passages, or no further memories."""
        depth = k
        while True:
            found = self._found(space, question, depth)
            best: dict[str, float] = {}
            for hit in found:
                best.setdefault(hit["metadata"]["passage"], float(hit["score"]))
            if len(best) >= k or len(found) < depth:
                return list(best.items())[:k]
            depth *= 2


def _message(passage: Mapping[str, str]) -> dict[str, str]:
    return {"role": passage["role"] or "user", "content": passage["shown"]}


def _user(space: str) -> str:
    """Return a name without blanks, which mem0 refuses."""
    return quote(space, safe="")
