"""What mem0 gives: `Memory.get_all` of the library and of the platform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, TypeGuard

from ..core.experience import Experience, Note
from ..core.header import Life
from ..core.payload import Json
from ._dump import Dump, Origin, ended, items, texts
from ._json import moment, rest

__all__ = ["MEM0"]

_HOLDERS: Final = ("results", "memories")
_MARKS: Final = ("hash", "user_id", "agent_id", "run_id", "app_id")
_ENDS: Final = ("source", "relationship", "target")


def _is_item(item: Json) -> TypeGuard[dict[str, Json]]:
    return (
        isinstance(item, dict)
        and isinstance(item.get("id"), str)
        and isinstance(item.get("memory"), str)
        and any(mark in item for mark in _MARKS)
    )


def _matches(value: Json) -> bool:
    found = False
    for item in items(value, _HOLDERS):
        if not _is_item(item):
            return False
        found = True
    return found


def _read(value: Json, origin: Origin) -> list[Experience]:
    found = [item for item in items(value, _HOLDERS) if _is_item(item)]
    notes: list[Experience] = [_note(item, origin) for item in found if str(item["memory"]).strip()]
    notes.extend(_relation(relation, origin) for relation in _relations(value))
    return notes


def _note(item: Mapping[str, Json], origin: Origin) -> Note:
    own = item.get("metadata")
    tags = texts(item.get("categories"))
    used = ["memory", "categories"] if item.get("categories") == list(tags) else ["memory"]
    return origin.note(
        str(item["memory"]),
        rest(item, [*used, "metadata"] if isinstance(own, dict) else used),
        identity=str(item["id"]),
        time=moment(item.get("created_at")) or moment(item.get("updated_at")),
        tags=tags,
        own=own if isinstance(own, dict) else None,
        speaker=item.get("actor_id"),
        role=item.get("role"),
        life=_life(item.get("expiration_date"), origin.now),
    )


def _life(last_day: Json, now: datetime) -> Life | None:
    """Return the life of what mem0 hides from the day after its last one."""
    day = moment(last_day) if isinstance(last_day, str) else None
    if day is None or day.year == 9999:
        return None
    end = day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return ended(end) if end <= now else Life(expires=end)


def _relations(value: Json) -> Iterator[Mapping[str, Json]]:
    """Yield the edges of mem0's graph, of every holder."""
    for holder in value if isinstance(value, list) else [value, *(value.values() if isinstance(value, dict) else [])]:
        found = holder.get("relations") if isinstance(holder, dict) else None
        for item in found if isinstance(found, list) else []:
            if isinstance(item, dict) and all(isinstance(item.get(end), str) for end in _ENDS):
                yield item


def _relation(item: Mapping[str, Json], origin: Origin) -> Note:
    text = " ".join(str(item[end]) for end in _ENDS)
    return origin.note(text, {"relation": dict(item)}, identity=f"relation:{text}", tags=("relation",))


MEM0: Final = Dump("mem0", _matches, _read)
"""A list of memories, or an object with ``results`` and perhaps ``relations``, or several of these."""
