"""States of some texts as one state of all of them, laid out as the prompt that holds all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..errors import BadInput
from ..models.base import Message
from ..models.cache import StateCache, TokenTable
from .fuse import MOST_DIVERGENCE, REPAIRED, FuseMode, whole_parts
from .origins import Span
from .prefix import Attached, Segment, divergence, prompt_ids, read_segment

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["FusedSegment", "fuse_segment"]

SAMPLED = 64
"""First tokens of each part on which it is measured how far the fused state is off; ours: reading so many costs little
beside reading everything, and what they tell lies near to what whole parts would tell."""

_PROBES = 4  # this project's page on MemOS, section 2b
_CUE = 5  # words of a passage that a probe asks about; ours, chosen of five forms on the table of docs/guides/state.md
_ANSWER = 16  # tokens of the passage that are the answer
_LOOSE = 2  # tokens at a passage's end that its neighbours may have changed


@dataclass(frozen=True, slots=True)
class FusedSegment:
    """A segment made of states of its texts.

    Args:
        read: What a model holds that has read it, ready to be kept.
        mode: How it was made in the end; ``recompute`` when the others were too far off.
        kept: Tokens that were taken from each state, in their order; the model has read the others.
        measured: Mean KL in nats from reading everything to the mode that was asked for, on the sample; None where
            that is exact.
        sampled: Tokens of the sample; 0 where nothing was measured.
    """

    read: Attached
    mode: FuseMode
    kept: tuple[int, ...]
    measured: float | None
    sampled: int

    @property
    def reused(self) -> int:
        """Tokens that were taken from the states."""
        return sum(self.kept)

    @property
    def divergence(self) -> float:
        """Nats by which the result is off, as measured on the sample; 0 where it is exact."""
        return self.measured if self.measured is not None and self.read.is_approximate else 0.0


@dataclass(frozen=True, slots=True)
class _Taken:
    """Tokens of a part that stand in the whole.

    Args:
        part: Which part.
        number: Its place among the parts.
        indices: Their places in the part, increasing.
        places: Their places in the whole, increasing.
        is_same: Whether everything before them is the same in both, so that nothing about them changes.
    """

    part: Attached
    number: int
    indices: tuple[int, ...]
    places: tuple[int, ...]
    is_same: bool = False

    def only(self, kept: Iterable[int]) -> _Taken:
        """Return those that stand at some places."""
        wanted = set(kept)
        pairs = [(i, p) for i, p in zip(self.indices, self.places, strict=True) if p in wanted]
        return replace(self, indices=tuple(i for i, _ in pairs), places=tuple(p for _, p in pairs))

    def at(self, order: dict[int, int]) -> _Taken:
        """Return the same where the whole is numbered in another way."""
        return replace(self, places=tuple(order[place] for place in self.places))


def fuse_segment(
    backbone: Backbone,
    segment: Segment,
    parts: Sequence[Attached],
    mode: FuseMode = "repair",
    *,
    repaired: int = REPAIRED,
    most: float = MOST_DIVERGENCE,
    known: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> FusedSegment:
    """Make what a model would hold that has read a segment out of what it held after reading parts of it.

    Each part begins with the template and the instructions and numbers its own passages. Of the part that begins like
    the segment everything is kept up to the first difference, which is exact. Of the others the words of each passage
    are kept and turned to their places; the numbers of the passages, the borders, and passages that no part holds are
    read in one pass, each token seeing what stands before it. ``repair`` reads the first r tokens of each later part
    too.

    How far the result is off is measured on a sample: the first 64 tokens of each part, fused and read. Up to four
    passages are asked for by their first words and shown as answers, and what counts are the nats by which each next
    token differs.

    Args:
        backbone: The model.
        segment: All texts as one, `segment_of`.
        parts: States of some of them with the same instructions, read by this model; none is changed.
        mode: ``recompute`` reads everything after the part that begins alike, which is exact.
        repaired: Tokens r of each later part that ``repair`` reads again, >= 0.
        most: Nats by which answers may differ on average; beyond it everything is read.
        known: Nats that were measured on these very states before; None measures.
        progress: Told the number of tokens that were read, now and then.

    Raises:
        BadInput: There is no part or one was cut, the mode is not known, r is negative, or the keys of the model
            cannot be moved.

    Cost: one rotation of the keys that are kept, a forward pass over the others, one over the sample, and two over
        four probes of some thirty tokens.
    Source: Li et al. 2025, MemOS, arXiv 2507.03724, which merges caches and says nothing of positions or templates.
    Deviates: the released code joins caches as they are, each with its own template and its own position 0.
    """
    if mode not in ("recompute", "reposition", "repair"):
        raise BadInput(f"states cannot be fused by {mode!r}", hint="use recompute, reposition or repair")
    whole_parts([part.cache for part in parts])
    if repaired < 0:
        raise BadInput(f"repaired must be >= 0, got {repaired!r}")
    first, later = _taken(segment, parts)
    if mode == "repair":
        later = [_without_first(each, repaired, segment) for each in later]
    later = [each for each in later if each.indices]
    if mode == "recompute" or not later:
        return _all_read(backbone, segment, first, len(parts), progress)
    apart, sampled = _measured(backbone, segment, first, later) if known is None else (known, 0)
    if apart > most:
        return _all_read(backbone, segment, first, len(parts), progress, apart, sampled)
    cache = _woven(backbone, segment.ids, [first, *later], progress)
    kept = _kept([first, *later], len(parts))
    return FusedSegment(Attached(cache, segment.ids, segment.origins, is_approximate=True), mode, kept, apart, sampled)


def _kept(taken: Sequence[_Taken], parts: int) -> tuple[int, ...]:
    """Return how many tokens were taken from each part."""
    return tuple(sum(len(each.indices) for each in taken if each.number == number) for number in range(parts))


def _taken(segment: Segment, parts: Sequence[Attached]) -> tuple[_Taken, list[_Taken]]:
    """Return what begins like the segment, and the words of the passages after it that parts hold."""
    alike = [_alike(part.ids, segment.ids) for part in parts]
    lead = max(range(len(parts)), key=lambda place: (alike[place], not parts[place].is_approximate, -place))
    begin = min(alike[lead], len(segment.ids) - 1)  # something has to be read for the model to go on
    first = _Taken(parts[lead], lead, tuple(range(begin)), tuple(range(begin)), not parts[lead].is_approximate)
    found: dict[int, dict[int, int]] = {}
    free = set(range(begin, len(segment.ids)))  # a token at a border may belong to two passages
    for span in segment.origins.spans:
        for number, part in enumerate(parts):
            own = next((s for s in part.origins.spans if (s.source, s.version) == (span.source, span.version)), None)
            if own is not None:
                pairs = _aligned(segment.ids[span.start : span.end], part.ids[own.start : own.end])
                moved = {span.start + here: own.start + there for here, there in pairs if span.start + here in free}
                found.setdefault(number, {}).update(moved)
                free.difference_update(moved)
                break
    later = [
        _Taken(parts[n], n, tuple(index for _, index in sorted(places.items())), tuple(sorted(places)))
        for n, places in found.items()
        if places
    ]
    return first, later


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _aligned(one: Sequence[int], two: Sequence[int]) -> list[tuple[int, int]]:
    """Return the longest run of equal tokens towards the ends of a passage that stands in two prompts.

    Its number, which stands first, may differ, and so may a token or two at its end that are joined with what follows.
    """
    best: list[tuple[int, int]] = []
    for left in range(_LOOSE + 1):
        for right in range(_LOOSE + 1):
            pairs = zip(range(len(one) - left - 1, -1, -1), range(len(two) - right - 1, -1, -1), strict=False)
            run = []
            for here, there in pairs:
                if one[here] != two[there]:
                    break
                run.append((here, there))
            if len(run) > len(best):
                best = run
    return best[::-1]


def _without_first(taken: _Taken, repaired: int, segment: Segment) -> _Taken:
    """Return a part without what stands among its first r tokens in the whole, its first number included."""
    begin = _begin(taken, segment)
    return taken.only(place for place in taken.places if place >= begin + repaired)


def _all_read(
    backbone: Backbone,
    segment: Segment,
    first: _Taken,
    parts: int,
    progress: Callable[[int], None] | None,
    measured: float | None = None,
    sampled: int = 0,
) -> FusedSegment:
    """Read everything, but for what an exact part that begins alike has read."""
    base = None
    if first.is_same:
        base = Attached(first.part.cache.clone(), first.part.ids, first.part.origins, is_approximate=False)
    read = read_segment(backbone, segment, base=base, progress=progress)
    return FusedSegment(read, "recompute", _kept([first] if first.is_same else [], parts), measured, sampled)


def _woven(
    backbone: Backbone, ids: Sequence[int], taken: Sequence[_Taken], progress: Callable[[int], None] | None = None
) -> StateCache:
    """Return a cache of some tokens: those that were taken at their places, the others read between them."""
    whole = backbone.cache()
    taken = [each for each in taken if each.indices]
    kept = torch.tensor([place for each in taken for place in each.places], dtype=torch.int64, device=backbone.device)
    for number, layer in enumerate(whole.layers):
        pieces = [_moved(each, number, whole) for each in taken]
        if pieces:
            keys, values = (torch.cat([piece[side] for piece in pieces], dim=2) for side in (0, 1))
            layer.append(keys, values, kept, torch.arange(len(kept), device=backbone.device))
    tokens = torch.tensor(list(ids), dtype=torch.int64, device=backbone.device)
    whole.read = len(kept)
    whole.next_position = max(kept.tolist(), default=-1) + 1
    whole.tokens.add(torch.arange(len(kept)), tokens[kept])
    missing = sorted(set(range(len(ids))).difference(kept.tolist()))
    for start in range(0, len(missing), 512):  # as `Backbone.prefill` does
        some = missing[start : start + 512]
        backbone.forward(tokens[some], whole, positions=some, logits="none")
        if progress is not None:
            progress(start + len(some))
    return _in_order(whole, tokens)


def _moved(taken: _Taken, layer: int, whole: StateCache) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the keys and values of one layer that were taken, the keys turned to their places, (B, G, n, K)."""
    group = taken.part.cache.layers[layer].uniform()
    count, device = len(group.heads), group.keys.device
    indices, places = (
        torch.tensor(some, dtype=torch.int64, device=device).expand(count, -1) for some in (taken.indices, taken.places)
    )
    piece = group.take(range(count), indices)
    if taken.indices == taken.places:
        return piece.keys, piece.values
    if whole.rope is None:
        raise BadInput(
            "the keys of this model cannot be moved: no rotary positions, or scaled by the length read",
            hint="fuse by recompute",
        )
    return whole.rope.moved(piece.keys, piece.positions, places, layer=layer), piece.values


