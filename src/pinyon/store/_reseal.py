"""Move a database with its blobs from one key to another, or from none to one and back, so that a kill harms nothing.

The copy is made aside, compared by hash, and put in place by one rename. Until then everything opens by the old key,
from then on by the new one; blobs of both lie side by side in between. `settled` removes what belongs to the loser.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from ..core.payload import Blob
from ..errors import Busy, Damaged, StoreError
from ..extras import require
from ..files import sync_folder
from ._cipher import KEY_BYTES, PAGE_SALT_BYTES, Keys, mark_of
from ._connect import PLAIN_MAGIC, connected
from ._said import failures, plainly
from .blobs import PURPOSE, FileBlobs

__all__ = ["erase", "move", "settled"]

_BUSY_S = 2.0
_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 64
_KEPT = "put back a copy of it; nothing was changed"


def move(path: Path, old: Keys | None, new: Keys | None) -> None:
    """Write everything again under another key and put it in place; `settled` must follow.

    Args:
        path: The database file; may be absent.
        old: Keys it opens by, or None for a plain one.
        new: Keys it is to open by.

    Raises:
        Busy: Somebody has the memory open.
        Damaged: The database or a blob is not sound; everything is as it was.
        StoreError: The disk is full or cannot be written; everything is as it was.
    """
    if not _is_there(path):
        return
    with plainly(path):
        _clear(path)
        handle = os.open(path, os.O_RDWR)  # closing it would end SQLite's locks, so it is closed last
        try:
            with closing(_alone(path, old)) as db:
                _copied(db, _aside(path), new)
                for data in _blobs(path, old):
                    FileBlobs(_folder(path), new).put(data)
                with suppress(OSError):  # a name by which it is found again if we are killed before it is overwritten
                    os.link(path, _before(path))
                os.replace(_aside(path), path)
                sync_folder(path.parent)
                _overwrite(handle)  # who waited for the old file finds junk in it and fails, instead of writing to it
        finally:
            os.close(handle)


def settled(path: Path, old: Keys | None, new: Keys | None) -> bool:
    """Remove what a move left behind, finished or not, and return whether the new keys are in force.

    Args:
        path: The database file.
        old: Keys before.
        new: Keys after.

    Raises:
        Damaged: It opens by neither.
    """
    with plainly(path):
        is_new = not _is_there(path) or _opens(path, new)
        if not is_new and not _opens(path, old):
            raise Damaged(f"{path} opens neither by its old keys nor by its new ones", hint="put back a copy of it")
        _clear(path)
        for file in list(_files(path)):
            if file.name.startswith("."):
                erase(file)
            elif _lost(file, old if is_new else new, new if is_new else old):
                aside = file.with_name(f".{file.name}")  # so that one half overwritten is known for what it is
                os.replace(file, aside)
                erase(aside)
        if is_new:
            index = path.with_name(path.name + ".index")
            for file in index.rglob("*") if old is None else ():
                if file.is_file():
                    erase(file)
            shutil.rmtree(index, ignore_errors=True)
        return is_new


def _lost(file: Path, loser: Keys | None, winner: Keys | None) -> bool:
    """Return whether a blob belongs to the keys that are not in force; a damaged one stays where it is."""
    mark = mark_of(_head(file))
    if winner is not None and mark == winner.blobs.mark:
        return False
    if loser is not None:
        return mark == loser.blobs.mark
    return bool(mark) or hashlib.sha256(file.read_bytes()).hexdigest() == file.name


def erase(file: Path) -> None:
    """Overwrite a file and remove it, as far as the system lets one overwrite."""
    handle = os.open(file, os.O_RDWR)
    try:
        _overwrite(handle)
    finally:
        os.close(handle)
    file.unlink()


def _overwrite(handle: int) -> None:
    left = os.lseek(handle, 0, os.SEEK_END)
    os.lseek(handle, 0, os.SEEK_SET)
    while left > 0:
        left -= os.write(handle, os.urandom(min(left, _BLOCK_BYTES)))
    os.fsync(handle)


def _alone(path: Path, keys: Keys | None) -> sqlite3.Connection:
    """Return a connection that nobody can read or write beside, until it is closed."""
    if keys is None:
        module = require("sqlcipher3.dbapi2", "encrypt a memory")
        db: sqlite3.Connection = module.connect(str(path), isolation_level=None, timeout=_BUSY_S)
        db.execute("PRAGMA cipher_log_level = NONE")
    else:
        db = connected(path, keys.database)
    log = path.with_name(path.name + "-wal")
    handle = os.open(log, os.O_RDWR) if keys is None and log.exists() else None
    try:
        db.execute(f"PRAGMA busy_timeout = {int(_BUSY_S * 1000)}")
        db.execute("PRAGMA journal_mode = DELETE").fetchone()  # refused while others have the file open
        db.execute("PRAGMA journal_mode = OFF").fetchone()
        db.execute("PRAGMA main.locking_mode = EXCLUSIVE").fetchone()
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
        db.execute("PRAGMA temp_store = MEMORY")
        if handle is not None:
            _overwrite(handle)  # the log is folded in and removed by now
    except failures() as error:
        db.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise Busy(f"{path} is open elsewhere", hint="close every memory on it first") from error
        raise
    finally:
        if handle is not None:
            os.close(handle)
    return db


def _copied(db: sqlite3.Connection, aside: Path, keys: Keys | None) -> None:
    """Copy a database into another file under other keys, and compare the two."""
    key = "" if keys is None else f"x'{keys.database.hex()}'"
    db.execute("ATTACH ? AS aside KEY ?", (str(aside), key))
    db.execute("SELECT sqlcipher_export('aside')").fetchone()
    for pragma in ("application_id", "user_version"):
        value = int(db.execute(f"PRAGMA main.{pragma}").fetchone()[0])
        db.execute(f"PRAGMA aside.{pragma} = {value}")
    db.text_factory = bytes
    if _digest(db, "main") != _digest(db, "aside"):
        raise StoreError(f"{aside} is not the same as what it was copied from", hint="nothing was changed; try again")
    db.execute("DETACH aside")
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())


def _digest(db: sqlite3.Connection, schema: str) -> str:
    """Return the SHA-256 of every row of every table, and of how they are defined."""
    total = hashlib.sha256()
    sql = f"SELECT type, name, tbl_name, sql FROM {schema}.sqlite_master ORDER BY type, name"
    for kind, name, table, definition in db.execute(sql).fetchall():
        total.update(repr((kind, name, table, definition)).encode())
        if kind == b"table":
            for row in db.execute(f'SELECT * FROM {schema}."{name.decode()}"'):
                total.update(repr(row).encode())
    return total.hexdigest()


def _is_there(path: Path) -> bool:
    if not path.exists() and any(_files(path)):
        raise StoreError(f"there is no {path}, but blobs of it are", hint=_KEPT)
    return path.exists()


def _opens(path: Path, keys: Keys | None) -> bool:
    if _head(path).startswith(PLAIN_MAGIC):
        return keys is None
    return keys is not None and _head(path)[:PAGE_SALT_BYTES] == keys.database[KEY_BYTES:]


def _blobs(path: Path, keys: Keys | None) -> Iterator[bytes]:
    """Give the bytes of every blob of these keys."""
    for file in list(_files(path)):
        if file.name.startswith("."):
            continue
        if keys is None and mark_of(_head(file)) and hashlib.sha256(file.read_bytes()).hexdigest() != file.name:
            continue  # left by an encryption that was cut short, under keys that nobody has
        if keys is None:
            yield FileBlobs(_folder(path)).get(Blob(file.name, file.stat().st_size))
            continue
        try:
            with open(file, "rb") as opened:
                data = bytes(keys.blobs.opened(opened, PURPOSE))
        except Damaged as error:
            raise Damaged(f"the blob {file} was changed on disk", hint=_KEPT) from error
        if file.name != keys.name(hashlib.sha256(data).hexdigest()):
            raise Damaged(f"the blob {file} is not what its name says", hint=_KEPT)
        yield data


def _files(path: Path) -> Iterator[Path]:
    return (file for file in _folder(path).rglob("*") if file.is_file())


def _head(file: Path) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(_HEAD_BYTES)


def _clear(path: Path) -> None:
    """Remove copies that are not in force."""
    for name in (_aside(path), _aside(path).with_name(_aside(path).name + "-journal")):
        if name.exists():
            erase(name)
    before = _before(path)
    if before.exists():
        if path.exists() and before.samefile(path):
            before.unlink()
        else:
            erase(before)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".aside")


def _before(path: Path) -> Path:
    return path.with_name(path.name + ".before")


def _folder(path: Path) -> Path:
    return path.with_name(path.name + ".blobs")
