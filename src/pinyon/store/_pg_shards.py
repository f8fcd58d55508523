"""Partitions of a PostgreSQL store on other servers, by PostgreSQL's own foreign tables (``postgres_fdw``).

The first server keeps the journal and everything small, and answers every question; cubes, versions and vectors of a
hash bucket, or of one space, lie where they were moved to. A part moves while it is read and written: it is copied;
what was written meanwhile is copied again by the journal until little is left; and the last of it together with the
change of place is one transaction that holds the writers' lock.

A transaction that writes to several servers is committed on the others first and on the first server last, so what was
acknowledged is everywhere. Were the first to fail in between, others would hold rows that the journal does not know:
before its commit a transaction therefore leaves a note of the spaces and numbers it used (table ``intents``) which its
own commit takes away, and whoever next uses such a space under the writers' lock finds the note and mends them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BadInput, NotFound, StoreError
from ..extras import require
from ._pg_rows import VALUE_COLUMNS
from ._pg_schema import LEAF_TABLES, leaf_statements, leaves
from ._pg_transaction import open_transaction

if TYPE_CHECKING:
    import psycopg

    from .postgres import PostgresEngine

__all__ = ["Part", "attach_server", "detach_server", "move_bucket", "move_space", "parts"]

_FEW = 500  # changed rows that are left for the switch itself
_ROUNDS = 20
_SWITCHES = 30
_COLUMNS = {
    "cubes": VALUE_COLUMNS,
    "versions": f"{VALUE_COLUMNS}, ended",
    "vectors": "space, embedder, row, version, stamp, data",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A hash bucket, or a space with partitions of its own.

    Args:
        key: Number of the bucket, or a name made of the space.
        space: The space, or an empty text for a bucket.
        server: Name of the server on which it lies; empty for the first.
    """

    key: str
    space: str
    server: str


def attach_server(engine: PostgresEngine, name: str, address: str) -> None:
    """Make another server known, so that parts of the store can be moved to it; attaching it again gives a new address.

    It needs the extension ``vector`` and a role that may make tables; the first server needs ``postgres_fdw``. The
    address with its password rests on the first server, where the owner of the tables can read it.

    Args:
        engine: The store.
        name: Lower-case letters, digits and ``_``.
        address: As that of the store.

    Raises:
        BadInput: It has another name.
        StoreError: One of the two cannot do it.
    """
    if not name.isidentifier() or not name.isascii() or name != name.lower() or len(name) > 20 or "__" in name:
        raise BadInput(f"{name!r} is no name of a server", hint="use up to 20 lower-case letters, digits and _")
    _on_shard(engine, address, ["CREATE EXTENSION IF NOT EXISTS vector SCHEMA public"])
    said = require("psycopg.conninfo", "reach other servers").conninfo_to_dict(address)
    target = {"host": said.get("host"), "port": said.get("port"), "dbname": said.get("dbname")}
    fixed = {"fetch_size": "1000", "batch_size": "100", "extensions": "vector", "connect_timeout": "5"}
    who = {"user": said.get("user"), "password": said.get("password")}
    server = _server(engine, name)

    def work(db: psycopg.Connection) -> None:
        db.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw SCHEMA public")
        found = db.execute("SELECT 1 FROM pg_foreign_server WHERE srvname = %s", (server,)).fetchone()
        if found is not None:
            changed = _options({key: value for key, value in target.items() if value}, "SET ")
            db.execute(f"ALTER SERVER {server} OPTIONS ({changed})")
        else:
            db.execute(f"CREATE SERVER {server} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({_options(target | fixed)})")
        is_super = db.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        trusted = {"password_required": "false"} if is_super and is_super[0] and not who["password"] else {}
        db.execute(f"DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER {server}")
        db.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER {server} OPTIONS ({_options(who | trusted)})")
        db.execute(
            "INSERT INTO shards VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET address = excluded.address",
            (name, address),
        )

    engine.links.write(work)


