"""A deterministic corpus of any size and questions to it, made of real text that is already on the machine.

Sources, in this order: the turns of LoCoMo conversations and the sentences of books when a data folder is given, then
the sentences of the Python reference (`pydoc_data.topics`), which every Python carries. When they are used up, further
items are recombined: the first half of one sentence and the second half of another, with one word replaced by a coined
name drawn from a Zipf-Mandelbrot law, so that the vocabulary keeps growing with the size as that of real text does.
Item number i depends on the sources, the seed and i alone: a small corpus is the beginning of a large one.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from _static import DIMENSIONS, StaticVectors
from numpy.typing import NDArray

__all__ = ["Corpus", "Item", "Prepared"]

SEED = 20250101
_FORMAT = 1  # raise when the same sources would give other items: cached corpora are then made anew
_SESSION_LENGTH = 24  # turns a session of items that come without one; LoCoMo has 22 on average
# Zipf-Mandelbrot exponent and shift of the coined names: the vocabulary then grows from 100,000 to 1,000,000 items with
# Heaps' exponent of about 0.5, that of English prose; counted over the corpus itself.
_ZIPF, _SHIFT = 1.7, 1000
_FIRST_NAME = 273  # from this rank on a coined name has three syllables or more, and cannot be a common word
_SYLLABLES = (
    "ba",
    "den",
    "gor",
    "hal",
    "ir",
    "ka",
    "lom",
    "mir",
    "nor",
    "pel",
    "qui",
    "ras",
    "sel",
    "tov",
    "ul",
    "wen",
)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(A-Z0-9])")
_FIRST_DAY = datetime(2023, 1, 1, 9, 0)


@dataclass(frozen=True, slots=True)
class Item:
    """One turn: who said what in which session at what time (ISO, minutes)."""

    speaker: str
    session: str
    time: str
    text: str

    @property
    def context(self) -> str:
        """What a text index may know besides the words: date, session, speaker."""
        return f"{self.time} {self.session} {self.speaker}"


def _sentences(text: str) -> list[str]:
    """Split prose into sentences of 4 to 80 words, with the white space folded."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
            if 4 <= len(sentence.split()) <= 80:
                found.append(sentence)
    return found


def _python_reference() -> list[str]:
    from pydoc_data.topics import topics

    return [sentence for name in sorted(topics) for sentence in _sentences(topics[name])]


def _books(folder: Path) -> list[str]:
    return [s for path in sorted(folder.glob("*.txt")) for s in _sentences(path.read_text(encoding="utf-8"))]


