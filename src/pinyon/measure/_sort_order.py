"""What a memory knows of order: memories that are asked which of two segments came first, and how that is scored."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Protocol

from ..core.cube import Cube
from ..core.experience import Conversation, Experience, Note, Turn
from ..errors import BadInput
from ..memory import Memory
from ._sort_trials import SortCell, SortExcerpt, SortTrial
from .base import OVERALL, Metric, metric
from .stats import wilson
from .subject import Passage, Subject

__all__ = [
    "Constant",
    "MemoryOrder",
    "Oracle",
    "OrderMemory",
    "Shuffled",
    "SortOutcome",
    "SubjectOrder",
    "by_position",
    "by_row",
    "by_time",
    "noisy",
    "run_trials",
    "session_passages",
    "sort_metrics",
    "trial_passages",
    "undecided",
]  # fmt: skip

_BESIDE = 3  # hits whose places are averaged when the best hit of both segments is the same passage
_DAY_ONE = datetime(2024, 1, 1, tzinfo=UTC)


class OrderMemory(Protocol):
    """A memory that may know in which order things happened."""

    @property
    def name(self) -> str: ...

    def write(self, sequence: str, passages: Sequence[Passage]) -> None:
        """Keep the passages of a sequence, in their order."""
        ...

    def order(self, sequence: str, a: str, b: str) -> float:
        """Return how likely `a` came before `b`; 0.5 says that it cannot tell."""
        ...


def by_position(cube: Cube) -> float:
    """Return the place of a cube in its session or document."""
    return float(cube.header.provenance.position or 0)


def by_row(cube: Cube) -> float:
    """Return the place of a cube in the order in which the store got to know them."""
    return float(cube.row)


def by_time(cube: Cube) -> float:
    """Return the seconds at which it happened, or was recorded when that is all that is known."""
    return cube.time.timestamp()


class MemoryOrder:
    """Order by what a `pinyon.Memory` knows about the passages that it finds for each segment.

    Passages of one session become a conversation, those without a session become notes.

    Args:
        memory: Where to; each sequence is a space of its own.
        known: What is compared: `by_position`, `by_row` or `by_time`.
        name: For tables.

    Cost: Two searches a trial.
    """

    def __init__(self, memory: Memory, known: Callable[[Cube], float] = by_position, *, name: str = "") -> None:
        self._memory = memory
        self._known = known
        self._name = name or f"memory, {known.__name__.replace('_', ' ')}"

    @property
    def name(self) -> str:
        """For tables."""
        return self._name

    def write(self, sequence: str, passages: Sequence[Passage]) -> None:
        """Add the passages to the space of the sequence."""
        self._memory.at(space=sequence).add_many(_experiences(passages))

    def order(self, sequence: str, a: str, b: str) -> float:
        """Compare what the memory knows about the best hits."""
        here = self._memory.at(space=sequence)

        def places(segment: str) -> list[_Place]:
            found = here.search(_plain(segment), k=_BESIDE).hits
            return [_Place(hit.cube.id, self._known(hit.cube), hit.score) for hit in found]

        return _before(places(a), places(b))


class SubjectOrder:
    """Order by the ids that a `Subject` finds: which of them was added earlier.

    A subject says which passages it found and not when they came, so that what is measured is whether it finds the
    right ones; whoever keeps no order of its own still passes.

    Args:
        subject: Whose search is asked.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._places: dict[str, dict[str, int]] = {}

    @property
    def name(self) -> str:
        """That of the subject."""
        return self._subject.name

    def write(self, sequence: str, passages: Sequence[Passage]) -> None:
        """Add the passages to the space of the sequence, and keep their places by their ids."""
        known = self._places.setdefault(sequence, {})
        for passage in passages:
            known.setdefault(passage.id, len(known))
        self._subject.add(sequence, passages)

    def order(self, sequence: str, a: str, b: str) -> float:
        """Compare the places of the best hits."""
        known = self._places.get(sequence, {})

        def places(segment: str) -> list[_Place]:
            found = self._subject.search(sequence, _plain(segment), _BESIDE)
            return [_Place(hit.id, float(known[hit.id]), hit.score) for hit in found if hit.id in known]

        return _before(places(a), places(b))


