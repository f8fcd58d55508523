"""Spaces that are those of other memories: looked at where they lie, and not copied."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, urlsplit

from .core.payload import canonical
from .core.scope import DEFAULT_SPACE, check_name
from .erasing import is_used
from .errors import BadInput, Conflict, Denied, NotFound, PinyonError, StoreError, WrongKey
from .parts import MOUNTS
from .places import check_whole, file_of, is_server
from .store.side import AuditBefore, AuditLine

if TYPE_CHECKING:
    from .core.payload import Json
    from .parts import Caller, Parts
    from .store import Engine, UserKey
    from .store.side import AuditTable

__all__ = ["Mount", "Mounts", "Untouched", "mount", "mounts", "unmount"]

_PATH_TRICKS = re.compile(r"[/\\]|^\.")
_PAUSES_S = (0.0, 0.002, 0.01, 0.05, 0.2)  # before a read is tried again: a log is folded in within some milliseconds
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Mount:
    """A space of this memory that is one of another memory.

    Args:
        name: Of the space here.
        place: Of the other memory: a file or an address.
        space: Its name there.
        is_writable: Whether it may be written through this memory.
        trouble: Why it cannot be used now, in one sentence; empty when it can.
    """

    name: str
    place: str
    space: str = DEFAULT_SPACE
    is_writable: bool = False
    trouble: str = ""

    def refuse(self) -> NoReturn:
        """Refuse what is done in a memory itself alone.

        Raises:
            BadInput: Always.
        """
        raise BadInput(
            f"this is not done through a mount: the space {self.name!r} lies in another memory",
            hint=f"open {self.place} itself",
        )

    def check_writes(self, caller: Caller) -> None:
        """Refuse writing where it is mounted for reading; the refusal goes into the audit of the memory at home.

        Raises:
            Denied: It is.
        """
        if not self.is_writable:
            caller.parts.auditor.denied(caller.scope, "write", rule="mount", space=caller.space)
            raise Denied(
                f"the space {self.name!r} is mounted for reading alone",
                hint="write into another space; `pinyon mount … --writable` mounts it for writing, too",
                rule="mount",
            )


# --- what is opened ------------------------------------------------------------------------------------------------


class Untouched:
    """An engine that is read without locks, so that not a byte changes where it lies.

    What somebody wrote into while it was read is read again; see `store._connections.Moved`.

    Args:
        engine: That was opened for reading alone.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> object:
        found = getattr(self._engine, name)
        if name in ("transaction", "close") or not callable(found):
            return found
        return lambda *given, **named: _again(lambda: found(*given, **named))


class _AuditAtHome(AuditBefore):
    """The audit of the memory at home, for what is done in a space of another one.

    Args:
        table: The audit at home.
        name: Of the space there.
    """

    def __init__(self, table: AuditTable, name: str) -> None:
        super().__init__(table)
        self._name = name

    def append(self, lines: Sequence[AuditLine]) -> None:
        """Write lines under the name of the space at home."""
        self._table.append([replace(line, space=self._name) for line in lines])


@dataclass(frozen=True, slots=True)
class _Opened:
    """A memory that is mounted and open.

    Args:
        mount: How.
        whole: The memory.
        parts: Of its space that is mounted.
        marks: Which file it was.
    """

    mount: Mount
    whole: Parts
    parts: Parts
    marks: tuple[int, ...]


