"""Parse JSON of strangers: bounded in depth, free of lone surrogates and of numbers that are none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from ..core.clock import instant
from ..core.payload import Json, clean
from ..errors import BadInput

__all__ = ["first_text", "loads", "moment", "rest"]

_MOST_DIGITS = 1000  # Python reads up to 4,300, in a time that grows with their square
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def loads(text: str, *, max_depth: int) -> Json:
    """Return the value of a JSON text.

    NaN, infinities (as JavaScript writes them) and whole numbers of over a thousand digits become null; lone surrogates
    become U+FFFD.

    Args:
        text: JSON.
        max_depth: Deepest nesting of lists and objects.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        value: Json = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError(f"nested more than {max_depth} levels deep") from error
    if text.count("[") + text.count("{") <= max_depth and not _SURROGATE.search(text):
        return value
    return _tidy(value, max_depth, max_depth)


def moment(value: object) -> datetime | None:
    """Return a moment when the value is one, else None."""
    if not isinstance(value, (str, int, float)):
        return None
    try:
        return instant(value)
    except BadInput:
        return None


def first_text(item: Mapping[str, object], keys: Iterable[str]) -> str | None:
    """Return the first of these fields that holds words; whole numbers count, because identifiers often are."""
    for key in keys:
        value = item.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value.strip():
            return clean(value)
    return None


def rest(item: Mapping[str, Json], used: Iterable[str]) -> dict[str, Json]:
    """Return the fields of an object that have not become anything else."""
    taken = set(used)
    return {key: value for key, value in item.items() if key not in taken}


def _tidy(value: Json, left: int, max_depth: int) -> Json:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (list, dict)) and left == 0:
        raise ValueError(f"nested more than {max_depth} levels deep")
    if isinstance(value, list):
        return [_tidy(item, left - 1, max_depth) for item in value]
    if isinstance(value, dict):
        return {clean(key): _tidy(item, left - 1, max_depth) for key, item in value.items()}
    return value


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= _MOST_DIGITS else None


def _no_number(_: str) -> None:
    return None


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_whole, parse_constant=_no_number)
