"""An encrypted memory: its keys, their rotation, and spaces that are forgotten by forgetting their key."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from ..errors import BadInput, Busy, Conflict, NotFound, StoreError, WrongKey
from ..extras import require
from ._cipher import KEY_BYTES, Keys
from ._connect import PLAIN_MAGIC
from ._reseal import move, settled
from ._vault_file import WORK, Holding, Lock, UserKey, read_vault, remove_vault, vault_path, write_vault

__all__ = ["Room", "Shredded", "UserKey", "Vault", "decrypt_store", "encrypt_store", "new_key", "read_key"]

_ITSELF = ""  # the name under which the memory's own keys stand, which no space can have
_LOCK_S = 10.0


@dataclass(frozen=True, slots=True)
class Room:
    """Where the cubes of a space with a key of its own rest: a memory of its own.

    Args:
        space: Its name.
        path: The database file.
        keys: Keys of it.
    """

    space: str
    path: Path
    keys: Keys = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shredded:
    """What was done to a space.

    Args:
        space: Its name.
        files: Encrypted files that were removed besides, relative to the memory's folder.
        bytes: Their size together.
    """

    space: str
    files: tuple[str, ...]
    bytes: int


class Vault:
    """The keys of an encrypted memory, which lie beside it in ``<file>.vault`` sealed under the key of the user.

    The user's key (a passphrase through scrypt, or 32 random bytes) opens the vault. In it lie a random master key for
    the memory and one for each space with a key of its own; the keys of pages, blobs, names of blobs and snapshots
    come from a master key by HKDF. So another key of the user costs one small file, and a space is forgotten in all
    its copies by dropping 32 bytes.

    Args:
        path: The database file.
        lock: How the user's key opens the vault.
        holdings: The keys by name of space.
    """

    def __init__(self, path: Path, lock: Lock, holdings: dict[str, Holding]) -> None:
        self.path = path
        self._lock = lock
        self._holdings = holdings

    @classmethod
    def create(cls, path: Path, key: UserKey, *, work: int = WORK) -> Self:
        """Make the vault of a memory that is not there yet.

        Args:
            path: The database file.
            key: A passphrase, or 32 random bytes as `new_key` gives.
            work: scrypt's N for a passphrase, a power of two.

        Raises:
            Conflict: There is a memory or a vault already.
            BadInput: The key is empty or has another length.
        """
        if vault_path(path).exists() or path.exists():
            raise Conflict(
                f"{path} is there already", hint="open it with its key; `pinyon encrypt` encrypts one that is plain"
            )
        _check_extra()
        lock = Lock.made(key, work)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only(path):
            if vault_path(path).exists():
                raise Conflict(f"{vault_path(path)} was made by another process", hint="open it with its key")
            holdings = {_ITSELF: Holding("", new_key())}
            write_vault(vault_path(path), lock, holdings)
        return cls(path, lock, holdings)

    @classmethod
    def open(cls, path: Path, key: UserKey) -> Self:
        """Open the vault of a memory; a change of keys that was cut short is ended or undone.

        Args:
            path: The database file.
            key: Key of the user.

        Raises:
            WrongKey: It is not the key, or the memory is not encrypted; nothing was changed.
            Damaged: The vault was changed or cut; nothing was changed now.
            Busy: Another process changes keys.
            StoreError: There is no vault.
        """
        if not vault_path(path).exists() and _is_plain(path):
            raise WrongKey(f"{path} is not encrypted", hint="open it without a key; `pinyon encrypt` encrypts it")
        _check_extra()
        vault = cls(path, *read_vault(vault_path(path), key))
        if any(holding.moving for holding in vault._holdings.values()):
            with _only(path):
                vault._read()
                for name in list(vault._holdings):
                    vault._settle(name)
            vault._check_encrypted()
        return vault

    @classmethod
    def look(cls, path: Path, key: UserKey) -> Self:
        """Open the vault of a memory and change nothing.

        Args:
            path: The database file.
            key: Key of the user.

        Raises:
            WrongKey, Damaged, StoreError: As `open` does.
            Busy: A change of keys is under way, or was cut short.
        """
        if not vault_path(path).exists() and _is_plain(path):
            raise WrongKey(f"{path} is not encrypted", hint="open it without a key; `pinyon encrypt` encrypts it")
        _check_extra()
        vault = cls(path, *read_vault(vault_path(path), key))
        if any(holding.moving for holding in vault._holdings.values()):
            raise Busy(f"the keys of {path} are being changed", hint="open it once by itself, where it can be written")
        return vault

    @classmethod
    def at(cls, path: Path, key: UserKey) -> Self:
        """Open the vault of a memory, or make it where there is neither.

        Args:
            path: The database file.
            key: Key of the user.

        Raises:
            WrongKey, Damaged, Busy, StoreError: As `open` does.
        """
        if not vault_path(path).exists() and not path.exists():
            with suppress(Conflict):  # another process made it just now
                return cls.create(path, key)
        return cls.open(path, key)

    @property
    def file(self) -> Path:
        """Where the keys lie, sealed."""
        return vault_path(self.path)

    @property
    def keys(self) -> Keys:
        """Keys of the memory itself."""
        return Keys(self._holdings[_ITSELF].master)

    @property
    def spaces(self) -> tuple[str, ...]:
        """Spaces with a key of their own."""
        self._read()
        return tuple(sorted(name for name in self._holdings if name != _ITSELF))

    def add_room(self, space: str) -> Room:
        """Give a space a key of its own, if it has none; its cubes then rest in a file of their own.

        Args:
            space: Its name.

        Raises:
            BadInput: The name is empty.
        """
        if not space:
            raise BadInput("a space with a key of its own needs a name")
        with self._changing():
            if space not in self._holdings:
                self._holdings[space] = Holding(os.urandom(16).hex(), new_key())
        return self.room(space)

    def room(self, space: str) -> Room:
        """Return where the cubes of a space with a key of its own rest.

        Raises:
            NotFound: The space has no key of its own, or its key was shredded.
        """
        self._read()
        holding = self._holdings.get(space) if space else None
        if holding is None:
            raise NotFound(
                f"space {space!r} has no key of its own",
                hint="`pinyon own-key` gives an empty space one; else forget what it holds",
            )
        return Room(space, self._file(space), Keys(holding.master))

    def rotate_key(self, new: UserKey, *, work: int = WORK) -> None:
        """Let another key open the memory from now on; no data is written again.

        A copy of the vault from before still opens by the key from before.

        Args:
            new: The key from now on.
            work: scrypt's N for a passphrase.

        Raises:
            BadInput: It is empty or has another length.
        """
        lock = Lock.made(new, work)
        with self._changing():
            write_vault(vault_path(self.path), lock, self._holdings)
            self._lock = lock

    def rotate_master(self) -> None:
        """Write everything again under new random keys: pages, blobs, and snapshots, which are made anew on use.

        A process killed on the way leaves each file under its old keys or its new ones; the next `open` sees to it.

        Raises:
            Busy: Somebody has the memory open.
            Damaged: A page or a blob is not sound; what it belongs to keeps its keys.
            StoreError: The disk has no room for a second copy.
        """
        with self._changing():
            for name in list(self._holdings):
                self._move(name, new_key())

    def shred(self, space: str) -> Shredded:
        """Destroy the key of a space: every copy of its cubes, vectors, index and blobs is unreadable from now on.

        Copies elsewhere too, unless somebody has a copy of the vault as it was and a key of the user that opens that.
        Other spaces are not touched. Close the space first: a process that has it open keeps the key in its memory.

        Args:
            space: Its name.

        Raises:
            NotFound: The space has no key of its own.
        """
        room = self.room(space)
        with self._changing():
            self._holdings.pop(space, None)
        files = sorted(file for file in room.path.parent.rglob("*") if file.is_file())
        size = sum(file.stat().st_size for file in files)
        shutil.rmtree(room.path.parent, ignore_errors=True)  # unreadable by now, so it only frees the disk
        return Shredded(space, tuple(file.relative_to(self.path.parent).as_posix() for file in files), size)

    def _file(self, name: str) -> Path:
        if name == _ITSELF:
            return self.path
        return self.path.with_name(self.path.name + ".rooms") / self._holdings[name].id / "memory.db"

    def _read(self) -> None:
        self._lock, self._holdings = read_vault(vault_path(self.path), self._lock)

    def _write(self) -> None:
        write_vault(vault_path(self.path), self._lock, self._holdings)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change the keys as the file has them now, with nobody in between; an exception leaves the file as it is."""
        with _only(self.path):
            self._read()
            before = dict(self._holdings)
            yield
            if self._holdings != before:
                self._write()

    def _move(self, name: str, next: bytes) -> None:
        holding = self._holdings[name]
        self._holdings[name] = Holding(holding.id, holding.master, next, moving=True)
        self._write()
        try:
            move(self._file(name), _keys(holding.master), _keys(next))
        finally:
            self._settle(name)

    def _settle(self, name: str) -> None:
        """Keep the keys that the file has, drop the others."""
        holding = self._holdings[name]
        if holding.moving:
            is_new = settled(self._file(name), _keys(holding.master), _keys(holding.next))
            self._holdings[name] = Holding(holding.id, holding.next if is_new else holding.master)
            if self._holdings[_ITSELF].master:
                self._write()
            else:  # the memory is plain
                remove_vault(vault_path(self.path))

    def _check_encrypted(self) -> None:
        if not self._holdings[_ITSELF].master:
            raise WrongKey(
                f"{self.path} is not encrypted: a change was cut short",
                hint="open it without a key, or repeat it",
            )


