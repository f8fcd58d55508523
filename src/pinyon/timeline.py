"""The verbs of a memory that look back, go back, and try out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

from .core.clock import Instant, instant
from .core.cube import Cube
from .core.events import EventOp
from .errors import NotFound
from .keeping import Keeping
from .parts import Who
from .reading import Filters, where_of

if TYPE_CHECKING:
    from .past import Branched, Diff, LogLine, Merged, MergePolicy, Undone

__all__ = ["Timeline"]


class Timeline(Keeping):
    """Log, diff, undo, rollback, branch."""

    def log(
        self,
        *,
        limit: int = 50,
        since: Instant | None = None,
        until: Instant | None = None,
        op: EventOp | None = None,
        mine: bool = False,
        **who: Unpack[Who],
    ) -> Iterator[LogLine]:
        """Yield what was done in the caller's space, the latest first, as far as it may see it.

        Args:
            limit: Most lines.
            since: Earliest record time.
            until: Latest record time.
            op: Only this: ``create``, ``overwrite``, ``state``, ``restore``, ``merge``, ``convert``, ``forget`` …
            mine: Only what the caller did.
            who: Who looks.
        """
        from .past import log

        caller = self._reader(who)
        yield from log(
            caller.parts.store,
            caller.view(),
            limit=limit,
            since=None if since is None else instant(since),
            until=None if until is None else instant(until),
            actor=caller.scope if mine else None,
            op=op,
        )

    def diff(self, since: Instant, until: Instant | None = None, *, where: Filters = None, **who: Unpack[Who]) -> Diff:
        """Return what changed between two moments of record time, as the caller sees both today.

        Args:
            since: The first.
            until: The second; None for now.
            where: Filter.
            who: Who looks.
        """
        from .past import diff

        caller = self._reader(who)
        engine = caller.parts.store.engine
        start, end = instant(since), None if until is None else instant(until)
        last = engine.head().seq if end is None else engine.seq_at(end)
        view = caller.view(where_of(where))
        moments = (start, end or view.moment)
        return diff(caller.parts.store, view, engine.seq_at(start), last, moments=moments)

    def rollback(self, id: str, version: int, **who: Unpack[Who]) -> Cube:
        """Write a version of a memory that says what an earlier one said; its history keeps both.

        Args:
            id: Its id, or the first characters of it.
            version: The version to go back to, from 1.
            who: Who does it.

        Raises:
            NotFound: There is no such memory or version for this caller.
            Denied: The caller may not change it, or not restore the rights or the state that it had.
            Conflict: It has expired.
        """
        from .past import rollback

        caller = self._writer(who)
        parts = caller.parts
        cube = parts.one(id, caller, "rollback")
        with caller.audited("rollback", [cube]):
            back = rollback(
                parts.store, cube.id, version, view=caller.whole_view(), actor=caller.scope, now=caller.now()
            )
        parts.finder.wrote()
        return back

    def undo(self, *, steps: int = 1, **who: Unpack[Who]) -> Undone:
        """Revert what the caller did last in its space; undoing that does it again. Forgetting cannot be undone.

        Args:
            steps: How many of its verbs.
            who: Who undoes what it did.

        Raises:
            BadInput: There is nothing to undo, or one of them forgot something or changed rules.
        """
        from .past import undo

        caller = self._writer(who)
        parts = caller.parts
        with caller.audited("undo"):
            undone = undo(parts.store, view=caller.whole_view(), actor=caller.scope, now=caller.now(), steps=steps)
        parts.finder.wrote()
        return undone

    def branch(self, into: str, *, moment: Instant | None = None, **who: Unpack[Who]) -> Branched:
        """Copy what the caller sees of its space into another one, to try something out; nothing writes back by itself.

        Args:
            into: Name of the new space.
            moment: As it was then (record time); None for now.
            who: Who branches, and which space.
        """
        from .past import branch

        caller = self._writer(who)
        parts = caller.parts
        engine = parts.store.engine
        caller.narrowed({"space": into}).check_space()
        at = engine.head().seq if moment is None else engine.seq_at(instant(moment))
        with caller.audited("branch"):
            made = branch(parts.store, caller.view(), at, into, actor=caller.scope, now=caller.now())
        parts.finder.wrote()
        return made

    def merge_branch(self, branch: str, *, policy: MergePolicy = "newer", **who: Unpack[Who]) -> Merged:
        """Bring what was changed in a branch back into the caller's space.

        Args:
            branch: Name of the branched space.
            policy: Whose version stands where both changed: ``newer``, ``ours`` or ``theirs``.
            who: Who merges, and into which space.

        Raises:
            NotFound: The caller sees no such space.
        """
        from .past import merge_branch

        caller = self._writer(who)
        parts = caller.parts
        if branch not in parts.store.engine.spaces(caller.whole_view()):
            raise NotFound(f"there is no branch {branch!r} here", hint="`pinyon branch NAME` makes one")
        with caller.audited("merge_branch"):
            merged = merge_branch(
                parts.store,
                branch,
                caller.space,
                view=caller.whole_view(),
                actor=caller.scope,
                now=caller.now(),
                policy=policy,
            )
        parts.finder.wrote()
        return merged
