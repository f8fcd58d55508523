"""The verb of a memory that lies on several servers, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..errors import BadInput
from .outcomes import Shown
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..memory import Memory
    from ..store.postgres import PostgresEngine

__all__ = ["SERVER_VERBS"]


def _servers(memory: Memory, given: Given) -> Shown:
    from ..store.postgres import attach_server, detach_server, grant_walls, move_bucket, move_space, parts

    memory.caller.check_keeper("servers")
    engine = _engine_of(memory)
    name, address, onto = given.maybe("attach", str), given.maybe("address", str), given.maybe("onto", str)
    moved, number = given.maybe("move_space", str), given.maybe("move_bucket", int)
    if (name is None) != (address is None):
        raise BadInput("a server is attached by a name and an address", hint="give --attach NAME --address ADDRESS")
    if onto is not None and moved is None and number is None:
        raise BadInput("nothing says what to move", hint="give --move-space NAME or --move-bucket N")
    if name is not None:
        attach_server(engine, name, cast("str", address))
    if moved is not None:
        move_space(engine, moved, onto)
    if number is not None:
        move_bucket(engine, number, onto)
    if (gone := given.maybe("detach", str)) is not None:
        detach_server(engine, gone)
    if (role := given.maybe("walls", str)) is not None:
        grant_walls(engine, role)
    found = parts(engine)
    data = [{"key": part.key, "space": part.space, "server": part.server} for part in found]
    lines = [
        f"{f'space {part.space}' if part.space else f'bucket {part.key}'}: {part.server or 'the first server'}"
        for part in found
    ]
    return Shown(cast("Any", data), tuple(lines))


def _engine_of(memory: Memory) -> PostgresEngine:
    from ..store.postgres import PostgresEngine

    engine = memory.store.engine
    if not isinstance(engine, PostgresEngine):
        raise BadInput(
            f"the memory at {engine.location!r} lies on no server",
            hint="`pinyon migrate --to postgresql://…` brings it onto one",
        )
    return engine


SERVER_VERBS: tuple[Verb, ...] = (
    Verb(
        "servers",
        "Show on which servers the parts of a memory lie, or move them.",
        "For a memory on a PostgreSQL server. A bucket holds the spaces whose names fall into it; a space may have a"
        " part of its own. Parts move while they are used. With --walls a role is made ready under which callers'"
        " questions are asked, so that the database itself keeps them apart: then open"
        " postgresql://host/database?role=NAME.",
        (
            "pinyon servers",
            "pinyon servers --attach east --address postgresql://pinyon@east.example/notes",
            "pinyon servers --move-space ward --onto east",
            "pinyon servers --walls pinyon_caller",
        ),
        (
            Parameter("attach", "Make another server known under this name", "text", "edge", ("--attach",), "NAME"),
            Parameter("address", "Its address, with --attach", "text", "edge", ("--address",), "ADDRESS"),
            Parameter("detach", "Forget a server on which nothing lies any more", "text", "edge", ("--detach",),
                      "NAME"),
            Parameter("move_space", "Give this space a part of its own, and move it", "text", "edge",
                      ("--move-space",), "SPACE"),
            Parameter("move_bucket", "Move this bucket", "integer", "edge", ("--move-bucket",), "N", least=0),
            Parameter("onto", "Server that it goes to; the first one when not given", "text", "edge", ("--onto",),
                      "NAME"),
            Parameter("walls", "Make a role ready under which callers' questions are asked", "text", "edge",
                      ("--walls",), "ROLE"),
        ),
        ("pinyon.store.postgres:parts",),
        _servers,
    ),
)  # fmt: skip
"""Servers."""
