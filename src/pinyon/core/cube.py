"""The cube: one unit of memory, immutable, sealed by hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ..errors import BadInput
from .header import Header, header_text, header_to_json
from .payload import Json, Kind, Payload, Text, canonical, clean, payload_to_json
from .scope import Scope, check_name

__all__ = ["Cube", "Draft", "Version", "check_metadata", "check_tags", "cube_to_json", "seal_hash", "seal_id"]

_DEEPEST = 100  # levels of metadata; parsers of JSON give up at some hundreds
ID_LENGTH = 32
"""Hexadecimal digits of an id, 128 bits: among a billion cubes two share one with probability below 1e-20."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A cube before it is sealed.

    Args:
        payload: What it holds.
        header: What it knows about itself; a `position` of None is filled in by the store.
        key: What makes it this cube and no other, within its owner and space; writing the same key again is the
            same cube. Empty means the payload itself.
        session: Session in which it was said, or None for that of the writer.
    """

    payload: Payload
    header: Header = Header()
    key: str = ""
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Cube:
    """One unit of memory as it rests in a store.

    Args:
        id: Stays the same over all versions, 32 hexadecimal digits.
        row: Its place in the order of creation, unique in the store and never used again.
        version: From 1.
        space: The container it lies in.
        owner: Who wrote it, and so who sees it.
        payload: What it holds.
        header: What it knows about itself.
        created: Record time of the first version, UTC.
        updated: Record time of this version, UTC.
        hash: Seal over payload, header and the parent's seal, SHA-256 in hexadecimal.
        parent: Seal of the version before, or an empty string.
        seq: Number of the journal's entry that made this version; 0 while it rests in no store.
    """

    id: str
    row: int
    version: int
    space: str
    owner: Scope
    payload: Payload
    header: Header
    created: datetime
    updated: datetime
    hash: str
    parent: str = ""
    seq: int = 0

    @property
    def kind(self) -> Kind:
        """Text, state or weights."""
        return self.payload.kind

    @property
    def text(self) -> str:
        """The words of a text cube; empty for every other kind."""
        return self.payload.content if isinstance(self.payload, Text) else ""

    @property
    def time(self) -> datetime:
        """When it happened if that is known, else when it was recorded."""
        return self.header.life.valid_from or self.created


@dataclass(frozen=True, slots=True)
class Version:
    """One entry in the history of a cube.

    Args:
        cube: The cube as it was; None when it has been forgotten.
        op: What made it so.
        time: Record time, UTC.
        actor: Who did it.
    """

    cube: Cube | None
    op: str
    time: datetime
    actor: Scope


def seal_id(draft: Draft, owner: Scope, space: str, *, nonce: int = 0) -> str:
    """Return the id of a draft written by `owner` into `space`.

    The session is part of the key of a turn, not of the owner, so that a shared note is one cube.

    Args:
        draft: What is to be written.
        owner: Who writes it.
        space: Where to.
        nonce: Above 0 when the same content comes back after it was changed or forgotten.
    """
    key = draft.key or canonical(payload_to_json(draft.payload))
    walls = "\x00".join(wall or "" for wall in (owner.tenant, owner.user, owner.agent))  # no name is empty or holds NUL
    text = f"{space}\x00{walls}\x00{nonce}\x00{key}"
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def seal_hash(payload: Payload, header: Header, parent: str) -> str:
    """Return the seal of a version: SHA-256 over its parent's seal, its payload and its header."""
    said = header_text(header)
    if isinstance(payload, Text):  # nine of ten bytes are the words: they are hashed as they are
        words = payload.content
        text = f"{parent}\ntext\n{payload.format}\n{len(words)}\n{words}\n{said}"
    else:
        text = f"{parent}\n{canonical(payload_to_json(payload))}\n{said}"
    return hashlib.sha256(text.encode()).hexdigest()


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as they are kept, each once; a single text is one tag.

    Raises:
        BadInput: They are no texts, or one cannot be a tag.
    """
    given = [tags] if isinstance(tags, str) else tags
    if not isinstance(given, Iterable) or isinstance(given, (bytes, Mapping)):
        raise BadInput(f"tags are a list of texts, not {tags!r}", hint='for example ["home", "bees"]')
    return tuple(dict.fromkeys(check_name(clean(tag) if isinstance(tag, str) else tag, "tag") for tag in given))


def check_metadata(value: object) -> dict[str, Json]:
    """Return metadata as a plain JSON object.

    Raises:
        BadInput: It is no object with text keys, holds something that JSON cannot say (NaN, bytes, a cycle), or is
            nested deeper than 100 levels.
    """
    if not isinstance(value, Mapping):
        raise BadInput(f"metadata must be a JSON object, got {type(value).__name__}", hint='for example {"topic": "x"}')
    if not value:
        return {}
    try:
        text = json.dumps(dict(value), allow_nan=False, ensure_ascii=True)
        plain: dict[str, Json] = json.loads(text)
        canonical(plain).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"metadata cannot be written as JSON: {error}") from error
    _check_shape(value, 1)
    return plain


def _check_shape(value: object, depth: int) -> None:
    """Refuse what `json.dumps` lets pass: keys that it would turn into text, and a depth that ends other parsers."""
    if isinstance(value, (Mapping, list, tuple)) and value and depth > _DEEPEST:
        raise BadInput(f"metadata is nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise BadInput(f"the keys of metadata must be text, got {key!r}")
            _check_shape(inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_shape(inner, depth + 1)


def cube_to_json(cube: Cube) -> dict[str, Json]:
    """Return a cube as the JSON object that ``--json``, exports and services show."""
    return {
        "id": cube.id,
        "version": cube.version,
        "space": cube.space,
        "owner": dict(cube.owner.given),
        "time": cube.time.isoformat(),
        "created": cube.created.isoformat(),
        "updated": cube.updated.isoformat(),
        "payload": payload_to_json(cube.payload),
        "header": header_to_json(cube.header),
        "hash": cube.hash,
        "parent": cube.parent,
    }
