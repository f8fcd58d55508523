"""The tables of the PostgreSQL store, as ordered, named steps that are recorded when done.

What belongs to a cube (the cube, its earlier versions, its vectors) is partitioned by space: ``LIST (space)`` for
spaces that were given a partition of their own, and for all others a default partition that is itself ``HASH (space)``.
Any of these leaves may be a foreign table on another server. Unique indexes therefore stand on the leaves and none
above them, because PostgreSQL allows no foreign table below a unique index. Everything else (the journal, settings,
jobs, the audit) is one small table each on the first server, where the journal's end is also the lock of the writers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import StoreError, TooNew

if TYPE_CHECKING:
    import psycopg

__all__ = ["LEAF_TABLES", "MIGRATIONS", "Migration", "index_online", "leaf_statements", "leaves", "migrate_schema"]

_TRIES = 20
_DDL_WAIT = "2s"  # a step that waits for a lock makes all others wait behind it, so it gives up early and tries again

_CUBE = """
    row bigint NOT NULL, id text COLLATE "C" NOT NULL, version integer NOT NULL, space text COLLATE "C" NOT NULL,
    tenant text COLLATE "C", "user" text COLLATE "C", agent text COLLATE "C", session text COLLATE "C",
    kind text NOT NULL, state text NOT NULL, thread text, position bigint, speaker text, source text,
    time bigint NOT NULL, created bigint NOT NULL, updated bigint NOT NULL, seq bigint NOT NULL,
    rights integer NOT NULL, expires bigint, until bigint,
    content text NOT NULL, payload text, header text NOT NULL, hash text NOT NULL, parent text NOT NULL,
    parents text[], facets uuid[], keys uuid[], numbers float8[], words text[]"""

LEAF_TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    # table: its columns; the columns of its unique indexes
    "cubes": (_CUBE, ("row, space", "id, space")),
    "versions": (_CUBE + ", ended bigint NOT NULL", ("row, version, space",)),
    "vectors": (
        'space text COLLATE "C" NOT NULL, embedder integer NOT NULL, row bigint NOT NULL, version integer NOT NULL,'
        " stamp bigint NOT NULL, data halfvec NOT NULL",
        ("embedder, row, space",),
    ),
}
"""What is partitioned by space. ``stamp`` is the journal's number when a vector was written, for those who copy."""

_INDEXES: tuple[tuple[str, str, str], ...] = (
    ("cubes_by_time", "cubes", "(space, time, row)"),
    ("cubes_by_owner", "cubes", '(space, tenant, "user")'),
    ("cubes_by_seq", "cubes", "USING brin (seq)"),
    ("cubes_by_thread", "cubes", "((md5(thread)::uuid), position) WHERE thread IS NOT NULL"),
    ("versions_by_end", "versions", "(space, ended)"),
    ("vectors_by_row", "vectors", "(space, row)"),
)
_LATER: tuple[tuple[str, str, str], ...] = (
    ("cubes_by_parent", "cubes", "USING gin (parents) WHERE parents IS NOT NULL"),
    ("cubes_by_facet", "cubes", "USING gin (facets) WHERE facets IS NOT NULL"),
)

