"""Who gained or lost what, when, and by whom: the journal's entries about rights, replayed.

Source: MemOS §6 (permission-revision report). That only what really changed is told is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ..core.access import EVERYONE
from ..core.cube import Cube
from ..core.events import Event
from ..core.header import Rights
from ..core.payload import Json
from ..core.scope import Scope
from ..store import Engine

__all__ = ["Revision", "revision_to_json", "revisions"]

_LISTS = ("read", "write", "share", "freeze", "reach", "deny", "purposes", "tasks", "sensitivity")
_NARROWING = frozenset({"deny", "purposes", "tasks", "sensitivity"})
_NAMED = (("groups", "group"), ("roles", "role"), ("clearances", "clearance"))
_WHY = frozenset({"tightened", "bound"})
_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Revision:
    """One thing that somebody may do from then on, or may do no longer.

    Args:
        seq: Number of the journal's entry.
        time: When.
        actor: Who did it.
        principal: Whom it concerns; ``*`` for everyone of the tenant.
        change: Whether it gained or lost.
        what: ``read``, ``write``, ``share``, ``freeze``, ``reach``; ``membership`` of a group or ``the role``;
            ``label …`` for a clearance; a condition (a denial, ``purposes …``, ``sensitivity …``, ``times``), which
            takes when it is added and gives when it goes; limits, spaces without rights, redaction or retention.
        where: ``space …``, ``group …``, ``role …``, ``memory …``, or an empty text for the whole tenant.
        carries: What came or went with it: what the group or role held at that time.
    """

    seq: int
    time: datetime
    actor: Scope
    principal: str
    change: Literal["gained", "lost", "changed"]
    what: str
    where: str = ""
    carries: tuple[str, ...] = ()

    def __str__(self) -> str:
        by = "/".join(name for name in (self.actor.tenant, self.actor.user, self.actor.agent) if name) or "somebody"
        place = f" in {self.where}" if self.where else ""
        with_it = f", with it {'; '.join(self.carries)}" if self.carries else ""
        return f"{self.time.isoformat()} {by}: {self.principal} {self.change} {self.what}{place}{with_it}"


def revision_to_json(revision: Revision) -> dict[str, Json]:
    """Return a revision as a JSON object."""
    return {
        "seq": revision.seq,
        "time": revision.time.isoformat(),
        "actor": dict(revision.actor.given),
        "principal": revision.principal,
        "change": revision.change,
        "what": revision.what,
        "where": revision.where,
        "carries": list(revision.carries),
    }


def revisions(
    engine: Engine,
    journal: Iterator[Event],
    tenant: str | None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Revision]:
    """Yield what principals of a tenant gained and lost, oldest first.

    Args:
        engine: Holds the versions of single memories; what was forgotten says nothing any more.
        journal: All of its entries, oldest first.
        tenant: Whose.
        since: Earliest time, inclusive.
        until: Latest time, exclusive.
    """
    held = _Held()
    for event in journal:
        if event.actor.tenant != tenant or (until is not None and event.time >= until):
            continue
        is_wanted = since is None or event.time >= since
        if event.op == "policy":
            found = list(held.after(event))
            yield from found if is_wanted else ()
        elif is_wanted and event.version > 1 and _is_about_rights(event):
            yield from _of_cube(engine, event)


def _is_about_rights(event: Event) -> bool:
    return "rights" in event.detail or event.op == "restore" or event.detail.get("why") in _WHY


@dataclass(slots=True)
class _Held:
    """What was ruled so far: names by what, of what, and which list of it."""

    names: dict[_Key, tuple[str, ...]] = field(default_factory=dict)
    limits: dict[_Key, str] = field(default_factory=dict)
    is_closed: bool = False

    def after(self, event: Event) -> Iterator[Revision]:
        """Take an entry in, and yield what it changed."""
        said = event.detail
        if (limited := said.get("limit")) is not None:
            yield from self._limit(event, str(limited))
        elif "space" in said:
            yield from self._space(event, str(said["space"]))
        elif "open" in said:
            for kind, name, inner in list(self.names):
                if (kind, name) == ("space", said["open"]):
                    yield from self._change(event, (kind, name, inner), (), self.names[kind, name, inner])
        elif "closed" in said:
            if bool(said["closed"]) != self.is_closed:
                self.is_closed = not self.is_closed
                yield _told(event, EVERYONE, is_given=not self.is_closed, what="spaces without rights of their own")
        elif named := next(((plural, one) for plural, one in _NAMED if plural in said), None):
            key = (named[1], str(said[named[0]]), "")
            yield from self._change(event, key, _texts(said.get("add")), _texts(said.get("remove")))
        else:
            what = str(said.get("key", "rules")).partition(":")[0]
            yield Revision(event.seq, event.time, event.actor, EVERYONE, "changed", what)

    def _space(self, event: Event, name: str) -> Iterator[Revision]:
        add, remove = _lists(event.detail.get("add")), _lists(event.detail.get("remove"))
        for each in _LISTS:
            if each in add or each in remove:
                yield from self._change(event, ("space", name, each), add.get(each, ()), remove.get(each, ()))
        if times := _texts(event.detail.get("times")):
            what = f"times ({', '.join(times)})"
            yield Revision(event.seq, event.time, event.actor, EVERYONE, "changed", what, f"space {name}")

    def _change(self, event: Event, key: _Key, add: Sequence[str], remove: Sequence[str]) -> Iterator[Revision]:
        old = self.names.get(key, ())
        gone = set(remove)
        new = tuple(dict.fromkeys(each for each in (*old, *add) if each not in gone))
        self.names[key] = new
        kind, name, inner = key
        pairs = [(each, False) for each in old if each not in new] + [(each, True) for each in new if each not in old]
        for each, is_added in pairs:
            if kind in ("group", "role"):
                carried = self._carried(f"{kind}:{name}", frozenset())
                what = "membership" if kind == "group" else "the role"
                yield _told(event, each, is_given=is_added, what=what, where=f"{kind} {name}", carries=carried)
            elif kind == "clearance":
                yield _told(event, name, is_given=is_added, what=f"label {each}")
            else:
                yield _listed(event, inner, each, is_added=is_added, where=f"{kind} {name}")

    def _carried(self, principal: str, seen: frozenset[str]) -> tuple[str, ...]:
        """Return what a group or role holds now, and what the groups and roles that it belongs to hold."""
        out: list[str] = []
        for (kind, name, inner), names in sorted(self.names.items()):
            if kind == "clearance" and name == principal:
                out += [f"label {label}" for label in names]
            elif principal in names and kind == "space":
                out.append(f"{inner} in space {name}")
            elif principal in names and kind in ("group", "role") and f"{kind}:{name}" not in seen:
                out += [f"{kind} {name}", *self._carried(f"{kind}:{name}", seen | {principal})]
        return tuple(dict.fromkeys(out))

    def _limit(self, event: Event, principal: str) -> Iterator[Revision]:
        said = event.detail
        place = said.get("in")
        key = (principal, str(said.get("action")), str(place))
        calls = said.get("calls")
        what = f"limit of {calls} {said.get('action')}s in {said.get('per_s')} s"
        before = self.limits.pop(key, None)
        where = "" if place is None else f"space {place}"
        if calls is not None:
            self.limits[key] = what
        if before != self.limits.get(key):
            told = f"{before or 'no limit'} to {self.limits.get(key, 'no limit')}"
            yield Revision(event.seq, event.time, event.actor, principal, "changed", told, where)


def _of_cube(engine: Engine, event: Event) -> Iterator[Revision]:
    """Yield what an entry changed in the rights of one memory, as far as its versions are there."""
    live = engine.by_rows([event.row]).get(event.row)
    if live is None or live.id != event.cube:
        return
    versions: Mapping[int, Cube] = {cube.version: cube for cube in (*engine.versions(event.cube), live)}
    if event.version not in versions or event.version - 1 not in versions:
        return
    old, new = (versions[number].header.rights for number in (event.version - 1, event.version))
    where = f"memory {event.cube}"
    for each in (name for name in _LISTS if name != "reach"):
        before, after = getattr(old, each), getattr(new, each)
        for name in before:
            if name not in after:
                yield _listed(event, each, name, is_added=False, where=where)
        for name in after:
            if name not in before:
                yield _listed(event, each, name, is_added=True, where=where)
    if _conditions(old) != _conditions(new):
        yield Revision(event.seq, event.time, event.actor, EVERYONE, "changed", "times", where)
    if old.bounds != new.bounds:
        yield Revision(event.seq, event.time, event.actor, EVERYONE, "changed", "rules of what it was made of", where)


def _conditions(rights: Rights) -> tuple[object, ...]:
    return rights.opens, rights.closes, rights.hours


def _listed(event: Event, kind: str, name: str, *, is_added: bool, where: str) -> Revision:
    if kind not in _NARROWING:
        return _told(event, name, is_given=is_added, what=kind, where=where)
    if kind == "deny":
        return _told(event, name, is_given=not is_added, what="everything: denied" if is_added else "end of the denial",
                     where=where)  # fmt: skip
    return _told(event, EVERYONE, is_given=not is_added, what=f"{kind} {name}", where=where)


def _told(
    event: Event, principal: str, *, is_given: bool, what: str, where: str = "", carries: tuple[str, ...] = ()
) -> Revision:
    change: Literal["gained", "lost"] = "gained" if is_given else "lost"
    return Revision(event.seq, event.time, event.actor, principal, change, what, where, carries)


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _lists(value: Json) -> dict[str, tuple[str, ...]]:
    return {name: _texts(names) for name, names in value.items()} if isinstance(value, dict) else {}
