"""Activations and attention rows at named sites, without a trace in the network."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from typing import Any  # noqa: E402

from tiny_networks import (  # noqa: E402
    HEADS,
    KV_HEADS,
    LAYERS,
    WIDTH,
    backbone_of,
    logits_with_hidden_keys,
    random_cuts,
    some_ids,
)

from pinyon.errors import BadInput  # noqa: E402
from pinyon.models.taps import AttentionRows, Site, Taps  # noqa: E402

PARTS = ("residual", "attention", "heads", "mlp")  # rows see tests of their own


def hooks_of(network: Any) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.modules())


def test_recorded_activations_are_those_of_the_network() -> None:
    backbone, ids = backbone_of("llama"), some_ids(7)
    taps = Taps(record=[Site(layer, part) for layer in range(LAYERS) for part in PARTS])
    backbone.forward(ids, taps=taps)
    hidden = backbone.network(torch.tensor([ids]), output_hidden_states=True).hidden_states
    for layer in range(LAYERS - 1):  # the last of transformers' is behind the norm
        assert torch.allclose(taps.values[Site(layer, "residual")], hidden[layer + 1], atol=1e-5)
    for layer in range(LAYERS):
        heads, read = taps.values[Site(layer, "heads")], taps.values[Site(layer, "attention")]
        assert heads.shape == (1, 7, HEADS, WIDTH)
        output = backbone.network.model.layers[layer].self_attn.o_proj
        assert torch.allclose(output(heads.flatten(2)), read, atol=1e-5)
    change = taps.values[Site(1, "attention")] + taps.values[Site(1, "mlp")]
    assert torch.allclose(hidden[1] + change, taps.values[Site(1, "residual")], atol=1e-5)


@pytest.mark.parametrize("part", PARTS)
def test_a_replacement_takes_the_place_of_what_was_there(part: Any) -> None:
    backbone, ids = backbone_of("gemma3"), some_ids(6)
    plain = backbone.forward(ids)
    site = Site(1, part)
    taps = Taps(record=[site], replace={site: lambda tensor: tensor * 0 + 0.25})
    changed = backbone.forward(ids, taps=taps)
    assert (changed - plain).abs().max() > 1e-3
    assert bool((taps.values[site] == 0.25).all())
    same = backbone.forward(ids, taps=Taps(replace={site: lambda tensor: tensor}))
    assert torch.equal(same, plain)
    assert torch.equal(backbone.forward(ids), plain)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "qwen3"])
def test_attention_rows_are_those_of_the_slow_attention(family: str) -> None:
    backbone, ids = backbone_of(family), some_ids(15)
    cache, taps = backbone.cache(), Taps(rows=AttentionRows(last=3))
    backbone.forward(ids[:6], cache)
    backbone.forward(ids[6:], cache, taps=taps)
    expected = backbone.network(torch.tensor([ids]), output_attentions=True).attentions
    for layer in range(LAYERS):
        assert taps.rows[layer].shape == (1, HEADS, 3, 15)
        assert torch.allclose(taps.rows[layer], expected[layer][:, :, -3:], atol=1e-5)
        assert taps.row_origins[layer].tolist() == [list(range(15))] * KV_HEADS


def test_rows_of_unequal_heads_say_which_token_each_entry_is() -> None:
    backbone = backbone_of("llama")
    cache, taps = backbone.cache(), Taps(rows=AttentionRows(layers=(1,), last=2))
    backbone.forward(some_ids(10), cache)
    cuts = random_cuts(10)
    for layer, kept in enumerate(cuts):
        cache.keep(layer, kept)
    backbone.forward(some_ids(4), cache, taps=taps)
    assert list(taps.rows) == [1]
    rows, origins = taps.rows[1], taps.row_origins[1]
    assert torch.allclose(rows.sum(dim=-1), torch.ones(1, HEADS, 2), atol=1e-5)
    for head in range(KV_HEADS):
        known = [*sorted(cuts[1][head].tolist()), 10, 11, 12, 13]
        assert origins[head].tolist() == known + [-1] * (rows.shape[3] - len(known))
        assert bool((rows[0, 2 * head : 2 * head + 2, :, len(known) :] == 0).all())
    assert bool((rows[0, :, 0][origins.repeat_interleave(2, dim=0) == 13] == 0).all())  # causal among the new ones


def test_asking_for_more_rows_than_queries_gives_those_there_are() -> None:
    taps = Taps(rows=AttentionRows(last=9))
    backbone_of().forward(some_ids(4), taps=taps)
    assert taps.rows[0].shape == (1, HEADS, 4, 4)


def test_nothing_stays_on_the_network_even_after_an_error() -> None:
    backbone, ids = backbone_of(), some_ids(5)

    def fail(tensor: torch.Tensor) -> torch.Tensor:
        raise KeyError("of the caller")

    for replace in ({Site(2, "mlp"): fail}, {Site(0, "heads"): fail}):
        cache = backbone.cache()
        first = backbone.forward(ids, cache)
        with pytest.raises(KeyError):
            backbone.forward(ids, cache, taps=Taps(record=[Site(0, "residual")], replace=replace))
        assert (cache.read, cache.next_position, len(cache), len(cache.tokens)) == (5, 5, 5, 5)
        assert torch.equal(cache.logits, first)
        assert hooks_of(backbone.network) == 0
        assert backbone.network.config._attn_implementation == "eager"
    assert torch.equal(backbone.forward(ids), first)


def test_values_are_those_of_the_latest_pass_only() -> None:
    backbone, taps = backbone_of(), Taps(record=[Site(0, "mlp")], rows=AttentionRows(layers=(2,)))
    backbone.forward(some_ids(5), taps=taps)
    backbone.forward(some_ids(3), taps=taps)
    assert taps.values[Site(0, "mlp")].shape[1] == 3
    assert taps.rows[2].shape[3] == 3


def test_sites_that_are_not_there_are_refused() -> None:
    backbone = backbone_of()
    with pytest.raises(BadInput, match="no layer 3 in a network of 3"):
        backbone.forward([5], taps=Taps(record=[Site(3, "mlp")]))
    with pytest.raises(BadInput, match="part must be one of"):
        Site(0, "thoughts")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="layer must be >= 0"):
        Site(-1, "mlp")
    with pytest.raises(BadInput, match="last must be >= 1"):
        AttentionRows(last=0)
    with pytest.raises(BadInput, match="its replacement"):
        backbone.forward([5, 6], taps=Taps(replace={Site(0, "mlp"): lambda tensor: tensor[:, :1]}))


@pytest.mark.parametrize("site", [Site(0, "heads"), Site(2, "residual")])
def test_a_gradient_free_copy_is_kept(site: Site) -> None:
    taps = Taps(record=[site])
    backbone_of().forward(some_ids(3), taps=taps)
    assert not taps.values[site].requires_grad


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "qwen3"])
def test_rows_that_leave_entries_out_read_as_attention_that_does_not_see_them(family: str) -> None:
    backbone, ids, given = backbone_of(family), some_ids(14), 9
    cuts = random_cuts(given)

    def left_out(layer: int) -> Any:
        gone = torch.ones(HEADS, len(ids), dtype=torch.bool)
        gone[:, given:] = False
        for head in range(HEADS):
            gone[head, cuts[layer][head // (HEADS // KV_HEADS)]] = False
        return lambda rows: (kept := rows.masked_fill(gone[None, :, None], 0.0)) / kept.sum(dim=-1, keepdim=True)

    cache = backbone.cache()
    backbone.forward(ids[:given], cache)
    taps = Taps(
        record=[Site(1, "rows")],
        replace={Site(layer, "rows"): left_out(layer) for layer in range(LAYERS)},
        rows=AttentionRows(last=2),
    )
    ours = backbone.forward(ids[given:], cache, logits="all", taps=taps)
    expected = logits_with_hidden_keys(backbone.network, ids, (given, cuts))
    assert torch.allclose(ours, expected, atol=1e-4)
    assert torch.equal(taps.values[Site(1, "rows")][:, :, -2:], taps.rows[1])
    assert sorted(taps.rows) == list(range(LAYERS))


def test_heads_of_unequal_length_read_by_the_rows_they_are_given() -> None:
    backbone, cuts = backbone_of("llama"), random_cuts(10)
    cache = backbone.cache()
    backbone.forward(some_ids(10), cache)
    for layer, kept in enumerate(cuts):
        cache.keep(layer, kept)
    draw = torch.Generator().manual_seed(3)
    put: list[torch.Tensor] = []

    def any_rows(rows: torch.Tensor) -> torch.Tensor:
        put.append(torch.rand(rows.shape, generator=draw))
        assert taps.row_origins[1].shape == (KV_HEADS, rows.shape[3])
        return put[0]

    taps = Taps(record=[Site(1, "heads"), Site(1, "rows")], replace={Site(1, "rows"): any_rows})
    backbone.forward(some_ids(4), cache, taps=taps)
    assert torch.equal(taps.values[Site(1, "rows")], put[0])
    for head in range(HEADS):
        values = cache.layers[1].head(head // (HEADS // KV_HEADS)).values[0, 0]
        for token in range(4):
            weights = put[0][0, head, token, : len(values)]
            naive = sum(weight * value for weight, value in zip(weights, values, strict=True))
            assert torch.allclose(taps.values[Site(1, "heads")][0, token, head], naive, atol=1e-5)


def test_recorded_rows_change_nothing_and_those_given_back_hardly() -> None:
    backbone, ids = backbone_of("gemma3"), some_ids(12)
    plain = backbone.forward(ids)
    taps = Taps(record=[Site(2, "rows")])
    assert torch.equal(backbone.forward(ids, taps=taps), plain)
    expected = backbone.network(torch.tensor([ids]), output_attentions=True).attentions[2]
    assert torch.allclose(taps.values[Site(2, "rows")], expected, atol=1e-5)
    sites = {Site(layer, "rows"): lambda rows: rows for layer in range(LAYERS)}
    assert torch.allclose(backbone.forward(ids, taps=Taps(replace=sites)), plain, atol=1e-5)
    with pytest.raises(BadInput, match="its replacement"):
        backbone.forward(ids, taps=Taps(replace={Site(0, "rows"): lambda rows: rows[..., 1:]}))
