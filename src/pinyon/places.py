"""Where a memory lies: the file behind a path, a folder or an address."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import BadInput, Damaged

__all__ = ["check_whole", "file_of", "is_server"]

_SERVERS = ("postgresql", "postgres")
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/(?P<rest>.*)", re.DOTALL)  # a drive has one letter
_MADE_LATER = (".index", ".blobs")  # lie beside a file only after it held a memory


def is_server(place: str | os.PathLike[str]) -> bool:
    """Return whether a place is the address of a database server."""
    return isinstance(place, str) and place.partition("://")[0] in _SERVERS


def file_of(place: str | os.PathLike[str]) -> Path:
    """Return the file behind a path, a folder or an address of a file.

    Args:
        place: A file, a folder (then ``memory.db`` in it), or ``sqlite:///notes.db``.

    Raises:
        BadInput: It is no path, or an address of something else; the message shows no more than its scheme, for the
            rest may hold a password.
    """
    if not isinstance(place, (str, os.PathLike)):
        raise BadInput(f"a memory lies at a path or an address, not at {place!r}", hint='give "notes.db" or ":memory:"')
    text = os.fsdecode(place)
    if found := _ADDRESS.fullmatch(text):
        if found["scheme"] != "sqlite":
            raise BadInput(
                f"there is no store for {found['scheme']!r} addresses",
                hint="give a path, sqlite:///… or postgresql://…",
            )
        text = found["rest"].removeprefix("/").removeprefix("/")  # three before a relative path, four before another
    if not text.strip() or "\x00" in text:
        raise BadInput(f"{text!r} cannot be a path", hint="give the name of a file")
    file = Path(text).expanduser()
    return file / "memory.db" if file.is_dir() or text.endswith(("/", os.sep)) else file


def check_whole(file: Path, *, is_wanted: bool = False) -> None:
    """Refuse a file that was cut to nothing, which SQLite would take for a database that is still to be made.

    Args:
        file: Where the memory lies.
        is_wanted: Whether it has to be one; otherwise an empty file may become one, unless what only a memory has lies
            beside it.

    Raises:
        Damaged: It is empty.
    """
    if not file.is_file() or file.stat().st_size:
        return
    if is_wanted or any(file.with_name(file.name + end).exists() for end in _MADE_LATER):
        raise Damaged(
            f"{file} is an empty file and no memory", hint="restore a copy of it, or remove it to begin a memory there"
        )
