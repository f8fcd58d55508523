"""Archives into a store: under the rights of whoever imports, or entry by entry as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from ..core.access import Access
from ..core.clock import micros
from ..core.cube import Cube, Draft, seal_hash, seal_id
from ..core.events import Event, Head
from ..core.header import Bound, Header, Lineage, Parent, Provenance
from ..core.joining import forbidding
from ..core.payload import Json, Payload, Text
from ..core.scope import Scope, check_name
from ..errors import BadInput, Conflict, Denied
from ._archive_file import OpenArchive, Progress, blobs_named
from ._archive_lines import Archived, from_detail
from ._archive_zip import ArchiveLimits
from ._check import RULES_END
from ._writer import Writer
from .base import Engine, Transaction

__all__ = ["Rescope", "Taken", "import_archive", "may_add", "restore_archive"]

_BATCH = 500  # cubes or entries a transaction


@dataclass(frozen=True, slots=True)
class Rescope:
    """Where the cubes of an archive go, and whose they become; what is not named stays as it was.

    A cube that moves has an id of its own here, and loses everything that its rights grant; what they forbid stays.

    Args:
        into_space: Every cube goes into this space.
        as_user: Every cube becomes this user's.
        as_agent: Every cube becomes this agent's.
        spaces: New names of spaces.
        users: New names of users.
        tenants: New names of tenants; None for cubes without one.
    """

    into_space: str | None = None
    as_user: str | None = None
    spaces: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    tenants: Mapping[str | None, str | None] = field(default_factory=dict)
    as_agent: str | None = None

    def __post_init__(self) -> None:
        for name in (self.into_space, *self.spaces.values()):
            if name is not None:
                check_name(name, "space")
        for name in (self.as_user, *self.users.values()):
            if name is not None:
                check_name(name, "user")
        if self.as_agent is not None:
            check_name(self.as_agent, "agent")

    def place(self, space: str, owner: Scope) -> tuple[str, Scope]:
        """Return where a cube goes, and whose it becomes."""
        user = self.as_user or (owner.user if owner.user is None else self.users.get(owner.user, owner.user))
        tenant = self.tenants.get(owner.tenant, owner.tenant)
        whose = replace(owner, user=user, tenant=tenant, agent=self.as_agent or owner.agent)
        return self.into_space or self.spaces.get(space, space), whose


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an archive.

    Args:
        created: Cubes that were not here before.
        unchanged: Cubes that were here already; they are left alone.
        forgotten: Cubes that were forgotten here; they stay forgotten.
    """

    created: int = 0
    unchanged: int = 0
    forgotten: int = 0


def may_add(access: Access, space: str, owner: Scope) -> bool:
    """Return whether a caller may write cubes of an owner into a space."""
    if not access.scope.sees(owner):
        return False
    ruled = access.reading(space, "write")
    if ruled.is_barred:
        return False
    is_owned = owner.user is not None or owner.agent is not None
    return ruled.shared or (is_owned and not ruled.is_ruled)


