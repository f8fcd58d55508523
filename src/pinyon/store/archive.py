"""Memories as one file of JSON lines: everything that is needed to have them again elsewhere.

The first line says what the file is, then comes one line a cube with all its versions, and the last line gives their
number and the SHA-256 over every line before it, so that a cut or changed file is noticed before anything is written.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from ..core.cube import Cube, cube_to_json, seal_hash
from ..core.header import header_from_json
from ..core.payload import Delta, State, canonical, payload_from_json
from ..core.scope import Scope
from ..errors import Damaged, StoreError, TooNew
from .blobs import Blobs

__all__ = ["Archived", "blobs_of", "check_archive", "is_archive", "read_archive", "write_archive"]

_FORMAT = "pinyon-archive"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Archived:
    """A cube with its past.

    Args:
        cube: As it is now.
        versions: As it was before, oldest first.
        blobs: The bytes of its payload by SHA-256.
    """

    cube: Cube
    versions: tuple[Cube, ...] = ()
    blobs: tuple[bytes, ...] = ()


def write_archive(things: Iterable[Archived], path: Path) -> int:
    """Write an archive beside its place and move it there when it is whole; return the number of cubes.

    Raises:
        StoreError: It cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            number = _write(things, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreError(f"the archive {path} cannot be written: {error.strerror}") from error
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return number


def _write(things: Iterable[Archived], file: IO[bytes]) -> int:
    seen = hashlib.sha256()
    number = 0

    def put(value: object) -> None:
        line = canonical(value).encode() + b"\n"
        seen.update(line)
        file.write(line)

    put({"format": _FORMAT, "version": _VERSION})
    for thing in things:
        line: dict[str, object] = {"cube": cube_to_json(thing.cube)}
        if thing.versions:
            line["versions"] = [cube_to_json(cube) for cube in thing.versions]
        if thing.blobs:
            line["blobs"] = [base64.b64encode(data).decode() for data in thing.blobs]
        put(line)
        number += 1
    put({"end": number, "sha256": seen.hexdigest()})
    return number


def is_archive(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of an archive."""
    return head.startswith(b'{"format":"pinyon-archive"')


def check_archive(path: Path) -> int:
    """Read an archive once without using it; return the number of its cubes.

    Raises:
        Damaged: It is cut off or was changed.
        TooNew: A later version of pinyon wrote it.
    """
    seen = hashlib.sha256()
    last = b""
    with open(path, "rb") as file:
        first = file.readline()
        seen.update(first)
        _check_first(path, first)
        for line in file:
            if last:
                seen.update(last)
            last = line
    try:
        end = json.loads(last)
        if end["sha256"] == seen.hexdigest():
            return int(end["end"])
    except (ValueError, KeyError, TypeError):
        pass
    raise Damaged(f"the archive {path} is cut off or was changed", hint="nothing was imported; take another copy")


def _check_first(path: Path, line: bytes) -> None:
    try:
        said = json.loads(line)
        known = said["format"] == _FORMAT
        version = int(said["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is no archive of pinyon") from error
    if not known:
        raise Damaged(f"{path} is no archive of pinyon")
    if version > _VERSION:
        raise TooNew(f"the archive {path} has version {version}, this pinyon knows {_VERSION}")


def read_archive(path: Path) -> Iterator[Archived]:
    """Yield what an archive holds; check it first with `check_archive`.

    Raises:
        Damaged: A cube in it does not match its seal.
    """
    with open(path, "rb") as file:
        file.readline()
        for line in file:
            said = json.loads(line)
            if "cube" in said:
                yield _archived(path, said)


def _archived(path: Path, said: Mapping[str, object]) -> Archived:
    try:
        cubes = [_cube(data) for data in (*said.get("versions", ()), said["cube"])]  # type: ignore[misc]  # JSON lists
        blobs = tuple(base64.b64decode(text) for text in said.get("blobs", ()))  # type: ignore[attr-defined]
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"the archive {path} holds a line that is no cube") from error
    for cube in cubes:
        if seal_hash(cube.payload, cube.header, cube.parent) != cube.hash:
            raise Damaged(f"cube {cube.id} in {path} does not match its seal")
    return Archived(cubes[-1], tuple(cubes[:-1]), blobs)


def _cube(data: Mapping[str, object]) -> Cube:
    return Cube(
        str(data["id"]),
        0,
        int(data["version"]),  # type: ignore[call-overload]  # a JSON number
        str(data["space"]),
        Scope(**data["owner"]),  # type: ignore[arg-type]
        payload_from_json(data["payload"]),  # type: ignore[arg-type]
        header_from_json(data["header"]),  # type: ignore[arg-type]
        datetime.fromisoformat(str(data["created"])),
        datetime.fromisoformat(str(data["updated"])),
        str(data["hash"]),
        str(data["parent"]),
    )


def blobs_of(cube: Cube, blobs: Blobs) -> tuple[bytes, ...]:
    """Return the bytes of a cube's payload."""
    if isinstance(cube.payload, (State, Delta)):
        return tuple(blobs.get(blob) for blob in cube.payload.blobs)
    return ()
