"""The small file beside an encrypted memory that holds its keys, sealed under the key of its user."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from ..core.payload import Json, canonical
from ..errors import BadInput, Busy, Damaged, PinyonError, StoreError, TooNew, WrongKey
from ..files import sync_folder
from ._cipher import KEY_BYTES, Cipher, derived

__all__ = ["WORK", "Holding", "Lock", "UserKey", "read_vault", "remove_vault", "vault_path", "write_vault"]

UserKey = str | bytes
"""A passphrase, or 32 random bytes."""

WORK = 1 << 17  # scrypt's N with r = 8: 128 MiB and half a second a guess; OWASP's first choice
_MOST_WORK = 1 << 22  # 4 GiB; a file that asks for more is not ours
_FORMAT = 1
_CIPHER = "SQLCipher 4, AES-256-GCM"
_SALT_BYTES = 32
_MOST_BYTES = 1 << 24
_BODY = "vault"
_TRIES = 20  # to read while another process writes


@dataclass(frozen=True, slots=True)
class Holding:
    """The keys of one database file.

    Args:
        id: Names its folder; empty for the memory itself.
        master: 32 random bytes, or none where the file is plain.
        next: The master key that it is being moved to, while that is so.
        moving: Whether it is on the way from `master` to `next`; either may be none.
    """

    id: str
    master: bytes = field(repr=False)
    next: bytes = field(default=b"", repr=False)
    moving: bool = False


@dataclass(frozen=True, slots=True)
class Lock:
    """How the key of the user opens the file.

    Args:
        method: ``scrypt`` for a passphrase, ``hkdf`` for a key of 32 bytes.
        work: scrypt's N.
        salt: Random.
        key: What the user's key became.
    """

    method: str
    work: int
    salt: bytes
    key: bytes = field(repr=False)

    @classmethod
    def made(cls, user: UserKey, work: int) -> Lock:
        """Return a lock with a salt of its own."""
        salt = os.urandom(_SALT_BYTES)
        key = _opened(user, work, salt)
        return cls("scrypt", work, salt, key) if isinstance(user, str) else cls("hkdf", 0, salt, key)


def vault_path(path: Path) -> Path:
    """Return where the vault of a database file lies; a link there leads to it."""
    return path.with_name(path.name + ".vault")


def read_vault(path: Path, user: UserKey | Lock) -> tuple[Lock, dict[str, Holding]]:
    """Return the keys by name of space; that of the memory itself is the empty text.

    Args:
        path: The vault's own file.
        user: Key of the user, or the lock that this process has opened already.

    Raises:
        WrongKey: The key is another one.
        Damaged: The file was changed or cut.
        TooNew: A later pinyon wrote it.
        StoreError: There is none, or it cannot be read.
    """
    said = _parsed(path)
    kdf = said["kdf"]
    lock = _lock_of(path, kdf, user)
    if not hmac.compare_digest(derived(lock.key, "check").hex(), str(said["check"])):
        raise WrongKey(
            f"this is not the key of {path}",
            hint="nothing was changed; without its key nobody can read the memory, so look for a copy of the key",
        )
    try:
        body = Cipher(derived(lock.key, "body")).open(
            base64.b64decode(str(said["body"]), validate=True), _BODY + _bound(said)
        )
        return lock, {name: _holding(value) for name, value in json.loads(body).items()}
    except (PinyonError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "the key is right, but the keys inside were changed") from error


def write_vault(path: Path, lock: Lock, holdings: Mapping[str, Holding]) -> None:
    """Replace the file as a whole, and overwrite what it was before.

    Raises:
        StoreError: It cannot be written; then it is as it was.
    """
    said: dict[str, Json] = {
        "format": _FORMAT,
        "cipher": _CIPHER,
        "kdf": {"method": lock.method, "work": lock.work, "salt": lock.salt.hex()},
        "check": derived(lock.key, "check").hex(),
    }
    body = canonical({name: _told(holding) for name, holding in holdings.items()}).encode()
    said["body"] = base64.b64encode(Cipher(derived(lock.key, "body")).seal(body, _BODY + _bound(said))).decode()
    said["sum"] = _sum(said)
    path = path.resolve()
    aside = path.with_name(path.name + ".aside")
    try:
        with open(aside, "wb") as file:
            file.write(json.dumps(said, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o600)
        _replaced(aside, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}", hint="nothing was changed") from error


def _replaced(aside: Path, path: Path) -> None:
    """Put a file in the place of another and overwrite that one, so that a key which was dropped is gone."""
    if not path.exists():
        os.replace(aside, path)
        sync_folder(path.parent)
        return
    with open(path, "r+b") as old:
        os.replace(aside, path)
        _overwritten(old, path)


def remove_vault(path: Path) -> None:
    """Remove the file, so that it is there as a whole or not at all, and overwrite it."""
    with open(path, "r+b") as old:
        path.resolve().unlink()
        path.unlink(missing_ok=True)  # a link that led there
        _overwritten(old, path)


def _overwritten(old: BinaryIO, path: Path) -> None:
    sync_folder(path.parent)
    old.write(os.urandom(os.fstat(old.fileno()).st_size))
    old.flush()
    os.fsync(old.fileno())


def _parsed(path: Path) -> dict[str, Json]:
    for _ in range(_TRIES):
        data, is_current = _bytes(path)
        try:
            return _checked(path, data)
        except Damaged:
            if is_current:
                raise
    raise Busy(f"{path} is written again and again", hint="try again")


def _bytes(path: Path) -> tuple[bytes, bool]:
    """Return what a vault holds, and whether it was not replaced, and overwritten, while it was read."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES)
            return data, os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError as error:
        raise StoreError(
            f"there is no {path}, which holds the keys of an encrypted memory",
            hint="put back a copy of it; or make it with Vault.create",
        ) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def _checked(path: Path, data: bytes) -> dict[str, Json]:
    try:
        said = json.loads(data)
        form, total = said["format"], said.pop("sum")
        is_sound = hmac.compare_digest(str(total), _sum(said))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, "it is not what pinyon wrote") from error
    if not is_sound:
        raise _damaged(path, "its checksum does not fit")
    if form != _FORMAT:
        raise TooNew(f"{path} has format {form!r}, this pinyon knows {_FORMAT}", hint="pip install --upgrade pinyon")
    return said  # type: ignore[no-any-return]  # JSON of our own, under its checksum


