"""Write down what was said, word for word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..core.cube import Draft, check_metadata, check_tags
from ..core.experience import Block, Conversation, Document, Experience, Note, Turn
from ..core.header import Header, Life, Origin, Provenance
from ..core.payload import Json, Text, TextFormat, canonical, clean, digest
from ..core.scope import check_name
from ..errors import BadInput
from .base import Shelf
from .split import pieces

__all__ = ["Verbatim"]

ENDLESS = "conversation"
"""Thread of turns that belong to no session."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Turn notes, conversations and documents into cubes that hold the very words.

    Every character of a document is in exactly one chunk, so the chunks in order are the document. Headings start a
    chunk and stand in its section; code and tables are cut only at line ends; a chunk never crosses a heading.

    Args:
        chunk_characters: Size at which a chunk is closed, >= 100.
        longest_characters: Size above which a paragraph, turn or note is cut, >= `chunk_characters`.
    """

    chunk_characters: int = 600  # our measurement: benchmarks/retrieval.py --only chunks, against 1,000 and 1,400
    longest_characters: int = 2000

    def __post_init__(self) -> None:
        if not 100 <= self.chunk_characters <= self.longest_characters:
            raise BadInput(
                f"chunks of {self.chunk_characters} to {self.longest_characters} characters are not possible"
            )

    def write(self, experience: Experience, shelf: Shelf | None = None) -> Iterable[Draft]:  # noqa: ARG002  # Writer
        """Return the drafts of an experience, in order.

        Raises:
            BadInput: There is not one word in it, or a name or its metadata cannot be used.
        """
        match experience:
            case Note():
                drafts = list(self._note(experience))
            case Conversation():
                drafts = list(self._conversation(experience))
            case Document():
                drafts = list(self._document(experience))
        if not drafts:
            raise BadInput("there is nothing to remember: the text is empty", hint="give at least one word")
        return drafts

    def _note(self, note: Note) -> Iterator[Draft]:
        text = clean(note.text)
        if len(text) > self.longest_characters:
            whole = Document(text, source=note.source, time=note.time, tags=note.tags, metadata=note.metadata)
            for draft in self._document(whole):
                span = draft.header.provenance.span
                key = draft.key if note.identity is None else f"chunk\x00{_place(note)}{span}"
                yield replace(draft, header=_said(draft.header, note), key=key)
        elif text.strip():
            origin = Origin.IMPORT if note.source else Origin.USER_INPUT
            header = Header(
                provenance=Provenance(origin=origin, source=note.source, thread=note.source),
                life=Life(valid_from=note.time),
                tags=check_tags(note.tags),
                metadata=check_metadata(note.metadata),
            )
            moment = "" if note.time is None or note.identity is not None else note.time.isoformat()
            yield Draft(Text(text), _said(header, note), key=f"note\x00{_place(note)}{moment}\x00{text}")

    def _conversation(self, talk: Conversation) -> Iterator[Draft]:
        if talk.session is not None:
            check_name(talk.session, "session")
        said: Counter[str] = Counter()
        common, tags = check_metadata(talk.metadata), check_tags(talk.tags)
        for turn in talk.turns:
            text = clean(turn.text)
            if not text.strip():
                continue
            moment = "" if turn.time is None else turn.time.isoformat()
            same = f"turn\x00{talk.session}\x00{turn.speaker}\x00{turn.role}\x00{moment}\x00{text}"
            said[same] += 1
            cuts = list(pieces(text, 0, len(text), self.longest_characters, by_line=False))
            for start, end in cuts:
                header = self._turn_header(talk, turn, tags, common | check_metadata(turn.metadata))
                if len(cuts) > 1:
                    header = replace(header, provenance=replace(header.provenance, span=(start, end)))
                yield Draft(
                    Text(text[start:end]), header, key=f"{same}\x00{said[same]}\x00{start}", session=talk.session
                )

    def _turn_header(self, talk: Conversation, turn: Turn, tags: tuple[str, ...], metadata: dict[str, Json]) -> Header:
        return Header(
            provenance=Provenance(
                origin=Origin.IMPORT if talk.source else Origin.USER_INPUT,
                unit="turn",
                source=talk.source,
                title=talk.title,
                thread=talk.session or talk.source or ENDLESS,
                speaker=None if turn.speaker is None else check_name(clean(turn.speaker), "speaker"),
                role=turn.role,
            ),
            life=Life(valid_from=turn.time),
            tags=tags,
            metadata=metadata,
        )

    def _document(self, document: Document) -> Iterator[Draft]:
        text = clean(document.text)
        if not text.strip():
            return
        whole = digest(text)
        thread = document.source or f"document:{whole[:16]}"
        said: Counter[str] = Counter()
        header = Header(
            life=Life(valid_from=document.time),
            tags=check_tags(document.tags),
            metadata=check_metadata(document.metadata),
        )
        for position, chunk in enumerate(self._chunks(replace(document, text=text))):
            words = text[chunk.start : chunk.end]
            said[words] += 1
            place = Provenance(
                origin=Origin.IMPORT if document.source else Origin.USER_INPUT,
                unit="chunk",
                source=document.source,
                title=document.title,
                thread=thread,
                position=position,
                section=chunk.section,
                span=(chunk.start, chunk.end),
                page=chunk.page,
            )
            form = _form(document, chunk)
            key = canonical(["chunk", thread, said[words], words])
            yield Draft(Text(words, format=form), replace(header, provenance=place), key=key)

    def _chunks(self, document: Document) -> Iterator[_Chunk]:
        """Join parts of one section until a chunk is full."""
        held: _Chunk | None = None
        for part in self._parts(document):
            if held is not None and self._joins(held, part):
                kind = part.kind if held.kind == "heading" or held.kind == part.kind else "mixed"
                held = replace(held, end=part.end, kind=kind, section=part.section)
                continue
            if held is not None:
                yield held
            held = part
        if held is not None:
            yield held

    def _joins(self, held: _Chunk, part: _Chunk) -> bool:
        if held.kind == "heading":  # a heading is never left alone, not even above another one
            return part.end - held.start <= self.longest_characters
        return (
            part.kind != "heading" and part.section == held.section and part.end - held.start <= self.chunk_characters
        )

    def _parts(self, document: Document) -> Iterator[_Chunk]:
        """Yield spans that cover the text: a block with the space after it, cut when it is too long."""
        text = document.text
        blocks = [b for b in document.blocks if b.kind != "page_break"] or list(_paragraphs(text))
        trail: list[tuple[int, str]] = []
        for number, block in enumerate(blocks):
            if block.kind == "heading":
                trail = [*(t for t in trail if t[0] < block.level), (block.level, clean(block.title))]
            start = 0 if number == 0 else block.start
            end = blocks[number + 1].start if number + 1 < len(blocks) else len(text)
            section = tuple(title for _, title in trail if title)
            for a, b in pieces(text, start, end, self.longest_characters, by_line=block.kind in ("code", "table")):
                yield _Chunk(a, b, block.kind, section, block.page)


def _place(note: Note) -> str:
    """Return what tells a note from others of the same time and words."""
    place = note.source if note.identity is None else f"\x00{note.identity}"
    return f"{place}\x00" if place else ""


def _said(header: Header, note: Note) -> Header:
    """Return the header of a note, or of a part of it, with who said it and how it stands."""
    if note.speaker is not None or note.role is not None:
        speaker = None if note.speaker is None else check_name(clean(note.speaker), "speaker")
        header = replace(header, provenance=replace(header.provenance, speaker=speaker, role=note.role))
    return header if note.life is None else replace(header, life=replace(note.life, valid_from=note.time))


@dataclass(frozen=True, slots=True)
class _Chunk:
    start: int
    end: int
    kind: str
    section: tuple[str, ...]
    page: int | None


def _paragraphs(text: str) -> Iterator[Block]:
    """Find paragraphs by blank lines in a text without structure."""
    start = 0
    while start < len(text):
        gap = text.find("\n\n", start)
        end = len(text) if gap < 0 else gap + 2
        while end < len(text) and text[end] in "\r\n":
            end += 1
        yield Block("paragraph", start, end)
        start = end


def _form(document: Document, chunk: _Chunk) -> TextFormat:
    if chunk.kind in ("code", "table"):
        return "code" if chunk.kind == "code" else "table"
    return document.format
