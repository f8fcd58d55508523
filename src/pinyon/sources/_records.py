"""Objects from JSON files to notes and conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..core.experience import Conversation, Experience, Note, Turn
from ..core.payload import Json, canonical
from ..errors import BadInput, UnreadableSource
from ._json import first_text, moment, rest
from .chat import TIME_KEYS, is_message, session_of, turn

__all__ = ["experiences", "is_dialogue"]

_TEXT_KEYS: Final = ("text", "content", "memory")
_NOTE_TIMES: Final = (*TIME_KEYS, "date")
_TITLES: Final = ("title", "name")


def is_dialogue(value: Json) -> bool:
    """Return whether an object holds a list of chat messages, as training data and many exports do."""
    found = value.get("messages") if isinstance(value, dict) else None
    return isinstance(found, list) and bool(found) and all(is_message(item) for item in found)


def experiences(records: Iterable[tuple[str, Json]], name: str) -> list[Experience]:
    """Return records as experiences, in their order.

    Messages in a row become one conversation; those that name a session gather in the conversation of that session,
    which stands where its first message stood. An object with text, content or memory becomes a note with the rest
    as metadata, any other object a note of its canonical JSON.

    Args:
        records: Each with what to call it in an error, such as ``line 3``.
        name: The source.

    Raises:
        UnreadableSource: A record is neither object nor text, or a broken message.
    """
    found: list[Experience | list[Turn]] = []
    sessions: dict[int, str | None] = {}  # position in `found`: session
    places: dict[str, int] = {}
    run: int | None = None
    for where, record in records:
        if not is_message(record):
            run = None
            found.append(_single(record, where, name))
            continue
        session = session_of(record)
        place = run if session is None else places.get(session)
        if place is None:
            place = len(found)
            found.append([])
            sessions[place] = session
        if session is not None:
            places[session] = place
        run = place if session is None else None
        said = _turn(record, where, name)
        turns = found[place]
        if said is not None and isinstance(turns, list):
            turns.append(said)
    return [
        Conversation(tuple(item), session=sessions[place], source=name) if isinstance(item, list) else item
        for place, item in enumerate(found)
        if item != []
    ]


def _turn(record: Mapping[str, object], where: str, name: str) -> Turn | None:
    try:
        return turn(record, where)
    except BadInput as error:
        raise UnreadableSource(f"{name!r} cannot be used: {error.message}", hint=error.hint) from error


def _single(record: Json, where: str, name: str) -> Experience:
    if isinstance(record, str) and record.strip():
        return Note(record, source=name)
    if not isinstance(record, dict) or not record:
        raise UnreadableSource(
            f"{name!r} cannot be used: {where} is {str(record)[:60]!r}, expected an object or text",
            hint="write one object a line, for example with the field text",
        )
    if is_dialogue(record):
        return _dialogue(record, where, name)
    return _note(record, name)


def _dialogue(record: Mapping[str, Json], where: str, name: str) -> Experience:
    said = record["messages"]
    items = said if isinstance(said, list) else []
    turns = [
        _turn(item, f"message {index} of {where}", name) for index, item in enumerate(items) if isinstance(item, dict)
    ]
    return Conversation(
        tuple(turn for turn in turns if turn is not None),
        session=first_text(record, ("id",)) or session_of(record),
        title=first_text(record, _TITLES),
        source=name,
        metadata=rest(record, ("messages",)),
    )


def _note(record: Mapping[str, Json], name: str) -> Note:
    key = next((key for key in _TEXT_KEYS if isinstance(record.get(key), str) and str(record[key]).strip()), None)
    time_key = next((key for key in _NOTE_TIMES if moment(record.get(key)) is not None), None)
    tags = record.get("tags")
    labels = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    used = [
        used
        for used in (key, time_key, "tags" if isinstance(tags, list) and len(labels) == len(tags) else None)
        if used
    ]
    return Note(
        str(record[key]) if key else canonical(record),
        time=moment(record[time_key]) if time_key else None,
        tags=labels if "tags" in used else (),
        metadata=rest(record, used) if key else {},
        source=name,
    )
