"""Grow a text and its blocks together, so that offsets are true by construction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ..core.experience import Block, BlockKind
from ..core.payload import clean

__all__ = ["Draft", "pipes", "stem"]

_GAP = "\n\n"


class Draft:
    """A document in the making, for readers whose text is not the file itself."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []

    @property
    def text(self) -> str:
        """All blocks, parted by blank lines."""
        return "".join(self._parts)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks so far, in order."""
        return tuple(self._blocks)

    @property
    def is_empty(self) -> bool:
        """Whether no block holds words."""
        return all(block.kind == "page_break" for block in self._blocks)

    @property
    def first_heading(self) -> str | None:
        """The first heading of level 1, or None."""
        return next((block.title for block in self._blocks if block.level == 1 and block.title), None)

    def add(self, kind: BlockKind, text: str, *, level: int = 0, page: int | None = None) -> None:
        """Append a block; blank lines around it go, a text of white space only adds nothing."""
        text = clean(text).rstrip()
        blank = len(text) - len(text.lstrip())
        text = text[text.rfind("\n", 0, blank) + 1 :]  # the indentation of the first line stays
        if not text:
            return
        if kind == "heading":
            text = " ".join(text.split())
        self._append(kind, text, level, text if kind == "heading" else "", page)

    def break_page(self, page: int) -> None:
        """Append a form feed; `page` is the number of the page that begins, from 1."""
        self._append("page_break", "\f", 0, "", page)

    def _append(self, kind: BlockKind, text: str, level: int, title: str, page: int | None) -> None:
        if self._parts:
            self._parts.append(_GAP)
            self._length += len(_GAP)
        start, self._length = self._length, self._length + len(text)
        self._parts.append(text)
        self._blocks.append(Block(kind, start, self._length, level=level, title=title, page=page))


def pipes(rows: Sequence[Sequence[str]]) -> str:
    """Render rows of cells as a Markdown table; the first row is the head.

    Example:
        >>> print(pipes([["a", "b"], ["1"]]))
        | a | b |
        | --- | --- |
        | 1 |
    """
    rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    rows = [row for row in rows if any(row)]
    if not rows:
        return ""
    lines = ["| " + " | ".join(row) + " |" for row in rows]  # short rows stay short: filling them could explode
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def stem(name: str) -> str | None:
    """Return the name of a file without folders and suffix, or None when nothing is left."""
    return PurePath(name).stem.strip() or None
