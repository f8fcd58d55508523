"""Chat messages, as they are given to an API of a language model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeGuard

from ..core.clock import instant
from ..core.experience import Conversation, Turn
from ..core.payload import Json, canonical, clean
from ..errors import BadInput
from ._json import first_text, loads
from .base import STANDARD

__all__ = ["TIME_KEYS", "is_message", "messages", "session_of", "turn"]

TIME_KEYS: Final = ("time", "timestamp", "created_at")
SESSION_KEYS: Final = ("session", "session_id", "conversation_id", "thread_id")
_ROLES: Final = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "developer": "system",  # OpenAI's later word for it
    "function": "tool",  # its earlier word
    "human": "user",
    "ai": "assistant",
    "model": "assistant",  # Gemini
}
_USED = frozenset({"role", "content", "name", "tool_calls", "function_call", *TIME_KEYS, *SESSION_KEYS})
_SILENT = frozenset({"thinking", "redacted_thinking", "reasoning"})  # parts that were never said
_PICTURES = frozenset({"image", "image_url", "input_image", "image_file"})
_SOUNDS = frozenset({"audio", "input_audio", "output_audio"})


def messages(items: Sequence[Mapping[str, object]], *, session: str | None = None) -> Conversation:
    """Return chat messages as a conversation.

    For callers that hold what they sent to a model. Messages without words are passed over.

    Args:
        items: Each with ``role`` and ``content`` (text, a list of parts, or None beside ``tool_calls``), and perhaps
            ``name`` (the speaker) and ``time``, ``timestamp`` or ``created_at``; other fields become metadata.
        session: Name of the session, or None.

    Raises:
        BadInput: A message has another shape; the sentence names its index and what was expected.

    Example:
        >>> messages([{"role": "user", "content": "I moved to Oslo.", "name": "Ana"}]).turns[0].speaker
        'Ana'
    """
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Sequence):
        raise BadInput(f"expected a list of messages, got {type(items).__name__}")
    turns = tuple(said for index, item in enumerate(items) if (said := turn(item, f"message {index}")) is not None)
    if not turns:
        raise BadInput("expected at least one message with words, got none")
    return Conversation(turns, session=session)


def is_message(item: object) -> TypeGuard[Mapping[str, object]]:
    """Return whether an object has the fields of a chat message and a role that is known."""
    return (
        isinstance(item, Mapping)
        and isinstance(item.get("role"), str)
        and str(item["role"]).lower() in _ROLES
        and ("content" in item or "tool_calls" in item or "function_call" in item)
    )


def session_of(item: Mapping[str, object]) -> str | None:
    """Return the session that a message names, or None."""
    return first_text(item, SESSION_KEYS)


def turn(item: object, where: str) -> Turn | None:
    """Return one message as a turn, or None when it holds no words.

    Args:
        item: The message.
        where: What to call it in an error.

    Raises:
        BadInput: It has another shape.
    """
    if not isinstance(item, Mapping):
        raise BadInput(f"{where} is a {type(item).__name__}, expected an object with role and content")
    role = item.get("role")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise BadInput(f"{where} has the role {role!r:.100}, expected one of {', '.join(_ROLES)}")
    speaker = item.get("name")
    if speaker is not None and not isinstance(speaker, str):
        raise BadInput(f"{where} has the name {speaker!r:.100}, expected text")
    text = clean("\n".join(part for part in (*_content(item, where), *_calls(item, where)) if part.strip()))
    if not text.strip():
        return None
    return Turn(
        text,
        speaker=clean(speaker) if speaker else None,
        role=_ROLES[role.lower()],
        time=_time(item, where),
        metadata=_metadata(item, where),
    )


def _content(item: Mapping[str, object], where: str) -> Iterator[str]:
    content = item.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, Sequence) and not isinstance(content, bytes):
        for number, part in enumerate(content):
            yield _part(part, f"part {number} of {where}")
    elif content is not None or not (item.get("tool_calls") or item.get("function_call")):
        raise BadInput(f"{where} has the content {content!r:.100}, expected text, a list of parts, or tool calls")


def _part(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    sort = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(sort, str):
        raise BadInput(f"{where} is {part!r:.100}, expected an object with a type such as text")
    if sort in _SILENT:
        return ""
    if sort in _PICTURES:
        return "[image]"
    if sort in _SOUNDS:
        return "[audio]"
    if sort == "tool_use":
        return _call(part.get("name"), part.get("input"))
    if sort == "tool_result":
        return "\n".join(_content({"content": part.get("content", "") or ""}, where))
    words = part.get("text", part.get("refusal"))
    if isinstance(words, str):
        return words
    if sort == "text":
        raise BadInput(f"{where} has the text {words!r:.100}, expected text")
    return f"[{sort}]"


def _calls(item: Mapping[str, object], where: str) -> Iterator[str]:
    calls = item.get("tool_calls") or []
    if not isinstance(calls, Sequence) or isinstance(calls, (str, bytes)):
        raise BadInput(f"{where} has the tool_calls {calls!r:.100}, expected a list")
    for call in (*calls, *([item["function_call"]] if item.get("function_call") else [])):
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise BadInput(f"{where} has the tool call {call!r:.100}, expected an object with a function")
        yield _call(function.get("name"), function.get("arguments", function.get("args")))


def _call(name: object, arguments: object) -> str:
    given = arguments if isinstance(arguments, str) else "" if arguments is None else _text(arguments)
    return f"[tool call {name if isinstance(name, str) else 'unnamed'}({given})]"


def _text(value: object) -> str:
    try:
        return canonical(value)
    except (TypeError, ValueError, RecursionError):  # objects of a caller; only their words are wanted here
        return str(value)


def _time(item: Mapping[str, object], where: str) -> datetime | None:
    for key in TIME_KEYS:
        value = item.get(key)
        if value is not None:
            try:
                return instant(value)  # type: ignore[arg-type]  # it refuses what is no moment
            except BadInput as error:
                raise BadInput(f"{where} has the {key} {value!r:.100}, which is no moment", hint=error.hint) from error
    return None


def _metadata(item: Mapping[str, object], where: str) -> dict[str, Json]:
    left = {key: value for key, value in item.items() if key not in _USED}
    if not left:
        return {}
    try:
        kept = loads(json.dumps(left), max_depth=STANDARD.max_depth)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{where} has fields that are no JSON: {', '.join(map(str, left))}") from error
    return kept if isinstance(kept, dict) else {}
