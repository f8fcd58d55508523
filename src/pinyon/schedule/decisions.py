"""The latest decisions that were made beside the verbs, with everything that went into them, in the store itself."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ..core.clock import Clock, instant
from ..core.payload import Json, canonical
from ..errors import BadInput, Damaged
from ..store import Engine
from .promote import replay

__all__ = ["MOST_DECISIONS", "DecisionLog", "Noted"]

MOST_DECISIONS: Final = 50
"""Ours: a month of a daily sweep and a daily look at states, in less than a megabyte."""
_LAST = "decisions"
_ONE = "decision:{}"


@dataclass(frozen=True, slots=True)
class Noted:
    """A decision that was noted.

    Args:
        number: From 0, in the order in which they were made.
        time: When.
        record: The rule, its inputs and its outcome, as `replay` reads them: ids and numbers, never content.
    """

    number: int
    time: datetime
    record: Mapping[str, Json]

    @property
    def rule(self) -> str:
        """Which rule decided: ``moves``, ``states``, ``weights`` or ``places``."""
        return str(self.record["rule"])

    @property
    def outcome(self) -> tuple[Json, ...]:
        """What was decided, one entry for each memory."""
        found = self.record["outcome"]
        lists = [part for part in found.values() if isinstance(part, list)] if isinstance(found, dict) else []
        return tuple(entry for part in lists for entry in part)

    def is_replayed(self) -> bool:
        """Return whether the rules as they are now decide the same from the same inputs."""
        try:
            (again,) = replay([self.record])
        except (BadInput, TypeError, KeyError, ValueError):  # a class or a parameter that is no more
            return False
        return canonical(again) == canonical(dict(self.record))


class DecisionLog:
    """Keeps the latest decisions among the settings of a store, where older ones make room.

    Args:
        engine: The store.
        clock: Where the time of a decision comes from.
        most: How many are kept, >= 1.
    """

    def __init__(self, engine: Engine, clock: Clock, *, most: int = MOST_DECISIONS) -> None:
        self._engine = engine
        self._clock = clock
        self._most = most

    def note(self, record: Mapping[str, Json]) -> None:
        """Keep one decision; the argument of a sink."""
        with self._engine.transaction() as tx:
            number = int(tx.setting(_LAST) or 0)
            said: dict[str, Json] = {"number": number, "time": self._clock.now().isoformat(), "record": dict(record)}
            tx.set_setting(_ONE.format(number % self._most), _packed(said))
            tx.set_setting(_LAST, str(number + 1))

    def latest(self) -> tuple[Noted, ...]:
        """Return what is kept, the oldest first.

        Raises:
            Damaged: An entry cannot be read.
        """
        end = int(self._engine.setting(_LAST) or 0)
        texts = (
            self._engine.setting(_ONE.format(number % self._most)) for number in range(max(0, end - self._most), end)
        )
        return tuple(sorted((_unpacked(text) for text in texts if text), key=lambda noted: noted.number))


def _packed(said: dict[str, Json]) -> str:
    return base64.b64encode(zlib.compress(canonical(said).encode())).decode("ascii")


def _unpacked(text: str) -> Noted:
    try:
        said = json.loads(zlib.decompress(base64.b64decode(text)))
        return Noted(int(said["number"]), instant(said["time"]), said["record"])
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Damaged("a decision that the store keeps cannot be read") from error
