"""Cut text where a reader would: at sentences, lines and words."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["pieces", "sentences"]

Span = tuple[int, int]
_ABBREVIATION = r"(?<!\b[A-Z])(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bMrs)(?<!\bvs)(?<!e\.g)(?<!i\.e)(?<!\bNo)"
_SENTENCE_END = re.compile(rf"(?:{_ABBREVIATION}[.!?…]+[\"'”’)\]]*(?=\s)|[。！？]+|\n\s*\n)\s*")


def sentences(text: str) -> list[Span]:
    """Return the spans of the sentences of a text, covering all of it.

    Example:
        >>> text = "Dr. Lee came. She left! Why?"
        >>> [text[a:b] for a, b in sentences(text)]
        ['Dr. Lee came. ', 'She left! ', 'Why?']
    """
    spans: list[Span] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        spans.append((start, end.end()))
        start = end.end()
    if start < len(text):
        spans.append((start, len(text)))
    return spans


def pieces(text: str, start: int, end: int, most: int, *, by_line: bool) -> Iterator[Span]:
    """Cut text[start:end] into consecutive spans of at most `most` characters.

    Args:
        text: The whole text.
        start: First character.
        end: One past the last character.
        most: Longest piece in characters, >= 1.
        by_line: Cut at line ends (code, tables) where possible; else at sentences, then words, then anywhere.
    """
    while end - start > most:
        cut = _cut(text, start, start + most, by_line)
        yield start, cut
        start = cut
    if end > start:
        yield start, end


def _cut(text: str, start: int, limit: int, by_line: bool) -> int:
    floor = start + (limit - start) // 2  # never a piece under half the size for the sake of a nice cut
    if by_line:
        at = text.rfind("\n", floor, limit)
        if at >= 0:
            return at + 1
    else:
        best = 0
        for end in _SENTENCE_END.finditer(text, floor, limit):
            best = end.end()
        if best:
            return best
    at = max(text.rfind(" ", floor, limit), text.rfind("\n", floor, limit))
    return at + 1 if at >= 0 else limit
