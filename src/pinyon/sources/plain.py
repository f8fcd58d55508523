"""Plain text."""

from __future__ import annotations

from typing import ClassVar

from ..core.experience import Document, Experience
from ._decode import decode
from ._draft import stem

__all__ = ["PlainText"]


class PlainText:
    """Read text as it stands; paragraphs are left to blank lines."""

    name: ClassVar[str] = "text"
    suffixes: ClassVar[frozenset[str]] = frozenset(
        {".txt", ".text", ".log", ".rst", ".adoc", ".asciidoc", ".org", ".tex", ".srt", ".vtt", ".eml"}
    )

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return one document whose text is the whole file."""
        return [Document(decode(data, name), source=name, title=stem(name))]
