"""Documents of word processors (.docx)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..core.experience import BlockKind, Document, Experience
from ..core.payload import Json, clean
from ..errors import UnreadableSource
from ._archive import Archive
from ._draft import Draft, pipes, stem
from ._json import moment
from ._xml import listen, short
from .base import STANDARD, Limits

__all__ = ["Docx"]

_BODY = "word/document.xml"
_STYLES = "word/styles.xml"
_CORE = "docProps/core.xml"
_NOTES = ("word/footnotes.xml", "word/endnotes.xml")
_WORD = re.compile(r"https?://[^\n]*/wordprocessingml(?:/2006)?/main\n")  # both the transitional and the strict one
_HEADING = re.compile(r"heading\s*([1-9])\Z", re.IGNORECASE)
_SKIPPED = frozenset({"Fallback", "moveFrom", "del"})  # copies for old programs, and words that were taken out
_MOST_INDENT = 8  # levels; word processors offer nine


@dataclass(frozen=True, slots=True)
class Docx:
    """Read a word processor's document: headings by style, paragraphs, lists, quotes, tables and notes.

    Opened here instead of by python-docx: that needs lxml (5 MiB against nothing), and its walk over the body leaves
    out content controls, text boxes and footnotes. What is read are six elements of one XML file, as a stream.
    Paragraphs of a text box come before the one that holds it; tables inside tables become text of their cell.
    """

    limits: Limits = STANDARD
    name: ClassVar[str] = "Word document"
    suffixes: ClassVar[frozenset[str]] = frozenset({".docx", ".docm", ".dotx"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return one document."""
        archive = Archive(data, name, self.limits)
        styles, core = _Styles(), _Core()
        for member, listener in ((_STYLES, styles), (_CORE, core)):
            if member in archive.members:
                listen(archive.read(member), listener, name=name, limits=self.limits)
        body = _Body(styles)
        for member in (_BODY, *(notes for notes in _NOTES if notes in archive.members)):
            listen(archive.read(member), body, name=name, limits=self.limits)
        body.flush()
        draft = body.draft
        if draft.is_empty:
            raise UnreadableSource(f"{name!r} is empty: the document holds no words", hint="it may hold only pictures")
        return [
            Document(
                draft.text,
                source=name,
                title=draft.first_heading or core.fields.get("title") or stem(name),
                blocks=draft.blocks,
                time=moment(core.fields.get("modified") or core.fields.get("created")),
                metadata=core.metadata(),
            )
        ]


