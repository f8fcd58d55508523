"""What MemOS gives: the dumps of its text memories, graphs, and `MOS.get_all`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

from ..core.experience import Experience, Note
from ..core.payload import Json
from ..errors import UnreadableSource
from ._dump import Dump, Origin, ended, items, texts
from ._json import moment, rest

__all__ = ["MEMOS", "MEMOS_SETTINGS"]

_HOLDERS: Final = ("nodes", "memories", "text_mem", "pref_mem")
_MARKS: Final = frozenset({"status", "memory_type", "working_binding", "evolve_to", "preference_type"})
_GONE: Final = ("archived", "deleted")
_TIMES: Final = ("event_time", "memory_time", "created_at", "updated_at")
_PARTS: Final = frozenset({"text_mem", "act_mem", "para_mem", "pref_mem"})


def _is_item(item: Json) -> TypeGuard[dict[str, Json]]:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not isinstance(item.get("memory"), str):
        return False
    about = item.get("metadata")
    return isinstance(about, dict) and not _MARKS.isdisjoint(about)


def _found(value: Json) -> Iterator[Json]:
    """Yield the memories; those of a vector store lie in the payload of their point."""
    for item in items(value, _HOLDERS):
        yield item["payload"] if isinstance(item, dict) and "payload" in item and "memory" not in item else item


def _matches(value: Json) -> bool:
    found = False
    for item in _found(value):
        if not _is_item(item):
            return False
        found = True
    return found


def _read(value: Json, origin: Origin) -> list[Experience]:
    found = [item for item in _found(value) if _is_item(item)]
    edges = _edges(value)
    known = {str(item["id"]) for item in found}
    notes: list[Experience] = []
    for item in found:
        notes.extend(_past(item, known, origin))
        if str(item["memory"]).strip():
            notes.append(_note(item, edges.get(str(item["id"]), []), origin))
    return notes


def _note(item: Mapping[str, Json], edges: list[Json], origin: Origin) -> Note:
    about = _object(item["metadata"])
    tags = texts(about.get("tags"))
    is_gone = about.get("status") in _GONE
    said = rest(about, ("tags",) if about.get("tags") == list(tags) else ())
    role, sources = None, about.get("sources")
    if isinstance(sources, list) and len(sources) == 1:
        role = _object(sources[0]).get("role")
    return origin.note(
        str(item["memory"]),
        {"id": item["id"], **said, "edges": edges},
        identity=str(item["id"]),
        time=next((at for key in _TIMES if (at := moment(about.get(key)))), None),
        tags=tags,
        role=role,
        life=ended(moment(about.get("updated_at"))) if is_gone else None,
    )


def _past(item: Mapping[str, Json], known: set[str], origin: Origin) -> Iterator[Note]:
    """Yield what a memory said before; versions that are memories of their own are read as these."""
    about = _object(item["metadata"])
    history = about.get("history")
    for entry in history if isinstance(history, list) else []:
        version = _object(entry)
        text = version.get("memory")
        is_other = text != item["memory"] and str(version.get("archived_memory_id")) not in known
        if isinstance(text, str) and text.strip() and is_other:
            yield origin.note(
                text,
                {"id": item["id"], **rest(version, ("memory",))},
                identity=str(item["id"]),
                time=moment(version.get("created_at")),
                life=ended(None),
            )


def _edges(value: Json) -> dict[str, list[Json]]:
    """Return the edges of a graph by the node they leave."""
    found: dict[str, list[Json]] = {}
    held = value.get("edges") if isinstance(value, dict) else None
    for entry in held if isinstance(held, list) else []:
        edge = _object(entry)
        if isinstance(edge.get("source"), str):
            found.setdefault(str(edge["source"]), []).append(rest(edge, ("source",)))
    return found


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _is_settings(value: Json) -> bool:
    return (
        isinstance(value, dict)
        and {"config_filename", "text_mem"} <= value.keys()
        and all(isinstance(value[part], dict) and "backend" in _object(value[part]) for part in _PARTS & value.keys())
    )


def _refuse(_: Json, origin: Origin) -> list[Experience]:
    raise UnreadableSource(
        f"{origin.source!r} holds the settings of a MemOS cube and no memories",
        hint="its textual_memory.json holds them",
    )


MEMOS: Final = Dump("memos", _matches, _read)
"""A list of memories or of points that hold them, a graph of nodes and edges, or what a cube of it gives."""

MEMOS_SETTINGS: Final = Dump("memos", _is_settings, _refuse)
"""The file beside a dump that says how its stores are reached, perhaps with keys: never remembered."""
