"""Search inside PostgreSQL, for stores that are larger than one process's memory: full text and pgvector, fused.

**The filter trap.** An approximate index gives the nearest of all rows, and a filter on who asks then throws most of
them away: with a hundredth of the rows in scope the plain query finds hardly any. So while the scope is small its rows
are taken first and compared one by one, which is exact; above that the index goes on for as long as the filter asks for
more (``hnsw.iterative_scan``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.where import View
from ..errors import BadInput
from ._pg_rows import spell
from ._pg_schema import index_online

if TYPE_CHECKING:
    import psycopg

    from .postgres import PostgresEngine

__all__ = ["Found", "PostgresSearch"]

_RANK = 60  # of reciprocal rank fusion: Cormack, Clarke and Büttcher 2009
_DEEP = 5  # times k rows of each leg are fused
_LEAST_LIST = 400  # candidates a step: recall@10 at 100,000 turns was 0.91 with 100 and 0.92 with 200
_MOST_TUPLES = 400_000  # that an iterative scan looks at: some 1,000 hits at a selectivity of 0.25 %
_LONGEST = 250_000  # characters of a text that are indexed: a tsvector holds one megabyte
_FEW = 2_000  # rows that are looked up one by one
_WIDEST = 4_000  # dimensions that an HNSW index over half precision takes


@dataclass(frozen=True, slots=True)
class Found:
    """A row that was found.

    Args:
        row: Of the cube.
        score: Sum of the reciprocal ranks of its legs; higher is better.
        legs: Rank in each leg that found it, from 1: ``words``, ``vectors``.
    """

    row: int
    score: float
    legs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PostgresSearch:
    """Full text and vectors of one embedder, within what a caller may see.

    Args:
        engine: The store.
        fingerprint: Of the embedder whose vectors are searched.
        config: Text search configuration of PostgreSQL: ``simple``, ``english``, ``german`` …
        exact_below: Rows in scope below which every one of them is compared. Measured: at 20,000 rows of 256 dimensions
            comparing all takes about as long as an iterative scan.
        build_mb: Memory that the server may take to make an index; a graph that does not fit is made many times slower.
    """

    engine: PostgresEngine
    fingerprint: str
    config: str = "simple"
    exact_below: int = 20_000
    build_mb: int = 512

    def __post_init__(self) -> None:
        if not self.config.isidentifier():
            raise BadInput(f"{self.config!r} is no text search configuration", hint="for example simple or english")

    def prepare(self) -> None:
        """Make the indexes that searching large scopes wants, while others read and write.

        Partitions on other servers are passed over: make the same indexes there.
        """

        def work(db: psycopg.Connection) -> None:
            db.execute(f"SET maintenance_work_mem = '{int(self.build_mb)}MB'")
            index_online(db, "cubes", f"cubes_by_words_{self.config}", f"USING gin (({self._words('')}))")
            number, width = self._embedder(db)
            if 0 < width <= _WIDEST:
                how = f"USING hnsw ((data::halfvec({width})) halfvec_ip_ops) WHERE embedder = {number}"
                index_online(db, "vectors", f"vectors_near_{number}", how)
            db.execute("RESET maintenance_work_mem")

        self.engine.links.read(work)

    def search(self, terms: Sequence[str], vector: NDArray[np.floating] | None, view: View, k: int) -> list[Found]:
        """Return the best rows of a view, best first.

        Args:
            terms: Words, any of which may occur; quotes and operators mean nothing in them.
            vector: Unit row (E,) of the question, or None.
            view: Who asks, where, and for what.
            k: Most rows.
        """

        def ask(db: psycopg.Connection, sql: str, values: list[object]) -> list[list[int]]:
            with db.transaction():
                number, width = self._embedder(db)
                if vector is not None and width not in (0, len(vector)):
                    raise BadInput(f"the vectors have {width} dimensions, the question's has {len(vector)}")
                legs = [self._said(db, terms, sql, values, _DEEP * k) if terms else [], []]
                if vector is not None and width:
                    scope = f"SELECT c.row, c.version {sql} LIMIT %s"
                    found = db.execute(scope, [*values, self.exact_below]).fetchall()
                    if len(found) < self.exact_below:
                        legs[1] = self._exact(db, number, vector, view.spaces, found, _DEEP * k)
                    else:
                        legs[1] = self._iterative(db, number, vector, view.spaces, sql, values, _DEEP * k)
                return legs

        return _fused(dict(zip(("words", "vectors"), self.engine.asked(view, ask), strict=True)), k)

    def _embedder(self, db: psycopg.Connection) -> tuple[int, int]:
        """Return the number of the embedder and the width of its vectors; zeros while there are none."""
        found = db.execute(
            "SELECT e.id, (SELECT vector_dims(v.data) FROM vectors AS v WHERE v.embedder = e.id LIMIT 1)"
            " FROM embedders AS e WHERE e.fingerprint = %s",
            (spell(self.fingerprint),),
        ).fetchone()
        return (0, 0) if found is None else (int(found[0]), int(found[1] or 0))

    def _words(self, name: str) -> str:
        return f"to_tsvector('{self.config}', left({name}content, {_LONGEST}))"

    def _said(
        self, db: psycopg.Connection, terms: Sequence[str], sql: str, values: Sequence[object], limit: int
    ) -> list[int]:
        """Return the rows in whose text any of the terms occurs, best first."""
        wanted = " || ".join([f"plainto_tsquery('{self.config}', %s)"] * len(terms))
        said = [spell(term) for term in terms]
        found = db.execute(
            f"SELECT c.row, ts_rank_cd({self._words('c.')}, {wanted}, 1) AS worth {sql}"
            f" AND {self._words('c.')} @@ ({wanted}) ORDER BY worth DESC, c.row DESC LIMIT %s",
            [*said, *values, *said, limit],
        )
        return [int(row) for row, _ in found]

    def _exact(
        self,
        db: psycopg.Connection,
        number: int,
        vector: NDArray[np.floating],
        spaces: Sequence[str],
        scope: Sequence[Sequence[int]],
        limit: int,
    ) -> list[int]:
        """Return the nearest rows, each row of the scope (row, version) compared.

        The distance is written over the bare column, for which there is no index: no plan can begin with one.
        """
        rows, versions = _array(row for row, _ in scope), _array(version for _, version in scope)
        # A few are looked up, on another server too; of many the whole partition is read at once.
        few, given = (" AND v.row = ANY(%s::bigint[])", [rows]) if len(scope) <= _FEW else ("", [])
        found = db.execute(
            "SELECT v.row, v.data <#> %s::halfvec AS far FROM vectors AS v"
            " JOIN unnest(%s::bigint[], %s::integer[]) AS s(row, version) ON v.row = s.row AND v.version = s.version"
            f" WHERE v.space = ANY(%s) AND v.embedder = %s{few} ORDER BY far, v.row DESC LIMIT %s",
            [_literal(vector), rows, versions, list(spaces), number, *given, limit],
        )
        return [int(row) for row, _ in found]

    def _iterative(
        self,
        db: psycopg.Connection,
        number: int,
        vector: NDArray[np.floating],
        spaces: Sequence[str],
        sql: str,
        values: Sequence[object],
        limit: int,
    ) -> list[int]:
        """Return the nearest rows by the index, which goes on until enough of them lie in the scope."""
        db.execute(
            "SELECT set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', %s, true),"
            " set_config('hnsw.max_scan_tuples', %s, true), set_config('hnsw.scan_mem_multiplier', '8', true)",
            (str(min(1000, max(_LEAST_LIST, 4 * limit))), str(_MOST_TUPLES)),
        )
        table, _, tests = sql.removeprefix("FROM ").partition(" WHERE ")
        half = f"halfvec({len(vector)})"
        found = db.execute(
            f"SELECT v.row, v.data::{half} <#> %s::{half} AS far FROM vectors AS v, {table}"
            f" WHERE {tests} AND v.embedder = {number} AND v.space = ANY(%s)"
            " AND c.space = v.space AND c.row = v.row AND c.version = v.version"
            f" ORDER BY v.data::{half} <#> %s::{half} LIMIT %s",
            [_literal(vector), *values, list(spaces), _literal(vector), limit],
        )
        return [int(row) for row, _ in found]


def _array(numbers: Iterable[int]) -> str:
    """Return numbers as the text of an array, which is written many times faster than a list of parameters."""
    return "{" + ",".join(map(str, numbers)) + "}"


def _literal(vector: NDArray[np.floating]) -> str:
    return "[" + ",".join(str(float(value)) for value in np.asarray(vector, dtype=np.float16)) + "]"


def _fused(legs: Mapping[str, Sequence[int]], k: int) -> list[Found]:
    """Return rows by the sum of their reciprocal ranks; the later row first where it is equal."""
    ranks: dict[int, dict[str, int]] = {}
    for name, rows in legs.items():
        for rank, row in enumerate(rows, start=1):
            ranks.setdefault(row, {})[name] = rank
    found = [Found(row, sum(1 / (_RANK + rank) for rank in mine.values()), mine) for row, mine in ranks.items()]
    return sorted(found, key=lambda one: (-one.score, -one.row))[:k]
