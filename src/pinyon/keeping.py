"""The verbs of a memory that keep it: forgetting, the life of memories, purging, the audit, background work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Unpack

from .core.access import Access
from .core.clock import Instant, instant
from .core.cube import Cube
from .core.payload import Json, Text, clean
from .core.where import EVERY_STATE, LIVE_STATES, Where
from .errors import BadInput, Conflict, Denied
from .govern.about import Subject
from .govern.audit import AuditFilter, PolicyChange, policy_changes
from .govern.forgetter import Forgetter
from .govern.forgetting import Derived, ForgetPlan, carry_out, plan_forgetting
from .govern.purge import Purged, PurgeLevel, purge
from .govern.retention import Retention, RetentionReport, Rule, report
from .govern.rights import joined_rights
from .parts import Caller, Parts, Who
from .reading import Filters, where_of
from .results import Forgotten
from .rooms import Rooms
from .schedule import Lifecycle, Queue, Swept, Task, Work
from .store import Shredded
from .store.side import AuditEntry
from .writing import Writing

__all__ = ["Keeping"]


class Keeping(Writing):
    """Forget, archive, restore, freeze, sweep, purge, audit."""

    # --- forgetting --------------------------------------------------------------------------------------------

    def plan_forget(
        self,
        ids: Sequence[str] = (),
        *,
        where: Filters = None,
        query: str | None = None,
        k: int = 10,
        about: str | None = None,
        mentions: bool = False,
        derived: Derived = "forget",
        **who: Unpack[Who],
    ) -> Forgotten:
        """Return what `forget` with the same arguments would remove, without removing it."""
        caller = self._writer(who)
        plan = self._forget_plan(ids, where, query, k, about, mentions, derived, caller)
        rooms = tuple(
            self.plan_forget(about=about, mentions=mentions, derived=derived, **there)
            for there in _other_rooms(caller, about, who)
        )
        cubes = (*plan.targets, *plan.derived, *(cube for room in rooms for cube in room.cubes))
        return Forgotten(cubes, is_done=False, plan=plan, rooms=rooms)

    def forget(
        self,
        ids: Sequence[str] = (),
        *,
        where: Filters = None,
        query: str | None = None,
        k: int = 10,
        about: str | None = None,
        mentions: bool = False,
        derived: Derived = "forget",
        **who: Unpack[Who],
    ) -> Forgotten:
        """Remove cubes with all versions and vectors, and what was made of them; the journal keeps that they went.

        Args:
            ids: Ids, or their first characters.
            where: Everything that a filter admits; needs at least one condition.
            query: The k best hits of a question.
            k: For `query`.
            about: Everything about a person, in every space: written by them, said by them, or naming them by a tag or
                by ``subject`` in the metadata.
            mentions: With `about`, also everything whose words name the person.
            derived: What becomes of something made of several memories of which some stay: ``forget`` it, or mark it
                ``stale`` until it is made again.
            who: Who does it.

        Returns:
            What went, with a signed receipt that names every copy touched and everything that was kept, and why.

        Raises:
            NotFound: An id does not exist for this caller.
            Denied: A memory that was named by its id is frozen, or the caller may not change it.
            BadInput: Nothing says what to forget.
        """
        caller = self._writer(who)
        plan = self._forget_plan(ids, where, query, k, about, mentions, derived, caller)
        parts = caller.parts
        self._check_named(ids, plan, caller)
        with caller.audited("forget", plan.targets):
            receipt = carry_out(parts.store, plan, actor=caller.scope, now=caller.now(), drop_index=parts.finder.forgot)
        gone = {each.id for each in receipt.erased}
        if gone:
            parts.heat.forget([cube.row for cube in (*plan.targets, *plan.derived)])
            parts.let_go()
        rooms = tuple(
            self.forget(about=about, mentions=mentions, derived=derived, **there)
            for there in _other_rooms(caller, about, who)
        )
        cubes = [cube for cube in (*plan.targets, *plan.derived) if cube.id in gone]
        cubes += [cube for room in rooms for cube in room.cubes]
        return Forgotten(tuple(cubes), is_done=True, plan=plan, receipt=receipt, rooms=rooms)

    def _forget_plan(
        self,
        ids: Sequence[str],
        where: Filters,
        query: str | None,
        k: int,
        about: str | None,
        mentions: bool,
        derived: Derived,
        caller: Caller,
    ) -> ForgetPlan:
        parts = caller.parts
        named = [parts.one(id, caller).id for id in ([ids] if isinstance(ids, str) else ids)]
        wanted = None if where is None else where_of(where)
        if query is not None:
            found = self._found(query, k, where, caller).hits
            named += [hit.cube.id for hit in found]
            if not named:
                return ForgetPlan(caller.whole_view(), {"query": True})
            wanted = None
        elif wanted is not None and wanted.states == LIVE_STATES and wanted != Where():
            wanted = replace(wanted, states=EVERY_STATE)  # what a source said before goes with what it says now
        retention, now = Retention(parts.store), caller.now()
        return plan_forgetting(
            parts.store,
            caller.whole_view(),
            ids=list(dict.fromkeys(named)),
            where=wanted,
            subject=None if about is None else Subject(about),
            mentions=mentions,
            derived=derived,
            holds=lambda cubes: retention.held(cubes, now),
        )

    @staticmethod
    def _check_named(ids: Sequence[str], plan: ForgetPlan, caller: Caller) -> None:
        """Raise when what was named one by one cannot go; what a filter admitted is left out and reported."""
        kept = {each.id: each.reason for each in (*plan.held, *plan.not_allowed)}
        for id in [ids] if isinstance(ids, str) else ids:
            cube = caller.parts.one(id, caller)
            if cube.id in kept:
                kind, _, rule = kept[cube.id].partition(": ")
                with caller.audited("forget", [cube]):
                    raise Denied(f"memory {cube.id[:10]} stays: {kept[cube.id]}", rule=rule or kind)

    def purge(self, *, level: PurgeLevel = "file", **who: Unpack[Who]) -> Purged:
        """Let no file hold anything of what was forgotten: log, free pages, index snapshots, orphaned blobs.

        Args:
            level: ``log`` empties the write-ahead log and drops the snapshots; ``file`` writes the database anew too.
            who: Who does it.

        Raises:
            Denied: There is an administrator, and the caller is none.
        """
        caller = self._writer(who)
        caller.check_admin()
        parts = caller.parts
        with caller.audited("purge"):
            done = purge(parts.store.engine, parts.folder, level=level)
        parts.let_go()
        parts.finder.rebuild()
        return done

    def own_key(self, **who: Unpack[Who]) -> None:
        """Give the caller's space a key of its own, in an encrypted memory; it then rests in a file of its own.

        `shred` makes everything in it unreadable at once, in every copy. All other verbs work as everywhere.

        Args:
            who: Who does it, and which space; it must hold nothing yet.

        Raises:
            BadInput: The memory is not encrypted, or the space is the default one.
            Conflict: The space holds memories already.
            Denied: There is an administrator, and the caller is none.
        """
        caller = self._writer(who)
        caller.check_admin()
        rooms = self._rooms(caller)
        steward = Access.steward(caller.scope.tenant, caller.now())
        everything = replace(caller.whole_view(), access=steward)
        if caller.space not in rooms.names and caller.parts.store.engine.count(everything):
            raise Conflict(
                f"the space {caller.space!r} holds memories already", hint="make another one, and move them there after"
            )
        with caller.audited("own_key"):
            rooms.add(caller.space)

    def shred(self, **who: Unpack[Who]) -> Shredded:
        """Destroy the key of the caller's space, and so every copy of everything it holds, old backups included.

        Copies of the vault file from before, with the user's key of that time, still open it: keep these apart.

        Args:
            who: Who does it, and which space.

        Raises:
            NotFound: It has no key of its own.
            Denied: There is an administrator, and the caller is none.
        """
        caller = self._writer(who)
        caller.check_admin()
        rooms, parts = self._rooms(caller), caller.parts
        with caller.audited("shred"):
            parts.desk.drop_store(parts.store.engine.identity)
            return rooms.shred(caller.space)

    @staticmethod
    def _rooms(caller: Caller) -> Rooms:
        rooms = (caller.parts.root or caller.parts).rooms
        if rooms is None:
            raise BadInput("this memory has no vault", hint="open it with a key: Memory.open(path, key=…)")
        return rooms

    # --- life --------------------------------------------------------------------------------------------------

    def archive(self, id: str, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """Put a memory away, so that only who asks for the archive finds it.

        Args:
            id: Its id, or the first characters of it.
            why: For the journal; never content of a memory.
            who: Who does it.

        Raises:
            NotFound: There is no such memory for this caller.
            Denied: The caller may not do it.
            Conflict: It is in a state from which this is not possible.
        """
        return self._live(id, "archive", why, who)

    def restore(self, id: str, version: int | None = None, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """Bring an archived memory back, as it is or as an earlier version had it; or take a merged one apart.

        Args:
            id: Its id, or the first characters of it.
            version: From 1, or None for its last one.
            why: For the journal.
            who: Who does it.
        """
        caller = self._writer(who)
        cube = caller.parts.one(id, caller)
        with caller.audited("restore", [cube]):
            restored = self._lifecycle(caller.parts).restore(cube.id, version, view=caller.whole_view(), why=why)
        caller.parts.finder.wrote()
        return restored

    def freeze(self, id: str, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """Hold a memory as it is: nothing changes, archives or forgets it until it is thawed; as `archive`."""
        return self._live(id, "freeze", why, who)

    def thaw(self, id: str, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """Let a frozen memory be what it was before; as `archive`."""
        return self._live(id, "thaw", why, who)

    def pin(self, id: str, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """Keep a memory from being archived or dropped by itself; as `archive`."""
        return self._live(id, "pin", why, who)

    def unpin(self, id: str, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """Let a memory be archived or dropped by itself again; as `archive`."""
        return self._live(id, "unpin", why, who)

    def merge(self, ids: Sequence[str], text: str, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """Make one memory of several, and archive those.

        The new one has no more rights than any of them, and expires with the first of them.

        Args:
            ids: At least two, or their first characters.
            text: What it says.
            why: For the journal.
            who: Who does it.
        """
        caller = self._writer(who)
        if not clean(text).strip():
            raise BadInput("the text of a merged memory is empty")
        cubes = [caller.parts.one(id, caller) for id in ids]
        with caller.audited("merge", cubes):
            merged = self._lifecycle(caller.parts).merge(
                [cube.id for cube in cubes], Text(clean(text)), view=caller.whole_view(), why=why
            )
        caller.parts.finder.wrote()
        return merged

    def _live(self, id: str, move: str, why: str, who: Who) -> Cube:
        caller = self._writer(who)
        cube = caller.parts.one(id, caller)
        with caller.audited(move, [cube]):
            moved: Cube = getattr(self._lifecycle(caller.parts), move)(cube.id, view=caller.whole_view(), why=why)
        caller.parts.finder.wrote()
        return moved

    def sweep(
        self,
        *,
        dry_run: bool = False,
        limit: int | None = None,
        after: int = 0,
        progress: Callable[[int], object] | None = None,
        **who: Unpack[Who],
    ) -> Swept:
        """Move every memory that is due, whoever owns it: archive what is idle, expire and drop what is over.

        Args:
            dry_run: Only say what would move.
            limit: Most moves, or None.
            after: Where to go on, `Swept.reached` of a sweep that was limited.
            progress: Told the number of memories looked at after each batch.
            who: Who does it.

        Raises:
            Denied: There is an administrator, and the caller is none.
        """
        caller = self._writer(who)
        caller.check_admin()
        parts = caller.parts
        parts.note_uses()
        with caller.audited("sweep"):
            swept = self._lifecycle(parts).sweep(
                caller.now(), dry_run=dry_run, limit=limit, after=after, progress=progress
            )
        parts.let_go()
        return swept

    @staticmethod
    def _lifecycle(parts: Parts) -> Lifecycle:
        retention = Retention(parts.store)
        return Lifecycle(
            parts.store,
            parts.clock,
            joined=joined_rights,
            forget=Forgetter(parts.store, retention, keep=parts.note_receipt, drop_index=parts.finder.forgot),
            rules=retention,
            config=parts.lifecycle,
        )

    def retention(self, **who: Unpack[Who]) -> tuple[Rule, ...]:
        """Return the rules of retention of the caller's tenant, in order; the first that is about a memory decides."""
        caller = self._for(who)
        return Retention(caller.parts.store).rules(caller.scope.tenant)

    def retain(self, rules: Sequence[Rule], **who: Unpack[Who]) -> tuple[Rule, ...]:
        """Replace the rules of retention of the caller's tenant.

        Args:
            rules: All of them.
            who: Who rules.

        Raises:
            Denied: There is an administrator, and the caller is none.
        """
        caller = self._writer(who)
        with caller.audited("policy"):
            return Retention(caller.parts.store).change(rules, access=caller.access(), now=caller.now())

    def retention_report(self, **who: Unpack[Who]) -> RetentionReport:
        """Return which rule says what about each memory of the caller's space; nothing is done."""
        caller = self._for(who)
        rules = Retention(caller.parts.store).rules(caller.scope.tenant)
        cubes = self._all(Where(states=EVERY_STATE), who)
        return report(rules, caller.parts.store.engine, cubes, caller.now())

    # --- accounts ----------------------------------------------------------------------------------------------

    def audit(
        self,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        actions: Sequence[str] = (),
        cube: str | None = None,
        allowed: bool | None = None,
        **who: Unpack[Who],
    ) -> Iterator[AuditEntry]:
        """Yield what was asked for and decided, oldest first; for administrators, once there is one.

        Args:
            since: Earliest time.
            until: Before this time.
            actions: Verbs, any of them; none for all.
            cube: Id of a memory.
            allowed: What was decided, or None for both.
            who: Who looks.

        Raises:
            Denied: There is an administrator, and the caller is none.
        """
        caller = self._for(who)
        caller.check_admin()
        wanted = AuditFilter(
            since=None if since is None else instant(since),
            until=None if until is None else instant(until),
            actions=tuple(actions),
            cube=cube,
            allowed=allowed,
        )
        yield from caller.parts.auditor.report(caller.scope.tenant, wanted)

    def rule_changes(self, **who: Unpack[Who]) -> Iterator[PolicyChange]:
        """Yield who changed which rights and rules, oldest first; for administrators, once there is one."""
        caller = self._for(who)
        caller.check_admin()
        yield from policy_changes(caller.parts.store.journal(), caller.scope.tenant)

    @property
    def jobs(self) -> Queue:
        """Work that survives the process; any process that calls `work` does it."""
        parts = self._caller.check_open()
        return Queue(parts.store.engine.jobs, parts.clock)

    def work(
        self,
        functions: Mapping[str, Work] | None = None,
        *,
        sweep_every: timedelta | None = None,
        stop: threading.Event | None = None,
    ) -> int:
        """Do the jobs that are due, and return how many were done.

        Args:
            functions: What does the jobs of each kind, beside ``sweep`` and ``embed``.
            sweep_every: Let a sweep recur so often, from now on.
            stop: Go on until it is set; None ends when nothing is due.
        """
        self._caller.check_now()
        if sweep_every is not None:
            self.jobs.add("sweep", key="sweep", every=sweep_every)
        worker = self.jobs.worker({**self._own_work(), **(functions or {})})
        try:
            return worker.run() if stop is None else worker.serve(stop)
        finally:
            worker.close()

    def _own_work(self) -> dict[str, Work]:
        def sweep(task: Task) -> dict[str, Json]:
            return dict(self.sweep(progress=lambda _: task.renew()).counts)

        def embed(task: Task) -> dict[str, Json]:
            return {"embedded": self._caller.parts.finder.catch_up(lambda _: task.renew())}

        return {"sweep": sweep, "embed": embed}


def _other_rooms(caller: Caller, about: str | None, who: Who) -> Iterator[Who]:
    """Yield the same caller in each space with a key of its own, where a person is looked for too."""
    rooms = caller.parts.rooms  # None in a room itself
    for space in rooms.names if rooms is not None and about is not None else ():
        there = who.copy()
        there["space"] = space
        yield there
