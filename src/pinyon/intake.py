"""What callers give, as experiences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from .core.clock import Instant, instant
from .core.experience import Conversation, Document, Experience, Note
from .core.payload import Json
from .core.scope import Scope
from .errors import BadInput
from .sources import messages

__all__ = ["BATCH", "batches", "dressed", "experience_of"]

BATCH = 1000
"""Drafts a transaction of an import: about 0.1 s during which other writers wait."""


def experience_of(what: object, scope: Scope) -> Experience:
    """Return a text, chat messages or an experience as an experience.

    Raises:
        BadInput: It is none of these.
    """
    if isinstance(what, str):
        return Note(what)
    if isinstance(what, (Note, Conversation, Document)):
        return what
    if isinstance(what, Mapping):
        what = [what]
    if isinstance(what, Sequence) and not isinstance(what, (bytes, bytearray)):
        return messages(what, session=scope.session)
    raise BadInput(
        f"a {type(what).__name__} cannot be remembered",
        hint='give a text, or messages like [{"role": "user", "content": "hello"}]',
    )


def dressed(
    experience: Experience, moment: Instant | None, tags: Sequence[str], metadata: Mapping[str, Json]
) -> Experience:
    """Return an experience with a time, tags and metadata added; a turn's own time stays."""
    labels = (*experience.tags, *((tags,) if isinstance(tags, str) else tags))
    merged = {**experience.metadata, **metadata}
    when = None if moment is None else instant(moment)
    if isinstance(experience, Conversation):
        turns = tuple(replace(turn, time=turn.time or when) for turn in experience.turns)
        return replace(experience, turns=turns, tags=labels, metadata=merged)
    return replace(experience, time=experience.time if when is None else when, tags=labels, metadata=merged)


def batches(experiences: Iterable[Experience]) -> Iterator[list[Experience]]:
    """Group experiences so that each group becomes about a thousand cubes."""
    batch: list[Experience] = []
    size = 0
    for experience in experiences:
        batch.append(experience)
        size += _size(experience)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(experience: Experience) -> int:
    match experience:
        case Conversation():
            return len(experience.turns)
        case Document():
            return 1 + len(experience.text) // 1000
        case Note():
            return 1
