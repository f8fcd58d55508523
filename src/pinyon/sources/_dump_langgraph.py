"""What a store of LangGraph gives, LangMem's memories among it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeGuard

from ..core.experience import Experience, Note
from ..core.payload import Json, canonical
from ._dump import Dump, Origin, items
from ._json import moment, rest

__all__ = ["LANGGRAPH"]

_HOLDERS: Final = ("items",)
_FIELDS: Final = frozenset({"namespace", "key", "value", "created_at", "updated_at", "score", "ttl", "expires_at"})
_TEXTS: Final = ("text", "content", "memory", "data")


def _is_item(item: Json) -> TypeGuard[dict[str, Json]]:
    if not isinstance(item, dict) or not item.keys() <= _FIELDS:
        return False
    space = item.get("namespace")
    is_space = isinstance(space, list) and all(isinstance(level, str) for level in space)
    return is_space and isinstance(item.get("key"), str) and isinstance(item.get("value"), dict)


def _matches(value: Json) -> bool:
    found = False
    for item in items(value, _HOLDERS):
        if not _is_item(item):
            return False
        found = True
    return found


def _read(value: Json, origin: Origin) -> list[Experience]:
    return [_note(item, origin) for item in items(value, _HOLDERS) if _is_item(item) and item["value"]]


def _note(item: Mapping[str, Json], origin: Origin) -> Note:
    held = item["value"]
    value: Mapping[str, Json] = held if isinstance(held, dict) else {}
    inner = value.get("content")
    kind = value.get("kind")
    said = rest(item, ("value",))
    if isinstance(inner, dict) and isinstance(kind, str) and value.keys() == {"kind", "content"}:  # of LangMem
        said["kind"] = kind
        value = inner
    key = next((key for key in _TEXTS if isinstance(value.get(key), str) and str(value[key]).strip()), None)
    space = item.get("namespace")
    levels = [str(level) for level in space] if isinstance(space, list) else []
    return origin.note(
        str(value[key]) if key else canonical(dict(value)),
        said,
        identity=canonical([*levels, str(item["key"])]),
        time=moment(item.get("created_at")) or moment(item.get("updated_at")),
        own=rest(value, (key,)) if key else None,
    )


LANGGRAPH: Final = Dump("langgraph", _matches, _read)
"""Items with namespace, key and value, in a list, under ``items``, or one a line."""
