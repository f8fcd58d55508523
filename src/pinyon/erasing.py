"""The verbs of a memory that end what it holds: forgetting with a receipt, purging, shredding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from . import govern
from .core.access import Access
from .core.where import EVERY_STATE, LIVE_STATES, View, Where
from .errors import BadInput, Conflict, Denied
from .parts import MOUNTS, Caller, Who
from .reading import Filters, where_of
from .results import Forgotten
from .writing import Writing

if TYPE_CHECKING:
    from .govern.forgetting import Derived
    from .rooms import Rooms
    from .store import Engine, Shredded

__all__ = ["Erasing", "is_used"]

_BATCH = 1000  # cubes a read


class Erasing(Writing):
    """Forget, purge, shred."""

    def plan_forget(
        self,
        ids: Sequence[str] = (),
        *,
        where: Filters = None,
        query: str | None = None,
        k: int = 10,
        about: str | None = None,
        mentions: bool = False,
        whole_space: bool = False,
        derived: Derived = "forget",
        **who: Unpack[Who],
    ) -> Forgotten:
        """Return what `forget` with the same arguments would remove, without removing it."""
        caller = self._changer(who)
        plan = self._forget_plan(ids, where, query, k, about, mentions, whole_space, derived, caller)
        rooms = tuple(
            self.plan_forget(about=about, mentions=mentions, derived=derived, **there)
            for there in _other_rooms(caller, about, who)
        )
        self._note_reach(caller, plan, is_done=False)
        cubes = (*plan.targets, *plan.derived, *(cube for room in rooms for cube in room.cubes))
        mounted = _mounted(caller, about)
        return Forgotten(cubes, is_done=False, plan=plan, rooms=rooms, not_covered=mounted)

    def forget(
        self,
        ids: Sequence[str] = (),
        *,
        where: Filters = None,
        query: str | None = None,
        k: int = 10,
        about: str | None = None,
        mentions: bool = False,
        whole_space: bool = False,
        derived: Derived = "forget",
        **who: Unpack[Who],
    ) -> Forgotten:
        """Remove cubes with all versions and vectors, and what was made of them; the journal keeps that they went.

        Args:
            ids: Ids, or their first characters.
            where: Everything that a filter admits; needs at least one condition.
            query: The k best hits of a question.
            k: For `query`.
            about: Everything about a person, in every space but mounted ones: written by them, said by them, or naming
                them by a tag or by ``subject`` in the metadata. Administrators reach what is private to others too,
                which the audit says at every level.
            mentions: With `about`, also everything whose words name the person.
            whole_space: Everything in the caller's space that it may change.
            derived: What becomes of something made of several memories of which some stay: ``forget`` it, or mark it
                ``stale`` until it is made again.
            who: Who does it.

        Returns:
            What went, with a signed receipt that names every copy touched and everything that was kept, and why.

        Raises:
            NotFound: An id does not exist for this caller.
            Denied: A memory that was named by its id is frozen, or the caller may not change it.
            BadInput: Nothing says what to forget; or all that is about a person, in a space that is mounted.
        """
        caller = self._changer(who)
        plan = self._forget_plan(ids, where, query, k, about, mentions, whole_space, derived, caller)
        parts = caller.parts
        self._check_named(ids, plan, caller)
        with caller.audited("forget", plan.targets):
            receipt = govern.carry_out(
                parts.store, plan, actor=caller.scope, now=caller.now(), drop_index=parts.finder.forgot
            )
        self._note_reach(caller, plan, is_done=True)
        gone = {each.id for each in receipt.erased}
        if gone:
            from .claims import bring_back  # detectors of facts, which a search needs none of

            bring_back([cube for cube in (*plan.targets, *plan.derived) if cube.id in gone], caller)
            parts.heat.forget([cube.row for cube in (*plan.targets, *plan.derived)])
            parts.let_go()
        rooms = tuple(
            self.forget(about=about, mentions=mentions, derived=derived, **there)
            for there in _other_rooms(caller, about, who)
        )
        cubes = [cube for cube in (*plan.targets, *plan.derived) if cube.id in gone]
        cubes += [cube for room in rooms for cube in room.cubes]
        mounted = _mounted(caller, about)
        return Forgotten(tuple(cubes), is_done=True, plan=plan, receipt=receipt, rooms=rooms, not_covered=mounted)

    def _forget_plan(
        self,
        ids: Sequence[str],
        where: Filters,
        query: str | None,
        k: int,
        about: str | None,
        mentions: bool,
        whole_space: bool,
        derived: Derived,
        caller: Caller,
    ) -> govern.ForgetPlan:
        parts = caller.parts
        if about is not None:
            caller.check_home()  # a person is looked for in every space, and one alone is mounted
        view = caller.whole_view() if about is None else self._reach(caller)
        named = [parts.one(id, caller, "forget").id for id in ([ids] if isinstance(ids, str) else ids)]
        wanted = None if where is None else where_of(where)
        if query is not None:
            found = self._found(query, k, where, caller).hits
            named += [hit.cube.id for hit in found]
            if not named:
                return govern.ForgetPlan(caller.whole_view(), {"query": True})
            wanted = None
        elif wanted is not None and wanted.states == LIVE_STATES and wanted != Where():
            wanted = replace(wanted, states=EVERY_STATE)  # what a source said before goes with what it says now
        retention, now = govern.Retention(parts.store), caller.now()
        return govern.plan_forgetting(
            parts.store,
            view,
            ids=list(dict.fromkeys(named)),
            where=wanted,
            subject=None if about is None else govern.Subject(about),
            mentions=mentions,
            whole_space=whole_space,
            derived=derived,
            holds=lambda cubes: retention.held(cubes, now),
        )

    @staticmethod
    def _reach(caller: Caller) -> View:
        """Return what a caller may look through for everything about a person: as an administrator, its tenant."""
        view = caller.whole_view()
        return replace(view, access=Access.steward(caller.scope.tenant, caller.now())) if caller.is_admin else view

    @staticmethod
    def _note_reach(caller: Caller, plan: govern.ForgetPlan, *, is_done: bool) -> None:
        """Write to the audit, whatever its level, that an administrator reached what is private to others."""
        if plan.view.holds.is_steward:
            ids = [cube.id for cube in (*plan.targets, *plan.derived)]
            caller.parts.auditor.reached(
                caller.scope, "forget", ids, space=caller.space, detail={"done": is_done, "cubes": len(ids)}
            )

    @staticmethod
    def _check_named(ids: Sequence[str], plan: govern.ForgetPlan, caller: Caller) -> None:
        """Raise when what was named one by one cannot go; what a filter admitted is left out and reported."""
        kept = {each.id: each.reason for each in (*plan.held, *plan.not_allowed)}
        for id in [ids] if isinstance(ids, str) else ids:
            cube = caller.parts.one(id, caller, "forget")
            if cube.id in kept:
                kind, _, rule = kept[cube.id].partition(": ")
                with caller.audited("forget", [cube]):
                    raise Denied(f"memory {cube.id[:10]} stays: {kept[cube.id]}", rule=rule or kind)

    def purge(self, *, level: govern.PurgeLevel = "file", **who: Unpack[Who]) -> govern.Purged:
        """Let no file hold anything of what was forgotten: log, free pages, index snapshots, orphaned blobs.

        Args:
            level: ``log`` empties the write-ahead log and drops the snapshots; ``file`` writes the database anew too.
            who: Who does it.

        Raises:
            Denied: There is an administrator, or another tenant has rules, and the caller is no administrator of the
                whole memory.
        """
        caller = self._writer(who)
        caller.check_keeper("purge")
        parts = caller.parts
        with caller.audited("purge"):
            done = govern.purge(parts.store.engine, parts.folder, level=level)
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
            Denied: There is an administrator, or another tenant has rules, and the caller is no administrator of the
                whole memory.
        """
        caller = self._writer(who)
        caller.check_keeper("own_key")
        rooms = self._rooms(caller)
        if caller.space not in rooms.names and is_used(caller.parts.store.engine, caller.space):
            raise Conflict(
                f"the space {caller.space!r} holds memories already", hint="make another one, and move them there after"
            )
        with caller.audited("own_key"):
            rooms.add(caller.space)
            from .rooms import note_shredded

            note_shredded(caller.parts.root_engine, caller.space, is_shredded=False)

    def shred(self, **who: Unpack[Who]) -> Shredded:
        """Destroy the key of the caller's space, and so every copy of everything it holds, old backups included.

        Copies of the vault file from before, with the user's key of that time, still open it: keep these apart.

        Args:
            who: Who does it, and which space.

        Raises:
            NotFound: It has no key of its own.
            Denied: There is an administrator, or another tenant has rules, and the caller is no administrator of the
                whole memory.
        """
        caller = self._writer(who)
        caller.check_keeper("shred")
        rooms, parts = self._rooms(caller), caller.parts
        with caller.audited("shred"):
            parts.desk.drop_store(parts.store.engine.identity)
            done = rooms.shred(caller.space)
            from .rooms import note_shredded

            note_shredded(parts.root_engine, caller.space, is_shredded=True)
            return done

    @staticmethod
    def _rooms(caller: Caller) -> Rooms:
        rooms = (caller.parts.root or caller.parts).rooms
        if rooms is None:
            raise BadInput(
                "this memory has no vault", hint="`pinyon encrypt` gives it one, and --key-file or PINYON_KEY opens it"
            )
        return rooms


def is_used(engine: Engine, space: str, since: int = 1) -> bool:
    """Return whether a space holds anything, whoever owns it, of what came from an entry of the journal on."""
    return any(
        cube.space == space
        for start in range(since, engine.head().seq + 1, _BATCH)
        for cube in engine.by_rows(range(start, start + _BATCH)).values()
    )


def _mounted(caller: Caller, about: str | None) -> tuple[str, ...]:
    """Return the spaces of other memories, where a person is not looked for."""
    if about is None or caller.parts.root is not None or not caller.parts.root_engine.setting(MOUNTS):
        return ()
    return tuple(sorted(caller.parts.all_mounts().known))


def _other_rooms(caller: Caller, about: str | None, who: Who) -> Iterator[Who]:
    """Yield the same caller in each space with a key of its own, where a person is looked for too."""
    rooms = caller.parts.rooms  # None in a room itself
    for space in rooms.names if rooms is not None and about is not None else ():
        there = who.copy()
        there["space"] = space
        yield there
