"""Keys that were moved equal keys that were computed where they are moved to."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_networks import FAMILIES, KV_HEADS, WIDTH, backbone_of, network_of, random_cuts, some_ids  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.models.rope import Rope, rotate  # noqa: E402


@pytest.mark.parametrize("family", FAMILIES)
def test_moved_keys_equal_keys_computed_at_their_new_positions(family: str) -> None:
    backbone, ids = backbone_of(family), some_ids(12)
    here, there = backbone.cache(), backbone.cache()
    backbone.forward(ids, here, positions=range(3, 15))
    backbone.forward(ids, there, positions=range(200, 212))
    here.reposition(200)
    assert here.next_position == there.next_position == 212
    for mine, theirs in zip(here.layers, there.layers, strict=True):
        assert torch.equal(mine.uniform().positions, theirs.uniform().positions)
        assert (mine.uniform().keys - theirs.uniform().keys).abs().max() <= 1e-4
        assert (mine.uniform().values - theirs.uniform().values).abs().max() <= 1e-4


@pytest.mark.parametrize("family", ["llama", "phi3", "llama-yarn", "gemma3"])
def test_positions_by_place_in_the_cache_equal_reading_only_what_was_kept(family: str) -> None:
    """What a session with positions by place needs: in the first layer the entries are those of the kept text."""
    backbone, ids = backbone_of(family), some_ids(20)
    kept = torch.tensor([0, 3, 4, 9, 13, 19])
    cut, fresh = backbone.cache(), backbone.cache()
    backbone.forward(ids, cut)
    cut.keep_everywhere(kept)
    cut.reposition()
    backbone.forward([ids[i] for i in kept], fresh)
    assert (cut.layers[0].uniform().keys - fresh.layers[0].uniform().keys).abs().max() <= 1e-4
    assert cut.next_position == fresh.next_position == len(kept)
    assert cut.layers[0].uniform().origins.tolist() == [kept.tolist()] * KV_HEADS


def test_heads_of_unequal_length_each_count_from_the_start() -> None:
    backbone = backbone_of()
    cache = backbone.cache()
    backbone.forward(some_ids(24), cache)
    for layer, kept in enumerate(random_cuts(24)):
        cache.keep(layer, kept)
    cache.reposition(5)
    for layer in cache.layers:
        for head in range(KV_HEADS):
            part = layer.head(head)
            assert part.positions.tolist() == [list(range(5, 5 + part.length))]
    assert cache.next_position == 5 + len(cache)
    assert backbone.forward(some_ids(3), cache).isfinite().all()


def test_moving_a_thousand_times_stays_near() -> None:
    rope = Rope.of(network_of("llama"))
    keys = torch.randn(1, 2, 40, WIDTH, generator=torch.Generator().manual_seed(0))
    moved, place = keys, torch.arange(8000, 8040).expand(2, -1)
    for step in range(1000):
        moved, place = (
            rope.moved(moved, place, place - 1 if step % 2 else place - 3, layer=0),
            place - (1 + 2 * (step % 2 == 0)),
        )
    back = rope.moved(moved, place, torch.arange(8000, 8040).expand(2, -1), layer=0)
    assert (back - keys).abs().max() <= 1e-4


def test_where_a_position_stays_the_bits_stay() -> None:
    rope = Rope.of(network_of("phi3"))
    keys = torch.randn(1, 2, 6, WIDTH)
    old = torch.arange(6).expand(2, -1)
    assert torch.equal(rope.moved(keys, old, old, layer=1), keys)
    new = old.clone()
    new[:, 3:] += 7
    moved = rope.moved(keys, old, new, layer=1)
    assert torch.equal(moved[:, :, :3], keys[:, :, :3])
    assert not torch.equal(moved[:, :, 3:], keys[:, :, 3:])
    assert torch.equal(moved[..., WIDTH // 2 :], keys[..., WIDTH // 2 :])  # the half that passes


def test_half_precision_moves_as_well_as_it_can() -> None:
    keys = torch.randn(1, 1, 8, WIDTH)
    old, new = torch.arange(8)[None], torch.arange(50, 58)[None]
    frequencies = 10000.0 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    moved = rotate(keys.bfloat16(), old, new, frequencies)
    assert moved.dtype == torch.bfloat16
    assert (moved.float() - rotate(keys.bfloat16().float(), old, new, frequencies)).abs().max() <= 0.02


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
        {
            "rope_type": "longrope", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 128,
            "short_factor": [1.0] * (WIDTH // 2), "long_factor": [2.0] * (WIDTH // 2),
        },
    ],
)  # fmt: skip
def test_scaling_by_length_is_refused_in_one_sentence_and_only_where_keys_move(scaling: dict[str, object]) -> None:
    network = network_of("llama", rope_parameters=scaling)
    with pytest.raises(BadInput, match=f"{scaling['rope_type']!r} depends on the length read"):
        Rope.of(network)
    backbone = backbone_of("llama", rope_parameters=scaling)
    cache = backbone.cache()
    assert backbone.forward(some_ids(9), cache).isfinite().all()
    with pytest.raises(BadInput, match="cannot be moved"):
        cache.reposition()


def test_a_family_that_pairs_neighbours_is_noticed() -> None:
    from transformers import CohereConfig, CohereForCausalLM

    config = CohereConfig(
        vocab_size=60, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with pytest.raises(BadInput, match="another way than by halves"):
        Rope.of(CohereForCausalLM(config))


def test_layers_and_starts_that_are_not_there_are_refused() -> None:
    backbone = backbone_of()
    with pytest.raises(BadInput, match="no layer 9"):
        Rope.of(backbone.network).moved(torch.zeros(1, 1, 1, WIDTH), torch.tensor([[0]]), torch.tensor([[1]]), layer=9)
    with pytest.raises(BadInput, match="start must be >= 0"):
        backbone.cache().reposition(-1)
    with pytest.raises(BadInput, match="no rotary positions"):
        Rope.of(torch.nn.Linear(2, 2))
