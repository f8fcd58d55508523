"""The life of cubes: what people ask for, and the sweeper for what happens by itself.

Source: MemOS (arXiv 2507.03724) §5.2 and §5.4.3; the table of moves is in `moves.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ..core.access import Action
from ..core.clock import Clock
from ..core.cube import Cube, Draft
from ..core.events import EventOp
from ..core.header import Header, Life, Lineage, Origin, Parent, Provenance, Rights
from ..core.payload import Json, Payload, canonical, payload_to_json
from ..core.scope import Scope
from ..core.where import EVERY_STATE, View, Where
from ..errors import BadInput, Conflict, Denied, NotFound
from ..store import Store
from ..store._writer import Writer  # a merge seals one cube and retires others in one transaction
from .due import LifecycleConfig
from .moves import Trigger, life_after, move_for
from .sweep import Forget, Rules, Sweeper, Swept

__all__ = ["Joined", "Lifecycle"]

Joined = Callable[[Sequence[Cube]], Rights]
"""Gives the rights of something made of several cubes: no wider than those of any of them."""

_TRIES = 5  # each lost to somebody who changed the same cube within a millisecond

_Change = tuple[str, Callable[[Cube], Cube], EventOp, Mapping[str, Json]]


class Lifecycle:
    """Moves cubes through the states of their life; every move is a version and an entry of the journal.

    Args:
        store: Where they rest.
        clock: Where the time comes from.
        joined: Gives the rights of a merged cube.
        forget: How cubes are forgotten whose time is over, and the states of models made of them.
        rules: Rules of retention, or None for none.
        config: When cubes move by themselves.
        sink: Told each decision of a sweep with everything that went into it; `replay` reads it.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        joined: Joined,
        forget: Forget,
        rules: Rules | None = None,
        config: LifecycleConfig | None = None,
        sink: Callable[[dict[str, Json]], object] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._joined = joined
        self._forget = forget
        self._sweeper = Sweeper(store, forget, rules, config or LifecycleConfig(), sink=sink)

    @property
    def config(self) -> LifecycleConfig:
        """When cubes move by themselves."""
        return self._sweeper.config

    def sweep(
        self,
        now: datetime | None = None,
        *,
        batch: int = 1000,
        after: int = 0,
        limit: int | None = None,
        dry_run: bool = False,
        progress: Callable[[int], object] | None = None,
        within: Sequence[str | None] | None = None,
    ) -> Swept:
        """Move every cube that is due, see `Sweeper.sweep`; the time is that of the clock where none is given."""
        return self._sweeper.sweep(
            now or self._clock.now(),
            batch=batch,
            after=after,
            limit=limit,
            dry_run=dry_run,
            progress=progress,
            within=within,
        )

    def activate(self, id: str, *, view: View, why: str = "") -> Cube:
        """Bring a cube to work that was only written, merged or archived.

        Args:
            id: Its id.
            view: Who asks, with what rights, in which spaces.
            why: For the journal; never content of a memory.

        Raises:
            NotFound: There is no such cube for this caller.
            Denied: The caller may not change it.
            Conflict: It is in a state from which this is not possible.
        """
        return self._move(id, "activate", view, why)

    def archive(self, id: str, *, view: View, why: str = "") -> Cube:
        """Put a cube away, so that only who asks for the archive finds it; arguments as for `activate`."""
        return self._move(id, "archive", view, why)

    def supersede(self, id: str, by: str, *, view: View, why: str = "") -> Cube:
        """Put a cube away because another one took its place; arguments as for `activate`, and that one's id."""

        def attempt() -> Cube:
            cube = self._get(id, view)
            life = replace(life_after(cube, "supersede"), superseded_by=self._get(by, view).id)
            said = {**_said(cube, "supersede", life, why), "by": by}
            return self._write([(id, _as_seen(cube, _living(life)), "state", said)], view, "write")[0]

        return _patiently(attempt)

    def expire(self, id: str, *, view: View, why: str = "") -> Cube:
        """End a cube's life; states of models that were made of it are forgotten. Arguments as for `activate`."""
        cube = self._get(id, view)
        life_after(cube, "expire")
        _check_right(view, cube, "write")
        self._forget.forget_states([cube], why="expire", now=self._clock.now())
        return self._move(id, "expire", view, why)

    def freeze(self, id: str, *, view: View, why: str = "") -> Cube:
        """Hold a cube as it is: nothing changes or drops it until it is thawed. Arguments as for `activate`."""
        return self._move(id, "freeze", view, why)

    def thaw(self, id: str, *, view: View, why: str = "") -> Cube:
        """Let a frozen cube be what it was before; arguments as for `activate`."""
        return self._move(id, "thaw", view, why)

    def pin(self, id: str, *, view: View, why: str = "") -> Cube:
        """Keep a cube from being dropped by itself; arguments as for `activate`."""
        return self._flag(id, "pin", lambda life: replace(life, pinned=True), view, why)

    def unpin(self, id: str, *, view: View, why: str = "") -> Cube:
        """Let a cube be dropped by itself again; arguments as for `activate`."""
        return self._flag(id, "unpin", lambda life: replace(life, pinned=False), view, why)

    def restore(self, id: str, version: int | None = None, *, view: View, why: str = "") -> Cube:
        """Bring an archived cube back, as it is or as an earlier version had it; or take a merged one apart.

        A merged cube goes to the archive, and what it was merged from comes back to work. Rights are always those of
        today.

        Args:
            id: Its id.
            version: From 1, or None for its last one.
            view: Who asks, with what rights, in which spaces.
            why: For the journal; never content of a memory.

        Returns:
            The cube, at work again; of a merged one, itself in the archive.

        Raises:
            NotFound: There is no such cube or version for this caller.
            Denied: The caller may not change it.
            Conflict: It is neither archived nor merged, or nothing that it was merged from is left.
        """

        def attempt() -> Cube:
            cube = self._get(id, view)
            state = cube.header.life.state
            if state in ("merged", "activated") and _merged_from(cube):
                return self._take_apart(cube, version, view, why)
            life = life_after(cube, "restore")
            wanted = cube if version is None else self._version(cube, version)
            header = replace(wanted.header, rights=cube.header.rights, life=life)
            said = {**_said(cube, "restore", life, why), **({} if version is None else {"version": version})}
            change = _as_seen(cube, lambda old: replace(old, payload=wanted.payload, header=header))
            return self._write([(cube.id, change, "restore", said)], view, "write")[0]

        return _patiently(attempt)

    def _take_apart(self, cube: Cube, version: int | None, view: View, why: str) -> Cube:
        if version is not None:
            raise BadInput(f"cube {cube.id!r} was merged and is restored as a whole", hint="leave out the version")
        found = (self._store.engine.get(id, _whole(view)) for id in _merged_from(cube))
        parents = [p for p in found if p is not None and _is_superseded(p, cube)]
        if not parents:
            raise Conflict(
                f"nothing that cube {cube.id!r} was merged from is in the archive", hint="archive it instead"
            )
        changes = [_lived(cube, "unmerge", "state", why), *(_lived(p, "restore", "restore", why) for p in parents)]
        return self._write(changes, view, "write")[0]

    def _version(self, cube: Cube, version: int) -> Cube:
        for each in (*self._store.engine.versions(cube.id), cube):
            if each.version == version:
                return each
        raise NotFound(f"cube {cube.id!r} has no version {version!r}", hint=f"it has versions 1 to {cube.version}")

    def merge(self, ids: Sequence[str], payload: Payload, *, view: View, why: str = "") -> Cube:
        """Make one cube of several and archive those, in one transaction.

        The new cube lies in their space, belongs to their owner (to the caller when they have several), has no more
        rights than any of them, expires with the first of them, and has all their tags.

        Args:
            ids: At least two, written or at work.
            payload: What it says.
            view: Who asks, with what rights, in which spaces.
            why: For the journal; never content of a memory.

        Raises:
            BadInput: Fewer than two cubes, or cubes of several spaces.
            NotFound: One of them is not there for this caller.
            Denied: The caller may not change one of them.
            Conflict: One of them is in a state from which it cannot be merged.
        """
        wanted = list(dict.fromkeys(ids))
        if len(wanted) < 2:
            raise BadInput(f"a merge needs at least two cubes, got {len(wanted)}")
        whole = _whole(view)
        with self._store.engine.transaction() as tx:
            live = tx.live(wanted)
            parents = [_admitted(live.get(id), id, whole) for id in wanted]
            lives = [life_after(parent, "merge") for parent in parents]
            spaces = {parent.space for parent in parents}
            if len(spaces) > 1:
                raise BadInput(f"cubes of several spaces cannot be merged: {', '.join(sorted(spaces))}")
            owner = _owner_of(parents, view.scope)
            writer = Writer(tx, owner, parents[0].space, self._clock.now())
            draft = Draft(payload, self._merged_header(parents), key=_merge_key(payload, wanted))
            (placed,) = writer.put([draft])
            writer.actor = view.scope
            for parent, life in zip(parents, lives, strict=True):
                header = replace(parent.header, life=replace(life, superseded_by=placed.cube.id))
                said = {**_said(parent, "merge", life, why), "into": placed.cube.id}
                writer.revise(parent, parent.payload, header, "merge", said)
            writer.finish()
        return placed.cube

    def _merged_header(self, parents: Sequence[Cube]) -> Header:
        lives = [parent.header.life for parent in parents]
        first = parents[0].header.metadata
        agreed = {
            key: value
            for key, value in first.items()
            if all(canonical(p.header.metadata.get(key)) == canonical(value) for p in parents)
        }
        return Header(
            provenance=Provenance(origin=Origin.MERGE),
            rights=self._joined(parents),
            life=Life(
                state="merged",
                valid_from=max((at for life in lives if (at := life.valid_from) is not None), default=None),
                expires=min((at for life in lives if (at := life.expires) is not None), default=None),
                pinned=any(life.pinned for life in lives),
                priority=max(life.priority for life in lives),
            ),
            lineage=Lineage(tuple(Parent(p.id, p.version, "merged") for p in parents)),
            tags=tuple(dict.fromkeys(tag for p in parents for tag in p.header.tags)),
            metadata=agreed,
        )

    def _move(self, id: str, trigger: Trigger, view: View, why: str) -> Cube:
        def attempt() -> Cube:
            change = _lived(self._get(id, view), trigger, "state", why)
            return self._write([change], view, move_for(trigger).right)[0]

        return _patiently(attempt)

    def _flag(self, id: str, trigger: str, change: Callable[[Life], Life], view: View, why: str) -> Cube:
        def attempt() -> Cube:
            cube = self._get(id, view)
            if cube.header.life.state == "frozen":
                raise Conflict(f"cube {id!r} is frozen, so its pin stays as it is", hint="thaw it first")
            life = change(cube.header.life)
            said: dict[str, Json] = {"trigger": trigger, **({"why": why} if why else {})}
            return self._write([(id, _as_seen(cube, _living(life)), "state", said)], view, "write")[0]

        return _patiently(attempt)

    def _get(self, id: str, view: View) -> Cube:
        return _found(self._store.engine.get(id, _whole(view)), id)

    def _write(self, changes: Sequence[_Change], view: View, action: Action) -> list[Cube]:
        return self._store.change(changes, view=_whole(view), actor=view.scope, now=self._clock.now(), action=action)


