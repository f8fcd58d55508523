"""States of some texts as one state of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import state_cubes  # noqa: E402

from pinyon.core.cube import Cube  # noqa: E402
from pinyon.errors import BadInput  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.base import Message  # noqa: E402
from pinyon.models.cache import StateCache  # noqa: E402
from pinyon.state.fuse import gap, naive  # noqa: E402
from pinyon.state.fuse_segment import FusedSegment, fuse_segment  # noqa: E402
from pinyon.state.prefix import Attached, Segment, prompt_ids, read_segment, segment_of  # noqa: E402

RULES = "Answer from the passages."
ANY = float("inf")


@pytest.fixture(scope="module")
def model() -> Backbone:
    return state_cubes.backbone(seed=2)


def some(*texts: str) -> list[Cube]:
    return [state_cubes.cube(text, number) for number, text in enumerate(texts, 1)]


def laid(model: Backbone, cubes: Sequence[Cube]) -> Segment:
    return segment_of(model, cubes, instructions=RULES)


def read(model: Backbone, cubes: Sequence[Cube]) -> Attached:
    return read_segment(model, laid(model, cubes))


def values(cache: StateCache) -> list[Any]:
    return [part for layer in cache.layers for part in layer.uniform().tensors]


def question(model: Backbone, segment: Segment) -> list[list[int]]:
    asked = [
        [Message("system", segment.content), Message("user", f"{word} {thing}?")]
        for word in ("Where", "Who", "What of", "When", "Is it the")
        for thing in ("bees", "key", "nut", "boat")
    ]
    return [prompt_ids(model, turns)[len(segment.ids) :] for turns in asked]


def one_by_one(model: Backbone, segment: Segment, parts: list[Attached], first: int, repaired: int) -> StateCache:
    """Read token by token and join what can be kept: each passage from behind the digits of its number."""
    whole = parts[0].cache.clone()
    whole.crop(first)
    for part in parts[1:]:
        begin = next(s.start for s in segment.origins.spans if s.source == part.origins.sources[0])
        for span in segment.origins.spans:
            own = next((each for each in part.origins.spans if each.source == span.source), None)
            if own is None:
                continue
            text = model.decode(segment.ids[span.start : span.end])
            head = len(model.encode(text[: text.index("]")]))
            words = [p for p in range(span.start + head, span.end) if p >= begin + repaired]
            for place in range(whole.read, span.end):
                if place in words:
                    piece = part.cache.clone()
                    there = torch.tensor([own.end - (span.end - place)])
                    piece.keep_everywhere(there)
                    piece.tokens.prune(there)
                    piece.reposition(place)
                    whole = StateCache.concatenate([whole, piece], [0, place - int(there)])
                    whole.read = whole.next_position = place + 1
                else:
                    model.forward([segment.ids[place]], whole)
    if whole.read < len(segment.ids):
        model.forward(segment.ids[whole.read :], whole)
    return whole


@pytest.mark.parametrize(("mode", "repaired"), [("reposition", 0), ("repair", 9), ("repair", 0)])
def test_one_pass_is_what_reading_token_by_token_would_give(model: Backbone, mode: Any, repaired: int) -> None:
    cubes = some("Ann keeps bees", "The key is lost", "Tom eats no nuts", "A boat")
    segment = laid(model, cubes)
    parts = [read(model, cubes[:1]), read(model, cubes[1:3]), read(model, cubes[3:])]
    made = fuse_segment(model, segment, parts, mode, repaired=repaired, most=ANY)
    assert made.mode == mode
    first = next(n for n, (a, b) in enumerate(zip(parts[0].ids, segment.ids, strict=False)) if a != b)
    slow = one_by_one(model, segment, parts, first, repaired)
    assert slow.tokens.ids.tolist() == list(segment.ids)
    for one, two in zip(values(made.read.cache), values(slow), strict=True):
        assert torch.allclose(one, two, atol=2e-4)


@pytest.mark.parametrize("mode", ["recompute", "reposition", "repair"])
def test_the_whole_holds_the_tokens_of_the_prompt_in_their_order(model: Backbone, mode: Any) -> None:
    cubes = state_cubes.cubes(4)
    segment = laid(model, cubes)
    made = fuse_segment(model, segment, [read(model, cubes[:2]), read(model, cubes[2:])], mode, most=ANY)
    cache, length = made.read.cache, len(segment.ids)
    assert cache.tokens.ids.tolist() == list(segment.ids)
    assert (made.read.ids, made.read.origins) == (segment.ids, segment.origins)
    assert (cache.read, cache.next_position, len(cache)) == (length, length, length)
    for layer in cache.layers:
        assert layer.uniform().positions[0].tolist() == list(range(length))
        assert layer.uniform().origins[0].tolist() == list(range(length))
    model.forward(model.encode("And?"), cache)  # it can be read on from
    assert cache.read > length


def test_over_20_questions_and_2_splits_moving_beats_joining_and_mending_beats_moving(model: Backbone) -> None:
    cubes = state_cubes.cubes(6)
    segment = laid(model, cubes)
    exact = read(model, cubes).cache
    found: dict[str, list[float]] = {"naive": [], "reposition": [], "repair": []}
    for size in (2, 3):
        parts = [read(model, cubes[start : start + size]) for start in range(0, 6, size)]
        made = {"naive": naive([part.cache for part in parts])}
        for mode in ("reposition", "repair"):
            made[mode] = fuse_segment(model, segment, parts, mode, repaired=30, most=ANY).read.cache  # type: ignore[arg-type]
        for name, cache in made.items():
            found[name].append(gap(model, cache, exact, question(model, segment)))
    mean = {name: sum(each) / len(each) for name, each in found.items()}
    assert mean["naive"] > mean["reposition"] > mean["repair"]


def test_mending_whole_parts_is_exact(model: Backbone) -> None:
    cubes = state_cubes.cubes(4)
    segment = laid(model, cubes)
    made = fuse_segment(model, segment, [read(model, cubes[:2]), read(model, cubes[2:])], "repair", repaired=10_000)
    assert (made.read.is_approximate, made.divergence, made.mode) == (False, 0.0, "recompute")
    for one, two in zip(values(made.read.cache), values(read(model, cubes).cache), strict=True):
        assert torch.allclose(one, two, atol=2e-4)


def test_the_parts_stay_as_they_are(model: Backbone) -> None:
    cubes = state_cubes.cubes(4)
    parts = [read(model, cubes[:2]), read(model, cubes[2:])]
    before = [[part.clone() for part in values(each.cache)] for each in parts]
    for mode in ("recompute", "reposition", "repair"):
        made = fuse_segment(model, laid(model, cubes), parts, mode, most=ANY)  # type: ignore[arg-type]
        model.forward(model.encode("And?"), made.read.cache)
    for each, old in zip(parts, before, strict=True):
        assert all(torch.equal(one, two) for one, two in zip(values(each.cache), old, strict=True))


def test_what_is_too_far_off_is_read_and_what_was_measured_is_said(model: Backbone) -> None:
    cubes = state_cubes.cubes(4)
    parts = [read(model, cubes[:2]), read(model, cubes[2:])]
    lax = fuse_segment(model, laid(model, cubes), parts, "reposition", most=ANY)
    assert lax.read.is_approximate
    assert lax.divergence == lax.measured
    assert lax.measured is not None
    assert lax.measured > 0
    strict = fuse_segment(model, laid(model, cubes), parts, "reposition", most=lax.measured / 2)
    assert (strict.mode, strict.divergence, strict.measured) == ("recompute", 0.0, lax.measured)
    assert strict.reused < lax.reused
    for one, two in zip(values(strict.read.cache), values(read(model, cubes).cache), strict=True):
        assert torch.allclose(one, two, atol=2e-4)


def kept(model: Backbone, order: Sequence[int], groups: Sequence[Sequence[int]]) -> tuple[FusedSegment, Segment]:
    cubes = state_cubes.cubes(4)
    segment = laid(model, [cubes[n] for n in order])
    parts = [read(model, [cubes[n] for n in group]) for group in groups]
    return fuse_segment(model, segment, parts, "reposition", most=ANY), segment


@pytest.mark.parametrize(
    ("order", "groups"),
    [
        ((0, 1, 2, 3), [(0, 1), (1, 2, 3)]),  # a text in both
        ((0, 1, 2, 3), [(0, 1), (3,)]),  # a text in none
        ((3, 0, 1), [(0, 1), (2, 3)]),  # what comes first stands last in its part
        ((2, 3, 0), [(0, 1), (3, 2)]),
    ],
)
def test_parts_may_overlap_leave_out_and_stand_in_another_order(
    model: Backbone, order: Sequence[int], groups: Sequence[Sequence[int]]
) -> None:
    made, segment = kept(model, order, groups)
    assert made.read.cache.tokens.ids.tolist() == list(segment.ids)
    assert made.mode == "reposition"
    assert 0 < made.reused < len(segment.ids)


def test_passages_whose_numbers_grow_longer_keep_their_words(model: Backbone) -> None:
    cubes = state_cubes.cubes(12)
    segment = laid(model, cubes)
    made = fuse_segment(model, segment, [read(model, cubes[:6]), read(model, cubes[6:])], "reposition", most=ANY)
    heads = sum(len(model.encode(f"\n[{number}]")) for number in range(7, 13))
    assert len(segment.ids) - made.reused <= heads + 4  # and the end of the template


def test_an_approximate_part_makes_the_whole_approximate_and_is_measured(model: Backbone) -> None:
    cubes = state_cubes.cubes(4)
    one = read(model, cubes[:2])
    rough = replace(one, cache=one.cache.clone(), is_approximate=True)
    for layer in rough.cache.layers:
        layer.groups[0].values = layer.groups[0].values * 1.5
    two = read(model, cubes[2:])
    fine = fuse_segment(model, laid(model, cubes), [one, two], most=ANY)
    made = fuse_segment(model, laid(model, cubes), [rough, two], most=ANY)
    assert made.divergence > fine.divergence
    exact = fuse_segment(model, laid(model, cubes), [rough, two], "recompute")
    assert (exact.read.is_approximate, exact.reused) == (False, 0)


def test_what_cannot_be_fused_is_said(model: Backbone) -> None:
    cubes = state_cubes.cubes(4)
    one, two = read(model, cubes[:2]), read(model, cubes[2:])
    with pytest.raises(BadInput, match="no states"):
        fuse_segment(model, laid(model, cubes), [])
    with pytest.raises(BadInput, match="fused by 'glue'"):
        fuse_segment(model, laid(model, cubes), [one, two], "glue")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="repaired"):
        fuse_segment(model, laid(model, cubes), [one, two], repaired=-1)
    one.cache.rope = None
    model._rope, rope = None, model._rope
    try:
        with pytest.raises(BadInput, match="cannot be moved"):
            fuse_segment(model, laid(model, cubes), [one, two])
    finally:
        model._rope = rope
    two.cache.keep_everywhere(torch.arange(5))
    with pytest.raises(BadInput, match="everything they have read"):
        fuse_segment(model, laid(model, cubes), [one, two])
