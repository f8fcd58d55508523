"""The generator that a word names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import BadInput
from .models import Generator

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["generator_of"]


def generator_of(given: Generator | str, known: MutableMapping[str, Generator]) -> Generator:
    """Return the generator that is given, or that a word names; each word is looked up once.

    Args:
        given: As `Memory.ask` takes it.
        known: Those that words named before.

    Raises:
        BadInput: It is neither, or the word names none.
        MissingExtra: The choice needs a package that is not installed.
    """
    if isinstance(given, Generator):
        return given
    if not isinstance(given, str):
        raise BadInput(
            f"a {type(given).__name__} writes no answers",
            hint="give an object with a name and a generate, or a word",
        )
    if given not in known:
        known[given] = _named(given)
    return known[given]


def _named(word: str) -> Generator:
    if word.startswith("local:"):
        from .states import backbone_from

        return backbone_from(word)
    from .models import generator_from
    from .settings import key_for

    return generator_from(word, api_key=key_for(word))
