"""Cubes and journal entries as rows of PostgreSQL tables, and back.

PostgreSQL keeps no NUL in its texts. `spell` writes U+0000 and U+0001 as two characters each, so that nothing is lost
and the order by code point stays what it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from uuid import UUID

from ..core.cube import Cube
from ..core.where import facets
from ..errors import Damaged
from . import _rows
from ._rows import event_of, event_values

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

_TEXTS = tuple(_rows.VALUE_COLUMNS.split(", ").index(name) for name in ("thread", "speaker", "source", "content"))
_CONTENT = _rows.CUBE_COLUMNS.split(", ").index("content")


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


def values_of(cube: Cube, rights: int) -> tuple[object, ...]:
    """Return a cube as the values of its row.

    Args:
        cube: What is to be kept.
        rights: Number of its rights.
    """
    values = list(_rows.values_of(cube, rights))
    for place in _TEXTS:
        text = values[place]
        values[place] = spell(text) if isinstance(text, str) else None
    return (*values, [parent.id for parent in cube.header.lineage.parents] or None, *_filters(cube))


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
        content = read(values[_CONTENT])  # type: ignore[arg-type]  # the columns have types
    except StopIteration as error:  # it ends in the middle of a character
        raise Damaged(f"cube {values[1]!r} was changed behind pinyon's back and cannot be read") from error
    return _rows.cube_of((*values[:_CONTENT], content, *values[_CONTENT + 1 :]))
