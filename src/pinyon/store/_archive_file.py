"""An archive that is open for reading: its cubes, what was done to them, its journal, its blobs."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from ..core.clock import from_micros
from ..core.cube import Cube
from ..core.events import Event, Head, chain_of
from ..core.payload import Blob, Delta, State
from ..errors import Damaged, TooNew
from ._archive_first import check_first, read_first
from ._archive_lines import (
    UNREADABLE,
    Archived,
    Told,
    audit_of_line,
    cube_of_line,
    event_of_line,
    id_of_line,
    told_line,
    told_of,
    told_of_line,
    version_of_line,
)
from ._archive_seal import Sealed, check_seal, sealed_in
from ._archive_zip import FIRST, FORMAT, ArchiveLimits, Unpacker
from .side import AuditEntry

__all__ = ["SCHEMA", "VERSION", "Manifest", "OpenArchive", "Progress", "blobs_named", "is_archive"]

VERSION = 2
SCHEMA = 2
"""Of what lines say: 1 knew no rights beside sensitivity, 2 is that of `header_to_json` with all of them."""

Progress = Callable[[int, int], object]
"""Told how many cubes are done, and how many there are."""

_OLD = b'{"format":"pinyon-archive"'
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself.

    Args:
        version: Of its form.
        schema: Of what its lines say.
        created: When it was written; None for version 1.
        extent: ``whole`` for everything of a store with its journal, ``part`` for some cubes with theirs.
        cubes: Their number.
        versions: Number of all their versions.
        events: Number of entries of the journal.
        blobs: Number of blobs.
        head: End of the journal it was written from.
        seal: What it says of its seal, or None; `OpenArchive.check_seal` proves it.
    """

    version: int
    schema: int
    created: datetime | None
    extent: Literal["whole", "part"]
    cubes: int
    versions: int
    events: int
    blobs: int
    head: Head
    seal: Sealed | None = None


def is_archive(head: bytes) -> bool:
    """Return whether the first bytes of a file, at least 40, are those of an archive."""
    if head.startswith(_ZIP):
        return len(head) > 34 and FIRST.encode().startswith(head[30:41])
    return head.startswith(_OLD)


