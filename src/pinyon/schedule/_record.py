"""Decisions as JSON: what went in, what came out, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta

from ..core.budget import Budget, Footprint
from ..core.clock import from_micros, micros
from ..core.payload import Json
from ..errors import BadInput

__all__ = ["read", "written"]

_BASIC: Mapping[str, type] = {"Budget": Budget, "Footprint": Footprint}


def written(rule: str, inputs: Mapping[str, object], outcome: Mapping[str, object]) -> dict[str, Json]:
    """Return a decision as a JSON object."""
    return {
        "rule": rule,
        "inputs": {name: _to_json(value) for name, value in inputs.items()},
        "outcome": {name: _to_json(value) for name, value in outcome.items()},
    }


def _to_json(value: object) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}  # JSON has no such number
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, datetime):
        return {"moment": micros(value)}
    if isinstance(value, timedelta):
        return {"micros": value // timedelta(microseconds=1)}
    if isinstance(value, frozenset):
        return {"set": [*sorted(str(part) for part in value)]}
    if isinstance(value, Mapping):
        return {"pairs": [[_to_json(key), _to_json(part)] for key, part in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_to_json(part) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        parts: dict[str, Json] = {f.name: _to_json(getattr(value, f.name)) for f in fields(value)}
        return {"is": type(value).__name__, "with": parts}
    raise BadInput(f"a {type(value).__name__} cannot be written into a log of decisions", hint="use a frozen dataclass")


def read(value: Json, classes: Mapping[str, type]) -> object:
    """Return what `written` wrote, with the classes that it may name.

    Raises:
        BadInput: It names another class.
    """
    if isinstance(value, list):
        return [read(part, classes) for part in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"number": str(number)}:
            return float(number)
        case {"moment": int(number)}:
            return from_micros(number)
        case {"micros": int(number)}:
            return timedelta(microseconds=number)
        case {"set": list(parts)}:
            return frozenset(parts)
        case {"pairs": list(parts)}:
            return {read(key, classes): read(part, classes) for key, part in parts}  # type: ignore[misc,str-unpack]
        case {"is": str(name), "with": dict(parts)}:
            known = {**_BASIC, **classes}
            if name not in known:
                raise BadInput(f"the log names a {name!r} that is not known here", hint="give its class")
            return known[name](**{key: read(part, classes) for key, part in parts.items()})
    raise BadInput(f"{str(value)[:80]} is no part of a log of decisions")
