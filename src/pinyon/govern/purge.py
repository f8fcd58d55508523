"""Purge: what was forgotten leaves the files themselves, and a search of every byte proves it."""

from __future__ import annotations

import json
import mmap
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..core.payload import Blob
from ..errors import BadInput, Busy, StoreError
from ..store import Engine, FileBlobs

__all__ = ["PurgeLevel", "Purged", "Spotted", "purge", "search_bytes", "vacuum"]

PurgeLevel = Literal["log", "file"]
"""``log`` empties the write-ahead log and drops index snapshots and orphaned blobs; ``file`` also writes the database
anew, so that no page of it is older than the purge."""

_MEMORY = ":memory:"
_ORPHAN_S = 3600.0  # a blob is written before the cube that names it; no transaction takes an hour
_WAIT_S = 60.0
_COPIES = 2  # VACUUM writes the database into a temporary file and from there into the log
_SPARE_BYTES = 1 << 20
_LEAST_PART_BYTES = 16
_MOST_PART_BYTES = 2000  # below half a page of SQLite


@runtime_checkable
class _SelfPurging(Protocol):
    """An engine that writes itself anew, as a server or an encrypted file does."""

    def purge(self) -> None: ...


@runtime_checkable
class _Sweeping(Protocol):
    """Blobs that know themselves how old they are and who names them, as those on a server do."""

    def sweep(self, older_s: float) -> int: ...


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did.

    Args:
        level: How thorough it was asked to be.
        before: Bytes of the store before.
        after: Bytes of the store after.
        snapshots: Files of index snapshots that went.
        orphans: Blobs that went because no cube named them.
        is_log_empty: Whether the write-ahead log is empty; False while another process reads an older state.
    """

    level: PurgeLevel
    before: int
    after: int
    snapshots: int
    orphans: int
    is_log_empty: bool


def purge(engine: Engine, folder: Path | None, *, level: PurgeLevel = "file") -> Purged:
    """Let the files of a store hold nothing of what was forgotten before.

    Forgetting itself deletes rows with their pages overwritten. What may still hold them is the write-ahead log, the
    free space inside pages, the snapshots of an index and blobs that a killed process left: they go here. The caller
    builds the index again. What the file system or the disk keeps of freed blocks is beyond a program's reach; where
    that matters, encrypt the store and drop its key.

    Args:
        engine: The store.
        folder: Where its index snapshots lie, or None.
        level: How thorough.

    Raises:
        BadInput: There is no such level.
        StoreError: The disk is too small for writing the database anew; nothing was changed then.
        Busy: Another process held the database for a minute.
    """
    if level not in get_args(PurgeLevel):
        raise BadInput(f"there is no purge {level!r}", hint=f"use one of {', '.join(get_args(PurgeLevel))}")
    before = engine.bytes()
    if level == "file":
        _check_room(engine)
    snapshots = 0 if folder is None else _drop_snapshots(folder)
    orphans = _drop_orphans(engine)
    engine.settle()
    if level == "file":
        vacuum(engine)
        engine.settle()
    return Purged(level, before, engine.bytes(), snapshots, orphans, _is_log_empty(engine))


def vacuum(engine: Engine) -> None:
    """Write the database of an engine anew, by its own method where it has one, else as a SQLite file.

    Raises:
        StoreError: The disk is too small; nothing was changed.
        Busy: Another process held the database for a minute.
    """
    if isinstance(engine, _SelfPurging):
        engine.purge()
        return
    if engine.location == _MEMORY:
        return
    _check_room(engine)
    db = sqlite3.connect(engine.location, timeout=_WAIT_S, isolation_level=None)
    try:
        db.execute("PRAGMA secure_delete = ON")
        db.execute("VACUUM")
    except sqlite3.DatabaseError as error:
        raise _said(error, engine.location) from error
    finally:
        db.close()


def _said(error: sqlite3.DatabaseError, location: str) -> StoreError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return Busy(f"{location} could not be written anew: another process holds it", hint="try again later")
    hint = "free some space" if "full" in text else "check that the disk, the folder and the file can be written"
    return StoreError(f"{location} could not be written anew and is as it was: {text}", hint=hint)


def _check_room(engine: Engine) -> None:
    """Refuse to begin what the disk cannot hold."""
    if engine.location == _MEMORY or isinstance(engine, _SelfPurging):
        return
    path = Path(engine.location)
    needed = _COPIES * engine.bytes() + _SPARE_BYTES
    for folder in (path.parent, Path(tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StoreError(
                f"writing {path.name} anew needs {needed} free bytes in {folder}, there are {free}",
                hint="free some space, or purge with level 'log'",
            )


def _drop_snapshots(folder: Path) -> int:
    """Remove every file of the folder but the lock that its writers share; return their number."""
    if not folder.is_dir():
        return 0
    entry = folder / "CURRENT"  # first, so that nobody opens what is about to go
    found = [entry] if entry.exists() else []
    found += [file for file in sorted(folder.iterdir()) if file.is_file() and file.name not in ("lock", "CURRENT")]
    for file in found:
        file.unlink(missing_ok=True)
    return len(found)


def _drop_orphans(engine: Engine) -> int:
    """Remove blobs that no cube names and that are no longer about to be named; return their number."""
    if isinstance(engine.blobs, _Sweeping):
        return engine.blobs.sweep(_ORPHAN_S)
    if not isinstance(engine.blobs, FileBlobs):
        return 0
    folder = Path(engine.location + ".blobs")
    oldest = time.time() - _ORPHAN_S  # the file system's own clock, which made the times it is compared with
    gone = 0
    for file in sorted(folder.glob("??/*")):
        if not file.is_file() or file.stat().st_mtime > oldest:
            continue
        if file.name.startswith("."):  # written aside by a process that was killed
            file.unlink(missing_ok=True)
            gone += 1
        elif engine.names_blob(file.name):  # the usual case, and no need to read it
            continue
        elif (name := engine.blobs.named_by(file)) and not engine.names_blob(name):
            engine.blobs.remove(Blob(name, file.stat().st_size))
            gone += 1
    return gone


def _is_log_empty(engine: Engine) -> bool:
    log = Path(engine.location + "-wal")
    return not log.exists() or log.stat().st_size == 0


@dataclass(frozen=True, slots=True)
class Spotted:
    """A place where something was found.

    Args:
        path: The file.
        offset: Byte in it.
        needle: Which of the things that were looked for, from 0.
        form: How it was written there: ``utf-8``, ``utf-16-le``, ``lower``, ``json``, ``float32`` …
        is_whole: Whether all of it stands there; False for a part, as at the border of a page.
    """

    path: Path
    offset: int
    needle: int
    form: str
    is_whole: bool


Needle = str | NDArray[np.floating]


def search_bytes(folder: Path, needles: Sequence[Needle]) -> list[Spotted]:
    """Look for texts and vectors in every byte of a folder, and return the first place of each in each file.

    Texts are looked for as UTF-8 and UTF-16, as they are, in lower case and as JSON writes them; vectors as float16 and
    float32, as they are and rounded to half precision, in both orders of bytes. Because a database may tear a long
    value at the border of a page, what has 32 bytes or more is also looked for in parts.

    Args:
        folder: Searched with everything below it; or a single file.
        needles: Texts, or vectors (E,).

    Raises:
        BadInput: A needle is empty or all zeros: it would be found everywhere.

    Cost: one pass over each file for each form of each needle.
    """
    wanted = [(number, *form) for number, needle in enumerate(needles) for form in _forms(needle)]
    files = [folder] if folder.is_file() else sorted(file for file in folder.rglob("*") if file.is_file())
    return [spotted for file in files for spotted in _in_file(file, wanted)]


def _forms(needle: Needle) -> Iterator[tuple[str, bytes]]:
    if isinstance(needle, str):
        if not needle.strip():
            raise BadInput("an empty text is found everywhere")
        seen: set[bytes] = set()
        for name, data in _text_forms(needle):
            if data not in seen:
                seen.add(data)
                yield name, data
        return
    if not np.any(needle):
        raise BadInput("a vector of zeros is found everywhere")
    half = needle.astype(np.float16)  # an index keeps these as float32
    for kind in ("<f2", "<f4", ">f2", ">f4"):
        yield f"float{8 * int(kind[-1])}", needle.astype(kind).tobytes()
        yield f"float{8 * int(kind[-1])}", half.astype(kind).tobytes()


def _text_forms(text: str) -> Iterator[tuple[str, bytes]]:
    for name, said in (("", text), ("lower", text.lower())):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            yield name or encoding, said.encode(encoding)
        for is_ascii in (False, True):
            yield "json", json.dumps(said, ensure_ascii=is_ascii)[1:-1].encode()


def _in_file(file: Path, wanted: Sequence[tuple[int, str, bytes]]) -> Iterator[Spotted]:
    if not file.stat().st_size:
        return
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found: set[int] = set()
        for find in (_whole, _part):  # a whole in any form says more than a part
            for number, form, needle in wanted:
                if number not in found and (place := find(data.find, needle)) >= 0:
                    found.add(number)
                    yield Spotted(file, place, number, form, find is _whole)


def _whole(find: Callable[[bytes], int], needle: bytes) -> int:
    return find(needle)


def _part(find: Callable[[bytes], int], needle: bytes) -> int:
    if len(needle) < 2 * _LEAST_PART_BYTES:
        return -1
    size = min(len(needle) // 2, _MOST_PART_BYTES)
    parts = (needle[start : start + size] for start in range(0, len(needle) - size + 1, size))
    return next((place for part in parts if len(set(part)) > 1 and (place := find(part)) >= 0), -1)