def encrypt_store(path: Path, key: UserKey, *, work: int = WORK) -> Vault:
    """Encrypt a memory that is plain: its file, its log, its blobs; the index is made anew on use.

    The encrypted copy is made aside and compared by hash before it takes the place of the plain one, which is then
    overwritten and removed. What a copying file system or the cells of a flash disk keep of it is out of reach.

    Args:
        path: The database file; nobody may have it open.
        key: A passphrase, or 32 random bytes.
        work: scrypt's N for a passphrase.

    Raises:
        NotFound: There is no such memory.
        Conflict: It is encrypted already.
        Busy: Somebody has it open.
    """
    if not path.exists():
        raise NotFound(f"there is no {path}", hint="the first verb that is given a key makes one")
    if not _is_plain(path):
        raise Conflict(f"{path} is not a plain memory", hint="if it is encrypted, `pinyon rekey` changes its key")
    _check_extra()
    with _only(path):
        vault = Vault(path, Lock.made(key, work), {_ITSELF: Holding("", b"")})
        vault._move(_ITSELF, new_key())
    return vault


def decrypt_store(path: Path, key: UserKey) -> None:
    """Make an encrypted memory plain again and remove its vault.

    Args:
        path: The database file; nobody may have it open.
        key: Key of the user.

    Raises:
        Conflict: Spaces have keys of their own.
        WrongKey: It is not the key.
        Busy: Somebody has it open.
    """
    vault = Vault.open(path, key)
    if vault.spaces:
        raise Conflict(
            f"{path} has spaces with keys of their own: {', '.join(vault.spaces)}", hint="export and shred them first"
        )
    with _only(path):
        vault._move(_ITSELF, b"")


