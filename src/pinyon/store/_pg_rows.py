"""Cubes and journal entries as rows of PostgreSQL tables, and back.

PostgreSQL keeps no NUL in its texts. `spell` writes U+0000 and U+0001 as two characters each, so that nothing is lost
and the order by code point stays what it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from uuid import UUID

from ..core.clock import from_micros, micros
from ..core.cube import Cube
from ..core.events import Event
from ..core.header import Life, header_from_json, header_text
from ..core.payload import Text, canonical, payload_from_json, payload_to_json
from ..core.scope import Scope
from ..core.where import facets
from ..errors import Damaged

__all__ = [
    "CUBE_COLUMNS",
    "EVENT_COLUMNS",
    "VALUE_COLUMNS",
    "cube_of",
    "digest_of",
    "event_of",
    "event_values",
    "read",
    "spell",
    "values_of",
]

CUBE_COLUMNS = (
    'row, id, version, space, tenant, "user", agent, session, created, updated, content, payload, header, hash,'
    " parent, seq"
)
"""What `cube_of` reads, in its order."""

VALUE_COLUMNS = (
    'row, id, version, space, tenant, "user", agent, session, kind, state, thread, position, speaker, source, time,'
    " created, updated, seq, rights, expires, until, content, payload, header, hash, parent, parents, facets, keys,"
    " numbers, words"
)
"""What `values_of` gives, in its order."""

EVENT_COLUMNS = 'seq, time, op, tenant, "user", agent, session, space, cube, row, version, hash, detail, chain'
"""What `event_of` reads, in its order."""

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


def spell(text: str) -> str:
    """Return a text without NUL; `read` is its inverse, and two texts keep their order by code point.

    Example:
        >>> read(spell("a\\x00b")) == "a\\x00b", "\\x00" in spell("a\\x00b")
        (True, False)
    """
    if "\x00" in text or "\x01" in text:
        return text.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    return text


def read(text: str) -> str:
    """Return the text that `spell` wrote."""
    if "\x01" not in text:
        return text
    parts = text.split("\x01")
    out = [parts[0]]
    pending = iter(parts[1:])
    for part in pending:
        if part:  # "\x02…" is U+0001
            out.append("\x01" + part[1:])
        else:  # two in a row are U+0000, and what follows the second is plain
            out.append("\x00" + next(pending))
    return "".join(out)


def digest_of(key: str, value: str = "") -> UUID:
    """Return 128 bits that stand for a key of metadata and a value: any text fits into an index so."""
    return UUID(bytes=hashlib.sha256(f"{len(key)}\x00{key}{value}".encode()).digest()[:16])


def _spelled(text: str | None) -> str | None:
    return None if text is None else spell(text)


def values_of(cube: Cube, rights: int) -> tuple[object, ...]:
    """Return a cube as the values of its row.

    Args:
        cube: What is to be kept.
        rights: Number of its rights.
    """
    p, o = cube.header.provenance, cube.owner
    payload = cube.payload
    plain = isinstance(payload, Text) and payload.format == "text"
    return (
        cube.row,
        cube.id,
        cube.version,
        cube.space,
        o.tenant,
        o.user,
        o.agent,
        o.session,
        cube.kind.value,
        cube.header.life.standing,
        _spelled(p.thread),
        p.position,
        _spelled(p.speaker),
        _spelled(p.source),
        micros(cube.time),
        micros(cube.created),
        micros(cube.updated),
        cube.seq,
        rights,
        *_dates(cube.header.life),
        spell(cube.text),
        None if plain else canonical(payload_to_json(payload) | ({"content": ""} if cube.text else {})),
        header_text(cube.header),
        cube.hash,
        cube.parent,
        [parent.id for parent in cube.header.lineage.parents] or None,
        *_filters(cube),
    )


def _dates(life: Life) -> tuple[int | None, int | None]:
    return (
        None if life.expires is None else micros(life.expires),
        None if life.valid_to is None else micros(life.valid_to),
    )


def _filters(cube: Cube) -> tuple[object, ...]:
    """Return what filters on tags and metadata look at: digests for equality, and keys with what can be ordered."""
    found = sorted(facets(cube.header), key=lambda facet: (facet.key, facet.value))  # whatever their order was
    if not found:
        return None, None, None, None
    ordered = [facet for facet in found if facet.number is not None or facet.value.startswith('"')]
    return (
        [digest_of(facet.key, facet.value) for facet in found],
        [digest_of(facet.key) for facet in ordered] or None,
        [facet.number for facet in ordered] or None,
        [spell(json.loads(facet.value)) if facet.number is None else None for facet in ordered] or None,
    )


def cube_of(values: Sequence[object]) -> Cube:
    """Return the cube of a row.

    Raises:
        Damaged: The row says nothing that a cube could be.
    """
    try:
        return _cube(values)
    except _UNREADABLE as error:
        raise Damaged(f"cube {values[1]!r} was changed behind pinyon's back and cannot be read") from error


def _cube(values: Sequence[object]) -> Cube:
    (row, id, version, space, tenant, user, agent, session, created, updated, content, payload, header, seal, parent,
     seq) = values  # fmt: skip
    content = read(content)  # type: ignore[arg-type]  # the columns have types
    if payload is None:
        body: object = Text(content)
    else:
        data = json.loads(payload)  # type: ignore[arg-type]
        body = payload_from_json(data | {"content": content} if data["kind"] == "text" else data)
    return Cube(
        id,  # type: ignore[arg-type]
        row,  # type: ignore[arg-type]
        version,  # type: ignore[arg-type]
        space,  # type: ignore[arg-type]
        Scope(tenant, user, agent, session),  # type: ignore[arg-type]
        body,  # type: ignore[arg-type]
        header_from_json(json.loads(header)),  # type: ignore[arg-type]
        from_micros(created),  # type: ignore[arg-type]
        from_micros(updated),  # type: ignore[arg-type]
        seal,  # type: ignore[arg-type]
        parent,  # type: ignore[arg-type]
        seq,  # type: ignore[arg-type]
    )


def event_values(e: Event) -> tuple[object, ...]:
    """Return a journal entry as the values of its row."""
    who = e.actor
    detail = canonical(dict(e.detail)) if e.detail else None
    return (
        e.seq, micros(e.time), e.op, who.tenant, who.user, who.agent, who.session, e.space, e.cube, e.row, e.version,
        e.hash, detail, e.chain,
    )  # fmt: skip


def event_of(values: Sequence[object]) -> Event:
    """Return the journal entry of a row.

    Raises:
        Damaged: The row says nothing that an entry could be.
    """
    try:
        seq, moment, op, tenant, user, agent, session, space, cube, row, version, seal, detail, chain = values
        return Event(
            seq,  # type: ignore[arg-type]  # the columns have types
            from_micros(moment),  # type: ignore[arg-type]
            op,  # type: ignore[arg-type]
            Scope(tenant, user, agent, session),  # type: ignore[arg-type]
            space,  # type: ignore[arg-type]
            cube,  # type: ignore[arg-type]
            row,  # type: ignore[arg-type]
            version,  # type: ignore[arg-type]
            seal,  # type: ignore[arg-type]
            json.loads(detail) if detail else {},  # type: ignore[arg-type]
            chain,  # type: ignore[arg-type]
        )
    except _UNREADABLE as error:
        raise Damaged(
            f"entry {values[0]!r} of the journal was changed behind pinyon's back and cannot be read"
        ) from error
