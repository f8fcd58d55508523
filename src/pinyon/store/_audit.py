"""What a SQLite store holds that its journal does not account for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from ..core.where import facets
from ..errors import Damaged
from ._derived import parents_of
from ._pages import broken_pages
from ._rights import said_rights
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
_UNDATED = """
SELECT v.id, v.version FROM versions AS v WHERE v.next <> ifnull(
    (SELECT w.seq FROM versions AS w WHERE w.id = v.id AND w.version = v.version + 1),
    (SELECT c.seq FROM cubes AS c WHERE c.id = v.id AND c.version = v.version + 1))
    OR v.row <> (SELECT c.row FROM cubes AS c WHERE c.id = v.id)
LIMIT 20
"""
_LEFT_BEHIND = (
    ("versions", "SELECT DISTINCT id FROM versions WHERE id NOT IN (SELECT id FROM cubes) LIMIT 20"),
    ("parents", "SELECT DISTINCT row FROM parents WHERE row NOT IN (SELECT row FROM cubes) LIMIT 20"),
    ("usage", "SELECT row FROM usage WHERE row NOT IN (SELECT row FROM cubes) LIMIT 20"),
    ("filters", "SELECT DISTINCT row FROM facets WHERE row NOT IN (SELECT row FROM cubes) LIMIT 20"),
    ("a vector", "SELECT DISTINCT row FROM vectors WHERE row NOT IN (SELECT row FROM cubes) LIMIT 20"),
)


def audit(db: sqlite3.Connection) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with the tables of a store.

    Raises:
        sqlite3.DatabaseError: The file cannot be read.
    """
    yield from broken_pages(db)
    for (id,) in db.execute(_UNACCOUNTED).fetchall():
        yield f"cube {id} is not the one that the journal says was created in its row: its owner, space or time differ"
    for what, sql in _LEFT_BEHIND:
        for (name,) in db.execute(sql).fetchall():
            yield f"there are {what} of a cube {name} that is not there"
    for id, version in db.execute(_UNDATED).fetchall():
        yield f"version {version} of cube {id} was changed behind pinyon's back: it does not end where the next begins"
    yield from _columns(db)


def _columns(db: sqlite3.Connection) -> Iterator[str]:
    """Compare the columns that filters look at with the sealed header they were made from."""
    names = VALUE_COLUMNS.split(", ")
    cube_columns = [names.index(name) for name in CUBE_COLUMNS.split(", ")]
    codes = {said: id for id, said in db.execute("SELECT id, said FROM rights")}
    last = -1
    sql = f"SELECT {VALUE_COLUMNS} FROM cubes WHERE row > ? ORDER BY row LIMIT {_PAGE}"
    while page := db.execute(sql, (last,)).fetchall():
        first, last = page[0][0], page[-1][0]
        kept: dict[int, set[tuple[str, str, float | None]]] = {}
        for row, *facet in db.execute(
            "SELECT row, key, value, number FROM facets WHERE row BETWEEN ? AND ?", (first, last)
        ):
            kept.setdefault(row, set()).add(tuple(facet))
        edges: dict[int, set[str]] = {}
        for row, parent in db.execute("SELECT row, parent FROM parents WHERE row BETWEEN ? AND ?", (first, last)):
            edges.setdefault(row, set()).add(parent)
        for values in page:
            try:
                cube = cube_of([values[place] for place in cube_columns])
            except Damaged as error:
                yield error.message
                continue
            said = said_rights(cube.header.rights)
            if values_of(cube, codes.get(said, -1) if said else 0) != values:
                yield f"cube {cube.id} was changed behind pinyon's back: its columns do not say what its header says"
            elif kept.get(cube.row, set()) != {(f.key, f.value, f.number) for f in facets(cube.header)}:
                yield f"cube {cube.id} was changed behind pinyon's back: its filters do not say what its header says"
            elif edges.get(cube.row, set()) != set(parents_of(cube.header)):
                yield f"cube {cube.id} was changed behind pinyon's back: its parents are not those of its header"
