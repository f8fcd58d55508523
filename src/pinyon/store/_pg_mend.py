"""What a transaction that was cut off left on other servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._pg_rows import VALUE_COLUMNS

if TYPE_CHECKING:
    import psycopg

__all__ = ["mend"]


def mend(db: psycopg.Connection, spaces: Sequence[str], first: int, last: int) -> None:
    """Take back what a transaction left on other servers that the first did not commit.

    Args:
        db: A connection that holds the writers' lock.
        spaces: Where it wrote.
        first: First number of the journal that it used.
        last: The last one.
    """
    where = "c.space = ANY(%s) AND c.seq BETWEEN %s AND %s"
    unknown = (
        "NOT EXISTS (SELECT 1 FROM events AS e WHERE e.seq = c.seq AND e.row = c.row AND e.version = c.version"
        " AND e.hash = c.hash)"
    )
    found = db.execute(
        f"SELECT c.space, c.row FROM cubes AS c WHERE {where} AND {unknown}", (list(spaces), first, last)
    ).fetchall()
    for space, row in found:
        db.execute("DELETE FROM cubes WHERE space = %s AND row = %s", (space, row))
        before = db.execute(
            "SELECT version FROM versions AS v WHERE space = %s AND row = %s AND EXISTS (SELECT 1 FROM events AS e"
            " WHERE e.seq = v.seq AND e.row = v.row AND e.hash = v.hash) ORDER BY version DESC LIMIT 1",
            (space, row),
        ).fetchone()
        if before is not None:
            db.execute(
                f"INSERT INTO cubes ({VALUE_COLUMNS}) SELECT {VALUE_COLUMNS} FROM versions"
                " WHERE space = %s AND row = %s AND version = %s",
                (space, row, before[0]),
            )
        kept = 0 if before is None else int(before[0])
        db.execute("DELETE FROM versions WHERE space = %s AND row = %s AND version >= %s", (space, row, kept))
        db.execute("DELETE FROM vectors WHERE space = %s AND row = %s AND version > %s", (space, row, kept))
