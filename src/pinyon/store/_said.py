"""What SQLite and the system say, in one sentence."""

from __future__ import annotations

import errno
import sqlite3
import sys
from pathlib import Path
from types import TracebackType

from ..errors import BadInput, Busy, Conflict, Damaged, PinyonError, StoreError

__all__ = ["WAIT_S", "failures", "plainly", "twice"]

WAIT_S = 60.0  # longer than the longest transaction of an import (0.3 s) times many writers
_KEEP = "keep a copy, then `pinyon doctor` says what is left"


def failures() -> tuple[type[Exception], ...]:
    """Return what a database raises; encrypted ones have errors of their own, with the same codes."""
    encrypted = sys.modules.get("sqlcipher3.dbapi2")
    return (sqlite3.Error,) if encrypted is None else (sqlite3.Error, encrypted.Error)


def twice(place: str) -> Conflict:
    """Return the error of a thread that opens a transaction while it has one open."""
    return Conflict(
        f"this thread is writing to {place} already",
        hint="in a step of a pipeline, use the memory that the step is given",
    )


class plainly:  # a context manager, used like a function
    """Raise what fails inside as an error of this package, with one sentence about the file.

    A class, because a generator costs each read of the store more than the read itself.

    Args:
        path: The file.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing is needed."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise the error of this package."""
        if error is not None:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Raise an error of this package for one of a database or of the system; pass over any other."""
        path = self._path
        if isinstance(error, failures()):
            raise _said(path, error) from error
        if isinstance(error, UnicodeEncodeError):
            raise BadInput(f"not valid Unicode: {str(error.object)[:80]!r}") from error
        if isinstance(error, UnicodeDecodeError):
            raise Damaged(f"{path} holds bytes that are no text", hint=_KEEP) from error
        if isinstance(error, OverflowError):
            raise BadInput(f"a number does not fit into 64 bits: {error}") from error
        if isinstance(error, OSError) and not isinstance(error, PinyonError):
            if error.errno == errno.ENOSPC:
                raise StoreError(f"the disk of {path} is full", hint="free some space; nothing was lost") from error
            raise StoreError(f"{path} cannot be used: {error.strerror}", hint="choose another path") from error


def _said(path: Path, error: Exception) -> StoreError:
    text = str(error)
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Busy(f"another process has held {path} for {WAIT_S:.0f} s", hint="end it, or try again")
        case sqlite3.SQLITE_FULL:
            return StoreError(f"the disk of {path} is full", hint="free some space; nothing was lost")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return StoreError(f"{path} cannot be written", hint="check the rights of the file and of its folder")
        case sqlite3.SQLITE_CANTOPEN:
            return StoreError(f"{path} cannot be opened", hint="check that its folder exists and can be written")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Damaged(f"{path} is not a sound pinyon database ({text})", hint=_KEEP)
        case sqlite3.SQLITE_IOERR if code == sqlite3.SQLITE_IOERR_SHORT_READ:
            return Damaged(f"{path} ends too early ({text})", hint=_KEEP)
        case sqlite3.SQLITE_IOERR:
            return StoreError(
                f"the system could not read or write {path} ({text})",
                hint="check the disk and its limits; nothing was lost",
            )
    if "decode" in text:
        return Damaged(f"{path} holds bytes that are no text", hint=_KEEP)
    return StoreError(f"{path}: {text}")
