"""Names of a room that are imported when they are first asked for, so that a search loads what a search needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["names_from"]


def names_from(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a room.

    A name that is also that of its module has to be imported at once: the module would stand in its place.

    Args:
        package: ``__name__`` of the room.
        homes: By module of the room, the names that it is asked for, with blanks between them.
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}

    def find(name: str) -> object:
        """Import a name when it is first asked for."""
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(import_module(f"{package}.{home_of[name]}"), name)
        setattr(sys.modules[package], name, found)  # asked for once: Python looks there before it comes here
        return found

    return find