_SIDE = """
CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE head (single boolean PRIMARY KEY DEFAULT true CHECK (single), seq bigint NOT NULL, chain text NOT NULL,
    time bigint NOT NULL);
INSERT INTO head (seq, chain, time) VALUES (0, repeat('0', 64), 0);
CREATE TABLE events (
    seq bigint PRIMARY KEY, time bigint NOT NULL, op text NOT NULL,
    tenant text, "user" text, agent text, session text, space text COLLATE "C" NOT NULL,
    cube text COLLATE "C" NOT NULL, row bigint NOT NULL, version integer NOT NULL, hash text NOT NULL, detail text,
    chain text NOT NULL);
CREATE INDEX events_by_row ON events (row) WHERE row <> seq;
CREATE INDEX events_by_cube ON events (cube) WHERE row = seq;
CREATE TABLE forgotten (id text COLLATE "C" PRIMARY KEY, row bigint NOT NULL);
CREATE TABLE rights (id integer PRIMARY KEY, said text NOT NULL);
CREATE UNIQUE INDEX rights_by_words ON rights (md5(said));
CREATE TABLE sources (space text COLLATE "C" NOT NULL, tenant text NOT NULL, "user" text NOT NULL, agent text NOT NULL,
    name uuid NOT NULL, key text COLLATE "C" NOT NULL, digest text NOT NULL, cubes bigint NOT NULL,
    PRIMARY KEY (space, tenant, "user", agent, name));
CREATE TABLE embedders (id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY, fingerprint text NOT NULL UNIQUE);
CREATE TABLE blobs (sha256 text NOT NULL, part integer NOT NULL, data bytea NOT NULL, PRIMARY KEY (sha256, part));
ALTER TABLE blobs ALTER data SET STORAGE EXTERNAL;
CREATE TABLE usage (row bigint PRIMARY KEY, count bigint NOT NULL, last bigint, rate float8 NOT NULL);
CREATE TABLE audit (
    seq bigint PRIMARY KEY, time bigint NOT NULL, tenant text, "user" text, agent text, session text,
    action text NOT NULL, allowed integer NOT NULL, rule text NOT NULL, space text NOT NULL, cube text NOT NULL,
    detail text NOT NULL, chain text NOT NULL);
CREATE INDEX audit_by_tenant ON audit (tenant, seq);
CREATE INDEX audit_by_cube ON audit (cube) WHERE cube <> '';
CREATE TABLE audit_head (single boolean PRIMARY KEY DEFAULT true CHECK (single), seq bigint NOT NULL,
    chain text NOT NULL);
INSERT INTO audit_head (seq, chain) VALUES (0, repeat('0', 64));
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'the audit is only appended to'; END$$;
CREATE TRIGGER audit_unchanged BEFORE UPDATE OR DELETE OR TRUNCATE ON audit EXECUTE FUNCTION refuse();
CREATE TABLE jobs (
    id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY, kind text NOT NULL, arguments text NOT NULL,
    key text NOT NULL, state text NOT NULL, priority bigint NOT NULL, due bigint NOT NULL, attempts integer NOT NULL,
    most_attempts integer NOT NULL, worker text NOT NULL, lease bigint, done bigint NOT NULL, total bigint NOT NULL,
    is_cancelling boolean NOT NULL, error text NOT NULL, result text NOT NULL, created bigint NOT NULL,
    updated bigint NOT NULL);
CREATE UNIQUE INDEX jobs_by_key ON jobs (kind, md5(key)) WHERE key <> '' AND state IN ('waiting', 'running');
CREATE INDEX jobs_by_turn ON jobs (priority DESC, due, id) WHERE state = 'waiting';
CREATE INDEX jobs_by_lease ON jobs (lease) WHERE state = 'running';
CREATE TABLE shards (name text PRIMARY KEY, address text NOT NULL);
CREATE TABLE spaces_apart (key text PRIMARY KEY, space text NOT NULL);
CREATE TABLE moves (part text PRIMARY KEY, server text NOT NULL, seq bigint NOT NULL);
CREATE TABLE intents (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, spaces text[] NOT NULL,
    first bigint NOT NULL, last bigint NOT NULL);
"""

_CALLER = """(
    (SELECT current_setting('pinyon.tenant', true)) = coalesce('=' || tenant, '-')
    AND ((("user" IS NULL OR '=' || "user" = (SELECT current_setting('pinyon.user', true)))
            AND (agent IS NULL OR '=' || agent = (SELECT current_setting('pinyon.agent', true))))
        OR rights = ANY (nullif((SELECT current_setting('pinyon.granted', true)), '')::integer[])
        OR space = ANY (nullif((SELECT current_setting('pinyon.reach', true)), '')::text[])))"""
_WALLS = f"""
ALTER TABLE cubes ENABLE ROW LEVEL SECURITY;
ALTER TABLE versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE vectors ENABLE ROW LEVEL SECURITY;
CREATE POLICY walls ON cubes USING {_CALLER};
CREATE POLICY walls ON versions USING (EXISTS (SELECT FROM cubes AS c WHERE c.space = versions.space
    AND c.row = versions.row));
CREATE POLICY walls ON vectors USING (EXISTS (SELECT FROM cubes AS c WHERE c.space = vectors.space
    AND c.row = vectors.row));
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a schema to the next.

    Args:
        name: What is recorded.
        apply: Does it on a connection. It may be told the number of hash partitions of a store that is made now.
        is_online: It runs outside a transaction, beside readers and writers, and may be begun again when it was cut
            off.
    """

    name: str
    apply: Callable[[psycopg.Connection, int], None]
    is_online: bool = False


