"""Subscribe to what others publish, and pull what they have changed since."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .core.clock import from_micros, micros
from .core.cube import Cube, Draft
from .core.header import Header
from .core.joining import forbidding
from .core.payload import Json, Text, canonical
from .core.scope import Scope
from .errors import BadInput, Conflict, Damaged, Denied, NotFound, PinyonError
from .licences import SUBSCRIPTIONS, close, key_of, licence_of, note, set_licence, source_of, subscribed, write
from .memory import Memory
from .parts import Caller
from .sharing import PUBLICATION, fits_words
from .store.archive import OpenArchive, Rescope, import_archive
from .store.registry import PUBLIC, Issue, Publication, Registry, check_publication_name, issue_to_json
from .store.vault import read_key

__all__ = ["Pulled", "Subscription", "pull", "subscribe", "subscriptions", "subscriptions_of", "unsubscribe"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What somebody takes from a registry, and where it goes.

    Args:
        name: Of the publication.
        place: Of the registry: a folder or an address.
        space: Where its memories go.
        owner: Whose they become.
        tags: Only memories with all these labels.
        query: Only memories that hold one of these words, or None for all.
        seal_file: File with the key whose seal the archives must bear, or None.
        version: The last version that was taken whole; empty for none.
        visible_to: Who may subscribe to it, as it says.
        text: What its terms say in words.
        calls: How often it may be read, or None.
        used: How often it was.
        expires: Until when it may be used, or None.
        withdrawn: Whether it was taken back.
        pulled: When it was last looked at, or None.
    """

    name: str
    place: str
    space: str
    owner: Scope
    tags: tuple[str, ...] = ()
    query: str | None = None
    seal_file: str | None = None
    version: str = ""
    visible_to: tuple[str, ...] = ()
    text: str = ""
    calls: int | None = None
    used: int = 0
    expires: datetime | None = None
    withdrawn: bool = False
    pulled: datetime | None = None

    @property
    def key(self) -> str:
        """What tells it from others."""
        return key_of(self.owner, self.space, self.name)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought.

    Args:
        name: Of the publication.
        version: That is here now.
        before: That was here; empty for none.
        created: Memories that were not here.
        updated: Memories that have changed.
        closed: Memories that the publication no longer holds, or all of them when it was withdrawn; nobody finds them.
        held: Memories that have changed, and stay as they are because they are frozen here.
        forgotten: Memories that were forgotten here, and stay so.
        withdrawn: Whether the publication was taken back.
        problem: Why nothing was taken, in one sentence; empty when all went well.
    """

    name: str
    version: str = ""
    before: str = ""
    created: int = 0
    updated: int = 0
    closed: int = 0
    held: int = 0
    forgotten: int = 0
    withdrawn: bool = False
    problem: str = ""


def subscribe(
    memory: Memory,
    name: str,
    source: str,
    *,
    tags: Sequence[str] = (),
    query: str | None = None,
    seal_file: str | None = None,
) -> Pulled:
    """Take what is published under a name into the caller's space, now and with every later `pull`.

    Its memories become the caller's own, and are bound to its terms: nobody uses them after their end, and with a
    number of calls every search, recall and ask that finds one of them is counted. To choose others of them later,
    subscribe again.

    Args:
        memory: Whose caller subscribes, and into which space.
        name: Of the publication.
        source: A registry: a folder, or an address that begins with http.
        tags: Only memories with all these labels.
        query: Only memories that hold one of these words; endings of words do not matter.
        seal_file: File with the key whose seal its archives must bear; it is read again with every pull.

    Raises:
        NotFound: There is no such registry or publication.
        Denied: The caller is none of those that it is visible to, or may not write the space.
        Conflict: It was withdrawn; or the space already takes something of this name from elsewhere.
        Damaged: Registry or archive are cut off or were changed; nothing was taken.
        WrongKey: The archive was sealed with another key; nothing was taken.
    """
    caller = memory.caller
    caller.check_now()
    caller.check_space()
    store = Registry(source)
    publication = store.find(name)
    if publication.withdrawn is not None:
        raise Conflict(f"{name!r} was withdrawn on {publication.withdrawn:%Y-%m-%d}")
    if query is not None and not query.strip():
        raise BadInput("the words to choose by are empty")
    key_file = None if seal_file is None else str(Path(seal_file).expanduser().absolute())
    wanted = Subscription(
        name, store.place, caller.space, replace(caller.scope, session=None), tuple(tags), query, key_file
    )
    known = {each.key: each for each in subscriptions_of(caller)}.get(wanted.key)
    if known is not None and known.place != wanted.place:
        raise Conflict(
            f"the space {caller.space!r} takes {name!r} from {known.place!r} already",
            hint="subscribe in another space, or unsubscribe first",
        )
    pulled = _take(memory, wanted, publication)
    return pulled if known is None else replace(pulled, before=known.version)


def unsubscribe(memory: Memory, name: str) -> int:
    """Take no more of a publication; nobody finds what was taken any more. Return the number of memories.

    Args:
        memory: Whose caller subscribed, and in which space.
        name: Of the publication.

    Raises:
        NotFound: The caller takes nothing of this name in this space.
    """
    caller = memory.caller
    (found,) = _named(caller, check_publication_name(name))
    number = close(caller, found.owner, found.space, name, why="unsubscribed")
    _keep(caller, found.key, None)
    _tell(caller, "unsubscribe", found)
    return number


def subscriptions(memory: Memory) -> tuple[Subscription, ...]:
    """Return what the caller subscribed to, in every space, with how often it was read."""
    caller = memory.caller
    mine = replace(caller.scope, session=None)
    return tuple(each for each in subscriptions_of(caller) if each.owner == mine)


def pull(memory: Memory, name: str | None = None) -> tuple[Pulled, ...]:
    """Take new versions of what the caller subscribed to; doing it again changes nothing.

    Only what changed is written, and its earlier versions stay in the history. What a publication no longer holds, and
    everything of one that was withdrawn, nobody finds any more, and a sweep forgets it in time. One that cannot be
    pulled is named in the result, and the rest is.

    Args:
        memory: Whose caller pulls.
        name: Of one publication in the caller's space, or None for all of them.

    Raises:
        NotFound: The caller takes nothing of this name in this space.
    """
    caller = memory.caller
    caller.check_now()
    wanted = subscriptions(memory) if name is None else _named(caller, check_publication_name(name))
    done: list[Pulled] = []
    for each in wanted:
        try:
            done.append(_take(memory.at(space=each.space), each, Registry(each.place).find(each.name)))
        except PinyonError as error:
            done.append(Pulled(each.name, each.version, each.version, problem=error.message))
    return tuple(done)


def subscriptions_of(caller: Caller) -> tuple[Subscription, ...]:
    """Return every subscription of a memory, whoever made it."""
    engine = caller.parts.root_engine
    found = []
    for said in _read(engine.setting(SUBSCRIPTIONS)):
        licence = licence_of(engine, said["key"]) or {}
        found.append(replace(_subscription(said), used=int(licence.get("used", 0))))
    return tuple(found)


def _named(caller: Caller, name: str) -> tuple[Subscription]:
    key = key_of(replace(caller.scope, session=None), caller.space, name)
    for each in subscriptions_of(caller):
        if each.key == key:
            return (each,)
    raise NotFound(
        f"there is no subscription to {name!r} in the space {caller.space!r}", hint="`pinyon subscriptions` shows them"
    )


def _take(memory: Memory, wanted: Subscription, publication: Publication) -> Pulled:
    """Bring what is here to the last version of a publication."""
    caller, issue = memory.caller, publication.latest
    caller.check_space()
    if publication.withdrawn is not None:
        number = close(caller, wanted.owner, wanted.space, wanted.name, why="withdrawn")
        _keep(caller, wanted.key, replace(wanted, withdrawn=True, pulled=caller.now()))
        if not wanted.withdrawn:
            _tell(caller, "pull", wanted)
        return Pulled(wanted.name, wanted.version, wanted.version, closed=number, withdrawn=True)
    _check_visible(caller, wanted, issue)
    if wanted.version == issue.version and not wanted.withdrawn:
        _keep(caller, wanted.key, replace(wanted, pulled=caller.now()))
        return Pulled(wanted.name, issue.version, issue.version)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "archive"
        Registry(wanted.place).fetch(publication, issue, path)
        _check_archive(path, publication, issue)
        pulled = _taken(memory, wanted, issue, path)
    terms = issue.terms
    done = replace(
        wanted,
        version=issue.version,
        visible_to=terms.visible_to,
        text=terms.text,
        calls=terms.calls,
        expires=terms.expires,
        withdrawn=False,
        pulled=caller.now(),
    )
    _keep(caller, wanted.key, done)
    _tell(caller, "pull" if wanted.version else "subscribe", done)
    return replace(pulled, version=issue.version, before=wanted.version)


def _check_visible(caller: Caller, wanted: Subscription, issue: Issue) -> None:
    visible_to = issue.terms.visible_to
    if PUBLIC in visible_to or caller.access().is_named(visible_to):
        return
    with caller.audited("subscribe", detail={PUBLICATION: wanted.name}):
        raise Denied(
            f"{wanted.name!r} is for {', '.join(visible_to)}, and this caller is none of them",
            hint="ask whoever publishes it",
            rule="licence",
        )


def _check_archive(path: Path, publication: Publication, issue: Issue) -> None:
    """Refuse an archive that is another one than the index says, or under other terms."""
    said = canonical(issue_to_json(publication.name, replace(issue, cubes=0, content="")))
    with OpenArchive(path) as archive:
        if archive.rules().get(PUBLICATION) != said or archive.digest() != issue.content:
            raise Damaged(
                f"the archive of {publication.name} {issue.version} is another one than the index of its registry says",
                hint="nothing was taken; tell whoever publishes it",
            )


def _taken(memory: Memory, wanted: Subscription, issue: Issue, path: Path) -> Pulled:
    caller = memory.caller
    scope, engine, terms = wanted.owner, caller.parts.store.engine, issue.terms
    here = {cube.id: cube for cube in subscribed(caller, scope, wanted.space, wanted.name)}
    dress = _Dress(wanted, terms.expires, _redaction(caller), here)
    seal_key = None if wanted.seal_file is None else read_key(Path(wanted.seal_file))
    if seal_key is not None:  # before anything is kept, even of the licence
        with OpenArchive(path) as archive:
            archive.check_seal(seal_key)
    with caller.parts.root_engine.transaction() as tx:  # so that the first read is counted
        set_licence(tx, wanted.key, calls=terms.calls, expires=terms.expires)
    taken = import_archive(
        engine,
        path,
        access=caller.access(),
        now=caller.now(),
        rescope=Rescope(
            into_space=wanted.space, as_user=scope.user, as_agent=scope.agent, tenants={None: scope.tenant}
        ),
        redact=dress.dressed,
        seal_key=seal_key,
        only=dress.is_wanted,
    )
    detail: dict[str, Json] = {PUBLICATION: wanted.name, "version": issue.version}
    frozen = [id for id in dress.changed if here[id].header.life.state == "frozen"]
    changed = [(id, _becoming(cube)) for id, cube in dress.changed.items() if id not in frozen]
    write(caller, scope, wanted.space, changed, detail)
    gone = set(here) - dress.seen
    closed = close(caller, scope, wanted.space, wanted.name, why="withdrawn", ids=gone) if gone else 0
    licence = licence_of(caller.parts.root_engine, wanted.key) or {}
    if terms.calls is not None and int(licence.get("used", 0)) >= terms.calls:
        close(caller, scope, wanted.space, wanted.name, why="used up")
    caller.parts.finder.wrote()
    return Pulled(
        wanted.name,
        created=taken.created,
        updated=len(changed),
        closed=closed,
        held=len(frozen),
        forgotten=taken.forgotten,
    )


@dataclass(slots=True)
class _Dress:
    """How memories of a publication are to be here, and which of those that are here are otherwise.

    Args:
        wanted: The subscription.
        expires: When all of them end, or None.
        redaction: What rules of redaction make of a memory.
        here: Those that are here, by id.
    """

    wanted: Subscription
    expires: datetime | None
    redaction: Callable[[Cube], Cube]
    here: Mapping[str, Cube]
    seen: set[str] = field(default_factory=set)
    changed: dict[str, Cube] = field(default_factory=dict)

    def is_wanted(self, cube: Cube) -> bool:
        """Return whether the subscription chooses a memory."""
        if not set(self.wanted.tags) <= set(cube.header.tags):
            return False
        return self.wanted.query is None or (
            isinstance(cube.payload, Text) and fits_words(cube.text, self.wanted.query)
        )

    def dressed(self, cube: Cube) -> Cube:
        """Return a memory as it is to be here."""
        out = self.redaction(replace(cube, header=_bound(cube.header, self.wanted.name, self.expires)))
        self.seen.add(out.id)
        old = self.here.get(out.id)
        if old is not None and _said(old) != _said(out):
            self.changed[out.id] = out
        return out


def _bound(header: Header, name: str, expires: datetime | None) -> Header:
    rights, life = header.rights, header.life
    ends = [at for at in (expires, rights.closes) if at is not None]
    ends_of_life = [at for at in (expires, life.expires) if at is not None]
    return replace(
        header,
        provenance=replace(header.provenance, source=source_of(name)),
        rights=replace(forbidding(rights), closes=min(ends, default=None)),
        life=replace(life, expires=min(ends_of_life, default=None)),
    )


def _said(cube: Cube) -> tuple[object, ...]:
    """Return what a publication says of a memory; the rest is its life here."""
    header = cube.header
    rights, life = header.rights, header.life
    return (
        cube.payload,
        header.tags,
        dict(header.metadata),
        replace(header.provenance, position=None),
        (rights.sensitivity, rights.deny, rights.purposes, rights.tasks, rights.opens, rights.closes, rights.hours),
        (life.valid_from, life.valid_to, life.expires, life.priority),
    )


def _becoming(wanted: Cube) -> Callable[[Cube], Cube]:
    def change(old: Cube) -> Cube:
        life, now = wanted.header.life, old.header.life
        state = "generated" if now.state == "expired" else now.state
        header = replace(
            wanted.header,
            life=replace(life, state=state, thaws_to=now.thaws_to, pinned=now.pinned, stale=now.stale),
            lineage=old.header.lineage,
            provenance=replace(wanted.header.provenance, position=old.header.provenance.position),
        )
        return replace(old, payload=wanted.payload, header=header)

    return change


def _redaction(caller: Caller) -> Callable[[Cube], Cube]:
    redactor = caller.parts.redactor(caller.scope.tenant)

    def redact(cube: Cube) -> Cube:
        if redactor is None:
            return cube
        (draft,) = redactor.apply([Draft(cube.payload, cube.header)])
        return replace(cube, payload=draft.payload, header=draft.header)

    return redact


def _tell(caller: Caller, action: str, said: Subscription) -> None:
    detail: dict[str, Json] = {PUBLICATION: said.name, "version": said.version}
    note(caller, action, "licence", said.space, detail)


def _keep(caller: Caller, key: str, said: Subscription | None) -> None:
    with caller.parts.root_engine.transaction() as tx:
        known = [each for each in _read(tx.setting(SUBSCRIPTIONS)) if each["key"] != key]
        tx.set_setting(SUBSCRIPTIONS, canonical([*known, *([_to_json(said)] if said is not None else [])]))


def _read(text: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text) if text else []
    return found


def _to_json(said: Subscription) -> dict[str, Json]:
    owner = said.owner
    return {
        "key": said.key,
        "name": said.name,
        "place": said.place,
        "space": said.space,
        "owner": [owner.tenant, owner.user, owner.agent],
        "tags": list(said.tags),
        "query": said.query,
        "seal_file": said.seal_file,
        "version": said.version,
        "visible_to": list(said.visible_to),
        "text": said.text,
        "calls": said.calls,
        "expires": None if said.expires is None else micros(said.expires),
        "withdrawn": said.withdrawn,
        "pulled": None if said.pulled is None else micros(said.pulled),
    }


def _subscription(said: Mapping[str, Any]) -> Subscription:
    return Subscription(
        said["name"],
        said["place"],
        said["space"],
        Scope(*said["owner"]),
        tuple(said["tags"]),
        said["query"],
        said["seal_file"],
        said["version"],
        tuple(said["visible_to"]),
        said["text"],
        said["calls"],
        expires=None if said["expires"] is None else from_micros(said["expires"]),
        withdrawn=said["withdrawn"],
        pulled=None if said["pulled"] is None else from_micros(said["pulled"]),
    )
