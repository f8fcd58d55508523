"""Hide evidence among filler: one question a history, or many, as ConvoMem mixes them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ..errors import BadInput
from ._convomem_items import Chat, EvidenceItem, TestCase

__all__ = ["SIZES", "Mode", "batched", "mixed", "standard"]

SIZES = (1, 2, 3, 4, 5, 6, 10, 20, 30, 50, 70, 100, 150, 200, 300)
"""Conversations in a history; official code."""
Mode = Literal["standard", "batched", "stitched"]
_STITCH = 50  # from here on stitched histories hold several questions; official code
_STITCHED_ITEMS = 20  # official code
_MOST_ITEMS = 100  # of a batch; official code
_LEAST_CASES = 10  # of a size; official code

Filler = Mapping[str, Sequence[Chat]]


def standard(item: EvidenceItem, size: int, filler: Filler, rng: random.Random) -> TestCase:
    """Return one question in a history of its person.

    Args:
        item: The question; its evidence keeps its order and is never cut.
        size: Conversations; more when the evidence alone is more.
        filler: Chats by person.
        rng: Draws filler and places.

    Raises:
        BadInput: The person has too little filler.
    """
    return TestCase(f"{item.id}@{size}", size, (item,), _placed([item], size, _drawn([item], size, filler, rng), rng))


def batched(
    items: Sequence[EvidenceItem],
    size: int,
    filler: Filler,
    rng: random.Random,
    *,
    most: int = _MOST_ITEMS,
    least_cases: int = _LEAST_CASES,
) -> list[TestCase]:
    """Return histories that hold several questions each, of the people whose questions they are.

    Args:
        items: Shuffled and packed until the evidence of the next one would exceed `size`.
        size: Conversations of each history.
        filler: Chats by person, drawn in proportion to their questions.
        rng: Draws everything.
        most: Questions of one history.
        least_cases: Fewest histories while there are questions enough: packs are made smaller for that.

    Raises:
        BadInput: A person has too little filler.
    """
    shuffled = list(items)
    rng.shuffle(shuffled)
    most = max(1, min(most, -(-len(shuffled) // least_cases)))
    cases: list[TestCase] = []
    pack: list[EvidenceItem] = []
    spent = 0
    for item in shuffled:
        if pack and (len(pack) == most or spent + len(item.chats) > size):
            cases.append(_case(pack, size, filler, rng, len(cases)))
            pack, spent = [], 0
        pack.append(item)
        spent += len(item.chats)
    if pack:
        cases.append(_case(pack, size, filler, rng, len(cases)))
    return cases


def mixed(
    items: Sequence[EvidenceItem], size: int, filler: Filler, *, seed: int, mode: Mode = "stitched"
) -> Iterator[TestCase]:
    """Yield the histories of one size.

    Stitched histories hold one question below 50 conversations and up to 20 from there on, all of one person, so that
    what a system pays to take a history in is paid once.

    Args:
        items: The questions.
        size: Conversations.
        filler: Chats by person.
        seed: The same seed, the same histories.
        mode: ``batched`` mixes people as the official code does, so that "I" is several.

    Raises:
        BadInput: A person has too little filler.
    """
    if mode == "batched":
        yield from batched(items, size, filler, random.Random(f"{seed} batched {size}"))
        return
    if mode == "standard" or size < _STITCH:
        for item in items:
            yield standard(item, size, filler, random.Random(f"{seed} {item.id} {size}"))
        return
    people = dict.fromkeys(item.person for item in items)
    for person in people:
        own = [item for item in items if item.person == person]
        rng = random.Random(f"{seed} {person} {size}")
        yield from batched(own, size, filler, rng, most=_STITCHED_ITEMS, least_cases=1)


def _case(pack: Sequence[EvidenceItem], size: int, filler: Filler, rng: random.Random, number: int) -> TestCase:
    people = "+".join(dict.fromkeys(item.person for item in pack))
    chats = _placed(pack, size, _drawn(pack, size, filler, rng), rng)
    return TestCase(f"{people[:40]}#{number}@{size}", size, tuple(pack), chats)


def _drawn(items: Sequence[EvidenceItem], size: int, filler: Filler, rng: random.Random) -> list[Chat]:
    """Return filler of the items' people, in proportion to their questions."""
    missing = max(0, size - sum(len(item.chats) for item in items))
    asked = Counter(item.person for item in items)
    out: list[Chat] = []
    left, questions = missing, len(items)
    evidence = {chat.id for item in items for chat in item.chats}
    for person, count in asked.items():
        share = left if count == questions else round(left * count / questions)
        has = [chat for chat in filler.get(person, ()) if chat.id not in evidence]
        if share > len(has):
            raise BadInput(
                f"{person!r} has {len(has)} chats of filler and {share} are needed for {size} conversations",
                hint="make more filler, or ask for smaller sizes",
            )
        out.extend(rng.sample(has, share))
        left, questions = left - share, questions - count
    return out


def _placed(items: Sequence[EvidenceItem], size: int, drawn: Sequence[Chat], rng: random.Random) -> tuple[Chat, ...]:
    """Return evidence and filler in one order that keeps the order of each item."""
    turns = [item for item in items for _ in item.chats]
    rng.shuffle(turns)  # who speaks next; each item's own chats follow in order
    own = {item.id: iter(item.chats) for item in items}
    evidence = [next(own[item.id]) for item in turns]
    total = max(size, len(evidence))
    places = set(rng.sample(range(total), len(evidence)))
    rest, mine = iter(rng.sample(list(drawn), len(drawn))), iter(evidence)
    return tuple(next(mine) if place in places else next(rest) for place in range(total))
