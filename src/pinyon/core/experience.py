"""What goes in, before it is memory: notes, conversations and documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from .header import Life
from .payload import Json

__all__ = ["Block", "BlockKind", "Conversation", "Document", "Experience", "Note", "Turn"]

BlockKind = Literal["heading", "paragraph", "list", "quote", "code", "table", "page_break"]


@dataclass(frozen=True, slots=True)
class Note:
    """A single remark.

    Args:
        text: The words.
        time: When it holds, or None.
        tags: Labels of the user.
        metadata: Any JSON object of the user.
        source: File or export it was read from, or None.
        speaker: Name of who said it, or None.
        role: ``user``, ``assistant``, ``system`` or ``tool``, or None.
        identity: Its id in the memory it comes from: said again under the same one, from whichever file, it is the
            same memory. None tells by source, time and text.
        life: How it stands where it comes from, for example archived since a day; `time` says when it began to hold.
            None for what is live.
    """

    text: str
    time: datetime | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)
    source: str | None = None
    speaker: str | None = None
    role: str | None = None
    identity: str | None = None
    life: Life | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    Args:
        text: What was said.
        speaker: Name of who said it, or None.
        role: ``user``, ``assistant``, ``system`` or ``tool``, or None.
        time: When it was said, or None.
        metadata: Any JSON object, for example the id of the message in its export.
    """

    text: str
    speaker: str | None = None
    role: str | None = None
    time: datetime | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order.

    Args:
        turns: The messages, oldest first.
        session: Name of the session, or None when they belong to one endless conversation.
        title: Title, or None.
        source: File or export it was read from, or None.
        tags: Labels for every turn.
        metadata: Any JSON object for every turn.
    """

    turns: tuple[Turn, ...]
    session: str | None = None
    title: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """A structural part of a document, as offsets into its text.

    Args:
        kind: What it is.
        start: First character in `Document.text`.
        end: One past its last character.
        level: Depth of a heading, from 1; 0 for everything else.
        title: The heading without its markup; empty for everything else.
        page: Page on which it begins, from 1, or None.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    title: str = ""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its structure.

    Args:
        text: The whole text; chunks are slices of it, so that offsets lead back.
        source: File, address or name it was read from; re-reading the same source replaces what it said before.
        title: Title, or None.
        blocks: Structure in order, without overlap; text between blocks belongs to the block before it. Empty means
            that paragraphs are found by blank lines.
        format: What the text is.
        time: Date of the document, or None.
        tags: Labels for every chunk.
        metadata: Any JSON object for every chunk (author, language …).
    """

    text: str
    source: str | None = None
    title: str | None = None
    blocks: tuple[Block, ...] = ()
    format: Literal["text", "markdown", "code", "table", "json"] = "text"
    time: datetime | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)


Experience = Note | Conversation | Document
