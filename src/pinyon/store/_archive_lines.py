"""Cubes and entries of the journal as lines of an archive, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, get_args

from ..core.clock import from_micros, micros
from ..core.cube import Cube, seal_hash
from ..core.events import Event, EventOp
from ..core.header import State_, header_from_json, header_to_json
from ..core.payload import Json, canonical, payload_from_json, payload_to_json
from ..core.scope import Scope, check_name
from ..errors import Damaged
from .side import AuditEntry, AuditLine

__all__ = [
    "UNREADABLE",
    "Archived",
    "Told",
    "audit_line",
    "audit_of_line",
    "cube_line",
    "cube_of_line",
    "event_line",
    "event_of_line",
    "from_detail",
    "id_of_line",
    "told_line",
    "told_of",
    "told_of_line",
    "version_of_line",
]

_OPS = frozenset(get_args(EventOp))
_MAKING = _OPS - {"forget", "policy"}
"""What can make a version, and so be told of one."""
_STATES = frozenset(get_args(State_))
_HEAD = re.compile(rb'\{"created":-?\d+,"id":"([0-9a-f]{32})"')
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading a strange line can raise."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an archive says of one change of a cube: an entry of the journal without its place there.

    Args:
        cube: Id of the cube.
        version: Its version after the change.
        op: What was done.
        time: Record time where it was done, UTC.
        actor: Who did it.
        hash: Seal of that version.
        detail: Anything else.
    """

    cube: str
    version: int
    op: EventOp
    time: datetime
    actor: Scope
    hash: str
    detail: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Archived:
    """A cube with its past.

    Args:
        cube: As it is now.
        versions: As it was before, oldest first.
        blobs: The bytes of its payload, where the archive keeps them beside it.
        told: What was done to it, oldest first; empty where an archive does not say.
    """

    cube: Cube
    versions: tuple[Cube, ...] = ()
    blobs: tuple[bytes, ...] = ()
    told: tuple[Told, ...] = ()

    @property
    def chain(self) -> tuple[Cube, ...]:
        """Every version, oldest first."""
        return (*self.versions, self.cube)


def cube_line(thing: Archived) -> bytes:
    """Return a cube with all its versions as one line; it says nothing of rows and entries."""
    cube = thing.cube
    said: dict[str, object] = {
        "id": cube.id,
        "space": cube.space,
        "owner": dict(replace(cube.owner, session=None).given),
        "created": micros(cube.created),
        "versions": [_version(each) for each in thing.chain],
    }
    return canonical(said).encode() + b"\n"


def _version(cube: Cube) -> dict[str, object]:
    said: dict[str, object] = {
        "version": cube.version,
        "updated": micros(cube.updated),
        "payload": payload_to_json(cube.payload),
        "header": header_to_json(cube.header),
        "hash": cube.hash,
    }
    if cube.owner.session is not None:
        said["session"] = cube.owner.session
    if cube.parent:
        said["parent"] = cube.parent
    return said


def cube_of_line(line: bytes, where: str) -> Archived:
    """Return the cube of a line.

    Raises:
        Damaged: The line is no cube, its versions do not follow from each other, or a seal does not match.
    """
    try:
        said = json.loads(line)
        chain = [_cube(said, version) for version in said["versions"]]
        thing = Archived(chain[-1], tuple(chain[:-1]))
        whole = cube_line(thing) == line
    except UNREADABLE as error:
        raise Damaged(f"{where} holds a line that is no cube") from error
    if not whole:
        raise Damaged(f"{where} holds a line that says more than a cube")
    parent = chain[0].parent
    for number, cube in enumerate(chain, chain[0].version):
        if seal_hash(cube.payload, cube.header, cube.parent) != cube.hash:
            raise Damaged(f"version {cube.version} of cube {cube.id} in {where} does not match its seal")
        if cube.parent != parent or cube.version != number or number < 1:
            raise Damaged(f"version {cube.version} of cube {cube.id} in {where} does not follow from the one before")
        parent = cube.hash
    return thing


def id_of_line(line: bytes) -> str:
    """Return the id of the cube of a line that was checked before."""
    found = _HEAD.match(line)
    return found[1].decode() if found else ""


def version_of_line(line: bytes, number: int) -> Cube | None:
    """Return one version of the cube of a line that was checked before, or None when it is not there."""
    said = json.loads(line)
    place = number - said["versions"][0]["version"]
    return _cube(said, said["versions"][place]) if 0 <= place < len(said["versions"]) else None


