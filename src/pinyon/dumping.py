"""Archives that write themselves: every so often, or soon after something with a label was written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from .core.cube import check_tags
from .core.payload import Json, canonical
from .core.where import Where
from .errors import BadInput, StoreError
from .importing import export
from .memory import Memory
from .store.archive import OpenArchive, Seal
from .store.vault import read_key

if TYPE_CHECKING:
    from .store.side import Job

__all__ = ["Dumped", "dump", "dump_every"]

KIND: Final = "dump"
_LOOK: Final = timedelta(minutes=1)  # how soon after a label was written its archive is there
_MOST_JOBS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Dumped:
    """What became of a dump.

    Args:
        path: The archive that was written, or the one that says the same already; None when there is nothing to write.
        cubes: Memories in it; 0 where none was written.
    """

    path: Path | None
    cubes: int


def dump_every(
    memory: Memory,
    to: str,
    *,
    every: timedelta | None = None,
    on_tag: str | None = None,
    tags: Sequence[str] = (),
    seal_file: str | None = None,
) -> Job:
    """Let whoever works write what the caller sees of its space into a folder, again and again; return the job.

    A turn in which nothing has changed writes nothing. The job is done by `Memory.work`, under the rights that the
    caller has then; asking again for the same folder, space and labels changes how often.

    Args:
        memory: Whose caller asks.
        to: The folder, made when it is not there.
        every: How often; None looks once a minute, which a label is needed for.
        on_tag: A label: an archive is written when something that bears it was written or has changed.
        tags: Only memories with all these labels.
        seal_file: File with a key whose seal the archives bear; it is read again with every turn.

    Raises:
        BadInput: Neither a span nor a label is given, or the key is none.
        StoreError: The folder cannot be made.
    """
    caller = memory.caller
    caller.check_now()
    if every is None and on_tag is None:
        raise BadInput("nothing says when to write", hint="give --every 1d, or --on-tag keep")
    folder = Path(to).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder {folder} cannot be made: {error.strerror}") from error
    if seal_file is not None:
        read_key(Path(seal_file).expanduser())
    scope = caller.scope
    told: dict[str, Json] = {
        "folder": str(folder),
        "space": caller.space,
        "who": [scope.tenant, scope.user, scope.agent],
        "tags": list(check_tags([*tags, *([on_tag] if on_tag is not None else [])])),
        "seal": None if seal_file is None else str(Path(seal_file).expanduser().absolute()),
    }
    key = sha256(canonical(told).encode()).hexdigest()[:32]
    span = _LOOK if every is None else every
    queue = memory.jobs
    for job in caller.parts.store.engine.jobs.find(states=["waiting"], limit=_MOST_JOBS):
        said = cast("Mapping[str, Any]", job.arguments.get("every") or {})
        if (job.kind, job.key) == (KIND, key) and said.get("seconds") != span.total_seconds():
            queue.cancel(job.id)
    return queue.add(KIND, told, key=key, every=span)


def dump(memory: Memory, told: Mapping[str, Json]) -> Dumped:
    """Write one archive as a job is told to, unless the last one in its folder says the same.

    Args:
        memory: The memory; the job says for whom.
        told: Arguments of the job.

    Raises:
        StoreError: It cannot be written.
    """
    said: dict[str, Any] = json.loads(canonical(dict(told)))
    tenant, user, agent = said["who"]
    here = memory.at(tenant=tenant, user=user, agent=agent, session=None, space=said["space"])
    folder = Path(said["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    what = sha256(canonical([said["space"], said["who"], said["tags"]]).encode()).hexdigest()[:8]
    last = max(folder.glob(f"pinyon-{what}-*.pinyon"), default=None)
    where = Where(tags=tuple(said["tags"]))
    if last is not None and _head(last) == here.store.engine.head().seq:
        return Dumped(last, 0)
    if last is None and not here.list(where=where, limit=1).cubes:
        return Dumped(None, 0)
    path = folder / f"pinyon-{what}-{here.caller.now():%Y%m%dT%H%M%S%fZ}.pinyon"
    seal = None if said["seal"] is None else Seal(read_key(Path(said["seal"])))
    cubes = export(here, path, where=where, seal=seal)
    if last is not None and _content(last) == _content(path):
        path.unlink()
        return Dumped(last, 0)
    return Dumped(path, cubes)


def _head(path: Path) -> int:
    with OpenArchive(path) as archive:
        return archive.manifest.head.seq


def _content(path: Path) -> str:
    with OpenArchive(path) as archive:
        return archive.digest()
