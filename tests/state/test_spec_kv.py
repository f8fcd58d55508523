"""A draft of the answer votes."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from state_worlds import numbers, tiny, tokenizer, view  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state import Compressor, SpecKV, truncated  # noqa: E402
from pinyon.state.policy import attention_rows, kept_entries, scaling_of  # noqa: E402


def plain_choice(seen, queries, lookahead, kernel, count):
    """The steps of the pseudocode for one sequence, on lists."""
    window = queries + lookahead
    rows = attention_rows(seen.queries, seen.keys, origins=seen.origins, read=seen.read, scaling=seen.scaling)[0]
    heads, size = seen.origins.shape
    share = len(rows) // heads
    kept = []
    for head in range(heads):
        mine = rows[head * share : (head + 1) * share].reshape(-1, size).tolist()
        before = size - window
        worth = [max(row[s] for row in mine) for s in range(before)]
        pooled = [max(worth[max(0, s - kernel // 2) : s + kernel // 2 + 1]) for s in range(before)]
        order = sorted(range(before), key=lambda s: (pooled[s], s), reverse=True)
        kept.append(sorted(order[: count - queries] + list(range(before, before + queries))))
    return kept


@pytest.mark.parametrize("lookahead", [0, 1, 5])
@pytest.mark.parametrize("kernel", [1, 7])
def test_the_choice_is_that_of_the_pseudocode(lookahead: int, kernel: int) -> None:
    seen = view(30, window=4 + lookahead, seed=lookahead)
    policy = SpecKV(queries=4, lookahead=lookahead, kernel=kernel)
    assert kept_entries(policy.score(seen), 12).tolist() == plain_choice(seen, 4, lookahead, kernel, 12)


def test_each_head_holds_exactly_its_budget_with_the_end_of_the_prompt_and_no_draft() -> None:
    backbone, ids = tiny(), numbers(60)
    looked = SpecKV(queries=8).prefill(backbone, ids, entries=20, draft=tiny(layers=2, seed=1), lookahead=6)
    assert 0 < len(looked.lookahead) <= 6
    for layer in looked.cache.layers:
        group = layer.uniform()
        assert group.length == 20
        assert group.origins[:, -8:].tolist() == [list(range(52, 60))] * 2
        assert bool((group.origins.diff(dim=-1) > 0).all())
        assert torch.equal(group.positions, group.origins)
    assert (looked.cache.read, looked.cache.next_position) == (60, 60)
    assert looked.cache.tokens.ids[-8:].tolist() == ids[-8:]


def test_with_room_for_all_it_is_plain_generation_token_by_token() -> None:
    backbone, ids = tiny(), numbers(40)
    looked = SpecKV(queries=8).prefill(backbone, ids, entries=40, lookahead=6)
    assert looked.lookahead == ()
    plain = backbone.cache()
    assert torch.equal(looked.logits, backbone.prefill(ids, plain))
    ours = backbone.continuation([], looked.cache, max_tokens=20).ids
    assert ours == backbone.continuation([], plain, max_tokens=20).ids


def test_the_whole_cache_is_never_held(monkeypatch) -> None:
    from pinyon.state.compress import Compressor

    backbone, held = tiny(), []
    watch = Compressor.watch

    def counting(self, layer, entries, queries):
        held.append(self.cache.nbytes)
        watch(self, layer, entries, queries)

    monkeypatch.setattr(Compressor, "watch", counting)
    SpecKV(queries=8).prefill(backbone, numbers(60), entries=20, lookahead=6)
    layer = backbone.bytes_per_token // 3
    assert max(held) <= 20 * backbone.bytes_per_token + 66 * layer


class Masked:
    """Reads a layer by the definition of vertical-slash attention, with the columns that rank first by the votes."""

    def __init__(self, policy, scaling, after):
        self.policy, self.scaling, self.after = policy, scaling, after

    def __call__(self, layer, entries, queries):
        self.after(layer, entries, queries)

    def read(self, layer, entries, queries, scale):
        group, policy = entries.uniform(), self.policy
        size, share = group.length, queries.shape[1] // entries.kv_heads
        before = size - policy.window
        rows = attention_rows(
            queries[:, :, -policy.window :], group.keys, origins=group.origins, read=size, scaling=self.scaling
        )[0]
        own, seen, parts = torch.arange(size)[:, None], torch.arange(size)[None], []
        for head in range(queries.shape[1]):
            kv_head = head // share
            worth = rows[kv_head * share : (kv_head + 1) * share, :, :before].amax(dim=(0, 1)).tolist()
            half = policy.kernel // 2
            pooled = [max(worth[max(0, s - half) : s + half + 1]) for s in range(before)]
            columns = sorted(range(before), key=lambda s: -pooled[s])[: policy.vertical]
            visible = (seen <= own) & ((own - seen < policy.slash) | torch.isin(seen, torch.tensor(columns)))
            products = (queries[:, head] @ group.keys[:, kv_head].transpose(1, 2)) * scale
            parts.append(products.masked_fill(~visible, -torch.inf).softmax(dim=-1) @ group.values[:, kv_head])
        return torch.stack(parts, dim=1)


@pytest.mark.parametrize(("vertical", "slash"), [(5, 8), (20, 1), (40, 20), (1, 60)])
def test_a_long_prompt_is_read_under_the_mask_of_the_specification(vertical: int, slash: int) -> None:
    backbone, ids, ahead = tiny(), numbers(80), numbers(6, seed=5)
    policy = SpecKV(queries=8, kernel=1, vertical=vertical, slash=slash)
    looked = policy.prefill(backbone, ids, entries=20, lookahead_ids=ahead)
    plain = backbone.cache()
    chosen = replace(policy, lookahead=6)
    cutter = Compressor(backbone, plain, chosen, entries=20)
    backbone.forward([*ids, *ahead], plain, after_layer=Masked(chosen, scaling_of(backbone), cutter.after_layer))
    cutter.after_chunk()
    plain.crop(79)
    logits = backbone.forward(ids[-1:], plain)
    for ours, theirs in zip(looked.cache.layers, plain.layers, strict=True):
        assert torch.equal(ours.uniform().origins, theirs.uniform().origins)
        assert torch.allclose(ours.uniform().keys, theirs.uniform().keys, atol=1e-4)
    assert torch.allclose(looked.logits, logits, atol=1e-4)
    dense = replace(policy, vertical=200).prefill(backbone, ids, entries=20, lookahead_ids=ahead)
    assert not torch.allclose(looked.logits, dense.logits, atol=1e-3)


def test_a_prompt_within_columns_and_slash_is_read_densely() -> None:
    backbone, ids, ahead = tiny(), numbers(60), numbers(6, seed=5)
    found = [
        SpecKV(queries=8, vertical=v, slash=s).prefill(backbone, ids, entries=20, lookahead_ids=ahead).logits
        for v, s in ((2048, 2048), (33, 33), (1, 65))
    ]
    assert all(torch.equal(found[0], one) for one in found[1:])


def test_with_every_column_sparse_reading_is_dense_reading() -> None:
    """One token beyond columns and slash: all but the window are columns, so nothing is hidden."""
    backbone, ids, ahead = tiny(), numbers(60), numbers(6, seed=5)
    sparse = SpecKV(queries=8, vertical=52, slash=13).prefill(backbone, ids, entries=20, lookahead_ids=ahead)
    dense = SpecKV(queries=8).prefill(backbone, ids, entries=20, lookahead_ids=ahead)
    assert torch.allclose(sparse.logits, dense.logits, atol=1e-4)


def test_a_draft_that_exists_is_used_as_it_is() -> None:
    backbone, ids, policy = tiny(), numbers(60), SpecKV(queries=8)
    made = policy.prefill(backbone, ids, entries=20, lookahead=6)
    again = policy.prefill(backbone, ids, entries=20, lookahead_ids=made.lookahead)
    other = policy.prefill(backbone, ids, entries=20, lookahead_ids=numbers(6, seed=5))
    assert torch.equal(made.logits, again.logits)
    assert not torch.equal(made.logits, other.logits)


def test_no_lookahead_lets_the_window_vote_alone() -> None:
    looked = SpecKV(queries=8).prefill(tiny(), numbers(60), entries=20, lookahead=0)
    assert looked.lookahead == ()
    assert looked.cache.layers[0].lengths() == [20, 20]


def test_a_draft_of_other_tokens_is_refused() -> None:
    with pytest.raises(BadInput, match="tokenizer"):
        SpecKV(queries=8).prefill(tiny(), numbers(60), entries=20, draft=tiny(vocabulary=201))
    with pytest.raises(BadInput, match="tokenizer"):
        SpecKV(queries=8).prefill(tiny(), numbers(60), entries=20, draft=tiny(words=tokenizer()))


def test_a_prompt_and_a_draft_beyond_what_the_model_reads_are_refused() -> None:
    backbone = tiny()
    backbone.limit = 64
    with pytest.raises(BadInput, match="the 64 that the model reads"):
        SpecKV(queries=8).prefill(backbone, numbers(60), entries=20, lookahead=6)


def test_a_budget_within_the_window_is_refused() -> None:
    with pytest.raises(BadInput, match="exceed the window"):
        SpecKV(queries=8).prefill(tiny(), numbers(60), entries=8)


@pytest.mark.parametrize("given", [{"queries": 0}, {"lookahead": -1}, {"kernel": 2}, {"vertical": 0}, {"slash": 0}])
def test_settings_that_make_no_sense_are_refused(given) -> None:
    with pytest.raises(BadInput):
        SpecKV(**given)


def test_a_truncated_model_shares_weights_and_skips_the_last_layers() -> None:
    whole, ids = tiny(layers=4), numbers(20)
    before = whole.forward(ids)
    short = truncated(whole, 2)
    assert short.n_layers == 2
    assert len(short.cache().layers) == 2
    assert not torch.allclose(short.forward(ids), before)
    assert torch.equal(truncated(whole, 4).forward(ids), before)
    assert torch.equal(whole.forward(ids), before)
    assert short.network.lm_head.weight is whole.network.lm_head.weight
    with pytest.raises(BadInput, match="4 layers"):
        truncated(whole, 5)
