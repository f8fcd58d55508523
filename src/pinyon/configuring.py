"""What holds for a whole memory, whoever works with it: kept in the store, shown, changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Unpack, cast, get_args

from .erasing import Erasing
from .errors import BadInput
from .parts import AuditLevel, ConflictMode, Parts, Who
from .store.side import AuditLine

if TYPE_CHECKING:
    from .core.payload import Json
    from .schedule import LifecycleConfig
    from .store import Engine

__all__ = ["Configuration", "Configuring", "conflict_mode", "keep_life", "kept", "level_of", "life_kept"]

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
    """Configuration, configure."""

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
