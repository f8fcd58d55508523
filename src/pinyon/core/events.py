"""The journal: every change as an entry of a hash chain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from .clock import micros
from .payload import Json, canonical
from .scope import Scope

__all__ = ["GENESIS", "Changes", "Event", "EventOp", "Head", "alike_of", "chain_of", "link_of", "walls_of"]

EventOp = Literal[
    "create", "append", "merge", "overwrite", "convert", "restore", "state", "forget", "policy", "update", "archive"
]
"""What was done. ``state`` is a move of the lifecycle, ``policy`` a change of rules that concerns no cube (its row and
version are 0); ``update`` and ``archive`` are what 0.1 wrote for ``overwrite`` and ``state``."""

GENESIS = "0" * 64
"""Chain value before the first entry."""


class Event(NamedTuple):
    """One entry of the journal; a tuple, because one is made for every cube that is written.

    Args:
        seq: From 1, without gaps.
        time: Record time, UTC; never earlier than the entry before.
        op: What was done.
        actor: Who did it.
        space: Where.
        cube: Id of the cube.
        row: Row of the cube.
        version: Its version after the change; 0 when it was forgotten.
        hash: Seal of that version; empty when it was forgotten.
        detail: Anything else worth keeping; never content of a memory.
        chain: SHA-256 over the chain value before and everything above.
    """

    seq: int
    time: datetime
    op: EventOp
    actor: Scope
    space: str
    cube: str
    row: int
    version: int
    hash: str
    detail: Mapping[str, Json]
    chain: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What a stretch of the journal changed, for those who follow it.

    Args:
        rows: Rows of the cubes, without repeats, in the order of their first change.
        entries: Number of entries.
        seq: Number of the last one.
        chain: Its chain value; empty when there is no entry.
    """

    rows: tuple[int, ...]
    entries: int
    seq: int
    chain: str


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the journal.

    Args:
        seq: Number of the last entry; 0 before the first.
        chain: Its chain value.
        time: Its record time in microseconds since 1970; 0 before the first.
    """

    seq: int = 0
    chain: str = GENESIS
    time: int = 0


def chain_of(
    previous: str,
    *,
    seq: int,
    time: datetime,
    op: EventOp,
    actor: Scope,
    space: str,
    cube: str,
    row: int,
    version: int,
    hash: str,
    detail: Mapping[str, Json],
) -> str:
    """Return the chain value of an entry that follows `previous`."""
    alike = alike_of(micros(time), op, walls_of(actor), space)
    return link_of(previous, seq, alike, cube, row, version, hash, detail)


def alike_of(time: int, op: EventOp, walls: str, space: str) -> str:
    """Return the part of what is hashed that entries of one verb have alike.

    Args:
        time: In microseconds since 1970.
        op: What was done.
        walls: Who did it, as `walls_of` gives it.
        space: Where.
    """
    return f"{time}\x1f{op}\x1f{walls}\x1f{space}"


def link_of(
    previous: str, seq: int, alike: str, cube: str, row: int, version: int, hash: str, detail: Mapping[str, Json]
) -> str:
    """Return the same as `chain_of`, given what `alike_of` gives, for those who link many."""
    said = canonical(dict(detail)) if detail else ""
    # No part holds a control character, so the joined text names its parts without doubt; "\x1e" stands for none.
    text = f"{previous}\x1f{seq}\x1f{alike}\x1f{cube}\x1f{row}\x1f{version}\x1f{hash}\x1f{said}"
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=256)
def walls_of(actor: Scope) -> str:
    """Return who did something, as the chain says it."""
    who = (actor.tenant, actor.user, actor.agent, actor.session)
    return "\x1f".join("\x1e" if wall is None else wall for wall in who)
