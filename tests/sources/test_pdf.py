from __future__ import annotations

import io

import pypdf
import pytest
from samples import only, pdf, slices

from pinyon.errors import UnreadableSource
from pinyon.sources import Limits, read_bytes


def test_blocks_know_their_page() -> None:
    found = only(read_bytes(pdf(["First page", "Second page"]), "a.pdf"))
    assert [(block.kind, block.page) for block in found.blocks] == [
        ("paragraph", 1),
        ("page_break", 2),
        ("paragraph", 2),
    ]
    assert [words for kind, words in slices(found) if kind == "paragraph"] == ["First page", "Second page"]


def test_pages_without_text_are_named() -> None:
    assert only(read_bytes(pdf(["Words", ""]), "a.pdf")).metadata == {"pages_without_text": [2]}


def test_a_scan_is_refused_with_advice() -> None:
    with pytest.raises(UnreadableSource, match=r"pictures of pages.*\nhint: run OCR"):
        read_bytes(pdf([""]), "a.pdf")


def test_an_encrypted_file_is_named() -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["Secret"])))
    writer.encrypt("password", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    with pytest.raises(UnreadableSource, match="is encrypted"):
        read_bytes(buffer.getvalue(), "a.pdf")


def test_too_many_pages_are_refused() -> None:
    with pytest.raises(UnreadableSource, match="has 2 pages, more than 1"):
        read_bytes(pdf(["a", "b"]), "a.pdf", limits=Limits(max_pages=1))


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(UnreadableSource, match="is broken"):
        read_bytes(b"%PDF-1.7\nnothing more", "a.pdf")
