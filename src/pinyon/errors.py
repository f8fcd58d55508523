"""Everything pinyon raises.

::

    PinyonError
    ├── BadInput (ValueError)            what was given cannot be used
    │   └── UnreadableSource             a file or stream that no reader can open
    ├── NotFound (KeyError)              no such cube, space or file for this caller
    ├── Denied (PermissionError)         the caller's rights do not allow it
    ├── Conflict (RuntimeError)          somebody else changed it first
    ├── StoreError (OSError)             the place where memories rest failed
    │   ├── Busy                         another process held the database too long
    │   ├── Damaged                      the file is not a sound pinyon database
    │   ├── TooNew                       written by a later version of pinyon
    │   └── WrongKey                     the memory is encrypted, and this is not its key
    ├── ModelError (RuntimeError)        an embedder or generator failed
    └── MissingExtra (ImportError)       an optional dependency is not installed

Every message is one sentence; ``hint`` is the next step when there is one.
"""

from __future__ import annotations

__all__ = [
    "BadInput",
    "Busy",
    "Conflict",
    "Damaged",
    "Denied",
    "MissingExtra",
    "ModelError",
    "NotFound",
    "PinyonError",
    "StoreError",
    "TooNew",
    "UnreadableSource",
    "WrongKey",
]


class PinyonError(Exception):
    """Root of every error that pinyon raises on purpose.

    Args:
        message: One sentence with the offending value and what was expected.
        hint: The next step, or an empty string.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class BadInput(PinyonError, ValueError):
    """What was given cannot be used."""


class UnreadableSource(BadInput):
    """A file or stream that no reader can open."""


class NotFound(PinyonError, KeyError):
    """No such cube, space or file for this caller."""


class Denied(PinyonError, PermissionError):
    """The caller's rights do not allow it.

    Args:
        message: One sentence; it never says more than the caller may know.
        hint: The next step, or an empty string.
        rule: Which rule denied it, as `Decision.rule` names it.
    """

    def __init__(self, message: str, *, hint: str = "", rule: str = "default") -> None:
        super().__init__(message, hint=hint)
        self.rule = rule


class Conflict(PinyonError, RuntimeError):
    """Somebody else changed it first."""


class StoreError(PinyonError, OSError):
    """The place where memories rest failed."""


class Busy(StoreError):
    """Another process held the database for too long."""


class Damaged(StoreError):
    """The file is not a sound pinyon database."""


class TooNew(StoreError):
    """The database was written by a later version of pinyon."""


class WrongKey(StoreError):
    """The memory is encrypted, and its key was not given or is another one."""


class ModelError(PinyonError, RuntimeError):
    """An embedder or generator failed."""


class MissingExtra(PinyonError, ImportError):
    """An optional dependency is not installed."""
