from __future__ import annotations

import pytest
from samples import only

from pinyon.errors import UnreadableSource
from pinyon.sources import read_bytes


def test_line_endings_stay_as_they_are() -> None:
    assert only(read_bytes(b"one\r\ntwo\rthree\n", "a.txt")).text == "one\r\ntwo\rthree\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_western_text_is_read_in_its_encoding(encoding: str) -> None:
    text = "Die naïve Straße führt zum Café"
    assert only(read_bytes(text.encode(encoding), "a.txt")).text == text


def test_text_far_from_ascii_is_guessed() -> None:
    text = "Привет, как дела? Сегодня хорошая погода и мы идем гулять в старый парк."
    assert only(read_bytes(text.encode("cp1251"), "a.txt")).text == text


def test_a_file_without_a_suffix_is_read_as_text_titled_by_its_stem() -> None:
    found = only(read_bytes(b"Buy milk.", "notes/todo"))
    assert (found.title, found.source, found.format) == ("todo", "notes/todo", "text")


@pytest.mark.parametrize("data", [b"", b" \n\t", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1a"])
def test_a_file_without_words_is_empty(data: bytes) -> None:
    with pytest.raises(UnreadableSource, match="is empty"):
        read_bytes(data, "a.txt")


def test_zero_bytes_make_a_file_binary() -> None:
    with pytest.raises(UnreadableSource, match="is binary"):
        read_bytes(b"abc\0\0\0def", "a.log")
