from __future__ import annotations

import json

import pytest
from samples import only, zipped

from pinyon.core.experience import Conversation, Note
from pinyon.errors import UnreadableSource
from pinyon.sources import read_bytes


def node(parent: str | None, role: str, *parts: object, **more: object) -> dict[str, object]:
    message = {"id": "m", "author": {"role": role}, "content": {"content_type": "text", "parts": list(parts)}, **more}
    return {"parent": parent, "children": [], "message": message}


CHATGPT = [
    {
        "title": "Sea",
        "conversation_id": "c1",
        "current_node": "e",
        "mapping": {
            "root": {"parent": None, "children": ["a"], "message": None},
            "a": node("root", "system", "be kind"),
            "b": node("a", "user", "Hi", create_time=1.5),
            "wrong": node("b", "assistant", "first try"),
            "c": node("b", "user", "secret", metadata={"is_visually_hidden_from_conversation": True}),
            "d": node("c", "assistant", ""),
            "e": node("d", "assistant", "Hello", {"content_type": "image_asset_pointer"}),
        },
    }
]
CLAUDE = [
    {
        "uuid": "u1",
        "name": "Pines",
        "chat_messages": [
            {
                "uuid": "m1",
                "sender": "human",
                "text": "old",
                "content": [{"type": "text", "text": "Read"}],
                "created_at": "2024-01-02T03:04:05Z",
                "attachments": [{"file_name": "a.txt", "extracted_content": "words"}],
            },
            {"uuid": "m2", "sender": "assistant", "text": "Done", "content": []},
        ],
    }
]


def conversation(data: bytes, name: str) -> Conversation:
    (found,) = read_bytes(data, name)
    assert isinstance(found, Conversation)
    return found


@pytest.mark.parametrize("is_zipped", [False, True])
def test_the_shown_branch_of_chatgpt_is_read(is_zipped: bool) -> None:
    data = json.dumps(CHATGPT).encode()
    name = "chat.zip" if is_zipped else "conversations.json"
    found = conversation(zipped({"conversations.json": data, "user.json": b"{}"}) if is_zipped else data, name)
    assert (found.session, found.title, found.source) == ("c1", "Sea", name)
    assert [(turn.role, turn.text) for turn in found.turns] == [("user", "Hi"), ("assistant", "Hello\n[image]")]
    assert found.turns[0].time is not None


def test_claude_messages_carry_their_attachments() -> None:
    found = conversation(json.dumps(CLAUDE).encode(), "conversations.json")
    assert [(turn.role, turn.text) for turn in found.turns] == [
        ("user", "Read\n[file a.txt]\nwords"),
        ("assistant", "Done"),
    ]
    assert (found.session, found.title) == ("u1", "Pines")


def test_a_tree_that_bites_its_tail_ends() -> None:
    tree = {"current_node": "a", "mapping": {"a": node("b", "user", "x"), "b": node("a", "user", "y")}}
    assert [turn.text for turn in conversation(json.dumps(tree).encode(), "a.json").turns] == ["y", "x"]


def test_lists_of_messages_and_of_objects_are_told_apart() -> None:
    assert isinstance(read_bytes(b'[{"role":"user","content":"a"}]', "a.json")[0], Conversation)
    assert isinstance(read_bytes(b'[{"text":"a"},{"x":1}]', "a.json")[1], Note)


def test_other_json_stays_a_document() -> None:
    found = only(read_bytes(b'{"a": [1, 2]}', "a.json"))
    assert (found.format, found.text) == ("json", '{"a": [1, 2]}')


def test_lines_in_a_file_called_json_are_read_as_lines() -> None:
    assert len(read_bytes(b'{"text":"a"}\n{"text":"b"}\n', "a.json")) == 2


def test_one_line_of_ten_megabytes_is_read() -> None:
    assert len(only(read_bytes(b'{"a":"' + b"x" * 10_000_000 + b'"}', "a.json")).text) > 10_000_000


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[" * 300 + b"]" * 300, b"{", b"[1,", b"[]", b"{}", b"null"])
def test_deep_broken_and_empty_json_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableSource):
        read_bytes(data, "a.json")
