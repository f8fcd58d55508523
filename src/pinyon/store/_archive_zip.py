"""The file of an archive: a zip file that is written in one way only, and that is read only when it is so written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO

from ..core.payload import Json, canonical
from ..errors import BadInput, Damaged, PinyonError
from ._archive_seal import Seal

__all__ = ["FIRST", "FORMAT", "ArchiveLimits", "Packer", "Unpacker"]

FORMAT = "pinyon-archive"
FIRST = "cubes.jsonl"
MANIFEST = "manifest.json"
_NAMES = frozenset({FIRST, MANIFEST, "journal.jsonl", "audit.jsonl", "policy.json"})
_BLOB = re.compile(r"blobs/[0-9a-f]{64}")
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that zip knows: equal content gives equal bytes
_MODE = 0o100600 << 16
_PIECE = 2**20
_END_BYTES = 22  # the last record of a zip file without a comment
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much an archive may ask of the machine before it is refused; every field must be >= 1."""

    max_bytes: int = 2**40  # unpacked, all members together
    max_members: int = 10**6  # each takes some 500 bytes of memory
    max_ratio: int = 200  # of a packed member; seals do not pack, so true ones stay below 20
    ratio_from_bytes: int = 10 * 2**20  # smaller members harm nobody
    max_line_bytes: int = 2**29  # a cube with all its versions is held in memory
    max_manifest_bytes: int = 2**28  # a million blobs take half of it

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise BadInput(f"{item.name} must be >= 1, got {getattr(self, item.name)!r}")


