"""What verbs return that a memory itself has no result for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.cube import Version
    from ..core.payload import Json
    from ..results import Stats

__all__ = ["Exported", "Health", "Past", "Shown"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A result that says itself what is shown of it.

    Args:
        data: The JSON document.
        lines: What a person reads; control characters are spelled out where they are shown.
        is_good: Whether the command succeeded in what it was to find out.
    """

    data: Json
    lines: tuple[str, ...]
    is_good: bool = True


@dataclass(frozen=True, slots=True)
class Past:
    """The history of a cube.

    Args:
        id: The whole id.
        versions: Oldest first.
    """

    id: str
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """An archive that was written.

    Args:
        path: Where it lies.
        cubes: How many cubes it holds.
    """

    path: str
    cubes: int


@dataclass(frozen=True, slots=True)
class Health:
    """How a memory is.

    Args:
        problems: One sentence each; empty when all is sound.
        repairs: What was done about them.
        stats: What is in it, or None when it cannot be read.
        versions: Versions of pinyon and of what it stands on.
        files: Bytes of each file of the memory.
    """

    problems: tuple[str, ...]
    repairs: tuple[str, ...]
    stats: Stats | None
    versions: Mapping[str, str]
    files: Mapping[str, int]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
