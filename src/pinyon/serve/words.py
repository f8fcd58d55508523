"""Metadata and conditions as people type them: ``key=value``, ``key>3``, ``key in a,b``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NoReturn

from ..errors import BadInput
from . import _later

if TYPE_CHECKING:
    from ..core.payload import Json
    from ..core.where import Condition, Op

__all__ = ["condition_of", "pair_of", "value_of"]

_OPS: Final[dict[str, Op]] = {"=": "eq", "==": "eq", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
_COMPARED: Final = re.compile(r"\s*([^=!<>]*[^=!<>\s])\s*(==|!=|>=|<=|=|>|<)(.*)", re.DOTALL)
_LISTED: Final = re.compile(r"\s*([^=!<>\s]+)\s+in\s+(.+)", re.DOTALL)


def value_of(text: str) -> Json:
    """Return a value as it was meant: JSON when it is JSON, else the text itself.

    Example:
        >>> value_of("3"), value_of("true"), value_of("three"), value_of('"3"')
        (3, True, 'three', '3')
    """
    try:
        value: Json = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def pair_of(text: str) -> tuple[str, Json]:
    """Read one entry of metadata.

    Args:
        text: ``key=value``; the value is read by `value_of`.

    Raises:
        BadInput: There is no key or no ``=``.

    Example:
        >>> pair_of("year=2024")
        ('year', 2024)
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"{text!r} is no metadata", hint="write it as key=value, for example topic=bees")
    return key.strip(), value_of(value.strip())


def condition_of(text: str) -> Condition:
    """Read one condition on metadata.

    Args:
        text: ``key=value``, ``key!=value``, ``key>3``, ``key>=3``, ``key<3``, ``key<=3`` or ``key in a,b``; values
            are read by `value_of`. Levels of nested metadata are joined by dots.

    Raises:
        BadInput: It is no condition.

    Example:
        >>> condition_of("year>=2024")
        Condition(key='year', op='ge', value=2024)
        >>> condition_of("topic in bees,trees").value
        ['bees', 'trees']
    """
    if listed := _LISTED.fullmatch(text):
        return _later.Condition(listed[1], "in", _values(listed[2]))
    if compared := _COMPARED.fullmatch(text):
        return _later.Condition(compared[1], _OPS[compared[2]], value_of(compared[3].strip()))
    raise BadInput(f"{text!r} is no condition", hint="write it as key=value, key!=value, key>3, key<=3 or 'key in a,b'")


def _values(text: str) -> list[Json]:
    whole = value_of(text.strip())
    return whole if isinstance(whole, list) else [value_of(part.strip()) for part in text.split(",")]
