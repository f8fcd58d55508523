"""The verbs of a memory that keep it: the life of memories, rules of retention, the audit, background work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack, cast

from . import govern, schedule
from .configuring import Configuring, life_kept
from .core.clock import Instant, instant
from .core.cube import Cube, Draft
from .core.header import Rights
from .core.payload import Json, Text, clean
from .core.where import EVERY_STATE, Where
from .errors import BadInput
from .govern.rights import joined_rights
from .parts import Parts, Who

if TYPE_CHECKING:
    from .memory import Memory
    from .schedule import Lifecycle, Queue, Swept, Task, Work
    from .store.side import AuditEntry

__all__ = ["Keeping"]


class Keeping(Configuring):
    """Archive, restore, freeze, sweep, audit."""

    # --- life --------------------------------------------------------------------------------------------------

    def activate(self, id: str, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """Bring a memory to work that was only written, merged or archived; as `archive`."""
        return self._live(id, "activate", why, who)

    def expire(self, id: str, *, why: str = "", **who: Unpack[Who]) -> Cube:
        """End a memory's life: it is found no more, and a sweep forgets it in time; as `archive`."""
        return self._live(id, "expire", why, who)

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
        cube = caller.parts.one(id, caller, "restore")
        why = caller.parts.redacted_name(why, caller.scope.tenant)
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

        Raises:
            BadInput: The text is empty, or holds what a rule of redaction blocks.
        """
        caller = self._writer(who)
        if not clean(text).strip():
            raise BadInput("the text of a merged memory is empty")
        (draft,) = caller.parts.redacted([Draft(Text(clean(text)))], caller.scope.tenant)
        cubes = [caller.parts.one(id, caller, "merge") for id in ids]
        why = caller.parts.redacted_name(why, caller.scope.tenant)
        with caller.audited("merge", cubes):
            lifecycle = self._lifecycle(caller.parts, labels=draft.header.rights.sensitivity)
            merged = lifecycle.merge([cube.id for cube in cubes], draft.payload, view=caller.whole_view(), why=why)
        caller.parts.finder.wrote()
        return merged

    def _live(self, id: str, move: str, why: str, who: Who) -> Cube:
        caller = self._writer(who)
        cube = caller.parts.one(id, caller, move)
        why = caller.parts.redacted_name(why, caller.scope.tenant)
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

        Where tenants have rules, everybody but an administrator of the whole memory sweeps its own tenant alone.

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
        caller.check_admin("sweep")
        parts = caller.parts
        parts.note_uses()
        with caller.audited("sweep"):
            swept = self._lifecycle(parts).sweep(
                caller.now(),
                dry_run=dry_run,
                limit=limit,
                after=after,
                progress=progress,
                within=None if caller.is_keeper else (caller.scope.tenant,),
            )
        parts.let_go()
        return swept

    @staticmethod
    def _lifecycle(parts: Parts, labels: Sequence[str] = ()) -> Lifecycle:
        """Return what moves memories; what it merges gets labels on top of those of its parents."""
        retention = govern.Retention(parts.store)

        def joined(parents: Sequence[Cube]) -> Rights:
            rights = joined_rights(parents)
            return replace(rights, sensitivity=tuple(dict.fromkeys((*rights.sensitivity, *labels))))

        return schedule.Lifecycle(
            parts.store,
            parts.clock,
            joined=joined,
            forget=govern.Forgetter(parts.store, retention, keep=parts.note_receipt, drop_index=parts.finder.forgot),
            rules=retention,
            config=life_kept(parts.root_engine),
            sink=schedule.DecisionLog(parts.root_engine, parts.clock).note,
        )

    def retention(self, **who: Unpack[Who]) -> tuple[govern.Rule, ...]:
        """Return the rules of retention of the caller's tenant, in order; the first that is about a memory decides."""
        caller = self._for(who)
        return govern.Retention(caller.parts.store).rules(caller.scope.tenant)

    def retain(self, rules: Sequence[govern.Rule], **who: Unpack[Who]) -> tuple[govern.Rule, ...]:
        """Replace the rules of retention of the caller's tenant.

        Args:
            rules: All of them.
            who: Who rules.

        Raises:
            BadInput: Two of them have one name, or one would end everything at once.
            Denied: There is an administrator, and the caller is none.
        """
        caller = self._writer(who)
        for rule in rules:
            if rule.drops_everything:
                raise BadInput(
                    f"rule {rule.name!r} would {rule.action} every memory at once",
                    hint="say which ones, in which space, or after what time",
                )
        with caller.audited("policy"):
            return govern.Retention(caller.parts.store).change(rules, access=caller.access(), now=caller.now())

    def retention_report(self, **who: Unpack[Who]) -> govern.RetentionReport:
        """Return which rule says what about each memory of the caller's space; nothing is done."""
        caller = self._for(who)
        rules = govern.Retention(caller.parts.store).rules(caller.scope.tenant)
        cubes = self._all(Where(states=EVERY_STATE), who)
        return govern.report(rules, caller.parts.store.engine, cubes, caller.now())

    # --- accounts ----------------------------------------------------------------------------------------------

    def audit(
        self,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        actions: Sequence[str] = (),
        cube: str | None = None,
        allowed: bool | None = None,
        by: str | None = None,
        **who: Unpack[Who],
    ) -> Iterator[AuditEntry]:
        """Yield what was asked for and decided, oldest first; for administrators, once there is one.

        Args:
            since: Earliest time.
            until: Before this time.
            actions: Verbs, any of them; none for all.
            cube: Id of a memory.
            allowed: What was decided, or None for both.
            by: User who asked, or None for everybody.
            who: Who looks.

        Raises:
            Denied: There is an administrator, and the caller is none.
        """
        caller = self._for(who)
        caller.check_admin("audit")
        wanted = govern.AuditFilter(
            since=None if since is None else instant(since),
            until=None if until is None else instant(until),
            actions=tuple(actions),
            user=by,
            cube=cube,
            allowed=allowed,
        )
        yield from caller.parts.auditor.report(caller.scope.tenant, wanted)

    def rule_changes(self, **who: Unpack[Who]) -> Iterator[govern.PolicyChange]:
        """Yield who changed which rights and rules, oldest first; for administrators, once there is one."""
        caller = self._for(who)
        caller.check_admin("audit")
        yield from govern.policy_changes(caller.parts.store.journal(), caller.scope.tenant)

    @property
    def jobs(self) -> Queue:
        """Work that survives the process; any process that calls `work` does it."""
        parts = self.caller.check_open()
        return schedule.Queue(parts.store.engine.jobs, parts.clock)

    def decisions(self, **who: Unpack[Who]) -> tuple[schedule.Noted, ...]:
        """Return the latest decisions of sweeps and of the job ``state``, with what went into them, oldest first.

        Args:
            who: Who looks.

        Raises:
            Denied: Somebody has rules here, and the caller is no administrator of the whole memory.
        """
        caller = self._for(who)
        caller.check_keeper("decisions")
        return schedule.DecisionLog(caller.parts.root_engine, caller.parts.clock).latest()

    def cancel_job(self, number: int, **who: Unpack[Who]) -> None:
        """Cancel a job, whoever asked for it.

        Args:
            number: Of the job.
            who: Who cancels.

        Raises:
            Denied: Somebody has rules here, and the caller is no administrator of the whole memory.
        """
        caller = self._writer(who)
        caller.check_keeper("cancel_job")
        with caller.audited("cancel_job", detail={"job": number}):
            self.jobs.cancel(number)

    def requeue_job(self, number: int, **who: Unpack[Who]) -> None:
        """Let a dead job begin anew; as `cancel_job`."""
        caller = self._writer(who)
        caller.check_keeper("requeue_job")
        with caller.audited("requeue_job", detail={"job": number}):
            self.jobs.requeue(number)

    def work(
        self,
        functions: Mapping[str, Work] | None = None,
        *,
        sweep_every: timedelta | None = None,
        stop: threading.Event | None = None,
    ) -> int:
        """Do the jobs that are due, and return how many were done.

        Args:
            functions: What does the jobs of each kind, beside ``sweep``, ``embed`` and ``dump``.
            sweep_every: Let a sweep recur so often, from now on.
            stop: Go on until it is set; None ends when nothing is due.
        """
        self.caller.check_now()
        if sweep_every is not None:
            self._caller.check_admin("sweep")  # or its job would fail for good, again and again
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

        def dump(task: Task) -> dict[str, Json]:
            from .dumping import dump

            done = dump(cast("Memory", self), task.arguments)
            return {"path": None if done.path is None else done.path.name, "cubes": done.cubes}

        return {"sweep": sweep, "embed": embed, "dump": dump}
