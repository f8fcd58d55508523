"""Bytes that only a key opens: AES-256-GCM in chunks, and the keys of one memory."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from io import BytesIO
from types import ModuleType
from typing import BinaryIO

from ..errors import Damaged
from ..extras import require

__all__ = ["KEY_BYTES", "PAGE_SALT_BYTES", "Cipher", "Keys", "Sealing", "derived", "mark_of"]

KEY_BYTES = 32
PAGE_SALT_BYTES = 16  # of SQLCipher
_MAGIC = b"PINYSEAL\x01"  # the last byte is the version of the format
_MARK_BYTES = 8
_SALT_BYTES = 32
_TAG_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + _MARK_BYTES + _SALT_BYTES
_CHUNK_BYTES = 1 << 20  # what is held in memory beside the result
_COUNTER_BYTES = 11  # with one byte that marks the last chunk they are the 96 bits of a nonce

Chunked = Callable[[bytes, bytes, bytes], bytes]
"""Takes a nonce, a chunk and what is authenticated beside it; gives the chunk sealed or opened."""


def derived(key: bytes, purpose: str, *, salt: bytes = b"") -> bytes:
    """Return a key of 32 bytes for one purpose, by HKDF with SHA-256.

    Args:
        key: Uniformly random, 32 bytes.
        purpose: Other purposes give keys that have nothing to do with each other.
        salt: Random bytes, where each file is to have a key of its own.
    """
    early = hmac.digest(salt or bytes(KEY_BYTES), key, "sha256")
    return hmac.digest(early, b"pinyon " + purpose.encode() + b"\x01", "sha256")


def mark_of(head: bytes) -> bytes:
    """Return which key sealed a file that begins so; nothing when it is not sealed."""
    if len(head) < _HEADER_BYTES or not head.startswith(_MAGIC):
        return b""
    return head[len(_MAGIC) : len(_MAGIC) + _MARK_BYTES]


class Cipher:
    """Seals bytes under one key.

    A sealed file is a header and chunks of 1 MiB, each with its tag. A chunk is bound to its place, to being the last
    or not, to the header, and to the purpose of the whole; a key of its own for each file keeps nonces from meeting.
    So whatever is changed, cut, doubled, swapped or put in another file's place does not open.

    Args:
        key: 32 bytes, for nothing else.

    Cost: about 1 ms a MiB; 65 bytes a file and 16 bytes a chunk.
    Source: Hoang, Reyhanitabar, Rogaway and Vizar 2015, "Online authenticated encryption and its nonce-reuse
        misuse-resistance", the STREAM construction; AES-GCM is `cryptography`'s.
    Deviates: the nonce holds no random prefix, because the key of each file is random.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.mark = derived(key, "mark")[:_MARK_BYTES]

    def seal(self, data: bytes, purpose: str) -> bytes:
        """Return bytes sealed; they open for the same purpose only."""
        out = BytesIO()
        sealing = self.sealing(out, purpose)
        sealing.write(data)
        sealing.finish()
        return out.getvalue()

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return what was sealed.

        Raises:
            Damaged: It was changed, cut, meant for something else, or sealed under another key.
        """
        return bytes(self.opened(BytesIO(sealed), purpose))

    def sealing(self, file: BinaryIO, purpose: str) -> Sealing:
        """Begin to seal what is written from now on into a file."""
        salt = os.urandom(_SALT_BYTES)
        header = _MAGIC + self.mark + salt
        file.write(header)
        return Sealing(file, _aes(self._file_key(salt, purpose)).encrypt, _bound(header, purpose))

    def opened(self, file: BinaryIO, purpose: str) -> bytearray:
        """Return what was sealed into a file; nothing is kept but the result and one chunk.

        Raises:
            Damaged: As `open` does.
        """
        header = file.read(_HEADER_BYTES)
        mark = mark_of(header)
        if not mark:
            raise Damaged("what is there was not sealed by pinyon, or its first bytes were changed")
        if mark != self.mark:
            raise Damaged("what is there was sealed under another key, or its first bytes were changed")
        decrypt: Chunked = _aes(self._file_key(header[-_SALT_BYTES:], purpose)).decrypt
        bound, number, out = _bound(header, purpose), 0, bytearray()
        chunk = file.read(_CHUNK_BYTES + _TAG_BYTES)
        while True:
            following = file.read(_CHUNK_BYTES + _TAG_BYTES)
            try:
                out += decrypt(_nonce(number, is_last=not following), chunk, bound)
            except (_tampered(), ValueError) as error:  # a piece shorter than a tag is a ValueError
                raise Damaged(f"chunk {number} of what is there was changed or cut") from error
            if not following:
                return out
            chunk, number = following, number + 1

    def _file_key(self, salt: bytes, purpose: str) -> bytes:
        return derived(self._key, f"file {purpose}", salt=salt)


class Sealing:
    """A file being sealed: write, then finish; without the end it does not open.

    Args:
        file: Where to; the header is there already.
        encrypt: Seals a chunk.
        bound: Authenticated with every chunk.
    """

    def __init__(self, file: BinaryIO, encrypt: Chunked, bound: bytes) -> None:
        self._file = file
        self._encrypt = encrypt
        self._bound = bound
        self._held = bytearray()
        self._number = 0

    def write(self, data: bytes | memoryview) -> None:
        """Seal more bytes."""
        view = memoryview(data).cast("B")
        start = 0
        while start < len(view):
            if len(self._held) == _CHUNK_BYTES:  # only now is it known that this chunk is not the last
                self._flush(is_last=False)
            end = min(len(view), start + _CHUNK_BYTES - len(self._held))
            self._held += view[start:end]
            start = end

    def finish(self) -> None:
        """Seal the last chunk, which may be empty."""
        self._flush(is_last=True)

    def _flush(self, *, is_last: bool) -> None:
        self._file.write(self._encrypt(_nonce(self._number, is_last=is_last), bytes(self._held), self._bound))
        self._number += 1
        self._held.clear()


class Keys:
    """Every key of one database file, made from its master key.

    Args:
        master: 32 random bytes.

    Attributes:
        database: Key of the database file and its log, 32 bytes, and the salt that its first 16 bytes are. Processes
            that make the file at the same time so agree on it.
        blobs: Seals blobs.
        index: Seals snapshots of the index.
    """

    __slots__ = ("_names", "blobs", "database", "index")

    def __init__(self, master: bytes) -> None:
        self.database = derived(master, "database") + derived(master, "salt")[:PAGE_SALT_BYTES]
        self.blobs = Cipher(derived(master, "blobs"))
        self.index = Cipher(derived(master, "index"))
        self._names = derived(master, "names")

    def name(self, sha256: str) -> str:
        """Return the name under which a blob lies; without the key nobody can tell whether some bytes are there."""
        return hmac.new(self._names, sha256.encode(), hashlib.sha256).hexdigest()


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_COUNTER_BYTES, "big") + bytes([is_last])


def _bound(header: bytes, purpose: str) -> bytes:
    return header + purpose.encode()


def _aes(key: bytes):  # type: ignore[no-untyped-def]  # a class of the optional module
    return _module("cryptography.hazmat.primitives.ciphers.aead").AESGCM(key)


def _tampered() -> type[Exception]:
    kind: type[Exception] = _module("cryptography.exceptions").InvalidTag
    return kind


def _module(name: str) -> ModuleType:
    return require(name, "read and write encrypted files")
