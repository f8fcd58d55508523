"""Look at the seal of an archive, and find out for whom a copy was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import Damaged, Denied, PinyonError
from .memory import Memory
from .store.archive import Manifest, OpenArchive, check_archive, marks_in, recipient_of

__all__ = ["Examined", "Mark", "examine"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark that an archive or memories in it bear.

    Args:
        mark: As it stands there.
        recipient: For whom it was made, or None where it is of another key or of nobody who was named.
        cubes: Memories that bear it.
        is_own: Whether it is that of the archive itself, not of one that its memories came with before.
    """

    mark: str
    recipient: str | None
    cubes: int
    is_own: bool


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found out about an archive.

    Args:
        path: Where it lies.
        manifest: What it says of itself.
        trouble: Why its seal does not hold, in one sentence; empty when it does.
        marks: Whose copy it is, that of the archive itself first.
    """

    path: Path
    manifest: Manifest
    trouble: str = ""
    marks: tuple[Mark, ...] = ()


def examine(
    task: Literal["check", "trace"],
    path: Path,
    *,
    seal_key: bytes,
    recipients: Sequence[str] = (),
    memory: Memory | None = None,
) -> Examined:
    """Check the seal of an archive, or find out for whom it was written.

    The marks are also found where the seal was removed, and in an archive that was written again from a memory that
    had imported this one: they rest in what the journal says of each memory. They prove nothing about a text that was
    copied out of it.

    Args:
        task: ``check`` refuses what does not bear the seal of the key, whole; ``trace`` looks at the marks.
        path: The archive.
        seal_key: 32 bytes.
        recipients: Whom it may have been written for, beside whom the archive and the audit of the memory name.
        memory: The one that it was exported from, if it is at hand.

    Raises:
        Damaged: It is cut off or was changed.
        WrongKey: To be checked, it was sealed with another key.
        BadInput: To be checked, it bears no seal.
    """
    if task == "check":
        return Examined(path, check_archive(path, seal_key=seal_key))
    trouble = ""
    with OpenArchive(path) as archive:
        try:
            archive.check_seal(seal_key)
        except PinyonError as error:
            trouble = error.message
        archive.check()
        seal = archive.manifest.seal
        borne = marks_in(archive.all_told())
        own = seal.mark if seal is not None else ""
        said = [] if seal is None or not seal.recipient else [seal.recipient]
    names = list(dict.fromkeys((*said, *recipients, *_noted(memory))))
    found = [own, *(mark for mark in sorted(borne) if mark != own)] if own else sorted(borne)
    marks = tuple(Mark(mark, recipient_of(mark, seal_key, names), borne[mark], mark == own) for mark in found)
    return Examined(path, archive.manifest, trouble, marks)


def _noted(memory: Memory | None) -> Iterator[str]:
    """Yield for whom a memory has written archives, as far as its audit may be read and is sound."""
    if memory is None:
        return
    try:
        for entry in memory.audit(actions=("export",)):
            if isinstance(name := entry.line.detail.get("for"), str):
                yield name
    except (Denied, Damaged):
        return
