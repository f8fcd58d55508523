"""Markdown, with blocks that point into the file's own text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Final

from ..core.experience import Block, BlockKind, Document, Experience
from ..core.payload import Json
from ._decode import decode
from ._draft import stem
from ._json import moment

__all__ = ["Markdown"]

_KINDS: Final[dict[str, BlockKind]] = {
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "blockquote_open": "quote",
    "fence": "code",
    "code_block": "code",
    "table_open": "table",
    "html_block": "paragraph",
}
_LINE_END = re.compile(r"\r\n?|\n")
_FRONT = re.compile(r"\A---[ \t]*(?:\r\n?|\n)(.*?)^---[ \t]*(?=\r|\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_CHARACTERS = 65_536  # a longer "front matter" is a rule at the top of a text
_KEY = re.compile(r"[A-Za-z_][\w .-]*")


class Markdown:
    """Read Markdown (CommonMark and tables) with front matter.

    The text of the document is the file, character by character; front matter lies before the first block and
    becomes title, time, tags and metadata.
    """

    name: ClassVar[str] = "Markdown"
    suffixes: ClassVar[frozenset[str]] = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return one document with the blocks of the outermost level."""
        text = decode(data, name)
        front, body = _front_matter(text)
        blocks = tuple(_blocks(text, body))
        heading = next((block.title for block in blocks if block.level == 1 and block.title), None)
        given = front.pop("title", None)
        tags, time = front.pop("tags", None), moment(front.get("date"))
        return [
            Document(
                text,
                source=name,
                title=heading or (given if isinstance(given, str) and given else None) or stem(name),
                blocks=blocks,
                format="markdown",
                time=time,
                tags=_tags(tags),
                metadata=front,
            )
        ]


def _blocks(text: str, body: int) -> Iterator[Block]:
    from markdown_it import MarkdownIt  # 100 ms of imports, wanted only when there is Markdown

    parser = MarkdownIt("commonmark").enable("table")
    outline = MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])  # words inside need no tree
    starts = [body, *(match.end() for match in _LINE_END.finditer(text, body))]
    tokens = outline.parse(text[body:])
    for index, token in enumerate(tokens):
        kind = _KINDS.get(token.type)
        if token.level or token.map is None or kind is None:
            continue
        start, end = _trim(text, starts[token.map[0]], _line_start(starts, token.map[1], len(text)))
        if start >= end:
            continue
        if kind == "heading":
            title = _words(parser.parseInline(tokens[index + 1].content))
            yield Block(kind, start, end, level=int(token.tag[1:]), title=title)
        else:
            yield Block(kind, start, end)


def _line_start(starts: list[int], line: int, length: int) -> int:
    return starts[line] if line < len(starts) else length


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Drop blank lines at the end; indentation at the start belongs to code."""
    while end > start and text[end - 1] in " \t\r\n":
        end -= 1
    return start, end


def _words(tokens: list[Any]) -> str:  # markdown_it.token.Token, not imported at the top
    children = tokens[0].children or []
    words = "".join(
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in children
        if child.type != "html_inline"
    )
    return " ".join(words.split())


def _front_matter(text: str) -> tuple[dict[str, Json], int]:
    """Return the fields before the text, and where the text begins.

    Plain fields, quoted ones and lists are understood; deeper YAML is passed over, since no YAML library is worth its
    weight for a title and a date.
    """
    found = _FRONT.match(text, 0, _FRONT_CHARACTERS)
    lines = _LINE_END.split(found.group(1)) if found else []
    if found is None or (any(lines) and not any(_field(line) for line in lines)):
        return {}, 0
    fields: dict[str, Json] = {}
    last: str | None = None
    for line in lines:
        item = re.match(r"\s*-\s+(.*)$", line)
        field = _field(line)
        if item and last is not None:
            held = fields[last]
            fields[last] = [*held, _scalar(item.group(1))] if isinstance(held, list) else [_scalar(item.group(1))]
        elif field:
            last, value = field
            fields[last] = _value(value)
        elif line.strip() and not line.startswith("#"):
            last = None
    return {key: value for key, value in fields.items() if value not in ("", [])}, found.end()


def _field(line: str) -> tuple[str, str] | None:
    key, colon, value = line.partition(":")
    if not colon or not _KEY.fullmatch(key) or value[:1] not in ("", " ", "\t"):
        return None
    return key.strip().lower(), value


def _value(text: str) -> Json:
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(part) for part in text[1:-1].split(",") if part.strip()]
    return _scalar(text)


def _scalar(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _tags(value: Json) -> tuple[str, ...]:
    found = value if isinstance(value, list) else str(value or "").replace(",", " ").split()
    return tuple(dict.fromkeys(text for tag in found if (text := str(tag).strip().lstrip("#"))))