class OpenArchive:
    """An archive of either version.

    Args:
        path: The file.
        limits: What it may ask of the machine.

    Attributes:
        manifest: What it says of itself.

    Raises:
        Damaged: It is no archive, is cut off, or was changed.
        TooNew: A later version of pinyon wrote it.
        BadInput: It holds what no archive holds, or unpacks beyond the limits.
    """

    def __init__(self, path: Path, limits: ArchiveLimits | None = None) -> None:
        self.path = path
        self._zip: Unpacker | None = None
        self._spool: _Spool | None = None
        self._lines: _Spool | None = None
        with open(path, "rb") as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
        if is_zip:
            self._zip = Unpacker(path, limits or ArchiveLimits())
            try:
                self.manifest = _manifest(self._zip)
            except BaseException:
                self._zip.close()
                raise
        else:
            number = check_first(path)
            self.manifest = Manifest(1, 1, None, "part", number, 0, 0, 0, Head())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._zip is not None:
            self._zip.close()
        for spool in (self._spool, self._lines):
            if spool is not None:
                spool.close()

    def check(self, progress: Progress | None = None, visit: Callable[[Cube, Cube], object] | None = None) -> None:
        """Read everything once without using it: digests, seals, counts, blobs, and the chain of a whole journal.

        Args:
            progress: Told of cubes as they are read.
            visit: Given the first and the last version of each cube.

        Raises:
            Damaged: Something is not as it was written; the message names the member.
        """
        named: set[str] = set()
        cubes = versions = 0
        for thing in self.cubes():
            cubes, versions = cubes + 1, versions + len(thing.chain)
            named |= {blob.sha256 for cube in thing.chain for blob in blobs_named(cube)}
            if visit is not None:
                visit(thing.chain[0], thing.cube)
            if progress is not None:
                progress(cubes, self.manifest.cubes)
        if self._zip is None:
            return
        self._check_blobs(named)
        events = sum(1 for _ in (self.changes() if self.manifest.extent == "whole" else self._told()))
        for _ in self.audit():
            pass
        self.rules()
        said = (self.manifest.cubes, self.manifest.versions, self.manifest.events, self.manifest.blobs)
        if said != (cubes, versions, events, len(named)):
            raise self._zip.said("manifest.json")

    def check_seal(self, key: bytes) -> Sealed:
        """Return what the archive says of its seal, when the seal is that of a key.

        It covers the manifest, and so the digest of every member: `check` looks whether they are those.

        Args:
            key: 32 bytes.

        Raises:
            BadInput: It bears no seal.
            WrongKey: It was sealed with another key.
            Damaged: It was changed after it was sealed.
        """
        return check_seal(self.path, {} if self._zip is None else self._zip.manifest, key)

    def all_told(self) -> Iterator[Told]:
        """Yield what was done to cubes, as far as the archive tells."""
        if self._zip is not None:
            yield from map(told_of, self.journal()) if self.manifest.extent == "whole" else self._told()

    def digest(self, member: str = FIRST) -> str:
        """Return the SHA-256 of a member as the manifest says it; empty where there is none."""
        return "" if self._zip is None or not self._zip.has(member) else self._zip.sizes[member][1]

    def _check_blobs(self, named: set[str]) -> None:
        if self._zip is None:
            return
        there = {name.removeprefix("blobs/") for name in self._zip.sizes if name.startswith("blobs/")}
        for digest in sorted(named.symmetric_difference(there)):
            raise self._zip.said(f"blobs/{digest}")
        for digest in sorted(there):
            for _ in self._zip.pieces(f"blobs/{digest}"):
                pass

    def cubes(self) -> Iterator[Archived]:
        """Yield the cubes with their versions, in the order in which they were written; nothing is told of them."""
        if self._zip is None:
            yield from read_first(self.path)
            return
        seen: set[bytes] = set()
        for line in self._zip.lines(FIRST):
            thing = cube_of_line(line, f"the archive {self.path}")
            if (key := bytes.fromhex(thing.cube.id)) in seen:
                raise Damaged(f"the archive {self.path} holds cube {thing.cube.id} twice")
            seen.add(key)
            yield thing

    def told(self, thing: Archived) -> Archived:
        """Return a cube together with what was done to it."""
        if self._zip is None:
            return thing
        if self._spool is None:
            self._spool = _Spool(self._told_by_cube())
        where = f"the archive {self.path}"
        seals = {cube.version: cube.hash for cube in thing.chain}
        told = tuple(told_of_line(line, where) for line in self._spool.of(thing.cube.id))
        if any(seals.get(each.version) != each.hash for each in told):
            raise self._zip.said("journal.jsonl")
        return replace(thing, told=told)

    def journal(self) -> Iterator[Event]:
        """Yield the entries of the journal of a whole archive; each follows from the one before.

        Raises:
            Damaged: One does not.
        """
        if self._zip is None or self.manifest.extent != "whole":
            return
        chain, seq = Head().chain, 0
        for line in self._zip.lines("journal.jsonl"):
            e = event_of_line(line, f"the archive {self.path}")
            seq, time = seq + 1, e.time
            chain = chain_of(
                chain, seq=seq, time=time, op=e.op, actor=e.actor, space=e.space, cube=e.cube, row=e.row,
                version=e.version, hash=e.hash, detail=e.detail,
            )  # fmt: skip
            if (e.seq, e.chain) != (seq, chain):
                raise Damaged(f"entry {seq} of journal.jsonl in the archive {self.path} does not follow from the last")
            yield e
        if (seq, chain) != (self.manifest.head.seq, self.manifest.head.chain):
            raise self._zip.said("journal.jsonl")

    def changes(self) -> Iterator[tuple[Event, Cube | None]]:
        """Yield the entries of a whole archive, each with the version it made; None where that was forgotten later.

        Check it first.

        Raises:
            Damaged: Cubes and journal do not agree.
        """
        if self._zip is None:
            return
        where = f"the archive {self.path}"
        if self._lines is None:
            self._lines = _Spool((id_of_line(line), line) for line in self._zip.lines(FIRST))
        lost: dict[str, int] = {}
        found = 0
        for e in self.journal():
            if e.version == 0:
                lost.pop(e.cube, None)
                yield e, None
                continue
            line = next(iter(self._lines.of(e.cube)), None)
            made = None if line is None else version_of_line(line, e.version)
            if line is None:
                lost[e.cube] = e.seq
            elif made is None or made.hash != e.hash:
                raise Damaged(f"entry {e.seq} of journal.jsonl in {where} names a version that is not there")
            found += made is not None
            yield e, made
        if found < self.manifest.versions:
            raise Damaged(f"{where} holds versions that no entry of journal.jsonl names")
        for id, seq in lost.items():
            raise Damaged(f"entry {seq} of journal.jsonl in {where} names cube {id}, which is not there")

    def blob(self, blob: Blob) -> bytes:
        """Return the bytes of a name.

        Raises:
            Damaged: They are not there, or not those that were written.
        """
        if self._zip is None:
            raise Damaged(f"the archive {self.path} lacks the blob {blob.sha256}")
        return self._zip.read(f"blobs/{blob.sha256}")

    def rules(self) -> dict[str, str]:
        """Return what was ruled where the archive was written, as settings of a store."""
        if self._zip is None or not self._zip.has("policy.json"):
            return {}
        try:
            said = json.loads(self._zip.read("policy.json"))
            return {str(key): str(value) for key, value in said.items()}
        except UNREADABLE as error:
            raise self._zip.said("policy.json") from error

    def audit(self) -> Iterator[AuditEntry]:
        """Yield the entries of the audit; they are evidence about another store and are never imported."""
        if self._zip is not None and self._zip.has("audit.jsonl"):
            for line in self._zip.lines("audit.jsonl"):
                yield audit_of_line(line, f"the archive {self.path}")

    def _told(self) -> Iterator[Told]:
        if self._zip is not None:
            for line in self._zip.lines("journal.jsonl"):
                yield told_of_line(line, f"the archive {self.path}")

    def _told_by_cube(self) -> Iterator[tuple[str, bytes]]:
        entries = map(told_of, self.journal()) if self.manifest.extent == "whole" else self._told()
        return ((told.cube, told_line(told)) for told in entries if told.version)


