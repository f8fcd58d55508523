"""Needles: single facts hidden at known depths of a long text, each among others that sound alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.payload import Json
from ..errors import BadInput
from .base import OVERALL, Item, Metric, Report, metric
from .planted import reference_filler
from .session import ItemLog, MeasureBudget
from .stats import bootstrap, wilson
from .subject import Passage, Subject

__all__ = ["Haystack", "Needle", "Needles", "haystack"]

KS = (1, 5, 10)
BUDGET_TOKENS = 2000
_SENTENCES = 3  # of filler a passage, some 60 words
_SMALL_SIZES = (100, 400)
_THIRDS = ("first", "middle", "last")
_DEPTHS = tuple(step / 20 for step in range(21))
_PLACES = (
    "Abbey Anchor Ashford Beacon Birch Canal Castle Cedar Chapel Cliff Copper Crane Dale Eagle Elm Falcon Fern Foundry"
    " Garnet Glen Granite Harbour Hazel Heron Hollow Island Ivory Jasper Juniper Keystone Lantern Laurel Linden Maple"
    " Meadow Mill Mirror Orchard Osprey Pebble Pine Quarry Raven Ridge River Rowan Saddle Silver Spruce Summit Thistle"
    " Timber Tower Valley Velvet Walnut Willow Winter Yarrow Zephyr"
).split()
_KINDS: tuple[tuple[str, str], ...] = (
    # told, asked in other words
    ("The password of the {place} archive is {value}.", "What must be typed to open the archive called {place}?"),
    ("The night train to {place} leaves from track {value}.", "From which track does one go to {place} after dark?"),
    ("Visitors of the {place} museum pay {value} crowns.", "How much does it cost to see the museum of {place}?"),
    ("The key to the {place} cellar hangs on hook {value}.", "Where hangs what unlocks the cellar at {place}?"),
)


@dataclass(frozen=True, slots=True)
class Needle:
    """A hidden fact.

    Args:
        id: Of its passage.
        depth: Where it lies, 0 at the beginning to 1 at the end.
        told: Its words.
        question: What is asked, in other words.
        answer: What the question asks for.
    """

    id: str
    depth: float
    told: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Haystack:
    """A long text with its needles.

    Args:
        passages: In order; each needle is a passage of its own.
        needles: From the first to the last.
    """

    passages: tuple[Passage, ...]
    needles: tuple[Needle, ...]


def haystack(
    size: int, depths: Sequence[float], *, seed: int = 0, filler: Callable[[], Sequence[str]] = reference_filler
) -> Haystack:
    """Return filler with one needle at each depth; the others are what each could be mistaken for.

    Args:
        size: Passages of filler, >= 1.
        depths: From 0 to 1, at most 60.
        seed: Of the filler, the names and the values.
        filler: Sentences that say nothing about the needles.

    Raises:
        BadInput: A number is out of range.

    Example:
        >>> stack = haystack(20, (0.0, 0.5, 1.0), seed=1)
        >>> [stack.passages.index(next(p for p in stack.passages if p.id == n.id)) for n in stack.needles]
        [0, 11, 22]
    """
    if size < 1 or not depths or len(depths) > len(_PLACES) or not all(0 <= depth <= 1 for depth in depths):
        raise BadInput(f"a haystack of {size!r} passages with needles at {list(depths)!r} is not possible")
    draw = random.Random(f"{seed} {size}")
    sentences = list(filler())
    if not sentences:
        raise BadInput("a haystack needs filler")
    places = draw.sample(_PLACES, len(depths))
    out: list[Passage] = []
    needles: list[Needle] = []
    hidden = sorted((round(depth * size), number) for number, depth in enumerate(depths))
    for place in range(size + 1):
        while hidden and hidden[0][0] == place:
            number = hidden.pop(0)[1]
            needles.append(_needle(number, depths[number], places[number], draw))
            out.append(Passage(needles[-1].id, needles[-1].told))
        if place < size:
            out.append(Passage(f"filler {place}", " ".join(draw.choices(sentences, k=_SENTENCES))))
    return Haystack(tuple(out), tuple(needles))


class Needles:
    """Find each needle: by search, and in a recalled prompt; by size of the haystack and by depth.

    Args:
        sizes: Passages of each haystack.
        depths: Where the needles lie.

    Source: Kamradt 2023, "Needle in a haystack"; here it is the memory that searches, and every other needle is a
        distractor.
    """

    name = "needles"

    def __init__(
        self,
        sizes: Sequence[int] = (200, 1000, 4000),
        depths: Sequence[float] = _DEPTHS,
    ) -> None:
        self._sizes = tuple(sizes)
        self._depths = tuple(depths)

    def run(self, subject: Subject, budget: MeasureBudget, log: ItemLog) -> Report:
        """Hide, ask, and score.

        Args:
            subject: Fresh.
            budget: A small one takes haystacks of 100 and 400 passages.
            log: Filled in.
        """
        sizes = _SMALL_SIZES if budget.small else self._sizes
        stacks = [(size, haystack(size, self._depths, seed=budget.seed)) for size in sizes]
        asked = [(size, needle) for size, stack in stacks for needle in stack.needles]
        asked = budget.sample(asked, len(asked))
        log.expect(len(asked))
        for size, stack in stacks:
            here = [needle for chosen, needle in asked if chosen == size]
            if any(not log.has(_key(size, needle)) for needle in here):
                subject.add(_space(size), stack.passages)
            for needle in here:
                log.run(_key(size, needle), _item(subject, _space(size), needle))
        return _report(self.name, asked, log, sum(len(stack.passages) for _, stack in stacks), budget.seed)


def _needle(number: int, depth: float, place: str, draw: random.Random) -> Needle:
    told, asked = _KINDS[number % len(_KINDS)]
    value = str(draw.randrange(100, 1000))
    return Needle(f"needle {number}", depth, told.format(place=place, value=value), asked.format(place=place), value)


def _space(size: int) -> str:
    return f"haystack-{size}"  # one word: some systems take no others


def _key(size: int, needle: Needle) -> str:
    return f"{size} {needle.id}"


def _item(subject: Subject, space: str, needle: Needle) -> Callable[[], Mapping[str, Json]]:
    def work() -> Mapping[str, Json]:
        found = [hit.id for hit in subject.search(space, needle.question, max(KS))]
        context = subject.recall(space, needle.question, BUDGET_TOKENS)
        record: dict[str, Json] = {
            "rank": found.index(needle.id) + 1 if needle.id in found else 0,
            "held": needle.told in context.text,
            "tokens": context.tokens,
        }
        answer = subject.ask(space, needle.question)
        if answer is not None:
            record["right"] = needle.answer in answer
        return record

    return work


def _report(name: str, asked: Sequence[tuple[int, Needle]], log: ItemLog, passages: int, seed: int) -> Report:
    noted = {item.key: item for item in log.items}
    sizes = [f"{size:,} passages" for size in dict.fromkeys(size for size, _ in asked)]
    groups: dict[str, list[Mapping[str, Any]]] = {
        group: [] for group in (OVERALL, *sizes, *(f"{third} third" for third in _THIRDS))
    }
    items: list[Item] = []
    for size, needle in asked:
        item = noted.get(_key(size, needle))
        if item is None:
            continue
        record: Mapping[str, Any] = {"rank": 0, "held": False, "tokens": 0, **item.record}
        third = _THIRDS[min(2, int(needle.depth * 3))]
        for group in (OVERALL, f"{size:,} passages", f"{third} third"):
            groups[group].append(record)
        items.append(Item(_space(size), needle.question, third, (int(record["rank"]),), 0.0))
    tokens = [float(record["tokens"]) for record in groups[OVERALL]]
    return Report(
        name,
        "",
        tuple(found for group, records in groups.items() if records for found in _metrics(group, records, seed)),
        len(items),
        0.0,
        cubes=passages,
        items=tuple(items),
        seed=seed,
        tokens=sum(tokens) / len(tokens) if tokens else 0.0,
    )


def _metrics(group: str, records: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Metric]:
    for k in KS:
        found = bootstrap([float(0 < record["rank"] <= k) for record in records], seed=seed)
        yield metric(f"recall@{k}", group, found)
    yield metric(f"in {BUDGET_TOKENS:,} tokens", group, wilson(sum(bool(r["held"]) for r in records), len(records)))
    if any("right" in record for record in records):
        right = sum(bool(record.get("right")) for record in records)
        yield metric("answered right", group, wilson(right, len(records)))
