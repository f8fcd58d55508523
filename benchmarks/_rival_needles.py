"""Needles for the comparison beside kvpress: facts that no model knows, each in a piece of the Python reference."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CONFIRM", "DEVELOP", "Needle", "needles"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to hide a fact.

    Args:
        stem: The words before the value; the question repeats them, so the model has to go on with the value.
        whose: Fillers of ``{whose}``.
        first: First halves of values.
        second: Second halves.
        between: What stands between the halves.
    """

    stem: str
    whose: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    between: str = " "


_PEOPLE = ("Ada Larkin", "Bruno Hale", "Celia Marsh", "Dunstan Reed", "Edith Poole", "Felix Varga", "Greta Holm",
           "Hugo Sand", "Iris Kemp", "Jonas Wirth", "Klara Finch", "Leopold Gray")  # fmt: skip
_PLACES = ("Ashcombe", "Brindle", "Corvane", "Dunmore", "Eastwick", "Farrow", "Gilden", "Harlow", "Ilminster",
           "Jarrow", "Kestrel Bay", "Lowmoor")  # fmt: skip
_OTHERS = ("Mirela", "Norbert", "Ottoline", "Percival", "Quentin", "Rosalind", "Sylvester", "Tabitha")
_TOWNS = ("Mapleford", "Northwold", "Oakhurst", "Penrose", "Quarry Hill", "Redbank", "Stonely", "Thornby")
_DIGITS = tuple("23456789")

CONFIRM = (
    Kind("The password of {whose} is", _PEOPLE,
         ("purple", "silver", "hollow", "gentle", "frozen", "wooden", "scarlet", "quiet"),
         ("marmalade", "lantern", "compass", "walrus", "feather", "thimble", "orchard", "trumpet")),
    Kind("The bicycle of {whose} was found behind the", _PEOPLE,
         ("abandoned", "yellow", "crooked", "old", "burnt", "narrow", "flooded", "Dutch"),
         ("bakery", "windmill", "chapel", "brewery", "barn", "greenhouse", "tannery", "observatory")),
    Kind("The mayor of {whose} keeps a pet called", _PLACES,
         ("Captain", "Lady", "Doctor", "Little", "Prince", "Uncle", "Saint", "Colonel"),
         ("Biscuit", "Pepper", "Thunder", "Pickle", "Velvet", "Bramble", "Noodle", "Comet")),
    Kind("The number of the locker in {whose} is", _PLACES, tuple(a + b for a in _DIGITS for b in "1470"),
         tuple(a + b for a in _DIGITS for b in "0358"), ""),
    Kind("For breakfast {whose} always eats", _PEOPLE,
         ("smoked", "pickled", "candied", "roasted", "salted", "stewed", "buttered", "spiced"),
         ("turnips", "herring", "chestnuts", "plums", "lentils", "mushrooms", "quinces", "oysters")),
)  # fmt: skip
"""Kinds of the figures that are reported."""

DEVELOP = (
    Kind("The favourite colour of {whose} is", _OTHERS,
         ("pale", "dark", "dusty", "bright"), ("turquoise", "crimson", "amber", "olive")),
    Kind("The ferry to {whose} is named", _TOWNS,
         ("Morning", "Northern", "Golden", "Restless"), ("Heron", "Arrow", "Pilgrim", "Anchor")),
    Kind("The treasure of {whose} is buried under the", _TOWNS,
         ("broken", "marble", "copper", "painted"), ("fountain", "staircase", "bridge", "statue")),
    Kind("The telephone of {whose} has the number", _OTHERS, tuple(a + b for a in _DIGITS for b in "259"),
         tuple(a + b for a in _DIGITS for b in "167"), ""),
)  # fmt: skip
"""Kinds that choices were made on; none of their words, names and sentences around them is in `CONFIRM`."""


@dataclass(frozen=True, slots=True)
class Needle:
    """One case as both harnesses read it.

    Args:
        number: Of the candidate.
        context: Token ids that are read and compressed.
        question: Token ids that come afterwards.
        answer: What the model must write.
        depth: Where in the context the fact lies, 0 to 1.
    """

    number: int
    context: tuple[int, ...]
    question: tuple[int, ...]
    answer: str
    depth: float

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def needles(
    encode: Callable[[str], list[int]], kinds: Sequence[Kind], sentences: Sequence[str], *, tokens: int = 300, seed: int
) -> Iterator[Needle]:
    """Give candidates without end, the same for the same seed.

    Args:
        encode: Token ids of a text.
        kinds: In turn.
        sentences: Of the text around the facts, in their order.
        tokens: Least length of a context.
        seed: Of everything that is drawn.
    """
    draw = random.Random(f"needles {seed}")
    number = 0
    while True:
        kind = kinds[number % len(kinds)]
        stem = kind.stem.format(whose=draw.choice(kind.whose))
        answer = kind.between.join((draw.choice(kind.first), draw.choice(kind.second)))
        around: list[str] = []
        size, at = len(encode(f"{stem} {answer}.")), draw.randrange(len(sentences) - 60)
        while size < tokens:
            around.append(sentences[at])
            size += len(encode(" " + sentences[at]))
            at += 1
        place = draw.randrange(len(around) + 1)
        text = " ".join([*around[:place], f"{stem} {answer}.", *around[place:]])
        question = f"\n\nAnswer: {stem}"
        yield Needle(number, tuple(encode(text)), tuple(encode(question)), answer, place / len(around))
        number += 1
