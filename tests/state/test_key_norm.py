"""Entries with short keys stay."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from state_worlds import numbers, tiny, view  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state import KeyNorm, compress  # noqa: E402
from pinyon.state.policy import kept_entries  # noqa: E402


def test_the_shortest_keys_of_each_head_stay() -> None:
    seen = view(15)
    for head, kept in enumerate(kept_entries(KeyNorm().score(seen), 5).tolist()):
        lengths = [sum(x * x for x in key) for key in seen.keys[0, head].tolist()]
        assert kept == sorted(sorted(range(15), key=lambda s: lengths[s])[:5])


def test_heads_choose_for_themselves_and_recent_ones_stay() -> None:
    kept = kept_entries(KeyNorm(recent=3).score(view(15)), 6).tolist()
    assert all(row[-3:] == [12, 13, 14] for row in kept)
    assert kept[0] != kept[1]


def test_positions_do_not_matter_for_the_length() -> None:
    backbone = tiny()
    cache = backbone.cache()
    backbone.prefill(numbers(30), cache)
    moved = cache.clone()
    moved.reposition(500)
    compress(backbone, cache, KeyNorm(), entries=9)
    compress(backbone, moved, KeyNorm(), entries=9)
    for ours, theirs in zip(cache.layers, moved.layers, strict=True):
        assert torch.equal(ours.uniform().origins, theirs.uniform().origins)


def test_a_negative_number_of_recent_tokens_is_refused() -> None:
    with pytest.raises(BadInput, match="recent"):
        KeyNorm(recent=-1)
