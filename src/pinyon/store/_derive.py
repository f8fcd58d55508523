"""Columns, filters and parents of SQLite tables made again from the sealed headers that they follow from."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..core.cube import seal_hash
from ..core.where import facets
from ._derived import parents_of
from ._rights import code_of
from ._rows import CHANGING_COLUMNS, CUBE_COLUMNS, VALUE_COLUMNS, cube_of, values_of

__all__ = ["derive"]

_SAID = frozenset({"version", "updated", "seq", "content", "payload", "header", "hash", "parent"})
_FOLLOWING = tuple(name for name in CHANGING_COLUMNS if name not in _SAID)
_PLACES = tuple(VALUE_COLUMNS.split(", ").index(name) for name in _FOLLOWING)
_UPDATE = f"UPDATE cubes SET {', '.join(f'{name} = ?' for name in _FOLLOWING)} WHERE row = ?"


def derive(db: sqlite3.Connection, ids: Sequence[str]) -> int:
    """Make again what follows from the headers of cubes, and return how many; what is sealed is not touched.

    A cube whose own seal does not match is left as it is.

    Args:
        db: Inside a transaction.
        ids: Of the cubes.

    Raises:
        sqlite3.DatabaseError: The file cannot be read or written.
        Damaged: A cube cannot be read.
    """
    done = 0
    for id in dict.fromkeys(ids):
        found = db.execute(f"SELECT {CUBE_COLUMNS} FROM cubes WHERE id = ?", (id,)).fetchone()
        if found is None:
            continue
        cube = cube_of(found)
        if seal_hash(cube.payload, cube.header, cube.parent) != cube.hash:
            continue
        values = values_of(cube, code_of(db, cube.header.rights))
        db.execute(_UPDATE, (*(values[place] for place in _PLACES), cube.row))
        db.execute("DELETE FROM facets WHERE row = ?", (cube.row,))
        db.execute("DELETE FROM parents WHERE row = ?", (cube.row,))
        db.executemany(
            "INSERT INTO facets (key, value, row, number) VALUES (?,?,?,?)",
            [(f.key, f.value, cube.row, f.number) for f in facets(cube.header)],
        )
        db.executemany("INSERT INTO parents VALUES (?, ?)", [(parent, cube.row) for parent in parents_of(cube.header)])
        done += 1
    return done