class _Core:
    """Listens to the properties of the file."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._words: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:  # noqa: ARG002  # as Listener asks
        self._words.clear()

    def end(self, tag: str) -> None:
        words = clean(" ".join("".join(self._words).split()))
        if words:
            self.fields.setdefault(short(tag), words)
        self._words.clear()

    def characters(self, text: str) -> None:
        self._words.append(text)

    def metadata(self) -> dict[str, Json]:
        pairs = (("creator", "author"), ("subject", "subject"), ("keywords", "keywords"), ("language", "language"))
        return {label: self.fields[key] for key, label in pairs if key in self.fields}


class _Style:
    def __init__(self, name: str = "") -> None:
        self.name = name
        self.based_on = ""
        self.outline: int | None = None
        self.is_list = False


class _Styles:
    """Listens to the styles, because a heading is a paragraph whose style says so."""

    def __init__(self) -> None:
        self.styles: dict[str, _Style] = {}
        self._open: _Style | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        word, value = short(tag), _value(attributes)
        if word == "style":
            self._open = self.styles.setdefault(_value(attributes, "styleId"), _Style())
        elif self._open is None:
            return
        elif word == "name":
            self._open.name = value
        elif word == "basedOn":
            self._open.based_on = value
        elif word == "outlineLvl":
            self._open.outline = _number(value)
        elif word == "numPr":
            self._open.is_list = True

    def end(self, tag: str) -> None:
        if short(tag) == "style":
            self._open = None

    def characters(self, text: str) -> None:
        pass

    def sort(self, style: str) -> tuple[BlockKind, int]:
        """Return what a style, or one that it is based on, makes of a paragraph, and the level of a heading."""
        seen: set[str] = set()
        while style and style not in seen:
            seen.add(style)
            found = self.styles.get(style, _Style(name=style))
            heading = _HEADING.match(found.name)
            if heading or (found.outline is not None and found.outline < 9):
                return "heading", int(heading.group(1)) if heading else (found.outline or 0) + 1
            if found.name.lower() == "title":
                return "heading", 1
            if "quote" in found.name.lower():
                return "quote", 0
            if found.is_list or found.name.lower().startswith("list "):
                return "list", 0
            style = found.based_on
        return "paragraph", 0


class _Paragraph:
    def __init__(self) -> None:
        self.style = ""
        self.outline: int | None = None
        self.is_list: bool | None = None
        self.indent = 0
        self.words: list[str] = []


class _Body:
    """Listens to the paragraphs and tables."""

    def __init__(self, styles: _Styles) -> None:
        self.draft = Draft()
        self._styles = styles
        self._paragraphs: list[_Paragraph] = []  # more than one inside a text box
        self._tables: list[list[list[list[str]]]] = []  # open tables: rows: cells: paragraphs
        self._items: list[str] = []  # of the list that runs
        self._skipped = 0
        self._is_text = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        word = short(tag)
        self._skipped += word in _SKIPPED
        if self._skipped or not _WORD.match(tag):
            return
        if word == "p":
            self._paragraphs.append(_Paragraph())
        elif word == "tbl":
            self.flush()
            self._tables.append([])
        elif word == "tr" and self._tables:
            self._tables[-1].append([])
        elif word == "tc" and self._tables and self._tables[-1]:
            self._tables[-1][-1].append([])
        elif self._paragraphs:
            self._inside(word, attributes)

    def _inside(self, word: str, attributes: Mapping[str, str]) -> None:
        paragraph = self._paragraphs[-1]
        if word == "t":
            self._is_text = True
        elif word in ("tab", "br", "cr", "noBreakHyphen"):
            paragraph.words.append({"tab": "\t", "noBreakHyphen": "-"}.get(word, "\n"))
        elif word == "pStyle":
            paragraph.style = _value(attributes)
        elif word == "outlineLvl":
            paragraph.outline = _number(_value(attributes))
        elif word == "ilvl":
            paragraph.indent = min(_number(_value(attributes)) or 0, _MOST_INDENT)
        elif word == "numId":
            paragraph.is_list = _value(attributes) != "0"  # 0 takes a paragraph out of its style's list

    def end(self, tag: str) -> None:
        word = short(tag)
        if word in _SKIPPED:
            self._skipped -= 1
        if self._skipped or not _WORD.match(tag):
            return
        if word == "t":
            self._is_text = False
        elif word == "p" and self._paragraphs:
            self._close(self._paragraphs.pop())
        elif word == "tbl" and self._tables:
            self._close_table(self._tables.pop())

    def characters(self, text: str) -> None:
        if self._is_text and self._paragraphs and not self._skipped:
            self._paragraphs[-1].words.append(text)

    def flush(self) -> None:
        """End the list that runs."""
        if self._items:
            self.draft.add("list", "\n".join(self._items))
            self._items.clear()

    def _close(self, paragraph: _Paragraph) -> None:
        text = "".join(paragraph.words).strip()
        if not text:
            return
        if self._tables and self._tables[-1] and self._tables[-1][-1]:
            self._tables[-1][-1][-1].append(text)
            return
        kind, level = self._styles.sort(paragraph.style)
        if paragraph.outline is not None and paragraph.outline < 9:
            kind, level = "heading", paragraph.outline + 1
        elif kind != "heading" and paragraph.is_list is not None:
            kind = "list" if paragraph.is_list else "paragraph" if kind == "list" else kind
        if kind == "list":
            self._items.append("  " * paragraph.indent + "- " + text)
            return
        self.flush()
        self.draft.add(kind, text, level=level)

    def _close_table(self, rows: list[list[list[str]]]) -> None:
        cells = [[" ".join(cell) for cell in row] for row in rows]
        if self._tables:  # a table inside a cell
            outer = self._tables[-1]
            if outer and outer[-1]:
                outer[-1][-1].append(" ".join(cell for row in cells for cell in row if cell))
            return
        self.flush()
        self.draft.add("table", pipes(cells))


def _value(attributes: Mapping[str, str], key: str = "val") -> str:
    return next((value for tag, value in attributes.items() if short(tag) == key), "")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
