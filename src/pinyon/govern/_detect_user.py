"""Expressions of users, admitted only when no text can make them slow.

Python's engine backtracks and cannot be interrupted, so the bound is set beforehand: the ways in which an expression
can match from one place are counted on its parse tree, and a long text is matched in windows. What remains is linear
in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from re import _constants as codes  # type: ignore[attr-defined]  # the tree of an expression has no public door
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from ..errors import BadInput
from ._detect_spans import Detector, Span

__all__ = ["MOST_WAYS", "pattern_detector", "ways"]

WINDOW = 1000  # characters matched at a time
OVERLAP = 200  # the longest match that no border of a window can cut
MOST_WAYS = 2000
_LONGEST = 500  # characters of an expression
_INFINITE = float("inf")
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_LETTERS = (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN)
_SAMPLE = frozenset([chr(code) for code in range(128)] + ["é", "ß", "中", "٣", "\u00a0", "\u2028"])
_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    codes.CATEGORY_DIGIT: str.isdecimal,
    codes.CATEGORY_SPACE: str.isspace,
    codes.CATEGORY_WORD: lambda letter: letter.isalnum() or letter == "_",
    codes.CATEGORY_NOT_DIGIT: lambda letter: not letter.isdecimal(),
    codes.CATEGORY_NOT_SPACE: lambda letter: not letter.isspace(),
    codes.CATEGORY_NOT_WORD: lambda letter: not (letter.isalnum() or letter == "_"),
}
_Item = tuple[Any, Any]  # code and value, as the parser of the standard library builds them
_Set = frozenset[str] | None  # letters something can begin with; None when that is not known


def pattern_detector(kind: str, expression: str) -> Detector:
    """Return the detector of a user's expression.

    Args:
        kind: What it finds.
        expression: A regular expression of Python; ``(?i)`` in front ignores case. A match that is longer than 200
            characters may be found in parts.

    Raises:
        BadInput: It is none, matches the empty text, is longer than 500 characters, or some text could make it slow.
    """
    if len(expression) > _LONGEST:
        raise BadInput(f"the expression of {kind!r} has {len(expression)} characters, at most {_LONGEST} are possible")
    try:
        pattern = re.compile(expression)
        parsed = parser.parse(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(f"the expression of {kind!r} cannot be read: {error}") from error
    if pattern.match(""):
        raise BadInput(f"the expression of {kind!r} matches an empty text, and so everywhere")
    if ways(parsed) > MOST_WAYS:
        raise BadInput(
            f"the expression of {kind!r} could take very long on some texts",
            hint="bound its repeats, as in \\d{6,10}, put no repeat within a repeat, and refer back to no group",
        )

    def detect(text: str) -> Iterator[Span]:
        for start in range(0, max(1, len(text) - OVERLAP), WINDOW - OVERLAP):
            is_last = start + WINDOW >= len(text)
            for found in pattern.finditer(text, start, start + WINDOW):
                if found.end() > found.start() and (is_last or found.start() < start + WINDOW - OVERLAP):
                    yield Span(found.start(), found.end(), kind, 1.0)
            if is_last:
                return

    return detect


def ways(parsed: Iterable[_Item]) -> float:
    """Return a bound on the ways in which a parsed expression can match from one place.

    A repeat that is followed by something it cannot begin another round with has one way to end; any other has as
    many as it may have rounds. Ways multiply along a sequence, add up over alternatives that begin alike, and are
    raised to the number of rounds within a repeat.

    Example:
        >>> [ways(parser.parse(text)) for text in (r"EMP-\\d+", r"\\w+\\d", r"(a|a)+$", r"(a+)+$")]
        [1, 1000, inf, inf]
    """
    items = _flat(parsed)
    return _Counter(_SAMPLE | frozenset(_neighbours(items))).ways(items, frozenset())


def _flat(items: Iterable[_Item]) -> list[_Item]:
    """Return items with groups opened."""
    out: list[_Item] = []
    for code, value in items:
        out.extend(_flat(value[3]) if code is codes.SUBPATTERN else [(code, value)])
    return out


class _Counter:
    """Counts ways over an alphabet with every end of a range of the expression: sets that meet, meet in it."""

    def __init__(self, alphabet: frozenset[str]) -> None:
        self._alphabet = alphabet

    def ways(self, items: Sequence[_Item], follow: _Set) -> float:
        """Return the ways of a sequence after which one of `follow` comes; an empty set means the end."""
        total: float = 1
        for place, item in enumerate(items):
            total *= self._of(item, self._first(items[place + 1 :], follow))
        return total

    def _of(self, item: _Item, follow: _Set) -> float:
        code, value = item
        if code in _REPEATS:
            return self._of_repeat(value[0], value[1], _flat(value[2]), follow)
        if code is codes.BRANCH:
            bodies = [_flat(body) for body in value[1]]
            counts = [self.ways(body, follow) for body in bodies]
            return max(counts) if _apart([self._first(body, follow) for body in bodies]) else sum(counts)
        if code in (codes.ASSERT, codes.ASSERT_NOT):
            return self.ways(_flat(value[1]), None)
        if code is codes.ATOMIC_GROUP:
            return self.ways(_flat(value), follow)
        return _INFINITE if code in (codes.GROUPREF, codes.GROUPREF_EXISTS) else 1

    def _of_repeat(self, least: int, most: int, body: list[_Item], follow: _Set) -> float:
        rounds = min(int(most), WINDOW)
        again = self._first(body, None)
        after = None if again is None or follow is None else again | follow
        inner = self.ways(body, after if rounds > 1 else follow)
        within = inner if inner == 1 or rounds <= 1 else inner**rounds if rounds <= 32 else _INFINITE
        return within if follow == frozenset() or _apart([again, follow]) else within * (rounds - int(least) + 1)

    def _first(self, items: Sequence[_Item], follow: _Set) -> _Set:
        """Return the letters with which a sequence and what follows it can begin."""
        if not items:
            return follow
        code, value = items[0]
        if code in _LETTERS:
            return frozenset(letter for letter in self._alphabet if _is_in(code, value, letter))
        if code in _REPEATS:
            body = self._first(_flat(value[2]), None)
            return body if int(value[0]) else _joined([body, self._first(items[1:], follow)])
        if code is codes.BRANCH:
            rest = self._first(items[1:], follow)
            return _joined([self._first(_flat(body), rest) for body in value[1]])
        return None


def _apart(sets: Sequence[_Set]) -> bool:
    known = [found for found in sets if found]
    return len(known) == len(sets) and sum(map(len, known)) == len(frozenset().union(*known))


def _joined(sets: Sequence[_Set]) -> _Set:
    """Return the union; an end among them is no letter, so that it may be what follows is not known."""
    return None if any(not found for found in sets) else frozenset().union(*(found or () for found in sets))


def _is_in(code: Any, value: Any, letter: str) -> bool:
    """Return whether a single item matches a letter, whatever its case."""
    variants = {letter, letter.lower(), letter.upper(), letter.swapcase()}
    if code is codes.ANY:
        return True
    if code is codes.LITERAL:
        return chr(value) in variants
    if code is codes.NOT_LITERAL:
        return variants != {chr(value)}
    negated = value[0][0] is codes.NEGATE
    return any(
        any(_is_member(item, one) for item in value if item[0] is not codes.NEGATE) != negated for one in variants
    )


def _is_member(item: _Item, letter: str) -> bool:
    code, value = item
    if code is codes.LITERAL:
        return letter == chr(value)
    if code is codes.RANGE:
        return bool(value[0] <= ord(letter[0]) <= value[1])
    return bool(_CATEGORIES[value](letter))


def _neighbours(items: Iterable[_Item]) -> Iterator[str]:
    """Yield every letter that an expression names, and those beside it."""
    for code, value in items:
        if code in (codes.LITERAL, codes.NOT_LITERAL):
            yield from _around(value)
        elif code is codes.RANGE:
            yield from (*_around(value[0]), *_around(value[1]))
        elif code is codes.IN:
            yield from _neighbours(value)
        elif code in _REPEATS:
            yield from _neighbours(_flat(value[2]))
        elif code is codes.BRANCH:
            yield from (letter for body in value[1] for letter in _neighbours(_flat(body)))
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            yield from _neighbours(_flat(value[1]))


def _around(code: int) -> Iterator[str]:
    for near in (code - 1, code, code + 1):
        if 0 <= near <= 0x10FFFF:
            yield from {chr(near), chr(near).lower()[:1], chr(near).upper()[:1]}
