"""Whether a question of ConvoMem is sound: its evidence stands where it must, and answers it, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..core.distance import is_within
from ..index import Analyzer
from ..models import Generator
from ._convomem_items import ASSISTANT, CATEGORIES, RUBRICS, USER, Chat, EvidenceItem, Message
from ._convomem_score import Judge, is_right, reader_prompt

__all__ = [
    "Reader",
    "Validity",
    "embedding_faults",
    "exact_reader",
    "generator_reader",
    "is_found",
    "question_faults",
    "validity",
]

Reader = Callable[[EvidenceItem, Sequence[Chat]], str]
"""A question and a history to an answer; an empty text when it does not know."""

_TIME_WORDS = frozenset(
    "current currently now latest updated update new newest still anymore changed change recent recently final".split()
)  # what a question about a changing fact may not contain, as it would give the change away
_DUMMY = Chat(
    "dummy",
    "dummy",
    tuple(
        Message(speaker, text)
        for speaker, text in (
            (USER, "Hello, how are you?"),
            (ASSISTANT, "Very well, thank you. What can I do for you?"),
            (USER, "Tell me something about clouds."),
            (ASSISTANT, "Clouds are drops of water so small that they float."),
            (USER, "Lovely, thank you."),
            (ASSISTANT, "You are welcome."),
        )
    ),
)
"""Six messages that answer nothing."""


def is_found(evidence: Message, chat: Chat) -> bool:
    """Return whether a message of evidence stands in a chat, by the same speaker, as it is or nearly.

    Source: official code, `ConversationValidator`: contained; or containing with 0.8 of its length; or within
        max(10, 0.15 of its length) letters.
    """
    length = len(evidence.text)
    for message in chat.messages:
        if message.speaker != evidence.speaker:
            continue
        if evidence.text in message.text:
            return True
        if message.text in evidence.text and len(message.text) >= 0.8 * length:
            return True
        if is_within(message.text, evidence.text, max(10, int(0.15 * length))):
            return True
    return False


def embedding_faults(item: EvidenceItem) -> tuple[str, ...]:
    """Return what is wrong with how evidence is embedded; empty when it is sound."""
    return tuple(_embedding(item))


def _embedding(item: EvidenceItem) -> Iterator[str]:
    for chat in item.chats:
        for speaker in {message.speaker for message in chat.messages} - {USER, ASSISTANT}:
            yield f"a speaker is {speaker!r}"
    if len(item.chats) != len(item.evidence) or not item.evidence:
        yield f"{len(item.chats)} conversations for {len(item.evidence)} messages of evidence"
    for place, evidence in enumerate(item.evidence):
        found = [number for number, chat in enumerate(item.chats) if is_found(evidence, chat)]
        if found != [place]:
            yield f"evidence {place} stands in the conversations {found}"


def question_faults(item: EvidenceItem, analyzer: Analyzer | None = None) -> tuple[str, ...]:
    """Return what is wrong with the words of a question; empty when it is sound."""
    faults = [] if item.category in CATEGORIES else [f"there is no category {item.category!r}"]
    words = set(re.findall(r"[a-z]+", item.question.lower()))
    if item.category == "changing" and words & _TIME_WORDS:
        faults.append(f"the question says {sorted(words & _TIME_WORDS)}")
    if item.category in RUBRICS and item.values:
        terms = (analyzer or Analyzer()).terms
        shared = set(terms(item.question)) & {term for value in item.values for term in terms(value)}
        if shared:
            faults.append(f"the question shares {sorted(shared)} with its evidence")
    return tuple(faults)


def exact_reader(item: EvidenceItem, chats: Sequence[Chat]) -> str:
    """Return the values whose sentences stand in a history: all of them, or the last one of a changing fact.

    Only for items from templates. It knows nothing beyond its input: what is not there is not said.
    """
    said = [message.text for chat in chats for message in chat.messages]
    found = [
        (place, value)
        for evidence, value in zip(item.evidence, item.values, strict=False)
        for place, text in enumerate(said)
        if evidence.text in text and value in text
    ]
    found.sort()
    values = [value for _, value in found]
    return ", ".join(values[-1:] if item.category == "changing" else dict.fromkeys(values))


def generator_reader(generator: Generator) -> Reader:
    """Return a reader that asks a model, shown all conversations in order; what the model raises passes through."""

    def read(item: EvidenceItem, chats: Sequence[Chat]) -> str:
        shown = "\n\n".join(
            "\n".join([f"Conversation {number}", *(f"{message.speaker}: {message.text}" for message in chat.messages)])
            for number, chat in enumerate(chats, 1)
        )
        return generator.generate(reader_prompt(item.question, shown))

    return read


@dataclass(frozen=True, slots=True)
class Validity:
    """What the checks of one item say; None where a check does not apply.

    Args:
        with_evidence: The reader is right from the evidence alone.
        without_evidence: It is wrong from a chat that says nothing.
        partial: It is wrong whichever conversation is taken away; for changing facts, when the last is.
        previous: Without the last conversation it says the state before; changing facts.
        addresses: Each message of evidence alone makes it say that state; changing facts.
    """

    with_evidence: bool
    without_evidence: bool | None = None
    partial: bool | None = None
    previous: bool | None = None
    addresses: bool | None = None

    @property
    def is_sound(self) -> bool:
        """Whether no check failed."""
        checks = (self.without_evidence, self.partial, self.previous, self.addresses)
        return self.with_evidence and False not in checks


def validity(
    item: EvidenceItem, reader: Reader = exact_reader, *, judge: Judge | None = None, repeats: int = 1
) -> Validity:
    """Put the checks of the paper to one item.

    Args:
        item: The question.
        reader: Answers from a history.
        judge: Decides about rubrics and free answers, or None for the exact rules.
        repeats: How often the reader must be right in a row.
    """

    def right(chats: Sequence[Chat]) -> bool:
        return bool(is_right(item, reader(item, chats), judge))

    suffices = all(right(item.chats) for _ in range(repeats))
    if item.category == "abstention":
        return Validity(suffices)
    without = not right([_DUMMY])
    if item.category == "changing":
        said = reader(item, item.chats[:-1])
        previous = item.values[-2] in said and item.values[-1] not in said if item.values else None
        alone = [reader(item, [chat]) for chat in item.chats]
        addresses = all(v in a for v, a in zip(item.values, alone, strict=True)) if item.values else None
        return Validity(suffices, without, not right(item.chats[:-1]), previous, addresses)
    if item.k == 1:
        return Validity(suffices, without)
    rest = [[chat for chat in item.chats if chat is not gone] for gone in item.chats]
    return Validity(suffices, without, not any(right(chats) for chats in rest))
