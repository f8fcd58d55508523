from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from pinyon.core.experience import Conversation, Note
from pinyon.errors import UnreadableSource
from pinyon.sources import read_bytes


def lines(*items: object) -> bytes:
    return "\n".join(json.dumps(item) for item in items).encode()


def said(text: str, **more: object) -> dict[str, object]:
    return {"role": "user", "content": text, **more}


def test_messages_in_a_row_become_one_conversation() -> None:
    found = read_bytes(lines(said("a"), said("b"), {"text": "note"}, said("c")), "a.jsonl")
    assert [len(item.turns) if isinstance(item, Conversation) else item.text for item in found] == [2, "note", 1]  # type: ignore[union-attr]


def test_sessions_gather_their_messages() -> None:
    found = read_bytes(lines(said("a", session="x"), said("b", session="y"), said("c", session="x")), "a.jsonl")
    assert [(item.session, [turn.text for turn in item.turns]) for item in found if isinstance(item, Conversation)] == [
        ("x", ["a", "c"]),
        ("y", ["b"]),
    ]


def test_an_object_with_text_becomes_a_note_with_the_rest_as_metadata() -> None:
    found = read_bytes(lines({"memory": "Ana likes tea", "tags": ["tea"], "date": "2024-01-02", "k": [1]}), "a.jsonl")
    assert found == [
        Note(
            "Ana likes tea",
            time=datetime(2024, 1, 2, tzinfo=UTC),
            tags=("tea",),
            metadata={"k": [1]},
            source="a.jsonl",
        )
    ]


def test_any_other_object_becomes_a_note_of_canonical_json() -> None:
    assert read_bytes(b'{"b": NaN, "a": 1}', "a.jsonl") == [Note('{"a":1,"b":null}', source="a.jsonl")]


def test_lists_of_messages_in_a_line_become_conversations() -> None:
    found = read_bytes(lines({"id": 7, "messages": [said("a")]}, {"messages": [said("b")]}), "a.jsonl")
    assert [item.session for item in found if isinstance(item, Conversation)] == ["7", None]


@pytest.mark.parametrize("line", [b"{", b"3", b"[]", b'{"role":"user","content":3}', b"[" * 100_000])
def test_a_broken_line_is_named(line: bytes) -> None:
    with pytest.raises(UnreadableSource, match="line 3"):
        read_bytes(b'{"text":"a"}\n\n' + line + b'\n{"text":"b"}', "a.jsonl")
