"""The model that may judge contradictions, asked with care: that it fails is no reason not to remember."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from .errors import BadInput, PinyonError
from .govern.conflict import AskedJudge, Judge

if TYPE_CHECKING:
    from .models import Generator
    from .parts import Parts

__all__ = ["CarefulJudge", "judge_of"]

_LOG = logging.getLogger(__name__)
_MOST_TOKENS = 8  # of an answer of one word


@dataclass(frozen=True, slots=True)
class CarefulJudge:
    """A judge that has no opinion where the one behind it fails.

    Args:
        judge: The one behind it.
    """

    judge: Judge

    def contradicts(self, old: str, new: str) -> bool | None:
        """Return whether the new one makes the old one untrue; None for no opinion."""
        try:
            return self.judge.contradicts(old, new)
        except PinyonError as error:
            _LOG.warning("the judge of contradictions failed and has no opinion: %s", error.message)
            return None


def judge_of(given: Judge | Generator | str | None, parts: Parts) -> Judge | None:
    """Return what judges contradictions in a memory, or None for nothing but the rules.

    Args:
        given: As `Memory.open` takes it.
        parts: The memory, whose generators are shared.

    Raises:
        BadInput: It is neither a judge nor a generator, or the word names none.
        MissingExtra: The choice needs a package that is not installed.
    """
    if given is None:
        return None
    if not isinstance(given, str) and hasattr(given, "contradicts"):
        return CarefulJudge(cast("Judge", given))
    if not isinstance(given, str) and not hasattr(given, "generate"):
        raise BadInput(f"a {type(given).__name__} judges nothing", hint="give a Judge, a generator, or a word for one")
    from .models import Message

    generator = parts.generator(given)

    def answer(prompt: str) -> str:
        return generator.generate([Message("user", prompt)], max_tokens=_MOST_TOKENS)

    return CarefulJudge(AskedJudge(answer))