def _lock_of(path: Path, kdf: Json, user: UserKey | Lock) -> Lock:
    try:
        method, work, salt = str(kdf["method"]), int(kdf["work"]), bytes.fromhex(kdf["salt"])  # type: ignore[index, call-overload, arg-type]
        if method not in ("scrypt", "hkdf") or work > _MOST_WORK:
            raise ValueError(method)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, "it does not say how its key is made") from error
    if isinstance(user, Lock):
        if (user.method, user.salt) != (method, salt):
            raise WrongKey(f"the key of {path} was changed by another process", hint="open it again with the new key")
        return user
    if (method == "scrypt") != isinstance(user, str):
        wanted = "a passphrase" if method == "scrypt" else "a key of 32 bytes"
        raise WrongKey(f"{path} is opened by {wanted}, not by what was given", hint="nothing was changed")
    return Lock(method, work, salt, _opened(user, work, salt))


def _opened(user: UserKey, work: int, salt: bytes) -> bytes:
    if isinstance(user, bytes):
        if len(user) != KEY_BYTES:
            raise BadInput(f"a key has {KEY_BYTES} bytes, got {len(user)}", hint="or give a passphrase as text")
        return derived(user, "user key", salt=salt)
    if not user:
        raise BadInput("the passphrase is empty")
    words = unicodedata.normalize("NFC", user).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(words, salt=salt, n=work, r=8, p=1, maxmem=2 * 128 * 8 * work, dklen=KEY_BYTES)


def _bound(said: Mapping[str, Json]) -> str:
    """Return what stands in the clear, which the sealed part is bound to."""
    return canonical({name: said[name] for name in ("format", "cipher", "kdf", "check")})


def _sum(said: Mapping[str, Json]) -> str:
    return hashlib.sha256(canonical(dict(said)).encode()).hexdigest()


def _told(holding: Holding) -> Json:
    moving = {"next": holding.next.hex()} if holding.moving else {}
    return {"id": holding.id, "master": holding.master.hex(), **moving}


def _holding(said: Mapping[str, str]) -> Holding:
    plain = Holding(said["id"], bytes.fromhex(said["master"]))
    return replace(plain, next=bytes.fromhex(said["next"]), moving=True) if "next" in said else plain


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(f"{path} is damaged: {why}", hint="put back a copy of this file; nothing was changed")
