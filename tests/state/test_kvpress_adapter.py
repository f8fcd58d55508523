"""Scorers of the shape that kvpress has run as policies."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from state_worlds import numbers, tiny  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state import Compressor, KeyNorm, KVPress, compress  # noqa: E402


class KeyLength:
    """A press that looks at keys alone."""

    compression_ratio = 0.3

    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        return -keys.norm(dim=-1)


class QueryVotes:
    """A press that computes queries of the last tokens itself, as kvpress's SnapKV does."""

    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        cos, sin = kwargs["position_embeddings"]
        batch, size, _ = hidden_states.shape
        assert keys.shape[2] == size
        queries = module.q_proj(hidden_states[:, -4:]).view(batch, 4, -1, module.head_dim).transpose(1, 2)
        queries, _ = apply_rotary_pos_emb(queries, queries, cos[:, -4:], sin[:, -4:])
        wide = keys.repeat_interleave(module.num_key_value_groups, dim=1)
        rows = (queries @ wide.transpose(2, 3) * module.scaling).softmax(dim=-1).mean(dim=2)
        return rows.view(batch, keys.shape[1], -1, size).mean(dim=2)


class Bare:
    """Has no score."""


class Short(KeyLength):
    """Gives too few scores."""

    def score(self, *given):
        return super().score(*given)[..., 1:]


def test_a_press_that_looks_at_keys_equals_our_own() -> None:
    backbone = tiny()
    kept = []
    for policy in (KVPress(KeyLength()), KeyNorm()):
        cache = backbone.cache()
        backbone.prefill(numbers(40), cache)
        compress(backbone, cache, policy, entries=13)
        kept.append([layer.uniform().origins for layer in cache.layers])
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))


def test_a_press_that_looks_at_what_the_layer_reads_works_while_watching() -> None:
    backbone, policy = tiny(), KVPress(QueryVotes())
    cache = backbone.cache()
    with policy.watching(backbone):
        Compressor(backbone, cache, policy, entries=13).forward(numbers(40))
    assert all(layer.lengths() == [13, 13] for layer in cache.layers)
    assert not any(module._forward_pre_hooks for module in backbone.network.modules())


def test_without_watching_such_a_press_says_what_it_needs() -> None:
    backbone = tiny()
    cache = backbone.cache()
    backbone.prefill(numbers(40), cache)
    with pytest.raises(BadInput, match="cannot score layer 0"):
        compress(backbone, cache, KVPress(QueryVotes()), entries=13)


def test_reading_in_chunks_is_refused_by_such_a_press() -> None:
    backbone, policy = tiny(), KVPress(QueryVotes())
    cache = backbone.cache()
    cutter = Compressor(backbone, cache, policy, entries=13)
    with policy.watching(backbone), pytest.raises(BadInput, match="at once"):
        backbone.prefill(numbers(40), cache, chunk=10, after_layer=cutter.after_layer)


def test_what_is_no_scorer_or_scores_wrongly_is_refused() -> None:
    with pytest.raises(BadInput, match="no scorer"):
        KVPress(Bare())
    backbone = tiny()
    cache = backbone.cache()
    backbone.prefill(numbers(40), cache)
    with pytest.raises(BadInput, match="gave scores"):
        compress(backbone, cache, KVPress(Short()), entries=13)


def test_scorers_of_the_library_itself_run_where_it_is_installed() -> None:
    kvpress = pytest.importorskip("kvpress")
    backbone, policy = tiny(), KVPress(kvpress.KnormPress())
    cache = backbone.cache()
    with policy.watching(backbone):
        Compressor(backbone, cache, policy, entries=13).forward(numbers(40))
    assert all(layer.lengths() == [13, 13] for layer in cache.layers)
