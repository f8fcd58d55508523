"""Budgets of a cache: exact in entries and bytes, while reading and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from state_worlds import numbers, tiny  # noqa: E402

from pinyon.core.budget import Budget  # noqa: E402
from pinyon.errors import BadInput  # noqa: E402
from pinyon.state import (  # noqa: E402
    Compressor,
    KeyNorm,
    KVzip,
    ModelShape,
    SinkWindow,
    SnapKV,
    Surprisal,
    compress,
    shape_of,
)


@dataclass(frozen=True)
class ByHead(KeyNorm):
    """Short keys, the first head of each layer three times as rich as the second."""

    def entries(self, shape: ModelShape, budget_entries: int) -> Sequence[Sequence[int]]:
        poor = budget_entries // 2
        return [[2 * budget_entries - poor, poor] for _ in range(shape.layers)]


@dataclass(frozen=True)
class Greedy(KeyNorm):
    """Gives heads more than there is."""

    def entries(self, shape: ModelShape, budget_entries: int) -> Sequence[Sequence[int]]:
        return [[budget_entries + 1] * shape.kv_heads] * shape.layers


def filled(backbone, count=40):
    cache = backbone.cache()
    backbone.prefill(numbers(count), cache, surprisal=True)
    return cache


@pytest.mark.parametrize("extra", [0, 1, 383])
def test_a_budget_of_bytes_is_never_exceeded_and_wastes_less_than_a_token(extra: int) -> None:
    backbone = tiny()
    cache = filled(backbone)
    size = 12 * backbone.bytes_per_token + extra
    cut = compress(backbone, cache, KeyNorm(), budget=Budget(bytes=size))
    assert cut.entries == 12
    assert cut.bytes_after == cache.nbytes <= size < cache.nbytes + backbone.bytes_per_token
    assert cut.bytes_before == 40 * backbone.bytes_per_token


def test_a_ratio_says_what_goes() -> None:
    backbone = tiny()
    cache = filled(backbone)
    compress(backbone, cache, SinkWindow(), ratio=0.9)
    assert len(cache) == 4


def test_the_narrower_of_two_bounds_binds() -> None:
    backbone = tiny()
    cache = filled(backbone)
    compress(backbone, cache, SinkWindow(), budget=Budget(tokens=9, bytes=20 * backbone.bytes_per_token))
    assert len(cache) == 9


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"entries": 3, "ratio": 0.5},
        {"entries": 0},
        {"ratio": 1.0},
        {"ratio": -0.1},
        {"ratio": "0.5"},
        {"ratio": True},
        {"entries": "3"},
        {"entries": 2.5},
        {"budget": Budget(ms=3)},
        {"budget": Budget(bytes=7)},
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(given) -> None:
    backbone = tiny()
    with pytest.raises(BadInput):
        compress(backbone, filled(backbone), SinkWindow(), **given)


def test_heads_of_unequal_budgets_free_their_bytes() -> None:
    backbone = tiny()
    cache = filled(backbone)
    compress(backbone, cache, ByHead(), entries=10)
    assert [layer.lengths() for layer in cache.layers] == [[15, 5]] * 3
    assert cache.nbytes == 10 * backbone.bytes_per_token
    cutter = Compressor(backbone, cache, ByHead(), entries=10)
    cutter.make_room(2)
    backbone.forward([1, 2], cache)
    assert [layer.lengths() for layer in cache.layers] == [[15, 5]] * 3


def test_a_policy_that_gives_more_than_there_is_is_refused() -> None:
    backbone = tiny()
    with pytest.raises(BadInput, match="more than 10"):
        compress(backbone, filled(backbone), Greedy(), entries=10)


@pytest.mark.parametrize("policy", [KeyNorm(), SnapKV(queries=4), ByHead()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("chunk", [5, 16])
def test_reading_in_chunks_never_holds_more_than_the_budget_and_a_chunk(policy, chunk: int) -> None:
    backbone = tiny()
    cache = backbone.cache()
    cutter = Compressor(backbone, cache, policy, entries=12)
    one_layer = shape_of(backbone).token_bytes // 3
    seen = []

    def count(layer, entries, queries) -> None:
        seen.append(cache.nbytes)
        cutter.after_layer(layer, entries, queries)

    backbone.prefill(numbers(60), cache, chunk=chunk, after_layer=count, after_chunk=cutter.after_chunk)
    assert len(seen) == 3 * -(-60 // chunk)
    assert max(seen) <= 12 * backbone.bytes_per_token + chunk * one_layer  # layer by layer: a chunk of one layer
    assert cache.nbytes == 12 * backbone.bytes_per_token


def test_a_prompt_that_is_cut_while_it_is_read_gives_the_logits_of_the_whole() -> None:
    backbone, ids = tiny(), numbers(50)
    cut = Compressor(backbone, backbone.cache(), KeyNorm(), entries=8).forward(ids)
    assert torch.equal(cut, backbone.forward(ids))


def test_facts_of_tokens_that_are_gone_are_forgotten() -> None:
    backbone = tiny()
    cache = filled(backbone)
    compress(backbone, cache, Surprisal(), entries=10)
    assert cache.tokens.origins.tolist() == cache.layers[0].uniform().origins[0].tolist()


def test_letting_the_end_vote_again_leaves_facts_and_logits_as_they_were() -> None:
    backbone = tiny()
    cache = filled(backbone)
    cache.tokens.turn = 5
    before, logits = cache.tokens.clone(), cache.logits.clone()
    compress(backbone, cache, SnapKV(queries=6), entries=39)
    held = torch.isin(before.origins, cache.tokens.origins)
    assert torch.equal(cache.tokens.surprisal.nan_to_num(), before.surprisal[held].nan_to_num())
    assert torch.equal(cache.tokens.turns, before.turns[held])
    assert torch.allclose(cache.logits, logits, atol=1e-5)


def test_an_end_that_is_not_in_the_cache_cannot_vote() -> None:
    backbone = tiny()
    cache = filled(backbone)
    cache.keep_everywhere(torch.arange(38))
    with pytest.raises(BadInput, match="cannot vote"):
        compress(backbone, cache, SnapKV(queries=4), entries=10)


def test_more_tokens_than_the_budget_make_no_room() -> None:
    backbone = tiny()
    with pytest.raises(BadInput, match="do not fit"):
        Compressor(backbone, filled(backbone), SinkWindow(), entries=10).make_room(10)


def test_votes_of_several_cuts_need_positions_that_stay() -> None:
    @dataclass(frozen=True)
    class Renumbered(SnapKV):
        positions = "cache"

    backbone = tiny()
    with pytest.raises(BadInput, match="positions"):
        Compressor(backbone, backbone.cache(), Renumbered(), entries=40)


def test_what_is_no_policy_is_refused() -> None:
    backbone = tiny()
    with pytest.raises(BadInput, match="KVzip is no cache policy"):
        compress(backbone, filled(backbone), KVzip(), ratio=0.5)


def test_no_head_holds_more_than_the_longest_may() -> None:
    backbone = tiny()
    cutter = Compressor(backbone, backbone.cache(), ByHead(), entries=20, longest=24)
    assert cutter.limits == [[24, 10]] * 3
    for start in range(0, 60, 6):
        if cutter.exceeds(6):
            cutter.make_room(6)
        backbone.forward(numbers(60)[start : start + 6], cutter.cache)
        assert len(cutter.cache) <= 24
