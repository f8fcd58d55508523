"""What a PostgreSQL store holds that its journal does not account for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from ..core.header import Rights, rights_to_json
from ..core.payload import canonical
from ..errors import Damaged
from ._pg_rows import CUBE_COLUMNS, VALUE_COLUMNS, cube_of, values_of

if TYPE_CHECKING:
    import psycopg

__all__ = ["problems_of"]

_PAGE = 500  # cubes a read
_UNACCOUNTED = """
SELECT c.id FROM cubes AS c LEFT JOIN events AS e ON e.seq = c.row
WHERE e.seq IS NULL OR e.row <> e.seq OR e.cube <> c.id OR e.space <> c.space
    OR coalesce((e.detail::jsonb ->> 'created')::bigint, e.time) <> c.created
    OR (CASE WHEN e.detail::jsonb ? 'owner' THEN e.detail::jsonb -> 'owner' ->> 0 ELSE e.tenant END)
        IS DISTINCT FROM c.tenant
    OR (CASE WHEN e.detail::jsonb ? 'owner' THEN e.detail::jsonb -> 'owner' ->> 1 ELSE e."user" END)
        IS DISTINCT FROM c."user"
    OR (CASE WHEN e.detail::jsonb ? 'owner' THEN e.detail::jsonb -> 'owner' ->> 2 ELSE e.agent END)
        IS DISTINCT FROM c.agent
ORDER BY c.row LIMIT 20
"""
_OTHERS: tuple[tuple[str, str], ...] = (
    (
        "there are versions of a cube {} that is not there",
        "SELECT DISTINCT v.id FROM versions AS v WHERE NOT EXISTS"
        " (SELECT 1 FROM cubes AS c WHERE c.space = v.space AND c.row = v.row) LIMIT 20",
    ),
    (
        "there is a vector of a cube in row {} that is not there",
        "SELECT DISTINCT v.row FROM vectors AS v WHERE NOT EXISTS"
        " (SELECT 1 FROM cubes AS c WHERE c.space = v.space AND c.row = v.row) LIMIT 20",
    ),
    (
        "a version of cube {} was changed behind pinyon's back: it does not end where the next begins",
        "SELECT v.id FROM versions AS v WHERE v.ended <> coalesce("
        "(SELECT w.seq FROM versions AS w WHERE w.space = v.space AND w.row = v.row AND w.version = v.version + 1),"
        "(SELECT c.seq FROM cubes AS c WHERE c.space = v.space AND c.row = v.row AND c.version = v.version + 1), 0)"
        " LIMIT 20",
    ),
    (
        "cube {} was changed by a write that the journal does not know: a connection to its server was lost",
        "SELECT c.id FROM cubes AS c WHERE c.seq > (SELECT seq FROM head) ORDER BY c.row LIMIT 20",
    ),
    (
        "the mark of the journal's end is {}, which is not its last entry",
        "SELECT h.seq FROM head AS h WHERE h.seq <> (SELECT coalesce(max(seq), 0) FROM events)",
    ),
)


def problems_of(db: psycopg.Connection) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with the tables of a store."""
    with db.transaction():
        if db.info.transaction_status.name == "INTRANS":
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for (id,) in db.execute(_UNACCOUNTED).fetchall():
            yield f"cube {id} is not the one that the journal says was created in its row: owner, space or time differ"
        for said, sql in _OTHERS:
            for (name,) in db.execute(sql).fetchall():
                yield said.format(name)
        yield from _columns(db)


def _columns(db: psycopg.Connection) -> Iterator[str]:
    """Compare the columns that filters look at with the sealed header they were made from."""
    names = VALUE_COLUMNS.split(", ")
    places = [names.index(name) for name in CUBE_COLUMNS.split(", ")]
    codes = {str(said): int(id) for id, said in db.execute("SELECT id, said FROM rights")}
    for table in ("cubes", "versions"):
        with db.cursor(name=f"every_{table}") as rows:
            rows.itersize = _PAGE
            rows.execute(f"SELECT {VALUE_COLUMNS} FROM {table}")
            for values in rows:
                yield from _wrong(values, places, codes)


def _wrong(values: Sequence[object], places: Sequence[int], codes: dict[str, int]) -> Iterator[str]:
    try:
        cube = cube_of([values[place] for place in places])
    except Damaged as error:
        yield error.message
        return
    said = "" if cube.header.rights == Rights() else canonical(rights_to_json(cube.header.rights))
    if _plain(values_of(cube, codes.get(said, -1) if said else 0)) != _plain(values):
        yield f"cube {cube.id} was changed behind pinyon's back: its columns do not say what its header says"


def _plain(values: Sequence[object]) -> list[object]:
    """Return values in a form in which what was written equals what is read."""
    return [
        [str(v) if isinstance(v, UUID) else v for v in value] if isinstance(value, list) else value for value in values
    ]