def detach_server(engine: PostgresEngine, name: str) -> None:
    """Forget a server on which nothing lies any more.

    Raises:
        StoreError: Parts of the store lie on it.
    """
    if any(part.server == name for part in parts(engine)):
        raise StoreError(f"parts of the store lie on {name!r}", hint="move them away first")

    def work(db: psycopg.Connection) -> None:
        db.execute(f"DROP SERVER IF EXISTS {_server(engine, name)} CASCADE")
        db.execute("DELETE FROM shards WHERE name = %s", (name,))

    engine.links.write(work)


def parts(engine: PostgresEngine) -> list[Part]:
    """Return where each bucket, and each space with partitions of its own, lies.

    Raises:
        StoreError: The store has plain tables, not partitions.
    """

    def work(db: psycopg.Connection) -> list[Part]:
        found = db.execute("SELECT to_regclass('cubes_rest')").fetchone()
        if found is None or found[0] is None:
            raise StoreError("this store has plain tables", hint="make one with buckets, or distribute it by Citus")
        spaces = {str(key): str(space) for key, space in db.execute("SELECT key, space FROM spaces_apart")}
        names = [name for parent in ("cubes_rest", "cubes") for name, _ in leaves(db, parent) if name != "cubes_rest"]
        keyed = [name.removeprefix("cubes_").partition("__") for name in names]
        return [Part(key, spaces.get(key, ""), server) for key, _, server in keyed]

    return engine.links.read(work)


def move_bucket(engine: PostgresEngine, number: int, server: str | None) -> None:
    """Move a hash bucket, with all spaces that fall into it, to a server, while it is used.

    Args:
        engine: The store.
        number: From 0.
        server: Name of an attached server; None for the first.

    Raises:
        NotFound: There is no such bucket or server.
        StoreError: A server cannot be reached, or others keep the tables locked; nothing was moved.
    """
    buckets = [part.key for part in parts(engine) if part.key.isdecimal()]
    if str(number) not in buckets:
        raise NotFound(f"there is no bucket {number!r}", hint=f"there are {len(buckets)}")
    _Move(engine, str(number), "", server or "").run()


def move_space(engine: PostgresEngine, space: str, server: str | None) -> None:
    """Move one space to partitions of its own on a server, while it is used.

    Where its bucket lies on the first server PostgreSQL reads the buckets there once, under lock, to see that nothing
    of the space is left in them: for a store of many millions of cubes move its bucket instead.

    Args:
        engine: The store.
        space: Its name.
        server: Name of an attached server; None for the first.

    Raises:
        NotFound: There is no such server.
        StoreError: A server cannot be reached, or others keep the tables locked; nothing was moved.
    """
    _Move(engine, "s" + hashlib.sha256(space.encode()).hexdigest()[:16], space, server or "").run()


