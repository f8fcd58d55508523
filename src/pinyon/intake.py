"""What callers give, as experiences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from .core.clock import Instant, instant
from .core.cube import check_tags
from .core.experience import Conversation, Document, Experience, Note
from .core.payload import Json
from .core.scope import Scope
from .errors import BadInput

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
        from .sources import messages  # every format of files comes with it

        return messages(what, session=scope.session)
    raise BadInput(
        f"a {type(what).__name__} cannot be remembered",
        hint='give a text, or messages like [{"role": "user", "content": "hello"}]',
    )


def dressed(
    experience: Experience, moment: Instant | None, tags: Sequence[str], metadata: Mapping[str, Json]
) -> Experience:
    """Return an experience with a time, tags and metadata added; a turn's own time stays."""
    labels = (*check_tags(experience.tags), *check_tags(tags))
    merged = {**experience.metadata, **metadata}
    when = None if moment is None else instant(moment)
    if isinstance(experience, Conversation):
        turns = tuple(replace(turn, time=turn.time or when) for turn in experience.turns)
        return replace(experience, turns=turns, tags=labels, metadata=merged)
    return replace(experience, time=experience.time if when is None else when, tags=labels, metadata=merged)


def batches(experiences: Iterable[Experience]) -> Iterator[list[Experience]]:
    """Group experiences so that each group becomes about a thousand cubes.

    Raises:
        BadInput: They are no collection, or one of them is no experience.
    """
    if isinstance(experiences, (str, bytes, Mapping)) or not isinstance(experiences, Iterable):
        raise BadInput(
            f"many experiences are expected, not a {type(experiences).__name__}", hint="for one thing there is `add`"
        )
    batch: list[Experience] = []
    size = 0
    for place, experience in enumerate(experiences):
        if not isinstance(experience, (Note, Conversation, Document)):
            raise BadInput(
                f"thing {place} is a {type(experience).__name__} and no experience",
                hint="give a Note, a Conversation or a Document; `add` takes texts and messages, one by one",
            )
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
