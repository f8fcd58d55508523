"""One connection to a database file, plain or encrypted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..errors import Damaged, WrongKey
from ..extras import require
from ._cipher import KEY_BYTES, PAGE_SALT_BYTES
from ._said import WAIT_S, failures
from ._vault_file import vault_path

__all__ = ["PLAIN_MAGIC", "check_key", "connected"]

PLAIN_MAGIC = b"SQLite format 3\x00"
"""First bytes of a database file that is not encrypted."""


def connected(path: Path, key: bytes, how: str = "") -> sqlite3.Connection:
    """Return a connection; with a key through SQLCipher, whose connections and errors look like those of sqlite3.

    Args:
        path: The file.
        key: As `Keys.database` gives it, or none for a plain file.
        how: Options of an address, such as ``mode=ro``.

    Raises:
        Damaged: The file does not open by this key.
        MissingExtra: SQLCipher is not installed.
    """
    module = require("sqlcipher3.dbapi2", "open an encrypted memory") if key else sqlite3
    name = f"{path.absolute().as_uri()}?{how}" if how else str(path)
    db: sqlite3.Connection = module.connect(
        name, uri=bool(how), timeout=WAIT_S, isolation_level=None, check_same_thread=False
    )
    if not key:
        return db
    try:
        db.execute("PRAGMA cipher_log_level = NONE")  # it would tell of every damaged page on stderr
        db.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except failures() as error:
        db.close()
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_NOTADB:
            raise
        raise _other(path) from error
    return db


def check_key(path: Path, head: bytes, key: bytes) -> None:
    """Refuse an encrypted file without a key, and a plain one with it.

    Args:
        path: The file.
        head: Its first bytes, none when it is empty or absent.
        key: What it would be opened with.

    Raises:
        WrongKey: One is there without the other.
        Damaged: It was encrypted under another key, or its first bytes were changed.
    """
    is_plain = head.startswith(PLAIN_MAGIC)
    if key and is_plain:
        raise WrongKey(
            f"{path} is not encrypted, yet it was opened with a key",
            hint="open it without one, or encrypt it first with pinyon.store.encrypt_store",
        )
    if key and head and head[:PAGE_SALT_BYTES] != key[KEY_BYTES:]:
        raise _other(path)
    if not key and not is_plain and vault_path(path).exists():
        raise WrongKey(f"{path} is encrypted and no key was given", hint=f"give the key that opens {vault_path(path)}")


def _other(path: Path) -> Damaged:
    return Damaged(
        f"{path} does not open by the key in its vault",
        hint="its first page was changed, or the vault is that of another copy; nothing was changed now",
    )