class _Moved(Conflict):
    """A cube has another version than the one that was decided on."""


def _patiently(attempt: Callable[[], Cube]) -> Cube:
    """Decide anew while others change the same cube."""
    for _ in range(_TRIES - 1):
        try:
            return attempt()
        except _Moved:
            continue
    return attempt()


def _as_seen(seen: Cube, change: Callable[[Cube], Cube]) -> Callable[[Cube], Cube]:
    def checked(old: Cube) -> Cube:
        if old.version != seen.version:
            raise _Moved(f"cube {seen.id!r} is being changed by others all the time", hint="try again")
        return change(old)

    return checked


def _living(life: Life) -> Callable[[Cube], Cube]:
    return lambda old: replace(old, header=replace(old.header, life=life))


def _lived(cube: Cube, trigger: Trigger, op: EventOp, why: str) -> _Change:
    life = life_after(cube, trigger)
    return cube.id, _as_seen(cube, _living(life)), op, _said(cube, trigger, life, why)


def _said(cube: Cube, trigger: str, life: Life, why: str) -> dict[str, Json]:
    said: dict[str, Json] = {"trigger": trigger, "from": cube.header.life.state, "to": life.state}
    return {**said, "why": why} if why else said


def _whole(view: View) -> View:
    """Return what a caller may see now in every state of its life, expired or not."""
    return replace(view, where=Where(states=EVERY_STATE), at=None, moment=None)


