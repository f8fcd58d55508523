"""The prompt of HEMA: sections in a fixed order, never more tokens than the budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import BadInput
from ._hema_chunks import Chunk, Near
from ._hema_memo import key_of
from .summarize import shortened

__all__ = ["Layout", "Prompt", "in_order", "lay_out", "words_of"]

Count = Callable[[Sequence[str]], Sequence[int]]
Words = Callable[[Sequence[str]], Sequence[bytes]]

_SECTIONS = ("system", "compact", "retrieved", "dialogue_tail", "user")
_WORD = re.compile(r"\w+")
_TAG = re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(_SECTIONS)})\b)", re.IGNORECASE)
_BATCH = 32  # lines whose tokens are counted together
_GIVE_UP = 64  # chunks in a row that do not fit; what little room is left is then left


@dataclass(frozen=True, slots=True)
class Layout:
    """What goes into a prompt beside what was retrieved.

    Args:
        system: Guidelines, trusted.
        summary: The rolling sentence.
        digest: What older summaries were compressed to; shown when the budget allows.
        tail: Chunks of the last turns, oldest first.
        user: What the user says now; empty for a context without it.
    """

    system: str = ""
    summary: str = ""
    digest: str = ""
    tail: tuple[Chunk, ...] = ()
    user: str = ""

    def text(self, shown: Sequence[Chunk] = ()) -> str:
        """Return the prompt with these chunks in its section of what was retrieved.

        What people and summaries say cannot open or close a section.
        """
        compact = [part for part in dict.fromkeys((self.digest, self.summary)) if part]
        bodies = (
            self.system.strip(),
            "\n".join(_inert(part) for part in compact),
            "\n".join(_line(chunk) for chunk in shown),
            "\n".join(_line(chunk) for chunk in self.tail),
            _inert(self.user),
        )
        return "\n".join(f"<{tag}>\n{body}\n</{tag}>" for tag, body in zip(_SECTIONS, bodies, strict=True) if body)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and what is in it.

    Args:
        text: Ready for a model.
        tokens: Its length.
        layout: Everything in it but what was retrieved.
        shown: Retrieved chunks in it, in the order in which they stand there.
        left_out: Retrieved chunks that did not fit, the nearest first.
    """

    text: str
    tokens: int
    layout: Layout
    shown: tuple[Chunk, ...]
    left_out: tuple[Chunk, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all chunks in it, retrieved ones and those of the tail."""
        return tuple(chunk.id for chunk in (*self.shown, *self.layout.tail))


def words_of(texts: Sequence[str]) -> list[bytes]:
    """Return for each text a hash of its words, the same whatever stands between them and however they are cased."""
    return [key_of(" ".join(_WORD.findall(text.lower())) or text) for text in texts]


def lay_out(
    layout: Layout, near: Sequence[Near], budget_tokens: int | None, count: Count, words: Words = words_of
) -> Prompt:
    """Return a prompt within a budget.

    What must be there comes first: when it does not fit, the tail goes, oldest first, then the summary is shortened;
    guidelines and the user's words are never cut. Then chunks are taken, the nearest first; one that does not fit, or
    says the same words again, is passed over. They are shown in the order in which they were said, a superseded one
    before what took its place.

    Args:
        layout: Everything else.
        near: Candidates, the nearest first; those of the tail and quarantined ones are passed over.
        budget_tokens: Of the whole text, or None for no bound.
        count: Counts tokens.
        words: As `words_of`, which a caller of many prompts may keep the results of.

    Raises:
        BadInput: Guidelines and the user's words alone exceed the budget.

    Cost: one count a candidate, until 64 in a row do not fit.
    """
    fixed = _fitted(layout, budget_tokens, count)
    there = {chunk.id for chunk in fixed.tail}
    unique = {each.chunk.id: each.chunk for each in near if not each.chunk.is_quarantined}
    candidates = [chunk for chunk in unique.values() if chunk.id not in there]
    if budget_tokens is not None:
        candidates = _distinct(candidates, fixed.tail, words)
    taken = _taken(fixed, candidates, budget_tokens, count)
    while True:
        shown = in_order(taken)
        text = fixed.text(shown)
        tokens = count([text])[0]
        if budget_tokens is None or tokens <= budget_tokens or not taken:
            break
        taken.pop()  # a tokenizer that counts joined lines higher than the sum of them
    kept = {chunk.id for chunk in taken}
    return Prompt(text, tokens, fixed, tuple(shown), tuple(c for c in candidates if c.id not in kept))


def in_order(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return chunks as they were said, each superseded one before what took its place."""
    ordered = sorted(chunks, key=lambda chunk: (chunk.turn, chunk.place))
    place = {chunk.id: n for n, chunk in enumerate(ordered)}
    for _ in range(len(ordered)):  # a chain of n takes n - 1 rounds at most; a circle ends too
        late = next((c for c in ordered if place.get(c.superseded_by or "", len(ordered)) < place[c.id]), None)
        if late is None:
            break
        ordered.remove(late)
        ordered.insert(place[late.superseded_by or ""], late)
        place = {chunk.id: n for n, chunk in enumerate(ordered)}
    return ordered


def _fitted(layout: Layout, budget_tokens: int | None, count: Count) -> Layout:
    """Return the layout without what does not fit: digest, tail from its oldest, words of the summary."""
    layout = replace(layout, tail=tuple(chunk for chunk in layout.tail if not chunk.is_quarantined))
    if budget_tokens is None:
        return layout

    def excess(of: Layout) -> int:
        return count([of.text()])[0] - budget_tokens

    if excess(layout) > 0:
        layout = replace(layout, digest="")
    while layout.tail and excess(layout) > 0:
        layout = replace(layout, tail=layout.tail[1:])
    most = count([layout.summary])[0]
    while layout.summary and (over := excess(layout)) > 0:
        most = max(0, most - over)
        layout = replace(layout, summary=shortened(layout.summary, most, count))
    if (over := excess(layout)) > 0:
        raise BadInput(
            f"guidelines and the user's words take {budget_tokens + over} tokens, {over} more than the budget of"
            f" {budget_tokens}",
            hint="they are never cut: give a larger budget or less text",
        )
    return layout


def _taken(layout: Layout, candidates: Sequence[Chunk], budget_tokens: int | None, count: Count) -> list[Chunk]:
    """Return the chunks that fit together, the nearest first."""
    if budget_tokens is None:
        return list(candidates)
    empty = "<retrieved>\n\n</retrieved>\n"
    left = budget_tokens - count([layout.text()])[0] - count([empty])[0]
    taken: list[Chunk] = []
    passed = 0
    for start in range(0, len(candidates), _BATCH):
        batch = candidates[start : start + _BATCH]
        for chunk, tokens in zip(batch, count([f"{_line(chunk)}\n" for chunk in batch]), strict=True):
            passed += 1
            if tokens <= left:
                taken.append(chunk)
                left -= tokens
                passed = 0
        if left <= 0 or passed > _GIVE_UP:
            break
    return taken


def _distinct(chunks: Sequence[Chunk], shown: Sequence[Chunk], words: Words) -> list[Chunk]:
    """Return the first of all chunks in which the same speaker says the same words, none that is shown already."""
    known = {(chunk.speaker, said) for chunk, said in _with_words(shown, words)}
    kept: list[Chunk] = []
    for chunk, said in _with_words(chunks, words):
        if (chunk.speaker, said) not in known:
            known.add((chunk.speaker, said))
            kept.append(chunk)
    return kept


def _with_words(chunks: Sequence[Chunk], words: Words) -> Iterator[tuple[Chunk, bytes]]:
    return zip(chunks, words([chunk.text for chunk in chunks]), strict=True)


def _line(chunk: Chunk) -> str:
    """Return a chunk as one entry; further lines of it are indented, so that none looks like an entry."""
    return _inert(chunk.line()).replace("\n", "\n  ")


def _inert(text: str) -> str:
    return _TAG.sub("‹", text)
