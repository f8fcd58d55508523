"""Speakers whom a question names."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["Names", "words_of"]


def words_of(text: str) -> set[str]:
    """Return the words of a question or a name in lower case."""
    return set(re.findall(r"\w+", text.lower()))


class Names:
    """Speakers by their first word, so that a question is compared with few of them."""

    def __init__(self) -> None:
        self._read = 0
        self._by_word: dict[str, list[tuple[int, frozenset[str]]]] = {}

    def among(self, question: str, speakers: Sequence[str]) -> list[int]:
        """Return the codes of speakers all of whose words stand in the question."""
        for code in range(self._read, len(speakers)):
            parts = speakers[code].lower().split()
            if parts:
                self._by_word.setdefault(parts[0], []).append((code, frozenset(parts)))
        self._read = len(speakers)
        words = words_of(question)
        return [code for word in words for code, parts in self._by_word.get(word, ()) if words >= parts]
