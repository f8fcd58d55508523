"""The data of ConvoMem: messages, chats, questions with their evidence, and test cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..core.payload import Json
from .subject import Passage

__all__ = [
    "ASSISTANT", "CATEGORIES", "RUBRICS", "USER", "Chat", "EvidenceItem", "Message", "TestCase", "World",
    "item_to_json", "passages_of", "world_bytes",
]  # fmt: skip

USER, ASSISTANT = "User", "Assistant"
CATEGORIES = ("user_facts", "assistant_facts", "changing", "abstention", "preferences", "implicit_connection")
"""The six kinds of questions, in the order of the paper."""
RUBRICS = frozenset({"preferences", "implicit_connection"})
"""Kinds whose answer is a rubric that only a judge can apply."""
_START = datetime(2024, 1, 1, 9, tzinfo=UTC)  # the published chats carry no time; days keep their order


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said.

    Args:
        speaker: ``User`` or ``Assistant``.
        text: The words.
    """

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation.

    Args:
        id: Unique in its question set.
        person: Whose it is.
        messages: In order.
    """

    id: str
    person: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """A question with the messages that answer it.

    Args:
        id: Unique in its question set.
        person: Who asks.
        category: One of `CATEGORIES`.
        question: What is asked.
        answer: The right answer; a rubric for `RUBRICS`; a fixed sentence for abstention.
        evidence: The messages, in order; each stands in the chat of the same place and in no other.
        chats: As many as there is evidence.
        values: What each message of evidence says, where a template made it; empty for published questions.
        about: Subject and attribute of a changing fact, where a template made it.
    """

    id: str
    person: str
    category: str
    question: str
    answer: str
    evidence: tuple[Message, ...]
    chats: tuple[Chat, ...]
    values: tuple[str, ...] = ()
    about: tuple[str, str] = ("", "")

    @property
    def k(self) -> int:
        """Number of messages of evidence."""
        return len(self.evidence)


@dataclass(frozen=True, slots=True)
class World:
    """A question set with its filler.

    Args:
        items: The questions.
        filler: Chats of each person that answer nothing.
    """

    items: tuple[EvidenceItem, ...]
    filler: Mapping[str, tuple[Chat, ...]]


@dataclass(frozen=True, slots=True)
class TestCase:
    """A history and the questions put to it.

    Args:
        key: Unique among the cases of one run.
        size: Conversations that were asked for; there are more when the evidence alone is more.
        items: The questions.
        chats: The history in order.
    """

    __test__ = False  # the paper's word; not a test of pytest's

    key: str
    size: int
    items: tuple[EvidenceItem, ...]
    chats: tuple[Chat, ...]


def passages_of(chats: Sequence[Chat]) -> list[Passage]:
    """Return the messages of a history as passages named "chat/number"; one chat a day, one message a minute.

    A session is called by its place in the history, so that its name gives nothing away.
    """
    return [
        Passage(
            f"{chat.id}/{number}",
            message.text,
            message.speaker,
            _START + timedelta(days=day, minutes=number),
            f"conversation {day + 1}",
            message.speaker.lower() if message.speaker in (USER, ASSISTANT) else None,
        )
        for day, chat in enumerate(chats)
        for number, message in enumerate(chat.messages)
    ]


def item_to_json(item: EvidenceItem) -> dict[str, Json]:
    """Return a question in the published format."""
    return {
        "question": item.question,
        "answer": item.answer,
        "message_evidences": [_message(message) for message in item.evidence],
        "conversations": [
            {"id": chat.id, "containsEvidence": True, "messages": [_message(m) for m in chat.messages]}
            for chat in item.chats
        ],
        "category": item.category,
        "personId": item.person,
    }


def world_bytes(world: World) -> bytes:
    """Return everything as bytes: equal worlds, equal bytes."""
    items: list[Json] = [{"id": i.id, "values": list(i.values), **item_to_json(i)} for i in world.items]
    filler: dict[str, Json] = {
        person: [{"id": chat.id, "messages": [_message(m) for m in chat.messages]} for chat in chats]
        for person, chats in world.filler.items()
    }
    return json.dumps({"evidence_items": items, "filler": filler}, ensure_ascii=False, sort_keys=True).encode()


def _message(message: Message) -> dict[str, Json]:
    return {"speaker": message.speaker, "text": message.text}
