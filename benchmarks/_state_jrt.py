"""Reading twice: does a small model find more when the context is shown twice, and what does it cost in tokens?

Product sheets are made by lot from word lists of our own; passages are those of SQuAD in `PINYON_DATA`, where it is
set.
Three prompts for each question: the context once, the question first and the context once, the question first and the
context twice. Scored as published: the answer's words occur, whatever their case, before the first line break or within
48 tokens.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pinyon.measure.stats import difference, wilson
from pinyon.models.backbone import Backbone
from pinyon.text.read_twice import as_document, once, twice

__all__ = ["Question", "passages", "run", "sheets"]

_MOST_TOKENS = 48
_WAYS = ("once", "question first", "twice")
_KEYS = {
    "Weight": "{n} grams", "Width": "{n} millimetres", "Height": "{n} centimetres", "Colour": "{colour} and {colour2}",
    "Maker": "{name} and Sons", "Country of origin": "{land}", "Battery life": "{n} hours", "Warranty": "{n} months",
    "Model number": "{letters}-{n}", "Release date": "{day} {month} {year}", "Designer": "{first} {name}",
    "Material": "{material} with {material2}", "Price": "{n} crowns", "Serial code": "{letters}{n}{letters2}",
    "Power": "{n} watts", "Capacity": "{n} litres", "Noise level": "{n} decibels", "Cable length": "{n} inches",
    "Supplier": "{name} Brothers", "Warehouse": "{place} {n}", "Care": "wash at {n} degrees",
    "Packaging": "{material} box",
    "Contact": "{first} {name2}", "Approval number": "{n}-{letters}", "Storage temperature": "{n} degrees",
    "Batch": "{letters} {n}", "Speed": "{n} turns a minute", "Inspector": "{first2} {name}",
    "Assembly time": "{n} minutes", "Spare part": "{material} ring {letters}", "Drawing": "sheet {n} of {letters}",
    "Customs number": "{n}.{day}.{letters2}", "Voltage": "{n} volts", "Repair shop": "{place} of {land}",
    "Patent": "{letters} {year}-{n}", "Finish": "polished {material}", "Tested by": "{first} {name2} in {month}",
    "Shelf": "row {day}, {place}",
}  # fmt: skip
_WORDS = {
    "colour": "crimson amber teal ivory plum slate olive coral".split(),
    "name": "Hargrove Lindqvist Moreau Castellan Whitlock Okafor Brandt Salvatore".split(),
    "first": "Ingrid Tomas Leonie Rafael Beatrix Emil Farida Anselm".split(),
    "land": "Estonia Uruguay Ghana Slovenia Bhutan Iceland Oman Latvia".split(),
    "material": "birch linen copper felt bamboo pewter canvas cork".split(),
    "month": "January March May July September November".split(),
    "place": "Northgate Millpond Eastfield Quarry Harbour Foundry".split(),
    "what": "kettle lantern loom bicycle pump telescope stove wheelbarrow accordion".split(),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is read, what it is to be continued by, and what must occur in the answer."""

    kind: str
    text: str
    cue: str
    asked: str
    answers: tuple[str, ...]


def sheets(number: int, seed: int = 0) -> list[Question]:
    """Return questions about product sheets of 300 to 500 tokens, one a sheet."""
    chance = random.Random(seed)
    out: list[Question] = []
    for _ in range(number):
        keys = chance.sample(sorted(_KEYS), len(_KEYS))
        values = {key: _value(_KEYS[key], chance) for key in keys}
        lines = [f"{key}: {value}" for key, value in values.items()]
        key = chance.choice(keys)
        head = f"Data sheet of the {chance.choice(_WORDS['colour'])} {chance.choice(_WORDS['what'])}"
        text = "\n".join([head, *lines])
        out.append(Question("product sheets", text, f"{key}:", f"Information about {key}.", (values[key],)))
    return out


