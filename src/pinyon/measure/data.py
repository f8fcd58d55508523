"""The question sets of a folder: which file a measure reads, and how to tell it from another."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput

__all__ = ["DataSet", "data_set", "file_hash", "is_there"]

_HINT = "docs/guides/measure.md says where it is published"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class DataSet:
    """What a measure reads.

    Args:
        path: A file or a folder.
        others: Names of further files that the measure could have read instead.
    """

    path: Path
    others: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of the file, or of the names and hashes of all files of the folder."""
        if self.path.is_file():
            return file_hash(self.path)
        whole = hashlib.sha256()
        for file in sorted(file for file in self.path.rglob("*") if file.is_file()):
            whole.update(f"{file.relative_to(self.path).as_posix()} {file_hash(file)}\n".encode())
        return whole.hexdigest()


def data_set(measure: str, pattern: str, place: Path | None) -> DataSet:
    """Return what a measure reads.

    Args:
        measure: Its name.
        pattern: Where its data lie below the folder, as in `Known.data`.
        place: Folder of the question sets, or the file itself.

    Raises:
        BadInput: It is not there.
    """
    if place is None:
        raise BadInput(f"{measure} needs data", hint="give their folder with --data, or in PINYON_DATA")
    if not place.exists():
        raise BadInput(f"there is no folder and no file {str(place)!r}", hint="--data names the folder of the data")
    found = _matches(pattern, place)
    if not found:
        what = f"a folder with {pattern!r}" if place.is_file() else f"{pattern!r} in {str(place)!r}"
        raise BadInput(f"{measure} needs {what}", hint=_HINT)
    return DataSet(found[0], tuple(path.name for path in found[1:]))


def is_there(pattern: str, place: Path | None) -> bool:
    """Return whether there is something for a measure to read."""
    return place is not None and bool(_matches(pattern, place))


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            whole.update(chunk)
    return whole.hexdigest()


def _matches(pattern: str, place: Path) -> list[Path]:
    """Return the file itself, when the pattern is one of files, or what matches below a folder."""
    if place.is_file():
        return [place] if place.match(Path(pattern).name) and "*" in pattern else []
    return sorted(place.glob(pattern))
