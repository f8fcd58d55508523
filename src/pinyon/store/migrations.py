"""The schema of the SQLite store, as ordered, named steps that are recorded when done."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from ..core.header import Header, Rights, header_from_json
from . import _sqlite_audit, _sqlite_jobs
from ._derived import parents_of
from ._rights import code_of
from ._rows import dates_of
from ._schema import APPLICATION_ID, CUBES, FIRST, SCHEMA_VERSION, SECOND, VERSIONS, statements

__all__ = ["APPLICATION_ID", "MIGRATIONS", "SCHEMA_VERSION", "Migration"]

_PAGE = 1000  # cubes a step
_TOLD = tuple(
    f'"{name}"' for name in (*(f.name for f in fields(Rights)), *("state", "stale", "valid_to", "expires"), "parents")
)
"""Keys one of which stands in every header that says something about rights, lineage, or the times of a life."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a schema version to the next."""

    name: str
    apply: Callable[[sqlite3.Connection], None]


def _run(schema: str) -> Callable[[sqlite3.Connection], None]:
    def apply(db: sqlite3.Connection) -> None:
        for statement in statements(schema):
            db.execute(statement)

    return apply


def _time_and_rights(db: sqlite3.Connection) -> None:
    for schema in (SECOND, CUBES, VERSIONS):
        _run(schema)(db)
    for row, header in _headers(db):
        db.execute(
            "UPDATE cubes SET rights = ?, state = ?, expires = ?, until = ? WHERE row = ?",
            (code_of(db, header.rights), header.life.standing, *dates_of(header.life), row),
        )
        db.executemany("INSERT OR IGNORE INTO parents VALUES (?, ?)", [(id, row) for id in parents_of(header)])
    _date_versions(db)
    db.execute("CREATE INDEX versions_by_next ON versions (next, seq)")


def _headers(db: sqlite3.Connection) -> Iterator[tuple[int, Header]]:
    """Yield the headers that say something the columns lack; one that cannot be read is left to the check."""
    last = -1
    while page := db.execute(
        "SELECT row, header FROM cubes WHERE row > ? ORDER BY row LIMIT ?", (last, _PAGE)
    ).fetchall():
        last = page[-1][0]
        for row, text in page:
            if any(key in text for key in _TOLD):
                try:
                    yield row, header_from_json(json.loads(text))
                except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError):
                    continue


def _date_versions(db: sqlite3.Connection) -> None:
    """Say of each earlier version which entry made it, and which made the one after it."""
    last = ""
    while ids := db.execute(
        "SELECT DISTINCT id, row FROM versions WHERE id > ? ORDER BY id LIMIT ?", (last, _PAGE)
    ).fetchall():
        last = ids[-1][0]
        for id, row in ids:
            made = db.execute(
                "SELECT version, seq FROM events WHERE seq = ?1 OR (row = ?1 AND row <> seq) ORDER BY seq", (row,)
            ).fetchall()
            db.executemany(
                "UPDATE versions SET seq = ?, next = ? WHERE id = ? AND version = ?",
                [(seq, after, id, version) for (version, seq), (_, after) in itertools.pairwise(made)],
            )


MIGRATIONS: tuple[Migration, ...] = (
    Migration("first schema", _run(FIRST)),
    Migration("time and rights", _time_and_rights),
    Migration("usage and jobs", _run(_sqlite_jobs.SCHEMA)),
    Migration("audit", _run(_sqlite_audit.SCHEMA)),
    Migration("sessions of usage", _run(_sqlite_jobs.SESSIONS)),
)
"""In order; a database's ``user_version`` is the number of them that it has seen."""