def _found(cube: Cube | None, id: str) -> Cube:
    if cube is None:
        raise NotFound(f"there is no cube {id!r} here", hint="`pinyon list` shows what there is")
    return cube


def _admitted(cube: Cube | None, id: str, view: View) -> Cube:
    found = _found(cube if cube is not None and view.admits(cube) else None, id)
    if found.header.life.state != "frozen":  # of which the table of moves tells more
        _check_right(view, found, "write")
    return found


def _check_right(view: View, cube: Cube, action: Action) -> None:
    said = view.allows(cube, action)
    if not said.allowed:
        raise Denied(f"cube {cube.id!r} may not be changed: the rule {said.rule!r} forbids it", rule=said.rule)


def _merged_from(cube: Cube) -> tuple[str, ...]:
    return tuple(parent.id for parent in cube.header.lineage.parents if parent.relation == "merged")


def _is_superseded(parent: Cube, by: Cube) -> bool:
    life = parent.header.life
    return life.state == "archived" and life.superseded_by == by.id


def _owner_of(parents: Sequence[Cube], caller: Scope) -> Scope:
    """Return the one owner of all that has an owner, nobody where nothing has, and the caller among several."""
    owners = {(p.owner.user, p.owner.agent) for p in parents} - {(None, None)}
    if len(owners) > 1:
        return caller
    user, agent = owners.pop() if owners else (None, None)
    return Scope(caller.tenant, user, agent, caller.session)


def _merge_key(payload: Payload, ids: Sequence[str]) -> str:
    return canonical({"merge": sorted(ids), "payload": payload_to_json(payload)})
