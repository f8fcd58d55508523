"""Room in the write-ahead log that is made before it is needed, so that a small commit does not change its length."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LogRoom"]

_STEP = 1 << 20  # bytes made at once: some sixty commits of one memory each
_SMALL = 1 << 17  # bytes; a commit that needs more is not held up by what its file system notes of the length
_FIRST = 16  # small commits in a row before room is made: a command that adds one memory needs none


class LogRoom:
    """Lengthens the log of a database by zeros, a megabyte at a time, while small commits follow each other.

    A flush that has to note a new length of the file waits for the file system's own journal too: two trips to the
    disk instead of one. SQLite writes into the log by position and takes it to end at the first frame whose salt is
    not that of its header, which zeros never have, so the room is never read.

    Ask inside a transaction that writes: nobody else appends to the log then.

    Args:
        path: The log; need not exist.

    Source: SQLite's file format, section 4, "The Write-Ahead Log": frames are valid up to the first whose salt or
        checksum does not match.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = 0  # as it was seen last
        self._small = 0  # small commits in a row that have lengthened the log

    def make(self) -> None:
        """Lengthen the log when small commits have come to its end; what cannot be done is left."""
        try:
            length = self._path.stat().st_size
        except OSError:
            return
        grown, self._length = length - self._length, length
        if not grown:
            return
        self._small = self._small + 1 if 0 < grown <= _SMALL else 0
        if self._small < _FIRST:
            return
        self._small = _FIRST - 1  # the next commit that comes to the end is one more
        self._length = _lengthened(self._path, length)


def _lengthened(path: Path, length: int) -> int:
    """Return the length of a file after a step of zeros was put behind it, or as it was where the disk has no room."""
    try:
        with path.open("r+b", buffering=0) as log:
            try:
                if _write(log.fileno(), length):
                    return length + _STEP
            except OSError:
                pass
            log.truncate(length)
    except OSError:
        pass
    return length


def _write(descriptor: int, start: int) -> bool:
    """Write a step of zeros at a position; return whether all of it was written."""
    os.lseek(descriptor, start, os.SEEK_SET)
    return os.write(descriptor, bytes(_STEP)) == _STEP
