"""A cut cache equals full attention with the dropped keys hidden, and really frees its bytes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tiny_networks import (  # noqa: E402
    FAMILIES,
    KV_HEADS,
    LAYERS,
    backbone_of,
    logits_with_hidden_keys,
    random_cuts,
    some_ids,
)
from torch import Tensor  # noqa: E402

from pinyon.errors import BadInput, Conflict  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.cache import CacheShape, StateCache  # noqa: E402

GIVEN = 24


def cut(cache: StateCache, cuts: list[list[Tensor]]) -> None:
    for layer, kept in enumerate(cuts):
        cache.keep(layer, kept)


def storage(cache: StateCache) -> int:
    """Bytes of the memory that is really held, whatever the tensors say."""
    held = {
        part.untyped_storage().data_ptr(): part.untyped_storage().nbytes()
        for layer in cache.layers
        for group in layer.groups
        for part in (group.keys, group.values)
    }
    return sum(held.values())


def read(backbone: Backbone, count: int = GIVEN) -> StateCache:
    cache = backbone.cache()
    backbone.forward(some_ids(count), cache)
    return cache


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("steps", [(1,), (5,), (1, 3, 1)])
def test_a_cut_cache_equals_full_attention_with_those_keys_hidden(family: str, steps: tuple[int, ...]) -> None:
    backbone = backbone_of(family)
    ids = some_ids(GIVEN + sum(steps))
    cuts = random_cuts(GIVEN)
    cache = backbone.cache()
    backbone.forward(ids[:GIVEN], cache, logits="none")
    cut(cache, cuts)
    found, start = [], GIVEN
    for step in steps:
        found.append(backbone.forward(ids[start : start + step], cache, logits="all"))
        start += step
    expected = logits_with_hidden_keys(backbone.network, ids, (GIVEN, cuts))
    assert (torch.cat(found) - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral"])
def test_in_double_precision_the_agreement_is_that_of_doubles(family: str) -> None:
    backbone = backbone_of(family, dtype=torch.float64)
    ids, cuts = some_ids(GIVEN + 4), random_cuts(GIVEN)
    cache = backbone.cache()
    backbone.forward(ids[:GIVEN], cache)
    cut(cache, cuts)
    taken = backbone.forward(ids[GIVEN:], cache, logits="all")
    # forward returns float32; rotary angles are float32 in the network itself and equal on both sides
    expected = logits_with_hidden_keys(backbone.network, ids, (GIVEN, cuts)).float()
    assert (taken - expected).abs().max() <= 2e-6 * expected.abs().max()


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=KV_HEADS * LAYERS, max_size=KV_HEADS * LAYERS),
    count=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_any_unequal_cut_stays_exact_even_of_whole_heads(lengths: list[int], count: int, seed: int) -> None:
    backbone = backbone_of("qwen3")
    ids = some_ids(9 + count, seed)
    random = torch.Generator().manual_seed(seed)
    kept = [torch.randperm(9, generator=random)[:length] for length in lengths]
    cuts = [kept[i : i + KV_HEADS] for i in range(0, len(kept), KV_HEADS)]
    cache = backbone.cache()
    backbone.forward(ids[:9], cache)
    cut(cache, cuts)
    assert [layer.lengths() for layer in cache.layers] == [[len(part) for part in row] for row in cuts]
    expected = logits_with_hidden_keys(backbone.network, ids, (9, cuts))
    found = backbone.forward(ids[9:], cache, logits="all")
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)


def test_cuts_of_cuts_and_reading_between_them_stay_exact() -> None:
    backbone = backbone_of("llama")
    ids = some_ids(20)
    cache = backbone.cache()
    backbone.forward(ids[:12], cache)
    cut(cache, random_cuts(12, least=6))
    backbone.forward(ids[12:16], cache)
    for layer in cache.layers:
        layer.keep([torch.arange(0, length, 2) for length in layer.lengths()])
    left = [[layer.head(head).origins[0] for head in range(KV_HEADS)] for layer in cache.layers]
    found = backbone.forward(ids[16:], cache, logits="all")
    expected = logits_with_hidden_keys(backbone.network, ids, (12, random_cuts(12, least=6)), (16, left))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)


def test_the_slow_attention_really_hides_keys() -> None:
    backbone, ids = backbone_of("llama"), some_ids(GIVEN + 2)
    everything = [[torch.arange(GIVEN)] * KV_HEADS] * LAYERS
    plain = logits_with_hidden_keys(backbone.network, ids, (GIVEN, everything))
    assert torch.allclose(plain, backbone.network(torch.tensor([ids])).logits[0, GIVEN:], atol=1e-5)
    assert (logits_with_hidden_keys(backbone.network, ids, (GIVEN, random_cuts(GIVEN))) - plain).abs().max() > 0.05


@pytest.mark.parametrize("family", ["llama", "phi3", "gemma3"])
def test_bytes_are_the_sum_of_the_tensors_and_shrink_with_every_cut(family: str) -> None:
    backbone = backbone_of(family)
    cache = read(backbone)
    assert cache.nbytes == GIVEN * backbone.bytes_per_token == storage(cache)
    cuts = random_cuts(GIVEN)
    cut(cache, cuts)
    entries = sum(len(part) for row in cuts for part in row)
    assert cache.nbytes == entries * backbone.bytes_per_token // (LAYERS * KV_HEADS) == storage(cache)


def test_keeping_everything_changes_no_bit_and_copies_nothing() -> None:
    cache = read(backbone_of())
    before = [group.keys.data_ptr() for layer in cache.layers for group in layer.groups]
    cache.keep_everywhere(torch.arange(GIVEN).flip(0))
    assert [group.keys.data_ptr() for layer in cache.layers for group in layer.groups] == before


def test_entries_keep_their_order_and_their_origins() -> None:
    cache = read(backbone_of())
    cache.keep_everywhere(torch.tensor([9, 2, 17]))
    group = cache.layers[1].uniform()
    assert group.origins.tolist() == group.positions.tolist() == [[2, 9, 17]] * KV_HEADS
    assert len(cache) == 3


def test_heads_of_equal_length_share_a_group_whatever_cut_them() -> None:
    cache = read(backbone_of())
    layer = cache.layers[0]
    layer.keep([torch.arange(5), torch.arange(7)])
    assert [group.heads for group in layer.groups] == [(0,), (1,)]
    layer.keep([torch.arange(1, 5), torch.tensor([0, 2, 4, 6])])
    assert [group.heads for group in layer.groups] == [(0, 1)]
    assert layer.uniform().origins.tolist() == [[1, 2, 3, 4], [0, 2, 4, 6]]


def test_a_ragged_layer_has_no_uniform_group() -> None:
    layer = read(backbone_of()).layers[0]
    layer.keep([torch.arange(5), torch.arange(7)])
    with pytest.raises(BadInput, match=r"\[5, 7\] entries"):
        layer.uniform()


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ([torch.tensor([0, GIVEN]), torch.tensor([0])], "holds 24 entries"),
        ([torch.tensor([-1]), torch.tensor([0])], "holds 24 entries"),
        ([torch.tensor([3, 3]), torch.tensor([0])], "named twice"),
        ([torch.tensor([3])], "1 heads were given"),
    ],
)
def test_indices_that_do_not_fit_are_refused_and_nothing_is_dropped(kept: list[Tensor], words: str) -> None:
    cache = read(backbone_of())
    with pytest.raises(BadInput, match=words):
        cache.keep(0, kept)
    with pytest.raises(BadInput, match="no layer 3"):
        cache.keep(3, kept)
    assert cache.layers[0].lengths() == [GIVEN] * KV_HEADS


def test_crop_forgets_the_last_tokens_as_if_they_were_never_read() -> None:
    backbone, ids = backbone_of("qwen2"), some_ids(30)
    cache = backbone.cache()
    backbone.forward(ids[:20], cache)
    before = cache.clone()
    backbone.forward(some_ids(5, 9), cache)
    cache.crop(20)
    assert (cache.read, cache.next_position, len(cache), len(cache.tokens)) == (20, 20, 20, 20)
    assert torch.equal(backbone.forward(ids[20:], cache), backbone.forward(ids[20:], before))


def test_crop_counts_tokens_also_where_heads_were_cut() -> None:
    backbone = backbone_of()
    cache = read(backbone)
    cut(cache, random_cuts(GIVEN, least=4))
    lengths = [layer.lengths() for layer in cache.layers]
    cache.reposition()
    position = cache.next_position
    backbone.forward(some_ids(3, 5), cache)
    cache.crop(GIVEN)
    assert [layer.lengths() for layer in cache.layers] == lengths
    assert cache.next_position == position
    cache.crop(100)
    assert cache.read == GIVEN
    cache.crop(0)
    assert (cache.read, cache.nbytes, len(cache)) == (0, 0, 0)
    with pytest.raises(BadInput):
        cache.crop(-1)


def test_an_emptied_cache_reads_again_from_the_start() -> None:
    backbone = backbone_of()
    cache = read(backbone)
    cache.crop(0)
    fresh = backbone.forward(some_ids(6, 3), backbone.cache())
    assert torch.allclose(backbone.forward(some_ids(6, 3), cache), fresh, atol=1e-5)


def test_a_clone_shares_nothing() -> None:
    backbone = backbone_of()
    cache = read(backbone)
    twin = cache.clone()
    before = backbone.forward(some_ids(2, 4), cache.clone())
    twin.keep_everywhere(torch.tensor([0, 1]))
    twin.tokens.turn = 4
    backbone.forward(some_ids(9, 5), twin)
    for layer in twin.layers:
        layer.uniform().keys.zero_()
    assert torch.equal(backbone.forward(some_ids(2, 4), cache), before)


def test_a_cache_survives_as_named_tensors_bit_for_bit() -> None:
    backbone = backbone_of("gemma2")
    cache = read(backbone)
    cache.tokens.turn = 2
    cut(cache, random_cuts(GIVEN))
    backbone.forward(some_ids(3, 7), cache)
    again = StateCache.from_tensors({name: part.clone() for name, part in cache.tensors().items()}, rope=cache.rope)
    assert torch.equal(again.logits, cache.logits)
    assert (again.read, again.next_position, again.nbytes) == (cache.read, cache.next_position, cache.nbytes)
    assert again.overhead_bytes == cache.overhead_bytes
    more = some_ids(4, 8)
    assert torch.equal(backbone.forward(more, again), backbone.forward(more, cache))
    assert again.tokens.lookup(torch.tensor([25])).turns.tolist() == [2]


@pytest.mark.parametrize("name", ["cache.read", "cache.shape", "layers.1.0.values", "tokens.ids"])
def test_tensors_with_a_gap_are_refused(name: str) -> None:
    tensors = read(backbone_of()).tensors()
    del tensors[name]
    with pytest.raises(BadInput, match="not those of a cache"):
        StateCache.from_tensors(tensors)


def test_tensors_of_other_shapes_are_refused() -> None:
    tensors = read(backbone_of()).tensors()
    tensors["layers.1.0.values"] = tensors["layers.1.0.values"][:, :, 1:]
    with pytest.raises(BadInput, match="do not make 2 heads"):
        StateCache.from_tensors(tensors)
    tensors = read(backbone_of()).tensors()
    tensors["layers.0.0.heads"] = torch.tensor([0, 0])
    with pytest.raises(BadInput, match="layer 0 are not complete"):
        StateCache.from_tensors(tensors)


def test_caches_join_one_after_the_other() -> None:
    backbone = backbone_of()
    ids = some_ids(16)
    first, second, whole = backbone.cache(), backbone.cache(), backbone.cache()
    backbone.forward(ids[:10], first)
    backbone.forward(ids[10:], second, positions=range(10, 16))
    backbone.forward(ids, whole)
    joined = StateCache.concatenate([first, second])
    assert (joined.read, joined.next_position, joined.nbytes) == (16, 16, first.nbytes + second.nbytes)
    assert joined.layers[2].uniform().origins.tolist() == [list(range(16))] * KV_HEADS
    assert joined.tokens.ids.tolist() == ids
    # The first layer's keys do not depend on what stands before, those of later layers do.
    assert torch.allclose(joined.layers[0].uniform().keys, whole.layers[0].uniform().keys, atol=1e-5)
    assert not torch.allclose(joined.layers[2].uniform().keys, whole.layers[2].uniform().keys, atol=1e-2)


def test_caches_of_unequal_heads_join_head_by_head() -> None:
    backbone = backbone_of()
    first, second = read(backbone), read(backbone, 6)
    cut(first, random_cuts(GIVEN))
    joined = StateCache.concatenate([first, second], offsets=[0, 100])
    assert joined.read == 106
    for old, new in zip(first.layers, joined.layers, strict=True):
        assert new.lengths() == [length + 6 for length in old.lengths()]
        for head in range(KV_HEADS):
            mine, part = new.head(head), old.head(head)
            assert torch.equal(mine.keys[:, :, : part.length], part.keys)
            assert mine.origins[0, part.length :].tolist() == list(range(100, 106))
    assert backbone.forward(some_ids(2), joined).isfinite().all()


def test_what_cannot_be_joined_is_refused() -> None:
    cache = read(backbone_of())
    with pytest.raises(BadInput, match="no caches"):
        StateCache.concatenate([])
    with pytest.raises(BadInput, match="different models"):
        StateCache.concatenate([cache, StateCache(CacheShape(1, 2, 3))])
    with pytest.raises(BadInput, match="2 caches were given with 1 offsets"):
        StateCache.concatenate([cache, cache], [0])


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_window_hides_by_the_positions_of_each_head_also_where_heads_hold_equally_many(
    family: str, count: int
) -> None:
    backbone, ids = backbone_of(family), some_ids(GIVEN + count)
    random = torch.Generator().manual_seed(4)
    cuts = [[torch.randperm(GIVEN, generator=random)[:14] for _ in range(KV_HEADS)] for _ in range(LAYERS)]
    cache = backbone.cache()
    backbone.forward(ids[:GIVEN], cache)
    cut(cache, cuts)
    assert all(len(layer.groups) == 1 for layer in cache.layers)
    expected = logits_with_hidden_keys(backbone.network, ids, (GIVEN, cuts))
    found = backbone.forward(ids[GIVEN:], cache, logits="all")
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)


def test_crop_gives_back_the_place_of_the_first_token_that_is_forgotten() -> None:
    cache = read(backbone_of())
    cache.keep_everywhere(torch.tensor([*range(10), 22, 23]))
    cache.reposition()
    cache.crop(20)
    assert (cache.read, cache.next_position, len(cache)) == (20, 10, 10)


@pytest.mark.parametrize("step", [1, 4])
def test_tokens_read_into_the_middle_see_only_what_stands_before_them(step: int) -> None:
    backbone, ids = backbone_of("llama"), some_ids(20)
    whole, gap = backbone.cache(), backbone.cache()
    backbone.forward(ids, whole)
    backbone.forward(ids, gap)
    gap.keep_everywhere(torch.tensor([i for i in range(20) if not 8 <= i < 12]))
    for start in range(8, 12, step):
        backbone.forward(ids[start : start + step], gap, positions=range(start, start + step))
    gap.sort()
    assert gap.next_position == 20
    for mine, theirs in zip(gap.layers, whole.layers, strict=True):
        assert mine.uniform().positions.tolist() == theirs.uniform().positions.tolist()
        assert torch.allclose(mine.uniform().keys, theirs.uniform().keys, atol=1e-5)
        assert torch.allclose(mine.uniform().values, theirs.uniform().values, atol=1e-5)


def test_another_attention_cannot_read_past_the_cache() -> None:
    backbone = backbone_of()
    cache = read(backbone)
    with pytest.raises(Conflict, match=r"Backbone\.forward only"):
        backbone.network(torch.tensor([[5, 6]]), past_key_values=cache)


def test_facts_of_tokens_are_found_by_origin_and_pruned() -> None:
    backbone = backbone_of()
    cache = read(backbone)
    cache.tokens.turn = 1
    backbone.forward([7, 8], cache)
    cache.tokens.set_surprisal(torch.tensor([25, 99]), torch.tensor([2.5, 1.0]))
    wanted = torch.tensor([[24, 0], [25, 99]])
    facts = cache.tokens.lookup(wanted)
    assert facts.ids.tolist() == [[7, some_ids(GIVEN)[0]], [8, -1]]
    assert facts.turns.tolist() == [[1, 0], [1, -1]]
    assert facts.surprisal.isnan().tolist() == [[True, True], [False, True]]
    before = cache.tokens.nbytes
    cache.tokens.prune(torch.tensor([[25, 24], [25, 3]]))
    assert cache.tokens.origins.tolist() == [3, 24, 25]
    assert cache.tokens.nbytes < before / 8
    backbone.forward([9], cache)
    assert cache.tokens.ids.tolist()[1:] == [7, 8, 9]


def test_a_cache_counts_what_lies_beside_keys_and_values() -> None:
    cache = read(backbone_of())
    facts = cache.tensors()
    ends = (".positions", ".origins", ".logits", "tokens.ids", "tokens.surprisal", "tokens.turns")
    beside = [part for name, part in facts.items() if name.endswith(ends)]
    assert cache.overhead_bytes == sum(part.nbytes for part in beside)
    entries = sum(sum(layer.lengths()) for layer in cache.layers)
    cache.keep_everywhere(torch.tensor([1]))
    assert cache.overhead_bytes == sum(part.nbytes for part in beside) - (entries - LAYERS * KV_HEADS) * 16
