"""Files, folders, streams and archives into a memory, and a memory into an archive."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Unpack

from .core.access import Access
from .core.clock import SystemClock
from .core.cube import Cube, Draft, check_metadata
from .core.experience import Experience
from .core.payload import Json
from .core.scope import DEFAULT_SPACE, Scope
from .core.where import EVERY_STATE, LIVE_STATES
from .errors import BadInput, Damaged, Denied, PinyonError, TooNew, UnreadableSource, WrongKey
from .govern.rights import check_keeper
from .licences import leaves_freely, note
from .memory import Filters, Memory, Who, engine_at, where_of
from .results import Imported, SourceResult
from .sources import Limits, Skipped, find, look, watch
from .store import (
    ArchiveLimits,
    Extras,
    Manifest,
    Rescope,
    Seal,
    SourceMark,
    Taken,
    export_all,
    export_cubes,
    is_archive,
    restore_archive,
)
from .store import import_archive as take_archive
from .store.migrate import Migrated, migrate
from .store.side import AuditLine

__all__ = [
    "Importer",
    "export",
    "export_everything",
    "import_archive",
    "import_files",
    "import_stream",
    "migrate_between",
    "restore",
    "watch_files",
]

Progress = Callable[[SourceResult], object]
_HEAD_BYTES = 64  # by which an archive is known
Steps = Callable[[int, int], object]
"""Told how many cubes are done, and how many there are; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Importer:
    """How sources are read.

    Args:
        tags: Labels for everything.
        metadata: JSON object for everything.
        limits: Bounds on what a source may unpack to.
        rescope: Into which spaces the memories of archives go and whose they become; with it nothing but archives is
            read.
        seal_key: Archives must bear the seal of this key; with it nothing but archives is read.
    """

    tags: tuple[str, ...] = ()
    metadata: dict[str, object] | None = None
    limits: Limits = Limits()
    rescope: Rescope | None = None
    seal_key: bytes | None = field(default=None, repr=False)

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
            result = SourceResult(_spelled(path.source), "skipped", reason=_spelled(path.reason))
        else:
            result = _import_file(memory, path, importer or Importer(), who)
        done.append(result)
        if progress is not None:
            progress(result)
    return Imported(tuple(done), (time.perf_counter() - start) * 1000)


def _import_file(memory: Memory, path: Path, importer: Importer, who: Who) -> SourceResult:
    name = _spelled(str(path.resolve()))
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
        return _import_archive(memory, path, importer, who)
    except (BadInput, Damaged, TooNew, WrongKey, Denied) as error:
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
    if is_archive(data[:_HEAD_BYTES]):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "archive"
            path.write_bytes(data)
            result = replace(_import_file(memory, path, importer or Importer(), who), source=name)
    else:
        result = _import_bytes(memory, data, name, importer or Importer(), who)
    return Imported((result,), (time.perf_counter() - start) * 1000)


def _import_bytes(memory: Memory, data: bytes, name: str, importer: Importer, who: Who) -> SourceResult:
    if importer.rescope is not None:
        return SourceResult(name, "skipped", reason="is no archive, and only archives are given another space or owner")
    if importer.seal_key is not None:
        return SourceResult(name, "skipped", reason="is no archive, and only archives bear a seal")
    digest = hashlib.sha256(data + repr((importer.tags, importer.metadata)).encode()).hexdigest()
    known = memory.source(name, digest, **who)
    if known is not None and known.digest == digest:
        same = "" if known.key == name else f"the same content as {known.key}"
        return SourceResult(name, "unchanged", reason=same)
    try:
        found = look(data, name, limits=importer.limits)
        experiences = [importer.dress(experience) for experience in found.experiences]
        added = memory.add_source(experiences, SourceMark(name, digest, len(experiences)), **who)
    except UnreadableSource as error:
        return SourceResult(name, "skipped", reason=_sentence(error).removeprefix(f"{name!r} "))
    except BadInput as error:
        return SourceResult(name, "skipped", reason=error.message)
    return SourceResult(name, "added", cubes=added.created + added.updated, format=found.format)


