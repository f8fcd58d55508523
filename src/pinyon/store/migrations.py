"""The schema of the SQLite store, as ordered, named steps that are recorded when done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["APPLICATION_ID", "MIGRATIONS", "SCHEMA_VERSION", "Migration"]

APPLICATION_ID = 0x50494E59
"""Marks a SQLite file as ours ("PINY")."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a schema version to the next."""

    name: str
    apply: Callable[[sqlite3.Connection], None]


def _first_schema(db: sqlite3.Connection) -> None:
    for statement in _FIRST.split(";\n"):
        if statement.strip():
            db.execute(statement)


_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cubes (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    space TEXT NOT NULL,
    tenant TEXT, user TEXT, agent TEXT, session TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    thread TEXT, position INTEGER, speaker TEXT, source TEXT,
    time INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    content TEXT NOT NULL,
    payload TEXT,
    header TEXT NOT NULL,
    hash TEXT NOT NULL,
    parent TEXT NOT NULL
) STRICT;
CREATE INDEX cubes_by_time ON cubes (space, time);
CREATE INDEX cubes_by_thread ON cubes (thread, position) WHERE thread IS NOT NULL;
CREATE TABLE versions (
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    session TEXT,
    updated INTEGER NOT NULL,
    content TEXT NOT NULL,
    payload TEXT,
    header TEXT NOT NULL,
    hash TEXT NOT NULL,
    parent TEXT NOT NULL,
    PRIMARY KEY (id, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    op TEXT NOT NULL,
    tenant TEXT, user TEXT, agent TEXT, session TEXT,
    space TEXT NOT NULL,
    cube TEXT NOT NULL,
    row INTEGER NOT NULL,
    version INTEGER NOT NULL,
    hash TEXT NOT NULL,
    detail TEXT,
    chain TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_row ON events (row) WHERE row <> seq;
CREATE TABLE forgotten (id TEXT PRIMARY KEY, row INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE facets (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    row INTEGER NOT NULL,
    number REAL,
    PRIMARY KEY (key, value, row)
) STRICT, WITHOUT ROWID;
CREATE INDEX facets_by_row ON facets (row);
CREATE INDEX facets_by_number ON facets (key, number, row) WHERE number IS NOT NULL;
CREATE TABLE sources (
    space TEXT NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, agent TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    cubes INTEGER NOT NULL,
    PRIMARY KEY (space, tenant, user, agent, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE embedders (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE vectors (
    embedder INTEGER NOT NULL,
    row INTEGER NOT NULL,
    version INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (embedder, row)
) STRICT, WITHOUT ROWID;
CREATE TABLE migrations (name TEXT PRIMARY KEY, applied INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

MIGRATIONS: tuple[Migration, ...] = (Migration("first schema", _first_schema),)
"""In order; a database's ``user_version`` is the number of them that it has seen."""

SCHEMA_VERSION = len(MIGRATIONS)
