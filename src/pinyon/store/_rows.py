"""Cubes and journal entries as rows of SQLite tables, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..core.clock import from_micros, micros
from ..core.cube import Cube
from ..core.events import Event
from ..core.header import header_from_json, header_text
from ..core.payload import Text, canonical, payload_from_json, payload_to_json
from ..core.scope import Scope
from ..errors import Damaged

__all__ = ["CUBE_COLUMNS", "EVENT_COLUMNS", "VALUE_COLUMNS", "cube_of", "event_of", "values_of"]

CUBE_COLUMNS = (
    "row, id, version, space, tenant, user, agent, session, created, updated, content, payload, header, hash, parent"
)
"""What `cube_of` reads, in its order."""

VALUE_COLUMNS = (
    "row, id, version, space, tenant, user, agent, session, kind, state, thread, position,"
    " speaker, source, time, created, updated, content, payload, header, hash, parent"
)
"""What `values_of` gives, in its order."""

EVENT_COLUMNS = "seq, time, op, tenant, user, agent, session, space, cube, row, version, hash, detail, chain"
"""What `event_of` reads, in its order."""

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


def values_of(cube: Cube) -> tuple[object, ...]:
    """Return a cube as the values of its row."""
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
        cube.header.life.state,
        p.thread,
        p.position,
        p.speaker,
        p.source,
        micros(cube.time),
        micros(cube.created),
        micros(cube.updated),
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
    row, id, version, space, tenant, user, agent, session, created, updated, content, payload, header, seal, parent = (
        values
    )
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
    )


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