def _value(form: str, chance: random.Random) -> str:
    picked: dict[str, object] = {"n": chance.randrange(11, 990), "day": chance.randrange(1, 29)}
    picked["year"] = chance.randrange(1950, 2024)
    for name, words in _WORDS.items():
        picked[name], picked[f"{name}2"] = chance.sample(words, 2)
    for name in ("letters", "letters2"):
        picked[name] = "".join(chance.choice("BCDFGHKLMNPQRSTVWXZ") for _ in range(2))
    return form.format(**picked)


def passages(data: Path, number: int, seed: int = 0) -> list[Question]:
    """Return answerable questions about SQuAD passages, at most one a passage."""
    articles = json.loads((data / "docs" / "squad2_dev10.json").read_text(encoding="utf-8"))["data"]
    found: list[Question] = []
    chance = random.Random(seed)
    for article in articles:
        for paragraph in article["paragraphs"]:
            known = [q for q in paragraph["qas"] if not q.get("is_impossible")]
            if known:
                q = chance.choice(known)
                answers = tuple(sorted({answer["text"] for answer in q["answers"]}))
                cue = f"Question: {q['question'].strip()} Answer:"
                found.append(Question("SQuAD passages", paragraph["context"], cue, q["question"].strip(), answers))
    return chance.sample(found, min(number, len(found)))


def prompts(question: Question) -> dict[str, str]:
    """Return the three prompts of a question."""
    text, cue, asked = question.text, question.cue, question.asked
    return {
        "once": once(text, cue),
        "question first": f"{asked} {as_document(text, cue)} {cue}",
        "twice": twice(text, cue, asked),
    }


def _asked(backbone: Backbone, prompt: str) -> tuple[str, int, float]:
    """Return the first line of the answer, the tokens of the prompt, and the seconds."""
    start = time.perf_counter()
    ids = backbone.encode(prompt)
    text = ""
    written: list[int] = []
    for token in backbone.stream(ids, max_tokens=_MOST_TOKENS):
        written.append(token)
        text = backbone.decode(written)
        if "\n" in text.strip():
            break
    return text.strip().partition("\n")[0], len(ids), time.perf_counter() - start


def _is_right(question: Question, answer: str) -> bool:
    return any(gold.lower() in answer.lower() for gold in question.answers)


def _measured(backbone: Backbone, questions: Sequence[Question]) -> Iterator[dict[str, Any]]:
    for question in tqdm(questions, desc=questions[0].kind, unit="question"):
        row: dict[str, Any] = {"kind": question.kind}
        for way, prompt in prompts(question).items():
            answer, tokens, seconds = _asked(backbone, prompt)
            row[way] = {"right": _is_right(question, answer), "tokens": tokens, "seconds": seconds}
        yield row


def run(backbone: Backbone, *, data: Path | None = None, number: int = 100, seed: int = 0) -> dict[str, Any]:
    """Measure the three prompts on both sets.

    Args:
        backbone: The model.
        data: Folder of the evaluation data; None leaves the passages out.
        number: Questions a set.
        seed: Of the sheets and the choice of passages.
    """
    sets = [sheets(number, seed)] + ([] if data is None else [passages(data, number, seed)])
    rows: list[dict[str, Any]] = []
    limits: list[dict[str, Any]] = []
    for questions in sets:
        found = list(_measured(backbone, questions))
        for way in _WAYS:
            share = wilson(sum(row[way]["right"] for row in found), len(found))
            rows.append(
                {
                    "set": questions[0].kind,
                    "prompt": way,
                    "questions": len(found),
                    "right_percent": 100 * share.value,
                    "interval": [100 * share.low, 100 * share.high],
                    "tokens": sum(row[way]["tokens"] for row in found) / len(found),
                    "seconds": sum(row[way]["seconds"] for row in found) / len(found),
                }
            )
        gain = difference(
            [float(row["twice"]["right"]) for row in found], [float(row["once"]["right"]) for row in found], seed=seed
        )
        spread = f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        limits.append(
            {
                "what": f"{questions[0].kind}: points won by reading twice {spread}",
                "limit": "> 0, its interval above 0",
                "measured": round(100 * gain.value, 1),
                "holds": gain.low > 0,
            }
        )
    return {"rows": rows, "limits": limits}