class Mounts:
    """Opens the memory of a mounted space when it is first asked for, and again when it is mounted otherwise.

    Args:
        home: The memory that they are mounted in.
    """

    def __init__(self, home: Parts) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._doors: dict[str, threading.Lock] = {}
        self._opened: dict[str, _Opened] = {}

    @property
    def known(self) -> dict[str, Mount]:
        """What is mounted now, by whatever process, by name."""
        return _read(self._home.store.engine.setting(MOUNTS))

    def parts(self, space: str) -> Parts | None:
        """Return the parts of what is mounted as a space; None when nothing is.

        Raises:
            PinyonError: It is missing, damaged, locked, of a later version, or out of reach.
        """
        found = self.known.get(space)
        if found is None:
            if space in self._opened:
                self.let_go(space)
            return None
        try:
            return self._reached(found)
        except PinyonError as error:
            said = f"{space!r} is mounted and cannot be used: {error.message}"
            raise type(error)(said, hint=error.hint or "`pinyon mounts` shows what is mounted") from error

    def trouble(self, mount: Mount) -> str:
        """Return why what is mounted cannot be used now, in one sentence; an empty text when it can."""
        try:
            self._reached(mount)
        except PinyonError as error:
            return error.message
        return ""

    def _reached(self, mount: Mount) -> Parts:
        if self._home.is_closed:
            raise BadInput("this memory is closed", hint="open it again")
        with self._door(mount.name):  # one that is long in coming holds up nobody but those who want it
            opened = self._opened.get(mount.name)
            if opened is not None and (opened.mount != mount or opened.marks != _marks(mount.place)):
                self._opened.pop(mount.name).whole.close()
                opened = None
            if opened is None:
                opened = self._opened[mount.name] = self.opened(mount, self._home.mount_keys.get(mount.name))
            return opened.parts

    def opened(self, mount: Mount, key: UserKey | None) -> _Opened:
        """Open a memory as it is to be mounted; close it when you are done.

        Args:
            mount: How.
            key: Of an encrypted one; None looks into the settings.

        Raises:
            NotFound: It is not there.
            Conflict: Its space is itself mounted there.
            StoreError: It cannot be opened, or not be written and is to be.
        """
        assert self._home.elsewhere is not None  # every memory that was opened has it
        marks = _marks(mount.place)
        key, open_, is_read_only = key or _key(mount.name), self._home.elsewhere, not mount.is_writable
        try:
            whole = _again(lambda: open_(mount.place, key, is_read_only))
        except WrongKey as error:
            variable = _variable(mount.name)
            hint = error.hint if key else f"its key: {variable}_KEY_FILE names the file, or {variable}_KEY says it"
            raise WrongKey(error.message, hint=hint) from error
        try:
            if mount.space in _read(whole.store.engine.setting(MOUNTS)):
                raise Conflict(
                    f"the space {mount.space!r} is itself mounted there, and mounts of mounts are not followed",
                    hint="mount the memory that it lies in",
                )
            if mount.is_writable and whole.store.engine.is_read_only:
                raise StoreError(f"{mount.place} cannot be written", hint="mount it for reading alone")
            parts = (None if whole.rooms is None else whole.rooms.parts(mount.space)) or whole
            self._dress(parts, mount)
        except BaseException:
            whole.close()
            raise
        return _Opened(mount, whole, parts, marks)

    def _dress(self, parts: Parts, mount: Mount) -> None:
        """Let parts know that they are mounted; what is only read keeps no index and has its audit at home."""
        parts.host, parts.mount = self._home, mount
        if mount.is_writable:
            return
        home, kept = self._home.auditor, self._home.store.engine.audit
        parts.finder = parts.finder.beside(parts.store.engine)
        parts.auditor = home.beside(_AuditAtHome(kept, mount.name))

    def let_go(self, name: str) -> None:
        """Close what was mounted under a name, if it is open."""
        with self._door(name):
            opened = self._opened.pop(name, None)
            if opened is not None:
                opened.whole.close()

    def close(self) -> None:
        """Close every memory that was opened."""
        for name in list(self._opened):
            self.let_go(name)

    def _door(self, name: str) -> threading.Lock:
        with self._lock:
            return self._doors.setdefault(name, threading.Lock())


# --- verbs ---------------------------------------------------------------------------------------------------------


def mount(
    caller: Caller, name: str, place: str | os.PathLike[str], *, space: str, is_writable: bool, key: UserKey | None
) -> Mount:
    """Make a space of another memory one of this memory, see `Memory.mount`."""
    caller = _keeper(caller, "mount")
    found = Mount(_name(name), _place(place), check_name(space, "space"), is_writable)
    home = caller.parts
    engine, mounts = home.store.engine, home.all_mounts()
    seq = engine.head().seq
    _check_free(home, found, 1)
    _check_other(home, found, mounts, key)
    with engine.transaction() as tx:
        _check_free(home, found, seq + 1)
        known = _read(tx.setting(MOUNTS))
        _check_same(known.get(found.name), found)
        tx.set_setting(MOUNTS, _written({**known, found.name: found}))
    if key is not None:
        home.mount_keys[found.name] = key
    _tell(caller, "mount", found)
    return found


def unmount(caller: Caller, name: str) -> Mount:
    """Let a name stand for no other memory any more, see `Memory.unmount`."""
    caller = _keeper(caller, "unmount")
    home = caller.parts
    let_go = home.all_mounts().let_go  # which a run of several verbs does not have
    with home.store.engine.transaction() as tx:
        known = _read(tx.setting(MOUNTS))
        gone = known.pop(name, None)
        if gone is None:
            raise NotFound(f"nothing is mounted as {name!r}", hint="`pinyon mounts` shows what is")
        tx.set_setting(MOUNTS, _written(known))
    let_go(name)
    home.mount_keys.pop(name, None)
    _tell(caller, "unmount", gone)
    return gone


def mounts(caller: Caller) -> tuple[Mount, ...]:
    """Return what is mounted, and whether it can be used, see `Memory.mounts`."""
    here = caller.parts.home.all_mounts()
    return tuple(replace(each, trouble=here.trouble(each)) for _, each in sorted(here.known.items()))


