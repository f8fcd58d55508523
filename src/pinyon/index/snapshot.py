"""An index on disk: derived, replaced as a whole, and never trusted without its checksums."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

__all__ = ["Manifest", "Snapshots"]

_FORMAT = 1
_CURRENT = "CURRENT"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot was made from.

    Args:
        identity: The store.
        seq: Last entry of the journal that it holds.
        chain: Chain value of that entry, so that another history is noticed.
        analyzer: Fingerprint of the words.
        embedder: Fingerprint of the vectors, or an empty text.
        lacking: Rows whose vectors were not there yet.
    """

    identity: str
    seq: int
    chain: str
    analyzer: str
    embedder: str
    lacking: tuple[int, ...] = ()


class Snapshots:
    """The snapshots of one store in a folder beside it.

    A snapshot is two files with an epoch in their names and an entry ``CURRENT`` that names them with their checksums;
    ``CURRENT`` is written aside, flushed and renamed last, so that a reader sees the old snapshot or the new one.

    Args:
        folder: Made when the first snapshot is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, wanted: Manifest) -> tuple[Manifest, dict[str, NDArray[np.generic]], NDArray[np.float32]] | None:
        """Return the snapshot of this store, analyzer and embedder, or None when there is no sound one.

        Args:
            wanted: Its identity, analyzer and embedder must be those of the snapshot; seq and chain are ignored.
        """
        try:
            said = json.loads((self.folder / _CURRENT).read_text(encoding="utf-8"))
            manifest = Manifest(**{**said["manifest"], "lacking": tuple(said["manifest"]["lacking"])})
            if said["format"] != _FORMAT or (manifest.identity, manifest.analyzer, manifest.embedder) != (
                wanted.identity,
                wanted.analyzer,
                wanted.embedder,
            ):
                return None
            data = (self.folder / said["arrays"]["file"]).read_bytes()
            if zlib.crc32(data) != said["arrays"]["crc"]:
                return None
            arrays = dict(np.load(io.BytesIO(data), allow_pickle=False))
            vectors = np.load(self.folder / said["vectors"]["file"], mmap_mode="r", allow_pickle=False)
            if not _sound(vectors, said["vectors"]["crcs"]):
                return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None  # derived: whatever is wrong with it, the journal has everything
        return manifest, arrays, vectors

    def save(self, manifest: Manifest, arrays: Mapping[str, NDArray[np.generic]], vectors: NDArray[np.float32]) -> bool:
        """Replace the snapshot; return False when another process is doing so, or the disk does not allow it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "lock", timeout=0):
                self._write(manifest, arrays, vectors)
        except Timeout:
            return False
        except OSError:
            return False  # derived: a full disk or a folder without write access costs only time at the next start
        return True

    def _write(
        self, manifest: Manifest, arrays: Mapping[str, NDArray[np.generic]], vectors: NDArray[np.float32]
    ) -> None:
        epoch = f"{manifest.seq}-{os.urandom(4).hex()}"
        packed = io.BytesIO()
        np.savez(packed, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub mixes names and options
        said = {
            "format": _FORMAT,
            "manifest": {name: getattr(manifest, name) for name in Manifest.__slots__},
            "arrays": {"file": f"{epoch}.npz", "crc": zlib.crc32(packed.getbuffer())},
            "vectors": {"file": f"{epoch}.npy", "crcs": _checksums(vectors)},
        }
        _flushed(self.folder / f"{epoch}.npz", packed.getbuffer())
        with open(self.folder / f"{epoch}.npy", "wb") as file:
            np.save(file, vectors, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        aside = self.folder / f"{_CURRENT}.{epoch}"
        _flushed(aside, json.dumps(said).encode())
        os.replace(aside, self.folder / _CURRENT)
        for old in self.folder.iterdir():
            if not old.name.startswith((epoch, "lock")) and old.name != _CURRENT:
                old.unlink(missing_ok=True)

    def remove(self) -> None:
        """Drop the snapshot, so that no text of a forgotten cube stays in it."""
        if self.folder.exists():
            for old in self.folder.iterdir():
                if old.name != "lock":
                    old.unlink(missing_ok=True)


_BLOCK_ROWS = 65536


def _checksums(vectors: NDArray[np.float32]) -> list[int]:
    return [zlib.crc32(np.ascontiguousarray(vectors[i : i + _BLOCK_ROWS])) for i in range(0, len(vectors), _BLOCK_ROWS)]


def _sound(vectors: NDArray[np.float32], crcs: list[int]) -> bool:
    """Return whether the first and last block are what was written; reading every block would cost a cold start."""
    if vectors.ndim != 2 or -(-len(vectors) // _BLOCK_ROWS) != len(crcs):
        return False
    for block in {0, len(crcs) - 1} if crcs else ():
        part = np.ascontiguousarray(vectors[block * _BLOCK_ROWS : (block + 1) * _BLOCK_ROWS])
        if zlib.crc32(part) != crcs[block]:
            return False
    return True


def _flushed(path: Path, data: bytes | memoryview) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
