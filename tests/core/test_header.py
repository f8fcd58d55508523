"""Headers and payloads as JSON and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import headers, payloads

from pinyon.core.header import Header, Life, header_from_json, header_to_json
from pinyon.core.payload import Payload, Text, canonical, clean, payload_from_json, payload_to_json
from pinyon.errors import BadInput


@given(headers)
def test_a_header_comes_back_from_json(header: Header) -> None:
    said = canonical(header_to_json(header))
    again = header_from_json(json.loads(said))
    assert again == header
    assert canonical(header_to_json(again)) == said


@given(payloads)
def test_a_payload_comes_back_from_json(payload: Payload) -> None:
    said = canonical(payload_to_json(payload))
    again = payload_from_json(json.loads(said))
    assert again == payload
    assert canonical(payload_to_json(again)) == said


@given(st.text())
def test_any_text_comes_back_from_json_once_it_is_clean(text: str) -> None:
    payload = Text(clean(text))
    assert payload_from_json(json.loads(canonical(payload_to_json(payload)))) == payload


@given(st.text(st.characters()))
def test_cleaning_changes_only_lone_surrogates(text: str) -> None:
    assert all(a == b or "\ud800" <= a <= "\udfff" for a, b in zip(text, clean(text), strict=False))
    clean(text).encode()


def test_an_empty_header_takes_no_room() -> None:
    assert header_to_json(Header()) == {}


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_every_moment_of_the_calendar_comes_back(moment: datetime) -> None:
    header = Header(life=Life(valid_from=moment, valid_to=moment, expires=moment))
    assert header_from_json(header_to_json(header)) == header


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "picture"},
        {"kind": "text"},
        {"kind": "text", "content": 1},
        {"kind": "state", "blobs": {}},
        {
            "kind": "state",
            "blobs": [{"sha256": "x", "bytes": 1, "role": "t"}],
            "binding": {},
            "format": "",
            "tokens": 0,
        },
        {"kind": "weights", "blobs": []},
    ],
)
def test_what_is_no_payload_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        payload_from_json(data)
