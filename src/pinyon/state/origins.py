"""Which token of a state came from which memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..core.payload import Json
from ..errors import BadInput, Damaged

__all__ = ["Origins", "Piece", "Span", "joined", "laid_out", "origins_from_json", "origins_to_json"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text that came from one memory.

    Args:
        source: Id of the memory.
        version: Its version, from 1.
        start: First character in the whole text.
        end: After its last character.
    """

    source: str
    version: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens that hold something of one memory.

    Args:
        source: Id of the memory.
        version: Its version, from 1.
        start: First token.
        end: After its last token; a token at a border may belong to two memories.
    """

    source: str
    version: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Origins:
    """Where each token of a state came from.

    Args:
        spans: In order of their first tokens.
        tokens: Tokens in all; those in no span are instructions and the template's own.
    """

    spans: tuple[Span, ...]
    tokens: int

    @classmethod
    def of(cls, pieces: Sequence[Piece], offsets: Sequence[tuple[int, int]]) -> Origins:
        """Return which tokens hold something of each piece.

        Args:
            pieces: Stretches of the text.
            offsets: First character of each token and the one after its last.
        """
        spans = []
        for piece in pieces:
            inside = [
                n for n, (start, end) in enumerate(offsets) if start < piece.end and piece.start < max(end, start + 1)
            ]
            if inside:
                spans.append(Span(piece.source, piece.version, inside[0], inside[-1] + 1))
        return cls(tuple(sorted(spans, key=lambda span: (span.start, span.end))), len(offsets))

    @property
    def sources(self) -> tuple[str, ...]:
        """The memories, in order, without repeats."""
        return tuple(dict.fromkeys(span.source for span in self.spans))

    def at(self, token: int) -> tuple[str, ...]:
        """Return the memories that a token holds something of: none, one, or two at a border."""
        return tuple(span.source for span in self.spans if span.start <= token < span.end)

    def first_of(self, gone: Iterable[str]) -> int:
        """Return the first token that holds something of any of some memories, or the number of tokens.

        What was read before it knows nothing of them; every later token has seen them.
        """
        names = set(gone)
        return min((span.start for span in self.spans if span.source in names), default=self.tokens)

    def cut(self, length: int) -> Origins:
        """Return those of the first tokens alone."""
        kept = (Span(s.source, s.version, s.start, min(s.end, length)) for s in self.spans if s.start < length)
        return Origins(tuple(kept), min(length, self.tokens))

    def moved(self, by: int) -> tuple[Span, ...]:
        """Return the spans as they stand after `by` other tokens."""
        return tuple(Span(s.source, s.version, s.start + by, s.end + by) for s in self.spans)


def origins_to_json(origins: Origins) -> list[Json]:
    """Return origins as JSON; `origins_from_json` is its inverse."""
    return [[s.source, s.version, s.start, s.end] for s in origins.spans]


def origins_from_json(data: object, tokens: int) -> Origins:
    """Return what `origins_to_json` wrote.

    Raises:
        Damaged: It is something else, or a span lies outside the tokens.
    """
    try:
        spans = tuple(Span(str(s), int(v), int(a), int(b)) for s, v, a, b in data)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise Damaged(f"these are no origins of tokens: {str(data)[:80]!r}") from error
    if any(not 0 <= s.start < s.end <= tokens for s in spans):
        raise Damaged(f"an origin lies outside the {tokens} tokens of the state")
    return Origins(spans, tokens)


def joined(parts: Sequence[Origins]) -> Origins:
    """Return the origins of states that stand one after the other."""
    spans: list[Span] = []
    length = 0
    for part in parts:
        spans.extend(part.moved(length))
        length += part.tokens
    return Origins(tuple(spans), length)


def laid_out(texts: Sequence[tuple[str, int, str]], *, between: str = "\n", start: int = 0) -> tuple[str, list[Piece]]:
    """Return texts as one, with the stretch of each.

    Args:
        texts: Id, version and words of each memory.
        between: What stands between two.
        start: Where the first begins.

    Raises:
        BadInput: There are no texts.
    """
    if not texts:
        raise BadInput("a state is made of at least one text")
    pieces: list[Piece] = []
    at = start
    for source, version, text in texts:
        pieces.append(Piece(source, version, at, at + len(text)))
        at += len(text) + len(between)
    return between.join(text for _, _, text in texts), pieces
