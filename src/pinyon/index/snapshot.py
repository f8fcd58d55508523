"""An index on disk: derived, replaced as a whole, and never trusted without its checksums."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

__all__ = ["Loaded", "Manifest", "Sealer", "Sealing", "Snapshots"]

_FORMAT = 5
_CURRENT = "CURRENT"
_TRIES = 3  # to open a snapshot while another process replaces it
_ALIGNED_BYTES = 64  # a cache line
_BLOCK_BYTES = 1 << 20  # under one checksum
_CHECKED_BLOCKS = {"arrays": 64, "vectors": 16}  # compared at opening, evenly spread: 50 ms; `problems` compares all


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
        covered: Slots that the graph was made from; 0 without one.
        keeps_past: Whether it holds earlier versions.
    """

    identity: str
    seq: int
    chain: str
    analyzer: str
    embedder: str
    lacking: tuple[int, ...] = ()
    covered: int = 0
    keeps_past: bool = True

    @property
    def maker(self) -> tuple[str, str, str, bool]:
        """What must be the same for a snapshot to be of use."""
        return self.identity, self.analyzer, self.embedder, self.keeps_past


class Sealing(Protocol):
    """A file being sealed."""

    def write(self, data: bytes | memoryview) -> None:
        """Seal more bytes."""
        ...

    def finish(self) -> None:
        """Seal the end."""
        ...


class Sealer(Protocol):
    """Seals files, so that nothing of a memory lies on the disk in the clear."""

    def sealing(self, file: BinaryIO, purpose: str) -> Sealing:
        """Begin to seal what is written from now on into a file."""
        ...

    def opened(self, file: BinaryIO, purpose: str) -> bytearray:
        """Return what was sealed into a file; OSError when a bit of it was changed."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot that was found.

    Args:
        manifest: What it was made from.
        arrays: By name; mapped from the file, or in memory where it is sealed; not to be written.
        vectors: (N, E), the same; what is written to them stays in this process.
        graph: The file of the graph, compared with its checksums in whole, or its bytes where it is sealed, or None
            when there is none that is sound.
    """

    manifest: Manifest
    arrays: Mapping[str, NDArray[np.generic]]
    vectors: NDArray[np.float32]
    graph: Path | bytearray | None


