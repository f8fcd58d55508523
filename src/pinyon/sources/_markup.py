"""Words and structure of HTML, for web pages and for the chapters of e-books.

Parsed by selectolax (the lexbor engine), measured against the standard library: `html.parser` of Python 3.11 needs
quadratic time on unclosed comments and tags (100,000 of ``<!--`` take minutes), does not repair what authors leave
open, and is ten times slower; lxml's wheel has 5 MiB against 1.5 MiB and its HTML parser predates HTML 5.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..core.experience import BlockKind
from ..errors import UnreadableSource
from ._draft import Draft, pipes
from .base import Limits

__all__ = ["Head", "extract"]

_DROPPED = frozenset(
    "script style nav noscript template svg iframe object embed canvas audio video select button textarea head".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LEVELS = frozenset(  # elements that begin and end a paragraph
    """address article aside body caption center dd details dialog div dl dt fieldset figcaption figure footer form
    header hgroup hr html legend main p search section summary tbody tfoot thead""".split()
)
_IMPLIED = frozenset(  # elements whose end authors may leave out, and those that never have one
    """p li dt dd tr td th tbody thead tfoot option optgroup colgroup rb rt rp area base br col embed hr img input link
    meta source track wbr""".split()
)
_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]*)")
_SPACE = re.compile(r"[ \t\n\r\f]+")
_BREAK = "\0"  # HTML text cannot hold it


@dataclass(frozen=True, slots=True)
class Head:
    """What a page says about itself."""

    title: str | None = None
    language: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)  # by name or property, lower case


class _Part:
    def __init__(self, kind: BlockKind, text: str, level: int = 0) -> None:
        self.kind = kind
        self.text = text
        self.level = level


class _Box:
    """An element that gathers the parts inside it before it becomes one part itself."""

    def __init__(self, sort: str, *, is_numbered: bool) -> None:
        self.sort = sort  # a value of _SORTS
        self.is_numbered = is_numbered
        self.parts: list[_Part] = []
        self.boxes: list[_Box] = []  # items of a list, rows of a table, cells of a row


_SORTS: Final = {
    "ul": "list",
    "ol": "list",
    "menu": "list",
    "li": "item",
    "blockquote": "quote",
    "table": "table",
    "tr": "row",
    "td": "cell",
    "th": "cell",
}
_PARENTS = {"item": "list", "row": "table", "cell": "row"}


def extract(html: str, draft: Draft, *, name: str, limits: Limits) -> Head:
    """Append what a page says to a draft.

    Args:
        html: The page.
        draft: Grows by headings, paragraphs, lists, quotes, code and tables.
        name: What to call the file in an error.
        limits: Deepest structure that is kept (deeper lists and tables are flattened), most work for the parser.

    Raises:
        UnreadableSource: The page is nested so deeply that a parser would take minutes.
    """
    _weigh(html, name, limits)
    root = importlib.import_module("selectolax.lexbor").LexborHTMLParser(html).root  # slow to import, seldom needed
    builder = _Builder(draft, limits)
    head = Head()
    for node, is_entering in _walk(root):
        tag = node.tag
        if tag == "head" and is_entering:
            head = _head(node, root)
        elif tag == "-text":
            builder.words(node.text_content or "")
        elif is_entering:
            builder.enter(tag)
        else:
            builder.leave(tag)
    builder.flush()
    return head


def _weigh(html: str, name: str, limits: Limits) -> None:
    """Refuse what makes tree builders quadratic: for many tags they walk through all open elements."""
    depth = steps = 0
    for found in _TAG.finditer(html):
        if found.group(2).lower() not in _IMPLIED:
            depth = max(0, depth + (-1 if found.group(1) else 1))
        steps += depth
    if steps > limits.max_markup_steps:
        raise UnreadableSource(
            f"{name!r} is nested too deeply to be read in reasonable time", hint="raise Limits.max_markup_steps"
        )


def _walk(root: Any) -> Iterator[tuple[Any, bool]]:  # nodes of selectolax, which has no types without the package
    """Yield each element twice, entering and leaving it, and each text once; without recursion."""
    node, is_entering = root, True
    while node is not None:
        tag = node.tag
        is_dropped = tag in _DROPPED or tag.startswith("-") or (is_entering and _is_hidden(node))
        if is_entering and (not is_dropped or tag in ("head", "-text")):
            yield node, True
        child = None if is_dropped or not is_entering else node.first_child
        if child is not None:
            node = child
            continue
        if not is_dropped:
            yield node, False
        if node.next is not None:
            node, is_entering = node.next, True
        else:
            node, is_entering = node.parent, False
            if node is None or node.tag == "-document":
                return


def _is_hidden(node: Any) -> bool:
    given = node.attributes
    if not given or node.tag in ("html", "body"):  # whole pages are hidden until their scripts have run
        return False
    return "hidden" in given or given.get("role") == "navigation" or given.get("aria-hidden") == "true"


def _head(node: Any, root: Any) -> Head:
    title = node.css_first("title")
    found: dict[str, str] = {}
    for meta in node.css("meta"):
        given = meta.attributes
        key, content = given.get("name") or given.get("property"), given.get("content")
        if key and content and content.strip():
            found.setdefault(key.lower(), " ".join(content.split()))
    words = " ".join(title.text().split()) if title is not None else ""
    return Head(words or found.get("og:title"), root.attributes.get("lang") or None, found)


class _Builder:
    """Hears elements and text, and keeps what is open."""

    def __init__(self, draft: Draft, limits: Limits) -> None:
        self._draft = draft
        self._most = limits.max_depth
        self._words: list[str] = []
        self._boxes: list[_Box] = []
        self._open: list[bool] = []  # for each open element of _SORTS, whether it became a box
        self._pre = 0

    def words(self, text: str) -> None:
        """Hear text."""
        self._words.append(text if self._pre else text.replace(_BREAK, ""))

    def enter(self, tag: str) -> None:
        """Hear an element begin."""
        if tag == "br":
            self._words.append("\n" if self._pre else _BREAK)
        elif tag == "pre":
            self.flush()
            self._pre += 1
        elif tag in _HEADINGS or tag in _LEVELS:
            self.flush()
        elif tag in _SORTS:
            self.flush()
            sort = _SORTS[tag]
            wanted = _PARENTS.get(sort)
            is_box = len(self._boxes) < self._most and (
                wanted is None or (bool(self._boxes) and self._boxes[-1].sort == wanted)
            )
            self._open.append(is_box)
            if is_box:
                self._boxes.append(_Box(sort, is_numbered=tag == "ol"))

    def leave(self, tag: str) -> None:
        """Hear an element end."""
        if tag in _HEADINGS:
            self.flush("heading", _HEADINGS[tag])
        elif tag == "pre":
            self.flush("code")
            self._pre -= 1
        elif tag in _LEVELS:
            self.flush()
        elif tag in _SORTS:
            self.flush()
            if self._open.pop():
                self._close(self._boxes.pop())

    def flush(self, kind: BlockKind = "paragraph", level: int = 0) -> None:
        """End the running text."""
        text = "".join(self._words)
        self._words.clear()
        if self._pre:
            kind = "code"
            text = text.strip("\n")
        else:
            text = "\n".join(_SPACE.sub(" ", line).strip() for line in text.split(_BREAK)).strip("\n")
        if text.strip():
            self._emit(_Part(kind, text, level))

    def _emit(self, part: _Part) -> None:
        if self._boxes:
            self._boxes[-1].parts.append(part)
        else:
            self._draft.add(part.kind, part.text, level=part.level)

    def _close(self, box: _Box) -> None:
        if box.sort in _PARENTS:
            self._boxes[-1].boxes.append(box)
            return
        if box.sort == "quote":
            self._emit(_Part("quote", "\n\n".join(part.text for part in box.parts)))
            return
        for part in box.parts:  # captions, and text that strayed between the items
            self._emit(part)
        inner = [cell for row in box.boxes for cell in row.boxes] if box.sort == "table" else box.boxes
        loose = [part for row in box.boxes for part in row.parts] if box.sort == "table" else []
        if _is_layout(box, inner):
            for part in [*loose, *(part for cell in inner for part in cell.parts)]:
                self._emit(part)
            return
        for part in loose:
            self._emit(part)
        text = _table(box) if box.sort == "table" else _list(box)
        if text:
            self._emit(_Part("table" if box.sort == "table" else "list", text))


def _is_layout(box: _Box, inner: list[_Box]) -> bool:
    """Return whether a list or table only places other things on the page, such as cards or columns."""
    kinds = {part.kind for item in inner for part in item.parts}
    if box.sort == "list":
        return "heading" in kinds
    return bool(kinds & {"heading", "table", "code"}) or all(len(row.boxes) < 2 for row in box.boxes)


def _table(box: _Box) -> str:
    return pipes([[" ".join(part.text for part in cell.parts) for cell in row.boxes] for row in box.boxes])


def _list(box: _Box) -> str:
    lines = []
    for number, item in enumerate((item for item in box.boxes if item.parts), 1):
        mark = f"{number}. " if box.is_numbered else "- "
        text = "\n".join(part.text for part in item.parts)
        lines.append(mark + text.replace("\n", "\n" + " " * len(mark)))
    return "\n".join(lines)
