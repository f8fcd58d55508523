"""Scorers of the shape that kvpress has run as policies."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

from state_worlds import numbers, tiny  # noqa: E402
from transformers import DynamicCache  # noqa: E402

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


class Aware:
    """A press that scores by the share that goes, and by every row of attention."""

    compression_ratio = 0.3

    def __init__(self):
        self.seen = []

    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        self.seen.append((self.compression_ratio, attentions))
        return keys.norm(dim=-1)


def test_a_press_knows_the_share_that_the_budget_takes_and_gets_its_own_back() -> None:
    backbone, press = tiny(), Aware()
    cache = backbone.cache()
    backbone.prefill(numbers(40), cache)
    compress(backbone, cache, KVPress(press), entries=13)
    assert [int(40 * (1 - ratio)) for ratio, _ in press.seen] == [13, 13, 13]
    assert all(rows is None for _, rows in press.seen)
    assert press.compression_ratio == 0.3


def test_a_press_that_wants_it_gets_the_whole_attention_matrix() -> None:
    from pinyon.models.taps import AttentionRows, Taps

    backbone, press, taps = tiny(), Aware(), Taps(rows=AttentionRows(last=40))
    backbone.forward(numbers(40), taps=taps)
    cache = backbone.cache()
    Compressor(backbone, cache, KVPress(press, attentions=True), entries=13).forward(numbers(40))
    for layer, (_, rows) in enumerate(press.seen):
        assert torch.allclose(rows, taps.rows[layer], atol=1e-5)
    later = backbone.cache()
    backbone.prefill(numbers(40), later)
    compress(backbone, later, KVPress(press, attentions=True), entries=13)
    assert [layer.lengths() for layer in later.layers] == [[13, 13]] * 3


class Rotating(KeyLength):
    """A press that asks the module for the rotary embedding, where kvpress puts it."""

    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        cos, _ = module.rotary_emb(hidden_states, torch.arange(keys.shape[2])[None])
        return super().score(module, hidden_states, keys, values, attentions, kwargs) * cos.mean()


def test_a_press_finds_the_rotary_embedding_and_the_network_stays_as_it_is() -> None:
    backbone, policy = tiny(), KVPress(Rotating())
    with policy.watching(backbone):
        Compressor(backbone, backbone.cache(), policy, entries=13).forward(numbers(40))
    blocks = [module for module in backbone.network.modules() if hasattr(module, "layer_idx")]
    assert not any(hasattr(module, "rotary_emb") for module in blocks)


class ScorerPress(KeyLength):
    """As kvpress's own: it selects by the scores."""

    def compress(self, *given):
        return given[2:4]


class Pyramid(ScorerPress):
    """Selects in a way of its own."""

    def compress(self, *given):
        return given[3:1:-1]


def test_a_press_that_selects_in_a_way_of_its_own_is_refused() -> None:
    KVPress(ScorerPress())
    with pytest.raises(BadInput, match="a way of its own"):
        KVPress(Pyramid())


def test_a_backbone_reads_on_where_a_library_has_wrapped_attention() -> None:
    """As the import of kvpress does, in every model of the process."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as KNOWN

    backbone = tiny()
    before, inner = backbone.forward(numbers(20)), KNOWN["pinyon_state"]
    seen = []

    def wrapper(module, query, key, value, attention_mask, dropout, **kwargs):
        seen.append(module)
        return inner(module, query, key, value, attention_mask, dropout, **kwargs)

    KNOWN["pinyon_state"] = wrapper
    try:
        assert torch.equal(backbone.forward(numbers(20)), before)
    finally:
        KNOWN["pinyon_state"] = inner
    assert len(seen) == 3


@pytest.fixture(scope="module")
def library():
    """kvpress, whose import warns of what it imports itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("kvpress", reason="kvpress is not installed", exc_type=ImportError)


SCORERS = {
    "KnormPress": {},
    "KeyDiffPress": {},
    "SnapKVPress": {"window_size": 8},
    "TOVAPress": {},
    "ExpectedAttentionPress": {},
    "CapPress": {},
    "CriticalKVPress": {},
    "ObservedAttentionPress": {},
    "StreamingLLMPress": {},
    "RandomPress": {"seed": 3},
    "LagKVPress": {"lag_size": 8},
    "CURPress": {},
    "NonCausalAttnPress": {},
    "LeverageScorePress": {"sketch_dimension": 8},
    "CompactorPress": {"sketch_dimension": 8},
}


def real(library, name, ratio):
    if name == "CriticalKVPress":
        return library.CriticalKVPress(library.ExpectedAttentionPress(ratio, use_vnorm=False))
    return getattr(library, name)(compression_ratio=ratio, **SCORERS[name])


def left_by(library, name, network, ids, count):
    """Return the keys that a press itself leaves in each layer, by the steps of its own hook."""
    press, cache, left = real(library, name, 1 - (count + 0.01) / len(ids)), DynamicCache(), {}

    def hook(module, given, kwargs, output):
        layer = cache.layers[module.layer_idx]
        module.rotary_emb = network.model.rotary_emb
        left[module.layer_idx] = press.compress(
            module, kwargs["hidden_states"], layer.keys, layer.values, output[1], kwargs
        )[0]

    hooks = [layer.self_attn.register_forward_hook(hook, with_kwargs=True) for layer in network.model.layers]
    network.set_attn_implementation("eager" if name == "ObservedAttentionPress" else "sdpa")
    torch.manual_seed(0)
    with torch.no_grad():
        network.model(input_ids=torch.tensor([ids]), past_key_values=cache)
    for each in hooks:
        each.remove()
    return left


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_of_the_library_keeps_what_it_keeps_there(library, name: str) -> None:
    backbone, ids, count = tiny(), numbers(60), 22
    policy = KVPress(real(library, name, 0.3), attentions=name == "ObservedAttentionPress")
    cache = backbone.cache()
    torch.manual_seed(0)
    with policy.watching(backbone):
        Compressor(backbone, cache, policy, entries=count).forward(ids)
    for layer, theirs in left_by(library, name, backbone.network, ids, count).items():
        ours = cache.layers[layer].uniform().keys
        assert ours.shape == theirs.shape
        near = torch.cdist(ours[0], theirs[0], compute_mode="donot_use_mm_for_euclid_dist")
        if name == "LagKVPress":  # it gives ranks, so that many entries are equal and any of them may stay
            continue
        assert float(near.min(dim=-1).values.max()) < 1e-4
        assert float(near.min(dim=-2).values.max()) < 1e-4


def test_a_press_of_the_library_that_divides_the_budget_is_refused(library) -> None:
    with pytest.raises(BadInput, match="a way of its own"):
        KVPress(library.PyramidKVPress(0.5))
