"""Files, folders, streams and archives into a memory, and a memory into an archive."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Unpack

from .core.cube import Cube, check_metadata
from .core.experience import Experience
from .core.scope import Scope
from .core.where import EVERY_STATE, LIVE_STATES
from .errors import BadInput, Damaged, Denied, PinyonError, TooNew, UnreadableSource
from .memory import Filters, Memory, Who, where_of
from .results import Imported, SourceResult
from .sources import Limits, Skipped, find, read_bytes, watch
from .store import Archived, SourceMark, blobs_of, check_archive, is_archive, read_archive, write_archive

__all__ = ["Importer", "export", "import_files", "import_stream", "watch_files"]

Progress = Callable[[SourceResult], object]
_ARCHIVE_BATCH = 500  # cubes a transaction


@dataclass(frozen=True, slots=True)
class Importer:
    """How sources are read.

    Args:
        tags: Labels for everything.
        metadata: JSON object for everything.
        limits: Bounds on what a source may unpack to.
    """

    tags: tuple[str, ...] = ()
    metadata: dict[str, object] | None = None
    limits: Limits = Limits()

    def dress(self, experience: Experience) -> Experience:
        """Return an experience with these labels added."""
        common = check_metadata(self.metadata or {})
        return replace(experience, tags=(*experience.tags, *self.tags), metadata={**experience.metadata, **common})


def import_files(
    memory: Memory,
    paths: Sequence[str | Path],
    *,
    importer: Importer | None = None,
    progress: Progress | None = None,
    **who: Unpack[Who],
) -> Imported:
    """Read files, folders and globs into a memory.

    A file that was read before and has not changed costs one look at its bytes; one that changed replaces what it said.
    A file that cannot be read is named in the result, and the rest goes in.

    Args:
        memory: Where to.
        paths: Files, folders (read in depth) and globs.
        importer: Labels and limits.
        progress: Told of each source as it is done.
        who: Whose memory it is.
    """
    start = time.perf_counter()
    done: list[SourceResult] = []
    for path in find(paths, limits=(importer or Importer()).limits):
        if isinstance(path, Skipped):
            result = SourceResult(path.source, "skipped", reason=path.reason)
        else:
            result = _import_file(memory, path, importer or Importer(), who)
        done.append(result)
        if progress is not None:
            progress(result)
    return Imported(tuple(done), (time.perf_counter() - start) * 1000)


def _import_file(memory: Memory, path: Path, importer: Importer, who: Who) -> SourceResult:
    name = str(path.resolve())
    try:
        if _is_archive(path):
            data = None
        elif path.stat().st_size > importer.limits.max_file_bytes:
            return SourceResult(name, "skipped", reason=f"is larger than {importer.limits.max_file_bytes} bytes")
        else:
            data = path.read_bytes()
    except OSError as error:
        return SourceResult(name, "skipped", reason=f"cannot be opened: {error.strerror}")
    if data is not None:
        return _import_bytes(memory, data, name, importer, who)
    try:
        return _import_archive(memory, path, who)
    except (Damaged, TooNew, Denied) as error:
        return SourceResult(name, "skipped", reason=_sentence(error))


def import_stream(
    memory: Memory, data: bytes, name: str, *, importer: Importer | None = None, **who: Unpack[Who]
) -> Imported:
    """Read one source from bytes, for example from standard input.

    Args:
        memory: Where to.
        data: The bytes.
        name: Under which it is remembered; its suffix helps to tell what it is.
        importer: Labels and limits.
        who: Whose memory it is.
    """
    start = time.perf_counter()
    result = _import_bytes(memory, data, name, importer or Importer(), who)
    return Imported((result,), (time.perf_counter() - start) * 1000)


def _import_bytes(memory: Memory, data: bytes, name: str, importer: Importer, who: Who) -> SourceResult:
    digest = hashlib.sha256(data + repr((importer.tags, importer.metadata)).encode()).hexdigest()
    known = memory.source(name, digest, **who)
    if known is not None and known.digest == digest:
        same = "" if known.key == name else f"the same content as {known.key}"
        return SourceResult(name, "unchanged", reason=same)
    try:
        experiences = [importer.dress(experience) for experience in read_bytes(data, name, limits=importer.limits)]
        added = memory.add_source(experiences, SourceMark(name, digest, len(experiences)), **who)
    except UnreadableSource as error:
        return SourceResult(name, "skipped", reason=_sentence(error))
    except BadInput as error:
        return SourceResult(name, "skipped", reason=error.message)
    return SourceResult(name, "added", cubes=added.created + added.updated)


def _sentence(error: PinyonError) -> str:
    return error.message + (f" ({error.hint})" if error.hint else "")


def _import_archive(memory: Memory, path: Path, who: Who) -> SourceResult:
    check_archive(path)
    created = 0
    batch: list[Archived] = []
    scope = memory.at(**who).scope
    for thing in read_archive(path):
        _check_right(scope, thing.cube, path)  # all of it, before anything is written
    for thing in read_archive(path):
        batch.append(thing)
        if len(batch) >= _ARCHIVE_BATCH:
            created += memory.adopt(batch, **who)
            batch = []
    created += memory.adopt(batch, **who) if batch else 0
    return SourceResult(str(path.resolve()), "added" if created else "unchanged", cubes=created)


def _called(owner: Scope) -> str:
    """Return an owner as people say it."""
    walls = (("tenant", owner.tenant), ("user", owner.user), ("agent", owner.agent))
    return ", ".join(f"{what} {name!r}" for what, name in walls if name is not None) or "nobody in particular"


def _check_right(scope: Scope, cube: Cube, path: Path) -> None:
    if not scope.sees(cube.owner):
        raise Denied(
            f"the archive {path} holds memories of {_called(cube.owner)}, which this caller may not write",
            hint="import as that user",
        )


def watch_files(
    memory: Memory,
    paths: Sequence[str | Path],
    *,
    stop: Event,
    importer: Importer | None = None,
    progress: Progress | None = None,
    **who: Unpack[Who],
) -> Iterator[Imported]:
    """Import now, then whenever a file changes, until told to stop.

    Args:
        memory: Where to.
        paths: Files and folders.
        stop: Set it to end.
        importer: Labels and limits.
        progress: Told of each source as it is done.
        who: Whose memory it is.
    """
    yield import_files(memory, paths, importer=importer, progress=progress, **who)
    for changed in watch(paths, stop=stop):
        there = sorted(path for path in changed if path.is_file())
        if there:
            yield import_files(memory, there, importer=importer, progress=progress, **who)


def export(memory: Memory, path: Path, *, where: Filters = None, **who: Unpack[Who]) -> int:
    """Write everything that the caller may see into an archive; return the number of cubes.

    Args:
        memory: Where from.
        path: The archive; an existing one is replaced when the new one is whole.
        where: Filter.
        who: Who asks.

    Raises:
        BadInput: Something other than an archive lies there, perhaps the memory itself.
        StoreError: It cannot be written.
    """
    if path.exists() and not _is_archive(path):
        raise BadInput(f"{str(path)!r} exists and is no archive of pinyon", hint="choose another path")
    engine = memory.store.engine
    wanted = where_of(where)
    if wanted.states == LIVE_STATES:  # what was archived belongs to what is kept
        wanted = replace(wanted, states=EVERY_STATE)
    things = (
        Archived(cube, tuple(engine.versions(cube.id)), blobs_of(cube, engine.blobs))
        for cube in memory.iterate(where=wanted, **who)
    )
    return write_archive(things, path)


def _is_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return is_archive(file.read(64))
