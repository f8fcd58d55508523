"""Licences of memories that were subscribed to: how often they were read, and until when they may be.

Their time and their end rest in the memories themselves, as the moment from which nobody may use them, and are decided
in the store like all rights. What is counted here is how often a search, a recall or an ask found something of them:
before the result is given, in a transaction of its own, so that no two processes give the last one twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .core.access import Access
from .core.clock import from_micros, micros
from .core.cube import Cube
from .core.payload import Json, canonical
from .core.scope import Scope
from .core.where import EVERY_STATE, View, Where
from .parts import LICENCES, Caller
from .store.side import AuditLine

if TYPE_CHECKING:
    from .store import Engine, Transaction
    from .text import Hits

__all__ = [
    "SUBSCRIPTIONS",
    "close",
    "end_of",
    "key_of",
    "leaves_freely",
    "licence_of",
    "licensed",
    "name_in",
    "name_of",
    "note",
    "set_licence",
    "source_of",
    "subscribed",
    "write",
]

SUBSCRIPTIONS = "subscriptions"
"""Setting of the whole memory that lists what is subscribed to; see `subscribing`."""
_MARK = "publication:"
_PAGE = 1000


def source_of(name: str) -> str:
    """Return the source that memories of a publication name."""
    return _MARK + name


def name_in(source: str | None) -> str:
    """Return the publication that a source names, or an empty text."""
    return source.removeprefix(_MARK) if source is not None and source.startswith(_MARK) else ""


def name_of(cube: Cube) -> str:
    """Return the publication that a memory was subscribed to with, or an empty text."""
    return name_in(cube.header.provenance.source)


def key_of(owner: Scope, space: str, name: str) -> str:
    """Return the key under which a licence is kept."""
    return canonical([owner.tenant, owner.user, owner.agent, space, name])


def licence_of(engine: Engine, key: str) -> Mapping[str, Any] | None:
    """Return what is kept of a licence, or None when there is none."""
    found: Mapping[str, Any] | None = _read(engine.setting(LICENCES)).get(key)
    return found


def set_licence(tx: Transaction, key: str, *, calls: int | None, expires: datetime | None) -> None:
    """Keep what is licensed, or that it no longer is; what was used stays counted.

    Args:
        tx: Open.
        key: As `key_of` gives it.
        calls: Most reads, or None.
        expires: End, or None.
    """
    known = _read(tx.setting(LICENCES))
    used = int(known.get(key, {}).get("used", 0))
    known[key] = {"used": used}
    if calls is not None:
        known[key]["calls"] = calls
    if expires is not None:
        known[key]["expires"] = micros(expires)
    tx.set_setting(LICENCES, canonical(known))


def licensed(found: Hits, caller: Caller, action: str) -> Hits:
    """Count a read of everything under a licence that was found, and leave out what may not be read any more.

    Where nothing was found, a note names the licences of the caller that are used up or over.

    Args:
        found: What a search gave.
        caller: Who asked.
        action: Verb of the memory, for the audit.
    """
    if not found.hits:
        return _explained(found, caller)
    engine = caller.parts.root_engine
    limited = {key for key, said in _read(engine.setting(LICENCES)).items() if len(said) > 1}
    keys = {id(hit): key for hit in found.hits if (key := _licence_among(hit.cube, limited))}
    wanted = sorted(set(keys.values()))
    if not wanted:
        return found
    if engine.is_read_only:
        barred, spent, counted = set(wanted), set[str](), dict[str, dict[str, Any]]()
    else:
        barred, spent, counted = _counted(engine, wanted, micros(caller.now()))
    for key in wanted:
        _note(caller, action, key, counted.get(key, {}), is_allowed=key not in barred)
    for key in spent:
        tenant, user, agent, space, name = json.loads(key)
        close(caller, Scope(tenant, user, agent), space, name, why="used up")
    if not barred:
        return found
    kept = tuple(hit for hit in found.hits if keys.get(id(hit)) not in barred)
    names = ", ".join(sorted({json.loads(key)[4] for key in barred}))
    note = f"left out {len(found.hits) - len(kept)} of {names}: the licence is used up or over"
    return replace(found, hits=kept, notes=(*found.notes, note))


def _explained(found: Hits, caller: Caller) -> Hits:
    """Return a search without hits with a note of what the caller may not read any more in this space."""
    o, now = caller.scope, micros(caller.now())
    engine = caller.parts.root_engine
    taken = {each["key"] for each in json.loads(engine.setting(SUBSCRIPTIONS) or "[]")}
    over = []
    for key, said in _read(engine.setting(LICENCES)).items():
        *whose, space, name = json.loads(key)
        is_here = (whose, space) == ([o.tenant, o.user, o.agent], caller.space)
        if is_here and key in taken and _is_over(said, now):
            over.append(name)
    if not over:
        return found
    note = f"the licence of {', '.join(sorted(over))} is used up or over: nothing of it is found any more"
    return replace(found, notes=(*found.notes, note))


def _is_over(said: Mapping[str, Any], now: int) -> bool:
    used, calls, expires = int(said.get("used", 0)), said.get("calls"), said.get("expires")
    return (calls is not None and used >= calls) or (expires is not None and expires <= now)


def _counted(engine: Engine, keys: Sequence[str], now: int) -> tuple[set[str], set[str], dict[str, dict[str, Any]]]:
    """Count one read of each; return what may not be read, what may not be read again, and how they stand."""
    barred: set[str] = set()
    spent: set[str] = set()
    with engine.transaction() as tx:
        known = _read(tx.setting(LICENCES))
        for key in keys:
            said = known.get(key, {})
            if _is_over(said, now):
                barred.add(key)
                continue
            used, calls = int(said.get("used", 0)), said.get("calls")
            known[key] = {**said, "used": used + 1}
            if calls is not None and used + 1 >= calls:
                spent.add(key)
        if len(barred) < len(keys):
            tx.set_setting(LICENCES, canonical(known))
    return barred, spent, {key: known[key] for key in keys if key in known}


def _note(caller: Caller, action: str, key: str, said: Mapping[str, Any], *, is_allowed: bool) -> None:
    _, _, _, space, name = json.loads(key)
    detail: dict[str, Json] = {"publication": name, "used": said.get("used", 0)}
    if "calls" in said:
        detail["calls"] = said["calls"]
    note(caller, action, "licence", space, detail, is_allowed=is_allowed)


def note(
    caller: Caller, action: str, rule: str, space: str, detail: Mapping[str, Json], *, is_allowed: bool = True
) -> None:
    """Write to the audit, at every level, what was done with something that is shared.

    Args:
        caller: Who did it.
        action: Verb.
        rule: Which rule decided.
        space: Where.
        detail: Numbers and short names; never content.
        is_allowed: What was decided.
    """
    engine = caller.parts.root_engine
    if not engine.is_read_only:
        engine.audit.append([AuditLine(caller.now(), caller.scope, action, is_allowed, rule, space, "", dict(detail))])


def subscribed(caller: Caller, owner: Scope, space: str, name: str) -> Iterator[Cube]:
    """Yield every memory of a publication here, in whatever state, also those that nobody may use any more.

    Args:
        caller: Whose memory it is.
        owner: Who subscribed.
        space: Where they went.
        name: Of the publication.
    """
    engine = caller.parts.of_space(space).store.engine
    view = _steward(caller, owner, space, Where(source=source_of(name), states=EVERY_STATE))
    after: tuple[int, int] | None = None
    while found := engine.find(view, newest_first=False, limit=_PAGE, after=after):
        for cube in found:
            if _key(cube) == key_of(owner, space, name):
                yield cube
        after = (micros(found[-1].time), found[-1].row)


def close(caller: Caller, owner: Scope, space: str, name: str, *, why: str, ids: Iterable[str] | None = None) -> int:
    """Let nobody use memories of a publication from now on; a sweep forgets them in time. Return their number.

    Args:
        caller: Who asked for what led to it.
        owner: Who subscribed.
        space: Where they went.
        name: Of the publication.
        why: For the journal.
        ids: Which of them; None for all.
    """
    now = caller.now()
    wanted = None if ids is None else set(ids)
    open_ = [
        cube
        for cube in subscribed(caller, owner, space, name)
        if (wanted is None or cube.id in wanted) and not _is_closed(cube, now)
    ]

    def end(cube: Cube) -> Cube:
        header = cube.header
        opens = header.rights.opens
        rights = replace(header.rights, closes=now, opens=None if opens is not None and opens >= now else opens)
        life = header.life if header.life.state == "frozen" else replace(header.life, expires=now)
        return replace(cube, header=replace(header, rights=rights, life=life))

    write(caller, owner, space, [(cube.id, end) for cube in open_], {"publication": name, "why": why})
    return len(open_)


def write(
    caller: Caller,
    owner: Scope,
    space: str,
    changes: Sequence[tuple[str, Callable[[Cube], Cube]]],
    detail: Mapping[str, Json],
) -> None:
    """Write next versions of memories that were subscribed to, in the name of the memory itself; also frozen ones.

    Args:
        caller: Who asked for what led to it.
        owner: Who subscribed.
        space: Where they are.
        changes: Ids, with what makes the next version of each.
        detail: For the journal.
    """
    parts = caller.parts.of_space(space)
    view = _steward(caller, owner, space, Where(states=EVERY_STATE))
    for start in range(0, len(changes), _PAGE):
        parts.store.change(
            [(id, change, "overwrite", detail) for id, change in changes[start : start + _PAGE]],
            view=view,
            actor=caller.scope,
            now=caller.now(),
            action="share",  # a frozen memory may be closed, too
        )
    if changes:
        parts.finder.wrote()


def leaves_freely(engine: Engine) -> Callable[[Cube], bool] | None:
    """Return which memories may go into an archive; None for all of them.

    Those of which reads are counted stay: in another memory nobody would count them.
    """
    known = _read(engine.setting(LICENCES))
    counted = {key for key, said in known.items() if "calls" in said}
    return (lambda cube: not _licence_among(cube, counted)) if counted else None


def _is_closed(cube: Cube, now: datetime) -> bool:
    closes, life = cube.header.rights.closes, cube.header.life
    is_over = life.state in ("frozen", "expired") or (life.expires is not None and life.expires <= now)
    return closes is not None and closes <= now and is_over


def _steward(caller: Caller, owner: Scope, space: str, where: Where) -> View:
    return View(owner, (space,), where, Access.steward(owner.tenant, caller.now()))


def _licence_among(cube: Cube, keys: Collection[str]) -> str:
    """Return the key of the licence that a memory is under, or an empty text.

    A copy in another space, such as that of a branch, is under the licence of what it was copied from.
    """
    if not (name := name_of(cube)):
        return ""
    if (key := _key(cube)) in keys:
        return key
    owner = [cube.owner.tenant, cube.owner.user, cube.owner.agent]
    for key in sorted(keys):
        *whose, _, named = json.loads(key)
        if (whose, named) == (owner, name):
            return key
    return ""


def _key(cube: Cube) -> str:
    return key_of(cube.owner, cube.space, name_of(cube))


def _read(text: str | None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def end_of(said: Mapping[str, Any]) -> datetime | None:
    """Return when a licence ends, or None."""
    return None if said.get("expires") is None else from_micros(int(said["expires"]))
