"""A memory inside one transaction of its store: the same verbs, whose writes are all kept at the end, or all undone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from .configuring import secret_of
from .errors import BadInput
from .govern.audit import Auditor
from .parts import Caller, Parts
from .schedule import Heat
from .store import Store
from .store.held import Held, LaterAudit

if TYPE_CHECKING:
    from .mounting import Mount, Mounts
    from .rooms import Rooms
    from .searching import Finder

__all__ = ["HeldFinder", "held_parts"]


class HeldFinder:
    """The finder of a memory as one transaction sees it.

    As long as nothing was written, it is the memory's own. Then it is one beside it, which goes with the transaction.
    """

    def __init__(self, shared: Finder, held: Held) -> None:
        self._shared = shared
        self._held = held
        self._own: Finder | None = None
        self._has_forgotten = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._now(), name)

    def _now(self) -> Finder:
        if not self._held.has_written:
            return self._shared
        if self._own is None:
            self._own = self._shared.beside(self._held.as_engine)
        return self._own

    def wrote(self) -> None:
        """Do nothing: vectors are made when the transaction has ended."""

    def forgot(self) -> None:
        """Keep in mind that something was forgotten."""
        self._has_forgotten = True

    def forget_own(self) -> None:
        """Let go of an index that may have read what was undone."""
        self._own = None

    def finish(self) -> None:
        """Tell the memory's own finder, after the transaction was committed."""
        self._shared.wrote()
        if self._has_forgotten:
            self._shared.forgot()


class _OneStore:
    """Spaces with a key of their own, for a run that may write to one store alone."""

    def __init__(self, rooms: Rooms, home: Parts, held: Parts) -> None:
        self._rooms, self._home, self._held = rooms, home, held
        self.names: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> object:
        if name in ("add", "shred", "close"):
            raise BadInput("keys of spaces are not changed inside a run", hint="do it before or after")
        return getattr(self._rooms, name)

    def parts(self, space: str) -> Parts | None:
        """Return the parts of a space.

        Raises:
            BadInput: It rests in another store than the run.
        """
        found = self._rooms.parts(space)
        if found is (None if self._home.root is None else self._home):
            return None if found is None else self._held
        raise BadInput(
            f"the space {space!r} rests in another file than the run",
            hint="spaces with a key of their own are not written together with others",
        )


class _NoMounts:
    """Spaces of other memories, for a run that may write to one store alone."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> object:
        raise BadInput("memories are not mounted inside a run", hint="do it before or after")

    @property
    def known(self) -> dict[str, Mount]:
        """What is mounted in the memory itself, by name."""
        return self._parts.home.all_mounts().known

    def parts(self, space: str) -> None:
        """Return nothing.

        Raises:
            BadInput: Another memory is mounted there.
        """
        if space in self.known:
            raise BadInput(
                f"another memory is mounted as {space!r}", hint="what is mounted is not used together with others"
            )

    def close(self) -> None:
        """Do nothing: those at home stay open."""


def held_parts(caller: Caller, held: Held, audit: LaterAudit, finder: HeldFinder) -> Parts:
    """Return the parts of a caller's memory as they are inside a transaction."""
    parts = caller.parts
    auditor = Auditor(audit, parts.clock, key=secret_of(parts.root_engine, "audit"), level=parts.auditor.level)
    inside = replace(
        parts,
        store=Store(held.as_engine),
        finder=cast("Finder", finder),  # what is not there is the finder's
        auditor=auditor,
        heat=Heat(held.usage, parts.clock),
        rules={},
    )
    root = parts.root or parts
    rooms = None if root.rooms is None else cast("Rooms", _OneStore(root.rooms, parts, inside))
    mounts = cast("Mounts", _NoMounts(parts))
    if parts.root is None:
        inside.rooms, inside.mounts = rooms, mounts
    else:
        inside.root = replace(parts.root, rooms=rooms, mounts=mounts, auditor=auditor, rules={})
    return inside
