"""What the readers of dumps share: finding items in whatever holds them, and dressing them as notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ..core.cube import check_tags
from ..core.experience import Experience, Note
from ..core.header import Life
from ..core.payload import Json, clean
from ..core.scope import check_name
from ..errors import BadInput
from ._json import moment

__all__ = ["ROLES", "Dump", "Origin", "ended", "items", "name_or_none", "texts"]

ROLES: Final = {"user": "user", "assistant": "assistant", "system": "system", "tool": "tool", "function": "tool"}
_VECTORS: Final = frozenset(  # numbers of other embedders: long, and of no use here
    {"embedding", "embedding_config", "embeddings", "fact_embedding", "name_embedding", "vector", "vectors"}
)
_EVENTS: Final = ("event_time", "event_date", "timestamp", "time", "date")  # what users call it in their metadata


@dataclass(frozen=True, slots=True)
class Dump:
    """One form in which another memory gives everything it holds.

    Args:
        name: The other memory; the key of its own fields in the metadata.
        matches: Whether a JSON value is all of this form; what is not, stays what it was.
        read: Given the value and where it comes from, returns the experiences in it.
    """

    name: str
    matches: Callable[[Json], bool]
    read: Callable[[Json, Origin], list[Experience]]


def items(value: Json, keys: Sequence[str], *, depth: int = 6) -> Iterator[Json]:
    """Yield the items of a dump: of lists, of objects that hold lists under a key, of objects or lists of these.

    Args:
        value: A JSON value.
        keys: Fields that hold the items.
        depth: Levels of holders.
    """
    if isinstance(value, list) and depth > 0:
        for item in value:
            yield from items(item, keys, depth=depth - 1)
    elif isinstance(value, dict) and depth > 0:
        held = [value[key] for key in keys if isinstance(value.get(key), (list, dict))]
        if not held and value and all(isinstance(inner, list) or _holds(inner, keys) for inner in value.values()):
            held = list(value.values())  # by user, by namespace, by collection
        if held:
            for inner in held:
                yield from items(inner, keys, depth=depth - 1)
        else:
            yield value
    else:
        yield value


def _holds(value: Json, keys: Sequence[str]) -> bool:
    return isinstance(value, dict) and any(isinstance(value.get(key), list) for key in keys)


def ended(at: datetime | None) -> Life:
    """Return the life of what no longer holds: archived, since this moment where it is known."""
    return Life(state="archived", valid_to=at)


def name_or_none(value: Json, what: str) -> str | None:
    """Return a text that can be a name, or None."""
    try:
        return check_name(clean(value), what) if isinstance(value, str) else None
    except BadInput:
        return None


def texts(value: Json) -> tuple[str, ...]:
    """Return those elements of a list that can be tags."""
    found: list[str] = []
    for item in value if isinstance(value, list) else []:
        try:
            found.extend(check_tags([item]))  # type: ignore[list-item]  # it refuses what is no text
        except BadInput:
            continue
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the notes of one dump come from.

    Args:
        system: The other memory.
        source: Name of the file.
        now: When it is read: what has ended by then is over.
    """

    system: str
    source: str
    now: datetime

    def note(
        self,
        text: str,
        said: Mapping[str, Json],
        *,
        identity: str | None = None,
        time: datetime | None = None,
        tags: tuple[str, ...] = (),
        own: Mapping[str, Json] | None = None,
        speaker: Json = None,
        role: Json = None,
        life: Life | None = None,
    ) -> Note:
        """Return one note.

        Args:
            text: Its words.
            said: What else the other memory says of it; kept under its name in the metadata.
            identity: Its id there, where that is unique.
            time: When it happened, or was recorded; a moment of an event in `own` comes first.
            tags: Its labels.
            own: The user's metadata.
            speaker: Who said it.
            role: The speaker's role in a chat.
            life: How it stands there.
        """
        own = own or {}
        event = next((at for key in _EVENTS if isinstance(own.get(key), str) and (at := moment(own[key]))), None)
        return Note(
            clean(text),
            time=event or time,
            tags=tags,
            metadata=self.metadata(said, own),
            source=self.source,
            speaker=name_or_none(speaker, "speaker"),
            role=ROLES.get(role.lower()) if isinstance(role, str) else None,
            identity=f"{self.system}:{identity}" if identity else None,
            life=life,
        )

    def metadata(self, said: Mapping[str, Json], own: Mapping[str, Json] | None = None) -> dict[str, Json]:
        """Return the user's metadata, and what the other memory said under its name."""
        kept: dict[str, Json] = {
            key: value
            for key, value in said.items()
            if key not in _VECTORS and value is not None and value != [] and value != {}
        }
        if own and self.system in own:
            return {self.system: {**kept, "metadata": dict(own)}}
        return {**(own or {}), self.system: kept}
