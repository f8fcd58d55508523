"""Write access to a PostgreSQL store, between the lock on the journal's end and COMMIT."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.clock import micros
from ..core.cube import Cube
from ..core.events import Event, Head
from ..core.header import Rights, rights_to_json
from ..core.payload import canonical
from ..core.scope import Scope
from ..extras import require
from ._derived import same_vector
from ._pg_mend import mend
from ._pg_rows import (
    CUBE_COLUMNS,
    EVENT_COLUMNS,
    VALUE_COLUMNS,
    cube_of,
    digest_of,
    event_values,
    read,
    spell,
    values_of,
)
from .base import Place, SourceMark, VectorRows

if TYPE_CHECKING:
    import psycopg

__all__ = ["Opened", "PostgresTransaction", "children_of", "open_transaction", "spaces_of", "walls_of"]

_FEW = 16  # rows that go as parameters; more are copied
_DEFAULT = Rights()


@dataclass(slots=True)
class Opened:
    """What was found when the transaction took its lock.

    Args:
        head: The end of the journal.
        number: Number of the transaction, by which its end can be asked for.
        is_spread: Whether parts of the store may lie on other servers.
        intents: Notes of transactions that may have left something there: number, spaces, first and last entry.
    """

    head: Head
    number: str
    is_spread: bool = False
    intents: list[tuple[int, set[str], int, int]] = field(default_factory=list)


def open_transaction(db: psycopg.Connection) -> Opened:
    """Begin, and take the lock that every writer of the store takes first: the one row of the journal's end.

    A row and not an advisory lock, because it is read in the same statement, is held exactly as long as the
    transaction, and works behind poolers of connections. Taken before anything else by everybody, it leaves writers no
    way to wait for each other in a circle.
    """
    db.execute("BEGIN")
    found = db.execute(
        "SELECT seq, chain, time, pg_current_xact_id()::text, EXISTS (SELECT 1 FROM shards) FROM head FOR UPDATE"
    ).fetchone()
    assert found is not None
    seq, chain, time, number, is_spread = found
    opened = Opened(Head(seq, chain, time), str(number), bool(is_spread))
    if is_spread:
        left = db.execute("SELECT id, spaces, first, last FROM intents ORDER BY id")
        opened.intents = [(int(id), set(spaces), int(first), int(last)) for id, spaces, first, last in left]
    return opened


def spaces_of(db: psycopg.Connection, ids: Sequence[str]) -> list[str]:
    """Return the spaces in which ids were created: the journal knows, so that no partition is asked in vain."""
    found = db.execute("SELECT DISTINCT space FROM events WHERE cube = ANY(%s) AND row = seq", (list(ids),))
    return [str(space) for (space,) in found]


def children_of(db: psycopg.Connection, ids: Sequence[str]) -> list[Cube]:
    """Return the cubes that name one of the ids among their parents, by row."""
    found = db.execute(
        f"SELECT {CUBE_COLUMNS} FROM cubes WHERE parents IS NOT NULL AND parents && %s::text[] ORDER BY row",
        (list(ids),),
    )
    return [cube_of(values) for values in found]


def walls_of(owner: Scope) -> tuple[str, str, str]:
    """Return tenant, user and agent with NULL spelled as an empty text, which no name can be."""
    return owner.tenant or "", owner.user or "", owner.agent or ""


class PostgresTransaction:
    """Write access while the end of the journal is locked."""

    def __init__(self, db: psycopg.Connection, opened: Opened) -> None:
        self._db = db
        self._opened = opened
        self._head = opened.head
        self._rights: dict[str, int] = {}
        self.touched: set[str] = set()

    @contextmanager
    def nested(self) -> Iterator[PostgresTransaction]:
        opened = replace(self._opened, intents=list(self._opened.intents))
        self._db.execute("SAVEPOINT part")
        part = PostgresTransaction(self._db, opened)
        part._head = self._head
        try:
            yield part
            self._db.execute("RELEASE SAVEPOINT part")
        except BaseException:
            if not self._db.closed:
                self._db.execute("ROLLBACK TO SAVEPOINT part")
                self._db.execute("RELEASE SAVEPOINT part")
            raise
        self._head = part._head
        self.touched |= part.touched
        self._opened.intents[:] = opened.intents

    def head(self) -> Head:
        return self._head

    def proof(self) -> Callable[[psycopg.Connection], bool] | None:
        """Return what says whether this was committed: its last entry, which no other can have written."""
        last = self._head
        if last.seq == self._opened.head.seq:
            return None
        sql = "SELECT 1 FROM events WHERE seq = %s AND chain = %s"
        return lambda db: db.execute(sql, (last.seq, last.chain)).fetchone() is not None

    def live(self, ids: Sequence[str]) -> dict[str, Cube]:
        spaces = spaces_of(self._db, ids) if ids else []
        if not spaces:
            return {}
        self._mended(spaces)
        found = self._db.execute(
            f"SELECT {CUBE_COLUMNS} FROM cubes WHERE space = ANY(%s) AND id = ANY(%s)", (spaces, list(ids))
        )
        return {cube.id: cube for cube in (cube_of(values) for values in found)}

    def spent(self, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        found = self._db.execute("SELECT id FROM forgotten WHERE id = ANY(%s)", (list(ids),))
        return {str(id) for (id,) in found}

    def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        out: dict[Place, int] = {}
        for place in places:
            sql, values = _at(place)
            found = self._db.execute(
                f"SELECT position FROM cubes WHERE {sql} AND position IS NOT NULL ORDER BY position DESC LIMIT 1",
                values,
            ).fetchone()
            if found is not None:
                out[place] = int(found[0])
        return out

    def standing(self, place: Place) -> list[Cube]:
        sql, values = _at(place)
        found = self._db.execute(
            f"SELECT {CUBE_COLUMNS} FROM cubes WHERE {sql} ORDER BY coalesce(position, 0), row", values
        )
        return [cube_of(line) for line in found]

    def insert(self, cubes: Sequence[Cube]) -> None:
        self._touch(cubes)
        self._write("cubes", VALUE_COLUMNS, [values_of(cube, self._code(cube.header.rights)) for cube in cubes])

    def replace(self, cubes: Sequence[Cube]) -> None:
        self._touch(cubes)
        before = self.live([cube.id for cube in cubes])
        for cube in cubes:
            place = (cube.seq, cube.space, cube.row)
            self._db.execute(
                f"INSERT INTO versions ({VALUE_COLUMNS}, ended)"
                f" SELECT {VALUE_COLUMNS}, %s FROM cubes WHERE space = %s AND row = %s",
                place,
            )
            values = values_of(cube, self._code(cube.header.rights))
            sets = ", ".join(f"{name} = %s" for name in _CHANGING)
            changed = [values[number] for number in _CHANGED]
            self._db.execute(f"UPDATE cubes SET {sets} WHERE space = %s AND row = %s", (*changed, *place[1:]))
            if cube.id in before and same_vector(before[cube.id], cube):
                self._db.execute(
                    "UPDATE vectors SET version = %s, stamp = %s WHERE space = %s AND row = %s AND version = %s",
                    (cube.version, self._head.seq, *place[1:], cube.version - 1),
                )

    def erase(self, cubes: Sequence[Cube]) -> None:
        self._touch(cubes)
        for space in dict.fromkeys(cube.space for cube in cubes):
            rows = [cube.row for cube in cubes if cube.space == space]
            for table in ("vectors", "versions", "cubes"):
                self._db.execute(f"DELETE FROM {table} WHERE space = %s AND row = ANY(%s)", (space, rows))
        self._db.execute("DELETE FROM usage WHERE row = ANY(%s)", ([cube.row for cube in cubes],))
        for cube in cubes:
            self._db.execute("INSERT INTO forgotten VALUES (%s, %s) ON CONFLICT DO NOTHING", (cube.id, cube.row))
            source = cube.header.provenance.source
            if source is not None:
                self._db.execute(
                    'DELETE FROM sources WHERE space = %s AND tenant = %s AND "user" = %s AND agent = %s AND name = %s',
                    (cube.space, *walls_of(cube.owner), digest_of(source)),
                )

    def append(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self._write("events", EVENT_COLUMNS, [event_values(e) for e in events])
        last = events[-1]
        self._head = Head(last.seq, last.chain, micros(last.time))
        self._db.execute("UPDATE head SET seq = %s, chain = %s, time = %s", (last.seq, last.chain, self._head.time))
        self._db.execute("SELECT pg_notify('pinyon_' || current_schema(), %s)", (str(last.seq),))

    def mark_source(self, space: str, owner: Scope, mark: SourceMark) -> None:
        self._db.execute(
            "INSERT INTO sources VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT"
            ' (space, tenant, "user", agent, name) DO UPDATE SET digest = excluded.digest, cubes = excluded.cubes',
            (space, *walls_of(owner), digest_of(mark.key), spell(mark.key), mark.digest, mark.cubes),
        )

    def put_vectors(self, fingerprint: str, vectors: VectorRows) -> None:
        rows = [int(row) for row in vectors.rows]
        spaces = self._spaces(rows)
        if not spaces:
            return
        self.touched.update(spaces.values())
        number = self._embedder(fingerprint)
        self._db.execute(
            "DELETE FROM vectors WHERE space = ANY(%s) AND embedder = %s AND row = ANY(%s)",
            (list(set(spaces.values())), number, list(spaces)),
        )
        half = _halves(self._db)
        data = np.asarray(vectors.data, dtype=np.float16)
        copying = "COPY vectors (space, embedder, row, version, stamp, data) FROM STDIN (FORMAT binary)"
        with self._db.cursor() as cursor, cursor.copy(copying) as copy:
            copy.set_types(["text", "int4", "int8", "int4", "int8", "halfvec"])
            for row, version, line in zip(rows, vectors.versions, data, strict=True):
                if row in spaces:
                    copy.write_row((spaces[row], number, row, int(version), self._head.seq, half(line)))

    def children(self, ids: Sequence[str]) -> list[Cube]:
        return children_of(self._db, ids)

    def setting(self, key: str) -> str | None:
        found = self._db.execute("SELECT value FROM meta WHERE key = %s", (spell(key),)).fetchone()
        return None if found is None else read(str(found[0]))

    def set_setting(self, key: str, value: str) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (spell(key), spell(value)),
        )

    def _touch(self, cubes: Sequence[Cube]) -> None:
        spaces = {cube.space for cube in cubes}
        self.touched |= spaces
        self._mended(spaces)

    def _mended(self, spaces: Iterable[str]) -> None:
        """Take back what a transaction that was cut off may have left in spaces on other servers."""
        wanted = set(spaces)
        for intent in [intent for intent in self._opened.intents if intent[1] & wanted]:
            number, left, first, last = intent
            mend(self._db, sorted(left), first, last)
            self._db.execute("DELETE FROM intents WHERE id = %s", (number,))
            self._opened.intents.remove(intent)

    def _write(self, table: str, columns: str, lines: Sequence[Sequence[object]]) -> None:
        """Insert lines: a few as parameters, many by COPY."""
        with self._db.cursor() as cursor:
            if len(lines) <= _FEW:
                marks = ", ".join(["%s"] * len(columns.split(",")))
                cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", lines)
                return
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for line in lines:
                    copy.write_row(line)

    def _code(self, rights: Rights) -> int:
        """Return the number of rights, given now if they have none; 0 for those that say nothing."""
        if rights is _DEFAULT or rights == _DEFAULT:
            return 0
        said = canonical(rights_to_json(rights))
        if said not in self._rights:
            found = self._db.execute(
                "SELECT id FROM rights WHERE md5(said) = md5(%s) AND said = %s", (said, said)
            ).fetchone()
            if found is None:
                found = self._db.execute(
                    "INSERT INTO rights SELECT coalesce(max(id), 0) + 1, %s FROM rights RETURNING id", (said,)
                ).fetchone()
            assert found is not None
            self._rights[said] = int(found[0])
        return self._rights[said]

    def _spaces(self, rows: Sequence[int]) -> dict[int, str]:
        """Return the spaces of those rows that are still there."""
        made = self._db.execute("SELECT DISTINCT space FROM events WHERE seq = ANY(%s) AND row = seq", (list(rows),))
        spaces = [space for (space,) in made]
        found = self._db.execute(
            "SELECT row, space FROM cubes WHERE space = ANY(%s) AND row = ANY(%s)", (spaces, list(rows))
        )
        return {int(row): str(space) for row, space in found}

    def _embedder(self, fingerprint: str) -> int:
        for _ in range(2):
            found = self._db.execute(
                "SELECT id FROM embedders WHERE fingerprint = %s", (spell(fingerprint),)
            ).fetchone()
            if found is not None:
                return int(found[0])
            self._db.execute("INSERT INTO embedders (fingerprint) VALUES (%s)", (spell(fingerprint),))
        raise AssertionError("unreachable")


def _halves(db: psycopg.Connection) -> Callable[[NDArray[np.float16]], object]:
    """Return what makes a half-precision vector that this connection can send."""
    if db.adapters.types.get("halfvec") is None:
        require("pgvector.psycopg", "keep vectors in PostgreSQL").register_vector(db)
    made: Callable[[NDArray[np.float16]], object] = require("pgvector", "keep vectors in PostgreSQL").HalfVector
    return made


_FIXED = ("row", "id", "space", "tenant", '"user"', "agent", "session", "created")
_NAMES = VALUE_COLUMNS.split(", ")
_CHANGED = tuple(number for number, name in enumerate(_NAMES) if name not in _FIXED)
_CHANGING = tuple(_NAMES[number] for number in _CHANGED)


def _at(place: Place) -> tuple[str, list[object]]:
    """Return what finds the cubes of a thread."""
    tests = ["space = %s", "md5(thread)::uuid = md5(%s)::uuid", "thread = %s"]
    values: list[object] = [place.space, spell(place.thread), spell(place.thread)]
    for column, value in (("tenant", place.tenant), ('"user"', place.user), ("agent", place.agent)):
        tests.append(f"{column} IS NULL" if value is None else f"{column} = %s")
        values += [] if value is None else [value]
    return " AND ".join(tests), values
