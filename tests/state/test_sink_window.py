"""The first and the latest entries stay."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from state_worlds import numbers, tiny, view  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state import SinkWindow, compress  # noqa: E402
from pinyon.state.policy import kept_entries  # noqa: E402


@pytest.mark.parametrize(("sinks", "count"), [(0, 5), (1, 1), (4, 6), (4, 2), (12, 7)])
def test_the_choice_is_that_of_a_plain_loop(sinks: int, count: int) -> None:
    first = list(range(min(sinks, 12)))[-count:]  # among sinks that do not all fit, the latest
    rest = [s for s in range(12) if s >= sinks]
    plain = sorted(first + (rest[-(count - len(first)) :] if count > len(first) else []))
    assert kept_entries(SinkWindow(sinks).score(view(12)), count).tolist() == [plain, plain]


def test_entries_are_renumbered_inside_the_cache() -> None:
    backbone = tiny()
    cache = backbone.cache()
    backbone.prefill(numbers(40), cache)
    compress(backbone, cache, SinkWindow(2), entries=10)
    group = cache.layers[1].uniform()
    assert group.origins[0].tolist() == [0, 1, *range(32, 40)]
    assert group.positions[0].tolist() == list(range(10))
    assert cache.next_position == 10


def test_original_positions_stay_when_asked() -> None:
    backbone = tiny()
    cache = backbone.cache()
    backbone.prefill(numbers(40), cache)
    compress(backbone, cache, SinkWindow(2, positions="original"), entries=10)
    assert cache.layers[1].uniform().positions[0].tolist() == [0, 1, *range(32, 40)]
    assert cache.next_position == 40


def test_a_negative_number_of_sinks_is_refused() -> None:
    with pytest.raises(BadInput, match="sinks"):
        SinkWindow(-1)
