"""Zip files in which ChatGPT and Claude deliver their exports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ..core.experience import Experience
from ..errors import UnreadableSource
from ._archive import Archive
from ._decode import decode
from ._export import conversations, is_export
from ._json import loads
from .base import STANDARD, Limits

__all__ = ["ChatArchive"]

_MEMBER = re.compile(r"(?:[^/]+/)?conversations(?:[-_]\d+)?\.json")  # large exports come in numbered parts


@dataclass(frozen=True, slots=True)
class ChatArchive:
    """Read the conversations in an export as it was downloaded."""

    limits: Limits = STANDARD
    name: ClassVar[str] = "chat export"
    suffixes: ClassVar[frozenset[str]] = frozenset({".zip"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return the conversations of all parts."""
        archive = Archive(data, name, self.limits)
        members = sorted(member for member in archive.members if _MEMBER.fullmatch(member))
        if not members:
            raise UnreadableSource(
                f"{name!r} is an archive without conversations.json", hint="unpack it and add the folder"
            )
        found: list[Experience] = []
        for member in members:
            text = decode(archive.read(member), f"{name}: {member}")
            try:
                value = loads(text.strip(), max_depth=self.limits.max_depth)
            except ValueError as error:
                raise UnreadableSource(f"{name!r} is broken: {member} is no JSON", hint="download it again") from error
            if not is_export(value):
                raise UnreadableSource(
                    f"{name!r} is no export of ChatGPT or Claude, although it holds {member}", hint="unpack it first"
                )
            found.extend(conversations(value, name))
        return found
