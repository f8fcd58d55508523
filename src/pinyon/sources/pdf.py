"""PDF, page by page."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any, ClassVar

from ..core.clock import instant
from ..core.experience import Document, Experience
from ..core.payload import Json, clean
from ..errors import UnreadableSource
from ._draft import Draft, stem
from .base import STANDARD, Limits

__all__ = ["Pdf"]

_SILENT = logging.NullHandler()
_GAP = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")


@dataclass(frozen=True, slots=True)
class Pdf:
    """Read the text layer of a PDF: paragraphs with their page, page breaks between them.

    Pages without text (scans) are named in the metadata; a file of such pages only is refused.
    """

    limits: Limits = STANDARD
    name: ClassVar[str] = "PDF"
    suffixes: ClassVar[frozenset[str]] = frozenset({".pdf"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return one document."""
        reader = self._open(data, name)
        draft = Draft()
        silent: list[Json] = []
        for number, page in enumerate(reader.pages, 1):
            if number > 1:
                draft.break_page(number)
            paragraphs = list(_paragraphs(page.extract_text() or ""))
            if not paragraphs:
                silent.append(number)
            for paragraph in paragraphs:
                draft.add("paragraph", paragraph, page=number)
        if draft.is_empty:
            raise UnreadableSource(
                f"{name!r} holds pictures of pages, no text", hint="run OCR on it first, for example with ocrmypdf"
            )
        told = _told(reader)
        return [
            Document(
                draft.text,
                source=name,
                title=told.get("title") or stem(name),
                blocks=draft.blocks,
                time=_created(reader),
                metadata={key: value for key, value in told.items() if key != "title"}
                | ({"pages_without_text": silent} if silent else {}),
            )
        ]

    def _open(self, data: bytes, name: str) -> Any:
        pypdf = importlib.import_module("pypdf")  # slow to import, seldom needed
        logging.getLogger("pypdf").addHandler(_SILENT)  # else its complaints stand on stderr before our sentence
        reader = pypdf.PdfReader(BytesIO(data))
        if reader.is_encrypted and not self._is_opened(reader, pypdf):
            raise UnreadableSource(f"{name!r} is encrypted", hint="save it without a password")
        pages = len(reader.pages)
        if pages > self.limits.max_pages:
            raise UnreadableSource(
                f"{name!r} has {pages} pages, more than {self.limits.max_pages}", hint="raise Limits.max_pages"
            )
        return reader

    def _is_opened(self, reader: Any, pypdf: Any) -> bool:
        """Return whether the empty password opens it, as it does when only printing or copying is locked."""
        try:
            return bool(reader.decrypt(""))
        except (pypdf.errors.DependencyError, pypdf.errors.PdfReadError, NotImplementedError, ValueError):
            return False


def _paragraphs(text: str) -> Iterator[str]:
    for part in _GAP.split(text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\0", "")):
        if part.strip():
            yield part


def _told(reader: Any) -> dict[str, str]:
    """Return title, author and subject as far as they are given."""
    told: dict[str, str] = {}
    info = reader.metadata
    for key in ("title", "author", "subject"):
        value = getattr(info, key, None)
        if isinstance(value, str) and value.strip():
            told[key] = clean(" ".join(value.replace("\0", "").split()))
    return told


def _created(reader: Any) -> datetime | None:
    try:
        made = getattr(reader.metadata, "creation_date", None)
        return instant(made) if isinstance(made, datetime) else None
    except ValueError:  # a date that pypdf cannot read; the text is worth more than it
        return None
