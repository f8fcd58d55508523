"""Seals of archives, and marks that say for whom one was written: HMAC-SHA-256 under a key that its owner holds."""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from ..core.payload import Json, canonical
from ..core.scope import check_name
from ..errors import BadInput, Damaged, WrongKey
from ._archive_lines import Told

__all__ = ["KEY_BYTES", "Seal", "Sealed", "archive_id", "check_seal", "marks_in", "recipient_of", "sealed_in"]

KEY_BYTES = 32
_ID_DIGITS = 16  # of an archive, and of a key: enough to tell them apart, too few to guess anything by
_MARK_DIGITS = 32  # 128 bits of an HMAC, the least that RFC 2104 recommends
_MARK = "mark"
_MARKED = re.compile(rf"[0-9a-f]{{{_ID_DIGITS + _MARK_DIGITS}}}")
_LONGEST_NAME = 120  # as long as the audit keeps names


@dataclass(frozen=True, slots=True)
class Seal:
    """How an archive is sealed, and for whom it is written.

    Args:
        key: 32 bytes that its owner keeps, as `new_key` gives.
        recipient: For whom it is written, or None; then it bears no mark.

    Raises:
        BadInput: The key has another length, or the recipient is empty or too long.
    """

    key: bytes = field(repr=False)
    recipient: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.key, bytes) or len(self.key) != KEY_BYTES:
            raise BadInput(f"the key of a seal has {KEY_BYTES} bytes", hint="`pinyon new-key FILE` writes one")
        if self.recipient is not None and not 0 < len(self.recipient.strip()) <= _LONGEST_NAME:
            raise BadInput(f"{self.recipient!r} names no recipient", hint=f"give 1 to {_LONGEST_NAME} characters")
        if self.recipient is not None:
            check_name(self.recipient, "recipient")

    @property
    def key_id(self) -> str:
        """What tells this key from others without giving it away."""
        return self._mac("key", b"")[:_ID_DIGITS]

    def of(self, manifest: bytes) -> str:
        """Return the seal of a manifest, which holds the digests of everything else."""
        return self._mac("seal", manifest)

    def mark(self, recipient: str, archive: str) -> str:
        """Return the mark of an archive that is written for somebody: id of the archive, then an HMAC of both."""
        said = canonical([recipient, archive]).encode("utf-8", "surrogatepass")
        return archive + self._mac("mark", said)[:_MARK_DIGITS]

    def marked(self, told: Iterable[Told], mark: str) -> tuple[Told, ...]:
        """Return what is told of a cube with a mark beside its first entry; marks that are there stay."""
        first, *rest = told or (None,)
        if first is None:
            return ()
        marks = [*str(first.detail.get(_MARK, "")).split(), mark]
        return (replace(first, detail={**first.detail, _MARK: " ".join(dict.fromkeys(marks))}), *rest)

    def _mac(self, what: str, data: bytes) -> str:
        return hmac.new(self.key, f"pinyon archive {what} 1\n".encode() + data, sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a manifest says of its seal.

    Args:
        key_id: Of the key.
        mac: The seal.
        recipient: For whom the archive was written, or an empty text.
        mark: That of the recipient, or an empty text.
    """

    key_id: str
    mac: str
    recipient: str = ""
    mark: str = ""


def archive_id(*said: Json) -> str:
    """Return the id of an archive, from what it says of itself."""
    return sha256(canonical(list(said)).encode()).hexdigest()[:_ID_DIGITS]


def sealed_in(manifest: Mapping[str, Json]) -> Sealed | None:
    """Return what a manifest says of its seal, or None when it bears none.

    Raises:
        ValueError, TypeError, KeyError: It says something else.
    """
    said = manifest.get("seal")
    if said is None:
        return None
    if not isinstance(said, Mapping):
        raise TypeError(type(said).__name__)
    return Sealed(str(said["key"]), str(said["mac"]), str(manifest.get("for", "")), str(manifest.get(_MARK, "")))


def check_seal(path: Path, manifest: Mapping[str, Json], key: bytes) -> Sealed:
    """Refuse an archive whose seal is not that of a key.

    Args:
        path: The archive.
        manifest: What it says of itself.
        key: 32 bytes.

    Returns:
        What it says of its seal.

    Raises:
        BadInput: It bears no seal.
        WrongKey: It was sealed with another key.
        Damaged: It was changed after it was sealed.
    """
    seal = Seal(key)
    try:
        said = sealed_in(manifest)
        data = canonical({name: value for name, value in manifest.items() if name != "seal"}).encode()
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Damaged(f"the seal of the archive {path} cannot be read", hint="take another copy") from error
    if said is None:
        raise BadInput(
            f"the archive {path} bears no seal", hint="ask for a sealed one, or import it without --seal-key"
        )
    if not _is_same(said.key_id, seal.key_id):
        raise WrongKey(f"the archive {path} was sealed with another key", hint="nothing of it was used")
    if not _is_same(said.mac, seal.of(data)):
        raise Damaged(
            f"the archive {path} was changed after it was sealed", hint="nothing of it was used; take another copy"
        )
    return said


def marks_in(told: Iterable[Told]) -> Counter[str]:
    """Return the marks that cubes bear, with the number of cubes for each."""
    borne = {(each.cube, mark) for each in told for mark in str(each.detail.get(_MARK, "")).split()}
    return Counter(mark for _, mark in borne if _MARKED.fullmatch(mark))


def recipient_of(mark: str, key: bytes, names: Iterable[str]) -> str | None:
    """Return whose mark it is among some names, or None when it is none of theirs under this key."""
    seal = Seal(key)
    for name in names if _MARKED.fullmatch(mark) else ():
        if _is_same(mark, seal.mark(name, mark[:_ID_DIGITS])):
            return name
    return None


def _is_same(given: str, true: str) -> bool:
    """Return whether two texts are the same, in a time that says nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), true.encode())
