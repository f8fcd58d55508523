"""Language models that are shown the text and asked which of two segments came first."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ..errors import BadInput, ModelError
from ..extras import require
from ..models import Generator, Message
from ._sort_order import SortOutcome
from ._sort_trials import SortCell, SortTrial

__all__ = [
    "GeneratorReader", "LocalReader", "Reader", "Reading", "letter_said", "order_prompt", "read_trials",
    "reading_outcomes",
]  # fmt: skip

PREFIX = "Answer: Segment"
_SYSTEM = "You answer questions about the order of events in a text, with one letter."
_LABELS = ("A", "B")
_EXTRACT = "Read this extract.\n\n"


class Reader(Protocol):
    """A model with the text before it."""

    @property
    def name(self) -> str: ...

    def prefers(self, text: str, a: str, b: str) -> float | None:
        """Return log p(A) - log p(B) for which came first; None when it gave neither letter."""
        ...

    def continues(self, text: str, one: str, two: str) -> float | None:
        """Return log p(one, two | text) - log p(two, one | text); None from a model that has no probabilities."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader made of a trial.

    Args:
        trial: What was asked.
        shown: Log-odds of A as the trial shows it; None without an answer.
        swapped: Log-odds of A when A and B change places.
        continued: Log-odds that the segment shown as A is followed by the other, without letters.
    """

    trial: SortTrial
    shown: float | None
    swapped: float | None
    continued: float | None

    @property
    def debiased(self) -> float | None:
        """Log-odds that A came first, with the liking for a letter taken out: half the difference of both orders."""
        if self.shown is None or self.swapped is None:
            return None
        return (self.shown - self.swapped) / 2


Scorer = Literal["raw", "debiased", "continued"]


def read_trials(
    reader: Reader,
    cell: SortCell,
    trials: Sequence[SortTrial],
    *,
    with_text: bool = True,
    progress: Callable[[int], object] | None = None,
) -> tuple[Reading, ...]:
    """Ask a reader every trial in both orders.

    Args:
        reader: The model.
        cell: Where the excerpts are.
        trials: What is asked.
        with_text: False leaves the excerpt out: what is known then comes from elsewhere.
        progress: Told 1 after each trial.
    """
    out = []
    for trial in trials:
        text = cell.excerpts[trial.excerpt].text if with_text else ""
        shown, swapped = reader.prefers(text, trial.a, trial.b), reader.prefers(text, trial.b, trial.a)
        out.append(Reading(trial, shown, swapped, reader.continues(text, trial.a, trial.b)))
        if progress is not None:
            progress(1)
    return tuple(out)


def reading_outcomes(readings: Sequence[Reading], scorer: Scorer, *, seed: int = 0) -> tuple[SortOutcome, ...]:
    """Return readings as outcomes by one of the three scorers.

    No answer to a letter question is wrong, as in the official code; readings without probabilities are left out of
    the other two.
    """
    out = []
    for reading in readings:
        odds = {"raw": reading.shown, "debiased": reading.debiased, "continued": reading.continued}[scorer]
        if odds is not None:
            out.append(SortOutcome.of(reading.trial, _probability(odds), seed=seed))
        elif scorer == "raw":
            out.append(SortOutcome(reading.trial, 0.5, "X"))
    return tuple(out)


def order_prompt(text: str, a: str, b: str) -> list[Message]:
    """Return the question as a conversation.

    Args:
        text: The excerpt, or an empty text to ask without it.
        a: Segment shown as A.
        b: Segment shown as B.
    """
    before = f"{_EXTRACT}{text}\n\n" if text else ""
    asked = (
        "Here are two segments of a text, A and B. Which of them appears first in it?\n\n"
        f"Segment A: {a}\n\nSegment B: {b}\n\nWhich segment appears first, A or B?"
    )
    return [Message("system", _SYSTEM), Message("user", before + asked)]


def letter_said(said: str) -> str | None:
    """Return the letter in an answer, or None when it names neither or both.

    Example:
        >>> [letter_said(s) for s in ("A", " segment B.", "A: he came", "either A or B", "no idea")]
        ['A', 'B', 'A', None, None]
    """
    plain = said.strip()
    if plain in _LABELS:
        return plain
    if found := re.match(r"\W*(?:segment\s+)?([AB])\s*:", plain, re.IGNORECASE):
        return found[1].upper()
    named = set(re.findall(r"\b([AB])\b", plain.partition("\n")[0]))
    return named.pop() if len(named) == 1 else None


class GeneratorReader:
    """Ask any `Generator` for the letter.

    Args:
        generator: Writes the answer; its probabilities are not known, so a letter counts as certain.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    @property
    def name(self) -> str:
        """That of the generator."""
        return self._generator.name

    def prefers(self, text: str, a: str, b: str) -> float | None:
        """Return 1 for A, -1 for B, None for neither."""
        said = letter_said(self._generator.generate(order_prompt(text, a, b), max_tokens=8))
        return None if said is None else 1.0 if said == "A" else -1.0

    def continues(self, text: str, one: str, two: str) -> float | None:  # noqa: ARG002  # the protocol's
        """Return None: an answer is no probability."""
        return None


