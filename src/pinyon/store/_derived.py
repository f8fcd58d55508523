"""What a store keeps beside a cube because it follows from it."""

from __future__ import annotations

from ..core.cube import Cube
from ..core.header import Header
from ..core.render import introduction

__all__ = ["parents_of", "same_vector"]


def parents_of(header: Header) -> tuple[str, ...]:
    """Return the ids that a header names as parents, without repeats."""
    return tuple(dict.fromkeys(parent.id for parent in header.lineage.parents))


def same_vector(old: Cube, new: Cube) -> bool:
    """Return whether a vector of one version is as good for the other: the words that were embedded are the same."""
    return old.payload == new.payload and introduction(old) == introduction(new)