def _keeper(caller: Caller, action: str) -> Caller:
    """Return the caller in the memory at home, where it has to be one that may say what holds for all of it."""
    there = replace(caller, parts=caller.parts.home, space=DEFAULT_SPACE)
    there.check_now()
    there.check_keeper(action)
    return there


def _tell(caller: Caller, action: str, said: Mount) -> None:
    detail: dict[str, Json] = {"place": said.place, "space": said.space, "writable": said.is_writable}
    rule = "admin" if caller.is_admin else "default"
    caller.parts.store.engine.audit.append(  # at every level of the audit: it says what everybody may find
        [AuditLine(caller.now(), caller.scope, action, True, rule, said.name, detail=detail)]
    )


# --- checks --------------------------------------------------------------------------------------------------------


def _name(name: str) -> str:
    if check_name(name, "space") == DEFAULT_SPACE:
        raise BadInput(f"{name!r} is the space of this memory itself", hint="give the mount another name")
    if _PATH_TRICKS.search(name):
        raise BadInput(f"{name!r} looks like a path and is no name of a mount", hint="give the name first, then where")
    return name


def _place(place: str | os.PathLike[str]) -> str:
    """Return where a memory lies such that it is found from everywhere, without secrets."""
    if isinstance(place, str) and is_server(place):
        address = urlsplit(place)
        options = dict(parse_qsl(address.query))
        inner = urlsplit(options.get("read", ""))
        if address.password or inner.password or "password" in options:
            raise BadInput(
                "the address holds a password, and what is mounted is kept without secrets",
                hint="leave it out, and keep it in ~/.pgpass or PGPASSWORD",
            )
        return place
    if str(place) == ":memory:":
        raise BadInput("a memory in memory cannot be mounted", hint="give a file or an address")
    return os.path.abspath(file_of(place))


def _check_free(home: Parts, found: Mount, since: int) -> None:
    """Refuse a name under which something lies in this memory; entries of the journal before a number are known."""
    if home.rooms is not None and found.name in home.rooms.names:
        raise Conflict(f"the space {found.name!r} has a key of its own here", hint="give the mount another name")
    if is_used(home.store.engine, found.name, since):
        raise Conflict(f"the space {found.name!r} holds memories already", hint="give the mount another name")


def _check_same(known: Mount | None, found: Mount) -> None:
    if known is not None and (known.place, known.space) != (found.place, found.space):
        raise Conflict(f"{known.place} is mounted as {known.name!r} already", hint="unmount it, or take another name")


def _check_other(home: Parts, found: Mount, mounts: Mounts, key: UserKey | None) -> None:
    """Refuse what cannot be opened, and the memory itself."""
    _check_same(mounts.known.get(found.name), found)
    here, there = home.store.engine.location, found.place
    if os.path.exists(here) and os.path.exists(there) and os.path.samefile(here, there):
        raise _itself()
    opened = mounts.opened(found, key or home.mount_keys.get(found.name))
    try:
        if is_server(found.place) and opened.whole.store.engine.identity == home.store.engine.identity:
            raise _itself()
    finally:
        opened.whole.close()


def _itself() -> BadInput:
    return BadInput("a memory cannot be mounted in itself", hint="its spaces are reached by --space")


def _marks(place: str) -> tuple[int, ...]:
    """Return which file lies at a place; an empty tuple for a server.

    Raises:
        NotFound: None does.
        Damaged: It is empty.
    """
    if is_server(place):
        return ()
    try:
        found = os.stat(place)
    except OSError as error:
        raise NotFound(f"there is no memory at {place!r}", hint="was it moved?") from error
    check_whole(Path(place), is_wanted=True)
    return found.st_dev, found.st_ino


def _variable(name: str) -> str:
    from .settings import variable_of_mount

    return variable_of_mount(name)


def _key(name: str) -> UserKey | None:
    """Return the key of what is mounted under a name as the settings have it, or None."""
    from .settings import key_of_mount

    said = key_of_mount(name)
    if not isinstance(said, Path):
        return said
    from .store.vault import read_key

    return read_key(said)


def _again(read: Callable[[], _T]) -> _T:
    """Return what a read gives, which is tried again when somebody wrote meanwhile."""
    from .store._connections import Moved

    for pause in _PAUSES_S:
        try:
            return read()
        except Moved:
            time.sleep(pause)
    return read()


def _read(text: str | None) -> dict[str, Mount]:
    said: dict[str, Any] = json.loads(text) if text else {}
    return {
        name: Mount(name, one["place"], one["space"], is_writable=bool(one["writable"])) for name, one in said.items()
    }


def _written(known: dict[str, Mount]) -> str:
    return canonical(
        {
            name: {"place": one.place, "space": one.space, "writable": one.is_writable}
            for name, one in sorted(known.items())
        }
    )
