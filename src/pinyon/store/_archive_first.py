"""Archives of version 1: JSON lines, the last of which seals those before it. They are read, and no longer written."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from ..core.cube import Cube, seal_hash
from ..core.header import header_from_json
from ..core.payload import payload_from_json
from ..core.scope import Scope
from ..errors import Damaged, TooNew
from ._archive_lines import UNREADABLE, Archived
from ._archive_zip import FORMAT

__all__ = ["check_first", "read_first"]

_VERSION = 1


def check_first(path: Path) -> int:
    """Read an archive of version 1 once without using it; return the number of its cubes.

    Raises:
        Damaged: It is cut off or was changed.
        TooNew: A later version of pinyon wrote it.
    """
    seen = hashlib.sha256()
    last = b""
    with open(path, "rb") as file:
        first = file.readline()
        seen.update(first)
        _check_head(path, first)
        for line in file:
            if last:
                seen.update(last)
            last = line
    try:
        end = json.loads(last)
        if end["sha256"] == seen.hexdigest():
            return int(end["end"])
    except UNREADABLE:
        pass
    raise Damaged(f"the archive {path} is cut off or was changed", hint="nothing was imported; take another copy")


def _check_head(path: Path, line: bytes) -> None:
    try:
        said = json.loads(line)
        known = said["format"] == FORMAT
        version = int(said["version"])
    except UNREADABLE as error:
        raise Damaged(f"{path} is no archive of pinyon") from error
    if not known:
        raise Damaged(f"{path} is no archive of pinyon")
    if version > _VERSION:
        raise TooNew(f"the archive {path} has version {version}, in JSON lines this pinyon knows {_VERSION}")


def read_first(path: Path) -> Iterator[Archived]:
    """Yield what an archive of version 1 holds; check it first.

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
    except UNREADABLE as error:
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
