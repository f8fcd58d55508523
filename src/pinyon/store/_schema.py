"""The tables of the SQLite store, as text, and how a file says that it is ours."""

from __future__ import annotations

__all__ = ["APPLICATION_ID", "CUBES", "FIRST", "SCHEMA_VERSION", "SECOND", "VERSIONS", "statements"]

APPLICATION_ID = 0x50494E59
"""Marks a SQLite file as ours ("PINY")."""

SCHEMA_VERSION = 5
"""Number of migrations that a database of today has seen."""

FIRST = """
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

SECOND = """
CREATE TABLE rights (id INTEGER PRIMARY KEY, said TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE parents (parent TEXT NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (parent, row)) STRICT, WITHOUT ROWID;
CREATE INDEX parents_by_row ON parents (row);
"""
"""Rights lie aside, because few distinct ones serve many cubes: a question weighs each of them once."""

CUBES = """
CREATE TABLE dated_cubes (
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
    seq INTEGER NOT NULL,
    rights INTEGER NOT NULL,
    expires INTEGER,
    until INTEGER,
    content TEXT NOT NULL,
    payload TEXT,
    header TEXT NOT NULL,
    hash TEXT NOT NULL,
    parent TEXT NOT NULL
) STRICT;
INSERT INTO dated_cubes SELECT row, id, version, space, tenant, user, agent, session, kind, state, thread, position,
    speaker, source, time, created, updated,
    ifnull((SELECT max(e.seq) FROM events AS e WHERE e.row = c.row AND e.row <> e.seq), row), 0, NULL, NULL,
    content, payload, header, hash, parent FROM cubes AS c ORDER BY row;
DROP TABLE cubes;
ALTER TABLE dated_cubes RENAME TO cubes;
CREATE INDEX cubes_by_time ON cubes (space, time);
CREATE INDEX cubes_by_thread ON cubes (thread, position) WHERE thread IS NOT NULL;
"""
"""What filters look at stands before the words, so that a long text need not be passed over to read it."""

VERSIONS = """
CREATE TABLE dated_versions (
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    row INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    next INTEGER NOT NULL,
    session TEXT,
    updated INTEGER NOT NULL,
    content TEXT NOT NULL,
    payload TEXT,
    header TEXT NOT NULL,
    hash TEXT NOT NULL,
    parent TEXT NOT NULL,
    PRIMARY KEY (id, version)
) STRICT, WITHOUT ROWID;
INSERT INTO dated_versions SELECT v.id, v.version, ifnull(c.row, 0), 0, 0, v.session, v.updated, v.content, v.payload,
    v.header, v.hash, v.parent FROM versions AS v LEFT JOIN cubes AS c ON c.id = v.id ORDER BY v.id, v.version;
DROP TABLE versions;
ALTER TABLE dated_versions RENAME TO versions;
"""


def statements(schema: str) -> list[str]:
    """Return the statements of a schema, each of which ends in a semicolon at the end of its line."""
    return [statement for statement in schema.split(";\n") if statement.strip()]
