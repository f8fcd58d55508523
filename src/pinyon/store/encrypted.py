"""Cubes in one encrypted SQLite file."""

from __future__ import annotations

from pathlib import Path

from ._cipher import Keys
from .sqlite import Durability, SqliteEngine

__all__ = ["EncryptedEngine"]


class EncryptedEngine(SqliteEngine):
    """Rows in a SQLite file that only its keys open; all else is as in `SqliteEngine`.

    Args:
        path: The file; made with its folder when absent. Blobs lie in ``<file>.blobs``, keys in ``<file>.vault``.
        keys: As `Vault.keys` gives them.
        durability: ``full`` survives loss of power, ``normal`` survives a killed process and is faster.
        is_read_only: As `SqliteEngine` takes it.

    Raises:
        MissingExtra: SQLCipher is not installed.
        WrongKey: The file is not encrypted.
        Damaged: The keys are not those of the file, or it is not sound.
        StoreError: As `SqliteEngine` raises it.
    """

    def __init__(self, path: Path, keys: Keys, *, durability: Durability = "full", is_read_only: bool = False) -> None:
        super().__init__(path, durability=durability, keys=keys, is_read_only=is_read_only)

    def purge(self) -> None:
        """Write the file anew, so that no page holds what was forgotten; nobody outside can, without the keys.

        Raises:
            Busy: Another process held it for a minute.
            StoreError: The disk has no room for a second copy; nothing was changed.
        """
        with self._connections.writing, self._connections.reading() as db:
            db.execute("VACUUM")
