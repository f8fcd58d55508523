"""The trials of SORT: which of two segments of a sequence came first."""

from __future__ import annotations

import hashlib
import json
import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ..errors import BadInput, UnreadableSource
from ._sort_spread import same_p, uniform_p

__all__ = [
    "SortCell", "SortExcerpt", "SortPlan", "SortText", "SortTrial", "book_texts", "build_sort", "prose",
    "reference_texts", "sequence", "session_trials", "sort_bins",
]  # fmt: skip

Split = Literal["test", "validation"]
_ENDS = (".", "?", "!", ";")
_TITLES = frozenset({"mr.", "mrs.", "dr."})  # official code
_LONG = 5000  # words; from here on the first bin ends at 1000, official code
_BODY = re.compile(r"\*\*\* ?START OF TH[^\n]*\*\*\*(.*?)\*\*\* ?END OF TH", re.DOTALL)
_NOTES = re.compile(r"\n\s*\[?Transcriber[’']s notes?.*", re.IGNORECASE | re.DOTALL)
_ATTEMPTS = 100  # draws until the positions are uniform, official code
_MOST_SPARE = 10  # times the excerpts that are wanted; a text that needs more has hardly any pairs
_PAIR_TRIES = 20  # until both segments stand in their excerpt once


@dataclass(frozen=True)
class SortText:
    """A sequence that trials are made from: the words of a text, the turns of a chat, the events of a log.

    Args:
        name: Names it in tables; trials depend on it.
        items: In order.
        starts: Places at which a segment may begin, ascending.
    """

    name: str
    items: tuple[str, ...]
    starts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of items and starts."""
        return _sealed([self.items, self.starts])


@dataclass(frozen=True, slots=True)
class SortPlan:
    """How many trials are made of a text.

    Args:
        excerpts: For each length, even, the same for every bin; one pair a bin.
        spare: Drawn beyond, for those in which a bin has no pair, >= 0.
        validation: Of the excerpts, the last ones, even; a prompt may be chosen on them.
    """

    excerpts: int = 110  # paper
    spare: int = 50  # paper
    validation: int = 10  # paper

    def __post_init__(self) -> None:
        if self.excerpts < 2 or self.excerpts % 2 or self.validation % 2 or self.spare < 0:
            raise BadInput(f"excerpts and validation must be even, spare >= 0, got {self}")
        if not 0 <= self.validation < self.excerpts:
            raise BadInput(f"validation must be below {self.excerpts} excerpts, got {self.validation}")


@dataclass(frozen=True, slots=True)
class SortExcerpt:
    """A stretch of a text.

    Args:
        number: Among those of its cell, from 0.
        start: Item at which it begins.
        items: What it holds.
        starts: Places in it at which a segment may begin.
    """

    number: int
    start: int
    items: tuple[str, ...]
    starts: tuple[int, ...]

    @property
    def text(self) -> str:
        """The items as one text."""
        return " ".join(self.items)

    def pieces(self) -> tuple[str, ...]:
        """Return it cut at its starts: sentences of a prose, turns of a chat."""
        cuts = sorted({0, *self.starts, len(self.items)})
        return tuple(" ".join(self.items[a:b]) for a, b in pairwise(cuts))


@dataclass(frozen=True, slots=True)
class SortTrial:
    """Two segments of an excerpt, shown as A and B.

    Args:
        text: Name of the text.
        excerpt: Number of the excerpt.
        first: The earlier segment.
        second: The later one.
        first_at: Item of the excerpt at which the earlier one begins.
        second_at: The same of the later one.
        length: Items of the excerpt.
        low: The distance is above it.
        high: And at most this.
        shows_first: Whether A is the earlier one.
        split: ``test`` or ``validation``.
    """

    text: str
    excerpt: int
    first: str
    second: str
    first_at: int
    second_at: int
    length: int
    low: int
    high: int
    shows_first: bool
    split: Split = "test"

    @property
    def id(self) -> str:
        """Names it among all trials of a text, a length and a segment length."""
        return f"{self.text}/{self.length}/{self.excerpt}/{self.high}"

    @property
    def distance(self) -> int:
        """Items from the beginning of one to that of the other."""
        return self.second_at - self.first_at

    @property
    def a(self) -> str:
        """The segment shown as A."""
        return self.first if self.shows_first else self.second

    @property
    def b(self) -> str:
        """The segment shown as B."""
        return self.second if self.shows_first else self.first

    @property
    def answer(self) -> str:
        """``A`` or ``B``: which came first."""
        return "A" if self.shows_first else "B"


@dataclass(frozen=True, slots=True)
class SortCell:
    """All trials of a text for one length of excerpts and one of segments.

    Args:
        text: Name of the text.
        length: Items of an excerpt.
        segment: Items of a segment.
        excerpts: What the trials are about.
        trials: One an excerpt and bin.
    """

    text: str
    length: int
    segment: int
    excerpts: tuple[SortExcerpt, ...]
    trials: tuple[SortTrial, ...]

    @property
    def hash(self) -> str:
        """SHA-256 of all trials: equal seeds give equal hashes."""
        told = [[t.excerpt, t.first_at, t.second_at, t.high, t.shows_first, t.first, t.second] for t in self.trials]
        return _sealed([self.text, self.length, self.segment, [e.start for e in self.excerpts], told])

    def of_split(self, split: Split) -> tuple[SortTrial, ...]:
        """Return the trials of a split."""
        return tuple(trial for trial in self.trials if trial.split == split)

    def problems(self) -> tuple[str, ...]:
        """Return every rule of the builder that a trial breaks; empty when all hold."""
        found = []
        for trial in self.trials:
            said = f" {self.excerpts[trial.excerpt].text} "
            one, two = said.find(f" {trial.first} "), said.find(f" {trial.second} ")
            starts = self.excerpts[trial.excerpt].starts
            if not 0 <= one < two:
                found.append(f"{trial.id}: the earlier segment does not stand before the later one")
            if not trial.low < trial.distance <= trial.high or trial.distance < self.segment:
                found.append(f"{trial.id}: distance {trial.distance} is outside its bin")
            if trial.first_at not in starts or trial.second_at not in starts:
                found.append(f"{trial.id}: a segment begins inside a sentence")
        for high in sorted({trial.high for trial in self.trials}):
            shown = [trial.shows_first for trial in self.of_split("test") if trial.high == high]
            if 2 * sum(shown) != len(shown):
                found.append(f"bin {high}: {sum(shown)} of {len(shown)} show the earlier segment first")
        return tuple(found)


def prose(name: str, text: str) -> SortText:
    """Return a text as a sequence of words; a segment may begin where a sentence does.

    A sentence ends with a word that holds one of ``. ? ! ;`` and is not mr., mrs. or dr.

    Args:
        name: Of the text.
        text: Its words, separated by white space.

    Example:
        >>> prose("x", "Ann keeps bees. Mr. Hill does not; he paints.").starts
        (0, 3, 7)
    """
    words = tuple(text.split())
    ends = [place for place, word in enumerate(words) if _ends_sentence(word)]
    starts = sorted({0, *(place + 1 for place in ends if place + 1 < len(words))}) if words else []
    return SortText(name, words, tuple(starts))


def sequence(name: str, items: Sequence[str]) -> SortText:
    """Return a list of turns, events or frames as a sequence; a segment may begin at every item."""
    return SortText(name, tuple(" ".join(item.split()) for item in items), tuple(range(len(items))))


def book_texts(folder: Path) -> tuple[SortText, ...]:
    """Return the books of a folder, without what their publisher put around them and without headings.

    Raises:
        UnreadableSource: A file is no UTF-8 text.
    """
    out = []
    for path in sorted(folder.glob("*.txt")):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableSource(f"{path.name!r} is no UTF-8 text: {error}") from error
        body = _BODY.search(text)
        inner = _NOTES.sub("", body[1] if body else text)
        out.append(prose(path.stem, "\n".join(line for line in inner.splitlines() if _is_running(line))))
    return tuple(out)


def reference_texts(least: int = 5000) -> tuple[SortText, ...]:
    """Return the Python language reference as one text: prose that every Python carries.

    Args:
        least: Words below which nothing is returned.
    """
    from pydoc_data.topics import topics

    lines = [line for name in sorted(topics) for line in topics[name].splitlines() if _is_running(line)]
    text = prose("python-reference", "\n".join(lines))
    return (text,) if len(text) >= least else ()


def sort_bins(length: int, segment: int) -> tuple[tuple[int, int], ...]:
    """Return the distance bins of the paper, (above, at most) each.

    Example:
        >>> sort_bins(2500, 50)
        ((50, 625), (625, 833), (833, 1250), (1250, 2000))

    Raises:
        BadInput: The segments are too long for the excerpt.
    """
    near = (length // 4, length // 3) if length < _LONG else (1000, length // 4)
    edges = (segment, *near, length // 2, int(length / 1.25))
    if segment < 1 or any(a >= b for a, b in pairwise(edges)):
        raise BadInput(f"segments of {segment} items do not fit into excerpts of {length} four bins apart")
    return tuple(pairwise(edges))


def build_sort(text: SortText, *, length: int, segment: int, plan: SortPlan = SortPlan(), seed: int = 0) -> SortCell:
    """Make the trials of one text, one length of excerpts and one of segments.

    Args:
        text: The sequence.
        length: Items of an excerpt, L_E.
        segment: Items of a segment, L_S.
        plan: How many.
        seed: Of all choices; the same seed gives the same trials on every machine.

    Raises:
        BadInput: The text is too short, has too few sentences, or its positions cannot be drawn uniformly.

    Source: Pink et al. 2024, arXiv 2410.08133, and its official code.
    Deviates: the answers are balanced after excerpts are dropped, in each split, so that every cell is exactly even; a
    segment that stands twice in its excerpt is drawn again; uniformity is tested on the excerpts that are kept, and
    pairs whose positions fail are drawn again before it raises; spare excerpts are doubled when they are too few.
    """
    if len(text) <= length:
        raise BadInput(f"{text.name!r} has {len(text)} items, an excerpt takes {length}", hint="use shorter excerpts")
    bins = sort_bins(length, segment)
    rng = random.Random(f"{seed}/{text.name}/{length}/{segment}")
    spare = plan.spare
    for _ in range(_ATTEMPTS):
        drawn = [_excerpt(text, length, rng) for _ in range(plan.excerpts + spare)]
        paired = [(excerpt, pairs) for excerpt in drawn if (pairs := _pairs(excerpt, bins, segment, rng))]
        if len(paired) < plan.excerpts:
            if spare > _MOST_SPARE * plan.excerpts:
                break
            spare = 2 * spare + plan.excerpts
            continue
        kept = rng.sample(paired, plan.excerpts)
        if uniform_p([e.start for e, _ in kept], 0, len(text) - length) <= 0.05:
            continue
        excerpts, trials = _trials(text.name, length, segment, kept, bins, plan, rng)
        shown = [t.first_at if t.shows_first else t.second_at for t in trials]
        if same_p(shown, [s for e in excerpts for s in e.starts if s <= length - segment]) > 0.05:
            return SortCell(text.name, length, segment, excerpts, trials)
    raise BadInput(
        f"no {plan.excerpts} excerpts of {length} items with uniform places were found in {text.name!r}",
        hint="use a longer text, or shorter excerpts",
    )


def session_trials(
    text: SortText, *, sessions: int, length: int, segment: int, count: int, seed: int = 0
) -> tuple[tuple[SortExcerpt, ...], tuple[SortTrial, ...]]:
    """Cut the beginning of a text into sessions and ask for the order of segments of two different ones.

    Args:
        text: The sequence.
        sessions: How many, one after the other.
        length: Items of a session.
        segment: Items of a segment.
        count: Trials, even.
        seed: Of all choices.

    Returns:
        The sessions, and trials whose places count from the beginning of the text.

    Raises:
        BadInput: The text is too short, or `count` is odd.
    """
    if sessions < 2 or len(text) < sessions * length or count % 2:
        raise BadInput(
            f"{sessions} sessions of {length} items and {count} trials cannot be made of {text.name!r}",
            hint="at least two sessions within the text, and an even number of trials",
        )
    rng = random.Random(f"{seed}/{text.name}/sessions/{length}/{segment}")
    parts = tuple(_cut(text, number, number * length, length) for number in range(sessions))
    whole = f" {' '.join(text.items[: sessions * length])} "
    shows = [True, False] * (count // 2)
    rng.shuffle(shows)
    out: list[SortTrial] = []
    while len(out) < count:
        one, two = sorted(rng.sample(range(sessions), 2))
        places = [rng.choice([s for s in parts[n].starts if s <= length - segment]) for n in (one, two)]
        said = [" ".join(parts[n].items[at : at + segment]) for n, at in zip((one, two), places, strict=True)]
        if any(whole.count(f" {each} ") != 1 for each in said):
            continue
        at = (one * length + places[0], two * length + places[1])
        shown = shows[len(out)]
        span = sessions * length
        out.append(SortTrial(text.name, len(out), said[0], said[1], at[0], at[1], span, 0, span, shown))
    return parts, tuple(out)


def _sealed(told: object) -> str:
    return hashlib.sha256(json.dumps(told, ensure_ascii=True).encode()).hexdigest()


def _ends_sentence(word: str) -> bool:
    return any(end in word for end in _ENDS) and word.lower() not in _TITLES


def _is_running(line: str) -> bool:
    """Tell a line of running text from a heading, a picture or a rule."""
    said = line.strip()
    if not said or said.startswith("[Illustration") or re.fullmatch(r"[\W_]+", said):
        return False
    return not (said.upper() == said and any(c.isalpha() for c in said)) and not re.match(r"(?i)chapter\b", said)


def _cut(text: SortText, number: int, start: int, length: int) -> SortExcerpt:
    inside = text.starts[bisect_left(text.starts, start) : bisect_left(text.starts, start + length)]
    return SortExcerpt(number, start, text.items[start : start + length], tuple(place - start for place in inside))


def _excerpt(text: SortText, length: int, rng: random.Random) -> SortExcerpt:
    """Return a stretch from a uniform place, moved back to a start."""
    place = rng.randrange(len(text) - length + 1)
    start = text.starts[max(0, bisect_right(text.starts, place) - 1)]
    return _cut(text, 0, start, length)


def _pairs(
    excerpt: SortExcerpt, bins: Sequence[tuple[int, int]], segment: int, rng: random.Random
) -> tuple[tuple[int, int], ...]:
    """Return one pair of places for each bin, the earlier one first, or nothing when a bin has none."""
    starts = [place for place in excerpt.starts if place <= len(excerpt.items) - segment]
    said = f" {excerpt.text} "
    out = []
    for low, high in bins:
        found = _pair(excerpt, starts, low, high, segment, said, rng)
        if found is None:
            return ()
        out.append(found)
    return tuple(out)


def _pair(
    excerpt: SortExcerpt, starts: Sequence[int], low: int, high: int, segment: int, said: str, rng: random.Random
) -> tuple[int, int] | None:
    """Draw the first place among those with a partner and then its partner: what trying until one fits would give."""
    for _ in range(_PAIR_TRIES):
        one = _with_partner(starts, low, high, rng)
        if one is None:
            return None
        two = rng.choice(list(_partners(starts, one, low, high)))
        segments = (" ".join(excerpt.items[at : at + segment]) for at in (one, two))
        if all(said.count(f" {each} ") == 1 for each in segments):
            return min(one, two), max(one, two)
    return None


def _with_partner(starts: Sequence[int], low: int, high: int, rng: random.Random) -> int | None:
    for _ in range(_PAIR_TRIES if starts else 0):  # most places have one
        place = rng.choice(starts)
        if next(_partners(starts, place, low, high), None) is not None:
            return place
    able = [place for place in starts if next(_partners(starts, place, low, high), None) is not None]
    return rng.choice(able) if able else None


def _partners(starts: Sequence[int], place: int, low: int, high: int) -> Iterator[int]:
    """Yield the places whose distance is above `low` and at most `high`, on both sides."""
    yield from starts[bisect_left(starts, place - high) : bisect_left(starts, place - low)]
    yield from starts[bisect_right(starts, place + low) : bisect_right(starts, place + high)]


def _trials(
    name: str,
    length: int,
    segment: int,
    kept: Sequence[tuple[SortExcerpt, tuple[tuple[int, int], ...]]],
    bins: Sequence[tuple[int, int]],
    plan: SortPlan,
    rng: random.Random,
) -> tuple[tuple[SortExcerpt, ...], tuple[SortTrial, ...]]:
    tested = plan.excerpts - plan.validation
    shows = [[*_even(tested, rng), *_even(plan.validation, rng)] for _ in bins]
    excerpts: list[SortExcerpt] = []
    trials: list[SortTrial] = []
    for number, (drawn, pairs) in enumerate(kept):
        excerpts.append(SortExcerpt(number, drawn.start, drawn.items, drawn.starts))
        split: Split = "test" if number < tested else "validation"
        for order, (low, high), (one, two) in zip(shows, bins, pairs, strict=True):
            first, second = (" ".join(drawn.items[at : at + segment]) for at in (one, two))
            trials.append(SortTrial(name, number, first, second, one, two, length, low, high, order[number], split))
    return tuple(excerpts), tuple(trials)


def _even(count: int, rng: random.Random) -> list[bool]:
    shows = [True, False] * (count // 2)
    rng.shuffle(shows)
    return shows
