"""Prompts that hide a fact at a known place of a long text and ask for it, in tokens."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput, NotFound
from ..models.base import Message
from ._needle_facts import CHECK_FACTS, FIND_FACTS, HELD_FACTS, NeedleFact

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = [
    "CHECK_FACTS",
    "FIND_FACTS",
    "HELD_FACTS",
    "Hidden",
    "NeedleFact",
    "NeedlePrompt",
    "find_span",
    "first_line",
    "hide_facts",
    "needle_prompt",
    "read_facts",
    "reference_sentences",
    "word_recall",
]

_WORD = re.compile(r"\w+")
_END = re.compile(r"(?<=[.!?])\s+")
_ASKS = "\nBased on the content of the book, Question: {question}\nAnswer:"  # official code
_MARK = "\x00"


@dataclass(frozen=True, slots=True)
class Hidden:
    """Where a fact lies in a prompt.

    Args:
        fact: What is hidden.
        sentence: First token of its sentence and the one behind its last.
        answer: The same of the words that answer it.
    """

    fact: NeedleFact
    sentence: tuple[int, int]
    answer: tuple[int, int]


@dataclass(frozen=True, slots=True)
class NeedlePrompt:
    """A long text with facts, and a question about one of them.

    Args:
        context: Tokens of the text, with what opens the prompt.
        question: Tokens of the question, with what opens the answer.
        hidden: The facts in the text, from the first to the last.
        asked: The fact that is asked for; it may be none of the hidden ones.
    """

    context: tuple[int, ...]
    question: tuple[int, ...]
    hidden: tuple[Hidden, ...]
    asked: NeedleFact

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens."""
        return self.context + self.question

    @property
    def span(self) -> tuple[int, int]:
        """Where the answer lies, first token and the one behind the last.

        Raises:
            BadInput: It is not in the text.
        """
        for hidden in self.hidden:
            if hidden.fact == self.asked:
                return hidden.answer
        raise BadInput(f"the answer to {self.asked.question!r} is not in the text")


def needle_prompt(
    backbone: Backbone,
    fact: NeedleFact,
    *,
    length: int,
    depth: float,
    seed: int = 0,
    sentences: Callable[[], Sequence[str]] | None = None,
) -> NeedlePrompt:
    """Hide one fact at a depth of a text and ask for it; the whole prompt has exactly so many tokens.

    Args:
        backbone: Its tokenizer and chat template make the tokens.
        fact: What is hidden.
        length: Tokens of the whole prompt.
        depth: 0 at the beginning of the text to 1 at its end; it moves to the next end of a sentence.
        seed: Where in the filler the text begins.
        sentences: What the text is made of; the Python language reference when None.

    Raises:
        BadInput: A number is out of range, or the fact and its question do not fit the length.
    """
    question = len(_question(backbone, fact.question))
    return hide_facts(backbone, [fact], [depth], length=length - question, asked=fact, seed=seed, sentences=sentences)


def hide_facts(
    backbone: Backbone,
    facts: Sequence[NeedleFact],
    depths: Sequence[float],
    *,
    length: int,
    asked: NeedleFact,
    seed: int = 0,
    sentences: Callable[[], Sequence[str]] | None = None,
) -> NeedlePrompt:
    """Hide facts at depths of a text and ask for one, which need not be among them.

    Args:
        backbone: As for `needle_prompt`.
        facts: What is hidden.
        depths: One for each, increasing.
        length: Tokens of the text, without the question.
        asked: What is asked for.
        seed: As for `needle_prompt`.
        sentences: As for `needle_prompt`.

    Raises:
        BadInput: As for `needle_prompt`.
    """
    if len(facts) != len(depths) or not all(0 <= depth <= 1 for depth in depths) or sorted(depths) != list(depths):
        raise BadInput(f"{len(facts)} facts need as many increasing depths from 0 to 1, got {list(depths)!r}")
    opening = _opening(backbone)
    told = [backbone.encode(f" {fact.told}") for fact in facts]
    room = length - len(opening) - sum(len(part) for part in told)
    if room < 1:
        raise BadInput(f"{length!r} tokens do not hold {len(facts)} facts", hint="give a greater length")
    filler = _filler(backbone, room, seed, reference_sentences() if sentences is None else sentences())
    ends = _ends(filler)
    ids, hidden, begun = list(opening), [], 0
    for fact, part, depth in zip(facts, told, depths, strict=True):
        cut = max(begun, min((end for end in ends if end >= depth * room), default=room))
        ids += [one for sentence in _between(filler, begun, cut) for one in sentence]
        begun = cut
        first, last = find_span(backbone, part, fact.answer)
        hidden.append(Hidden(fact, (len(ids), len(ids) + len(part)), (len(ids) + first, len(ids) + last)))
        ids += part
    ids += [one for sentence in _between(filler, begun, room) for one in sentence]
    return NeedlePrompt(tuple(ids), tuple(_question(backbone, asked.question)), tuple(hidden), asked)


