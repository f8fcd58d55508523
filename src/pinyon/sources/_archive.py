"""Open zip files that strangers made, without unpacking more than the limits allow."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UnreadableSource
from .base import Limits

__all__ = ["Archive"]

_PIECE = 2**20
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,  # a damaged bzip2 stream; seeking before the start
    NotImplementedError,  # a way of packing that zipfile does not know
    RuntimeError,  # a member that asks for a password
    ValueError,
    OverflowError,
)


class Archive:
    """The members of a zip file, read one by one against a common budget.

    Args:
        data: The zip file.
        name: What to call it in an error.
        limits: Largest numbers of members, unpacked bytes and ratio.

    Raises:
        UnreadableSource: It is no sound zip file, or has too many members.
    """

    def __init__(self, data: bytes, name: str, limits: Limits) -> None:
        self._name = name
        self._limits = limits
        self._left = limits.max_unpacked_bytes
        with self._told():
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        members = self._zip.infolist()
        if len(members) > limits.max_members:
            raise UnreadableSource(
                f"{name!r} is an archive of {len(members)} members, more than {limits.max_members}",
                hint="unpack it and add the folder",
            )
        self.members = {member.filename: member for member in members}

    def read(self, member: str) -> bytes:
        """Return one member unpacked.

        Raises:
            UnreadableSource: It is missing, broken, locked, or unpacks beyond the limits.
        """
        info = self.members.get(member)
        if info is None:
            raise UnreadableSource(f"{self._name!r} is broken: it lacks {member!r}", hint="export or save it again")
        if info.flag_bits & 1:
            raise UnreadableSource(f"{self._name!r} is encrypted", hint="save it without a password")
        unpacked = bytearray()
        with self._told(), self._zip.open(info) as stream:
            for piece in iter(lambda: stream.read(_PIECE), b""):
                unpacked += piece
                self._weigh(len(unpacked), info)
        self._left -= len(unpacked)
        return bytes(unpacked)

    def _weigh(self, size: int, info: zipfile.ZipInfo) -> None:
        if size > self._left:
            raise UnreadableSource(
                f"{self._name!r} unpacks to more than {self._limits.max_unpacked_bytes} bytes",
                hint="raise Limits.max_unpacked_bytes if you trust it",
            )
        if size > self._limits.ratio_from_bytes and size > self._limits.max_ratio * max(info.compress_size, 1):
            raise UnreadableSource(
                f"{self._name!r} unpacks to more than {self._limits.max_ratio} times its size, as a zip bomb does",
                hint="raise Limits.max_ratio if you trust it",
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one sentence what the many exceptions of zipfile mean."""
        try:
            yield
        except UnreadableSource:
            raise
        except _BROKEN as error:
            raise UnreadableSource(
                f"{self._name!r} is broken: not a whole zip archive", hint="copy or download it again"
            ) from error