def new_key() -> bytes:
    """Return a key: 32 random bytes."""
    return os.urandom(KEY_BYTES)


def read_key(path: Path) -> bytes:
    """Return the key of a file that holds 32 bytes, or their 64 hexadecimal digits.

    Raises:
        BadInput: It holds something else.
        StoreError: It cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"the key file {path} cannot be read: {error.strerror}") from error
    if len(data) == KEY_BYTES:
        return data
    try:
        if len(key := bytes.fromhex(data.decode("ascii").strip())) == KEY_BYTES:
            return key
    except ValueError:
        pass
    raise BadInput(
        f"{path} holds no key of {KEY_BYTES} bytes", hint="write 32 random bytes, or their hexadecimal digits"
    )


def _check_extra() -> None:
    """Raise MissingExtra before anything is made, not after."""
    for module in ("cryptography", "sqlcipher3"):
        require(module, "keep a memory encrypted")


def _keys(master: bytes) -> Keys | None:
    return Keys(master) if master else None


def _is_plain(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(PLAIN_MAGIC)) == PLAIN_MAGIC
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def _only(path: Path) -> Iterator[None]:
    """Keep every other process from changing keys."""
    lock = FileLock(vault_path(path).with_name(vault_path(path).name + ".lock"))
    try:
        lock.acquire(timeout=_LOCK_S)
    except Timeout as error:
        raise Busy(f"another process changes the keys of {path}", hint="wait until it is done") from error
    except OSError as error:
        raise StoreError(f"the keys of {path} cannot be changed: {error.strerror}") from error
    with lock:
        try:
            yield
        finally:
            lock.release()
