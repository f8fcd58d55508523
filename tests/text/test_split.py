"""Cutting text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinyon.text import sentences
from pinyon.text.split import pieces


@given(st.text(max_size=500))
def test_sentences_cover_the_text(text: str) -> None:
    assert "".join(text[a:b] for a, b in sentences(text)) == text


@given(st.text(max_size=800), st.integers(1, 90), st.booleans())
def test_pieces_cover_the_text_and_are_never_too_long(text: str, most: int, by_line: bool) -> None:
    spans = list(pieces(text, 0, len(text), most, by_line=by_line))
    assert "".join(text[a:b] for a, b in spans) == text
    assert all(0 < b - a <= most for a, b in spans)


def test_abbreviations_do_not_end_a_sentence() -> None:
    text = "Mr. Lee met Dr. Ann E. Smith, e.g. at noon. Then he left."
    assert [text[a:b].strip() for a, b in sentences(text)] == [
        "Mr. Lee met Dr. Ann E. Smith, e.g. at noon.",
        "Then he left.",
    ]
