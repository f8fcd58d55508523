"""Planted facts: told once in a long conversation, asked many turns later in other words."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics
from typing import Any

from ..core.payload import Json
from ..errors import BadInput, UnreadableSource
from ..text import sentences
from .base import OVERALL, Metric, Report, metric, surroundings
from .session import ItemLog, MeasureBudget
from .stats import bootstrap, wilson
from .subject import Context, Passage, Subject

__all__ = ["Planted", "PlantedFact", "PlantedTalk", "planted_talk", "read_filler", "reference_filler"]

BUDGET_TOKENS = 3500
_LENGTHS = (300, 500, 1000)
_SMALL = 60  # questions of a small run
_UTTERANCES = 4  # of filler a turn, some 75 tokens: with much less, the distance still fits into the last tokens
_FACTS = 50
_DISTANCE = 150

_PEOPLE = "Ravi Mei Tomas Ingrid Kofi Lena Omar Priya Jonas Aiko Bruno Celia Dmitri Elif Farah".split()
_TEMPLATES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # told, asked in other words, values
    ("The boiler code of uncle {who} is {value}.", "Which number opens {who}'s boiler?", ("4471", "9026", "5583")),
    ("{who} moved to {value} in the spring.", "In which town does {who} live now?", ("Ghent", "Turku", "Oporto")),
    ("My cousin {who} plays the {value}.", "Which instrument is {who} good at?", ("cello", "oboe", "banjo")),
    ("{who} is allergic to {value}.", "What food must {who} never eat?", ("shellfish", "walnuts", "celery")),
    ("The cat of {who} is called {value}.", "What is the name of {who}'s pet?", ("Biscuit", "Nimbus", "Pepper")),
    ("{who} works as a {value} at the harbour.", "What job does {who} have?", ("welder", "diver", "customs officer")),
    ("I lent {who} my {value} last week.", "What did {who} borrow from me?", ("drill", "tent", "camera")),
    ("{who}'s train leaves from platform {value}.", "From where does {who} depart by rail?", ("11", "7b", "23")),
    ("The locker of {who} is number {value}.", "Which locker belongs to {who}?", ("318", "642", "207")),
    ("{who} paid {value} euros for the bicycle.", "How much did {who}'s bike cost?", ("340", "615", "128")),
    ("{who} was born in {value}.", "What is {who}'s year of birth?", ("1961", "1984", "1997")),
    ("{who} keeps the spare key under the {value}.", "Where is {who}'s second key hidden?", ("doormat", "fig tree",
                                                                                             "blue pot")),
    ("The dentist of {who} is Doctor {value}.", "Who looks after {who}'s teeth?", ("Lindqvist", "Okafor", "Marsh")),
    ("{who} wants a {value} for the birthday.", "Which present would make {who} happy?", ("telescope", "kayak",
                                                                                         "typewriter")),
    ("{who} studies {value} in the evening school.", "Which subject is {who} learning?", ("Welsh", "geology",
                                                                                           "pottery")),
    ("The wedding of {who} is on the {value}.", "When does {who} get married?", ("9th of June", "2nd of October",
                                                                              "30th of August")),
    ("{who} drives a {value} van.", "What colour is {who}'s vehicle?", ("mustard", "turquoise", "crimson")),
    ("{who} sold the farm to {value}.", "Who bought the land of {who}?", ("the Petrovs", "a monastery", "the council")),
    ("The wifi password at {who}'s house is {value}.", "How do I get onto the internet at {who}'s?", ("heron-52",
                                                                                     "maple-19", "otter-88")),
    ("{who} broke the left {value} while skiing.", "Which part of the body did {who} injure?", ("wrist", "ankle",
                                                                                           "collarbone")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlantedFact:
    """A fact and the question to it.

    Args:
        turn: In which it is told, from 1.
        asked: After which turn it is asked.
        told: Its words.
        question: The question, in other words.
        answer: What the question asks for.
    """

    turn: int
    asked: int
    told: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class PlantedTalk:
    """A conversation with facts in it.

    Args:
        turns: Texts of the turns, the first one first.
        facts: In the order in which they are told.
    """

    turns: tuple[str, ...]
    facts: tuple[PlantedFact, ...]


def read_filler(path: Path) -> list[str]:
    """Return utterances of real dialogues from a file of next-utterance choices (JSON lines), each once.

    Raises:
        UnreadableSource: It is no such file.
    """
    found: dict[str, None] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            question: Mapping[str, Any] = json.loads(line)["question"]
            for text in (question["stem"], *(choice["text"] for choice in question["choices"])):
                found[re.sub(r"\s+([,.!?;:])", r"\1", " ".join(str(text).split()))] = None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableSource(
            f"{path.name!r} holds no dialogues: {error}", hint="give JSON lines of choices"
        ) from error
    return [text for text in found if text]


def reference_filler() -> list[str]:
    """Return sentences of the Python language reference, which every Python carries, for want of dialogues."""
    found: dict[str, None] = {}
    for name in sorted(topics.topics):
        text = topics.topics[name]
        for start, end in sentences(text):
            sentence = " ".join(text[start:end].split())
            if 6 <= len(sentence.split()) <= 30 and sentence[0].isupper():
                found[sentence] = None
    return list(found)


def planted_talk(
    filler: Sequence[str], turns: int, *, seed: int, facts: int = _FACTS, distance: int = _DISTANCE
) -> PlantedTalk:
    """Return a conversation of filler in which facts are told, each to be asked so many turns later.

    A fact is a turn of its own. No two facts share person and template, and several share either, so that a memory must
    tell them apart.

    Args:
        filler: Utterances, drawn without repeats as long as they last.
        turns: Number of turns, above `distance`.
        seed: Of every choice.
        facts: How many, at most one a turn.
        distance: Turns between telling and asking, >= 1.

    Raises:
        BadInput: There is too little room or filler.
    """
    room = turns - distance
    most = min(room, len(_PEOPLE) * len(_TEMPLATES))
    if distance < 1 or not 0 < facts <= most:
        raise BadInput(f"{facts} facts cannot be told in {turns} turns and asked {distance} turns later")
    if len(filler) < _UTTERANCES:
        raise BadInput(f"{len(filler)} utterances are too few for filler", hint=f"give at least {_UTTERANCES}")
    draw = random.Random(seed)
    pairs = draw.sample([(who, number) for who in _PEOPLE for number in range(len(_TEMPLATES))], facts)
    places = sorted(draw.sample(range(1, room + 1), facts))
    told: list[PlantedFact] = []
    for turn, (who, number) in zip(places, pairs, strict=True):
        template, question, values = _TEMPLATES[number]
        value = draw.choice(values)
        text = template.format(who=who, value=value)
        told.append(PlantedFact(turn, turn + distance, text, question.format(who=who), value))
    utterances = _drawn(filler, draw)
    by_turn = {fact.turn: fact.told for fact in told}
    said = [by_turn.get(n) or " ".join(next(utterances) for _ in range(_UTTERANCES)) for n in range(1, turns + 1)]
    return PlantedTalk(tuple(said), tuple(told))


def _drawn(filler: Sequence[str], draw: random.Random) -> Iterator[str]:
    while True:
        yield from draw.sample(filler, len(filler))


class Planted:
    """The share of planted facts that stand in the prompt when they are asked for.

    No language model is needed: a fact counts when the passage that tells it is in the recalled context. Questions are
    asked in the middle of the conversation, a fixed number of turns after the fact. Three figures stand in for how
    coherent a prompt is: whether its passages are in order, whether the last turn is among them, and which share of its
    sequences of three words is not said twice.

    Args:
        filler: Utterances of real dialogues, a file of them as `read_filler` takes it, or None for sentences of the
            Python reference.
        lengths: Turns of the conversations.
        facts: Facts in each.
        distance: Turns between telling and asking.
        budget_tokens: Of the prompt.
        name: For tables.

    Source: Ahn 2025, arXiv 2504.16754, section 5 (factual recall 150 turns after the fact).
    Deviates: the score is the passage in the prompt, not the words of an answer; the dialogues of the paper are not
        published.
    """

    def __init__(
        self,
        filler: Sequence[str] | Path | None = None,
        *,
        lengths: Sequence[int] = _LENGTHS,
        facts: int = _FACTS,
        distance: int = _DISTANCE,
        budget_tokens: int = BUDGET_TOKENS,
        name: str = "planted facts",
    ) -> None:
        self.name = name
        self._filler = filler
        self._lengths = tuple(lengths)
        self._facts, self._distance = facts, distance
        self._budget_tokens = budget_tokens

    def run(self, subject: Subject, budget: MeasureBudget, log: ItemLog) -> Report:
        """Hold the conversations, ask on the way, and score.

        Args:
            subject: Fresh.
            budget: A small one asks 60 questions of all conversations.
            log: Filled in.
        """
        start = time.perf_counter()
        filler = self._utterances()
        talks = {
            turns: planted_talk(filler, turns, seed=budget.seed + turns, facts=self._facts, distance=self._distance)
            for turns in self._lengths
        }
        asked = [(turns, number) for turns, talk in talks.items() for number in range(len(talk.facts))]
        wanted = set(budget.sample(asked, _SMALL))
        log.expect(len(wanted))
        for turns, talk in talks.items():
            keys = {number: f"{turns} {number}" for length, number in sorted(wanted) if length == turns}
            if any(not log.has(key) for key in keys.values()):
                self._hold(subject, f"planted-{turns}", talk, keys, log)
        return self._report(talks, sorted(wanted), log, budget.seed, time.perf_counter() - start)

    def _utterances(self) -> Sequence[str]:
        if self._filler is None:
            return reference_filler()
        return read_filler(self._filler) if isinstance(self._filler, Path) else self._filler

    def _hold(self, subject: Subject, space: str, talk: PlantedTalk, keys: Mapping[int, str], log: ItemLog) -> None:
        """Add the turns up to each question, and ask it."""
        passages = [Passage(f"turn {n}", text, role="user") for n, text in enumerate(talk.turns, 1)]
        added = 0
        for number, fact in sorted(enumerate(talk.facts), key=lambda pair: pair[1].asked):
            if number in keys and not log.has(keys[number]):
                if fact.asked > added:
                    subject.add(space, passages[added : fact.asked])
                    added = fact.asked
                log.run(keys[number], self._item(subject, space, fact))

    def _item(self, subject: Subject, space: str, fact: PlantedFact) -> Callable[[], Mapping[str, Json]]:
        def work() -> Mapping[str, Json]:
            start = time.perf_counter()
            context = subject.recall(space, fact.question, self._budget_tokens)
            ms = (time.perf_counter() - start) * 1000
            answer = subject.ask(space, fact.question)
            record: dict[str, Json] = {
                "held": f"turn {fact.turn}" in context.ids,
                "said": _says(context, fact),
                "tokens": context.tokens,
                "over": context.tokens > self._budget_tokens,
                "share": _share(context),
                "ordered": list(context.ids) == sorted(context.ids, key=_turn_of),
                "last": f"turn {fact.asked}" in context.ids,
                "ms": ms,
            }
            if answer is not None:
                record["right"] = fact.answer.lower() in answer.lower()
            return record

        return work

    def _report(
        self,
        talks: Mapping[int, PlantedTalk],
        wanted: Sequence[tuple[int, int]],
        log: ItemLog,
        seed: int,
        seconds: float,
    ) -> Report:
        noted = {item.key: item for item in log.items}
        groups: dict[str, list[Mapping[str, Any]]] = {name: [] for name in (OVERALL, *(f"{n} turns" for n in talks))}
        for turns, number in wanted:
            item = noted.get(f"{turns} {number}")
            if item is None or item.state == "skipped":
                continue
            record: Mapping[str, Any] = item.record if item.state == "done" else _FAILED
            groups[OVERALL].append(record)
            groups[f"{turns} turns"].append(record)
        metrics = [found for group, records in groups.items() if records for found in _metrics(group, records, seed)]
        records = groups[OVERALL]
        machine, versions = surroundings()
        return Report(
            self.name,
            "",
            tuple(metrics),
            len(records),
            seconds,
            cubes=sum(len(talk.turns) for talk in talks.values()),
            search_ms=sorted(float(r["ms"]) for r in records)[len(records) // 2] if records else 0.0,
            machine=machine,
            versions=versions,
            seed=seed,
            tokens=sum(float(r["tokens"]) for r in records) / max(1, len(records)),
            notes=("The fact counts when the turn that tells it stands in the recalled context.",),
        )


# fmt: off
_FAILED: Mapping[str, Any] = {"held": False, "said": False, "tokens": 0, "over": False, "share": 0.0, "ms": 0.0,
                                "ordered": False, "last": False}
# fmt: on


def _says(context: Context, fact: PlantedFact) -> bool:
    """Return whether the words of the fact stand in the context, in a passage or in a summary."""
    return fact.told.rstrip(".").lower() in " ".join(context.text.lower().split())


def _turn_of(id: str) -> int:
    return int(id.removeprefix("turn "))


def _share(context: Context) -> float:
    """Return which share of the sequences of three words in a prompt differ: the rest is said twice."""
    words = re.findall(r"\w+", context.text.lower())
    pairs = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def _metrics(group: str, records: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Metric]:
    n = len(records)
    yield metric("in the prompt", group, wilson(sum(bool(r["held"]) for r in records), n))
    yield metric("words in the prompt", group, wilson(sum(bool(r["said"]) for r in records), n))
    yield metric("over budget", group, wilson(sum(bool(r["over"]) for r in records), n))
    yield metric("in order", group, wilson(sum(bool(r["ordered"]) for r in records), n))
    yield metric("last turn there", group, wilson(sum(bool(r["last"]) for r in records), n))
    yield metric("not repeated", group, bootstrap([float(r["share"]) for r in records], seed=seed))
    if any("right" in record for record in records):
        yield metric("answer holds it", group, wilson(sum(bool(r.get("right")) for r in records), n))
