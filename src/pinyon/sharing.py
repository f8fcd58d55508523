"""Publish memories into a registry, and take them back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from .core.access import check_principal
from .core.clock import instant
from .core.cube import Cube, check_tags, seal_hash
from .core.header import Header
from .core.joining import forbidding
from .core.payload import Json, canonical
from .core.scope import Scope
from .errors import BadInput, Conflict, Denied
from .licences import end_of, key_of, licence_of, name_in, name_of, note
from .memory import Filters, Memory
from .parts import Caller
from .store.archive import Archived, Extras, OpenArchive, Seal, export_things
from .store.registry import (
    PUBLIC,
    Issue,
    Publication,
    Registry,
    Terms,
    archive_in,
    check_publication_name,
    issue_to_json,
)

__all__ = ["Published", "publish", "registry", "terms_of", "unpublish"]

PUBLICATION = "publication"
"""Under this name an archive says of which publication it is, and under which terms."""


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a publication.

    Args:
        publication: As it stands now.
        is_new: Whether a version was added.
    """

    publication: Publication
    is_new: bool


def publish(
    memory: Memory,
    space: str,
    to: str,
    *,
    name: str,
    version: str | None = None,
    terms: Terms | None = None,
    labels: Sequence[str] = (),
    where: Filters = None,
    seal_key: bytes | None = None,
) -> Published:
    """Put what a space holds into a registry, under a name, for others to subscribe to.

    What leaves are memories as they are now: no earlier versions, no names of users, sessions or files, and none of the
    rights that name somebody; conditions, denials and labels stay. Where nothing changed since the last version, none
    is added.

    Args:
        memory: Whose caller publishes; it must be allowed to share each of them.
        space: Whose memories.
        to: Folder of the registry, made when it is not there.
        name: Of the publication.
        version: Of this state, or None for the next number.
        terms: Under which conditions; None for everybody, for ever.
        labels: To find it by.
        where: Which memories; None for all that are found.
        seal_key: 32 bytes; the archive bears their seal.

    Raises:
        BadInput: The name is a path, there is nothing to publish, or the registry is an address.
        Denied: Something of it may not be shared by this caller, or not under such terms.
        Conflict: The version is there already.
    """
    asked = terms or Terms()
    _check_names(name, version, asked)
    caller = memory.at(space=space).caller
    caller.check_now()
    cubes = list(memory.iterate(where=where, space=space))
    if not cubes:
        raise BadInput(f"the space {space!r} holds nothing that could be published", hint="`pinyon stats` shows spaces")
    _check_share(caller, cubes)
    _check_terms(caller, cubes, asked)
    tags = check_tags(labels)
    now = caller.now()
    made: list[str] = []

    def make(before: Publication | None, folder: Path) -> Issue | None:
        last = None if before is None else before.latest
        number = version or _next(before)
        if before is not None and any(issue.version == number for issue in before.issues):
            raise Conflict(f"{name!r} {number} is published already", hint="a version is never replaced; name another")
        issue = Issue(number, None if last is None else last.version, now, asked, tags)
        said = canonical(issue_to_json(name, issue))
        path = archive_in(folder, number)
        written = export_things(
            caller.parts.store.engine.blobs,
            _plain(cubes, name, asked),
            path,
            created=now,
            extras=Extras(rules={PUBLICATION: said}),
            seal=None if seal_key is None else Seal(seal_key),
        )
        with OpenArchive(path) as archive:
            content = archive.digest()
        is_same = last is not None and before is not None and before.withdrawn is None
        if is_same and last is not None and (last.content, last.terms, last.tags) == (content, asked, tags):
            path.unlink()
            return None
        made.append(number)
        return replace(issue, cubes=written.cubes, content=content)

    done = Registry(to).publish(name, make)
    if made:
        detail: dict[str, Json] = {PUBLICATION: name, "version": done.latest.version, "cubes": done.latest.cubes}
        note(caller, "publish", "share", space, detail)
    return Published(done, bool(made))


def unpublish(memory: Memory, name: str, place: str) -> Publication:
    """Take a publication back: its archives go, and subscribers are told with their next pull.

    Args:
        memory: Whose caller does it, for the audit.
        name: Of the publication.
        place: Folder of the registry.

    Raises:
        NotFound: Nothing is published under this name.
        Conflict: It is withdrawn already.
    """
    caller = memory.caller
    done = Registry(place).withdraw(name, caller.now())
    note(caller, "unpublish", "default", caller.space, {PUBLICATION: name})
    return done


def registry(
    task: Literal["list", "check"], place: str, *, tags: Sequence[str] = (), query: str | None = None
) -> tuple[Publication, ...]:
    """Return what is published in a registry, by name.

    Args:
        task: ``list`` reads the index; ``check`` also reads the last archive of each publication, and compares its
            digest.
        place: A folder, or an address that begins with http.
        tags: Labels, all of which a publication must bear.
        query: Words, one of which its name, labels or terms must hold.

    Raises:
        NotFound: There is no registry there.
        Damaged: It, or an archive that is looked at, is cut off or was changed.
    """
    store = Registry(place)
    found = [each for _, each in sorted(store.publications().items()) if _fits(each, tags, query)]
    if task == "check":
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            for each in found:
                if each.withdrawn is None:
                    store.fetch(each, each.latest, Path(folder) / "archive")
    return tuple(found)


