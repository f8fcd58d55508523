"""PrefEval: a preference is stated once, other talk follows, and a question comes that a careless answer gets wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..core.payload import Json
from ..errors import BadInput, UnreadableSource
from ..models import Embedder, Generator, Message, StaticEmbedder
from ._preference_rule import PreferenceRule
from .base import OVERALL, Item, Metric, Report, metric
from .session import ItemLog, MeasureBudget
from .stats import bootstrap, wilson
from .subject import Passage, Subject

__all__ = ["BUDGET_TOKENS", "DISTANCES", "Exchange", "PrefEval", "Preference", "read_preferences"]

DISTANCES = (0, 10, 100, 300)
"""Exchanges of other talk between the preference and the question; 10 and 300 are those of the paper's leaderboard."""
BUDGET_TOKENS = 1000
"""Of the recalled prompt: some three exchanges."""
KS = (1, 5, 10)
_SMALL = 28  # preferences of a small run
_LETTERS = "ABCD"
_SESSION = "talk"  # of every space; a name that told the topic would stand in all that a memory finds by its session


@dataclass(frozen=True, slots=True)
class Preference:
    """One preference with its question.

    Args:
        key: Topic and number.
        topic: Name of its file.
        text: How it is stated.
        question: What is asked later.
        options: Four answers; the first respects the preference.
    """

    key: str
    topic: str
    text: str
    question: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a user says and what an assistant answers."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """What was remembered of a preference at one distance, and what was chosen with it."""

    rank: int
    is_held: bool
    tokens: int
    is_known: bool
    rule: bool
    generator: bool | None

    def record(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__slots__}


class PrefEval:
    """Is the preference found and does it reach the prompt, and is the choice that follows from it the right one.

    Every preference has a space of its own. It is said first; then 0, 10, 100 and 300 exchanges of other talk follow,
    and after each stretch the question is put. The choice is made from what the subject recalls within 1,000 tokens,
    by a rule without a model and, if there is one, by a generator. Where no preference was recalled, the rule guesses.

    Args:
        folder: The published folders ``mcq_options`` and the file of filler chats.
        distances: Exchanges in between, ascending.
        generator: Chooses too; None leaves that out.
        embedder: Of the rule; None takes the static one.
        name: For tables.

    Source: Zhao et al. 2025, arXiv 2502.09597; classification task, explicit preferences.
    Deviates: a rule chooses in place of a language model; the filler talk goes into a memory, not into a prompt. The
        rule itself is right in two of three cases when the preference is given to it: that row is its ceiling.
    """

    def __init__(
        self,
        folder: Path,
        *,
        distances: Sequence[int] = DISTANCES,
        generator: Generator | None = None,
        embedder: Embedder | None = None,
        name: str = "prefeval",
    ) -> None:
        if not distances or distances[0] < 0 or any(a >= b for a, b in pairwise(distances)):
            raise BadInput(f"distances must ascend from 0 or more, got {tuple(distances)!r}")
        self.name = name
        self._folder = folder
        self._distances = tuple(distances)
        self._generator = generator
        self._rule = PreferenceRule(embedder or StaticEmbedder())

    def run(self, subject: Subject, budget: MeasureBudget, log: ItemLog) -> Report:
        """State the preferences, let talk follow, ask, and score.

        Args:
            subject: Fresh.
            budget: A small one takes 28 preferences of all topics.
            log: Filled in.

        Raises:
            UnreadableSource: The folder holds no such files.
        """
        preferences, talk, skipped = read_preferences(self._folder)
        for key, why in skipped:
            log.skip(key, why)
        distances = tuple(d for d in self._distances if d <= len(talk))
        if not distances:
            raise BadInput(f"{len(talk)} exchanges are too few for distances {self._distances!r}")
        asked = budget.sample(preferences, _SMALL)
        log.expect(len(asked))
        for one in asked:
            log.run(one.key, self._item(subject, one, talk, distances, budget.seed))
        return self._report(asked, distances, log, budget.seed)

    def _item(
        self, subject: Subject, one: Preference, talk: Sequence[Exchange], distances: Sequence[int], seed: int
    ) -> Callable[[], Mapping[str, Json]]:
        def work() -> Mapping[str, Json]:
            space = f"prefeval-{one.key.replace('/', '-')}"
            said = {f"{space}:preference": one.text}
            subject.add(space, [Passage(f"{space}:preference", one.text, session=_SESSION, role="user")])
            record: dict[str, Json] = {"given": self._chosen(one, [one.text], f"{seed}")[0]}
            for before, distance in pairwise((0, *distances)):
                more = list(_turns(space, before, talk[before:distance]))
                said |= {p.id: p.text for p in more if p.role == "user"}
                if more:
                    subject.add(space, more)
                record[str(distance)] = self._choice(subject, space, one, said, f"{seed}/{distance}").record()
            return record

        return work

    def _choice(self, subject: Subject, space: str, one: Preference, said: Mapping[str, str], seed: str) -> _Choice:
        wanted = f"{space}:preference"
        found = [hit.id for hit in subject.search(space, one.question, max(KS))]
        context = subject.recall(space, one.question, BUDGET_TOKENS)
        is_right, is_known = self._chosen(one, [said[id] for id in context.ids if id in said], seed)
        generated = None
        if self._generator is not None:
            generated = _generated(self._generator, one, context.text, seed)
        rank = found.index(wanted) + 1 if wanted in found else 0
        return _Choice(rank, wanted in context.ids, context.tokens, is_known, is_right, generated)

    def _chosen(self, one: Preference, said: Sequence[str], seed: str) -> tuple[bool, bool]:
        """Return whether the rule chooses right, and whether it knew any preference."""
        rng = random.Random(f"{seed}/{one.key}")
        order = rng.sample(range(len(one.options)), len(one.options))
        stated = self._rule.statement(one.question, said)
        if not stated:
            return order[0] == 0, False
        scores = self._rule.scores(stated, one.options)
        return max(order, key=lambda place: scores[place]) == 0, True

    def _report(self, asked: Sequence[Preference], distances: Sequence[int], log: ItemLog, seed: int) -> Report:
        noted = {item.key: item for item in log.items if item.state != "skipped"}
        done = [(one, noted[one.key]) for one in asked if one.key in noted]
        groups: dict[str, list[Mapping[str, Any]]] = {OVERALL: []}
        items = []
        for one, logged in done:
            for distance in distances:
                record = logged.record.get(str(distance)) if logged.state == "done" else None
                found: Mapping[str, Any] = record if isinstance(record, Mapping) else _Failed
                groups[OVERALL].append(found)
                groups.setdefault(f"after {distance} exchanges", []).append(found)
                items.append(Item(one.key, one.question, f"after {distance}", (int(found["rank"]),), 0.0))
        metrics = [m for group, records in groups.items() if records for m in _metrics(group, records, seed)]
        given = [bool(logged.record["given"]) for _, logged in done if logged.state == "done"]
        if given:
            metrics.append(metric("choice by rule", "preference given", wilson(sum(given), len(given))))
        tokens = [float(r["tokens"]) for r in groups[OVERALL]]
        middle = sum(tokens) / len(tokens) if tokens else 0.0
        return Report(
            self.name, "", tuple(metrics), len(items), 0.0, items=tuple(items), seed=seed, tokens=middle,
            notes=("Chance is 25 %. The rule with the preference given to it is the ceiling of the choice by rule.",),
        )  # fmt: skip


_Failed: Mapping[str, Any] = {"rank": 0, "is_held": False, "tokens": 0, "is_known": False, "rule": False}


def read_preferences(
    folder: Path,
) -> tuple[tuple[Preference, ...], tuple[Exchange, ...], tuple[tuple[str, str], ...]]:
    """Read preferences with their options, and the filler chats as exchanges in order.

    Args:
        folder: As published: ``mcq_options/<topic>.json`` and ``filtered_inter_turns.json``.

    Returns:
        Preferences, exchanges, and the key of each malformed entry with what is wrong with it.

    Raises:
        UnreadableSource: A file cannot be read, or there are no preferences.
    """
    preferences: list[Preference] = []
    skipped: list[tuple[str, str]] = []
    for path in sorted((folder / "mcq_options").glob("*.json")):
        for number, entry in enumerate(_list_of(path)):
            key = f"{path.stem}/{number}"
            try:
                preferences.append(_preference(key, path.stem, entry))
            except (KeyError, TypeError, ValueError) as error:
                why = f"has no {error.args[0]!r}" if isinstance(error, KeyError) else f"is malformed: {error}"
                skipped.append((key, f"preference {number} of {path.stem} {why}"))
    if not preferences:
        raise UnreadableSource(
            f"{folder.name!r} holds no preferences", hint="give the folder with mcq_options/*.json of PrefEval"
        )
    chats = _list_of(folder / "filtered_inter_turns.json")
    return tuple(preferences), tuple(e for chat in chats for e in _exchanges(chat)), tuple(skipped)


def _list_of(path: Path) -> list[Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableSource(f"{path.name!r} is no file of PrefEval: {error}") from error
    if not isinstance(read, list):
        raise UnreadableSource(f"{path.name!r} is no file of PrefEval: it holds no list")
    return read


def _preference(key: str, topic: str, entry: Mapping[str, Any]) -> Preference:
    options = entry["classification_task_options"]
    text, question = str(entry["preference"]).strip().strip('"'), str(entry["question"]).strip()
    if not isinstance(options, list) or len(options) != len(_LETTERS):
        raise ValueError(f"there must be {len(_LETTERS)} options")
    if not text or not question:
        raise ValueError("the preference or the question is empty")
    return Preference(key, topic, text, question, tuple(str(option).strip() for option in options))


def _exchanges(chat: Any) -> Iterator[Exchange]:
    """Yield each message of a user with the answer to it; what is malformed is filler that is not missed."""
    turns = chat.get("conversation") if isinstance(chat, Mapping) else None
    spoken = [t for t in turns if isinstance(t, Mapping)] if isinstance(turns, list) else []
    for ask, answer in pairwise(spoken):
        if (ask.get("role"), answer.get("role")) == ("user", "assistant"):
            user, assistant = str(ask.get("content", "")).strip(), str(answer.get("content", "")).strip()
            if user and assistant:
                yield Exchange(user, assistant)


def _turns(space: str, start: int, talk: Sequence[Exchange]) -> Iterator[Passage]:
    for number, exchange in enumerate(talk, start):
        yield Passage(f"{space}:{number}u", exchange.user, session=_SESSION, role="user")
        yield Passage(f"{space}:{number}a", exchange.assistant, session=_SESSION, role="assistant")


def _generated(generator: Generator, one: Preference, context: str, seed: str) -> bool:
    """Return whether a generator that reads the recalled prompt chooses the option that respects the preference."""
    order = random.Random(f"{seed}/{one.key}").sample(range(len(one.options)), len(one.options))
    shown = "\n".join(f"{letter}. {one.options[place]}" for letter, place in zip(_LETTERS, order, strict=True))
    asked = (
        f"Earlier conversation:\n{context}\n\nThe user now asks: {one.question}\n\nOptions:\n{shown}\n\n"
        "Which option suits this user best? Reply with one letter."
    )
    said = generator.generate([Message("user", asked)], max_tokens=8).strip().lstrip("(*").upper()
    return said[:1] == _LETTERS[order.index(0)]


def _metrics(group: str, records: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Metric]:
    for k in KS:
        yield metric(f"recall@{k}", group, bootstrap([float(0 < r["rank"] <= k) for r in records], seed=seed))
    yield metric(f"in {BUDGET_TOKENS:,} tokens", group, bootstrap([float(r["is_held"]) for r in records], seed=seed))
    yield metric("choice by rule", group, bootstrap([float(r["rule"]) for r in records], seed=seed))
    generated = [float(r["generator"]) for r in records if r.get("generator") is not None]
    if generated:
        yield metric("choice by generator", group, bootstrap(generated, seed=seed))
