"""The file of a session: a checksum, facts in JSON and tensors in safetensors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from pathlib import Path

from torch import Tensor

from ..core.payload import Json, canonical
from ..errors import Damaged, NotFound, StoreError, TooNew
from ..extras import require
from ..files import whole_file
from .policy import CachePolicy

__all__ = ["pack", "policy_json", "read_file", "unpack", "write_file"]

_MAGIC = b"pinyon-session-"
_VERSION = 1
_HEAD = len(_MAGIC) + 32  # magic, SHA-256 of all that follows: the version, the length of the JSON, JSON, tensors


def pack(facts: dict[str, Json], tensors: dict[str, Tensor]) -> bytes:
    """Return the bytes of a file; the same facts and tensors give the same bytes."""
    safetensors = require("safetensors.torch", "save a session")
    whole = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    text = canonical(facts).encode()
    return _sealed(_VERSION, len(text).to_bytes(8, "big") + text + bytes(safetensors.save(whole)))


def unpack(data: bytes, name: str) -> tuple[dict[str, Json], dict[str, Tensor]]:
    """Return what was packed, after all of it was checked.

    Raises:
        Damaged: The bytes are not those of a session, are cut off or were changed.
        TooNew: A later version wrote them.
    """
    safetensors = require("safetensors.torch", "load a session")
    if data[: len(_MAGIC)] != _MAGIC or len(data) <= _HEAD:
        raise Damaged(f"{name} is not a saved session or is cut off")
    body = data[_HEAD:]
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : _HEAD]:
        raise Damaged(f"{name} is cut off or was changed since it was saved", hint="take an earlier copy")
    if body[0] != _VERSION:
        raise TooNew(f"{name} has format {body[0]}, this version reads {_VERSION}")
    size = int.from_bytes(body[1:9], "big")
    facts: dict[str, Json] = json.loads(body[9 : 9 + size])
    tensors: dict[str, Tensor] = safetensors.load(body[9 + size :])
    return facts, tensors


def policy_json(policy: CachePolicy) -> Json:
    """Return what tells two policies apart: the name and every field."""
    if not is_dataclass(policy):
        return policy.name
    found: dict[str, Json] = {"name": policy.name}
    for field in fields(policy):
        value = getattr(policy, field.name)
        found[field.name] = sorted(value) if isinstance(value, frozenset) else _plain(value)
    return found


def write_file(path: Path, data: bytes) -> None:
    """Write a file aside, make sure it rests on the disk, and rename it.

    Raises:
        StoreError: It cannot be written; what was there stays.
    """
    try:
        with whole_file(path) as file:
            file.write(data)
    except OSError as error:
        raise StoreError(f"the session cannot be written to {str(path)!r}: {error.strerror or error}") from error


def read_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        NotFound: There is none.
        StoreError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no session {str(path)!r}") from error
    except OSError as error:
        raise StoreError(f"the session {str(path)!r} cannot be read: {error.strerror or error}") from error


def _sealed(version: int, rest: bytes) -> bytes:
    body = bytes([version]) + rest
    return _MAGIC + hashlib.sha256(body).digest() + body


def _plain(value: object) -> Json:
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
