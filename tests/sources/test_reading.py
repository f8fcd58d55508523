from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from samples import check_blocks, epub, pdf, zipped

from pinyon.errors import UnreadableSource
from pinyon.sources import Limits, read, read_bytes, readers

SUFFIXES = sorted({suffix for reader in readers() for suffix in reader.suffixes} | {"", ".xyz"})
STARTS = [b"", b"%PDF-1.4\n", b"PK\x03\x04", b"<html>", b"---\n", b'[{"', b"\xff\xfe", b"\xef\xbb\xbf", b"a,b\n"]
WHOLE = [
    pdf(["Words"]),
    epub({"a.xhtml": "<p>x"}),
    zipped({"conversations.json": "[]"}),
    b'[{"role":"user","content":"\\ud800"}]',
    b"# T\n\n| a |\n|-|\n| b |\n",
]


def check(data: bytes, name: str) -> None:
    try:
        found = read_bytes(data, name)
    except UnreadableSource as error:
        sentence, hint = error.message, error.hint
    else:
        check_blocks(found)
        return
    assert hint
    assert "\n" not in sentence


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(STARTS), st.binary(max_size=300), st.sampled_from(SUFFIXES))
@example(b"", b"\x1c", ".csv")
def test_random_bytes_are_read_or_refused(start: bytes, data: bytes, suffix: str) -> None:
    check(start + data, "a" + suffix)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.sampled_from(SUFFIXES))
def test_random_text_is_read_or_refused(text: str, suffix: str) -> None:
    check(text.encode("utf-8", "replace"), "a" + suffix)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(WHOLE), st.integers(0, 2000), st.integers(1, 255), st.booleans())
def test_whole_files_with_one_wound_are_read_or_refused(data: bytes, place: int, change: int, is_cut: bool) -> None:
    place %= len(data)
    wounded = data[:place] if is_cut else data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]
    for suffix in (".pdf", ".epub", ".zip", ".json", ".md", ""):
        check(wounded, "a" + suffix)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "a picture"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "password-protected Office"),
        (b"{\\rtf1 hi}", "rich text"),
        (zipped({"xl/workbook.xml": "x"}), "a spreadsheet"),
        (zipped({"notes.txt": "x"}), "an archive without conversations.json"),
        (b"\x01\x02\x03\0", "unknown sort"),
    ],
)
def test_what_no_reader_opens_is_named(data: bytes, what: str) -> None:
    with pytest.raises(UnreadableSource, match=what):
        read_bytes(data, "a.thing")


def test_a_zip_bomb_is_refused() -> None:
    bomb = zipped({"conversations.json": b"[" + b" " * (12 * 2**20)})
    assert len(bomb) < 2**15
    with pytest.raises(UnreadableSource, match="as a zip bomb does"):
        read_bytes(bomb, "a.zip")


def test_members_share_one_budget() -> None:
    parts = {f"conversations-{n}.json": b'[{"mapping":{}}]' + os.urandom(0) + b" " * 600 for n in range(4)}
    with pytest.raises(UnreadableSource, match="unpacks to more than"):
        read_bytes(zipped(parts), "a.zip", limits=Limits(max_unpacked_bytes=500))


def test_an_encrypted_archive_is_named() -> None:
    data = bytearray(zipped({"conversations.json": "[]"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(UnreadableSource, match="is encrypted"):
        read_bytes(bytes(data), "a.zip")


def test_too_many_members_are_refused() -> None:
    with pytest.raises(UnreadableSource, match="2 members, more than 1"):
        read_bytes(zipped({"a": "", "b": ""}), "a.zip", limits=Limits(max_members=1))


def test_too_large_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abcdef")
    with pytest.raises(UnreadableSource, match="is larger than 5 bytes"):
        read(tmp_path / "a.txt", limits=Limits(max_file_bytes=5))


def test_a_file_is_read_under_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hi")
    assert read(tmp_path / "a.txt")[0].source == str(tmp_path / "a.txt")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "sentence"), [("no.txt", "does not exist"), ("folder.md", "is a folder"), ("\0", "cannot")]
)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(UnreadableSource, match=sentence):
        read(tmp_path / name)


def test_packed_bytes_are_unknown() -> None:
    with pytest.raises(UnreadableSource):
        read_bytes(zlib.compress(b"words" * 100), "a.xyz")
