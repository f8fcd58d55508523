"""Distinct rights of a SQLite store: each kept once under a number, read once, weighed once a question."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from ..core.header import Header, Rights, rights_from_json, rights_to_json
from ..core.payload import canonical
from ..errors import Damaged

__all__ = ["KnownRights", "code_of", "said_rights"]

_DEFAULT = Header().rights


def said_rights(rights: Rights) -> str:
    """Return rights as their one JSON text; an empty text for those that say nothing."""
    return "" if rights is _DEFAULT or rights == _DEFAULT else canonical(rights_to_json(rights))


def code_of(db: sqlite3.Connection, rights: Rights) -> int:
    """Return the number of rights, given now if they have none; 0 for those that say nothing.

    Only a connection that holds the database for writing may ask.
    """
    said = said_rights(rights)
    if not said:
        return 0
    found = db.execute("SELECT id FROM rights WHERE said = ?", (said,)).fetchone()
    if found is None:
        found = (db.execute("INSERT INTO rights (said) VALUES (?)", (said,)).lastrowid,)
    return int(found[0])


class KnownRights:
    """Rights by their number, as far as this process has read them; a number never changes its meaning."""

    def __init__(self) -> None:
        self._known: dict[int, Rights] = {}

    def read(self, db: sqlite3.Connection, *, is_committed: bool) -> Mapping[int, Rights]:
        """Return all rights that a connection sees.

        Args:
            db: A connection inside the transaction of the question itself.
            is_committed: Whether what it sees is there to stay; only then it is remembered.

        Raises:
            Damaged: Rights cannot be read.
        """
        known = self._known  # in ascending order, never changed in place: other threads read it
        last = next(reversed(known), 0)
        fresh = db.execute("SELECT id, said FROM rights WHERE id > ? ORDER BY id", (last,)).fetchall()
        if not fresh:
            return known
        known = known | {id: _read(said) for id, said in fresh}
        if is_committed:
            self._known = known
        return known


def _read(said: str) -> Rights:
    try:
        return rights_from_json(json.loads(said))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise Damaged("rights were changed behind pinyon's back and cannot be read") from error