def leaf_statements(table: str, name: str, *, of: str = "") -> Iterator[str]:
    """Yield what makes a leaf: the table, unless it is made as a partition, and its unique indexes.

    Args:
        table: One of `LEAF_TABLES`.
        name: Name of the leaf.
        of: ``PARTITION OF …`` when it is made as one.
    """
    columns, unique = LEAF_TABLES[table]
    yield f"CREATE TABLE {name} {of or f'({columns})'}"
    for number, key in enumerate(unique):
        yield f"CREATE UNIQUE INDEX {name}_key{number} ON {name} ({key})"
    if not of:
        for index, owner, how in (*_INDEXES, *_LATER):
            if owner == table:
                yield f"CREATE INDEX {name}{index.removeprefix(table)} ON {name} {how}"


def _tables(db: psycopg.Connection, buckets: int) -> None:
    db.execute(_SIDE)
    for table, (columns, _) in LEAF_TABLES.items():
        if not buckets:
            for statement in leaf_statements(table, table):
                if "_by_" not in statement:
                    db.execute(statement)
            continue
        db.execute(f"CREATE TABLE {table} ({columns}) PARTITION BY LIST (space)")
        db.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT PARTITION BY HASH (space)")
        for number in range(buckets):
            of = f"PARTITION OF {table}_rest FOR VALUES WITH (MODULUS {buckets}, REMAINDER {number})"
            for statement in leaf_statements(table, f"{table}_{number}", of=of):
                db.execute(statement)
    for name, table, how in _INDEXES:
        db.execute(f"CREATE INDEX {name} ON {table} {how}")
    db.execute("INSERT INTO meta VALUES ('identity', %s)", (uuid.uuid4().hex,))


def _walls(db: psycopg.Connection, _: int) -> None:
    db.execute(_WALLS)


def _filters(db: psycopg.Connection, _: int) -> None:
    for name, table, how in _LATER:
        index_online(db, table, name, how)


def _sessions(db: psycopg.Connection, _: int) -> None:
    db.execute(
        "ALTER TABLE usage ADD COLUMN text text NOT NULL DEFAULT '', ADD COLUMN sessions text NOT NULL DEFAULT ''"
    )


def _ages(db: psycopg.Connection, _: int) -> None:
    db.execute("ALTER TABLE blobs ADD COLUMN put timestamptz NOT NULL DEFAULT now()")


MIGRATIONS: tuple[Migration, ...] = (
    Migration("first schema", _tables),
    Migration("row-level walls", _walls),
    Migration("find by facet and parent", _filters, is_online=True),
    Migration("sessions of usage", _sessions),
    Migration("age of blobs", _ages),
)
"""In order; the names of those that a database has seen stand in its table ``migrations``."""


def migrate_schema(db: psycopg.Connection, schema: str, place: str, *, buckets: int) -> None:
    """Take the steps that a database lacks; processes that come at once wait for the first.

    Args:
        db: A connection in autocommit, whose ``search_path`` begins with the schema.
        schema: Made when absent.
        place: Address for people.
        buckets: Hash partitions of a store that is made now; 0 makes plain tables.

    Raises:
        TooNew: A later version of pinyon has been here.
        StoreError: A step kept waiting for a lock that others hold, or the connection is for reading alone.
    """
    if _check(db, place) == len(MIGRATIONS):
        return
    if db.execute("SHOW default_transaction_read_only").fetchone() == ("on",):
        raise StoreError(
            f"there is no store at {place} in the schema {schema!r}, or an earlier version of pinyon made it",
            hint="open it once by itself, where it can be written",
        )
    for _ in range(_TRIES):
        _take_turn(db, schema)
        try:
            db.execute(f"SET lock_timeout = '{_DDL_WAIT}'")
            _prepare(db, schema)
            for step in MIGRATIONS[_check(db, place) :]:
                _take(db, step, buckets)
            return
        except Exception as error:
            if getattr(error, "sqlstate", None) not in ("55P03", "40P01"):
                raise
            time.sleep(0.5)
        finally:
            if not db.closed:
                db.execute("RESET lock_timeout")
                db.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (f"pinyon {schema}",))
    raise StoreError(
        f"the tables of {place} are to be brought up to date and others keep them locked",
        hint="end long transactions on that database, and try again",
    )


