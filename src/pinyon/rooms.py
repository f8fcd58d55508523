"""Spaces with a key of their own: each rests in an encrypted memory of its own, beside the one it belongs to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .core.scope import DEFAULT_SPACE
from .errors import BadInput
from .store import Engine, Room, Shredded, Vault

if TYPE_CHECKING:
    from .parts import Parts

__all__ = ["Rooms", "note_shredded", "shredded_spaces"]

_SHREDDED = "shredded spaces"


class Rooms:
    """Opens the memory of a space when it is first asked for.

    Args:
        vault: The keys.
        open_room: Opens the parts of one room.
    """

    def __init__(self, vault: Vault, open_room: Callable[[Room], Parts]) -> None:
        self.vault = vault
        self._open_room = open_room
        self._lock = threading.Lock()
        self._opened: dict[str, Parts] = {}
        self._names: tuple[str, ...] = ()
        self._seen = -1

    @property
    def names(self) -> tuple[str, ...]:
        """Spaces with a key of their own, those that other processes have made included."""
        changed = self.vault.file.stat().st_mtime_ns
        if changed != self._seen:
            self._names, self._seen = self.vault.spaces, changed
        return self._names

    def parts(self, space: str) -> Parts | None:
        """Return the parts of a space's own memory; None when it has none."""
        with self._lock:
            if space not in self.names:
                gone = self._opened.pop(space, None)
                if gone is not None:
                    gone.close()
                return None
            if space not in self._opened:
                self._opened[space] = self._open_room(self.vault.room(space))
            return self._opened[space]

    def add(self, space: str) -> None:
        """Give a space a key of its own.

        Raises:
            BadInput: It is the default space.
        """
        if space == DEFAULT_SPACE:
            raise BadInput(f"the space {space!r} rests under the key of the memory", hint="choose another space")
        self.vault.add_room(space)
        self._seen = -1

    def shred(self, space: str) -> Shredded:
        """Destroy the key of a space, and with it everything it holds, in every copy.

        Raises:
            NotFound: It has no key of its own.
        """
        with self._lock:
            opened = self._opened.pop(space, None)
            if opened is not None:
                opened.close()
            self._seen = -1
            return self.vault.shred(space)

    @staticmethod
    def was_shredded(space: str, engine: Engine) -> bool:
        """Return whether the own key of a space was destroyed."""
        return space in shredded_spaces(engine)

    def close(self) -> None:
        """Close every room that was opened."""
        with self._lock:
            for parts in self._opened.values():
                parts.close()
            self._opened.clear()


def shredded_spaces(engine: Engine) -> tuple[str, ...]:
    """Return the spaces whose own keys were destroyed."""
    return tuple(json.loads(engine.setting(_SHREDDED) or "[]"))


def note_shredded(engine: Engine, space: str, *, is_shredded: bool) -> None:
    """Keep in mind that the own key of a space was destroyed, or that it has got another one."""
    with engine.transaction() as tx:
        known = {name for name in json.loads(tx.setting(_SHREDDED) or "[]") if name != space}
        tx.set_setting(_SHREDDED, json.dumps(sorted(known | ({space} if is_shredded else set()))))
