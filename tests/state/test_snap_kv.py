"""The end of a prompt votes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from state_worlds import numbers, tiny, view  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state import Compressor, SnapKV, SpecKV, compress  # noqa: E402
from pinyon.state.policy import kept_entries  # noqa: E402


def test_the_last_tokens_always_stay() -> None:
    kept = kept_entries(SnapKV(queries=4).score(view(20, window=4)), 7).tolist()
    assert all(row[-4:] == [16, 17, 18, 19] for row in kept)


def test_it_equals_spec_kv_without_lookahead() -> None:
    seen = view(30, window=4, seed=3)
    same = SpecKV(queries=4, kernel=5, pooling="mean", reduce="mean")
    assert torch.equal(SnapKV(queries=4).score(seen), same.score(seen))


def test_a_needle_that_the_end_asks_for_stays() -> None:
    seen = view(40, window=2)
    seen.keys[0, :, 11] = 6 * seen.queries[0, ::2, -1]
    kept = kept_entries(SnapKV(queries=2, kernel=1).score(seen), 5).tolist()
    assert all(11 in row for row in kept)


def test_cutting_afterwards_equals_cutting_while_reading() -> None:
    backbone, ids, policy = tiny(), numbers(50), SnapKV(queries=6)
    after, during = backbone.cache(), backbone.cache()
    backbone.prefill(ids, after)
    compress(backbone, after, policy, entries=20)
    Compressor(backbone, during, policy, entries=20).forward(ids)
    for ours, theirs in zip(after.layers, during.layers, strict=True):
        assert torch.equal(ours.uniform().origins, theirs.uniform().origins)


@pytest.mark.parametrize("given", [{"queries": 0}, {"kernel": 4}, {"kernel": 0}])
def test_settings_that_make_no_sense_are_refused(given) -> None:
    with pytest.raises(BadInput, match="odd"):
        SnapKV(**given)