class _Spool:
    """Lines by key in a file of their own that goes when it is closed, so that they need not fit into memory."""

    def __init__(self, lines: Iterator[tuple[str, bytes]]) -> None:
        self._db = sqlite3.connect("")
        self._db.execute("CREATE TABLE lines (n INTEGER PRIMARY KEY, key BLOB, line BLOB)")
        self._db.executemany("INSERT INTO lines (key, line) VALUES (?, ?)", ((_key(key), line) for key, line in lines))
        self._db.execute("CREATE INDEX by_key ON lines (key)")

    def of(self, key: str) -> list[bytes]:
        """Return the lines of a key, in order."""
        found = self._db.execute("SELECT line FROM lines WHERE key = ? ORDER BY n", (_key(key),))
        return [line for (line,) in found]

    def close(self) -> None:
        """Drop the file."""
        self._db.close()


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def blobs_named(cube: Cube) -> tuple[Blob, ...]:
    """Return the blobs that a version names."""
    return cube.payload.blobs if isinstance(cube.payload, (State, Delta)) else ()


def _manifest(file: Unpacker) -> Manifest:
    said = file.manifest
    try:
        version, schema = int(said["version"]), int(said["schema"])  # type: ignore[arg-type]  # JSON numbers
        if version > VERSION or schema > SCHEMA:
            raise TooNew(
                f"the archive {file.path} has version {version} and schema {schema},"
                f" this pinyon knows {VERSION} and {SCHEMA}",
                hint="pip install --upgrade pinyon",
            )
        counts, head, extent = _object(said["counts"]), _object(said["head"]), str(said["extent"])
        if said["format"] != FORMAT or extent not in ("whole", "part"):
            raise ValueError(extent)
        return Manifest(
            version,
            schema,
            from_micros(int(said["created"])),  # type: ignore[arg-type]
            "whole" if extent == "whole" else "part",
            cubes=int(counts["cubes"]),
            versions=int(counts["versions"]),
            events=int(counts["events"]),
            blobs=int(counts["blobs"]),
            head=Head(int(head["seq"]), str(head["chain"]), int(head["time"])),
            seal=sealed_in(said),
        )
    except UNREADABLE as error:
        raise file.said("manifest.json") from error


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(type(value).__name__)
    return value