def import_archive(
    engine: Engine,
    path: Path,
    *,
    access: Access,
    now: datetime,
    rescope: Rescope | None = None,
    limits: ArchiveLimits | None = None,
    progress: Progress | None = None,
    with_rules: Callable[[Mapping[str, str]], object] | None = None,
    redact: Callable[[Cube], Cube] | None = None,
    seal_key: bytes | None = None,
    only: Callable[[Cube], bool] | None = None,
) -> Taken:
    """Take in the cubes of an archive, with ids, versions and times; everything is checked before anything is written.

    The rights of an imported cube are at most those it had. Doing it again, also after an interruption, adds what is
    lacking.

    Args:
        engine: Where to.
        path: The archive, of this version or an older one.
        access: What the caller holds; it must be allowed to write each space as each owner.
        now: Record time of the journal's entries.
        rescope: Where the cubes go and whose they become.
        limits: What the archive may ask of the machine.
        progress: Told of cubes as they are done.
        with_rules: Given what is ruled in the archive, to apply it if that is allowed; None applies nothing.
        redact: Given each version of each cube; returns it as it may be kept here, or raises `BadInput`, and then
            nothing is written.
        seal_key: The archive must bear the seal of this key; None asks for none.
        only: Says of a cube, as the archive has it, whether it is taken; None takes all.

    Raises:
        Damaged: It is cut off or was changed; the message names the member.
        WrongKey: It was sealed with another key.
        TooNew: A later version of pinyon wrote it.
        BadInput: It holds what no archive holds, bears no seal where one is asked for, or unpacks beyond the limits.
        Denied: The caller may not write a space of it.
    """

    def wanted(thing: Archived) -> bool:
        return only is None or only(thing.cube)

    with OpenArchive(path, limits) as archive:
        if seal_key is not None:
            archive.check_seal(seal_key)
        moved = _Move(rescope or Rescope())
        archive.check(visit=_Asking(path, access, moved).visit)
        if redact is not None:
            for thing in filter(wanted, archive.cubes()):
                for cube in thing.chain:
                    redact(cube)
        if with_rules is not None and (rules := archive.rules()):
            with_rules(rules)
        taken = Taken()
        things = map(archive.told, filter(wanted, archive.cubes()))
        while batch := list(islice(things, _BATCH)):
            fresh = [_redacted(moved.of(thing), redact) for thing in batch]
            taken = _take(engine, archive, fresh, access.scope, now, taken)
            if progress is not None:
                progress(taken.created + taken.unchanged + taken.forgotten, archive.manifest.cubes)
    return taken


def _redacted(thing: Archived, redact: Callable[[Cube], Cube] | None) -> Archived:
    """Return a cube as it may be kept, sealed again from its first version that was changed."""
    if redact is None:
        return thing
    said = [redact(cube) for cube in thing.chain]
    if said == list(thing.chain):
        return thing
    parent = thing.chain[0].parent
    chain: list[Cube] = []
    for cube in said:
        chain.append(replace(cube, hash=seal_hash(cube.payload, cube.header, parent), parent=parent))
        parent = chain[-1].hash
    seals = {cube.version: cube.hash for cube in chain}
    told = tuple(replace(each, hash=seals[each.version]) for each in thing.told if each.version in seals)
    return Archived(chain[-1], tuple(chain[:-1]), thing.blobs, told)


@dataclass(slots=True)
class _Move:
    """Cubes as they are to be here."""

    rescope: Rescope
    ids: dict[str, str] = field(default_factory=dict)

    def of(self, thing: Archived) -> Archived:
        """Return a cube in its place, sealed again if it moved."""
        cube = thing.cube
        space, owner = self.rescope.place(cube.space, cube.owner)
        if (space, owner) == (cube.space, cube.owner) and not self._names_moved(thing):
            return thing
        id = self.ids.get(cube.id, cube.id)
        parent = ""
        seals: dict[int, str] = {}
        chain: list[Cube] = []
        for old in thing.chain:
            header = self._header(old.header)
            seals[old.version] = seal_hash(old.payload, header, parent)
            whose = replace(owner, session=old.owner.session)
            chain.append(
                replace(old, id=id, space=space, owner=whose, header=header, hash=seals[old.version], parent=parent)
            )
            parent = seals[old.version]
        told = tuple(
            replace(each, cube=id, hash=seals[each.version], detail={**each.detail, "cube": cube.id})
            for each in thing.told
        )
        return Archived(chain[-1], tuple(chain[:-1]), thing.blobs, told)

    def _names_moved(self, thing: Archived) -> bool:
        if not self.ids:
            return False
        return any(parent.id in self.ids for cube in thing.chain for parent in cube.header.lineage.parents) or any(
            cube.header.life.superseded_by in self.ids for cube in thing.chain
        )

    def _header(self, header: Header) -> Header:
        rights, life = header.rights, header.life
        kept = replace(forbidding(rights), bounds=tuple(dict.fromkeys(map(self._bound, rights.bounds))))
        parents = tuple(Parent(self.ids.get(p.id, p.id), p.version, p.relation) for p in header.lineage.parents)
        if life.superseded_by is not None:
            life = replace(life, superseded_by=self.ids.get(life.superseded_by, life.superseded_by))
        return replace(header, rights=kept, life=life, lineage=Lineage(parents))

    def _bound(self, bound: Bound) -> Bound:
        """Return what binds a cube, as it is here: what it speaks of moved too."""
        space, owner = self.rescope.place(bound.space, Scope(user=bound.user, agent=bound.agent))
        gone = tuple(sorted(self.ids.get(id, id) for id in bound.gone))
        return Bound(space, owner.user, owner.agent, forbidding(bound.rights), gone)


