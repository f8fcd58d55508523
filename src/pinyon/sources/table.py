"""Tables in text: comma, semicolon or tab between the cells."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import ClassVar

from ..core.experience import Block, Document, Experience
from ..core.payload import Json
from ._decode import decode
from ._draft import stem

__all__ = ["Table"]

_DELIMITERS = ",;\t|"
_HEAD_CHARACTERS = 100_000  # below the csv module's own limit of a field; a longer head names no columns
_MOST_COLUMNS = 1_000


class Table:
    """Read CSV and TSV: the text is the file, each run of lines without a blank line is one table.

    Quotes are counted, not parsed, so that cells may hold line breaks, and a stray quote costs a boundary at worst.
    """

    name: ClassVar[str] = "table"
    suffixes: ClassVar[frozenset[str]] = frozenset({".csv", ".tsv", ".tab"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return one document; metadata names delimiter and columns."""
        text = decode(data, name)
        blocks = tuple(_blocks(text))
        return [
            Document(
                text,
                source=name,
                title=stem(name),
                blocks=blocks,
                format="table",
                metadata=_describe(text[blocks[0].start : blocks[0].end]) if blocks else {},
            )
        ]


def _blocks(text: str) -> Iterator[Block]:
    position = 0
    start: int | None = None
    end = 0
    is_quoted = False
    for line in text.splitlines(keepends=True):
        is_blank = not is_quoted and not line.strip(" \t\r\n\f\v\x1a")
        if is_blank and start is not None:
            yield Block("table", start, end)
            start = None
        elif not is_blank:
            start = position if start is None else start
            end = position + len(line.rstrip("\r\n"))
        is_quoted ^= line.count('"') % 2 == 1
        position += len(line)
    if start is not None and end > start:
        yield Block("table", start, end)


def _describe(table: str) -> dict[str, Json]:
    head = table[:_HEAD_CHARACTERS].splitlines()[0]
    delimiter = max(_DELIMITERS, key=head.count)
    if not head.count(delimiter):
        return {}
    try:
        columns = next(csv.reader([head], delimiter=delimiter), [])
    except csv.Error:
        return {"delimiter": delimiter}
    if len(columns) > _MOST_COLUMNS:
        return {"delimiter": delimiter}
    return {"delimiter": delimiter, "columns": [column.strip() for column in columns]}
