"""Entries stay at random, repeatably."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from state_worlds import view  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state import RandomKeep  # noqa: E402
from pinyon.state.policy import kept_entries  # noqa: E402


def kept(policy, **given):
    return kept_entries(policy.score(view(200, **given)), 50)


def test_the_same_seed_keeps_the_same_entries() -> None:
    assert torch.equal(kept(RandomKeep(seed=3)), kept(RandomKeep(seed=3)))
    assert not torch.equal(kept(RandomKeep(seed=3)), kept(RandomKeep(seed=4)))


def test_each_cut_draws_anew_unless_the_lots_last() -> None:
    assert not torch.equal(kept(RandomKeep()), kept(RandomKeep(), read=201))
    assert torch.equal(kept(RandomKeep(lasting=True)), kept(RandomKeep(lasting=True), read=201))


def test_heads_share_a_choice_unless_they_are_not_to() -> None:
    shared, apart = kept(RandomKeep()), kept(RandomKeep(shared=False))
    assert torch.equal(shared[0], shared[1])
    assert not torch.equal(apart[0], apart[1])
    assert not torch.equal(kept(RandomKeep(shared=False), layer=1), apart)


def test_sinks_stay_and_every_age_has_its_chance() -> None:
    found = torch.zeros(200)
    for seed in range(200):
        found[kept(RandomKeep(seed=seed))[0]] += 1
    assert found[:4].tolist() == [200] * 4
    assert 0.5 < float(found[4:100].mean() / found[100:].mean()) < 2


def test_a_negative_number_of_sinks_is_refused() -> None:
    with pytest.raises(BadInput, match="sinks"):
        RandomKeep(sinks=-1)