def _in_order(whole: StateCache, tokens: torch.Tensor) -> StateCache:
    """Return a cache as if its tokens had been read in the order in which they stand."""
    whole.sort()
    for layer in whole.layers:
        for group in layer.groups:
            group.origins = group.positions.clone()
    table = TokenTable(device=tokens.device)
    table.add(torch.arange(len(tokens), device=tokens.device), tokens)
    whole.tokens, whole.read, whole.next_position, whole.logits = table, len(tokens), len(tokens), None
    return whole


def _measured(backbone: Backbone, segment: Segment, first: _Taken, later: Sequence[_Taken]) -> tuple[float, int]:
    """Return the mean nats by which what is said of passages of a sample differs, and the tokens of the sample."""
    spans, end = segment.origins.spans, max(span.end for span in segment.origins.spans)
    known = min(len(first.indices), spans[0].start + SAMPLED)
    places = {*range(known), *range(end, len(segment.ids))}
    for each in later:
        start = _begin(each, segment)
        places.update(range(start, min(start + SAMPLED, end)))
    order = {place: number for number, place in enumerate(sorted(places))}
    ids = [segment.ids[place] for place in order]
    lead = first.only(order)
    fused = _woven(backbone, ids, [each.only(order).at(order) for each in (lead, *later)])
    exact = _woven(backbone, ids, [lead] if first.is_same else [])
    said = [s for s in spans if s.end > known and {s.start, min(s.end, s.start + _ANSWER) - 1} <= places]
    probes = _probes(backbone, segment, said)
    told = [_told(backbone, probes, cache) for cache in (exact, fused)]
    apart = [divergence(one, two) for one, two in zip(*told, strict=True)]
    return sum(apart) / len(apart), len(ids)


