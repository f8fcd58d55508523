"""What holds for a whole memory, whoever works with it: kept in the store, shown, changed."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Unpack, cast, get_args

from .core.scope import DEFAULT_SPACE
from .erasing import Erasing
from .errors import BadInput
from .parts import AuditLevel, ConflictMode, Parts, Who
from .store.side import AuditLine

if TYPE_CHECKING:
    from .core.payload import Json
    from .govern.redact import Redactor
    from .mounting import Mount
    from .schedule import LifecycleConfig
    from .store import Engine, UserKey

__all__ = [
    "REDACTION",
    "Configuration",
    "Configuring",
    "conflict_mode",
    "keep_life",
    "kept",
    "level_of",
    "life_kept",
    "redaction_of",
    "redactor_of",
    "secret_of",
]

_AUDIT: Final = "audit_level"
_CONFLICTS: Final = "conflicts"
_LIFECYCLE: Final = "lifecycle"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What holds for a whole memory.

    Args:
        audit: What is written to the audit.
        conflicts: Whose contradictions are looked for.
        lifecycle: When memories move by themselves.
    """

    audit: AuditLevel
    conflicts: ConflictMode
    lifecycle: LifecycleConfig


class Configuring(Erasing):
    """Configuration, configure, mount, unmount, mounts."""

    def configuration(self, **who: Unpack[Who]) -> Configuration:
        """Return what holds for the whole memory, as it was last said by anybody."""
        return _found(self._for(who).check_open())

    def configure(
        self,
        *,
        audit: AuditLevel | None = None,
        conflicts: ConflictMode | None = None,
        lifecycle: LifecycleConfig | None = None,
        **who: Unpack[Who],
    ) -> Configuration:
        """Change what holds for the whole memory, and return it; the change is written to the audit.

        Other processes that have the memory open see another lifecycle and another level of the audit at once, another
        way to look for contradictions when they open it again.

        Args:
            audit: As `Memory.open` takes it; None leaves it.
            conflicts: The same.
            lifecycle: The same.
            who: Who says so.

        Raises:
            Denied: Somebody has rules here, and the caller is no administrator of the whole memory.
        """
        caller = self._writer(who)
        caller.check_keeper("configure")
        root = caller.parts.root or caller.parts
        level, mode = level_of(audit), conflict_mode(conflicts)
        engine, detail = root.store.engine, dict[str, "Json"]()
        if audit is not None:
            kept(engine, _AUDIT, level)
            detail["audit"] = level
        if conflicts is not None:
            kept(engine, _CONFLICTS, mode)
            detail["conflicts"], root.conflicts = mode, mode
        if lifecycle is not None:
            keep_life(engine, lifecycle)
            detail["lifecycle"] = lifecycle.text()
        if detail:  # at every level of the audit: or who turns it down leaves no trace
            line = AuditLine(caller.now(), caller.scope, "configure", True, "default", caller.space, detail=detail)
            engine.audit.append([line])
        return _found(root)

    def mount(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        space: str = DEFAULT_SPACE,
        writable: bool = False,
        key: UserKey | None = None,
    ) -> Mount:
        """Make a space of another memory a space of this one, for everybody and every process; nothing is copied.

        Searching, asking, listing, getting and looking back work in it as in the other memory itself, by the rules
        of that one; adding, updating and forgetting too, where it is mounted for writing. A memory that is mounted
        for reading alone stays as it is to the last byte. What concerns this whole memory leaves mounts alone.

        Args:
            name: Of the space here; nothing may lie in it.
            path: Of the other memory: a file, a folder or an address, which has to be there.
            space: Its name there.
            writable: Whether it may be written from here.
            key: Of an encrypted memory. It is kept nowhere: the next process needs it again, from `Memory.open` or
                its variable.

        Raises:
            BadInput: The name or the place cannot be used, or it is this memory itself.
            Conflict: Something lies in this space already, or the other space is itself mounted there.
            Denied: Somebody has rules here, and the caller is no administrator of the whole memory.
            NotFound: There is no memory.
            StoreError: It cannot be opened.
        """
        from .mounting import mount

        return mount(self._caller, name, path, space=space, is_writable=writable, key=key)

    def unmount(self, name: str) -> Mount:
        """Let a name stand for no other memory any more, and return what it stood for; the other memory stays.

        Args:
            name: Of the space here.

        Raises:
            NotFound: Nothing is mounted under it.
            Denied: As in `mount`.
        """
        from .mounting import unmount

        return unmount(self._caller, name)

    def mounts(self) -> tuple[Mount, ...]:
        """Return what is mounted, in order of name, and of each why it cannot be used now, if it cannot."""
        from .mounting import mounts

        return mounts(self._caller)


