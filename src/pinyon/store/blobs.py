"""Bytes named by their SHA-256."""

from __future__ import annotations

import hashlib
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..core.payload import Blob
from ..errors import Damaged, NotFound, StoreError
from ..files import whole_file
from ._cipher import Keys

__all__ = ["PURPOSE", "Blobs", "FileBlobs", "MemoryBlobs"]

PURPOSE = "blob"
"""What sealed blobs are sealed for; that one lies in the place of another is seen by its SHA-256."""


class Blobs(Protocol):
    """A heap of bytes; the same bytes are kept once."""

    def put(self, data: bytes, *, role: str = "tensors") -> Blob:
        """Keep bytes and return their name."""
        ...

    def get(self, blob: Blob) -> bytes:
        """Return the bytes of a name."""
        ...

    def view(self, blob: Blob) -> memoryview:
        """Return the bytes of a name, mapped from their file where that is possible; looked at, never written."""
        ...

    def remove(self, blob: Blob) -> None:
        """Drop bytes; dropping what is not here is no error."""
        ...


class MemoryBlobs:
    """Blobs of a store in memory."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def put(self, data: bytes, *, role: str = "tensors") -> Blob:
        """Keep bytes and return their name."""
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data), role=role)
        self._data[blob.sha256] = data
        return blob

    def get(self, blob: Blob) -> bytes:
        """Return the bytes of a name.

        Raises:
            NotFound: They are not here.
        """
        try:
            return self._data[blob.sha256]
        except KeyError as error:
            raise NotFound(f"there is no blob {blob.sha256}") from error

    def view(self, blob: Blob) -> memoryview:
        """Return the bytes of a name, as `get` does, without a copy."""
        return memoryview(self.get(blob))

    def remove(self, blob: Blob) -> None:
        """Drop bytes; dropping what is not here is no error."""
        self._data.pop(blob.sha256, None)

    def size(self) -> int:
        """Return how many bytes all of it takes."""
        return sum(map(len, list(self._data.values())))


class FileBlobs:
    """Blobs as files beside a database, written aside, flushed and renamed, so that none is ever half there.

    Args:
        folder: Made when the first blob comes.
        keys: Seal the blobs, and their names too; none leaves both as they are.
    """

    def __init__(self, folder: Path, keys: Keys | None = None) -> None:
        self._folder = folder
        self._keys = keys

    def put(self, data: bytes, *, role: str = "tensors") -> Blob:
        """Keep bytes and return their name; on return they have reached the disk.

        Raises:
            StoreError: The disk is full or the folder cannot be written.
        """
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data), role=role)
        path = self._path(blob)
        try:
            if path.exists() and self._holds(path, blob):
                return blob
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(data if self._keys is None else self._keys.blobs.seal(data, PURPOSE))
        except OSError as error:
            raise StoreError(f"a blob of {len(data)} bytes could not be written: {error.strerror}") from error
        return blob

    def get(self, blob: Blob) -> bytes:
        """Return the bytes of a name.

        Raises:
            NotFound: They are not here.
            Damaged: The file's bytes do not hash to its name.
        """
        try:
            data = self._read(self._path(blob))
        except FileNotFoundError as error:
            raise NotFound(f"there is no blob {blob.sha256}") from error
        except Damaged as error:
            raise Damaged(f"the blob {blob.sha256} was changed on disk") from error
        except OSError as error:
            raise StoreError(f"the blob {blob.sha256} cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != blob.sha256:
            raise Damaged(f"the blob {blob.sha256} was changed on disk")
        return data

    def view(self, blob: Blob) -> memoryview:
        """Return the bytes of a name as they lie in their file, without a copy; sealed ones are opened into memory.

        The bytes are compared with their name now. What is written into the view changes neither the file nor what
        others see. A file that is removed stays readable through the views that were taken before.

        Raises:
            NotFound: They are not here.
            Damaged: The file's bytes do not hash to its name.
        """
        if self._keys is not None or not blob.bytes:
            return memoryview(self.get(blob))
        try:
            with open(self._path(blob), "rb") as file:
                if os.fstat(file.fileno()).st_size != blob.bytes:
                    raise Damaged(f"the blob {blob.sha256} was changed on disk")
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        except FileNotFoundError as error:
            raise NotFound(f"there is no blob {blob.sha256}") from error
        except Damaged:
            raise
        except OSError as error:
            raise StoreError(f"the blob {blob.sha256} cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != blob.sha256:
            raise Damaged(f"the blob {blob.sha256} was changed on disk")
        return data

    def marks(self, blob: Blob) -> tuple[int, ...] | None:
        """Return what differs whenever the file of a name was touched, None where there is no such file.

        Size, times, inode and device; the time of the last change of an inode cannot be set back.
        """
        try:
            found = self._path(blob).stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev

    def remove(self, blob: Blob) -> None:
        """Drop bytes; dropping what is not here is no error."""
        self._path(blob).unlink(missing_ok=True)

    def size(self) -> int:
        """Return how many bytes all files of the folder take; one that goes meanwhile is not counted."""
        total = 0
        for file in self._folder.glob("*/*"):
            with suppress(OSError):
                total += file.stat().st_size
        return total

    def named_by(self, path: Path) -> str:
        """Return the SHA-256 that a file of this folder is named by; an empty text when its name is not its bytes'.

        Args:
            path: A file in the folder; a sealed one is opened for it.
        """
        try:
            with open(path, "rb") as file:
                if self._keys is None:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                else:
                    found = hashlib.sha256(self._keys.blobs.opened(file, PURPOSE)).hexdigest()
        except (Damaged, OSError):
            return ""
        return found if path.name == (found if self._keys is None else self._keys.name(found)) else ""

    def _read(self, path: Path) -> bytes:
        if self._keys is None:
            return path.read_bytes()
        with open(path, "rb") as file:
            return bytes(self._keys.blobs.opened(file, PURPOSE))

    def _holds(self, path: Path, blob: Blob) -> bool:
        try:
            return hashlib.sha256(self._read(path)).hexdigest() == blob.sha256
        except Damaged:
            return False

    def _path(self, blob: Blob) -> Path:
        name = blob.sha256 if self._keys is None else self._keys.name(blob.sha256)
        return self._folder / name[:2] / name