def _begin(taken: _Taken, segment: Segment) -> int:
    """Return where the first passage of a part begins in the whole, its number included."""
    return max(span.start for span in segment.origins.spans if span.start <= taken.places[0])


def _probes(backbone: Backbone, segment: Segment, spans: Sequence[Span]) -> list[tuple[list[int], list[int]]]:
    """Return questions about some passages, evenly chosen, and how each begins, which is the answer."""
    count = min(_PROBES, len(spans))
    found = []
    for span in (spans[number * len(spans) // count] for number in range(count)):
        number = segment.origins.spans.index(span) + 1
        words = backbone.decode(segment.ids[span.start : span.end]).strip().removeprefix(f"[{number}] ")
        about = " ".join(words.split()[:_CUE])
        turns = [Message("system", segment.content), Message("user", f"Question: What is said about {about}?")]
        found.append((prompt_ids(backbone, turns)[len(segment.ids) :], backbone.encode(words)[:_ANSWER]))
    return found


def _told(backbone: Backbone, probes: Sequence[tuple[list[int], list[int]]], cache: StateCache) -> torch.Tensor:
    """Return what is foretold before each token of every answer and after it, (N, V)."""
    longest = max(len(asked) + len(answer) for asked, answer in probes)
    rows = [[*asked, *answer, *answer[-1:] * (longest - len(asked) - len(answer))] for asked, answer in probes]
    wide = cache.clone()
    for layer in wide.layers:
        for group in layer.groups:  # all probes at once, each as if it were alone
            group.keys, group.values = (part.expand(len(rows), -1, -1, -1) for part in (group.keys, group.values))
    logits = backbone.forward(torch.tensor(rows), wide, logits="all")
    assert logits is not None  # all were asked for
    whole = logits.reshape(len(rows), longest, -1)
    return torch.cat([whole[n, len(asked) - 1 : len(asked) + len(answer)] for n, (asked, answer) in enumerate(probes)])
