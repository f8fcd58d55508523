"""What Letta gives: agent files, older and later ones, and lists of archival passages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeGuard

from ..core.experience import Conversation, Experience, Turn
from ..core.payload import Json, canonical, clean
from ._dump import ROLES, Dump, Origin, items, name_or_none, texts
from ._json import first_text, moment, rest

__all__ = ["LETTA", "LETTA_PASSAGES"]

_ROLES: Final = {role: name for role, name in ROLES.items() if name != "system"}  # prompts, with the blocks in them
_LOCAL_ID: Final = re.compile(r"[a-z]+-\d+")  # numbers within one file; outside it they mean nothing
_PASSAGE: Final = re.compile(r"passage-[0-9a-f-]+")
_PASSAGES: Final = ("passages", "archival_memory")


def _matches(value: Json) -> bool:
    return isinstance(value, dict) and (_is_later(value) or _is_earlier(value))


def _is_later(value: Mapping[str, Json]) -> bool:
    agents, blocks = value.get("agents"), value.get("blocks")
    return isinstance(agents, list) and isinstance(blocks, list) and bool(agents) and all(map(_is_agent, agents))


def _is_agent(item: Json) -> bool:
    return isinstance(item, dict) and isinstance(item.get("messages"), list) and "agent_type" in item


def _is_earlier(value: Mapping[str, Json]) -> bool:
    return isinstance(value.get("core_memory"), list) and _is_agent(dict(value))


def _read(value: Json, origin: Origin) -> list[Experience]:
    file = _object(value)
    later = _is_later(file)
    agents = [_object(agent) for agent in _list(file, "agents")] if later else [file]
    found: list[Experience] = []
    for block in _list(file, "blocks") if later else _list(file, "core_memory"):
        found.extend(_block(_object(block), agents, origin))
    for passage in items(value, _PASSAGES):
        if _is_passage(passage):
            found.append(_passage(passage, origin))
    for entry in _list(file, "files"):
        found.extend(_file(_object(entry), origin))
    for agent in agents:
        found.extend(_talk(agent, origin))
    return found


def _block(block: Mapping[str, Json], agents: list[Mapping[str, Json]], origin: Origin) -> Iterator[Experience]:
    text = block.get("value")
    if isinstance(text, str) and text.strip():
        holders: list[Json] = [agent.get("name") for agent in agents if block.get("id") in _list(agent, "block_ids")]
        holders = holders or [agent.get("name") for agent in agents]
        identity = _identity(block) or canonical(["block", holders, block.get("label")])
        time = moment(block.get("updated_at")) or moment(block.get("created_at"))
        said = {**rest(block, ("value",)), "agents": holders}
        yield origin.note(text, said, identity=identity, time=time, tags=texts([block.get("label")]))


def _file(entry: Mapping[str, Json], origin: Origin) -> Iterator[Experience]:
    text = entry.get("content")
    if isinstance(text, str) and text.strip():
        time = moment(entry.get("file_creation_date"))
        identity = _identity(entry) or canonical(["file", entry.get("file_name")])
        yield origin.note(text, rest(entry, ("content",)), identity=identity, time=time)


def _identity(item: Mapping[str, Json]) -> str | None:
    identity = item.get("id")
    return identity if isinstance(identity, str) and identity and not _LOCAL_ID.fullmatch(identity) else None


def _talk(agent: Mapping[str, Json], origin: Origin) -> Iterator[Experience]:
    """Yield the messages of an agent as one conversation, without its prompts and what the machinery told it."""
    turns: list[Turn] = []
    spoken: set[str] = set()  # ids of the calls by which an agent speaks
    for entry in _list(agent, "messages"):
        message = _object(entry)
        role = _ROLES.get(str(message.get("role")))
        calls = [_object(call) for call in _list(message, "tool_calls")]
        speech = [said for call in calls if (said := _speech(call)) is not None]
        spoken.update(str(call.get("id")) for call in calls if _speech(call) is not None)
        is_receipt = role == "tool" and str(message.get("tool_call_id")) in spoken
        text = "\n".join(speech) if speech else _heard("\n".join(_words(message)))
        if role and text.strip() and not is_receipt:
            kept = origin.metadata(rest(message, ("content", "text", "role", "tool_calls", "tool_returns", "name")))
            speaker = name_or_none(message.get("name"), "speaker") if role == "user" else None
            turns.append(Turn(clean(text), speaker, role, moment(message.get("created_at")), kept))
    if turns:
        session = name_or_none(agent.get("name"), "session") or name_or_none(agent.get("id"), "session")
        yield Conversation(tuple(turns), session=session, title=first_text(agent, ("name",)), source=origin.source)


def _words(message: Mapping[str, Json]) -> Iterator[str]:
    for field in ("content", "text"):
        held = message.get(field)
        if isinstance(held, str):
            yield held
        for part in held if isinstance(held, list) else []:
            words = _object(part).get("text")
            if isinstance(words, str) and _object(part).get("type", "text") == "text":
                yield words


def _heard(text: str) -> str:
    """Return what a person said in the envelope that older agents got it in; nothing of heartbeats and log-ins."""
    if not text.lstrip().startswith("{"):
        return text
    envelope = _json(text)
    if not isinstance(envelope.get("type"), str):
        return text
    said = envelope.get("message")
    return said if envelope["type"] == "user_message" and isinstance(said, str) else ""


def _speech(call: Mapping[str, Json]) -> str | None:
    """Return the words of a call by which an older agent speaks, None for any other call."""
    function = _object(call.get("function"))
    if function.get("name") != "send_message":
        return None
    said = _json(str(function.get("arguments"))).get("message")
    return said if isinstance(said, str) else None


def _json(text: str) -> Mapping[str, Json]:
    try:
        return _object(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _is_passage(item: Json) -> TypeGuard[dict[str, Json]]:
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        return False
    return isinstance(item.get("id"), str) and _PASSAGE.fullmatch(str(item["id"])) is not None


def _are_passages(value: Json) -> bool:
    found = False
    for item in items(value, _PASSAGES):
        if not _is_passage(item):
            return False
        found = True
    return found


def _read_passages(value: Json, origin: Origin) -> list[Experience]:
    found = [item for item in items(value, _PASSAGES) if _is_passage(item)]
    return [_passage(item, origin) for item in found if str(item["text"]).strip()]


def _passage(item: Mapping[str, Json], origin: Origin) -> Experience:
    own = item.get("metadata")
    return origin.note(
        str(item["text"]),
        rest(item, ("text", "tags", "metadata") if isinstance(own, dict) else ("text", "tags")),
        identity=_identity(item),
        time=moment(item.get("created_at")),
        tags=texts(item.get("tags")),
        own=own if isinstance(own, dict) else None,
    )


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(holder: Mapping[str, Json], key: str) -> list[Json]:
    value = holder.get(key)
    return value if isinstance(value, list) else []


LETTA: Final = Dump("letta", _matches, _read)
"""An agent file: blocks, files and messages."""

LETTA_PASSAGES: Final = Dump("letta", _are_passages, _read_passages)
"""Archival memory, as its passages are listed."""
