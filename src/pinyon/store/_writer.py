"""Drafts to sealed cubes and entries of the journal, inside one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ..core.access import Access, Action, Decision, decide
from ..core.clock import from_micros, micros
from ..core.cube import Cube, Draft, seal_hash, seal_id
from ..core.events import Event, EventOp, alike_of, link_of, walls_of
from ..core.header import Bound, Header, Life, Provenance, Rights
from ..core.joining import NOT_MADE_OF, bounds_after, bounds_from, is_made_of, narrowed
from ..core.payload import Json, Payload
from ..core.scope import Scope
from ..errors import Denied
from .base import Place, Placed, Transaction

__all__ = ["Writer", "is_same"]

_SILENT = Rights()
_MIDDLE = Life().priority


def is_same(old: Cube, payload: Payload, header: Header) -> bool:
    """Return whether a version would say the same; the seal tells true from 1, which compare equal."""
    return payload == old.payload and header == old.header and seal_hash(payload, header, old.parent) == old.hash


def _positioned(header: Header, position: int) -> Header:
    """Return a header with its place in its thread; written out because `replace` takes five times as long."""
    p = header.provenance
    place = Provenance(
        p.origin, p.unit, p.source, p.title, p.thread, position, p.section, p.span, p.page, p.speaker, p.role
    )
    return Header(place, header.rights, header.life, header.lineage, header.tags, header.metadata)


def _kept_life(old: Life, life: Life) -> Life:
    """Return the life of what is said again with what was decided for it before."""
    return replace(
        life,
        expires=life.expires or old.expires,
        pinned=life.pinned or old.pinned,
        priority=old.priority if life.priority == _MIDDLE else life.priority,
    )


class Writer:
    """Seals drafts and writes the journal inside one transaction."""

    def __init__(
        self,
        tx: Transaction,
        actor: Scope,
        space: str,
        now: datetime,
        *,
        access: Access | None = None,
    ) -> None:
        self.tx = tx
        self.actor = actor
        self.space = space
        self.access = access
        head = tx.head()
        self.now = max(now, from_micros(head.time))
        self.now_us = micros(self.now)
        self.now = from_micros(self.now_us)
        self.walls = walls_of(actor)
        self.alike: dict[tuple[str, str], str] = {}  # by operation and space
        self.seq = head.seq
        self.chain = head.chain
        self.events: list[Event] = []
        self.created: dict[str, Cube] = {}
        self.revised: dict[str, Cube] = {}
        self.known: dict[str, Cube] = {}  # as the database holds them now
        self.owners: dict[str | None, Scope] = {}  # by session
        self.loosed: dict[str, Cube] = {}  # whose rights or end changed, of which others may have been made

    def put(self, drafts: Sequence[Draft]) -> list[Placed]:
        ids = [seal_id(draft, self.actor, self.space) for draft in drafts]
        self.known = self.tx.live(ids)
        spent = self.tx.spent([id for id in ids if id not in self.known])
        ends = self._ends(drafts)
        return [
            self._place(draft, id, spent, ends)
            if id in self.known or id in self.created or id in self.revised or id in spent
            else Placed(self._create(id, draft, ends), "created")
            for draft, id in zip(drafts, ids, strict=True)
        ]

    def _ends(self, drafts: Sequence[Draft]) -> dict[Place, int]:
        places = {
            Place.of(self.space, self.actor, p.thread)
            for p in (draft.header.provenance for draft in drafts)
            if p.thread is not None and p.position is None
        }
        return self.tx.ends(sorted(places, key=lambda p: p.thread)) if places else {}

    def _place(self, draft: Draft, id: str, spent: set[str], ends: dict[Place, int]) -> Placed:
        nonce = 0
        while True:
            old = self.created.get(id) or self.revised.get(id) or self.known.get(id)
            if old is None and id not in spent:
                cube = self._create(id, draft, ends)
                return Placed(cube, "created")
            if old is not None and old.payload == draft.payload:
                return self._again(old, draft)
            nonce += 1
            id = seal_id(draft, self.actor, self.space, nonce=nonce)
            if id not in self.known and id not in self.created:
                self.known.update(self.tx.live([id]))
                spent |= self.tx.spent([id])

    def _create(self, id: str, draft: Draft, ends: dict[Place, int]) -> Cube:
        header = draft.header
        p = header.provenance
        if p.thread is not None and p.position is None:
            place = Place.of(self.space, self.actor, p.thread)
            ends[place] = ends.get(place, -1) + 1
            header = _positioned(header, ends[place])
        owner = self.owners.get(draft.session) or self._owner(draft.session)
        if header.lineage.parents:
            header = self._bound(header, header.rights.bounds, id, self.space, owner)
        seal = seal_hash(draft.payload, header, "")
        row = self.seq + 1
        cube = Cube(id, row, 1, self.space, owner, draft.payload, header, self.now, self.now, seal, "", row)
        self.created[id] = cube
        self._append("create", self.space, id, row, 1, seal, {})
        return cube

    def _owner(self, session: str | None) -> Scope:
        owner = self.owners.get(session)
        if owner is None:
            owner = self.owners[session] = self.actor if session is None else replace(self.actor, session=session)
        return owner

    def _again(self, old: Cube, draft: Draft) -> Placed:
        header = self.bounded(old, self._kept(old.header, draft.header))
        if is_same(old, draft.payload, header):
            return Placed(old, "unchanged")
        is_frozen = old.header.life.state == "frozen"
        said = self._decided("read" if is_frozen else "write", old)
        is_shared = replace(header.rights, bounds=old.header.rights.bounds) != old.header.rights
        if said.allowed and is_shared and not is_frozen:
            said = self._decided("share", old)
        if not said.allowed:
            raise Denied(
                f"cube {old.id!r} is here already and may not be changed: the rule {said.rule!r} forbids it",
                rule=said.rule,
            )
        if is_frozen:
            return Placed(old, "unchanged")
        op: EventOp = "restore" if old.header.life.state in ("archived", "expired") else "overwrite"
        return Placed(self.revise(old, draft.payload, header, op), "updated")

    @staticmethod
    def _kept(old: Header, header: Header) -> Header:
        """Return the header of what is said again with everything of the old one on which it is silent."""
        mine, theirs = header.provenance, old.provenance
        if mine.position is None and theirs.position is not None:
            header = replace(header, provenance=replace(mine, position=theirs.position))
        if header.life.state == "generated" and old.life.state in ("activated", "merged"):
            header = replace(header, life=replace(header.life, state=old.life.state))
        if not header.lineage.parents:
            header = replace(header, lineage=old.lineage)
        header = replace(header, life=_kept_life(old.life, header.life))
        labels = header.rights.sensitivity
        if old.rights != header.rights == replace(_SILENT, sensitivity=labels, bounds=header.rights.bounds):
            both = tuple(dict.fromkeys((*old.rights.sensitivity, *labels)))
            header = replace(header, rights=replace(old.rights, sensitivity=both))
        return header

    def may(self, action: Action, cube: Cube) -> bool:
        """Return whether the writer may do something with a cube."""
        return self._decided(action, cube).allowed

    def _decided(self, action: Action, cube: Cube) -> Decision:
        """Return whether the writer may do something with a cube; where nobody asks, it may."""
        if self.access is None:
            return Decision(True, "default")
        header = cube.header
        return decide(action, self.access, space=cube.space, owner=cube.owner, rights=header.rights, life=header.life)

    def adopt(self, chain: Sequence[Cube], live: dict[str, Cube], spent: set[str]) -> list[Placed]:
        id = chain[-1].id
        if id in spent:
            return []
        if id in live:
            return [Placed(live[id], "unchanged")]
        row = self.seq + 1
        if len(chain) == 1 and chain[0].header.lineage.parents:
            (cube,) = chain
            header = self._bound(cube.header, cube.header.rights.bounds, cube.id, cube.space, cube.owner)
            chain = [replace(cube, header=header, hash=seal_hash(cube.payload, header, cube.parent))]
        for number, cube in enumerate(chain):
            cube = replace(cube, row=row, seq=self.seq + 1)
            if number == 0:
                o = cube.owner
                said: dict[str, Json] = {"created": micros(cube.created), "owner": [o.tenant, o.user, o.agent]}
                self.note("create", cube, version=cube.version, seal=cube.hash, detail=said)
                self.tx.insert([cube])
            else:
                self.note("overwrite", cube, version=cube.version, seal=cube.hash)
                self.tx.replace([cube])
        live[id] = cube
        return [Placed(live[id], "created")]

    def bind(self, cubes: Iterable[Cube]) -> list[Cube]:
        """Give cubes that were made of others the bounds that follow from these, where they lack them."""
        out: list[Cube] = []
        for cube in cubes:
            header = self._bound(cube.header, cube.header.rights.bounds, cube.id, cube.space, cube.owner)
            if header != cube.header:
                out.append(self.revise(cube, cube.payload, header, "state", {"why": "bound"}))
        return out

    def retire(self, thread: str, keep: set[str]) -> list[Cube]:
        retired: list[Cube] = []
        for cube in self.tx.standing(Place.of(self.space, self.actor, thread)):
            is_live = cube.header.life.state in ("generated", "activated", "merged")
            if cube.id not in keep and is_live and self._decided("write", cube).allowed:
                life = replace(cube.header.life, state="archived")
                retired.append(self.revise(cube, cube.payload, replace(cube.header, life=life), "state"))
        return retired

    def revise(
        self,
        old: Cube,
        payload: Payload,
        header: Header,
        op: EventOp,
        detail: Mapping[str, Json] | None = None,
    ) -> Cube:
        cube = replace(
            old,
            version=old.version + 1,
            payload=payload,
            header=header,
            updated=self.now,
            parent=old.hash,
            hash=seal_hash(payload, header, old.hash),
            seq=self.seq + 1,
        )
        if old.id in self.created or old.id in self.revised:
            self._flush()
        self.revised[old.id] = cube
        if header.rights != old.header.rights or header.life.expires != old.header.life.expires:
            self.loosed[old.id] = cube
        self.note(op, cube, version=cube.version, seal=cube.hash, detail=detail)
        return cube

    def bounded(self, old: Cube, header: Header) -> Header:
        """Return the next header of a cube with no more rights and no longer life than what it was made of has."""
        was = old.header.rights.bounds
        if not header.lineage.parents and not was:
            return header
        if not _is_bound_the_same(old.header, header):
            sources = self._sources(header)
            rights = narrowed(header.rights, [cube.header.rights for cube in sources])
            header = _shortened(replace(header, rights=rights), sources)
        return self._bound(header, was, old.id, old.space, old.owner)

    def _sources(self, header: Header) -> list[Cube]:
        """Return what a cube was made of, as far as it is there."""
        parents = [p.id for p in header.lineage.parents if p.relation not in NOT_MADE_OF]
        there = self._there(parents) if parents else {}
        return [cube for cube in there.values() if cube is not None]

    def _there(self, ids: Iterable[str]) -> dict[str, Cube | None]:
        """Return cubes as this transaction has left them so far; None for one that is not there."""
        wanted = list(dict.fromkeys(ids))
        live = self.tx.live(wanted)
        return {id: self.created.get(id) or self.revised.get(id) or live.get(id) for id in wanted}

    def _bound(self, header: Header, was: Sequence[Bound], id: str, space: str, owner: Scope) -> Header:
        """Return the header of a cube with the bounds that follow from what it was made of, as that is now.

        Bounds under the ids of forgotten sources stay; while a source is missing whose last rules are not known, as
        after the import of a part, all bounds stay.

        Args:
            header: Its own.
            was: Its bounds before.
            id: Its own.
            space: Where it rests.
            owner: Whose it is.
        """
        made_of = {p.id: p.relation == "copied" for p in header.lineage.parents if p.relation != "supersedes"}
        there = self._there(made_of)
        missing = [each for each, cube in there.items() if cube is None]
        is_whole = not missing or self.tx.spent(missing).issuperset(missing)
        found = {bound: None for bound in was if bound.gone or not is_whole}
        for each, cube in there.items():
            if cube is not None and each != id and cube.owner.tenant == owner.tenant:
                found |= bounds_from(cube, header.rights, space, owner, is_copy=made_of[each])
        bounds = tuple(sorted(found, key=repr))
        rights = header.rights
        return header if bounds == rights.bounds else replace(header, rights=replace(rights, bounds=bounds))

    def outlived(self, gone: Sequence[Cube]) -> None:
        """Keep the last rules of cubes that are about to go in whatever was made of them and stays."""
        self._flush()
        going = {cube.id: cube for cube in gone}
        for made in self.tx.children(list(going)):
            if made.id in going:
                continue
            bounds = made.header.rights.bounds
            for parent in made.header.lineage.parents:
                cube = going.get(parent.id)
                if cube is not None and parent.relation != "supersedes" and cube.owner.tenant == made.owner.tenant:
                    bounds = bounds_after(made, bounds, cube, is_copy=parent.relation == "copied")
            rights = replace(made.header.rights, bounds=tuple(sorted(bounds, key=repr)))
            if rights != made.header.rights:
                header = replace(made.header, rights=rights)
                self.revise(made, made.payload, header, "state", {"why": "tightened", "source": "forgotten"})

    def _tighten(self) -> None:
        """Cut the rights and the life of whatever was made of cubes with fewer rights or a shorter life than before.

        At any remove, within their tenant; of a frozen cube, rights alone. Bounds follow their sources both ways.
        """
        while self.loosed:
            self._flush()
            sources, self.loosed = self.loosed, {}
            for made in self.tx.children(list(sources)):
                parents = [each for id, each in sources.items() if is_made_of(made, [id], or_copied=True)]
                parents = [each for each in parents if each.owner.tenant == made.owner.tenant]
                if parents:
                    self._tighten_one(made, parents)

    def _tighten_one(self, made: Cube, parents: Sequence[Cube]) -> None:
        header, life = made.header, made.header.life
        rights = narrowed(header.rights, [each.header.rights for each in parents])
        ends = [at for each in parents if (at := each.header.life.expires) is not None]
        if ends and life.state not in ("frozen", "expired") and (life.expires is None or min(ends) < life.expires):
            life = replace(life, expires=min(ends))
        wanted = replace(header, rights=rights, life=life)
        wanted = self._bound(wanted, header.rights.bounds, made.id, made.space, made.owner)
        if wanted != header:
            why: dict[str, Json] = {"why": "tightened", "source": parents[0].id}
            self.revise(made, made.payload, wanted, "state", why)

    def spoil(self, changed: Iterable[Cube]) -> list[Cube]:
        """Mark as stale whatever was made of cubes whose payload has changed, at any remove, within their tenant.

        Frozen and expired cubes keep as they are, and so does what was written anew together with its source.
        """
        self._flush()
        roots = list(changed)
        anew = {cube.id for cube in roots}
        spoilt: dict[str, Cube] = {}
        for root in roots:
            seen, waiting = {root.id}, [root.id]
            while waiting:
                made = [cube for cube in self.tx.children(waiting) if is_made_of(cube, waiting)]
                fresh = [cube for cube in made if cube.id not in seen and cube.owner.tenant == root.owner.tenant]
                waiting = [cube.id for cube in fresh]
                seen.update(waiting)
                for cube in fresh:
                    life = cube.header.life
                    is_kept = life.stale or life.state in ("frozen", "expired") or cube.id in anew
                    if not is_kept and cube.id not in spoilt:
                        header = replace(cube.header, life=replace(life, stale=True))
                        why: dict[str, Json] = {"why": "stale", "source": root.id}
                        spoilt[cube.id] = self.revise(cube, cube.payload, header, "state", why)
        return list(spoilt.values())

    def note(
        self, op: EventOp, cube: Cube, *, version: int, seal: str, detail: Mapping[str, Json] | None = None
    ) -> None:
        self._append(op, cube.space, cube.id, cube.row, version, seal, dict(detail or {}))

    def announce(self, detail: Mapping[str, Json]) -> Event:
        """Write an entry about rules, which concerns no cube."""
        return self._append("policy", "", "", 0, 0, "", dict(detail))

    def _append(
        self, op: EventOp, space: str, cube: str, row: int, version: int, seal: str, detail: dict[str, Json]
    ) -> Event:
        self.seq += 1
        alike = self.alike.get((op, space))
        if alike is None:
            alike = self.alike[op, space] = alike_of(self.now_us, op, self.walls, space)
        self.chain = link_of(self.chain, self.seq, alike, cube, row, version, seal, detail)
        event = Event(self.seq, self.now, op, self.actor, space, cube, row, version, seal, detail, self.chain)
        self.events.append(event)
        return event

    def _flush(self) -> None:
        if self.created:
            self.tx.insert(list(self.created.values()))
        if self.revised:
            self.tx.replace(list(self.revised.values()))
        self.known |= self.created | self.revised
        self.created, self.revised = {}, {}

    def finish(self) -> None:
        self._tighten()
        self._flush()
        if self.events:
            self.tx.append(self.events)
            self.events = []


def _shortened(header: Header, sources: Sequence[Cube]) -> Header:
    """Return a header that expires with the first of some sources, unless it is frozen."""
    ends = [at for cube in sources if (at := cube.header.life.expires) is not None]
    life = header.life
    if ends and life.state != "frozen" and (life.expires is None or min(ends) < life.expires):
        return replace(header, life=replace(life, expires=min(ends)))
    return header


def _is_bound_the_same(old: Header, header: Header) -> bool:
    """Return whether a next header leaves everything that is bound by what a cube was made of as it was."""
    was, life = old.life, header.life
    is_thawed = was.state == "frozen" and life.state != "frozen"
    return old.rights == header.rights and was.expires == life.expires and not is_thawed