class Snapshots:
    """The snapshots of one store in a folder beside it.

    A snapshot is two or three files with an epoch in their names and an entry ``CURRENT`` that names them with their
    checksums; ``CURRENT`` is written aside, flushed and renamed last, so that a reader sees the old snapshot or the new
    one.

    Args:
        folder: Made when the first snapshot is written.
        sealer: Seals every file of it, and they are read into memory instead of being mapped; None leaves them plain.
    """

    def __init__(self, folder: Path, sealer: Sealer | None = None) -> None:
        self.folder = folder
        self._sealer = sealer

    def load(self, wanted: Manifest) -> Loaded | None:
        """Return the snapshot of this store, analyzer and embedder, or None when there is no sound one.

        Args:
            wanted: Its `maker` must be that of the snapshot; the rest is ignored.
        """
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):  # either there is none, or it was replaced while it was being opened
                return self._load(wanted)
        return None

    def _load(self, wanted: Manifest) -> Loaded | None:
        try:
            said = self._said()
            manifest = Manifest(**{**said["manifest"], "lacking": tuple(said["manifest"]["lacking"])})
            if manifest.maker != wanted.maker:
                return None
            files = said["files"]
            if not all(self._is_sound(files[name], most) for name, most in _CHECKED_BLOCKS.items()):
                return None
            room = self._bytes(files["arrays"]["file"])
            arrays = {name: _view(room, *place) for name, place in said["arrays"].items()}
            shape = (int(said["shape"][0]), int(said["shape"][1]))
            vectors = self._rows(files["vectors"]["file"], shape)
            graph = None
            if "graph" in files and self._is_sound(files["graph"], None):  # whole, because compiled code trusts it
                graph = self._graph(files["graph"]["file"])
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None  # derived: whatever is wrong with it, the journal has everything
        return Loaded(manifest, arrays, vectors, graph)

    def save(
        self,
        manifest: Manifest,
        arrays: Mapping[str, NDArray[np.generic]],
        vectors: Iterable[NDArray[np.float32]],
        shape: tuple[int, int],
        write_graph: Callable[[Path | None], bytearray | None] | None = None,
    ) -> Loaded | None:
        """Replace the snapshot.

        Args:
            manifest: What it is made from.
            arrays: By name.
            vectors: The rows, some at a time, in order.
            shape: Of all of them together, (N, E).
            write_graph: Writes the graph to a file, or returns its bytes when it is given none; None without a graph.

        Returns:
            It as `load` would; None when another process is writing, or the disk does not allow it.
        """
        epoch = f"{manifest.seq}-{os.urandom(4).hex()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "lock", timeout=0):
                try:
                    self._write(epoch, manifest, arrays, vectors, shape, write_graph)
                    mapped = self._rows(f"{epoch}.vectors", shape)
                    graph = None if write_graph is None else self._graph(f"{epoch}.graph")
                finally:
                    self._tidy()
        except (Timeout, OSError):
            return None  # derived: a full disk or a folder without write access costs only time at the next start
        return Loaded(manifest, arrays, mapped, graph)

    def _write(
        self,
        epoch: str,
        manifest: Manifest,
        arrays: Mapping[str, NDArray[np.generic]],
        vectors: Iterable[NDArray[np.float32]],
        shape: tuple[int, int],
        write_graph: Callable[[Path | None], bytearray | None] | None,
    ) -> None:
        places: dict[str, tuple[str, list[int], int]] = {}
        files: dict[str, object] = {}
        with _Written(self.folder / f"{epoch}.arrays", self._sealer) as file:
            for name, array in arrays.items():
                file.pad()
                places[name] = (array.dtype.str, list(array.shape), file.size)
                file.write(array)
        files["arrays"] = file.said
        with _Written(self.folder / f"{epoch}.vectors", self._sealer) as file:
            for rows in vectors:
                file.write(rows)
        files["vectors"] = file.said
        if write_graph is not None:
            files["graph"] = self._write_graph(self.folder / f"{epoch}.graph", write_graph)
        said = {
            "format": _FORMAT,
            "manifest": {name: getattr(manifest, name) for name in Manifest.__slots__},
            "arrays": places,
            "shape": shape,
            "files": files,
        }
        aside = self.folder / f"{_CURRENT}.{epoch}"
        with _Written(aside, self._sealer, purpose=_CURRENT) as file:
            text = json.dumps(said).encode()
            file.write(np.frombuffer(b"%08x\n%s" % (zlib.crc32(text), text), dtype=np.uint8))
        os.replace(aside, self.folder / _CURRENT)

    def _write_graph(self, path: Path, write: Callable[[Path | None], bytearray | None]) -> dict[str, object]:
        if self._sealer is None:
            write(path)
            return _summed(path)
        with _Written(path, self._sealer) as file:
            file.write(np.frombuffer(write(None) or b"", dtype=np.uint8))
        return file.said

    def remove(self) -> None:
        """Drop the snapshot, so that nothing of a forgotten cube stays in it."""
        (self.folder / _CURRENT).unlink(missing_ok=True)
        if self.folder.exists():
            self._tidy()

    def problems(self) -> list[str]:
        """Compare every byte with its checksum, and return which files are not what was written."""
        if not (self.folder / _CURRENT).exists():
            return []
        try:
            files = self._said()["files"]
            return [f"{self.folder / f['file']} is damaged" for f in files.values() if not self._is_sound(f, None)]
        except FileNotFoundError as error:
            return [f"{error.filename} is missing"]
        except (OSError, ValueError, KeyError, TypeError):
            return [f"{self.folder / _CURRENT} cannot be read"]

    def _said(self) -> dict:  # type: ignore[type-arg]  # JSON of our own; whoever reads it catches what does not fit
        if self._sealer is None:
            data = (self.folder / _CURRENT).read_bytes()
        else:
            data = bytes(self._opened(_CURRENT))
        crc, _, text = data.partition(b"\n")
        said = json.loads(text)
        if crc != b"%08x" % zlib.crc32(text) or said["format"] != _FORMAT:
            raise ValueError("not what was written, or another format")
        return said  # type: ignore[no-any-return]  # the same

    def _is_sound(self, said: Mapping[str, object], most: int | None) -> bool:
        """Return whether a file has its size and blocks of it, at most so many, have their checksums.

        Of a sealed one only a check of the whole says anything that opening it would not.
        """
        path = self.folder / str(said["file"])
        if self._sealer is not None:
            return most is not None or self._opens(path)
        crcs: list[int] = said["crcs"]  # type: ignore[assignment]  # as written by _Written
        if path.stat().st_size != said["size"]:
            return False
        compared = len(crcs) if most is None else min(most, len(crcs))
        room = memoryview(bytearray(_BLOCK_BYTES))
        with open(path, "rb", buffering=0) as file:
            for block in sorted({int(place) for place in np.linspace(0, max(0, len(crcs) - 1), compared).tolist()}):
                file.seek(block * _BLOCK_BYTES)
                if zlib.crc32(room[: file.readinto(room)]) != crcs[block]:
                    return False
        return True

    def _opens(self, path: Path) -> bool:
        try:
            self._opened(path.name)
        except FileNotFoundError:
            raise
        except OSError:
            return False
        return True

    def _opened(self, name: str) -> bytearray:
        assert self._sealer is not None
        with open(self.folder / name, "rb") as file:
            return self._sealer.opened(file, name)

    def _bytes(self, name: str) -> NDArray[np.uint8]:
        if self._sealer is None:
            return np.memmap(self.folder / name, dtype=np.uint8, mode="r")
        return np.frombuffer(self._opened(name), dtype=np.uint8)

    def _rows(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        if self._sealer is None:
            return _mapped(self.folder / name, shape)
        return np.frombuffer(self._opened(name), dtype=np.float32).reshape(shape)

    def _graph(self, name: str) -> Path | bytearray:
        return self.folder / name if self._sealer is None else self._opened(name)

    def _tidy(self) -> None:
        """Remove every file that the present snapshot does not name."""
        kept = {_CURRENT, "lock"}
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept |= {file["file"] for file in self._said()["files"].values()}
        for old in self.folder.iterdir():
            if old.name not in kept:
                with suppress(OSError):  # some systems do not remove what another process has open
                    old.unlink()


class _Written:
    """A file being written, with a checksum for each block of it; flushed to the disk at the end."""

    def __init__(self, path: Path, sealer: Sealer | None = None, *, purpose: str = "") -> None:
        self._path = path
        self._sealer = sealer
        self._purpose = purpose or path.name
        self._sealing: Sealing | None = None
        self._crcs: list[int] = []
        self._crc = 0
        self.size = 0
        self._file: BinaryIO

    def __enter__(self) -> _Written:
        self._file = open(self._path, "wb")  # closed in __exit__
        if self._sealer is not None:
            self._sealing = self._sealer.sealing(self._file, self._purpose)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._file:
            if kind is None:
                if self.size % _BLOCK_BYTES:
                    self._crcs.append(self._crc)
                if self._sealing is not None:
                    self._sealing.finish()
                self._file.flush()
                os.fsync(self._file.fileno())

    @property
    def said(self) -> dict[str, object]:
        """Name, size and checksums."""
        return {"file": self._path.name, "size": self.size, "crcs": self._crcs}

    def pad(self) -> None:
        self.write(np.zeros(-self.size % _ALIGNED_BYTES, dtype=np.uint8))

    def write(self, array: NDArray[np.generic]) -> None:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        (self._sealing or self._file).write(data)
        start = 0
        while start < len(data):
            end = min(len(data), start + _BLOCK_BYTES - self.size % _BLOCK_BYTES)
            self._crc = zlib.crc32(data[start:end], self._crc)
            self.size += end - start
            start = end
            if self.size % _BLOCK_BYTES == 0:
                self._crcs.append(self._crc)
                self._crc = 0


def _summed(path: Path) -> dict[str, object]:
    """Flush a file that something else wrote, and return its name, size and checksums."""
    crcs: list[int] = []
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
        while block := file.read(_BLOCK_BYTES):
            crcs.append(zlib.crc32(block))
    return {"file": path.name, "size": path.stat().st_size, "crcs": crcs}


def _view(room: NDArray[np.uint8], dtype: str, shape: list[int], offset: int) -> NDArray[np.generic]:
    """Return one array of the file; a kind of value other than numbers is refused."""
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError("not an array of numbers")
    size = kind.itemsize * math.prod(shape)
    return room[offset : offset + size].view(kind).reshape(shape)


def _mapped(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return rows mapped from a file; writes to them stay in memory."""
    if not shape[0]:
        return np.zeros(shape, dtype=np.float32)
    return np.asarray(np.memmap(path, dtype=np.float32, mode="c", shape=shape))
