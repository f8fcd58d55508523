"""Make questions with evidence and filler from templates: no model, no network, the same seed the same bytes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import BadInput
from ..index import Analyzer
from ._convomem_checks import embedding_faults, question_faults
from ._convomem_items import ASSISTANT, CATEGORIES, USER, Chat, EvidenceItem, Message, World
from ._convomem_words import (
    ABSTAIN,
    CHANGES,
    CHATTER,
    COLLECTIONS,
    FACTS,
    HEARD,
    LEADS,
    PRAISE,
    PREFERENCES,
    SHAPED,
    SUGGESTED,
    TAILS,
    THEMES,
    TOLD,
    Fact,
    Shaped,
    Theme,
)

__all__ = ["Templates"]

_SHARES = (5000, 3000, 2000, 1000, 500, 500)  # questions by number of messages of evidence; official code
_MOST = {"preferences": 2, "implicit_connection": 3, "abstention": 3}  # kinds with fewer than six
_UNTOLD = 4  # facts that nobody ever mentions: what abstention asks for
_OTHER_WORDS = 0.15  # share of questions in other words than the evidence
_TRIES = 20  # README of the official code
_FIRST = ("Elsa", "Bruno", "Ines", "Callum", "Yara", "Tomas", "Freya", "Idris", "Noor", "Hector", "Maren", "Silas")
_LAST = ("Corwin", "Hale", "Okafor", "Lindqvist", "Marsh", "Petrov", "Quill", "Rosario", "Stowe", "Tanaka", "Ueda")
_STREETS = ("Marlow", "Brackley", "Fenwick", "Harrow", "Juniper", "Kestrel", "Linden", "Orchard", "Quarry", "Tanner")
_WAYS = ("Street", "Lane", "Row", "Square", "Close")
_BRANDS = (("Nor", "Bel", "Cas", "Dra", "Fal", "Gri", "Hol", "Jor", "Kel", "Lun"), ("vale", "mark", "wick", "tern"))
_MONTHS = ("January", "March", "April", "May", "June", "July", "September", "October", "November")
_NAMES = (
    "Marigold", "Biscuit", "Pilgrim", "Juniper", "Copper", "Bramble", "Saffron", "Thistle", "Harbour", "Comet",
    "Willow", "Falcon", "Clover", "Ember", "Magpie", "Otter",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Templates:
    """A maker of questions and filler from sentences with gaps.

    Args:
        seed: Of everything.
        persons: How many people, >= 1.
        items: Questions a person and category, 1 to 6.
        filler: Chats a person that answer nothing, >= 0.
        pairs: Fewest and most pairs of messages in a chat.
    """

    seed: int = 0
    persons: int = 12
    items: int = 5
    filler: int = 300  # the largest history of the paper
    pairs: tuple[int, int] = (4, 7)  # the published chats have some 1,300 tokens; these have a third of it

    @property
    def analyzer(self) -> Analyzer:
        """Tells whether a question shares words with its evidence."""
        return Analyzer()

    def __post_init__(self) -> None:
        if self.persons < 1 or self.filler < 0 or not 1 <= self.items <= len(SHAPED):
            raise BadInput(f"a world needs a person and 1 to {len(SHAPED)} items of each category")
        if not 1 <= self.pairs[0] <= self.pairs[1]:
            raise BadInput(f"pairs must be at least 1 and ascend, got {self.pairs!r}")

    def world(self) -> World:
        """Return questions and filler."""
        people = [_Person(self, number) for number in range(self.persons)]
        items = [item for person in people for item in person.items()]
        return World(tuple(items), {person.name: person.fillers() for person in people})


@dataclass(slots=True)
class _Person:
    """One person with things, facts and habits of speech."""

    plan: Templates
    number: int
    rng: random.Random = field(init=False)
    things: list[tuple[Theme, str, str]] = field(init=False)  # theme, what it is, how it is called in full
    told: list[Fact] = field(init=False)
    untold: list[Fact] = field(init=False)
    taken: set[str] = field(default_factory=set)
    pairs: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.plan.seed} person {self.number}")
        names = self.rng.sample(_NAMES, len(THEMES))
        self.things = []
        for theme, name in zip(THEMES, names, strict=True):
            thing = self.rng.choice(theme.things)
            self.things.append((theme, thing, f"{thing} {name}"))
        facts = self.rng.sample(FACTS, len(FACTS))
        self.untold, self.told = facts[:_UNTOLD], facts[_UNTOLD:]

    @property
    def name(self) -> str:
        return f"p{self.number:03d}"

    def items(self) -> list[EvidenceItem]:
        """Return questions of every category."""
        out: list[EvidenceItem] = []
        for category in CATEGORIES:
            most = _MOST.get(category, 6)
            for number, k in enumerate(self._counts(category, most)):
                out.append(self._sound(category, f"{self.name}-{category}-{number}", k, number))
        return out

    def _sound(self, category: str, id: str, k: int, number: int) -> EvidenceItem:
        """Return a question that passes the checks; most do at the first try."""
        for _ in range(_TRIES):
            item = self._item(category, id, k, number)
            if not embedding_faults(item) and not question_faults(item, self.plan.analyzer):
                return item
        raise BadInput(f"no sound question of {category!r} in {_TRIES} tries", hint="make fewer items a person")

    def fillers(self) -> tuple[Chat, ...]:
        """Return chats made as those with evidence are, with nothing to recall."""
        return tuple(
            self._chat(f"{self.name}-filler-{n:03d}", self.rng.choice(self.things)) for n in range(self.plan.filler)
        )

    def _counts(self, category: str, most: int) -> list[int]:
        """Return how much evidence each question has, in the shares of the paper; one more for changing facts."""
        first = 2 if category == "changing" else 1
        sizes = list(range(first, most + 1))
        return [self.rng.choices(sizes, _SHARES[: len(sizes)])[0] for _ in range(self.plan.items)]

    def _item(self, category: str, id: str, k: int, number: int) -> EvidenceItem:
        if category in ("preferences", "implicit_connection"):
            table = PREFERENCES if category == "preferences" else SHAPED
            return self._shaped(category, id, k, table[(number + self.number) % len(table)])
        if category == "abstention":
            return self._abstention(id, k)
        if category == "changing":
            return self._changing(id, k)
        return self._facts(category, id, k)

    def _facts(self, category: str, id: str, k: int) -> EvidenceItem:
        _, thing, full = place = self.rng.choice(self.things)
        speaker = USER if category == "user_facts" else ASSISTANT
        if k == 1:
            fact = self._fresh(full)
            value = self._value(fact.kind)
            frames: tuple[str, ...] = TOLD if speaker == USER else HEARD
            lines = [self._line(speaker, self.rng.choice(frames), fact.said, full, value)]
            values, asked = [value], self._asked(fact, thing, full, speaker)
        else:
            group = self.rng.choice([c for c in COLLECTIONS if (full, c.said) not in self.pairs] or COLLECTIONS)
            self.pairs.add((full, group.said))
            values = [self._value(group.kind) for _ in range(k)]
            frames = ("{value} is one {fact} of the {thing}.", "add {value} to the {thing} as a {fact}.")
            lines = [self._line(speaker, self.rng.choice(frames), group.said, full, value) for value in values]
            who = "I mention" if speaker == USER else "you suggest"
            asked = f"Which {group.asked} did {who} for the {full}?"
        messages = [Message(speaker, line) for line in lines]
        return self._made(id, category, asked, ", ".join(values), messages, place, values)

    def _changing(self, id: str, k: int) -> EvidenceItem:
        _, thing, full = place = self.rng.choice(self.things)
        fact = self._fresh(full)
        values = [self._value(fact.kind) for _ in range(k)]
        frames = [TOLD[0], *(self.rng.choice(CHANGES) for _ in values[1:])]
        lines = [self._line(USER, frame, fact.said, full, value) for frame, value in zip(frames, values, strict=True)]
        asked = self._asked(fact, thing, full, USER)
        messages = [Message(USER, line) for line in lines]
        return self._made(id, "changing", asked, values[-1], messages, place, values, (full, fact.said))

    def _abstention(self, id: str, k: int) -> EvidenceItem:
        _, _, full = place = self.rng.choice(self.things)
        fact = self.rng.choice([f for f in self.untold if (full, f.said) not in self.pairs] or self.untold)
        self.pairs.add((full, fact.said))
        others = [self._fresh(full) for _ in range(k)]
        values = [self._value(other.kind) for other in others]
        messages = [
            Message(USER, self._line(USER, self.rng.choice(TOLD), other.said, full, value))
            for other, value in zip(others, values, strict=True)
        ]
        return self._made(id, "abstention", self._question(fact.said, full), ABSTAIN, messages, place, ())

    def _shaped(self, category: str, id: str, k: int, request: Shaped) -> EvidenceItem:
        chosen = self.rng.sample(request.context, k)
        messages = [
            Message(USER, f"{self.rng.choice(LEADS)} {said}. {self.rng.choice(TAILS)}".rstrip()) for said, _ in chosen
        ]
        rubric = f"A good response should {' and '.join(wanted for _, wanted in chosen)}."
        place = self.rng.choice(self.things)
        return self._made(id, category, request.request, rubric, messages, place, [said for said, _ in chosen])

    def _made(
        self,
        id: str,
        category: str,
        question: str,
        answer: str,
        messages: Sequence[Message],
        place: tuple[Theme, str, str],
        values: Sequence[str],
        about: tuple[str, str] = ("", ""),
    ) -> EvidenceItem:
        chats = tuple(self._chat(f"{id}-{n}", place, message) for n, message in enumerate(messages))
        return EvidenceItem(id, self.name, category, question, answer, tuple(messages), chats, tuple(values), about)

    def _asked(self, fact: Fact, thing: str, full: str, speaker: str) -> str:
        """Return the question, sometimes in other words than the evidence."""
        called = fact.asked if self.rng.random() < _OTHER_WORDS else fact.said
        named = f"{thing}" if self.rng.random() < _OTHER_WORDS else full
        if speaker == ASSISTANT:
            return self.rng.choice(SUGGESTED).format(fact=called, thing=named)
        return self._question(called, named)

    def _question(self, fact: str, thing: str) -> str:
        frames = ("What is the {fact} for the {thing}?", "Can you tell me the {fact} for the {thing}?")
        return self.rng.choice(frames).format(fact=fact, thing=thing)

    def _fresh(self, thing: str) -> Fact:
        """Return a fact about a thing that no other question is about."""
        free = [fact for fact in self.told if (thing, fact.said) not in self.pairs]
        if not free:
            raise BadInput(f"the templates hold no more facts about {thing!r}", hint="make fewer items a person")
        fact = self.rng.choice(free)
        self.pairs.add((thing, fact.said))
        return fact

    def _line(self, speaker: str, frame: str, fact: str, thing: str, value: str) -> str:
        said = frame.format(fact=fact, thing=thing, value=value)
        told = said[0].upper() + said[1:] if speaker == ASSISTANT else f"{self.rng.choice(LEADS)} {said}"
        return f"{told} {self.rng.choice(TAILS)}".rstrip()

    def _value(self, kind: str) -> str:
        """Return a value that this person has not used."""
        while (value := self._drawn(kind)) in self.taken:
            pass
        self.taken.add(value)
        return value

    def _drawn(self, kind: str) -> str:
        pick = self.rng.choice
        if kind == "person":
            return f"{pick(_FIRST)} {pick(_LAST)}"
        if kind == "place":
            return f"{self.rng.randint(2, 98)} {pick(_STREETS)} {pick(_WAYS)}"
        if kind == "code":
            return f"{pick('BCDFGHKLMN')}{pick('PQRSTVWX')}-{self.rng.randint(1000, 9999)}"
        if kind == "day":
            return f"the {self.rng.randint(4, 19)}th of {pick(_MONTHS)}"
        if kind == "sum":
            return f"{self.rng.randint(120, 990)} pounds"
        return f"{pick(_BRANDS[0])}{pick(_BRANDS[1])} {self.rng.randint(2, 99)}"

    def _chat(self, id: str, place: tuple[Theme, str, str], message: Message | None = None) -> Chat:
        """Return a chat about a thing, with a message in it as it stands."""
        theme, _, full = place
        number = self.rng.randint(*self.plan.pairs)
        drawn = self.rng.sample(CHATTER, min(number, len(CHATTER)))
        pairs = [self._pair(asks, answers, theme, full) for asks, answers in drawn]
        if message is not None:
            pairs[self.rng.randrange(len(pairs))] = self._around(message, full)
        return Chat(id, self.name, tuple(each for pair in pairs for each in pair))

    def _pair(self, asks: str, answers: str, theme: Theme, thing: str) -> tuple[Message, Message]:
        said = {"noun": self.rng.choice(theme.nouns), "fact": self.rng.choice(self.told).said, "thing": thing}
        return Message(USER, asks.format(**said)), Message(ASSISTANT, answers.format(**said))

    def _around(self, message: Message, thing: str) -> tuple[Message, Message]:
        if message.speaker == ASSISTANT:
            return Message(USER, f"What would you choose for the {thing}?"), message
        return message, Message(ASSISTANT, self.rng.choice(PRAISE))