def _take_turn(db: psycopg.Connection, schema: str) -> None:
    """Wait until no other process takes steps.

    By asking again and again: a statement that waits keeps its snapshot, and an index that is made meanwhile waits for
    all snapshots.
    """
    while True:
        found = db.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (f"pinyon {schema}",)).fetchone()
        if found is not None and found[0]:
            return
        time.sleep(0.1)


def _prepare(db: psycopg.Connection, schema: str) -> None:
    db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    if db.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
        try:
            db.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
        except Exception as error:
            if getattr(error, "sqlstate", None) not in ("0A000", "58P01", "42501"):
                raise
            raise StoreError(
                "the server has no extension 'vector' (pgvector), or this role may not create it",
                hint="install pgvector on the server and run CREATE EXTENSION vector there",
            ) from error
    db.execute("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, number serial, applied bigint NOT NULL)")


def _check(db: psycopg.Connection, place: str) -> int:
    """Return how many steps the database has seen."""
    found = db.execute("SELECT to_regclass('migrations')::text").fetchone()
    if found is None or found[0] is None:
        return 0
    names = [str(name) for (name,) in db.execute("SELECT name FROM migrations ORDER BY number")]
    if names != [step.name for step in MIGRATIONS[: len(names)]]:
        strange = next((name for name in names if name not in {step.name for step in MIGRATIONS}), names[-1])
        raise TooNew(
            f"the store at {place} was written by a later version of pinyon (step {strange!r})", hint="update pinyon"
        )
    return len(names)


def _take(db: psycopg.Connection, step: Migration, buckets: int) -> None:
    done = "INSERT INTO migrations (name, applied) VALUES (%s, %s)"
    if step.is_online:
        step.apply(db, buckets)
        db.execute(done, (step.name, time.time_ns() // 1000))
        return
    with db.transaction():
        step.apply(db, buckets)
        db.execute(done, (step.name, time.time_ns() // 1000))


def index_online(db: psycopg.Connection, table: str, name: str, how: str) -> None:
    """Make an index of a table and all its partitions while others read and write.

    ``CREATE INDEX CONCURRENTLY`` works on leaves alone: each gets its own, which then becomes a part of the one above.
    One that an interrupted attempt left unusable is dropped first. Foreign leaves are passed over.

    Args:
        db: A connection in autocommit.
        table: Table or partition.
        name: Of the index; those of partitions add the partition's name.
        how: Columns and what follows.
    """
    found = db.execute(
        "SELECT c.relkind, (SELECT x.indisvalid FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid"
        " WHERE i.relname = %s AND i.relnamespace = c.relnamespace) FROM pg_class c WHERE c.oid = %s::regclass",
        (name, table),
    ).fetchone()
    assert found is not None
    kind, is_valid = found
    if is_valid or kind == "f":
        return
    if kind != "p":
        if is_valid is False:
            db.execute(f"DROP INDEX CONCURRENTLY {name}")
        db.execute(f"CREATE INDEX CONCURRENTLY {name} ON {table} {how}")
        return
    if is_valid is None:
        db.execute(f"CREATE INDEX {name} ON ONLY {table} {how}")
    for child, is_foreign in leaves(db, table):
        part = f"{name}__{child.partition('_')[2]}"
        index_online(db, child, part, how)
        if not is_foreign:
            db.execute(f"ALTER INDEX {name} ATTACH PARTITION {part}")


def leaves(db: psycopg.Connection, table: str) -> list[tuple[str, bool]]:
    """Return the direct partitions of a table by name, and whether each is a foreign table."""
    found = db.execute(
        "SELECT c.relname, c.relkind = 'f' FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid"
        " WHERE h.inhparent = %s::regclass ORDER BY c.relname",
        (table,),
    )
    return [(str(name), bool(is_foreign)) for name, is_foreign in found]
