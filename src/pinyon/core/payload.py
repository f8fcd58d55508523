"""What a cube holds: text, a state of a model, or a change to its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, assert_never

from ..errors import BadInput

__all__ = [
    "Blob",
    "Delta",
    "Json",
    "Kind",
    "Payload",
    "State",
    "Text",
    "TextFormat",
    "canonical",
    "clean",
    "digest",
    "payload_from_json",
    "payload_to_json",
]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Kind(StrEnum):
    """The three places where a language model keeps what it knows."""

    TEXT = "text"
    STATE = "state"
    WEIGHTS = "weights"


TextFormat = Literal["text", "markdown", "code", "table", "json"]
StateFormat = Literal["kv_cache", "hidden_state", "recurrent", "steering_vector", "head_profile"]
DeltaFormat = Literal["lora", "adapter", "weight_delta", "prompt_embedding"]


@dataclass(frozen=True, slots=True)
class Text:
    """Words, as they were said or written."""

    content: str
    format: TextFormat = "text"

    kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class Blob:
    """A pointer to bytes that rest beside the database, named by their SHA-256.

    Args:
        sha256: Lower-case hexadecimal digest of the bytes.
        bytes: Their number.
        role: What they are to the payload, for example ``"tensors"``.
    """

    sha256: str
    bytes: int
    role: str = "tensors"

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise BadInput(f"{self.sha256!r} is not a SHA-256 digest in lower-case hexadecimal")


@dataclass(frozen=True, slots=True)
class State:
    """What a model holds while it reads; usable only by a model whose fingerprint equals `binding`.

    Args:
        blobs: The tensors, in safetensors files.
        binding: Everything that must match before use: weights, tokenizer, template, adapters, dtype, rope.
        format: Which inside this is.
        tokens: Positions covered, >= 0.
        details: What else is known of it, nothing of which decides whether it may be used: how its numbers are
            stored and how far that is off, which tokens came from which source. No blobs and some details is a state
            that was dropped and can be built again.
    """

    blobs: tuple[Blob, ...]
    binding: Mapping[str, Json]
    format: StateFormat = "kv_cache"
    tokens: int = 0
    details: Mapping[str, Json] = field(default_factory=dict)

    kind = Kind.STATE


@dataclass(frozen=True, slots=True)
class Delta:
    """A change to weights, applied and reverted exactly.

    Args:
        blobs: The tensors, in safetensors files.
        binding: Everything that must match before use.
        format: Which sort of change this is.
        modules: Paths of the modules it touches.
    """

    blobs: tuple[Blob, ...]
    binding: Mapping[str, Json]
    format: DeltaFormat = "lora"
    modules: tuple[str, ...] = field(default=())

    kind = Kind.WEIGHTS


Payload = Text | State | Delta


def canonical(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, real characters."""
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
"""Made once, because `json.dumps` with options makes an encoder for every call."""


def digest(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes, lower-case hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def clean(text: str) -> str:
    """Return the text with lone surrogates replaced by U+FFFD, the only change ever made to what was said.

    Example:
        >>> clean("a\\ud800b") == "a\\ufffdb"
        True
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def payload_to_json(payload: Payload) -> dict[str, Json]:
    """Return a payload as a JSON object; `payload_from_json` is its inverse."""
    match payload:
        case Text():
            return {"kind": "text", "format": payload.format, "content": payload.content}
        case State():
            state: dict[str, Json] = {
                "kind": "state",
                "format": payload.format,
                "blobs": [_blob_to_json(blob) for blob in payload.blobs],
                "binding": dict(payload.binding),
                "tokens": payload.tokens,
            }
            return {**state, "details": dict(payload.details)} if payload.details else state
        case Delta():
            return {
                "kind": "weights",
                "format": payload.format,
                "blobs": [_blob_to_json(blob) for blob in payload.blobs],
                "binding": dict(payload.binding),
                "modules": list(payload.modules),
            }
        case _ as never:
            assert_never(never)


def payload_from_json(data: Mapping[str, object]) -> Payload:
    """Return the payload that `payload_to_json` wrote.

    Raises:
        BadInput: The object is no payload.
    """
    try:
        match data["kind"]:
            case "text":
                return Text(_text(data["content"]), format=data.get("format", "text"))  # type: ignore[arg-type]  # checked by the writer
            case "state":
                return State(
                    _blobs(data["blobs"]),
                    data["binding"],  # type: ignore[arg-type]  # any JSON object
                    format=data["format"],  # type: ignore[arg-type]
                    tokens=int(data["tokens"]),  # type: ignore[call-overload]
                    details=data.get("details", {}),  # type: ignore[arg-type]  # likewise
                )
            case "weights":
                return Delta(
                    _blobs(data["blobs"]),
                    data["binding"],  # type: ignore[arg-type]
                    format=data["format"],  # type: ignore[arg-type]
                    modules=tuple(data["modules"]),  # type: ignore[arg-type]
                )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"not a payload: {str(data)[:200]!r}") from error
    raise BadInput(f"unknown kind of payload {data['kind']!r}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _blob_to_json(blob: Blob) -> dict[str, Json]:
    return {"sha256": blob.sha256, "bytes": blob.bytes, "role": blob.role}


def _blobs(value: object) -> tuple[Blob, ...]:
    if not isinstance(value, list):
        raise TypeError(type(value).__name__)
    return tuple(Blob(str(item["sha256"]), int(item["bytes"]), role=str(item["role"])) for item in value)