class _Move:
    """One part on its way."""

    def __init__(self, engine: PostgresEngine, key: str, space: str, server: str) -> None:
        self.engine = engine
        self.key = key
        self.space = space
        self.server = server
        self.address = self._address(server) if server else ""
        self.source = next((part for part in parts(engine) if part.key == key), None)

    def _address(self, server: str) -> str:
        found = self.engine.links.read(
            lambda db: db.execute("SELECT address FROM shards WHERE name = %s", (server,)).fetchone()
        )
        if found is None:
            raise NotFound(f"there is no server {server!r}", hint="attach_server makes one known")
        return str(found[0])

    def target(self, table: str) -> str:
        return _leaf(table, self.key, self.server)

    def origin(self, table: str) -> str:
        """Return what is copied from: the leaf, or the whole table for a space that had none of its own."""
        return table if self.source is None else _leaf(table, self.key, self.source.server)

    def run(self) -> None:
        if self.source is not None and self.source.server == self.server:
            return
        with self.engine.links.plainly():
            self._clear()
            self._make()
            seq = self._copy()
            for _ in range(_ROUNDS):
                seq, changed = self.engine.links.write_alone(lambda db, seq=seq: self._follow(db, seq))  # type: ignore[misc]
                if changed < _FEW:
                    break
            self._switch(seq)
            self._sweep()

    def _clear(self) -> None:
        """Drop what an earlier attempt left where this part is to lie."""

        def work(db: psycopg.Connection) -> None:
            for table in LEAF_TABLES:
                sort = "FOREIGN TABLE" if self.server else "TABLE"
                db.execute(f"DROP {sort} IF EXISTS {self.target(table)}")

        self.engine.links.write_alone(work)
        if self.server:
            drops = [f"DROP TABLE IF EXISTS {self.target(table)}" for table in LEAF_TABLES]
            _on_shard(self.engine, self.address, drops)

    def _make(self) -> None:
        """Make the empty leaves."""
        made = [sql for table in LEAF_TABLES for sql in leaf_statements(table, self.target(table))]
        if self.server:
            _on_shard(self.engine, self.address, made)
            made = [
                f"CREATE FOREIGN TABLE {self.target(table)} ({columns}) SERVER {_server(self.engine, self.server)}"
                f" OPTIONS (schema_name '{self.engine.links.schema}', table_name '{self.target(table)}')"
                for table, (columns, _) in LEAF_TABLES.items()
            ]

        def work(db: psycopg.Connection) -> None:
            for sql in made:
                db.execute(sql)

        self.engine.links.write_alone(work)

    def _copy(self) -> int:
        """Copy everything as it is now; return the journal's number from which it must be followed."""
        seq = self.engine.head().seq
        test, values = self._test()

        def work(db: psycopg.Connection) -> None:
            db.execute(
                "INSERT INTO moves VALUES (%s, %s, %s) ON CONFLICT (part) DO UPDATE SET seq = excluded.seq",
                (self.key, self.server, seq),
            )
            for table, columns in _COLUMNS.items():
                copied = f"SELECT {columns} FROM {self.origin(table)} WHERE {test}"
                db.execute(f"INSERT INTO {self.target(table)} ({columns}) {copied}", values)

        self.engine.links.write_alone(work)
        return seq

    def _test(self) -> tuple[str, list[object]]:
        return ("space = %s", [self.space]) if self.space else ("true", [])

    def _follow(self, db: psycopg.Connection, seq: int) -> tuple[int, int]:
        """Copy again what was written since; return how far that is, and how many rows changed."""
        found = db.execute("SELECT seq FROM head").fetchone()
        assert found is not None
        test, values = self._test()
        changed = [
            int(row) for (row,) in db.execute("SELECT DISTINCT row FROM events WHERE seq > %s AND row > 0", (seq,))
        ]
        for table, columns in _COLUMNS.items():
            target, source = self.target(table), self.origin(table)
            rows = changed
            if table == "vectors":  # these are written without an entry of the journal, too
                late = db.execute(f"SELECT DISTINCT row FROM {source} WHERE stamp >= %s AND {test}", [seq, *values])
                rows = sorted({*changed, *(int(row) for (row,) in late)})
            db.execute(f"DELETE FROM {target} WHERE row = ANY(%s)", (rows,))
            db.execute(
                f"INSERT INTO {target} ({columns}) SELECT {columns} FROM {source} WHERE row = ANY(%s) AND {test}",
                [rows, *values],
            )
        return int(found[0]), len(changed)

    def _switch(self, seq: int) -> None:
        """Copy the last of it and change the place, in one transaction that holds the writers' lock."""
        for _ in range(_SWITCHES):
            try:
                with self.engine.links.hold() as db, self.engine.links.within(db):
                    opened = open_transaction(db)
                    db.execute("SET LOCAL lock_timeout = '2s'")
                    self._follow(db, seq)
                    for table in LEAF_TABLES:
                        self._replace(db, table)
                    self._note(db)
                    self.engine.links.commit(db, opened.number)
                    return
            except Exception as error:
                if getattr(error, "sqlstate", None) not in ("55P03", "40P01"):
                    raise
                time.sleep(0.2)
        raise StoreError(
            f"others keep the tables of {self.engine.location} locked; nothing was moved",
            hint="end long transactions on that database, and try again",
        )

    def _replace(self, db: psycopg.Connection, table: str) -> None:
        parent = table if self.space else f"{table}_rest"
        if self.source is not None:
            db.execute(f"ALTER TABLE {parent} DETACH PARTITION {self.origin(table)}")
        elif not self._bucket_server(db):
            db.execute(f"DELETE FROM {table} WHERE space = %s", (self.space,))
        db.execute(f"ALTER TABLE {parent} ATTACH PARTITION {self.target(table)} {self._bound(db, table)}")

    def _bound(self, db: psycopg.Connection, table: str) -> str:
        if not self.space:
            number = len(leaves(db, f"{table}_rest")) + 1  # this one is detached just now
            return f"FOR VALUES WITH (MODULUS {number}, REMAINDER {self.key})"
        literal = require("psycopg.sql", "name a space").Literal(self.space)
        return f"FOR VALUES IN ({literal.as_string(db)})"

    def _bucket_server(self, db: psycopg.Connection) -> str:
        """Return on which server the bucket lies into which this space falls; empty for the first."""
        for name, is_foreign in leaves(db, "cubes_rest"):
            key, _, server = name.removeprefix("cubes_").partition("__")
            number = len(leaves(db, "cubes_rest"))
            found = db.execute(
                "SELECT satisfies_hash_partition('cubes_rest'::regclass, %s, %s, %s::text COLLATE \"C\")",
                (number, int(key), self.space),
            ).fetchone()
            if found is not None and found[0]:
                return server if is_foreign else ""
        return ""

    def _note(self, db: psycopg.Connection) -> None:
        if self.space:
            db.execute(
                "INSERT INTO spaces_apart VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (self.key, self.space),
            )
        db.execute("DELETE FROM moves WHERE part = %s", (self.key,))

    def _sweep(self) -> None:
        """Drop what lies where the part was."""
        if self.source is None:
            self._sweep_bucket()
            return
        foreign = bool(self.source.server)
        names = [self.origin(table) for table in LEAF_TABLES]

        def work(db: psycopg.Connection) -> None:
            for name in names:
                db.execute(f"DROP {'FOREIGN TABLE' if foreign else 'TABLE'} {name}")

        self.engine.links.write_alone(work)
        if foreign:
            drops = [f"DROP TABLE IF EXISTS {name}" for name in names]
            _on_shard(self.engine, self._address(self.source.server), drops)

    def _sweep_bucket(self) -> None:
        """Take a space out of the bucket of another server in which it lay."""

        def work(db: psycopg.Connection) -> None:
            for table in LEAF_TABLES:
                for name, is_foreign in leaves(db, f"{table}_rest"):
                    if is_foreign and name.partition("__")[2] == server:
                        db.execute(f"DELETE FROM {name} WHERE space = %s", (self.space,))

        server = self.engine.links.read(self._bucket_server)
        if server:
            self.engine.links.write_alone(work)


def _leaf(table: str, key: str, server: str) -> str:
    return f"{table}_{key}__{server}" if server else f"{table}_{key}"


def _server(engine: PostgresEngine, name: str) -> str:
    return f"{engine.links.schema}_{name}"


def _options(values: dict[str, object], verb: str = "") -> str:
    quoted = {key: str(value).replace("'", "''") for key, value in values.items() if value}
    return ", ".join(f"{verb}{key} '{value}'" for key, value in quoted.items())


def _on_shard(engine: PostgresEngine, address: str, statements: Sequence[str]) -> None:
    """Run statements on another server, in the schema of the store, in one transaction."""
    links = engine.links.beside(address)
    with links.plainly(), links.connect() as db, db.transaction():
        db.execute(f"CREATE SCHEMA IF NOT EXISTS {engine.links.schema}")
        for sql in statements:
            db.execute(sql)
