"""The exports of ChatGPT and Claude."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ..core.experience import Conversation, Experience, Turn
from ..core.payload import Json
from ..errors import UnreadableSource
from ._json import first_text, moment

__all__ = ["conversations", "is_export"]

_ROLES: Final = {"user": "user", "assistant": "assistant", "tool": "tool", "human": "user"}  # "system" is not shown


def is_export(value: Json) -> bool:
    """Return whether a JSON value is an export of ChatGPT or Claude, or one conversation of it."""
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, dict) and (_is_chatgpt(item) or _is_claude(item)) for item in items)


def conversations(value: Json, name: str) -> list[Experience]:
    """Return the conversations of an export; those without words are passed over.

    Args:
        value: What `is_export` said yes to.
        name: The source.

    Raises:
        UnreadableSource: No conversation holds words.
    """
    found: list[Experience] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            turns = tuple(_chatgpt(item) if _is_chatgpt(item) else _claude(item))
            if turns:
                found.append(_conversation(item, turns, name))
    if not found:
        raise UnreadableSource(f"{name!r} is empty: none of its conversations holds words", hint="export it again")
    return found


def _conversation(item: Mapping[str, Json], turns: tuple[Turn, ...], name: str) -> Conversation:
    return Conversation(
        turns,
        session=first_text(item, ("conversation_id", "id", "uuid")),
        title=first_text(item, ("title", "name")),
        source=name,
    )


def _is_chatgpt(item: Mapping[str, Json]) -> bool:
    return isinstance(item.get("mapping"), dict)


def _is_claude(item: Mapping[str, Json]) -> bool:
    return isinstance(item.get("chat_messages"), list)


def _chatgpt(item: Mapping[str, Json]) -> Iterator[Turn]:
    """Yield the shown branch, oldest first: from the current node up through its parents."""
    mapping = _object(item.get("mapping"))
    branch: list[Mapping[str, Json]] = []
    seen: set[str] = set()
    place = item.get("current_node")
    if not isinstance(place, str) or place not in mapping:
        place = _newest_leaf(mapping)
    while isinstance(place, str) and place in mapping and place not in seen:
        seen.add(place)
        node = _object(mapping[place])
        branch.append(_object(node.get("message")))
        place = node.get("parent")
    for message in reversed(branch):
        role = _ROLES.get(str(_object(message.get("author")).get("role")))
        hidden = _object(message.get("metadata")).get("is_visually_hidden_from_conversation")
        text = "\n".join(_chatgpt_parts(_object(message.get("content"))))
        if role and hidden is not True and text.strip():
            yield Turn(text, role=role, time=moment(message.get("create_time")), metadata=_identity(message, "id"))


def _newest_leaf(mapping: Mapping[str, Json]) -> str | None:
    """Return the latest node without children, for exports that name no current one."""
    leaves = [key for key, node in mapping.items() if not _object(node).get("children")]

    def age(key: str) -> float:
        made = _object(_object(mapping[key]).get("message")).get("create_time")
        return float(made) if isinstance(made, (int, float)) else 0.0

    return max(leaves, key=age, default=None)


def _chatgpt_parts(content: Mapping[str, Json]) -> Iterator[str]:
    parts = content.get("parts")
    if not isinstance(parts, list):  # code and its output; thoughts and settings have neither field
        parts = [content.get("text")]
    for part in parts:
        if isinstance(part, str):
            if part.strip():
                yield part
        elif isinstance(part, dict):
            words = part.get("text")
            sort = str(part.get("content_type", ""))
            if isinstance(words, str) and words.strip():
                yield words
            elif sort.startswith("image"):
                yield "[image]"
            elif "audio" in sort or "video" in sort:
                yield "[audio]" if "audio" in sort else "[video]"


def _claude(item: Mapping[str, Json]) -> Iterator[Turn]:
    said = item.get("chat_messages")
    for entry in said if isinstance(said, list) else []:
        message = _object(entry)
        role = _ROLES.get(str(message.get("sender")))
        text = "\n".join(_claude_parts(message))
        if role and text.strip():
            yield Turn(text, role=role, time=moment(message.get("created_at")), metadata=_identity(message, "uuid"))


def _claude_parts(message: Mapping[str, Json]) -> Iterator[str]:
    """Yield the words of the content (thoughts and tools aside), else the text; then the files with their words."""
    content = message.get("content")
    words = [
        str(part["text"])
        for part in (content if isinstance(content, list) else [])
        if isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)
    ]
    text = message.get("text")
    yield from [word for word in words if word.strip()] or ([text] if isinstance(text, str) and text.strip() else [])
    for key in ("attachments", "files"):
        held = message.get(key)
        for entry in held if isinstance(held, list) else []:
            file = _object(entry)
            label = f"[file {first_text(file, ('file_name',)) or 'unnamed'}]"
            yield "\n".join(part for part in (label, first_text(file, ("extracted_content",))) if part)


def _identity(message: Mapping[str, Json], key: str) -> dict[str, Json]:
    identity = message.get(key)
    return {"id": identity} if isinstance(identity, str) else {}


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
