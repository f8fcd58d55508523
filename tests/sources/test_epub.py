from __future__ import annotations

from datetime import UTC, datetime

import pytest
from samples import epub, only, slices

from pinyon.errors import UnreadableSource
from pinyon.sources import read_bytes


def test_the_pages_of_the_spine_become_one_document() -> None:
    found = only(read_bytes(epub({"b.xhtml": "<h1>One</h1><p>x</p>", "a.xhtml": "<h1>Two</h1>"}), "a.epub"))
    assert slices(found) == [("heading", "One"), ("paragraph", "x"), ("heading", "Two")]
    assert (found.title, found.metadata) == ("The Pine", {"author": "Ana"})
    assert found.time == datetime(2020, 1, 2, tzinfo=UTC)


def test_a_protected_book_is_named() -> None:
    lock = '<encryption><EncryptedData><CipherReference URI="OEBPS/a.xhtml"/></EncryptedData></encryption>'
    with pytest.raises(UnreadableSource, match="is encrypted"):
        read_bytes(epub({"a.xhtml": "x"}, extra={"META-INF/encryption.xml": lock}), "a.epub")


def test_a_book_of_pictures_is_empty() -> None:
    with pytest.raises(UnreadableSource, match="is empty"):
        read_bytes(epub({"a.xhtml": "<img/>"}), "a.epub")


def test_a_truncated_book_is_broken() -> None:
    with pytest.raises(UnreadableSource, match="is broken"):
        read_bytes(epub({"a.xhtml": "x"})[:-30], "a.epub")
