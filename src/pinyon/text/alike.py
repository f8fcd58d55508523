"""Hits that say the same: of several spellings of one sentence one is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..core.cube import Cube
from .base import Hit, Hits

__all__ = ["distinct_hits", "without_repeats"]

_WIDEST = 8  # times as many hits as are wanted that are looked at for distinct ones
_NAMED = 5  # ids in a note; all are in `Hits.repeated`
_ID_SHOWN = 10


def distinct_hits(hits: Sequence[Hit], *, by_day: bool = False) -> list[tuple[Hit, list[Hit]]]:
    """Return the hits without repetitions, each with those that say the same, in the order of the first of each.

    The same is what one speaker says in the same words, whatever their case and punctuation. The latest is kept, with
    the best score of all; texts that differ in a single word or number are different.

    Args:
        hits: In any order.
        by_day: Whether what was said on another day is something else, as where it is asked when or how often.
    """
    alike: dict[tuple[object, ...], list[Hit]] = {}
    for hit in hits:
        day = hit.cube.time.date() if by_day else None
        alike.setdefault((day, *_said(hit.cube)), []).append(hit)
    kept: list[tuple[Hit, list[Hit]]] = []
    for same in alike.values():
        chosen = max(same, key=lambda hit: (hit.cube.time, hit.cube.row))
        shown = replace(chosen, score=max(hit.score for hit in same)) if len(same) > 1 else chosen
        kept.append((shown, [hit for hit in same if hit is not chosen]))
    return kept


def without_repeats(find: Callable[[int], Hits], k: int, *, by_day: bool = False) -> Hits:
    """Return the best hits, each saying something else; the repetitions are in `Hits.repeated`, and a note tells.

    Args:
        find: Finds so many hits. Asked once where nothing is said twice, else for more until there are k.
        k: How many, >= 1.
        by_day: As for `distinct_hits`.
    """
    wide = k
    found = find(wide)
    groups = distinct_hits(found.hits, by_day=by_day)
    while len(groups) < k and len(found.hits) == wide and wide < _WIDEST * k:
        wide *= 2
        found = find(wide)
        groups = distinct_hits(found.hits, by_day=by_day)
    groups = groups[:k]
    notes = tuple(_note(place, others) for place, (_, others) in enumerate(groups, 1) if others)
    repeated = tuple(hit for _, others in groups for hit in others)
    return replace(found, hits=tuple(hit for hit, _ in groups), notes=(*found.notes, *notes), repeated=repeated)


def _said(cube: Cube) -> tuple[str, str]:
    """Return who says which words; a cube without any is like no other."""
    p = cube.header.provenance
    words = " ".join(re.findall(r"\w+", cube.text.lower()))
    return p.speaker or p.role or "", words or cube.text or cube.id


def _note(place: int, others: Sequence[Hit]) -> str:
    ids = ", ".join(hit.cube.id[:_ID_SHOWN] for hit in others[:_NAMED]) + (", …" if len(others) > _NAMED else "")
    return f"{len(others)} more say{'s' if len(others) == 1 else ''} the same as hit {place}: {ids}"