class Packer:
    """Writes members one after the other; equal content gives equal bytes.

    Args:
        file: Opened for writing and seeking.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w")
        self.members: dict[str, Json] = {}
        self.manifest: dict[str, Json] = {}

    @contextmanager
    def member(self, name: str, *, is_packed: bool = True) -> Iterator[Callable[[bytes], None]]:
        """Give a function that writes to a member."""
        info = zipfile.ZipInfo(name, _DATE)
        info.create_system, info.external_attr = 3, _MODE
        info.compress_type = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
        seen, size = hashlib.sha256(), 0
        with self._zip.open(info, "w", force_zip64=True) as stream:

            def put(data: bytes) -> None:
                nonlocal size
                seen.update(data)
                size += len(data)
                stream.write(data)

            yield put
        self.members[name] = {"bytes": size, "sha256": seen.hexdigest()}

    def finish(self, manifest: Mapping[str, Json], seal: Seal | None = None) -> None:
        """Write the manifest, sealed where a key is given, and the end of the file."""
        said: dict[str, Json] = {**manifest, "members": dict(self.members)}
        if seal is not None:
            said["seal"] = {"key": seal.key_id, "mac": seal.of(canonical(said).encode())}
        self.manifest = said
        with self.member(MANIFEST) as put:
            put(canonical(said).encode())
        self._zip.close()

    def close(self) -> None:
        """Close what was begun; without `finish` it is no archive."""
        self._zip.close()


class Unpacker:
    """Reads members of an archive, each against what the manifest says of it.

    Args:
        path: The file.
        limits: What it may ask of the machine.

    Raises:
        Damaged: It is cut off, was changed, or is no archive.
        BadInput: It holds what no archive holds, or unpacks beyond the limits.
    """

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        self.path = path
        self._limits = limits
        self._file = open(path, "rb")  # noqa: SIM115  # closed by `close`
        try:
            with self._told("its directory"):
                self._zip = zipfile.ZipFile(self._file)
                self._infos = self._listed()
            self.manifest = self._manifest()
            self.sizes: dict[str, tuple[int, str]] = self._sizes()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def said(self, member: str) -> Damaged:
        """Return the error for a member that is not as it was written."""
        return Damaged(
            f"the archive {self.path} is cut off or was changed: {member} is not as it was written",
            hint="nothing was imported; take another copy",
        )

    def has(self, member: str) -> bool:
        """Return whether there is such a member."""
        return member in self.sizes

    def pieces(self, member: str) -> Iterator[bytes]:
        """Yield the bytes of a member; at the end they have been compared with the manifest.

        Raises:
            Damaged: They are not those that were written.
        """
        if member not in self.sizes:
            raise Damaged(f"the archive {self.path} lacks {member}", hint="take another copy")
        size, digest = self.sizes[member]
        seen, left = hashlib.sha256(), size
        for piece in self._raw(member):
            seen.update(piece)
            left -= len(piece)
            if left < 0:
                raise self.said(member)
            yield piece
        if left or seen.hexdigest() != digest:
            raise self.said(member)

    def lines(self, member: str) -> Iterator[bytes]:
        """Yield the lines of a member, each with its end.

        Raises:
            Damaged: As for `pieces`, or the last line has no end.
            BadInput: A line is longer than the limits allow.
        """
        begun: list[bytes] = []
        held = 0
        for piece in self.pieces(member):
            head, *rest = piece.split(b"\n")
            begun.append(head)
            held += len(head)
            self._weigh_line(member, held)
            for part in rest:
                yield b"".join(begun) + b"\n"
                begun, held = [part], len(part)
                self._weigh_line(member, held)
        if held:
            raise self.said(member)

    def _weigh_line(self, member: str, size: int) -> None:
        if size > self._limits.max_line_bytes:
            raise BadInput(
                f"{member} of the archive {self.path} has a line of over {self._limits.max_line_bytes} bytes",
                hint="raise ArchiveLimits.max_line_bytes if you trust it",
            )

    def read(self, member: str) -> bytes:
        """Return the bytes of a member."""
        return b"".join(self.pieces(member))

    def _raw(self, member: str) -> Iterator[bytes]:
        with self._told(member), self._zip.open(self._infos[member]) as stream:
            while piece := stream.read(_PIECE):
                yield piece

    def _listed(self) -> dict[str, zipfile.ZipInfo]:
        """Return the members by name, when the file is one that `Packer` wrote."""
        infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
        if len(infos) > self._limits.max_members:
            raise BadInput(
                f"the archive {self.path} has {len(infos)} members, more than {self._limits.max_members}",
                hint="raise ArchiveLimits.max_members if you trust it",
            )
        found: dict[str, zipfile.ZipInfo] = {}
        end = total = 0
        for info in infos:
            name = info.filename
            if info.orig_filename not in _NAMES and not _BLOB.fullmatch(info.orig_filename):
                raise BadInput(f"the archive {self.path} holds {name!r}, which no archive of pinyon holds")
            if name in found:
                raise BadInput(f"the archive {self.path} holds {name!r} twice")
            if info.external_attr != _MODE or info.create_system != 3:
                raise BadInput(f"{name!r} in the archive {self.path} is no plain file")
            head = _head_of(info)
            self._file.seek(info.header_offset)
            if info.comment or info.header_offset != end or self._file.read(len(head)) != head:
                raise self.said(name)
            found[name] = info
            end = info.header_offset + len(head) + info.compress_size
            total += info.file_size
            self._weigh(info, total)
        self._file.seek(-_END_BYTES, os.SEEK_END)
        tail = self._file.read()
        if not tail.startswith(b"PK\x05\x06") or not tail.endswith(b"\x00\x00") or self._zip.start_dir != end:
            raise self.said("its directory")
        return found

    def _weigh(self, info: zipfile.ZipInfo, total: int) -> None:
        limits = self._limits
        if total > limits.max_bytes:
            raise BadInput(
                f"the archive {self.path} unpacks to more than {limits.max_bytes} bytes",
                hint="raise ArchiveLimits.max_bytes if you trust it",
            )
        if info.file_size > max(limits.ratio_from_bytes, limits.max_ratio * max(info.compress_size, 1)):
            raise BadInput(
                f"{info.filename!r} in the archive {self.path} unpacks to more than {limits.max_ratio} times its size,"
                " as a zip bomb does",
                hint="raise ArchiveLimits.max_ratio if you trust it",
            )

    def _manifest(self) -> Mapping[str, Json]:
        if MANIFEST not in self._infos:
            raise Damaged(f"{self.path} is no archive of pinyon: it lacks {MANIFEST}")
        if self._infos[MANIFEST].file_size > self._limits.max_manifest_bytes:
            raise BadInput(
                f"{MANIFEST} of the archive {self.path} has over {self._limits.max_manifest_bytes} bytes",
                hint="raise ArchiveLimits.max_manifest_bytes if you trust it",
            )
        data = b"".join(self._raw(MANIFEST))
        try:
            said = json.loads(data)
            if isinstance(said, dict) and said.get("format") == FORMAT:
                return said
        except (ValueError, RecursionError):
            pass
        raise self.said(MANIFEST)

    def _sizes(self) -> dict[str, tuple[int, str]]:
        """Return sizes and digests by member, when the manifest names the members that are there."""
        try:
            said = {name: (int(m["bytes"]), str(m["sha256"])) for name, m in self.manifest["members"].items()}  # type: ignore[union-attr,index,call-overload,arg-type]  # JSON objects
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.said(MANIFEST) from error
        there = {name for name in self._infos if name != MANIFEST}
        for name in sorted(there.symmetric_difference(said)):
            raise Damaged(f"the archive {self.path} is cut off or was changed: {name} is not as {MANIFEST} says")
        for name, (size, digest) in said.items():
            is_other = name.startswith("blobs/") and name != f"blobs/{digest}"
            if size != self._infos[name].file_size or is_other:
                raise self.said(name)
        return said

    @contextmanager
    def _told(self, member: str) -> Iterator[None]:
        """Say in one sentence what the many exceptions of zipfile mean."""
        try:
            yield
        except PinyonError:
            raise
        except _BROKEN as error:
            raise self.said(member) from error


def _head_of(info: zipfile.ZipInfo) -> bytes:
    """Return what `Packer` writes before a member."""
    plain = zipfile.ZipInfo(info.filename, _DATE)
    plain.create_system, plain.external_attr = 3, _MODE
    plain.compress_type = info.compress_type
    plain.CRC, plain.compress_size, plain.file_size = info.CRC, info.compress_size, info.file_size
    return plain.FileHeader(zip64=True)
