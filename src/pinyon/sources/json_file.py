"""JSON files: messages, memories, exports of chat services, dumps of other memories, or data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..core.clock import Clock, SystemClock
from ..core.experience import Document, Experience
from ..core.payload import Json
from ..errors import UnreadableSource
from ._decode import decode
from ._draft import stem
from ._dump import Origin
from ._export import conversations, is_export
from ._json import loads
from ._records import experiences, is_dialogue
from .base import STANDARD, Found, Limits
from .chat import is_message
from .dumps import dump_of
from .json_lines import JsonLines

__all__ = ["JsonFile"]


@dataclass(frozen=True, slots=True)
class JsonFile:
    """Read a JSON file by its shape.

    A list of chat messages becomes a conversation, a list of objects notes, the export of ChatGPT or Claude its
    conversations, the dump of another memory its memories; several values in lines are read as JSON lines; anything
    else is one document of format ``json``.
    """

    limits: Limits = STANDARD
    clock: Clock = field(default_factory=SystemClock)
    name: ClassVar[str] = "JSON file"
    suffixes: ClassVar[frozenset[str]] = frozenset({".json", ".geojson", ".webmanifest", ".ipynb", ".af"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return what the file holds."""
        return self.look(data, name).experiences

    def look(self, data: bytes, name: str) -> Found:
        """Return what the file holds, and whose form it has."""
        text = decode(data, name)
        try:
            value = loads(text.strip(), max_depth=self.limits.max_depth)
        except ValueError as error:
            if self._is_lines(text):
                return JsonLines(self.limits, self.clock).look(data, name)
            raise UnreadableSource(
                f"{name!r} is broken JSON: {str(error)[:120]}", hint="check it with a JSON validator"
            ) from error
        value = self._unwrapped(value)
        dump = dump_of(value)
        if dump is not None:
            return Found(dump.name, dump.read(value, Origin(dump.name, name, self.clock.now())))
        return Found("chat export" if is_export(value) else self.name, _read(value, text, name))

    def _unwrapped(self, value: Json) -> Json:
        """Return the dump in a text, for those who write as JSON what is JSON already; anything else as it is."""
        try:
            inner = loads(value.strip(), max_depth=self.limits.max_depth) if isinstance(value, str) else None
        except ValueError:
            return value
        return value if inner is None or dump_of(inner) is None else inner

    def _is_lines(self, text: str) -> bool:
        lines = [line for line in text.strip().split("\n", 2)[:2] if line.strip()]
        try:
            return len(lines) == 2 and isinstance(loads(lines[0], max_depth=self.limits.max_depth), dict)
        except ValueError:
            return False


def _read(value: Json, text: str, name: str) -> list[Experience]:
    if value is None or value in ("", [], {}):
        raise UnreadableSource(f"{name!r} is empty: it holds only {value!r}", hint="there is nothing to remember in it")
    if is_export(value):
        return conversations(value, name)
    if isinstance(value, list) and all(isinstance(item, dict) and item for item in value):
        return experiences(((f"item {index}", item) for index, item in enumerate(value)), name)
    if is_message(value) or is_dialogue(value):
        return experiences([("its object", value)], name)
    return [Document(text, source=name, title=stem(name), format="json")]
