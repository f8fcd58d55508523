"""Whether an answer was read or invented: where the retrieval heads look while it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import BadInput
from ..models.taps import AttentionRows, Taps
from .head_profile import HeadProfile

if TYPE_CHECKING:
    from ..models.backbone import Backbone
    from ..models.cache import StateCache

__all__ = ["ReadAudit", "SentenceRead", "Source", "TokenRead", "answer_with_audit", "sentences_read"]

_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*\s*")
_WORD = re.compile(r"[\w'’]+")
_PLAIN = frozenset(
    # words that any sentence has, so that copying them says nothing
    "a an and are as at be been but by did do does for from had has have he her his i in is it its no not of on or she"
    " that the their they this to was were what when where which who why will with would you".split()
)


@dataclass(frozen=True, slots=True)
class Source:
    """Tokens of a prompt that come from one memory.

    Args:
        id: Of the memory.
        start: First token, counted since the cache was empty.
        end: The one behind the last.
    """

    id: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise BadInput(f"the source {self.id!r} has no tokens from {self.start!r} to {self.end!r}")


@dataclass(frozen=True, slots=True)
class TokenRead:
    """One token of an answer.

    Args:
        id: Of the token.
        text: Of it.
        mass: Attention of the retrieval heads on each source that has any, mean by score.
        sink: On the first tokens.
        elsewhere: On all else.
        source: The source they look at most, when the same token stands there, else None.
    """

    id: int
    text: str
    mass: tuple[tuple[str, float], ...]
    sink: float
    elsewhere: float
    source: str | None

    @property
    def is_grounded(self) -> bool:
        """Whether it was copied from a source."""
        return self.source is not None

    @property
    def on_sources(self) -> float:
        """Attention on all sources together."""
        return sum(mass for _, mass in self.mass)


@dataclass(frozen=True, slots=True)
class SentenceRead:
    """One sentence of an answer.

    Args:
        text: Its words.
        tokens: Its tokens that say something: no punctuation, no words that any sentence or the question has.
        grounded: Share of them that were copied.
        sink: Mean attention on the first tokens while they were written.
        sources: Where they were copied from, most first.
    """

    text: str
    tokens: int
    grounded: float
    sink: float
    sources: tuple[str, ...]

    @property
    def is_grounded(self) -> bool:
        """Whether at least half of what it says was copied."""
        return self.tokens > 0 and self.grounded >= 0.5

    @property
    def is_suspect(self) -> bool:
        """Whether it says something, copied none of it, and the heads rested on the first tokens meanwhile."""
        return self.tokens > 0 and self.grounded == 0 and self.sink >= 0.5


@dataclass(frozen=True, slots=True)
class ReadAudit:
    """An answer, and where it was read.

    Args:
        answer: Its text.
        tokens: One by one.
        sentences: The same by sentences.
    """

    answer: str
    tokens: tuple[TokenRead, ...]
    sentences: tuple[SentenceRead, ...]

    @property
    def grounded(self) -> float:
        """Share of the tokens that say something which were copied; 0 when none says anything."""
        telling = sum(sentence.tokens for sentence in self.sentences)
        return sum(s.grounded * s.tokens for s in self.sentences) / telling if telling else 0.0

    @property
    def on_sources(self) -> float:
        """Mean attention of the retrieval heads on sources over the whole answer."""
        return sum(token.on_sources for token in self.tokens) / len(self.tokens) if self.tokens else 0.0


def answer_with_audit(
    backbone: Backbone,
    cache: StateCache,
    ids: Sequence[int],
    profile: HeadProfile,
    sources: Sequence[Source],
    *,
    max_tokens: int = 64,
    sinks: int = 4,
) -> ReadAudit:
    """Answer a question, and watch where the retrieval heads look at each token.

    The rows of the heads at or above the profile's threshold are averaged with their scores as weights. A token was
    copied when the place they look at most, outside the first tokens, lies in a source and holds the same token.

    Args:
        backbone: The model that the profile was measured on.
        cache: Has read the sources; it grows. A cut one works: what was dropped is not looked at.
        ids: Tokens of the question, at least one.
        profile: Says which heads copy.
        sources: Where memories lie, in any order, without overlap.
        max_tokens: Of the answer, at most.
        sinks: Number of first tokens.

    Raises:
        BadInput: The profile is of another model or names no head, or sources overlap.

    Cost: one row of attention for each retrieval head and token.
    Source: after Wu et al. 2024, arXiv 2404.15574, section 4: when a needle is missed, these heads look at the first
        token.
    Deviates: the paper observes; the rule by tokens and sentences is ours.
    """
    profile.must_fit(backbone.binding())
    lens = _Lens(profile, sources, sinks)
    known = [int(one) for one in cache.tokens.lookup(torch.arange(cache.read, device=backbone.device)).ids.tolist()]
    known += [int(one) for one in ids]
    if len(ids) > 1:
        backbone.prefill(ids[:-1], cache)
    out: list[TokenRead] = []
    last = int(ids[-1])
    for _ in range(max_tokens):
        taps = Taps(rows=AttentionRows(layers=lens.layers, last=1))
        logits = backbone.forward([last], cache, taps=taps)
        assert logits is not None  # asked for
        last = int(logits.argmax())
        if last in backbone.stop_ids:
            break
        known.append(last)
        out.append(lens.seen(taps, last, backbone.decode([last]), known))
    answer = backbone.decode([token.id for token in out])
    return ReadAudit(answer, tuple(out), tuple(sentences_read(out, backbone.decode(ids))))


class _Lens:
    """Adds up the attention of retrieval heads by the tokens it falls on."""

    def __init__(self, profile: HeadProfile, sources: Sequence[Source], sinks: int) -> None:
        scores = profile.scores
        self._heads: dict[int, list[tuple[int, float]]] = {}
        for layer, head in profile.retrieval_heads:
            self._heads.setdefault(layer, []).append((head, scores[layer, head]))
        if not self._heads:
            raise BadInput("the profile names no retrieval head", hint="measure with more trials or a lower threshold")
        self._sources = sorted(sources, key=lambda source: source.start)
        for one, two in zip(self._sources, self._sources[1:], strict=False):
            if two.start < one.end:
                raise BadInput(f"the sources {one.id!r} and {two.id!r} overlap")
        self._sinks = sinks
        self._total = sum(score for heads in self._heads.values() for _, score in heads)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers whose rows are needed."""
        return tuple(sorted(self._heads))

    def seen(self, taps: Taps, token: int, text: str, known: Sequence[int]) -> TokenRead:
        """Return what the heads looked at when a token was written."""
        mass = self._mass(taps, len(known) - 1)
        place = int(mass[self._sinks :].argmax()) + self._sinks if len(mass) > self._sinks else 0
        by_source = {s.id: 0.0 for s in self._sources}
        found = None
        for source in self._sources:
            by_source[source.id] += float(mass[max(source.start, self._sinks) : source.end].sum())
            if max(source.start, self._sinks) <= place < source.end and known[place] == token:
                found = source.id
        sink = float(mass[: self._sinks].sum())
        shown = tuple((name, value) for name, value in by_source.items() if value > 0)
        rest = max(0.0, 1.0 - sink - sum(value for _, value in shown))
        return TokenRead(token, text, shown, sink, rest, found)

    def _mass(self, taps: Taps, read: int) -> Tensor:
        """Return the mean attention on each token read so far, (read,)."""
        mass = torch.zeros(read)
        for layer, heads in self._heads.items():
            rows, origins = taps.rows[layer][0, :, -1].cpu(), taps.row_origins[layer].cpu()  # (H, S), (G, S)
            shared = len(rows) // len(origins)
            for head, score in heads:
                places = origins[head // shared]
                held = places >= 0
                mass.index_add_(0, places[held], rows[head, held] * (score / self._total))
        return mass


def sentences_read(tokens: Sequence[TokenRead], question: str = "") -> list[SentenceRead]:
    """Return the sentences of an answer.

    Args:
        tokens: Of the answer.
        question: Its words say nothing when they come again.
    """
    plain = _PLAIN | {word.lower() for word in _WORD.findall(question)}
    text = "".join(token.text for token in tokens)
    ends: list[int] = []
    for token in tokens:
        ends.append((ends[-1] if ends else 0) + len(token.text))
    words = _word_of(text)
    out = []
    for match in _SENTENCE.finditer(text):
        mine = [(t, end) for t, end in zip(tokens, ends, strict=True) if match.start() < end <= match.end()]
        telling = [token for token, end in mine if _tells(token, words, end, plain)]
        copied = [token.source for token in telling if token.source is not None]
        if match.group().strip():
            count = len(telling)
            sink = sum(token.sink for token in telling) / count if count else 0.0
            by_number = sorted(dict.fromkeys(copied), key=lambda name: -copied.count(name))
            share = len(copied) / count if count else 0.0
            out.append(SentenceRead(match.group().strip(), count, share, sink, tuple(by_number)))
    return out


def _word_of(text: str) -> list[str]:
    """Return for each character the word it belongs to, an empty text between words."""
    out = [""] * len(text)
    for match in _WORD.finditer(text):
        out[match.start() : match.end()] = [match.group()] * (match.end() - match.start())
    return out


def _tells(token: TokenRead, words: Sequence[str], end: int, plain: frozenset[str]) -> bool:
    inside = {word.lower() for word in words[end - len(token.text) : end] if word}
    return bool(inside - plain)
