"""The dumps of other memories, told by their shape."""

from __future__ import annotations

from typing import Final

from ..core.payload import Json
from ._dump import Dump
from ._dump_graph import GRAPHITI, ZEP
from ._dump_langgraph import LANGGRAPH
from ._dump_letta import LETTA, LETTA_PASSAGES
from ._dump_mem0 import MEM0
from ._dump_memos import MEMOS, MEMOS_SETTINGS
from ._dump_vectors import CHROMA, QDRANT

__all__ = ["DUMPS", "dump_of"]

DUMPS: Final = (
    MEM0,
    LETTA,
    LETTA_PASSAGES,
    GRAPHITI,
    ZEP,
    LANGGRAPH,
    MEMOS,
    MEMOS_SETTINGS,
    CHROMA,
    QDRANT,  # last: points may hold what is told apart by more
)
"""Every form, in the order they are tried; no value is of two but points, which hold anything."""


def dump_of(value: Json) -> Dump | None:
    """Return the form in which another memory gave a JSON value, or None when no other memory did.

    Example:
        >>> dump_of([{"namespace": ["ann"], "key": "a", "value": {"text": "Ann keeps bees."}}]).name
        'langgraph'
        >>> dump_of([{"text": "Ann keeps bees."}]) is None
        True
    """
    return next((dump for dump in DUMPS if dump.matches(value)), None)
