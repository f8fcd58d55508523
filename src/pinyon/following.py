"""Following a memory: what anybody does in it, as soon as it is done."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING, Unpack

from .errors import BadInput
from .parts import Handle, Who

if TYPE_CHECKING:
    from .past import LogLine
    from .store import Engine

__all__ = ["Following"]


class Following(Handle):
    """Follow."""

    def follow(self, *, stop: Event, idle_s: float = 1.0, **who: Unpack[Who]) -> Iterator[LogLine]:
        """Yield what is done from now on in the caller's space, by any process, as far as it may see it.

        A server says when something was written; of a file, the end of its journal is looked at every `idle_s` seconds.

        Args:
            stop: Set it to end.
            idle_s: Longest wait until `stop` is looked at again, > 0.
            who: Who looks.

        Raises:
            BadInput: The wait is not above zero, or the memory is one of an earlier time.
        """
        from .past import log_after

        caller = self._writer(who)
        if not idle_s > 0:
            raise BadInput(f"a wait of {idle_s!r} seconds is not possible", hint="give more than 0")
        store = caller.parts.store
        seq = store.engine.head().seq
        while not stop.is_set():
            if _has_moved(store.engine, seq, idle_s, stop):
                end = store.engine.head().seq
                yield from log_after(store, caller.view(), seq, end)
                seq = end


def _has_moved(engine: Engine, seq: int, idle_s: float, stop: Event) -> bool:
    """Return whether something was written after an entry, at the latest after a while."""
    wait = getattr(engine, "wait", None)  # of a store that is told by its server
    if wait is not None:
        return bool(wait(seq, idle_s))
    return engine.head().seq > seq or (not stop.wait(idle_s) and engine.head().seq > seq)
