"""Hits and a shelf for what lays passages out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.text import Hit, Hits

DAY = datetime(2025, 3, 1, tzinfo=UTC)


class WordShelf:
    """Counts words as tokens and holds a list of cubes."""

    def __init__(self, cubes: Sequence[Cube] = ()) -> None:
        self.cubes = list(cubes)
        self.searched: list[int] = []

    def tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def everything(self, limit: int) -> Sequence[Cube]:
        return self.cubes[:limit]

    def search(self, question: str, k: int) -> Hits:
        self.searched.append(k)
        return Hits(tuple(Hit(cube, 1.0) for cube in self.cubes[:k]), len(self.cubes), {}, {})


def cube(number: int, text: str) -> Cube:
    header = Header(
        Provenance(unit="turn", thread="s", position=number, speaker="Ann"),
        life=Life(valid_from=DAY + timedelta(hours=number)),
    )
    return Cube(f"{number:032x}", number, 1, "main", Scope(session="s"), Text(text), header, DAY, DAY, "")


def hits(texts: Sequence[str]) -> list[Hit]:
    return [Hit(cube(n, text), float(len(texts) - n)) for n, text in enumerate(texts)]
