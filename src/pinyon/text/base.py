"""Contracts of the text room: what writes, what finds, what lays out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..core.budget import Budget, Footprint
from ..core.cube import Cube, Draft
from ..core.experience import Experience

__all__ = ["Composer", "Context", "Hit", "Hits", "Reason", "Retriever", "Shelf", "Writer"]


@dataclass(frozen=True, slots=True)
class Reason:
    """What one way of looking said of a hit.

    Args:
        leg: ``turn``, ``window1``, ``window2``, ``section`` (words at four granularities), ``dense`` (meaning),
            ``speaker`` (named in the question), ``reach`` (share of what the question's words could score that they
            reached anywhere: how much words counted in the second look), ``literal`` (contains the question as it
            stands), ``time`` (added to or taken from the score because of when it happened), ``block N`` (found in the
            N-th block of an extraction), ``state`` (a part of an attached state), ``all`` (everything fitted).
        score: In the leg's own unit.
        rank: From 1 among everything the caller may see, 0 when not ranked.
    """

    leg: str
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A cube, its score and why.

    Args:
        cube: What was found.
        score: Higher is better; comparable within one search only.
        why: What each leg said, best rank first.
    """

    cube: Cube
    score: float
    why: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Hits:
    """Hits, best first, and what it took to find them.

    Args:
        hits: Best first.
        considered: Number of cubes that the caller may see and asked for.
        terms: Terms of the question that occur among them, with the number of cubes they occur in.
        ms: Milliseconds by step.
        notes: Plain sentences on what happened (a fallback, a pending embedding, memories that say the same).
        repeated: Hits left out because one that is shown says the same.
    """

    hits: tuple[Hit, ...]
    considered: int
    terms: Mapping[str, int]
    ms: Mapping[str, float]
    notes: tuple[str, ...] = ()
    repeated: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """Text ready for a prompt.

    Args:
        text: Numbered passages with dates and speakers.
        hits: The cubes in it; passage [n] is ``hits[n - 1]``.
        left_out: Hits that did not fit or said the same as another.
        footprint: Tokens and bytes of `text`.
    """

    text: str
    hits: tuple[Hit, ...]
    left_out: tuple[Hit, ...]
    footprint: Footprint


class Shelf(Protocol):
    """Store and indexes, already narrowed to what the caller may see."""

    def search(self, question: str, k: int) -> Hits:
        """Return the best hits."""
        ...

    def everything(self, limit: int) -> Sequence[Cube]:
        """Return up to `limit` cubes in the order in which they were lived or written."""
        ...

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of prompt tokens of each text."""
        ...


class Writer(Protocol):
    """Turns an experience into drafts of cubes."""

    def write(self, experience: Experience, shelf: Shelf | None) -> Iterable[Draft]: ...


class Retriever(Protocol):
    """Finds what a question needs."""

    def retrieve(self, question: str, shelf: Shelf, budget: Budget) -> Hits: ...


class Composer(Protocol):
    """Lays hits out under a budget."""

    def compose(self, hits: Sequence[Hit], shelf: Shelf, budget: Budget) -> Context: ...
