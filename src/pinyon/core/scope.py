"""Who asks, and in which space."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import BadInput

__all__ = ["DEFAULT_SPACE", "Scope", "check_name"]

DEFAULT_SPACE = "main"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_NAME = 255  # the longest file name of common file systems; names are never used as paths


def check_name(value: str, what: str) -> str:
    """Return a name of a space, user, agent, session or tag unchanged when it can be used as one.

    Raises:
        BadInput: It is empty, longer than 255 characters, holds control characters or is not valid Unicode.
    """
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"the name of a {what} must not be empty, got {value!r}")
    if len(value) > _LONGEST_NAME:
        raise BadInput(f"the name of a {what} has {len(value)} characters, at most {_LONGEST_NAME} are possible")
    if _CONTROL.search(value):
        raise BadInput(f"the name of a {what} must not hold control characters, got {value!r}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(f"the name of a {what} is not valid Unicode: {value!r}") from error
    return value


@dataclass(frozen=True, slots=True)
class Scope:
    """Who asks or writes.

    Walls: a cube of another tenant is never seen; a cube that belongs to a user or agent is seen by that user or
    agent alone; a cube without user (or agent) is shared with all of its tenant. The session says where something was
    said; it is no wall, because a memory is for later sessions.

    Args:
        tenant: The customer of a shared installation, or None.
        user: The person, or None for what is shared.
        agent: The program acting for the person, or None.
        session: The conversation, or None.
    """

    tenant: str | None = None
    user: str | None = None
    agent: str | None = None
    session: str | None = None

    def __post_init__(self) -> None:
        for what in ("tenant", "user", "agent", "session"):
            value = getattr(self, what)
            if value is not None:
                check_name(value, what)

    @property
    def given(self) -> dict[str, str]:
        """Those of its names that are given, by what they name.

        Example:
            >>> Scope(user="ann", session="1").given
            {'user': 'ann', 'session': '1'}
        """
        walls = {"tenant": self.tenant, "user": self.user, "agent": self.agent, "session": self.session}
        return {name: value for name, value in walls.items() if value is not None}

    def sees(self, owner: Scope) -> bool:
        """Return whether this caller may see what `owner` wrote.

        Example:
            >>> Scope(user="ann").sees(Scope(user="bob"))
            False
            >>> Scope(user="ann", session="2").sees(Scope(user="ann", session="1"))
            True
            >>> Scope(user="ann").sees(Scope())
            True
            >>> Scope().sees(Scope(user="ann"))
            False
        """
        return (
            owner.tenant == self.tenant
            and (owner.user is None or owner.user == self.user)
            and (owner.agent is None or owner.agent == self.agent)
        )