def _locomo_time(words: str, number: int) -> str:
    try:
        said = datetime.strptime(words, "%I:%M %p on %d %B, %Y")
    except ValueError:
        said = _FIRST_DAY
    return (said + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M")


def _locomo(folder: Path) -> tuple[list[Item], list[str]]:
    """Return the turns of the conversations in order, and the questions to them."""
    items: list[Item] = []
    questions: list[str] = []
    for path in sorted(folder.glob("*.json")):
        for sample in json.loads(path.read_text(encoding="utf-8")):
            talk = sample["conversation"]
            sessions = sorted((k for k in talk if re.fullmatch(r"session_\d+", k)), key=lambda k: int(k[8:]))
            for name in sessions:
                for number, turn in enumerate(talk[name]):
                    when = _locomo_time(talk.get(f"{name}_date_time", ""), number)
                    text = " ".join(turn["text"].split())
                    if text:
                        items.append(Item(turn["speaker"], f"{sample['sample_id']}-{name}", when, text))
            questions.extend(" ".join(qa["question"].split()) for qa in sample["qa"])
    return items, questions


def _coined(rank: int) -> str:
    """Return the name of rank `rank` (from 1); different ranks, different names."""
    parts = []
    while rank:
        rank, digit = divmod(rank - 1, len(_SYLLABLES))
        parts.append(_SYLLABLES[digit])
    return "".join(parts).capitalize()


class Corpus:
    """The sources, read once, and the endless sequence of items made of them.

    Args:
        data: Folder with ``locomo/*.json`` and ``books/*.txt``, or None for the Python reference alone.
        seed: Seed of order and recombination.
    """

    def __init__(self, data: Path | None, seed: int = SEED) -> None:
        self.seed = seed
        self._turns, self._asked = _locomo(data / "locomo") if data else ([], [])
        self._prose = (_books(data / "books") if data else []) + _python_reference()
        random.Random(seed).shuffle(self._prose)
        self._pool = [item.text for item in self._turns] + self._prose
        names = sorted({item.speaker for item in self._turns}) or ["Ann", "Ben", "Cleo", "Dan"]
        self._speakers = names
        digest = hashlib.sha256(f"{_FORMAT} {seed}".encode())
        for text in self._pool:
            digest.update(text.encode())
        self.fingerprint = digest.hexdigest()[:12]
        self.real = len(self._pool)
        self.origin = (
            f"{len(self._turns)} LoCoMo turns, {len(self._prose)} sentences of "
            + ("books and " if data and self._turns else "")
            + f"the Python reference; items beyond {self.real} are recombined from these, seed {seed}"
        )

    def item(self, number: int) -> Item:
        """Return item `number`, from 0."""
        if number < len(self._turns):
            return self._turns[number]
        text = self._pool[number] if number < self.real else self._recombined(number)
        session, place = divmod(number - len(self._turns), _SESSION_LENGTH)
        # Sessions spread over five years, one minute a turn.
        when = _FIRST_DAY + timedelta(minutes=(session * 997) % (5 * 365 * 1440) + place)
        return Item(
            self._speakers[(session + place % 2) % len(self._speakers)], f"s{session}", f"{when:%Y-%m-%dT%H:%M}", text
        )

    def items(self, start: int, stop: int) -> Iterator[Item]:
        """Yield items `start` to `stop` - 1."""
        return (self.item(number) for number in range(start, stop))

    def _recombined(self, number: int) -> str:
        draw = random.Random(self.seed * 1_000_003 + number)
        head = draw.choice(self._pool).split()
        tail = draw.choice(self._pool).split()
        words = head[: (len(head) + 1) // 2] + tail[len(tail) // 2 :]
        rank = min(int(_SHIFT * ((1.0 - draw.random()) ** (-1.0 / (_ZIPF - 1.0)) - 1.0)), 10**9)
        words[draw.randrange(len(words))] = _coined(_FIRST_NAME + rank)
        return " ".join(words)

    def questions(self, count: int) -> list[str]:
        """Return `count` questions: LoCoMo's where present, else fragments of 5 to 9 words of the first items."""
        draw = random.Random(self.seed + 1)
        if self._asked:
            return draw.sample(self._asked, min(count, len(self._asked)))
        fragments = []
        for _ in range(count):
            words = draw.choice(self._pool[:6000]).split()
            length = min(len(words), draw.randint(5, 9))
            start = draw.randrange(len(words) - length + 1)
            fragments.append(" ".join(words[start : start + length]))
        return fragments


class Prepared:
    """A corpus on disk, so that every subject reads the same lines and the same vectors.

    Args:
        folder: Where ``items.tsv`` and ``vectors.f32`` lie; `make` writes them.
    """

    def __init__(self, folder: Path) -> None:
        self._items = folder / "items.tsv"
        self._vectors = folder / "vectors.f32"

    def make(self, corpus: Corpus, size: int) -> None:
        """Write or prolong the files until they hold at least `size` items."""
        self._items.parent.mkdir(parents=True, exist_ok=True)
        row_bytes = 4 * DIMENSIONS
        # Both files only grow by whole rows and the vectors follow the lines, so the shorter one says what is there.
        lines = sum(1 for _ in self._items.open(encoding="utf-8")) if self._items.exists() else 0
        if lines < size:
            with self._items.open("a", encoding="utf-8") as out:
                for item in corpus.items(lines, size):
                    out.write(f"{item.speaker}\t{item.session}\t{item.time}\t{item.text}\n")
        have = self._vectors.stat().st_size // row_bytes if self._vectors.exists() else 0
        if have < size:
            vectors = StaticVectors()
            with self._vectors.open("ab") as out:
                out.truncate(have * row_bytes)
                batch: list[str] = []
                for item in self.items(size, start=have):
                    batch.append(item.text)
                    if len(batch) == 4096:
                        out.write(vectors.rows(batch).tobytes())
                        batch = []
                if batch:
                    out.write(vectors.rows(batch).tobytes())

    def items(self, stop: int, start: int = 0) -> Iterator[Item]:
        """Yield items `start` to `stop` - 1 from the file."""
        with self._items.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number >= stop:
                    return
                if number >= start:
                    yield Item(*line.rstrip("\n").split("\t", 3))

    def vectors(self, size: int) -> NDArray[np.float32]:
        """Return the first `size` rows, memory-mapped, (size, 256)."""
        return np.memmap(self._vectors, dtype=np.float32, mode="r", shape=(size, DIMENSIONS))
