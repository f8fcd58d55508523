"""What a SQLite store holds that its journal does not account for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from ..core.where import facets
from ..errors import Damaged
from ._rows import CUBE_COLUMNS, VALUE_COLUMNS, cube_of, values_of

__all__ = ["audit"]

_PAGE = 500  # cubes a query
_UNACCOUNTED = """
SELECT c.id FROM cubes AS c LEFT JOIN events AS e ON e.seq = c.row
WHERE e.seq IS NULL OR e.op <> 'create' OR e.cube <> c.id OR e.space <> c.space
    OR iif(e.detail IS NULL, e.time, json_extract(e.detail, '$.created')) <> c.created
    OR iif(e.detail IS NULL, e.tenant, json_extract(e.detail, '$.owner[0]')) IS NOT c.tenant
    OR iif(e.detail IS NULL, e.user, json_extract(e.detail, '$.owner[1]')) IS NOT c.user
    OR iif(e.detail IS NULL, e.agent, json_extract(e.detail, '$.owner[2]')) IS NOT c.agent
ORDER BY c.row LIMIT 20
"""
_LEFT_BEHIND = (
    ("versions", "SELECT DISTINCT id FROM versions WHERE id NOT IN (SELECT id FROM cubes) LIMIT 20"),
    ("filters", "SELECT DISTINCT row FROM facets WHERE row NOT IN (SELECT row FROM cubes) LIMIT 20"),
    ("a vector", "SELECT DISTINCT row FROM vectors WHERE row NOT IN (SELECT row FROM cubes) LIMIT 20"),
)


def audit(db: sqlite3.Connection) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with the tables of a store.

    Raises:
        sqlite3.DatabaseError: The file cannot be read.
    """
    for (text,) in db.execute("PRAGMA integrity_check(20)"):
        yield from (line for line in str(text).splitlines() if line != "ok" and not line.startswith("***"))
    for (id,) in db.execute(_UNACCOUNTED).fetchall():
        yield f"cube {id} is not the one that the journal says was created in its row: its owner, space or time differ"
    for what, sql in _LEFT_BEHIND:
        for (name,) in db.execute(sql).fetchall():
            yield f"there are {what} of a cube {name} that is not there"
    yield from _columns(db)


def _columns(db: sqlite3.Connection) -> Iterator[str]:
    """Compare the columns that filters look at with the sealed header they were made from."""
    names = VALUE_COLUMNS.split(", ")
    cube_columns = [names.index(name) for name in CUBE_COLUMNS.split(", ")]
    last = -1
    sql = f"SELECT {VALUE_COLUMNS} FROM cubes WHERE row > ? ORDER BY row LIMIT {_PAGE}"
    while page := db.execute(sql, (last,)).fetchall():
        first, last = page[0][0], page[-1][0]
        kept: dict[int, set[tuple[str, str, float | None]]] = {}
        for row, *facet in db.execute(
            "SELECT row, key, value, number FROM facets WHERE row BETWEEN ? AND ?", (first, last)
        ):
            kept.setdefault(row, set()).add(tuple(facet))
        for values in page:
            try:
                cube = cube_of([values[place] for place in cube_columns])
            except Damaged as error:
                yield error.message
                continue
            if values_of(cube) != values:
                yield f"cube {cube.id} was changed behind pinyon's back: its columns do not say what its header says"
            elif kept.get(cube.row, set()) != {(f.key, f.value, f.number) for f in facets(cube.header)}:
                yield f"cube {cube.id} was changed behind pinyon's back: its filters do not say what its header says"
