"""Writing down: nothing lost, nothing changed, cut where a reader would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.experience import Block, Conversation, Document, Note, Turn
from pinyon.core.payload import clean
from pinyon.errors import BadInput
from pinyon.text import Verbatim

PAGE = """Intro line.

# Bees

They sleep in winter.

## Food

| plant | month |
|-------|-------|
| willow | March |

```
honey = nectar - water
```
"""


def blocks_of(page: str) -> tuple[Block, ...]:
    def at(start: str, end: str, kind: str, level: int = 0, title: str = "") -> Block:
        return Block(kind, page.index(start), page.index(end) + len(end), level=level, title=title)  # type: ignore[arg-type]

    return (
        at("Intro", "line.", "paragraph"),
        at("# Bees", "# Bees", "heading", 1, "Bees"),
        at("They", "winter.", "paragraph"),
        at("## Food", "## Food", "heading", 2, "Food"),
        at("| plant", "March |", "table"),
        at("```\nhoney", "water\n```", "code"),
    )


@given(st.text(min_size=1, max_size=5000), st.integers(100, 400))
def test_the_chunks_of_a_document_are_the_document(text: str, size: int) -> None:
    document = Document(text, source="a.txt")
    if not clean(text).strip():
        with pytest.raises(BadInput, match="nothing to remember"):
            Verbatim().write(document)
        return
    drafts = list(Verbatim(chunk_characters=size, longest_characters=2 * size).write(document))
    assert "".join(d.payload.content for d in drafts) == clean(text)  # type: ignore[union-attr]
    for draft in drafts:
        start, end = draft.header.provenance.span or (0, 0)
        assert draft.payload.content == clean(text)[start:end]  # type: ignore[union-attr]
        assert end - start <= 2 * size


@given(st.lists(st.text(alphabet="ab \n.", min_size=1, max_size=300), min_size=1, max_size=5))
def test_every_turn_is_written_word_for_word(texts: list[str]) -> None:
    talk = Conversation(tuple(Turn(text, speaker="Ann") for text in texts))
    kept = [text for text in texts if text.strip()]
    if not kept:
        with pytest.raises(BadInput):
            Verbatim().write(talk)
        return
    drafts = list(Verbatim().write(talk))
    assert [d.payload.content for d in drafts] == kept  # type: ignore[union-attr]
    assert len({d.key for d in drafts}) == len(drafts)


def test_headings_stand_in_the_section_of_what_follows() -> None:
    drafts = list(Verbatim().write(Document(PAGE, source="bees.md", format="markdown", blocks=blocks_of(PAGE))))
    sections = [draft.header.provenance.section for draft in drafts]
    assert sections == [(), ("Bees",), ("Bees", "Food")]


def test_a_chunk_never_crosses_a_heading() -> None:
    drafts = list(Verbatim().write(Document(PAGE, source="bees.md", blocks=blocks_of(PAGE))))
    assert all(d.payload.content.count("# ") <= 1 for d in drafts)  # type: ignore[union-attr]


def test_two_headings_in_a_row_stay_together() -> None:
    page = "# A\n\n## B\n\ntext\n"
    blocks = (
        Block("heading", 0, 3, level=1, title="A"),
        Block("heading", 5, 9, level=2, title="B"),
        Block("paragraph", 11, 15),
    )
    drafts = list(Verbatim().write(Document(page, source="x.md", blocks=blocks)))
    assert [d.payload.content for d in drafts] == [page]  # type: ignore[union-attr]
    assert drafts[0].header.provenance.section == ("A", "B")


def test_code_is_cut_at_line_ends_only() -> None:
    code = "".join(f"line_{n} = {n}\n" for n in range(300))
    drafts = list(Verbatim().write(Document(code, source="a.py", format="code", blocks=(Block("code", 0, len(code)),))))
    assert len(drafts) > 1
    assert all(d.payload.content.endswith("\n") for d in drafts)  # type: ignore[union-attr]


def test_a_long_note_becomes_a_document_of_chunks() -> None:
    drafts = list(Verbatim().write(Note("word " * 5000)))
    assert len(drafts) > 10
    assert {d.header.provenance.unit for d in drafts} == {"chunk"}


def test_a_long_turn_is_cut_into_parts_with_offsets() -> None:
    text = "A sentence about bees. " * 300
    drafts = list(Verbatim().write(Conversation((Turn(text, speaker="Ann"),), session="s")))
    assert "".join(d.payload.content for d in drafts) == text  # type: ignore[union-attr]
    assert [d.header.provenance.span[0] for d in drafts][:2] == [0, len(drafts[0].payload.content)]  # type: ignore[union-attr,index]


def test_the_same_words_said_twice_in_one_conversation_are_two_drafts() -> None:
    drafts = list(Verbatim().write(Conversation((Turn("ok", speaker="A"), Turn("ok", speaker="A")))))
    assert drafts[0].key != drafts[1].key


@pytest.mark.parametrize("sizes", [{"chunk_characters": 10}, {"chunk_characters": 3000}])
def test_impossible_sizes_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="not possible"):
        Verbatim(**sizes)
