"""Distinct rights of a PostgreSQL store: each kept once under a number, read once, weighed once a question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..core.header import Rights, rights_from_json
from ..errors import Damaged

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresRights"]


class PostgresRights:
    """Rights by their number, as far as this process has read them; a number never changes its meaning."""

    def __init__(self) -> None:
        self._known: dict[int, Rights] = {}

    def read(self, db: psycopg.Connection, *, is_committed: bool) -> Mapping[int, Rights]:
        """Return all rights that a connection sees.

        Args:
            db: Where the question is put.
            is_committed: Whether what it sees is there to stay; only then it is remembered.

        Raises:
            Damaged: Rights cannot be read.
        """
        known = self._known
        found = db.execute("SELECT id, said FROM rights WHERE id > %s", (max(known, default=0),)).fetchall()
        if not found:
            return known
        known = known | {int(id): _read(str(said)) for id, said in found}
        if is_committed:
            self._known = known
        return known


def _read(said: str) -> Rights:
    try:
        return rights_from_json(json.loads(said))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise Damaged("rights were changed behind pinyon's back and cannot be read") from error