@dataclass(slots=True)
class _Asking:
    """Whether the caller may write each cube where it goes, and which id it has there."""

    path: Path
    access: Access
    move: _Move
    allowed: set[tuple[str, Scope]] = field(default_factory=set)

    def visit(self, first: Cube, cube: Cube) -> None:
        """Look at one cube.

        Raises:
            Denied: The caller may not write it.
        """
        space, owner = self.move.rescope.place(cube.space, cube.owner)
        walls = replace(owner, session=None)
        if (space, walls) not in self.allowed:
            if not may_add(self.access, space, walls):
                raise Denied(
                    f"the archive {self.path} holds memories of {_called(owner)} for space {space!r},"
                    " which this caller may not write",
                    hint="import as that user, or into a space of your own",
                )
            self.allowed.add((space, walls))
        if (space, owner) != (cube.space, cube.owner):
            self.move.ids[cube.id] = _id_there(first, space, owner)


def _id_there(first: Cube, space: str, owner: Scope) -> str:
    """Return the id of a cube in another place: that of the same words written there, where words made the id."""
    draft = Draft(first.payload)
    if seal_id(draft, first.owner, first.space) != first.id:
        draft = Draft(first.payload, key=f"archive\x00{first.id}")
    return seal_id(draft, owner, space)


def _take(
    engine: Engine, archive: OpenArchive, things: Sequence[Archived], actor: Scope, now: datetime, taken: Taken
) -> Taken:
    """Write some cubes in one transaction; their blobs are there first."""
    for thing in things:
        _put_blobs(engine, archive, thing)
    with engine.transaction() as tx:
        ids = [thing.cube.id for thing in things]
        live, spent = set(tx.live(ids)), tx.spent(ids)
        fresh = [thing for thing in things if thing.cube.id not in live and thing.cube.id not in spent]
        if fresh:
            writer = Writer(tx, actor, "", now)
            for thing in fresh:
                _adopt(writer, thing)
            made = [thing.cube.id for thing in fresh if thing.cube.header.lineage.parents]
            writer.bind(tx.live(made).values() if made else ())
            writer.finish()
    gone = sum(id in spent for id in ids)
    return Taken(taken.created + len(fresh), taken.unchanged + len(ids) - gone - len(fresh), taken.forgotten + gone)


def _put_blobs(engine: Engine, archive: OpenArchive, thing: Archived) -> None:
    for data in thing.blobs:
        engine.blobs.put(data)
    if not thing.blobs:
        for blob in {blob for cube in thing.chain for blob in blobs_named(cube)}:
            engine.blobs.put(archive.blob(blob), role=blob.role)


def _adopt(writer: Writer, thing: Archived) -> None:
    """Write a cube with its versions, and what the journal is to say of them."""
    row = writer.seq + 1
    told = {each.version: each for each in thing.told}
    for cube in thing.chain:
        cube = replace(cube, row=row, seq=writer.seq + 1)
        said: dict[str, Json] = {}
        if cube.version in told:
            said["from"] = from_detail(told[cube.version])
        if cube.seq == row:
            o = cube.owner
            said |= {"created": micros(cube.created), "owner": [o.tenant, o.user, o.agent]}
            writer.tx.insert([cube])
            writer.note("create", cube, version=cube.version, seal=cube.hash, detail=said)
        else:
            writer.tx.replace([cube])
            op = told[cube.version].op if cube.version in told else "update"
            writer.note(op, cube, version=cube.version, seal=cube.hash, detail=said)


