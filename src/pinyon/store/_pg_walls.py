"""PostgreSQL's own row-level security as a second wall behind the rights that pinyon decides.

The owner of the tables is not bound by their policies. Under another role the policies show a row only when the
transaction has said for whom it asks, and that caller stands inside its walls: tenant, user and agent, or rights and
spaces that pinyon's own decision let through. A mistake in a statement of pinyon then shows nothing of others. It does
not bind somebody who holds the password of such a role and speaks SQL: he can say to be anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..core.header import Rights
from ..core.where import View
from ..errors import BadInput

if TYPE_CHECKING:
    import psycopg

    from .postgres import PostgresEngine

__all__ = ["grant_walls", "said_by", "speaking_for"]

_READ = ("cubes", "versions", "vectors", "embedders", "rights", "head")


def grant_walls(engine: PostgresEngine, role: str) -> None:
    """Let a role ask under the policies: made when absent, without login, and granted to the role that connects.

    Args:
        engine: Connects as the owner of the tables.
        role: A plain name.

    Raises:
        BadInput: It is no plain name.
        StoreError: The owner may not make roles, and there is none of this name.
    """
    if not role.isidentifier() or not role.isascii() or role != role.lower():
        raise BadInput(f"{role!r} is no name of a role", hint="use lower-case letters, digits and _")

    def work(db: psycopg.Connection) -> None:
        if db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            db.execute(f"CREATE ROLE {role} NOLOGIN")
        db.execute(f"GRANT {role} TO CURRENT_USER")
        db.execute(f"GRANT USAGE ON SCHEMA {engine.links.schema} TO {role}")
        db.execute(f"GRANT SELECT ON {', '.join(_READ)} TO {role}")

    engine.links.write(work)


def said_by(view: View, known: Mapping[int, Rights]) -> dict[str, str]:
    """Return what a transaction says to the policies about a caller."""
    access = view.holds
    scope = access.scope
    granted = [str(id) for id, rights in sorted(known.items()) if access.grants(rights) and not access.bars(rights)]
    reach = [name for name, _ in access.policy.spaces if access.reading(name).reach]
    return {
        "tenant": _named(scope.tenant),
        "user": _named(scope.user),
        "agent": _named(scope.agent),
        "granted": "{" + ",".join(granted) + "}",
        "reach": "{" + ",".join(_quoted(name) for name in reach) + "}",
    }


def _named(name: str | None) -> str:
    return "-" if name is None else f"={name}"


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@contextmanager
def speaking_for(db: psycopg.Connection, role: str | None, view: View, known: Mapping[int, Rights]) -> Iterator[None]:
    """Put what follows inside under the policies, for a view's caller; not without a role or for the memory."""
    if role is None or view.holds.is_steward:
        yield
        return
    with db.transaction():
        said = said_by(view, known)
        settings = ", ".join(f"set_config('pinyon.{name}', %s, true)" for name in said)
        db.execute(f"SELECT set_config('role', %s, true), {settings}", (role, *said.values()))
        yield
        if db.info.transaction_status.name == "INTRANS":
            db.execute("RESET ROLE")
