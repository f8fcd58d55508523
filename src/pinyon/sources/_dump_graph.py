"""What Zep and Graphiti give: facts with their times, summaries of nodes, episodes, messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from ..core.experience import Conversation, Experience, Note, Turn
from ..core.header import Life
from ..core.payload import Json, clean
from ._dump import ROLES, Dump, Origin, ended, name_or_none
from ._json import first_text, moment, rest

__all__ = ["GRAPHITI", "ZEP"]

_HOLDERS: Final = ("edges", "facts", "relevant_facts", "nodes", "episodes", "threads", "sessions", "messages")
_EPISODE_MARKS: Final = frozenset(
    {"source_description", "entity_edges", "processed", "role_type", "thread_id", "session_id"}
)
_SESSIONS: Final = ("session_id", "thread_id", "uuid", "id")
_Item = Mapping[str, Json]


def _sort(item: Json) -> str | None:
    """Return what an item is: a fact, node, episode, message or thread; None for anything else."""
    if not isinstance(item, dict):
        return None
    if isinstance(item.get("messages"), list):
        return "thread" if _is_thread(item) else None
    if isinstance(item.get("role_type"), str) and isinstance(item.get("content"), str) and "source" not in item:
        return "message"
    if not isinstance(item.get("uuid"), str):
        return None
    if isinstance(item.get("fact"), str):
        return "fact"
    if isinstance(item.get("content"), str):
        return "episode" if not _EPISODE_MARKS.isdisjoint(item) else None
    is_node = isinstance(item.get("name"), str) and isinstance(item.get("summary"), str)
    return "node" if is_node and ("labels" in item or "group_id" in item) else None


def _is_thread(item: _Item) -> bool:
    held = item["messages"]
    said = held if isinstance(held, list) else []
    return bool(said) and all(_sort(message) == "message" for message in said)


def _found(value: Json) -> Iterator[Json]:
    """Yield the items of a list, of an object that holds lists of them, or the one that an object is."""
    if isinstance(value, list):
        for item in value:
            yield from _found(item) if isinstance(item, dict) and _sort(item) is None else [item]
    elif isinstance(value, dict) and _sort(value) is None:
        held = [value[key] for key in _HOLDERS if isinstance(value.get(key), list)]
        for inner in held:
            yield from inner if isinstance(inner, list) else []
        if not held:
            yield value
    else:
        yield value


def _matcher(is_graphiti: bool) -> Callable[[Json], bool]:
    def matches(value: Json) -> bool:
        found = has_group = False
        for item in _found(value):
            if not isinstance(item, dict) or _sort(item) is None:
                return False
            found, has_group = True, has_group or "group_id" in item
        return found and has_group == is_graphiti

    return matches


def _read(value: Json, origin: Origin) -> list[Experience]:
    found = [item for item in _found(value) if isinstance(item, dict)]
    experiences: list[Experience] = []
    loose: list[_Item] = []
    for item in found:
        match _sort(item):
            case "fact" if str(item["fact"]).strip():
                experiences.append(_fact(item, origin))
            case "node" if str(item["summary"]).strip():
                experiences.append(_node(item, origin))
            case "episode" if str(item["content"]).strip():
                experiences.append(_episode(item, origin))
            case "thread":
                held = item["messages"]
                said = [m for m in held if isinstance(m, dict)] if isinstance(held, list) else []
                experiences.extend(_talk(said, item, origin))
            case "message":
                loose.append(item)
    return [*experiences, *_talk(loose, _holder(value), origin)]


def _holder(value: Json) -> _Item:
    return value if isinstance(value, dict) else {}


def _fact(item: _Item, origin: Origin) -> Note:
    return origin.note(
        str(item["fact"]),
        rest(item, ("fact", "attributes")),
        identity=str(item["uuid"]),
        time=_first(item, ("valid_at", "reference_time", "created_at")),
        own=_attributes(item),
        life=_life(item, origin.now),
    )


def _life(item: _Item, now: datetime) -> Life | None:
    """Return the life of a fact: over once it has ceased to be true, or was superseded by another."""
    end = moment(item.get("invalid_at"))
    superseded = moment(item.get("expired_at"))
    if end is None:
        return None if superseded is None else ended(superseded)
    return ended(end) if end <= now else Life(valid_to=end)


def _node(item: _Item, origin: Origin) -> Note:
    summary, name = str(item["summary"]), str(item["name"])
    text = summary if name in summary or not name.strip() else f"{name}: {summary}"
    said = rest(item, ("summary", "attributes"))
    time = moment(item.get("created_at"))
    return origin.note(text, said, identity=str(item["uuid"]), time=time, tags=("summary",), own=_attributes(item))


def _episode(item: _Item, origin: Origin) -> Note:
    own = item.get("metadata")
    return origin.note(
        str(item["content"]),
        rest(item, ("content", "metadata") if isinstance(own, dict) else ("content",)),
        identity=str(item["uuid"]),
        time=_first(item, ("valid_at", "created_at")),
        own=own if isinstance(own, dict) else None,
        speaker=item.get("role"),
        role=item.get("role_type"),
    )


def _talk(said: Sequence[_Item], holder: _Item, origin: Origin) -> list[Experience]:
    """Return the messages of a thread as a conversation, or nothing when none holds words."""
    turns = tuple(
        Turn(
            clean(str(item["content"])),
            speaker=name_or_none(item.get("role"), "speaker"),
            role=ROLES.get(str(item["role_type"]).lower()),
            time=moment(item.get("created_at")),
            metadata=origin.metadata(rest(item, ("content", "role", "role_type"))),
        )
        for item in said
        if str(item["content"]).strip()
    )
    if not turns:
        return []
    session = name_or_none(first_text(holder, _SESSIONS), "session")
    return [Conversation(turns, session=session, source=origin.source)]


def _first(item: _Item, keys: tuple[str, ...]) -> datetime | None:
    return next((at for key in keys if (at := moment(item.get(key))) is not None), None)


def _attributes(item: _Item) -> _Item | None:
    value = item.get("attributes")
    return value if isinstance(value, dict) else None


ZEP: Final = Dump("zep", _matcher(False), _read)
"""Edges, nodes and episodes of a graph, messages of threads; lists of them, or an object with several."""

GRAPHITI: Final = Dump("graphiti", _matcher(True), _read)
"""The same with ``group_id``."""
