"""Memories as one file: everything that is needed to have them again elsewhere.

A zip file of ``cubes.jsonl`` (one line a cube with all its versions), ``blobs/<SHA-256>``, ``journal.jsonl`` (what was
done to these cubes, or the whole journal when everything is there), perhaps ``audit.jsonl`` and ``policy.json``, and
last ``manifest.json`` with number, size and SHA-256 of everything. Equal content gives equal bytes. A cut or changed
archive, or one that holds anything else, is noticed before anything is written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import IO, Literal

from ..core.clock import micros
from ..core.cube import Cube, seal_hash
from ..core.events import Event, Head
from ..core.payload import Blob, Json, canonical
from ..errors import BadInput, Damaged, PinyonError, StoreError
from ..files import whole_file
from ._archive_file import SCHEMA, VERSION, Manifest, OpenArchive, Progress, blobs_named, is_archive
from ._archive_lines import Archived, Told, audit_line, cube_line, event_line, told_line, told_of
from ._archive_seal import Seal, Sealed, archive_id, marks_in, recipient_of, sealed_in
from ._archive_take import Rescope, Taken, import_archive, may_add, restore_archive
from ._archive_zip import FIRST, FORMAT, ArchiveLimits, Packer
from .base import Engine
from .blobs import Blobs
from .side import AuditEntry

__all__ = [
    "ArchiveLimits",
    "Archived",
    "Extras",
    "Manifest",
    "OpenArchive",
    "Progress",
    "Rescope",
    "Seal",
    "Sealed",
    "Taken",
    "Told",
    "blobs_of",
    "check_archive",
    "export_all",
    "export_cubes",
    "export_things",
    "import_archive",
    "is_archive",
    "marks_in",
    "may_add",
    "read_archive",
    "recipient_of",
    "restore_archive",
]

_PAGE = 500  # cubes a look at the store
_TRIES = 2  # exports of everything beside writers, before these are asked to wait

Redactor = Callable[[Cube], Cube | None]
"""Returns a version with another payload or header, the same, or None to leave the whole cube out."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What an archive may hold beside memories.

    Args:
        rules: What is ruled, as the settings of the store that the journal seals.
        audit: What was asked for and decided; read once.
    """

    rules: Mapping[str, str] = field(default_factory=dict)
    audit: Iterable[AuditEntry] = ()


def export_cubes(
    engine: Engine,
    cubes: Iterable[Cube],
    path: Path,
    *,
    created: datetime,
    redact: Redactor | None = None,
    extras: Extras | None = None,
    progress: Progress | None = None,
    seal: Seal | None = None,
) -> Manifest:
    """Write cubes with their versions, what was done to them, and their blobs into an archive.

    Args:
        engine: Where they rest.
        cubes: As the caller may see them, read once.
        path: The archive; one that is there is replaced when the new one is whole.
        created: Time to write into it.
        redact: Asked for each version of each cube.
        extras: What it holds beside them.
        progress: Told of cubes as they are done; how many there are is not known, and said as 0.
        seal: How it is sealed, and for whom; None leaves it without.

    Raises:
        StoreError: It cannot be written.
    """

    def things() -> Iterator[Archived]:
        for cube in cubes:
            thing = _with_past(engine, cube)
            kept = thing if redact is None else _redacted(thing, redact)
            if kept is not None:
                yield kept

    return export_things(
        engine.blobs, things(), path, created=created, head=engine.head(), extras=extras, progress=progress, seal=seal
    )


def export_things(
    blobs: Blobs,
    things: Iterable[Archived],
    path: Path,
    *,
    created: datetime,
    head: Head | None = None,
    extras: Extras | None = None,
    progress: Progress | None = None,
    seal: Seal | None = None,
) -> Manifest:
    """Write cubes into an archive with what they bring along; the arguments are those of `export_cubes`.

    Args:
        blobs: Where the bytes of their payloads rest.
        things: The cubes, read once.
        path: The archive; one that is there is replaced when the new one is whole.
        created: Time to write into it.
        head: End of the journal they come from, or None to say nothing of it.
        extras: What it holds beside them.
        progress: Told of cubes as they are done.
        seal: How it is sealed, and for whom.

    Raises:
        StoreError: It cannot be written.
    """
    end = head or Head()
    mark = _mark(seal, micros(created), end)
    with _packing(path, blobs, seal) as packing, tempfile.TemporaryFile() as journal:
        with packing.pack.member(FIRST) as put:
            for thing in things:
                put(packing.line(thing))
                told = thing.told if seal is None or not mark else seal.marked(thing.told, mark)
                journal.writelines(map(told_line, told))
                packing.events += len(told)
                if progress is not None:
                    progress(packing.cubes, 0)
        journal.seek(0)
        with packing.pack.member("journal.jsonl") as put:
            while piece := journal.read(2**20):
                put(piece)
        return packing.finish("part", end, created, extras or Extras(), mark)


def _mark(seal: Seal | None, created: int, head: Head) -> str:
    """Return the mark of an archive, or an empty text when it is written for nobody in particular."""
    if seal is None or seal.recipient is None:
        return ""
    return seal.mark(seal.recipient, archive_id(created, head.seq, head.chain))


def export_all(
    engine: Engine,
    path: Path,
    *,
    created: datetime,
    extras: Extras | None = None,
    progress: Progress | None = None,
    seal: Seal | None = None,
) -> Manifest:
    """Write everything of a store, with its whole journal, into an archive that `restore_archive` reads.

    For whoever runs the store: nobody's rights are asked.

    Args:
        engine: The store.
        path: The archive; one that is there is replaced when the new one is whole.
        created: Time to write into it.
        extras: What it holds beside memories.
        progress: Told of entries of the journal as they are done.
        seal: How it is sealed; it can bear no mark, for its journal stays as it is.

    Raises:
        BadInput: The seal names a recipient.
        StoreError: It cannot be written.
    """
    if seal is not None and seal.recipient is not None:
        raise BadInput(
            "an archive of everything bears no mark of a recipient, for its journal stays as it is",
            hint="leave out --for, or export without --everything",
        )
    kept = extras or Extras()
    kept = replace(kept, audit=list(kept.audit))  # it may be written more than once
    for _ in range(_TRIES):
        try:
            return _export_all(engine, path, created, kept, progress, seal)
        except _Moved:
            continue
    with engine.transaction():  # writers wait
        return _export_all(engine, path, created, kept, progress, seal)


class _Moved(Exception):
    """Somebody wrote while everything was read."""


def _export_all(
    engine: Engine, path: Path, created: datetime, extras: Extras, progress: Progress | None, seal: Seal | None
) -> Manifest:
    with _packing(path, engine.blobs, seal) as packing:
        head = engine.head()
        rules: dict[str, str] = {}
        with packing.pack.member(FIRST) as put:
            for page in _pages(_journal(engine, head)):
                for thing in _created(engine, page):
                    put(packing.line(thing))
                if progress is not None:
                    progress(page[-1].seq, head.seq)
        with packing.pack.member("journal.jsonl") as put:
            for event in _journal(engine, head):
                put(event_line(event))
                packing.events += 1
                if event.op == "policy" and (value := engine.setting(key := str(event.detail.get("key")))) is not None:
                    rules[key] = value
        if engine.head() != head:
            raise _Moved
        return packing.finish("whole", head, created, replace(extras, rules={**extras.rules, **rules}))


def _journal(engine: Engine, head: Head) -> Iterator[Event]:
    after = 0
    while after < head.seq:
        events = engine.journal(after, min(_PAGE, head.seq - after))
        if not events:
            raise Damaged(f"the journal of {engine.location} misses the entries from {after + 1} on")
        yield from events
        after = events[-1].seq


def _pages(events: Iterator[Event]) -> Iterator[list[Event]]:
    while page := list(islice(events, _PAGE)):
        yield page


def _created(engine: Engine, page: Sequence[Event]) -> Iterator[Archived]:
    """Yield the cubes that some entries created and that are still there, in order of their rows."""
    rows = [event.row for event in page if event.seq == event.row]
    cubes = engine.by_rows(rows)
    past: dict[int, list[Cube]] = {}
    for old in engine.past([row for row, cube in cubes.items() if cube.version > 1]):
        past.setdefault(old.row, []).append(old)
    for row in rows:
        if row in cubes:
            yield Archived(cubes[row], tuple(past.get(row, ())))


def _with_past(engine: Engine, cube: Cube) -> Archived:
    """Return a cube with its versions and what was done to it, up to the version that was read."""
    versions = engine.versions(cube.id) if cube.version > 1 else []
    told = [told_of(event) for event in engine.events_of(cube.id) if 0 < event.version <= cube.version]
    return Archived(cube, tuple(old for old in versions if old.version < cube.version), told=tuple(told))


def _redacted(thing: Archived, redact: Redactor) -> Archived | None:
    """Return a cube as it may leave, sealed again from its first version that was changed."""
    sealed: list[Cube] = []
    parent = thing.chain[0].parent
    for cube in thing.chain:
        said = redact(cube)
        if said is None:
            return None
        seal = seal_hash(said.payload, said.header, parent)
        sealed.append(replace(cube, payload=said.payload, header=said.header, parent=parent, hash=seal))
        parent = seal
    seals = {cube.version: cube.hash for cube in sealed}
    told = tuple(replace(each, hash=seals[each.version]) for each in thing.told if each.version in seals)
    return Archived(sealed[-1], tuple(sealed[:-1]), told=told)


class _Packing:
    """An archive that is being written."""

    def __init__(self, file: IO[bytes], blobs: Blobs, seal: Seal | None = None) -> None:
        self.pack = Packer(file)
        self._seal = seal
        self.cubes = self.versions = self.events = 0
        self._blobs = blobs
        self._named: dict[str, Blob] = {}

    def line(self, thing: Archived) -> bytes:
        """Return the line of a cube, and keep in mind what it names."""
        self.cubes += 1
        self.versions += len(thing.chain)
        self._named |= {blob.sha256: blob for cube in thing.chain for blob in blobs_named(cube)}
        return cube_line(thing)

    def finish(
        self, extent: Literal["whole", "part"], head: Head, created: datetime, extras: Extras, mark: str = ""
    ) -> Manifest:
        """Write what comes after cubes and journal."""
        for digest in sorted(self._named):
            with self.pack.member(f"blobs/{digest}", is_packed=False) as put:
                put(self._blobs.get(self._named[digest]))
        audits = 0
        entries = iter(extras.audit)
        if (first := next(entries, None)) is not None:
            with self.pack.member("audit.jsonl") as put:
                for entry in chain((first,), entries):
                    put(audit_line(entry))
                    audits += 1
        if extras.rules:
            with self.pack.member("policy.json") as put:
                put(canonical(dict(extras.rules)).encode())
        counts: dict[str, Json] = {
            "cubes": self.cubes,
            "versions": self.versions,
            "events": self.events,
            "blobs": len(self._named),
            "audit": audits,
        }
        said: dict[str, Json] = {
            "format": FORMAT,
            "version": VERSION,
            "schema": SCHEMA,
            "created": micros(created),
            "extent": extent,
            "counts": counts,
            "head": {"seq": head.seq, "chain": head.chain, "time": head.time},
        }
        if self._seal is not None and self._seal.recipient is not None:
            said |= {"for": self._seal.recipient, "mark": mark}
        self.pack.finish(said, self._seal)
        return Manifest(
            VERSION,
            SCHEMA,
            created,
            extent,
            self.cubes,
            self.versions,
            self.events,
            len(self._named),
            head,
            sealed_in(self.pack.manifest),
        )


@contextmanager
def _packing(path: Path, blobs: Blobs, seal: Seal | None = None) -> Iterator[_Packing]:
    """Give an archive to write, that takes its place when it is whole."""
    with _aside(path) as file:
        packing = _Packing(file, blobs, seal)
        try:
            yield packing
        finally:
            packing.pack.close()


@contextmanager
def _aside(path: Path) -> Iterator[IO[bytes]]:
    """Give a file beside a path that takes its place when it is whole and has reached the disk."""
    try:
        with whole_file(path) as file:
            yield file
    except OSError as error:
        if isinstance(error, PinyonError):
            raise
        raise StoreError(f"the archive {path} cannot be written: {error.strerror}") from error


def check_archive(
    path: Path,
    *,
    limits: ArchiveLimits | None = None,
    progress: Progress | None = None,
    seal_key: bytes | None = None,
) -> Manifest:
    """Read an archive once without using it; return what it says of itself.

    Args:
        path: The archive.
        limits: What it may ask of the machine.
        progress: Told of cubes as they are read.
        seal_key: The archive must bear the seal of this key; None asks for none.

    Raises:
        Damaged: It is cut off or was changed; the message names the member.
        WrongKey: It was sealed with another key.
        TooNew: A later version of pinyon wrote it.
        BadInput: It holds what no archive holds, or unpacks beyond the limits.
    """
    with OpenArchive(path, limits) as archive:
        if seal_key is not None:
            archive.check_seal(seal_key)
        archive.check(progress)
        return archive.manifest


def read_archive(path: Path, *, limits: ArchiveLimits | None = None) -> Iterator[Archived]:
    """Yield what an archive holds, each cube with what was done to it; check it first with `check_archive`.

    Raises:
        Damaged: A cube in it does not match its seal.
    """
    with OpenArchive(path, limits) as archive:
        yield from map(archive.told, archive.cubes())


def blobs_of(cube: Cube, blobs: Blobs) -> tuple[bytes, ...]:
    """Return the bytes of a cube's payload."""
    return tuple(blobs.get(blob) for blob in blobs_named(cube))
