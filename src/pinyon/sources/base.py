"""The contract of a reader: bytes with a name go in, experiences come out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Protocol

from ..core.experience import Experience
from ..errors import BadInput

__all__ = ["STANDARD", "Found", "Limits", "Reader", "Skipped"]


@dataclass(frozen=True, slots=True)
class Found:
    """What was read, and as what.

    Args:
        format: What it was taken for: a reader's name, or that of the other memory a dump comes from.
        experiences: What it says, in order.
    """

    format: str
    experiences: list[Experience]


class Reader(Protocol):
    """Turns one sort of file into experiences."""

    @property
    def name(self) -> str:
        """What this reader reads, in words that complete "is not a readable …"."""
        ...

    @property
    def suffixes(self) -> frozenset[str]:
        """Suffixes of file names, lower case with the dot, that lead to this reader."""
        ...

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return what the bytes say.

        Args:
            data: The whole file, within the reader's limits.
            name: What to call it; becomes the source of each experience.

        Raises:
            UnreadableSource: The bytes are broken, locked, empty or beyond a limit.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a file may ask of the machine, before it is refused; every field must be >= 1."""

    max_file_bytes: int = 256 * 2**20  # parsers need about ten times the file in memory; a novel has 1 MiB
    max_unpacked_bytes: int = 512 * 2**20  # all members of one archive together; chat exports of years stay below
    max_ratio: int = 200  # text packs 3 to 20 times, XML of word processors up to 100; bombs 1000 and more
    ratio_from_bytes: int = 10 * 2**20  # smaller members may pack as well as they like: they harm nobody
    max_members: int = 20_000  # an illustrated book has some hundreds
    max_depth: int = 200  # nesting of JSON and XML; Python's own stack ends near 1000
    max_pages: int = 20_000  # of a PDF; the longest legal codes have about 10,000
    max_markup_steps: int = 10**9  # HTML: tags x open elements, what a tree builder does at worst; about 4 s

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise BadInput(f"{item.name} must be >= 1, got {getattr(self, item.name)!r}")


STANDARD: Final = Limits()
"""The limits that hold where a caller names none."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that was passed over, and why.

    Args:
        source: The path or pattern, as it was given or found.
        reason: Completes "… was skipped because it …".
    """

    source: str
    reason: str
