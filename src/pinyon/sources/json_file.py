"""JSON files: messages, memories, exports of chat services, or data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.experience import Document, Experience
from ..core.payload import Json
from ..errors import UnreadableSource
from ._decode import decode
from ._draft import stem
from ._export import conversations, is_export
from ._json import loads
from ._records import experiences, is_dialogue
from .base import STANDARD, Limits
from .chat import is_message
from .json_lines import JsonLines

__all__ = ["JsonFile"]


@dataclass(frozen=True, slots=True)
class JsonFile:
    """Read a JSON file by its shape.

    A list of chat messages becomes a conversation, a list of objects notes, the export of ChatGPT or Claude its
    conversations; several values in lines are read as JSON lines; anything else is one document of format ``json``.
    """

    limits: Limits = STANDARD
    name: ClassVar[str] = "JSON file"
    suffixes: ClassVar[frozenset[str]] = frozenset({".json", ".geojson", ".webmanifest", ".ipynb"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return what the file holds."""
        text = decode(data, name)
        try:
            value = loads(text.strip(), max_depth=self.limits.max_depth)
        except ValueError as error:
            if self._is_lines(text):
                return JsonLines(self.limits).read(data, name)
            raise UnreadableSource(
                f"{name!r} is broken JSON: {str(error)[:120]}", hint="check it with a JSON validator"
            ) from error
        return _read(value, text, name)

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
