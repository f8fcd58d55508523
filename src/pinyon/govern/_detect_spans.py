"""A stretch of text in which something was detected, and what becomes of stretches that overlap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Detector", "Span", "every_start", "union"]


@dataclass(frozen=True, slots=True)
class Span:
    """Where something was detected; what it says is not kept here.

    Args:
        start: Offset of its first character.
        end: Offset after its last one.
        kind: What it is: ``email``, ``card`` …
        sure: How certain that is, 0 to 1; decides between kinds that overlap.
    """

    start: int
    end: int
    kind: str
    sure: float = 0.9


Detector = Callable[[str], Iterable[Span]]
"""Finds one kind of thing in a text."""


def union(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that overlap joined to one of the kind that is most certain, then longest.

    Joined and not dropped, so that no end of a weaker finding is left standing.

    Example:
        >>> union([Span(0, 9, "card", 0.9), Span(5, 12, "phone", 0.6), Span(20, 22, "ip")])
        [Span(start=0, end=12, kind='card', sure=0.9), Span(start=20, end=22, kind='ip', sure=0.9)]
    """
    joined: list[Span] = []
    group: list[Span] = []
    end = -1
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if group and span.start >= end:
            joined.append(_joined(group))
            group = []
        group.append(span)
        end = max(end, span.end) if len(group) > 1 else span.end
    return [*joined, _joined(group)] if group else joined


def _joined(group: Sequence[Span]) -> Span:
    best = max(group, key=lambda span: (span.sure, span.end - span.start, -span.start, span.kind))
    return Span(min(span.start for span in group), max(span.end for span in group), best.kind, best.sure)


def every_start(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Yield the match at each place where one begins, those inside an earlier one too.

    What looks like a number may begin in the middle of something that looks like a longer one and is none.

    Example:
        >>> [found[0] for found in every_start(re.compile("..b"), "aabbb")]
        ['aab', 'abb', 'bbb']
    """
    place = 0
    while found := pattern.search(text, place):
        yield found
        place = found.start() + 1
