"""Read XML of strangers as a stream of events, with entities refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from xml.parsers import expat

from ..errors import UnreadableSource
from .base import Limits

__all__ = ["Listener", "listen", "short"]

_SEPARATOR = "\n"  # cannot stand in a namespace


class Listener(Protocol):
    """What hears the events of a document; names are ``namespace\\nlocal``."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Hear an element begin."""
        ...

    def end(self, tag: str) -> None:
        """Hear an element end."""
        ...

    def characters(self, text: str) -> None:
        """Hear text."""
        ...


def short(tag: str) -> str:
    """Return a name without its namespace."""
    return tag.rpartition(_SEPARATOR)[2]


def listen(data: bytes, listener: Listener, *, name: str, limits: Limits) -> None:
    """Tell a listener what an XML document holds.

    Expat itself is used because its hooks let entity declarations be refused, which removes the attacks that need
    them (billions of laughs, external files), and because a stream needs no tree in memory.

    Args:
        data: The document.
        listener: Hears elements and text in order.
        name: What to call the file in an error.
        limits: Deepest nesting.

    Raises:
        UnreadableSource: The XML is broken, declares entities, or is nested too deeply.
    """
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > limits.max_depth:
            raise UnreadableSource(
                f"{name!r} is nested more than {limits.max_depth} levels deep", hint="raise Limits.max_depth"
            )
        listener.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        listener.end(tag)

    def refuse(*_: object) -> None:
        raise UnreadableSource(
            f"{name!r} declares XML entities, which sound files of this sort never do", hint="do not trust it"
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = listener.characters
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except UnreadableSource:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: an encoding that expat cannot use
        raise UnreadableSource(f"{name!r} is broken: its XML ends or errs midway", hint="save it again") from error