class LocalReader:
    """Ask a causal language model on this machine, by the probabilities of its next token.

    What the orders and scorers of a trial share at their beginning, the excerpt above all, is read once.

    Args:
        model: Hub id, or a folder.
        gguf_file: Name of a GGUF file in it.

    Raises:
        MissingExtra: torch or transformers is not installed.
        ModelError: The model cannot be loaded.
    """

    def __init__(self, model: str | Path, *, gguf_file: str | None = None) -> None:
        self._torch = require("torch", "read with a local model")
        library = require("transformers", "read with a local model")
        options = {} if gguf_file is None else {"gguf_file": gguf_file}
        try:
            self._tokenizer = library.AutoTokenizer.from_pretrained(str(model), **options)
            self._network = library.AutoModelForCausalLM.from_pretrained(str(model), **options).eval()
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise ModelError(
                f"the model {str(model)!r} cannot be loaded: {str(error).strip().partition(chr(10))[0]}",
                hint="give a folder with a model, and the name of its GGUF file where it is one",
            ) from error
        self._name = gguf_file or Path(model).name
        self._labels = tuple(self._ids_of(label) for label in _LABELS)
        self._read: list[int] = []
        self._cache: Any = None

    @property
    def name(self) -> str:
        """Name of the folder or file."""
        return self._name

    def prefers(self, text: str, a: str, b: str) -> float | None:
        """Return log p(A) - log p(B) of the token after ``Answer: Segment``."""
        scores = self._next(self._tokens(self._asked(text, a, b)), 1)[-1]
        best = [max(float(scores[i]) for i in ids) for ids in self._labels]
        return best[0] - best[1]

    def continues(self, text: str, one: str, two: str) -> float | None:
        """Return the difference of the log-probabilities of both orders as a continuation of the text."""
        both = [self._likelihood(text, f"{x} {y}") for x, y in ((one, two), (two, one))]
        return both[0] - both[1]

    def _asked(self, text: str, a: str, b: str) -> str:
        turns = [{"role": m.role, "content": m.content} for m in order_prompt(text, a, b)]
        if self._tokenizer.chat_template is None:
            return "\n\n".join(str(turn["content"]) for turn in turns) + f"\n\n{PREFIX}"
        shown = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return f"{shown}{PREFIX}"

    def _likelihood(self, text: str, said: str) -> float:
        before = self._tokens(self._beginning(text))
        after = self._tokens(f" {said}" if text else said)
        scores = self._next(before + after, len(after) + 1)[:-1]  # (T, V), each predicts the token after it
        picked = scores[range(len(after)), after]
        return float(picked.sum())

    def _beginning(self, text: str) -> str:
        """Return what the question begins with, up to the end of the text; a blank line without a text."""
        if not text:
            return "\n"
        head, extract, _ = self._asked(text, "", "").partition(f"{_EXTRACT}{text}")
        return f"{head}{extract}" if extract else text  # a template that changes what it is given

    def _tokens(self, text: str) -> list[int]:
        return [int(i) for i in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _ids_of(self, label: str) -> tuple[int, ...]:
        found = {ids[-1] for form in (label, f" {label}") if len(ids := self._tokens(form)) == 1}
        if not found:
            raise ModelError(f"the model {self._name!r} has no token for the letter {label!r}")
        return tuple(sorted(found))

    def _next(self, tokens: list[int], wanted: int) -> Any:
        """Return log-probabilities of the token after each of the last `wanted` ones, (wanted, V).

        Raises:
            BadInput: The prompt is longer than the model reads; it is never cut, for that would drop the question.
        """
        limit = getattr(self._network.config, "max_position_embeddings", None)
        if isinstance(limit, int) and len(tokens) > limit:
            raise BadInput(
                f"the prompt has {len(tokens)} tokens and {self._name!r} reads at most {limit}",
                hint="use shorter excerpts",
            )
        shared = 0
        while shared < min(len(tokens), len(self._read)) and tokens[shared] == self._read[shared]:
            shared += 1
        kept = min(shared, len(tokens) - wanted)  # what is asked for must be read again
        with self._torch.inference_mode():
            if self._cache is None or not kept:
                self._cache, kept = None, 0
            elif kept < len(self._read):
                self._cache.crop(kept - len(self._read))  # negative: that many are dropped
            given = self._torch.tensor([tokens[kept:]])
            out = self._network(given, past_key_values=self._cache, use_cache=True)
        self._cache, self._read = out.past_key_values, tokens
        return self._torch.log_softmax(out.logits[0, -wanted:].float(), dim=-1)


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))
