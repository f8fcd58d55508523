"""What the verbs of a memory return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .core.cube import Cube
from .core.payload import Json

if TYPE_CHECKING:
    from .govern.forgetting import ForgetPlan
    from .govern.receipts import Receipt, Retained
    from .text.base import Context, Hit, Hits
    from .text.size_router import Decision

__all__ = [
    "Added",
    "Answer",
    "Citation",
    "Converted",
    "Forgotten",
    "Imported",
    "Page",
    "Recall",
    "Saved",
    "SavedState",
    "SourceResult",
    "Stats",
]


@dataclass(frozen=True, slots=True)
class Added:
    """What became of something that was added.

    Args:
        cubes: The cubes it is now, in order; those that were there already too.
        created: How many are new.
        updated: How many became a next version.
        unchanged: How many were there already.
        ms: Milliseconds until they had reached the disk.
    """

    cubes: tuple[Cube, ...]
    created: int
    updated: int
    unchanged: int
    ms: float


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What became of one source of an import.

    Args:
        source: Its name.
        outcome: ``added``, ``unchanged`` or ``skipped``.
        cubes: Cubes created or updated from it.
        reason: Why it was skipped, or what it equals; else empty.
        format: What it was taken for, such as ``Markdown`` or ``mem0``; empty where it was not read.
    """

    source: str
    outcome: str
    cubes: int = 0
    reason: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of an import.

    Args:
        sources: One entry a file, in order.
        ms: Milliseconds in all.
    """

    sources: tuple[SourceResult, ...]
    ms: float

    @property
    def cubes(self) -> int:
        """Cubes created or updated."""
        return sum(source.cubes for source in self.sources)

    @property
    def skipped(self) -> tuple[SourceResult, ...]:
        """Sources that could not be read."""
        return tuple(source for source in self.sources if source.outcome == "skipped")


@dataclass(frozen=True, slots=True)
class Recall:
    """Context for a prompt.

    Args:
        context: The passages, packed.
        found: Everything that was found, with reasons.
        decision: Which form the history got, and why not another; None where no choice was made.
    """

    context: Context
    found: Hits
    decision: Decision | None = None

    @property
    def text(self) -> str:
        """The passages as one text."""
        return self.context.text

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The cubes in the text, in its order."""
        return self.context.hits


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a part of an answer stands.

    Args:
        number: As it stands in the answer, from 1.
        hit: The cube.
        quote: The words that answer, or an empty text when a model wrote the answer.
    """

    number: int
    hit: Hit
    quote: str = ""


@dataclass(frozen=True, slots=True)
class SavedState:
    """One state that an answer was read on from.

    Args:
        id: Its id.
        sources: Ids of the texts that it holds.
        tokens: Tokens of the prompt that were taken from it.
        ms: Milliseconds that reading these would have taken, less those of attaching it; None where reading was never
            measured.
        attached_ms: Milliseconds until its tensors were at hand.
        is_approximate: Whether what was taken from it differs from what the model would compute there.
    """

    id: str
    sources: tuple[str, ...]
    tokens: int
    ms: float | None
    attached_ms: float
    is_approximate: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """What the states that were attached saved an answer.

    Args:
        state: Id of the first state.
        tokens: Tokens of the prompt that the model did not read again.
        read: Tokens of the prompt that it read.
        ms: Milliseconds saved, by what reading costs with this model here; None where that was never measured
            (`convert` and the job ``state`` measure it).
        attached_ms: Milliseconds until everything was ready.
        is_approximate: Whether any of the numbers differ from what the model would compute.
        states: Each of them, in the order of their passages.
        fused: How several were put together, ``reposition`` or ``repair``; None for a single one.
        nats: By how many nats the next token differed on a sample of what was put together; None where nothing was.
    """

    state: str
    tokens: int
    read: int
    ms: float | None
    attached_ms: float
    is_approximate: bool
    states: tuple[SavedState, ...] = ()
    fused: str | None = None
    nats: float | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of texts that were converted into a state.

    Args:
        cube: The state.
        sources: The texts, in the order of their passages.
        outcome: ``created``, ``unchanged`` when it was there already, or ``rewritten`` when it was there with rights or
            tensors that were not as they should be.
        tokens: Tokens that it has read.
        reused: Of these, tokens that an older state of the same texts had read already.
        bytes: Bytes of its tensors.
        ms: Milliseconds until it had reached the disk, from when the model was there.
        replaced: Ids of older states of the same texts that went.
        loading_ms: Milliseconds until the model was there.
    """

    cube: Cube
    sources: tuple[Cube, ...]
    outcome: str
    tokens: int
    reused: int
    bytes: int
    ms: float
    replaced: tuple[str, ...] = ()
    loading_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its evidence.

    Args:
        text: The answer; when there is no evidence, a sentence that says so.
        citations: Where it stands; empty when there is no evidence.
        recall: What was read for it.
        by: ``extractive`` or the name of the generator.
        saved: What an attached state saved; None where none was attached, of which a note of what was found says why.
    """

    text: str
    citations: tuple[Citation, ...]
    recall: Recall
    by: str = "extractive"
    saved: Saved | None = None

    @property
    def is_known(self) -> bool:
        """Whether the memory holds evidence."""
        return bool(self.citations)


@dataclass(frozen=True, slots=True)
class Page:
    """Some cubes in order of time.

    Args:
        cubes: This page.
        cursor: Give it to the next call for the next page; None at the end.
    """

    cubes: tuple[Cube, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten, or would be.

    Args:
        cubes: The cubes, as they were: those that were asked for, then those that were made of them.
        is_done: False for a dry run.
        plan: What was asked for, what follows from it, and what stays and why.
        receipt: Signed account of every copy touched; None for a dry run.
        rooms: The same for each space with a key of its own, which has a store and a receipt of its own.
        not_covered: Spaces that are mounted, when everything about a person was asked for: they lie in other memories,
            where nothing was looked for.
    """

    cubes: tuple[Cube, ...]
    is_done: bool
    plan: ForgetPlan | None = None
    receipt: Receipt | None = None
    rooms: tuple[Forgotten, ...] = ()
    not_covered: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[Retained, ...]:
        """What stays although it was asked for, and why."""
        if self.receipt is not None:
            return tuple(kept for kept in self.receipt.retained if kept.reason != "stale")
        return () if self.plan is None else (*self.plan.held, *self.plan.not_allowed)


@dataclass(frozen=True, slots=True)
class Stats:
    """What is in a memory, as far as the caller may see.

    Args:
        location: File or name.
        cubes: Living cubes.
        by_space: Cubes in each space.
        bytes: Bytes of the whole store on disk, its log and the tensors of states included.
        embedder: Fingerprint of the vectors that searches use.
        pending: Cubes whose vector is still to come; beyond a thousand, about how many.
        detail: Anything else worth showing: `mounts`, where the spaces lie that are mounted; `chosen_embedder`, while
            searches use the vectors of another one, and `embedder_failure`, why it made none; `states_at_hand`, the
            `TierStatistics` of the states that this process used.
    """

    location: str
    cubes: int
    by_space: Mapping[str, int]
    bytes: int
    embedder: str
    pending: int
    detail: Mapping[str, Json] = field(default_factory=dict)