def find_span(backbone: Backbone, ids: Sequence[int], words: str) -> tuple[int, int]:
    """Return where words stand in tokens, first token and the one behind the last.

    Both ways in which a tokenizer writes words are looked for, behind a space and at the beginning; where neither
    stands there, because a token reaches over the edge of the words, the fewest tokens whose text holds them.

    Args:
        backbone: Its tokenizer.
        ids: Where to look.
        words: What for.

    Raises:
        BadInput: They do not stand there.
    """
    for spelled in (f" {words}", words):
        wanted = backbone.encode(spelled)
        for start in range(len(ids) - len(wanted) + 1):
            if list(ids[start : start + len(wanted)]) == wanted:
                return start, start + len(wanted)
    inside = [end for end in range(len(ids) + 1) if words in backbone.decode(ids[:end])]
    if not inside:
        raise BadInput(f"{words!r} does not stand in {backbone.decode(ids)!r}")
    last = inside[0]
    first = next(start for start in reversed(range(last)) if words in backbone.decode(ids[start:last]))
    return first, last


def first_line(text: str) -> str:
    """Return the first line of an answer."""
    return text.strip().split("\n", 1)[0].strip()


def read_facts(path: Path) -> tuple[NeedleFact, ...]:
    """Read facts of one's own, one JSON object a line with ``told``, ``question`` and ``answer``.

    Args:
        path: Of the file.

    Raises:
        BadInput: It holds none, or a line is no fact.
        NotFound: There is no such file.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        facts = tuple(NeedleFact(**{str(name): str(words) for name, words in json.loads(one).items()}) for one in lines)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {str(path)!r}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        why = error.message if isinstance(error, BadInput) else str(error)
        raise BadInput(
            f"{path.name!r} holds no facts: {why}",
            hint='write {"told": "…", "question": "…", "answer": "…"} on each line',
        ) from error
    if not facts:
        raise BadInput(f"{path.name!r} holds no facts")
    return facts


def word_recall(wanted: str, given: str) -> float:
    """Return the share of words that come back, each as often as it is wanted (ROUGE-1 recall).

    Example:
        >>> word_recall("a basket of yellow plums", "It was a basket of plums.")
        0.8
    """
    want, have = (Counter(_WORD.findall(text.lower())) for text in (wanted, given))
    return sum((want & have).values()) / max(1, want.total())


def reference_sentences() -> list[str]:
    """Return sentences of the Python language reference, which every Python carries."""
    from pydoc_data.topics import topics

    found: dict[str, None] = {}
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            if "::" in paragraph or "|" in paragraph or ">>>" in paragraph:
                continue
            for sentence in _END.split(" ".join(paragraph.split())):
                if 6 <= len(sentence.split()) <= 40 and sentence[0].isupper() and sentence[-1] == ".":
                    found[sentence] = None
    return list(found)


def _opening(backbone: Backbone) -> list[int]:
    return _encoded(backbone, _rendered(backbone, "").partition(_MARK)[0] + "<book>")


def _question(backbone: Backbone, question: str) -> list[int]:
    tail = "</book>" + _ASKS.format(question=question) + _rendered(backbone, "").partition(_MARK)[2]
    return backbone.encode(tail)


def _rendered(backbone: Backbone, before: str) -> str:
    return backbone.render([Message("user", f"{before}{_MARK}")])


def _encoded(backbone: Backbone, text: str) -> list[int]:
    has_template = getattr(backbone.tokenizer, "chat_template", None) is not None
    return backbone.encode(text, special=not has_template)


def _filler(backbone: Backbone, room: int, seed: int, sentences: Sequence[str]) -> list[list[int]]:
    """Return tokens of sentences, as many as there is room for, from a place that the seed draws."""
    if not sentences:
        raise BadInput("a text to hide facts in needs sentences")
    at = random.Random(f"filler {seed}").randrange(len(sentences))
    out: list[list[int]] = []
    left = room
    while left > 0:
        part = backbone.encode(f" {sentences[at % len(sentences)]}")[:left]
        if not part:
            raise BadInput(f"the sentence {sentences[at % len(sentences)]!r} has no tokens")
        out.append(part)
        left -= len(part)
        at += 1
    return out


def _ends(filler: Sequence[Sequence[int]]) -> list[int]:
    """Return after how many tokens a sentence has just ended, the beginning included."""
    out = [0]
    for part in filler:
        out.append(out[-1] + len(part))
    return out


def _between(filler: Sequence[Sequence[int]], first: int, last: int) -> list[Sequence[int]]:
    ends = _ends(filler)
    return [part for part, end in zip(filler, ends[1:], strict=True) if first < end <= last]
