"""Subjects and measures that behave badly, loaded by path in the processes of the runner."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pinyon.core.payload import Json
from pinyon.measure.base import OVERALL, Report, metric
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.stats import wilson
from pinyon.measure.subject import Context, Held, Passage, Ranked, Subject

PASSAGES = (
    Passage("1", "I keep bees behind the old mill.", "Ann", datetime(2024, 5, 1, tzinfo=UTC), "session 1"),
    Passage("2", "The spare key hangs in the shed.", "Tom", datetime(2024, 5, 1, tzinfo=UTC), "session 1"),
    Passage("3", "We moved to Lisbon in the spring.", "Ann", datetime(2024, 6, 2, tzinfo=UTC), "session 2"),
    Passage("4", "The dentist said that the tooth must go.", "Tom", datetime(2024, 6, 2, tzinfo=UTC), "session 2"),
)
OTHER = (Passage("9", "Somebody else keeps bees on a roof.", "Eve"),)
QUESTION = "Where are the bees?"
"""What small talks with a subject are about."""


class Tens:
    """Ten items; each is right when its passage comes first."""

    name = "tens"

    def run(self, subject: Subject, budget: MeasureBudget, log: ItemLog) -> Report:
        log.expect(10)
        subject.add("room", [Passage(str(number), f"passage {number}") for number in range(10)])
        for number in range(10):
            log.run(str(number), lambda number=number: self._item(subject, number))
        right = sum(bool(item.record.get("right")) for item in log.items)
        return Report("tens", "", (metric("right", OVERALL, wilson(right, 10)),), 10, 0.0)

    def _item(self, subject: Subject, number: int) -> Mapping[str, Json]:
        found = subject.search("room", f"passage {number}", 1)
        return {"right": bool(found) and found[0].id == str(number)}


class Good:
    """Finds what is asked for by its last word."""

    name = "good"

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        self.ids = {p.text: p.id for p in passages}

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        return [Ranked(self.ids[question], 1.0)]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        return Context("", (), 0)

    def ask(self, space: str, question: str) -> str | None:
        return None

    def footprint(self) -> Held:
        return Held(0, 0)

    def close(self) -> None:
        print("words of a library")  # may not end up among what the process says


class Raising(Good):
    name = "raising"

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        if question.endswith("3"):
            raise ValueError("three is not my number")
        return super().search(space, question, k)


class Moody(Good):
    """Raises at every item as long as the file is there that MOODY names."""

    name = "moody"

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        if os.path.exists(os.environ["MOODY"]):
            if question.endswith("0"):
                raise ConnectionError("another reason")
            raise ConnectionError("the server is down")
        return super().search(space, question, k)


class WithOptions(Good):
    """Has a parameter that is no folder."""

    name = "with options"

    def __init__(self, strength: float = 0.5) -> None:
        self.strength = strength * 2


class WithFolder(Good):
    """Writes where it may."""

    name = "with folder"

    def __init__(self, depth: int = 3, *, folder: Path) -> None:
        (folder / "file").write_text("x" * depth, encoding="utf-8")


class Crashing(Good):
    name = "crashing"

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        if question.endswith("4"):
            sys.stderr.write("segmentation fault, more or less\n")
            sys.stderr.flush()
            os._exit(7)
        return super().search(space, question, k)


class Hanging(Good):
    name = "hanging"

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        if question.endswith("5"):
            time.sleep(600)
        return super().search(space, question, k)


class Unopened(Good):
    def __init__(self) -> None:
        raise RuntimeError("there is no server here")


class Dying(Good):
    """Crashes at every item from the second on."""

    name = "dying"

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        if not question.endswith("0"):
            os._exit(9)
        return super().search(space, question, k)
