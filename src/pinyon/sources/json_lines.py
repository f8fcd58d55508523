"""JSON lines: one message or memory a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

from ..core.clock import Clock, SystemClock
from ..core.experience import Experience
from ..core.payload import Json
from ..errors import UnreadableSource
from ._decode import decode
from ._dump import Origin
from ._json import loads
from ._records import experiences
from .base import STANDARD, Found, Limits
from .dumps import dump_of

__all__ = ["JsonLines"]


@dataclass(frozen=True, slots=True)
class JsonLines:
    """Read one JSON object a line; see `pinyon.sources` for what becomes of each."""

    limits: Limits = STANDARD
    clock: Clock = field(default_factory=SystemClock)
    name: ClassVar[str] = "JSON lines file"
    suffixes: ClassVar[frozenset[str]] = frozenset({".jsonl", ".ndjson", ".jsonlines"})

    def read(self, data: bytes, name: str) -> list[Experience]:
        """Return conversations and notes; the first broken line refuses the file and is named."""
        return self.look(data, name).experiences

    def look(self, data: bytes, name: str) -> Found:
        """Return what the lines hold, and whose form they have."""
        lines = self._records(decode(data, name), name)
        records: list[tuple[str, Json]] = []
        for where, record in lines:
            records.append((where, record))
            if not isinstance(record, dict):  # no dump has such lines
                return Found(self.name, experiences(chain(records, lines), name))
        values = [record for _, record in records]
        dump = dump_of(values)
        if dump is not None:
            return Found(dump.name, dump.read(values, Origin(dump.name, name, self.clock.now())))
        return Found(self.name, experiences(records, name))

    def _records(self, text: str, name: str) -> Iterator[tuple[str, Json]]:
        for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON may hold U+2028 as it stands
            if not line.strip():
                continue
            try:
                yield f"line {number}", loads(line.strip(), max_depth=self.limits.max_depth)
            except ValueError as error:
                raise UnreadableSource(
                    f"{name!r} is broken: line {number} is no JSON: {_reason(error)}",
                    hint="each line must hold one whole JSON object",
                ) from error


def _reason(error: ValueError) -> str:
    return str(error).split("\n")[0][:120]
