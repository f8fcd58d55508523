"""Any function as an embedder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pinyon.errors import BadInput, ModelError
from pinyon.models import CallableEmbedder, Embedder


def embedder_of(result: object, dimensions: int = 2) -> CallableEmbedder:
    return CallableEmbedder(lambda texts: result, fingerprint="test", dimensions=dimensions)


def test_it_fulfils_the_contract() -> None:
    embedder = CallableEmbedder(len, fingerprint="f", dimensions=3, is_instant=True)
    assert isinstance(embedder, Embedder)
    assert (embedder.fingerprint, embedder.dimensions, embedder.is_instant) == ("f", 3, True)


@pytest.mark.parametrize("rows", [[[3, 4], [0, 0]], ((3.0, 4.0), (0.0, 0.0)), np.array([[3, 4], [0, 0]], np.float16)])
def test_rows_are_scaled_to_length_one_and_zero_rows_stay(rows: object) -> None:
    expected = np.array([[0.6, 0.8], [0, 0]], dtype=np.float32)
    out = embedder_of(rows).embed(["a", ""])
    assert out.dtype == np.float32
    assert np.array_equal(out, expected)


def test_a_question_is_given_as_a_list_of_one() -> None:
    seen: list[list[str]] = []

    def embed(texts: list[str]) -> list[list[int]]:
        seen.append(texts)
        return [[0, 2]]

    row = CallableEmbedder(embed, fingerprint="f", dimensions=2).embed_query("why?")
    assert row.tolist() == [0, 1]
    assert seen == [["why?"]]


def test_no_texts_do_not_call_the_function() -> None:
    assert embedder_of("never read").embed([]).shape == (0, 2)


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-(2.0**127), 2.0**127, allow_nan=False, allow_infinity=False)))
def test_any_finite_rows_get_length_one_or_zero(rows: np.ndarray) -> None:
    lengths = np.linalg.norm(embedder_of(rows, 4).embed(["a", "b", "c"]).astype(np.float64), axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-6) | (lengths == 0))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 0, 0]], r"shape \(1, 3\) where \(1, 2\)"),
        ([[1, 0], [0, 1]], r"shape \(2, 2\)"),
        ([1, 0], r"shape \(2,\)"),
        ([], "shape"),
        (None, "where numbers were expected"),
        ("text", "where numbers were expected"),
        ([["1", "2"]], "where numbers were expected"),
        ([[True, False]], "where numbers were expected"),
        ([[1, 2], [1]], "no table of numbers"),
        ([[np.nan, 0]], "NaN or infinity"),
        ([[np.inf, 0]], "NaN or infinity"),
        ([[1e39, 0]], "NaN or infinity"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        embedder_of(rows).embed(["a"])


def test_what_the_function_raises_passes_through() -> None:
    def fail(texts: list[str]) -> object:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        CallableEmbedder(fail, fingerprint="f", dimensions=2).embed(["a"])


def test_arguments_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(BadInput, match="fingerprint"):
        CallableEmbedder(len, fingerprint="", dimensions=2)
    with pytest.raises(BadInput, match="dimensions"):
        CallableEmbedder(len, fingerprint="f", dimensions=0)
    with pytest.raises(BadInput, match="sequence of texts"):
        embedder_of([[1, 0]]).embed("a")
