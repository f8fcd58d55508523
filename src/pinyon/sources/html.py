"""Web pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..core.experience import Document, Experience
from ..core.payload import Json, clean
from ..errors import UnreadableSource
from ._decode import decode
from ._draft import Draft, stem
from ._json import moment
from ._markup import extract
from .base import STANDARD, Limits

__all__ = ["Html"]


@dataclass(frozen=True, slots=True)
class Html:
    """Read a web page: its words in order, without scripts, styles and navigation; tables as Markdown."""

    limits: Limits = STANDARD
    name: ClassVar[str] = "HTML page"
    suffixes: ClassVar[frozenset[str]] = frozenset({".html", ".htm", ".xhtml", ".xht"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return one document."""
        draft = Draft()
        head = extract(decode(data, name, is_markup=True), draft, name=name, limits=self.limits)
        if draft.is_empty:
            raise UnreadableSource(
                f"{name!r} is empty: the page holds no words", hint="save it from a browser, after its scripts have run"
            )
        metadata: dict[str, Json] = {"language": head.language} if head.language else {}
        for key in ("author", "description"):
            if key in head.meta:
                metadata[key] = clean(head.meta[key])
        return [
            Document(
                draft.text,
                source=name,
                title=draft.first_heading or clean(head.title or "") or stem(name),
                blocks=draft.blocks,
                time=moment(head.meta.get("article:published_time")),
                metadata=metadata,
            )
        ]
