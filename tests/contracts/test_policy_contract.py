"""What every cache policy that the room exports must do."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from state_worlds import numbers, tiny, view  # noqa: E402

import pinyon.state as room  # noqa: E402
from pinyon.core.budget import Budget  # noqa: E402
from pinyon.state import CachePolicy, Compressor, HeadProfile, KVPress, RetrievalHeads, Session, compress, shape_of  # noqa: E402


class KeyLength:
    """A press that looks at keys alone."""

    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        return -keys.norm(dim=-1)


def made(kind):
    """Return a policy of a kind, small enough for tiny caches."""
    if kind is KVPress:
        return kind(KeyLength())
    if kind is RetrievalHeads:  # two heads that copy, four that do not
        return kind(HeadProfile(3, 4, 2, trials=(), binding={}), recent=3, chosen=((0, 0), (2, 1)))
    named = {field.name for field in fields(kind)}
    return kind(**({"queries": 4} if "queries" in named else {}))


KINDS = [
    kind
    for kind in (getattr(room, name) for name in room.__all__)
    if inspect.isclass(kind) and not getattr(kind, "_is_protocol", False) and hasattr(kind, "score")
]
every = pytest.mark.parametrize("policy", [made(kind) for kind in KINDS], ids=lambda policy: type(policy).__name__)


def filled(backbone, count=40, seed=1):
    cache = backbone.cache()
    backbone.prefill(numbers(count, seed=seed), cache, surprisal=True)
    return cache


def same(one, two):
    """Return whether two caches hold the same bytes; what is unknown is no number, and equal to itself."""
    ours, theirs = one.tensors(), two.tensors()
    return ours.keys() == theirs.keys() and all(
        torch.equal(part.nan_to_num(nan=-1.0), theirs[name].nan_to_num(nan=-1.0)) for name, part in ours.items()
    )


def origins(cache):
    return [[cache.layers[i].head(head).origins[0].tolist() for head in range(2)] for i in range(len(cache.layers))]


def test_the_contract_covers_the_policies_of_the_room() -> None:
    assert {"SinkWindow", "RandomKeep", "KeyNorm", "SnapKV", "Surprisal", "SpecKV", "RetrievalHeads"} <= {
        k.__name__ for k in KINDS
    }


@every
def test_it_is_a_policy_and_says_where_it_comes_from(policy) -> None:
    assert isinstance(policy, CachePolicy)
    assert policy.name
    assert all(part in (type(policy).__doc__ or "") for part in ("Source:", "Deviates:", "Cost:"))


@every
def test_it_scores_every_entry_and_never_with_what_is_no_number(policy) -> None:
    seen = view(20, window=policy.window, surprisal=torch.full((2, 20), torch.nan))
    scores = policy.score(seen)
    assert scores.shape == (1, 2, 20)
    assert not bool(scores.isnan().any())


@every
def test_a_full_budget_changes_nothing_bit_for_bit(policy) -> None:
    backbone = tiny()
    cache = filled(backbone)
    before, logits = cache.clone(), cache.logits
    compress(backbone, cache, policy, entries=40)
    assert same(cache, before)
    assert torch.equal(cache.logits, logits)
    read = backbone.cache()
    assert torch.equal(
        Compressor(backbone, read, policy, entries=40).forward(numbers(40)), backbone.forward(numbers(40))
    )


@every
@given(st.integers(5, 45), st.integers(0, 300))
@settings(max_examples=12)
def test_a_budget_of_bytes_is_used_up_and_never_exceeded(policy, tokens, extra) -> None:
    backbone = tiny()
    cache = filled(backbone)
    size = tokens * shape_of(backbone).token_bytes + extra
    compress(backbone, cache, policy, budget=Budget(bytes=size))
    assert cache.nbytes <= size
    if policy.entries(shape_of(backbone), tokens) is None:
        assert cache.nbytes > size - shape_of(backbone).token_bytes or tokens >= 40


@every
def test_what_stays_keeps_its_order(policy) -> None:
    backbone = tiny()
    cache = filled(backbone)
    compress(backbone, cache, policy, entries=11)
    for heads in origins(cache):
        assert all(head == sorted(set(head)) for head in heads)


@every
@pytest.mark.parametrize("count", [1, 5])
def test_a_cut_cache_is_full_attention_with_the_others_hidden(policy, count) -> None:
    if policy.positions == "cache":
        policy = replace(policy, positions="original")
    backbone = tiny()
    cache = filled(backbone)
    hidden = cache.clone()
    compress(backbone, cache, policy, entries=11)
    for layer, kept in zip(hidden.layers, origins(cache), strict=True):
        for head, stays in enumerate(kept):
            gone = ~torch.isin(layer.head(head).origins[0], torch.tensor(stays))
            layer.head(head).positions[0, gone] = 10**6  # after every query, so none sees it
    ids = numbers(count, seed=8)
    ours = backbone.forward(ids, cache, logits="all")
    theirs = backbone.forward(ids, hidden, positions=list(range(40, 40 + count)), logits="all")
    assert torch.allclose(ours, theirs, atol=1e-5)


@every
def test_the_same_history_keeps_the_same_bytes(policy) -> None:
    backbone = tiny()
    one, two = filled(backbone), filled(backbone)
    for cache in (one, two):
        compress(backbone, cache, policy, entries=11)
    assert same(one, two)


@every
def test_an_endless_session_stays_within_its_bytes_and_can_be_saved(policy) -> None:
    backbone = tiny()
    session = Session(backbone, policy, budget_bytes=30 * backbone.bytes_per_token)
    for turn in range(4):
        session.read(numbers(25, seed=turn))
        assert session.nbytes <= session.budget_bytes
    again = Session.load(session.to_bytes(), backbone, policy)
    assert torch.equal(again.logits, session.logits)
    assert list(again.continuation(8)) == list(session.continuation(8))
    assert torch.equal(again.logits, session.logits)


@every
def test_a_session_reads_past_the_last_position_of_the_model_at_constant_bytes(policy) -> None:
    backbone = tiny(limit=64)
    session = Session(backbone, policy, budget_bytes=30 * backbone.bytes_per_token)
    overhead = []
    for turn in range(6):
        session.read(numbers(25, seed=turn))
        list(session.continuation(4))
        assert 0 < session.nbytes <= session.budget_bytes
        assert session.cache.next_position <= 64
        assert bool(session.logits.isfinite().all())
        overhead.append(session.cache.overhead_bytes)
    assert session.cache.read == 174
    assert max(overhead[3:]) <= max(overhead[:3]) * 1.2
    again = Session.load(session.to_bytes(), backbone, policy)
    again.read(numbers(40, seed=3))
    session.read(numbers(40, seed=3))
    assert torch.equal(again.logits, session.logits)


@every
def test_a_budget_of_more_tokens_than_the_model_has_positions_does_not_end_the_talk(policy) -> None:
    backbone = tiny(limit=64)
    session = Session(backbone, policy, budget_bytes=200 * backbone.bytes_per_token)
    assert session.entries == 64
    for turn in range(3):
        session.read(numbers(50, seed=turn))
        assert len(session.cache) <= 64
    assert session.cache.read == 150
