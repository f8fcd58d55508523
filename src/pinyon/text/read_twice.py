"""Show a context twice, with the question before the first time, so that the second reading knows what matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..core.budget import Budget, Footprint
from ..errors import BadInput
from .base import Composer, Context, Hit, Shelf
from .pack import Pack

__all__ = ["ReadTwice", "as_document", "once", "twice"]


def as_document(text: str, question: str = "") -> str:
    """Return a text as both readings show it: one full stop at its end, and without the question if it ends with it.

    Args:
        text: What is to be read.
        question: Cut off where the text happens to end with it.

    Example:
        >>> as_document("\\nAnn keeps bees. Who keeps bees?", "Who keeps bees?")
        'Ann keeps bees.'
    """
    text = text.strip("\n").rstrip()
    if question and text.endswith(question):
        text = text[: -len(question)].rstrip()
    return text.removesuffix(".") + "."


def once(text: str, cue: str) -> str:
    """Return the prompt that shows a text and then what is to be continued.

    Args:
        text: What is to be read.
        cue: What the answer continues: "Key:", or the beginning of a statement.
    """
    return f"{as_document(text, cue)} {cue}"


def twice(text: str, cue: str, question: str) -> str:
    """Return the prompt that asks, shows a text, shows it again, and then what is to be continued.

    Args:
        text: What is to be read.
        cue: What the answer continues.
        question: What the first reading is told: the question itself, or "Information about Key.".

    Source: JRT-Prompt, the released templates.

    Example:
        >>> print(twice("Weight: 3 kg", "Weight:", "Information about Weight."))
        Information about Weight. Weight: 3 kg.
        Weight: 3 kg. Weight:
    """
    document = as_document(text, cue)
    return f"{question} {document}\n{document} {cue}"


@dataclass(frozen=True, slots=True)
class ReadTwice:
    """Lay hits out twice, the question before the first time; the caller asks it again after the second.

    A model that reads from left to right does not know at the first reading what will be asked, least of all one whose
    state has a fixed size; at the second it does. Costs twice the tokens, which are counted: where the passages do not
    fit twice, they are shown once as the plain composer shows them, unless `always`, which shows fewer of them twice.

    Args:
        question: What will be asked.
        composer: Lays out one reading.
        always: Rather read less twice than all of it once.

    Raises:
        BadInput: The question is empty.

    Source: Arora et al. 2024, arXiv 2407.05483, JRT-Prompt.
    Deviates: passages of a memory keep their numbers and dates, so each copy is the context as `Pack` lays it out; the
        last question is put by whoever makes the prompt.
    """

    question: str
    composer: Composer = field(default_factory=Pack)
    always: bool = False

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise BadInput("the question is empty", hint="reading twice needs to know what will be asked")

    def compose(self, hits: Sequence[Hit], shelf: Shelf, budget: Budget) -> Context:
        """Return both readings, or one where two do not fit.

        Args:
            hits: In any order.
            shelf: Counts the tokens.
            budget: Tokens and bytes of the whole text, never exceeded.
        """
        single = self.composer.compose(hits, shelf, budget)
        if not single.hits:
            return single
        whole = self._doubled(single, shelf)
        if budget.allows(whole.footprint):
            return whole
        return self._fewer(hits, shelf, budget) or single if self.always else single

    def _doubled(self, one: Context, shelf: Shelf) -> Context:
        text = f"{self.question.strip()}\n{one.text}\n\n{one.text}"
        footprint = Footprint(tokens=shelf.tokens([text])[0], bytes=len(text.encode()))
        return replace(one, text=text, footprint=footprint)

    def _fewer(self, hits: Sequence[Hit], shelf: Shelf, budget: Budget) -> Context | None:
        """Return both readings of as much as fits twice; None where that is nothing."""
        asked = self.question.strip()
        tokens, size = budget.tokens, budget.bytes
        room = Budget(
            tokens=None if tokens is None else max(0, (tokens - shelf.tokens([asked])[0]) // 2),
            bytes=None if size is None else max(0, (size - len(asked.encode()) - 3) // 2),
            ms=budget.ms,
        )
        while room.tokens != 0 and room.bytes != 0:
            one = self.composer.compose(hits, shelf, room)
            if not one.hits:
                return None
            both = self._doubled(one, shelf)
            if budget.allows(both.footprint):
                return both
            room = replace(  # line breaks, and a tokenizer that counts joined texts higher than the sum of them
                room,
                tokens=None if room.tokens is None else room.tokens - 1 - room.tokens // 20,
                bytes=None if room.bytes is None else room.bytes - 1 - room.bytes // 20,
            )
            if (room.tokens or 0) < 0 or (room.bytes or 0) < 0:
                return None
        return None