def _spelled(name: str) -> str:
    """Return the name of a file as text, with an escape for each byte that is no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _sentence(error: PinyonError) -> str:
    return error.message + (f" ({error.hint})" if error.hint else "")


def _import_archive(memory: Memory, path: Path, importer: Importer, who: Who) -> SourceResult:
    taken = import_archive(memory, path, rescope=importer.rescope, seal_key=importer.seal_key, **who)
    return SourceResult(str(path.resolve()), "added" if taken.created else "unchanged", cubes=taken.created)


def import_archive(
    memory: Memory,
    path: Path,
    *,
    rescope: Rescope | None = None,
    with_rules: Callable[[Mapping[str, str]], object] | None = None,
    limits: ArchiveLimits | None = None,
    progress: Steps | None = None,
    seal_key: bytes | None = None,
    **who: Unpack[Who],
) -> Taken:
    """Take in the memories of an archive; everything is checked before anything is written.

    Doing it again, also after an interruption, adds what is lacking.

    Args:
        memory: Where to.
        path: The archive.
        rescope: Into which spaces they go and whose they become.
        with_rules: Given the groups, roles and rights to spaces that the archive holds, as settings of a store, to
            apply them if that is allowed; None applies nothing.
        limits: What the archive may ask of the machine.
        progress: Told of cubes as they are done.
        seal_key: The archive must bear the seal of this key; None asks for none.
        who: Who imports.

    Raises:
        Damaged: It is cut off or was changed; the message names the part.
        WrongKey: It was sealed with another key.
        TooNew: A later version of pinyon wrote it.
        BadInput: It holds what no archive holds, or what a rule of redaction blocks, or unpacks beyond the limits.
        Denied: The caller may not write a space of it.
    """
    taken = take_archive(
        memory.store.engine,
        path,
        access=_access(memory, who),
        now=_now(memory),
        rescope=rescope,
        limits=limits,
        progress=progress,
        with_rules=with_rules,
        redact=_redacting(memory, who),
        seal_key=seal_key,
    )
    memory.adopt((), **who)  # tells the index's background work
    return taken


def _redacting(memory: Memory, who: Who) -> Callable[[Cube], Cube] | None:
    """Return what makes a cube such that it may be kept here, or None where nothing is ruled."""
    caller = memory.at(**who).caller
    redactor = caller.parts.redactor(caller.scope.tenant)
    if redactor is None:
        return None

    def redact(cube: Cube) -> Cube:
        (draft,) = redactor.apply([Draft(cube.payload, cube.header)])
        return replace(cube, payload=draft.payload, header=draft.header)

    return redact


def _access(memory: Memory, who: Who) -> Access:
    return memory.at(**who).caller.access()


def _now(memory: Memory) -> datetime:
    return memory.caller.now()


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


def export(
    memory: Memory,
    path: Path,
    *,
    where: Filters = None,
    redact: Callable[[Cube], Cube | None] | None = None,
    progress: Steps | None = None,
    seal: Seal | None = None,
    **who: Unpack[Who],
) -> int:
    """Write everything that the caller may see into an archive; return the number of cubes.

    What was subscribed to under a licence that counts reads stays out, for nobody would count them elsewhere.

    Args:
        memory: Where from.
        path: The archive; an existing one is replaced when the new one is whole.
        where: Filter.
        redact: Given each version of each cube; returns it with another payload or header, as it is, or None to leave
            the cube out.
        progress: Told of cubes as they are done.
        seal: How the archive is sealed, and for whom; None leaves it without. What is written for somebody is noted
            in the audit.
        who: Who asks.

    Raises:
        BadInput: Something other than an archive lies there, perhaps the memory itself.
        StoreError: It cannot be written.
    """
    _check_target(path)
    wanted = where_of(where)
    if wanted.states == LIVE_STATES:  # what was archived belongs to what is kept
        wanted = replace(wanted, states=EVERY_STATE)
    said = export_cubes(
        memory.store.engine,
        filter(leaves_freely(memory.caller.parts.root_engine), memory.iterate(where=wanted, **who)),
        path,
        created=_now(memory),
        redact=redact,
        progress=progress,
        seal=seal,
    )
    if said.seal is not None and said.seal.recipient:
        caller = memory.at(**who).caller
        detail: dict[str, Json] = {"for": said.seal.recipient, "mark": said.seal.mark, "cubes": said.cubes}
        note(caller, "export", "seal", caller.space, detail)
    return said.cubes


def export_everything(
    memory: Memory,
    path: Path,
    *,
    extras: Extras | None = None,
    progress: Steps | None = None,
    seal: Seal | None = None,
) -> Manifest:
    """Write the whole store with its journal and its rules into an archive that `restore` reads.

    For whoever runs the store: rights to memories are not asked; once there is an administrator or another tenant has
    rules, administrators of the whole memory alone may.

    Args:
        memory: Where from.
        path: The archive; an existing one is replaced when the new one is whole.
        extras: What it holds beside that.
        progress: Told of entries of the journal as they are done.
        seal: How the archive is sealed; it cannot be written for somebody.

    Raises:
        BadInput: Something other than an archive lies there, perhaps the memory itself; or the seal names somebody.
        StoreError: It cannot be written.
        Denied: Somebody has rules here, and the caller is no administrator of the whole memory.
    """
    memory.caller.check_keeper("export")
    _check_target(path)
    engine = memory.store.engine
    return export_all(engine, path, created=_now(memory), extras=extras, progress=progress, seal=seal)


def restore(
    memory: Memory,
    path: Path,
    *,
    limits: ArchiveLimits | None = None,
    progress: Steps | None = None,
    seal_key: bytes | None = None,
) -> int:
    """Replay an archive of everything, so that the store becomes the one it was written from; return the entries.

    For whoever runs the store: nobody's rights are asked. The store must be empty, or stand where the archive's
    journal once stood.

    Args:
        memory: Where to.
        path: The archive.
        limits: What it may ask of the machine.
        progress: Told of entries of the journal as they are done.
        seal_key: The archive must bear the seal of this key; None asks for none.

    Raises:
        Damaged: It is cut off or was changed; the message names the part.
        WrongKey: It was sealed with another key.
        BadInput: It holds some memories only.
        Conflict: The store has a history of its own.
        Denied: Somebody has rules here, and the caller is no administrator of the whole memory.
    """
    memory.caller.check_keeper("import")
    done = restore_archive(memory.store.engine, path, limits=limits, progress=progress, seal_key=seal_key)
    memory.adopt(())  # tells the index's background work
    return done


def migrate_between(
    source: str | Path,
    target: str | Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    scope: Scope | None = None,
) -> Migrated:
    """Copy a whole memory from one file or server into another one that is empty, and compare every hash.

    For whoever runs the store: rights to memories are not asked; once there is an administrator or another tenant has
    rules, administrators of the whole memory alone may. A migration that was cut off goes on where it was; let nobody
    write meanwhile.

    Args:
        source: Path or address of what is copied.
        target: Path or address, empty or the beginning of the source.
        progress: Told the entries of the journal that are there, and that there are.
        scope: Who migrates; None for nobody in particular.

    Raises:
        Conflict: The target holds something else.
        Damaged: The copy is not what the source is.
        Denied: Somebody has rules here, and the caller is no administrator of the whole memory.
    """
    with closing(engine_at(source)) as old:
        caller = scope or Scope()
        try:
            check_keeper(old, caller)
        except Denied as error:
            old.audit.append([AuditLine(SystemClock().now(), caller, "migrate", False, error.rule, DEFAULT_SPACE)])
            raise
        with closing(engine_at(target)) as new:
            return migrate(old, new, progress=progress)


def _check_target(path: Path) -> None:
    if path.exists() and not _is_archive(path):
        raise BadInput(f"{str(path)!r} exists and is no archive of pinyon", hint="choose another path")


def _is_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return is_archive(file.read(_HEAD_BYTES))
