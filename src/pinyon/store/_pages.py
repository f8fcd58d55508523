"""Which pages of a SQLite file are damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from ._said import failures

__all__ = ["broken_pages"]

_MOST = 20  # sentences; a file that is damaged all over says the same again and again


def broken_pages(db: sqlite3.Connection) -> Iterator[str]:
    """Yield a sentence for each thing that SQLite's own check finds, with the number of the page.

    Where the first page of a table is damaged the check of the whole file gives up, and its tables are looked at one
    by one.

    Args:
        db: The file; its schema can be read.

    Raises:
        sqlite3.DatabaseError: Not even the schema can be read.
    """
    try:
        yield from _said(db, f"PRAGMA integrity_check({_MOST})")
        return
    except failures():
        tables = db.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table' AND rootpage > 0").fetchall()
    for name, root in tables:
        try:
            yield from _said(db, f"PRAGMA integrity_check({_quoted(name)})")
        except failures() as error:
            yield f"page {root} or one below it is damaged: the table {name} cannot be read ({error})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _said(db: sqlite3.Connection, pragma: str) -> list[str]:
    """Return what a check says is wrong, all of it at once: it may fail half-way."""
    lines = [line for (text,) in db.execute(pragma).fetchall() for line in str(text).splitlines()]
    return [line for line in lines if line != "ok" and not line.startswith("***")]