class Shuffled:
    """The same memory, to which passages come in a random order and without their session and time: the ablation.

    Args:
        inner: The memory.
        seed: Of the order.
        keeps: What of a passage it gets; `bare` by default.
    """

    def __init__(self, inner: OrderMemory, *, seed: int = 0, keeps: Callable[[Passage], Passage] | None = None) -> None:
        self._inner = inner
        self._seed = seed
        self._keeps = keeps or _bare

    @property
    def name(self) -> str:
        """That of the memory, with what was done to it."""
        return f"{self._inner.name}, shuffled"

    def write(self, sequence: str, passages: Sequence[Passage]) -> None:
        """Shuffle the passages and hand them on."""
        given = [self._keeps(passage) for passage in passages]
        random.Random(f"{self._seed}/{sequence}").shuffle(given)
        self._inner.write(sequence, given)

    def order(self, sequence: str, a: str, b: str) -> float:
        """Ask the memory."""
        return self._inner.order(sequence, a, b)


@dataclass(frozen=True, slots=True)
class Constant:
    """Says the same whatever it is asked: exactly half is right in every balanced cell.

    Args:
        probability: That the segment shown first came first.
    """

    probability: float = 1.0
    name: str = "always A"

    def write(self, sequence: str, passages: Sequence[Passage]) -> None:
        """Keep nothing."""

    def order(self, sequence: str, a: str, b: str) -> float:  # noqa: ARG002  # the protocol's
        """Return what it always says."""
        return self.probability


@dataclass(frozen=True, slots=True)
class Oracle:
    """Keeps the whole text and looks both segments up in it: every trial of a sound builder is right."""

    name: str = "oracle"
    texts: dict[str, str] = field(default_factory=dict)

    def write(self, sequence: str, passages: Sequence[Passage]) -> None:
        """Keep the passages as one text."""
        self.texts[sequence] = " ".join(passage.text for passage in passages)

    def order(self, sequence: str, a: str, b: str) -> float:
        """Compare where the segments stand."""
        one, two = (self.texts[sequence].find(segment) for segment in (a, b))
        return 0.5 if one == two else float(one < two)


@dataclass(frozen=True, slots=True)
class SortOutcome:
    """What a memory said to a trial.

    Args:
        trial: What was asked.
        probability: That A came first.
        said: ``A`` or ``B``; a coin decides where the memory could not.
    """

    trial: SortTrial
    probability: float
    said: str

    @property
    def is_right(self) -> bool:
        """Whether that is so."""
        return self.said == self.trial.answer

    @property
    def is_undecided(self) -> bool:
        """Whether the memory could not tell."""
        return self.probability == 0.5

    @classmethod
    def of(cls, trial: SortTrial, probability: float, *, seed: int = 0) -> SortOutcome:
        """Return the outcome of a probability.

        Raises:
            BadInput: It is none.
        """
        if not 0.0 <= probability <= 1.0:
            raise BadInput(f"{probability!r} is no probability", hint="order returns how likely a came before b")
        coin = random.Random(f"{seed}/{trial.id}").random() < 0.5
        is_a = coin if probability == 0.5 else probability > 0.5
        return cls(trial, probability, "A" if is_a else "B")


