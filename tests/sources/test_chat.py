from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pinyon.errors import BadInput
from pinyon.sources import messages


def test_roles_names_and_times_are_kept() -> None:
    said = messages(
        [
            {"role": "user", "content": "Hi", "name": "Ana", "time": "2023-05-08T13:56", "id": "m1"},
            {"role": "assistant", "content": "Hello", "created_at": 0},
        ],
        session="s",
    )
    first, second = said.turns
    assert (said.session, first.speaker, first.role, first.metadata) == ("s", "Ana", "user", {"id": "m1"})
    assert first.time == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert second.time == datetime(1970, 1, 1, tzinfo=UTC)


def test_parts_and_tool_calls_become_words() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sea"}'}}
    said = messages(
        [
            {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {}}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "look", "input": {"at": "sea"}}]},
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "blue"}]}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]},
        ]
    )
    assert [turn.text for turn in said.turns] == [
        "See\n[image]",
        '[tool call look({"at":"sea"})]',
        '[tool call look({"at":"sea"})]',
        "blue",
    ]


def test_lone_surrogates_are_replaced() -> None:
    assert messages([{"role": "user", "content": "a\ud800"}]).turns[0].text == "a\ufffd"


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ({"role": "boss", "content": "x"}, "message 1 has the role 'boss', expected one of user"),
        ({"role": "user", "content": 3}, "message 1 has the content 3, expected text"),
        ({"role": "user", "content": None}, "message 1 has the content None"),
        ({"role": "user", "content": [{"text": "x"}]}, "part 0 of message 1"),
        ({"role": "user", "content": "x", "time": "noon"}, "message 1 has the time 'noon'"),
        ({"role": "user", "content": "x", "name": 3}, "message 1 has the name 3"),
        ({"role": "user", "content": "x", "tool_calls": 3}, "message 1 has the tool_calls 3"),
        ({"role": "user", "content": "x", "extra": object()}, "message 1 has fields that are no JSON: extra"),
        ("x", "message 1 is a str"),
    ],
)
def test_a_message_of_another_shape_is_named(item: object, sentence: str) -> None:
    with pytest.raises(BadInput, match="^" + sentence.replace("(", r"\(")):
        messages([{"role": "user", "content": "fine"}, item])  # type: ignore[list-item]  # that is the point


def test_no_messages_are_refused() -> None:
    with pytest.raises(BadInput, match="at least one message"):
        messages([])
