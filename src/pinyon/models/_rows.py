"""Rows of embedders: what goes in is checked, what comes out has unit length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, ModelError
from .base import Vectors

__all__ = ["as_texts", "as_unicode", "by_length", "checked_rows", "unit_rows"]


def as_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as a list.

    Raises:
        BadInput: One string was given instead of a sequence of strings, or something that is no string.
    """
    if isinstance(texts, str):
        raise BadInput("embed takes a sequence of texts, got one text", hint="use embed([text]) or embed_query(text)")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadInput(f"text {position} must be a str, got {type(text).__name__}")
    return list(texts)


def as_unicode(text: str) -> str:
    """Return a text that UTF-8 can carry: half of a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def by_length(texts: Sequence[str]) -> list[int]:
    """Return positions of the texts that are not blank, shortest text first, so that neighbours pad little."""
    return sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: len(texts[i]))


def unit_rows(rows: NDArray[np.floating]) -> Vectors:
    """Scale rows to length 1.

    Args:
        rows: Finite numbers, (N, E).

    Returns:
        float32, (N, E); a row of zeros stays one.
    """
    # In float64 no square of a float32 overflows or vanishes.
    wide = rows.astype(np.float64)
    lengths = np.sqrt(np.einsum("ne,ne->n", wide, wide))[:, None]  # (N, 1)
    np.divide(wide, lengths, out=wide, where=lengths > 0)
    return wide.astype(np.float32)


def checked_rows(raw: object, *, count: int, dimensions: int | None, source: str) -> Vectors:
    """Turn what a foreign function or endpoint returned into unit rows.

    Args:
        raw: Anything that numpy reads as a table of numbers.
        count: Rows expected, N.
        dimensions: Columns expected, E; None takes what comes.
        source: Who returned it, for the message.

    Raises:
        ModelError: It is no table of numbers, of another shape, or holds NaN or infinity.
    """
    try:
        rows = np.asarray(raw)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{source} returned rows that are no table of numbers") from error
    if rows.dtype.kind not in "fiu":
        raise ModelError(f"{source} returned values of type {rows.dtype} where numbers were expected")
    if rows.ndim != 2 or rows.shape[0] != count or (dimensions is not None and rows.shape[1] != dimensions):
        raise ModelError(
            f"{source} returned shape {rows.shape} where ({count}, {'E' if dimensions is None else dimensions}) "
            "was expected"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity and is refused below
        narrow = rows.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise ModelError(f"{source} returned NaN or infinity in a vector")
    return unit_rows(narrow)