def run_trials(
    memory: OrderMemory,
    cell: SortCell,
    trials: Sequence[SortTrial] | None = None,
    *,
    change: Callable[[str], str] = str,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> tuple[SortOutcome, ...]:
    """Write the excerpts that trials need, each as a sequence of its own, and ask every trial.

    Args:
        memory: What is measured.
        cell: Where the excerpts are.
        trials: Which ones; None asks all test trials.
        change: Applied to both segments before they are asked.
        seed: Of the coin for what the memory cannot tell.
        progress: Told 1 after each trial.
    """
    asked = cell.of_split("test") if trials is None else trials
    written: set[int] = set()
    out = []
    for trial in asked:
        space = f"sort-{cell.text}-{cell.length}-{cell.segment}-{trial.excerpt}"
        if trial.excerpt not in written:
            memory.write(space, trial_passages(cell.excerpts[trial.excerpt]))
            written.add(trial.excerpt)
        out.append(SortOutcome.of(trial, memory.order(space, change(trial.a), change(trial.b)), seed=seed))
        if progress is not None:
            progress(1)
    return tuple(out)


def trial_passages(excerpt: SortExcerpt, *, session: str = "excerpt") -> tuple[Passage, ...]:
    """Return an excerpt as passages of one session, in order; their ids are their numbers."""
    return tuple(Passage(f"{session}:{number}", text, session=session) for number, text in enumerate(excerpt.pieces()))


def session_passages(sessions: Sequence[SortExcerpt]) -> tuple[Passage, ...]:
    """Return several excerpts as sessions, a day each: every passage has the time of its session and no other."""
    return tuple(
        replace(passage, time=_DAY_ONE + timedelta(days=day))
        for day, session in enumerate(sessions)
        for passage in trial_passages(session, session=f"day {day}")
    )


def noisy(segment: str, words: Sequence[str], *, share: float = 0.3, seed: int = 0) -> str:
    """Return a segment with a share of its words replaced by others.

    Args:
        segment: As it stands in the text.
        words: What the others are drawn from.
        share: Of its words, 0 to 1, rounded.
        seed: Of places and words.

    Example:
        >>> noisy("a b c d", ["x"], share=0.5, seed=1).split().count("x")
        2
    """
    rng = random.Random(f"{seed}/{segment}")
    said = segment.split()
    for place in rng.sample(range(len(said)), round(share * len(said))):
        said[place] = rng.choice(words)
    return " ".join(said)


def undecided(outcomes: Sequence[SortOutcome]) -> float:
    """Return the share of trials that the memory could not tell."""
    return sum(outcome.is_undecided for outcome in outcomes) / len(outcomes) if outcomes else 0.0


def sort_metrics(outcomes: Sequence[SortOutcome]) -> tuple[Metric, ...]:
    """Return accuracy, share of A and share of undecided, overall and by length and distance, with Wilson intervals."""
    groups: dict[str, list[SortOutcome]] = {OVERALL: list(outcomes)}
    for outcome in sorted(outcomes, key=lambda o: (o.trial.length, o.trial.high)):
        trial = outcome.trial
        groups.setdefault(f"{trial.length} items, {trial.low} < distance <= {trial.high}", []).append(outcome)
    out = []
    for group, members in groups.items():
        counts: Mapping[str, int] = {
            "accuracy": sum(o.is_right for o in members),
            "share of A": sum(o.said == "A" for o in members),
            "undecided": sum(o.is_undecided for o in members),
        }
        out += [metric(name, group, wilson(count, len(members))) for name, count in counts.items()]
    return tuple(out)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a hit stands: its id, what is known of its order, and its score."""

    id: str
    known: float
    score: float


def _before(a: Sequence[_Place], b: Sequence[_Place]) -> float:
    """Compare the best hits of two segments; where both are one passage, the hits beside them tell the way."""
    if not a or not b:
        return 0.5
    one, two = a[0].known, b[0].known
    if a[0].id == b[0].id:
        one, two = _middle(a), _middle(b)
    return 0.5 if one == two else float(one < two)


def _middle(places: Sequence[_Place]) -> float:
    best = places[0].known
    total = sum(max(place.score, 0.0) for place in places)
    if total <= 0:
        return best
    return best + sum((place.known - best) * max(place.score, 0.0) for place in places) / total


def _bare(passage: Passage) -> Passage:
    return replace(passage, session=None, time=None)


def _plain(segment: str) -> str:
    """Return a segment without double quotes: in a question they would ask for the very words."""
    return " ".join(segment.replace('"', " ").split()) or segment


def _experiences(passages: Sequence[Passage]) -> list[Experience]:
    out: list[Experience] = []
    for session, members in groupby(passages, key=lambda passage: passage.session):
        given = list(members)
        if session is None:
            out += [Note(p.text, time=p.time) for p in given]
        else:
            turns = tuple(Turn(p.text, speaker=p.speaker, role=p.role, time=p.time) for p in given)
            out.append(Conversation(turns, session=session))
    return out