def _called(owner: Scope) -> str:
    """Return an owner as people say it."""
    walls = (("tenant", owner.tenant), ("user", owner.user), ("agent", owner.agent))
    return ", ".join(f"{what} {name!r}" for what, name in walls if name is not None) or "nobody in particular"


def restore_archive(
    engine: Engine,
    path: Path,
    *,
    limits: ArchiveLimits | None = None,
    progress: Progress | None = None,
    seal_key: bytes | None = None,
) -> int:
    """Replay a whole archive entry by entry, so that the store becomes the one it was written from.

    For whoever runs a store, not for its users: nobody's rights are asked, and what was ruled holds. The store must be
    empty, or stand where the archive's journal once stood; after an interruption it does, and doing it again goes on
    from there.

    Args:
        engine: Where to.
        path: An archive of everything.
        limits: What the archive may ask of the machine.
        progress: Told of entries as they are done.
        seal_key: The archive must bear the seal of this key; None asks for none.

    Returns:
        The number of entries written.

    Raises:
        Damaged: It is cut off or was changed; the message names the member.
        WrongKey: It was sealed with another key.
        BadInput: It holds some cubes only, or bears no seal where one is asked for.
        Conflict: The store has a history of its own.
    """
    with OpenArchive(path, limits) as archive:
        if archive.manifest.extent != "whole":
            raise BadInput(f"the archive {path} holds some memories only", hint="import it instead")
        if seal_key is not None:
            archive.check_seal(seal_key)
        archive.check()
        head = engine.head()
        if not _is_prefix(archive, head):
            raise Conflict(
                f"{engine.location} has a history of its own, which the archive {path} does not begin with",
                hint="restore into an empty store, or import the archive",
            )
        rules = archive.rules()  # they hold before there is anything to read
        done = 0
        changes = ((event, cube) for event, cube in archive.changes() if event.seq > head.seq)
        while batch := list(islice(changes, _BATCH)):
            for cube in [cube for _, cube in batch if cube is not None]:
                for blob in blobs_named(cube):
                    engine.blobs.put(archive.blob(blob), role=blob.role)
            with engine.transaction() as tx:
                if tx.head().seq != batch[0][0].seq - 1:
                    raise Conflict(f"somebody else wrote to {engine.location} while it was restored")
                for key, value in rules.items():
                    tx.set_setting(key, value)
                _replay(tx, batch)
                ruled = [event for event, _ in batch if event.op == "policy"]
                if ruled:
                    tx.set_setting(RULES_END, f"{ruled[-1].seq} {ruled[-1].chain}")
            rules = {}
            done += len(batch)
            if progress is not None:
                progress(batch[-1][0].seq, archive.manifest.head.seq)
    return done


def _is_prefix(archive: OpenArchive, head: Head) -> bool:
    if head.seq == 0:
        return True
    return any(event.seq == head.seq and event.chain == head.chain for event in archive.journal())


def _replay(tx: Transaction, batch: Iterable[tuple[Event, Cube | None]]) -> None:
    """Write entries with the versions they made, in one transaction."""
    events: list[Event] = []
    for event, cube in batch:
        events.append(event)
        if cube is not None:
            cube = replace(cube, row=event.row, seq=event.seq)
            if event.seq == event.row:
                tx.insert([cube])
            else:
                tx.replace([cube])
        elif event.op == "forget" and not event.version:
            gone = _stub(event)
            tx.insert([gone])
            tx.erase([gone])
    tx.append(events)


def _stub(event: Event) -> Cube:
    """Return a cube without content, that can be forgotten so that its id is never used again."""
    payload: Payload = Text("")
    header = Header(Provenance())
    seal = seal_hash(payload, header, "")
    owner = replace(event.actor, session=None)
    return Cube(
        event.cube, event.row, 1, event.space, owner, payload, header, event.time, event.time, seal, seq=event.seq
    )
