from __future__ import annotations

import random
import unicodedata

import pytest

from pinyon.index import Analyzer

LETTERS = "ab cé ñ’“”—日本語ไทยกำกั한국어קשתàe\u0301ü-_9٣ﬁ½²ςΣİßखि"


def test_function_words_are_dropped_and_the_rest_is_stemmed() -> None:
    assert Analyzer().terms("The dogs weren't running, were they?") == ["dog", "weren", "run"]


def test_accents_and_quotes_make_no_difference() -> None:
    assert Analyzer().terms("“Café”—résumé’s") == Analyzer().terms('"Cafe" - resume s')


def test_scripts_without_spaces_become_pairs() -> None:
    assert Analyzer().terms("日本語") == ["日本", "本語"]
    assert Analyzer().terms("x日本y語") == ["x", "日本", "y", "語"]


@pytest.mark.parametrize("seed", range(50))
def test_no_mark_is_left_over_any_letter(seed: int) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choice(LETTERS) for _ in range(60))
    assert not any(unicodedata.combining(c) for term in Analyzer().terms(text) for c in term)


def test_a_blob_is_cut() -> None:
    assert len(Analyzer().terms("x" * 10_000)[0]) <= 64
