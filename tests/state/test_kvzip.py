"""What is needed to repeat a text stays."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from state_worlds import numbers, tiny, tokenizer, view  # noqa: E402

from pinyon.core.budget import Budget  # noqa: E402
from pinyon.errors import BadInput  # noqa: E402
from pinyon.state.compress import compress  # noqa: E402
from pinyon.state.kvzip import KVzip, Replayed  # noqa: E402
from pinyon.state.policy import scaling_of, shape_of  # noqa: E402


def same(before, after):
    """Return whether named tensors are alike bit for bit, unknown surprisals included."""
    return before.keys() == after.keys() and all(
        torch.equal(part.nan_to_num(nan=-1.0) if part.is_floating_point() else part,
                    after[name].nan_to_num(nan=-1.0) if part.is_floating_point() else after[name])
        for name, part in before.items()
    )  # fmt: skip


def read(backbone, ids):
    cache = backbone.cache()
    backbone.prefill(ids, cache)
    return cache


def slow(backbone, ids, weights):
    """Return the highest weighed attention of the second half of a text read twice, entry by entry."""
    found: dict[int, list[list[float]]] = {}

    def look(layer, entries, queries):
        keys, share = entries.uniform().keys[0], backbone.n_heads // backbone.n_kv_heads
        worth = [[0.0] * len(ids) for _ in range(backbone.n_kv_heads)]
        for head in range(backbone.n_heads):
            for place in range(len(ids), 2 * len(ids)):
                products = keys[head // share, : place + 1] @ queries[0, head, place] * scaling_of(backbone)
                raised = [math.exp(float(p - products.max())) for p in products]
                for at in range(len(ids)):
                    worth[head // share][at] = max(
                        worth[head // share][at], weights[place - len(ids)] * raised[at] / sum(raised)
                    )
        found[layer] = worth

    backbone.forward([*ids, *ids], None, logits="none", after_layer=look)
    return [torch.tensor(found[layer]) for layer in range(backbone.n_layers)]


@pytest.mark.parametrize("size", [1, 7, 31])
def test_the_votes_equal_those_of_a_loop_over_a_text_read_twice(size) -> None:
    backbone, ids = tiny(), numbers(size)
    fast = KVzip(says_why=False).look(backbone, read(backbone, ids))
    for ours, theirs in zip(fast.worth, slow(backbone, ids, [1.0] * size), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_votes_weigh_as_much_as_the_token_that_they_foretell_surprised() -> None:
    backbone, ids = tiny(), numbers(9)
    cache = backbone.cache()
    backbone.prefill(ids, cache, surprisal=True)
    foretold = backbone.forward(ids, None, logits="all").log_softmax(dim=-1)
    weights = [-float(foretold[place, token]) for place, token in enumerate(ids[1:])] + [0.0]
    fast = KVzip(says_why=False, weigh="surprisal").look(backbone, cache)
    for ours, theirs in zip(fast.worth, slow(backbone, ids, weights), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
    assert fast.name == "kvzip+surprisal"


def test_surprisal_that_was_not_noted_is_missed() -> None:
    backbone = tiny()
    with pytest.raises(BadInput, match="without noting surprisal"):
        KVzip(says_why=False, weigh="surprisal").look(backbone, read(backbone, numbers(5)))


def test_a_replay_in_pieces_sees_every_token() -> None:
    backbone, ids = tiny(), numbers(40)
    pieces = KVzip(says_why=False, chunk=7).look(backbone, read(backbone, ids))
    assert all(bool((worth > 0).all()) for worth in pieces.worth)


def test_a_look_leaves_the_cache_as_it_was() -> None:
    words = tokenizer()
    backbone = tiny(words=words)
    cache = read(backbone, numbers(30, vocabulary=len(words)))
    before = {name: part.clone() for name, part in cache.tensors().items()}
    KVzip(chunk=11).look(backbone, cache)
    assert same(before, cache.tensors())


@settings(max_examples=8, deadline=None)
@given(entries=st.integers(1, 45), heads=st.sampled_from(["shared", "even"]))
def test_the_budget_is_never_exceeded_and_used_whole(entries, heads) -> None:
    backbone = tiny()
    cache = read(backbone, numbers(40))
    cut = KVzip(heads=heads, says_why=False).compress(backbone, cache, entries=entries)
    assert cut.bytes_after == cache.nbytes == min(entries, 40) * shape_of(backbone).token_bytes
    assert min(min(layer.lengths()) for layer in cache.layers) >= min(4, entries)


def test_the_best_entries_of_the_whole_model_stay() -> None:
    backbone = tiny()
    cache = read(backbone, numbers(40))
    looked = KVzip(says_why=False).look(backbone, cache)
    compress(backbone, cache, looked, ratio=0.6)
    kept = torch.zeros(3, 2, 40, dtype=torch.bool)
    for index, layer in enumerate(cache.layers):
        for group in layer.groups:
            for row, head in enumerate(group.heads):
                kept[index, head, group.origins[row]] = True
    worth = torch.stack(looked.worth)
    assert bool(kept[:, :, :4].all())
    assert float(worth[:, :, 4:][kept[:, :, 4:]].min()) >= float(worth[:, :, 4:][~kept[:, :, 4:]].max())
    assert len({length for layer in cache.layers for length in layer.lengths()}) > 1


def test_a_full_budget_changes_nothing() -> None:
    backbone = tiny()
    cache = read(backbone, numbers(25))
    before = {name: part.clone() for name, part in cache.tensors().items()}
    KVzip(says_why=False).compress(backbone, cache, budget=Budget(tokens=25))
    assert same(before, cache.tensors())


def test_a_replay_predicts_what_the_text_again_looks_at_better_than_the_latest_tokens_do() -> None:
    """At a quarter of the entries the second reading of a text is disturbed least when its own votes chose them."""
    ids = numbers(48)

    def shift(cutter) -> float:
        total = 0.0
        for seed in range(3):
            backbone = tiny(seed=seed)
            whole = read(backbone, ids)
            part = whole.clone()
            cutter(backbone, part)
            expected = backbone.forward(ids, whole, logits="all")
            found = backbone.forward(ids, part, logits="all")
            total += float((expected - found).square().mean())
        return total

    def latest(backbone, cache) -> None:
        cache.keep_everywhere(torch.tensor([*range(4), *range(40, 48)]))

    assert shift(lambda b, c: KVzip(says_why=False).compress(b, c, entries=12)) < 0.8 * shift(latest)


def test_a_cache_that_was_cut_cannot_be_replayed() -> None:
    backbone = tiny()
    cache = read(backbone, numbers(20))
    cache.keep_everywhere(torch.arange(10))
    with pytest.raises(BadInput, match="all it has read"):
        KVzip(says_why=False).look(backbone, cache)


def test_a_replay_serves_only_what_it_saw() -> None:
    looked = Replayed((torch.rand(2, 10),))
    with pytest.raises(BadInput, match="did not see"):
        looked.score(view(12))
    with pytest.raises(BadInput, match="does not fit"):
        looked.entries(shape_of(tiny()), 3)


@pytest.mark.parametrize("given", [{"sinks": 0}, {"chunk": 0}, {"heads": "some"}, {"weigh": "much"}])
def test_settings_that_make_no_sense_are_refused(given) -> None:
    with pytest.raises(BadInput):
        KVzip(**given)