def _cube(said: Mapping[str, Any], version: Mapping[str, Any]) -> Cube:
    if set(said["id"]) - set("0123456789abcdef") or len(said["id"]) != 32:
        raise ValueError(said["id"])
    header = header_from_json(version["header"])
    if header.life.state not in _STATES:
        raise ValueError(header.life.state)
    return Cube(
        said["id"],
        0,
        version["version"],
        check_name(said["space"], "space"),
        Scope(**said["owner"], session=version.get("session")),
        payload_from_json(version["payload"]),
        header,
        from_micros(said["created"]),
        from_micros(version["updated"]),
        version["hash"],
        version.get("parent", ""),
    )


def told_of(event: Event) -> Told:
    """Return what an entry of the journal tells; of an imported cube, what was told when it was imported."""
    origin = event.detail.get("from")
    if isinstance(origin, Mapping):
        actor = Scope(**origin["actor"])  # type: ignore[arg-type]  # written by `from_detail`
        at = from_micros(int(origin["time"]))  # type: ignore[arg-type]
        detail: Any = origin.get("detail", {})
        return Told(event.cube, event.version, origin["op"], at, actor, event.hash, detail)  # type: ignore[arg-type]
    return Told(event.cube, event.version, event.op, event.time, event.actor, event.hash, event.detail)


def from_detail(told: Told) -> dict[str, Json]:
    """Return what the entry of an imported version keeps of the one it comes from."""
    said: dict[str, Json] = {"op": told.op, "time": micros(told.time), "actor": dict(told.actor.given)}
    return said | ({"detail": dict(told.detail)} if told.detail else {})


def told_line(told: Told) -> bytes:
    """Return what was done to a cube as one line."""
    said: dict[str, Json] = {"cube": told.cube, "version": told.version, "hash": told.hash}
    return canonical(said | from_detail(told)).encode() + b"\n"


def told_of_line(line: bytes, where: str) -> Told:
    """Return what a line tells.

    Raises:
        Damaged: The line is no entry of a journal.
    """
    try:
        said = json.loads(line)
        told = Told(
            said["cube"],
            said["version"],
            _op(said["op"], _MAKING),
            from_micros(said["time"]),
            Scope(**said["actor"]),
            said["hash"],
            said.get("detail", {}),
        )
        if told_line(told) == line:
            return told
    except UNREADABLE as error:
        raise Damaged(f"{where} holds a line that is no entry of a journal") from error
    raise Damaged(f"{where} holds a line that says more than an entry of a journal")


def event_line(event: Event) -> bytes:
    """Return an entry of the journal, whole, as one line."""
    said: dict[str, Json] = {
        "seq": event.seq,
        "time": micros(event.time),
        "op": event.op,
        "actor": dict(event.actor.given),
        "space": event.space,
        "cube": event.cube,
        "row": event.row,
        "version": event.version,
        "hash": event.hash,
        "chain": event.chain,
    }
    return canonical(said | ({"detail": dict(event.detail)} if event.detail else {})).encode() + b"\n"


def event_of_line(line: bytes, where: str) -> Event:
    """Return the entry of a line.

    Raises:
        Damaged: The line is no entry of a journal.
    """
    try:
        said = json.loads(line)
        event = Event(
            said["seq"],
            from_micros(said["time"]),
            _op(said["op"], _OPS),
            Scope(**said["actor"]),
            said["space"],
            said["cube"],
            said["row"],
            said["version"],
            said["hash"],
            said.get("detail", {}),
            said["chain"],
        )
        if event_line(event) == line:
            return event
    except UNREADABLE as error:
        raise Damaged(f"{where} holds a line that is no entry of a journal") from error
    raise Damaged(f"{where} holds a line that says more than an entry of a journal")


def _op(value: str, known: frozenset[str]) -> EventOp:
    if value not in known:
        raise ValueError(value)
    return value  # type: ignore[return-value]  # one of them


def audit_line(entry: AuditEntry) -> bytes:
    """Return an entry of the audit as one line."""
    line = entry.line
    said: dict[str, Json] = {
        "seq": entry.seq,
        "time": micros(line.time),
        "actor": dict(line.actor.given),
        "action": line.action,
        "allowed": line.allowed,
        "rule": line.rule,
        "space": line.space,
        "chain": entry.chain,
    }
    if line.cube:
        said["cube"] = line.cube
    return canonical(said | ({"detail": dict(line.detail)} if line.detail else {})).encode() + b"\n"


def audit_of_line(line: bytes, where: str) -> AuditEntry:
    """Return the entry of a line.

    Raises:
        Damaged: The line is no entry of an audit.
    """
    try:
        said = json.loads(line)
        text = AuditLine(
            from_micros(said["time"]),
            Scope(**said["actor"]),
            said["action"],
            said["allowed"],
            said["rule"],
            said["space"],
            said.get("cube", ""),
            said.get("detail", {}),
        )
        return AuditEntry(said["seq"], text, said["chain"])
    except UNREADABLE as error:
        raise Damaged(f"{where} holds a line that is no entry of an audit") from error