def _found(parts: Parts) -> Configuration:
    engine = parts.root_engine
    return Configuration(level_of(engine.setting(_AUDIT)), conflict_mode(engine.setting(_CONFLICTS)), life_kept(engine))


def life_kept(engine: Engine) -> LifecycleConfig:
    """Return when memories of a store move by themselves.

    Raises:
        Damaged: What is kept is nothing of the kind.
    """
    from .schedule import LifecycleConfig

    known = engine.setting(_LIFECYCLE)
    return LifecycleConfig() if known is None else LifecycleConfig.from_text(known)


def keep_life(engine: Engine, wanted: LifecycleConfig | None) -> None:
    """Let the memories of a store move by themselves at other times from now on; None leaves it."""
    if wanted is not None:
        kept(engine, _LIFECYCLE, wanted.text())


def level_of(name: str | None) -> AuditLevel:
    """Return a level of the audit by its name.

    Raises:
        BadInput: There is none.
    """
    return cast("AuditLevel", _one_of(get_args(AuditLevel), name or "denials", "level of the audit"))


def conflict_mode(name: str | None) -> ConflictMode:
    """Return a way to look for contradictions by its name.

    Raises:
        BadInput: There is none.
    """
    return cast("ConflictMode", _one_of(get_args(ConflictMode), name or "explicit", "way to look for contradictions"))


def secret_of(engine: Engine, name: str) -> bytes:
    """Return a secret of a store, made when it is first asked for; 32 bytes.

    Args:
        engine: The store.
        name: What it is for.
    """
    key = f"{name}_key"
    known = engine.setting(key)
    if known is None:
        if engine.is_read_only:
            return secrets.token_bytes(32)  # for this process alone: nothing it hashes is kept
        with engine.transaction() as tx:  # two processes agree on one
            known = tx.setting(key)
            if known is None:
                known = secrets.token_hex(32)
                tx.set_setting(key, known)
    return bytes.fromhex(known)


REDACTION = "redaction"
"""Setting of the store that holds the rules of redaction of the whole memory as JSON; see `redaction_of`."""


def redaction_of(tenant: str | None) -> str:
    """Return the setting that holds a tenant's rules of redaction; those of nobody's tenant hold for all."""
    return REDACTION if tenant is None else f"{REDACTION}:{tenant}"


def redactor_of(engine: Engine, tenant: str | None) -> Redactor | None:
    """Return what redacts for a tenant: the rules of the whole memory, and its own where those are silent."""
    said = tuple(engine.setting(key) or "" for key in dict.fromkeys((REDACTION, redaction_of(tenant))))
    return _redactor(said, secret_of(engine, REDACTION)) if any(said) else None


@lru_cache(maxsize=8)
def _redactor(said: tuple[str, ...], key: bytes) -> Redactor:
    from .govern.redact import RedactionRule, Redactor  # a hundred expressions, and most memories have no rule

    rules: dict[str, RedactionRule] = {}
    for text in said:
        for each in json.loads(text) if text else ():
            rules.setdefault(each["kind"], RedactionRule(**each))
    return Redactor(list(rules.values()), key=key)


def _one_of(known: tuple[str, ...], name: str, what: str) -> str:
    if name not in known:
        raise BadInput(f"there is no {what} {name!r}", hint=f"use one of {', '.join(known)}")
    return name


def kept(engine: Engine, name: str, wanted: str | None) -> str | None:
    """Return a setting of the store, changed to what is wanted, if anything is.

    Args:
        engine: The store.
        name: Of the setting.
        wanted: Its value from now on, or None.
    """
    known = engine.setting(name)
    if wanted is not None and known != wanted and not engine.is_read_only:
        engine.set_setting(name, wanted)
    return wanted or known