def terms_of(licence: str = "", visible_to: Sequence[str] = (PUBLIC,), text: str = "") -> Terms:
    """Return terms from the words of a command line.

    Args:
        licence: ``calls=100,expires=2027-01-01``, either of them, or nothing.
        visible_to: As `Terms` takes it.
        text: Anything else.

    Raises:
        BadInput: It says something else.

    Example:
        >>> terms_of("calls=100").calls
        100
    """
    given: dict[str, str] = {}
    for part in filter(None, map(str.strip, licence.split(","))):
        key, equals, value = part.partition("=")
        if key not in ("calls", "expires") or not equals or key in given:
            raise BadInput(f"{part!r} is no part of a licence", hint="write calls=100,expires=2027-01-01")
        given[key] = value
    calls = given.get("calls")
    if calls is not None and not (calls.isascii() and calls.isdigit()):
        raise BadInput(f"{calls!r} is no number of calls", hint="write calls=100")
    expires = given.get("expires")
    return Terms(
        None if calls is None else int(calls),
        None if expires is None else instant(expires),
        tuple(dict.fromkeys(visible_to)),
        text,
    )


def _check_names(name: str, version: str | None, asked: Terms) -> None:
    check_publication_name(name)
    if version is not None:
        check_publication_name(version, "version")
    for who in asked.visible_to:
        if who != PUBLIC:
            check_principal(who)


def _next(before: Publication | None) -> str:
    if before is None:
        return "1"
    numbers = [int(issue.version) for issue in before.issues if issue.version.isascii() and issue.version.isdigit()]
    return str(max(numbers, default=len(before.issues)) + 1)


def _check_share(caller: Caller, cubes: Sequence[Cube]) -> None:
    """Refuse to publish what the caller may not share."""
    view = caller.whole_view()
    for cube in cubes:
        said = view.allows(cube, "share")
        if not said.allowed:
            with caller.audited("publish", [cube]):
                raise Denied(
                    f"cube {cube.id!r} may not be shared: the rule {said.rule!r} forbids it",
                    hint="leave it out with a filter, or ask its owner",
                    rule=said.rule,
                )


def _check_terms(caller: Caller, cubes: Sequence[Cube], asked: Terms) -> None:
    """Refuse to publish what was subscribed to under wider terms than it came with."""
    from .subscribing import subscriptions_of

    for name, cube in {name: cube for cube in cubes if (name := name_of(cube))}.items():
        owner = replace(cube.owner, session=None)
        held = [s for s in subscriptions_of(caller) if (s.owner, s.space, s.name) == (owner, cube.space, name)]
        if held:
            said = licence_of(caller.parts.root_engine, key_of(owner, cube.space, name)) or {}
            if beyond := _beyond(asked, held[0].visible_to, said):
                with caller.audited("publish", [cube]):
                    raise Denied(
                        f"the terms of {name!r}, which this was subscribed to with, do not allow {beyond}",
                        hint="publish it under terms that are no wider",
                        rule="licence",
                    )


def _beyond(asked: Terms, visible_to: Sequence[str], said: Mapping[str, Any]) -> str:
    """Return what is asked beyond a licence, or nothing."""
    if PUBLIC not in visible_to and not set(asked.visible_to) <= set(visible_to):
        return f"to show it to {', '.join(sorted(set(asked.visible_to) - set(visible_to)))}"
    end = end_of(said)
    if end is not None and (asked.expires is None or asked.expires > end):
        return f"to use it after {end:%Y-%m-%d}"
    if "calls" in said:
        left = max(int(said["calls"]) - int(said.get("used", 0)), 0)
        if asked.calls is None or asked.calls > left:
            return f"more than the {left} calls that are left"
    return ""


def _plain(cubes: Sequence[Cube], name: str, terms: Terms) -> Iterator[Archived]:
    """Yield memories as they may leave: one version, nobody's, with nothing that names somebody or a file."""
    for cube in cubes:
        header = _header(cube.header, name, terms.expires)
        seal = seal_hash(cube.payload, header, "")
        yield Archived(
            replace(
                cube, version=1, space=name, owner=Scope(), header=header, updated=cube.created, hash=seal, parent=""
            )
        )


def _header(header: Header, name: str, expires: datetime | None) -> Header:
    p, rights, life = header.provenance, header.rights, header.life
    title = p.title or (Path(p.source).name if p.source and not name_in(p.source) else None)
    thread = None if p.thread is None else f"{name}:{sha256(p.thread.encode()).hexdigest()[:16]}"
    return replace(
        header,
        provenance=replace(p, source=None, title=title, thread=thread),
        rights=replace(forbidding(rights), closes=_first(rights.closes, expires)),
        life=replace(
            life, state="generated", thaws_to=None, pinned=False, stale=False, expires=_first(life.expires, expires)
        ),
    )


def _first(one: datetime | None, two: datetime | None) -> datetime | None:
    return min((at for at in (one, two) if at is not None), default=None)


def fits_words(text: str, query: str | None) -> bool:
    """Return whether a text holds one of the words of a query; without a query it does."""
    if query is None:
        return True
    from .index import Analyzer

    analyzer = Analyzer()
    return not set(analyzer.terms(query)).isdisjoint(analyzer.terms(text))


def _fits(each: Publication, tags: Sequence[str], query: str | None) -> bool:
    latest = each.latest
    if not set(tags) <= set(latest.tags):
        return False
    return fits_words(" ".join((each.name.replace("-", " "), *latest.tags, latest.terms.text)), query)
