"""What vector stores give: collections of Chroma and points of Qdrant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from ..core.experience import Experience
from ..core.payload import Json
from ._dump import Dump, Origin, items
from ._json import moment, rest

__all__ = ["CHROMA", "QDRANT"]

_HOLDERS: Final = ("points", "result")
_TEXTS: Final = ("text", "content", "document", "page_content", "memory", "data")
_POINT: Final = frozenset({"id", "payload", "vector", "vectors", "score", "version", "shard_key", "order_value"})
_TIMES: Final = ("created_at", "timestamp", "time", "date")


def _is_chroma(value: Json) -> bool:
    return isinstance(value, dict) and _columns(value) is not None


def _columns(value: Mapping[str, Json]) -> tuple[list[Json], list[Json], list[Json]] | None:
    """Return ids, documents and metadata of a collection, or None when it is none."""
    ids, documents, metadatas = (value.get(key) for key in ("ids", "documents", "metadatas"))
    if not isinstance(ids, list) or not ids or not all(isinstance(identity, str) for identity in ids):
        return None
    if not isinstance(documents, list) or not all(text is None or isinstance(text, str) for text in documents):
        return None
    about: list[Json] = metadatas if isinstance(metadatas, list) else [None] * len(ids)
    is_whole = len(ids) == len(documents) == len(about) and any(documents)
    return (ids, documents, about) if is_whole else None


def _read_chroma(value: Json, origin: Origin) -> list[Experience]:
    columns = _columns(value) if isinstance(value, dict) else None
    found: list[Experience] = []
    for identity, text, about in zip(*columns, strict=True) if columns else ():
        if isinstance(text, str) and text.strip():
            own = about if isinstance(about, dict) else {}
            time = _time(own)  # ids of a collection are the user's own, and may be those of another one
            found.append(origin.note(text, {"id": identity}, time=time, own=own))
    return found


def _points(value: Json) -> Iterator[Json]:
    yield from items(value, _HOLDERS)


def _text_key(item: Json) -> str | None:
    """Return the field with the words of a point, or None when it is no point or holds none."""
    if not isinstance(item, dict) or not item.keys() <= _POINT or not isinstance(item.get("id"), (str, int)):
        return None
    payload = item.get("payload")
    held = payload if isinstance(payload, dict) else {}
    return next((key for key in _TEXTS if isinstance(held.get(key), str) and str(held[key]).strip()), None)


def _is_qdrant(value: Json) -> bool:
    found = False
    for item in _points(value):
        if _text_key(item) is None:
            return False
        found = True
    return found


def _read_qdrant(value: Json, origin: Origin) -> list[Experience]:
    found: list[Experience] = []
    for item in _points(value):
        key = _text_key(item)
        payload = item.get("payload") if isinstance(item, dict) else None
        if key and isinstance(item, dict) and isinstance(payload, dict):
            own = rest(payload, (key,))
            found.append(origin.note(str(payload[key]), {"id": item["id"]}, time=_time(own), own=own))
    return found


def _time(own: Mapping[str, Json]) -> datetime | None:
    return next((at for key in _TIMES if isinstance(own.get(key), str) and (at := moment(own[key]))), None)


CHROMA: Final = Dump("chroma", _is_chroma, _read_chroma)
"""What ``collection.get()`` returns: ids, documents and metadata side by side."""

QDRANT: Final = Dump("qdrant", _is_qdrant, _read_qdrant)
"""Points with a payload that holds words, as ``scroll`` returns them."""
