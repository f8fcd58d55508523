"""Dense records for the comparison beside kvpress: contexts without filler, in which nearly every token is asked for.

Each context is a list of short facts, and several of them are asked, each after the same cut. The words of `DEVELOP`
served every choice; those of `CONFIRM` give the figures, and no name, place, stem or word of a value is in both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from _rival_needles import Needle

__all__ = ["CONFIRM", "DEVELOP", "RECORDS", "Words", "records"]

RECORDS = 45
"""Facts of a context, some 630 tokens; of them the model answers some 60 to 70 % when nothing is cut."""

Kind = Literal["number", "code", "date", "pair", "time", "weight", "price"]


@dataclass(frozen=True, slots=True)
class Words:
    """What records are made of.

    Args:
        stems: The words before a value, whether they name a person or a place, and the kind of value.
        people: For ``{person}``; nobody is named twice in a context, so that no two stems are alike.
        places: For ``{place}``; likewise.
        letters: Of codes.
        months: Of dates.
        first: First halves of pairs.
        second: Second halves.
    """

    stems: tuple[tuple[str, Kind], ...]
    people: tuple[str, ...]
    places: tuple[str, ...]
    letters: str
    months: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]


DEVELOP = Words(
    stems=(
        ("The phone of {person} has the number", "number"), ("The badge of {person} says", "code"),
        ("{person} was born on", "date"), ("The boat of {person} is named", "pair"),
        ("{person} keeps a secret key under the", "pair"), ("The engine of {person} has the serial number", "number"),
        ("{person} paid the bill number", "number"), ("The ferry to {place} leaves at", "time"),
        ("The parcel for {place} weighs", "weight"), ("The school in {place} was opened on", "date"),
        ("A ticket to {place} costs", "price"), ("The map of {place} is filed as", "code"),
        ("The gate of {place} opens with the words", "pair"), ("The well in {place} was dug on", "date"),
    ),
    people=("Mirela", "Norbert", "Ottoline", "Percival", "Quentin", "Rosalind", "Sylvester", "Tabitha", "Ursula",
            "Valentin", "Winifred", "Yorick", "Bettina", "Clarence", "Dorothy", "Emmett", "Gladys", "Harriet",
            "Ignatius", "Jasper", "Lavinia", "Mortimer", "Nigel", "Prudence", "Rupert", "Selma"),
    places=("Mapleford", "Northwold", "Oakhurst", "Penrose", "Quarry Hill", "Redbank", "Stonely", "Thornby",
            "Underwood", "Vale Cross", "Westmere", "Yarrow", "Blackpool", "Copperfield", "Dingle",
            "Elmstead", "Foxhole", "Greystone", "Hillgate"),
    letters="BDFHJLNPRT", months=("January", "March", "May", "June", "August", "October"),
    first=("pale", "dark", "dusty", "bright", "broken", "marble", "copper", "painted", "restless", "golden"),
    second=("heron", "arrow", "pilgrim", "anchor", "fountain", "staircase", "bridge", "statue", "kettle", "ladder"),
)  # fmt: skip
"""Words that choices were made on."""

CONFIRM = Words(
    stems=(
        ("The locker of {person} bears the label", "number"), ("The passport of {person} reads", "code"),
        ("{person} left the army on", "date"), ("The horse of {person} is called", "pair"),
        ("{person} hid the silver coins behind the", "pair"), ("The rifle of {person} carries the mark", "number"),
        ("{person} won the lottery with", "number"), ("The bus from {place} arrives at", "time"),
        ("The bell of {place} contains copper of", "weight"), ("The railway near {place} was finished on", "date"),
        ("A room in {place} can be had for", "price"), ("The archive of {place} stands on shelf", "code"),
        ("The inn at {place} is known as the", "pair"), ("The fire in {place} broke out on", "date"),
    ),
    people=("Ada", "Bruno", "Celia", "Dunstan", "Edith", "Felix", "Greta", "Hugo", "Iris", "Jonas", "Klara",
            "Leopold", "Magnus", "Nadia", "Oscar", "Philippa", "Raymond", "Stella", "Tobias", "Vera",
            "Agnes", "Caspar", "Daphne", "Ewan", "Henrietta", "Lionel"),
    places=("Ashcombe", "Brindle", "Corvane", "Dunmore", "Eastwick", "Farrow", "Gilden", "Harlow", "Ilminster",
            "Jarrow", "Kestrel Bay", "Lowmoor", "Marston", "Netherby", "Ormskirk", "Pinewood", "Selby", "Tarrant",
            "Wickham"),
    letters="CGKMQSVWXZ", months=("February", "April", "July", "September", "November", "December"),
    first=("purple", "silver", "hollow", "gentle", "frozen", "wooden", "scarlet", "quiet", "crooked", "narrow"),
    second=("lantern", "compass", "walrus", "feather", "thimble", "orchard", "trumpet", "windmill", "chapel", "barn"),
)  # fmt: skip
"""Words of the figures that are reported."""


def records(
    encode: Callable[[str], list[int]], words: Words, *, size: int = RECORDS, asked: int = 12, seed: int
) -> Iterator[Needle]:
    """Give candidates without end, `asked` in a row of one context; the same for the same seed.

    Args:
        encode: Token ids of a text.
        words: What the facts are made of.
        size: Facts of a context, no more than there are people and places together.
        asked: How many of them are asked.
        seed: Of everything that is drawn.

    Raises:
        ValueError: There are more facts than names.
    """
    if size > len(words.people) + len(words.places):
        raise ValueError(f"{size} facts need as many names, and there are {len(words.people) + len(words.places)}")
    draw = random.Random(f"records {seed}")
    number = 0
    while True:
        facts = _facts(draw, words, size)
        context = tuple(encode(" ".join(f"{stem} {value}." for stem, value in facts)))
        for place in sorted(draw.sample(range(size), asked)):
            stem, value = facts[place]
            question = tuple(encode(f"\n\nAnswer: {stem}"))
            yield Needle(number, context, question, value, place / (size - 1))
            number += 1


def _facts(draw: random.Random, words: Words, size: int) -> list[tuple[str, str]]:
    """Return stems with their values, shuffled; the stems take turns until a context is full."""
    people, places = draw.sample(words.people, len(words.people)), draw.sample(words.places, len(words.places))
    facts: list[tuple[str, str]] = []
    while len(facts) < size:
        for stem, kind in draw.sample(words.stems, len(words.stems)):
            names = people if "{person}" in stem else places
            if names and len(facts) < size:
                facts.append((stem.format(person=names[-1], place=names[-1]), _value(draw, words, kind)))
                names.pop()
    draw.shuffle(facts)
    return facts


def _value(draw: random.Random, words: Words, kind: Kind) -> str:
    if kind == "number":
        return _digits(draw, 6)
    if kind == "code":
        return f"{draw.choice(words.letters)}{draw.choice(words.letters)}-{_digits(draw, 4)}"
    if kind == "date":
        return f"{draw.randint(1, 28)} {draw.choice(words.months)} {draw.randint(1931, 1999)}"
    if kind == "time":
        return f"{draw.randint(1, 12)}:{draw.randint(10, 59)}"
    if kind == "weight":
        return f"{draw.randint(100, 999)} grams"
    if kind == "price":
        return f"{draw.randint(11, 99)}.{draw.randint(10, 99)} pounds"
    return f"{draw.choice(words.first)} {draw.choice(words.second)}"


def _digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choice("0123456789") for _ in range(count))
