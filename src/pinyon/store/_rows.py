"""Cubes and journal entries as rows of SQLite tables, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..core.clock import from_micros, micros
from ..core.cube import Cube
from ..core.events import Event
from ..core.header import Life, header_from_json, header_text
from ..core.payload import Text, canonical, payload_from_json, payload_to_json
from ..core.scope import Scope
from ..errors import Damaged

__all__ = [
    "CHANGING_COLUMNS",
    "CUBE_COLUMNS",
    "EVENT_COLUMNS",
    "PAST_COLUMNS",
    "VALUE_COLUMNS",
    "VERSION_COLUMNS",
    "changing",
    "cube_of",
    "dates_of",
    "event_of",
    "event_values",
    "values_of",
]

CUBE_COLUMNS = (
    "row, id, version, space, tenant, user, agent, session, created, updated, content, payload, header, hash, parent,"
    " seq"
)
"""What `cube_of` reads, in its order."""

VALUE_COLUMNS = (
    "row, id, version, space, tenant, user, agent, session, kind, state, thread, position,"
    " speaker, source, time, created, updated, seq, rights, expires, until, content, payload, header, hash, parent"
)
"""What `values_of` gives, in its order."""

_FIXED = ("row", "id", "space", "tenant", "user", "agent", "session", "created")
CHANGING_COLUMNS = tuple(name for name in VALUE_COLUMNS.split(", ") if name not in _FIXED)
"""What a new version may say otherwise, in the order of `changing`."""

_CHANGING = tuple(place for place, name in enumerate(VALUE_COLUMNS.split(", ")) if name not in _FIXED)

VERSION_COLUMNS = "id, version, row, seq, session, updated, content, payload, header, hash, parent"
"""What a version keeps of a cube, by the same names."""

PAST_COLUMNS = ", ".join(
    f"v.{name}" if name in VERSION_COLUMNS.split(", ") else f"c.{name}" for name in CUBE_COLUMNS.split(", ")
)
"""`CUBE_COLUMNS` of an earlier version ``v`` of the cube ``c``."""

EVENT_COLUMNS = "seq, time, op, tenant, user, agent, session, space, cube, row, version, hash, detail, chain"
"""What `event_of` reads, in its order."""

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


def dates_of(life: Life) -> tuple[int | None, int | None]:
    """Return when a cube is to be forgotten and when it ceased to hold, in microseconds."""
    return (
        None if life.expires is None else micros(life.expires),
        None if life.valid_to is None else micros(life.valid_to),
    )


def changing(values: Sequence[object]) -> tuple[object, ...]:
    """Return those of `values_of` that a new version may say otherwise."""
    return tuple(values[place] for place in _CHANGING)


def values_of(cube: Cube, rights: int) -> tuple[object, ...]:
    """Return a cube as the values of its row.

    Args:
        cube: What is to be kept.
        rights: Number of its rights, as `code_of` gives it.
    """
    p, o = cube.header.provenance, cube.owner
    payload = cube.payload
    plain = isinstance(payload, Text) and payload.format == "text"
    created = micros(cube.created)
    moment = cube.header.life.valid_from
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
        p.thread,
        p.position,
        p.speaker,
        p.source,
        created if moment is None else micros(moment),
        created,
        created if cube.updated is cube.created else micros(cube.updated),
        cube.seq,
        rights,
        *dates_of(cube.header.life),
        cube.text,
        None if plain else canonical(payload_to_json(payload) | ({"content": ""} if cube.text else {})),
        header_text(cube.header),
        cube.hash,
        cube.parent,
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
    if payload is None:
        body: object = Text(content)  # type: ignore[arg-type]  # columns are typed by STRICT tables
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
    """Return a journal entry as the values of its row, in the order of `EVENT_COLUMNS`."""
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
        return _event(values)
    except _UNREADABLE as error:
        raise Damaged(
            f"entry {values[0]!r} of the journal was changed behind pinyon's back and cannot be read"
        ) from error


def _event(values: Sequence[object]) -> Event:
    seq, moment, op, tenant, user, agent, session, space, cube, row, version, seal, detail, chain = values
    return Event(
        seq,  # type: ignore[arg-type]  # columns are typed by STRICT tables
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
