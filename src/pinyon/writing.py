"""The verbs of a memory that write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Unpack

from .core.access import Action, Call
from .core.clock import Instant, instant
from .core.cube import Cube, Draft, check_metadata, check_tags
from .core.experience import Document, Experience, Note
from .core.header import Lineage, Origin, Parent, Priority, Rights, priority_of
from .core.payload import Json, Text, clean
from .errors import BadInput, Conflict
from .govern.rights import check_owner, check_rights, joined_expiry, joined_rights, no_wider
from .intake import batches, dressed, experience_of
from .parts import Caller, Who
from .reading import Reading
from .results import Added

if TYPE_CHECKING:
    from .store import Archived, Placed, SourceMark

__all__ = ["Writing"]


@dataclass(frozen=True, slots=True)
class _Dress:
    """What is laid over the headers of drafts before they are sealed.

    Args:
        rights: Who else may use them; None for nobody.
        expires: When their time is up, or None.
        priority: What a place is worth to them, or None for the middle.
        parents: What they were made of.
    """

    rights: Rights | None = None
    expires: datetime | None = None
    priority: float | None = None
    parents: tuple[Cube, ...] = ()

    def over(self, draft: Draft) -> Draft:
        """Return a draft with this laid over it."""
        header = draft.header
        if self.rights is not None:
            header = replace(header, rights=self.rights)
        if self.expires is not None:
            header = replace(header, life=replace(header.life, expires=self.expires))
        if self.priority is not None:
            header = replace(header, life=replace(header.life, priority=self.priority))
        if self.parents:
            lineage = Lineage(tuple(Parent(cube.id, cube.version) for cube in self.parents))
            provenance = replace(header.provenance, origin=Origin.INFERENCE)
            header = replace(header, lineage=lineage, provenance=provenance)
        return replace(draft, header=header)


_PLAIN = _Dress()


class Writing(Reading):
    """Add, update, adopt."""

    def add(
        self,
        what: str | Experience | Sequence[Mapping[str, object]],
        *,
        time: Instant | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
        rights: Rights | None = None,
        expires: Instant | None = None,
        priority: Priority | float | None = None,
        derived_from: Sequence[str] = (),
        **who: Unpack[Who],
    ) -> Added:
        """Remember something, word for word; on return it has reached the disk.

        Args:
            what: A text, chat messages (``[{"role": …, "content": …, "name"?: …, "time"?: …}]``), or an experience.
            time: When it happened, if that is known; for messages, those that have no time of their own.
            tags: Labels to filter by.
            metadata: Any JSON object to filter by.
            rights: Who may use it beside its owner, and under which conditions.
            expires: From when on it is not found any more.
            priority: ``low``, ``middle``, ``high``, or 0 to 1: what is low is archived first where room is short;
                None for the middle.
            derived_from: Ids of the memories it was made of. It may be used by whoever may use all of them, expires
                with the first of them, is marked stale when one changes, and is forgotten with them.
            who: Whose memory it is.

        Raises:
            BadInput: It is empty, or cannot be read.
            Denied: The caller may not write into this space.
        """
        caller = self._changer(who)
        experience = dressed(experience_of(what, caller.scope), time, tags, check_metadata(metadata or {}))
        dress = self._dress(rights, expires, priority, derived_from, who)
        return self._write([experience], caller, dress=dress)

    def add_many(
        self,
        experiences: Iterable[Experience],
        *,
        progress: Callable[[int], object] | None = None,
        **who: Unpack[Who],
    ) -> Added:
        """Remember many things, in transactions of about a thousand cubes; the result counts them only.

        Args:
            experiences: Read once; may be a generator.
            progress: Told the number of cubes after each transaction.
            who: Whose memory it is.
        """
        caller = self._changer(who)
        start = time.perf_counter()
        created = updated = unchanged = 0
        for batch in batches(experiences):
            added = self._write(batch, caller)
            created, updated = created + added.created, updated + added.updated
            unchanged += added.unchanged
            if progress is not None:
                progress(len(added.cubes))
        return Added((), created, updated, unchanged, _since(start))

    def add_source(self, experiences: Sequence[Experience], mark: SourceMark, **who: Unpack[Who]) -> Added:
        """Remember what one source says now; what it said before and says no longer is archived.

        Args:
            experiences: Everything read from it.
            mark: Its name and the digest of its bytes.
            who: Whose memory it is.
        """
        return self._write(experiences, self._changer(who), mark=mark)

    def adopt(self, things: Sequence[Archived], **who: Unpack[Who]) -> int:
        """Take in cubes from an archive as they are; return how many were not here before.

        Args:
            things: Cubes with their past.
            who: Who imports.
        """
        caller = self._writer(who)
        parts = caller.parts
        for thing in things:
            for data in thing.blobs:
                parts.store.engine.blobs.put(data)
        placed = parts.store.adopt(
            [(*thing.versions, thing.cube) for thing in things], actor=caller.scope, now=caller.now()
        )
        parts.finder.wrote()
        return sum(p.outcome == "created" for p in placed)

    def source(self, name: str, content: str, **who: Unpack[Who]) -> SourceMark | None:
        """Return what is known of a source by its name, or of another one with the same content.

        Args:
            name: Its name.
            content: SHA-256 of its bytes.
            who: Whose memory it is.
        """
        caller = self._reader(who)
        engine = caller.parts.store.engine
        name = caller.parts.redacted_name(name, caller.scope.tenant)
        return engine.source(caller.space, caller.scope, name) or engine.source_of(caller.space, caller.scope, content)

    def _write(
        self,
        experiences: Sequence[Experience],
        caller: Caller,
        *,
        mark: SourceMark | None = None,
        dress: _Dress = _PLAIN,
    ) -> Added:
        from .claims import Claims
        from .text import Verbatim

        start = time.perf_counter()
        drafts: list[Draft] = []
        for experience in experiences:
            drafts.extend(Verbatim().write(experience))
        if dress is not _PLAIN:
            drafts = [dress.over(draft) for draft in drafts]
        caller.check_space()
        parts = caller.parts
        mark = None if mark is None else replace(mark, key=parts.redacted_name(mark.key, caller.scope.tenant))
        claims = Claims.of(parts.redacted(drafts, caller.scope.tenant), caller, (parts.root or parts).conflicts)
        is_document = any(isinstance(e, (Document, Note)) for e in experiences)
        retire = mark.key if mark is not None and is_document else None
        with caller.audited("add") as touched:
            placed = parts.store.put(
                claims.drafts,
                owner=caller.scope,
                space=caller.space,
                now=caller.now(),
                access=caller.access(),
                source=mark,
                retire=retire,
                then=claims.then if claims.found else None,
            )
            touched.extend(p.cube for p in placed if p.outcome != "unchanged")
        parts.finder.wrote()
        return _added(placed, start)

    def _dress(
        self,
        rights: Rights | None,
        expires: Instant | None,
        priority: Priority | float | None,
        derived_from: Sequence[str],
        who: Who,
    ) -> _Dress:
        if rights is not None:
            check_rights(rights)
        until = None if expires is None else instant(expires)
        rank = None if priority is None else priority_of(priority)
        if not derived_from:
            return _PLAIN if rights is None and until is None and rank is None else _Dress(rights, until, rank)
        caller = replace(self._reader(who), call=Call("write", is_counted=True))  # the verb itself counts
        parents = tuple(caller.parts.one(id, caller, "add") for id in derived_from)
        check_owner(caller.scope, parents)
        bound = joined_rights(parents)
        first = joined_expiry(parents)
        given = min((at for at in (until, first) if at is not None), default=None)
        return _Dress(bound if rights is None else no_wider(rights, bound), given, rank, parents)

    def update(
        self,
        id: str,
        *,
        text: str | None = None,
        time: Instant | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, object] | None = None,
        expires: Instant | None = None,
        priority: Priority | float | None = None,
        if_version: int | None = None,
        **who: Unpack[Who],
    ) -> Cube:
        """Write the next version of a cube; the versions before stay in its history.

        Args:
            id: Its id, or the first characters of it.
            text: Its words from now on, or None to keep them.
            time: When it happened, or None to keep that.
            tags: Its labels from now on, or None to keep them.
            metadata: Its metadata from now on, or None to keep it.
            expires: From when on it is not found any more, or None to keep that.
            priority: As `add` takes it, or None to keep that.
            if_version: The version it must be at, or None for whichever.
            who: Who does it.

        Raises:
            NotFound: There is no such cube for this caller.
            Denied: The caller may read it, not change it; or it is frozen.
            Conflict: It is at another version than `if_version`, or has expired.
            BadInput: The text is empty, or the cube is no text.
        """
        caller = self._changer(who)
        if text is not None and not isinstance(text, str):
            raise BadInput(f"the new text is a {type(text).__name__}, and a text was expected")
        if text is not None and not clean(text).strip():
            raise BadInput("the new text is empty", hint="to remove a memory, forget it")
        moment = None if time is None else instant(time)
        until = None if expires is None else instant(expires)
        plain = None if metadata is None else check_metadata(metadata)
        labels = None if tags is None else check_tags(tags)
        rank = None if priority is None else priority_of(priority)

        def change(old: Cube) -> Cube:
            if text is not None and not isinstance(old.payload, Text):
                raise BadInput(f"cube {old.id!r} is of kind {old.kind.value}, it has no words to change")
            payload = old.payload if text is None else Text(clean(text))
            header = old.header
            header = header if moment is None else replace(header, life=replace(header.life, valid_from=moment))
            header = header if until is None else replace(header, life=replace(header.life, expires=until))
            header = header if rank is None else replace(header, life=replace(header.life, priority=rank))
            header = header if labels is None else replace(header, tags=labels)
            header = header if plain is None else replace(header, metadata=plain)
            (draft,) = caller.parts.redacted([Draft(payload, header)], caller.scope.tenant)
            return replace(old, payload=draft.payload, header=draft.header)

        return self._change(id, change, caller, verb="update", expected=if_version)

    def _change(
        self,
        id: str,
        change: Callable[[Cube], Cube],
        caller: Caller,
        *,
        verb: str,
        action: Action = "write",
        expected: int | None = None,
        detail: Mapping[str, Json] | None = None,
    ) -> Cube:
        """Write the next version of one cube, and what the audit asks for."""
        parts = caller.parts
        cube = parts.one(id, caller, verb)
        if caller.has_expired(cube):
            raise Conflict(f"cube {cube.id!r} has expired and stays as it is", hint="add what it said again")
        with caller.audited(verb, [cube]):
            changed = parts.store.update(
                cube.id,
                change,
                view=caller.whole_view(),
                actor=caller.scope,
                now=caller.now(),
                action=action,
                detail=detail,
                expected=expected,
            )
        parts.finder.wrote()
        return changed


def _added(placed: Sequence[Placed], start: float) -> Added:
    outcomes = [p.outcome for p in placed]
    return Added(
        tuple(p.cube for p in placed),
        outcomes.count("created"),
        outcomes.count("updated"),
        outcomes.count("unchanged"),
        _since(start),
    )


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
