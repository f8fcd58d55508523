"""Several states as one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import state_cubes  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.cache import StateCache  # noqa: E402
from pinyon.state.fuse import fuse, fuse_gated, gap, naive, recompute, repair, reposition  # noqa: E402

QUESTIONS = [
    f"{word} {thing}?" for word in ("Where", "Who", "What of", "When") for thing in "bees key nut boat it".split()
]


@pytest.fixture(scope="module")
def model() -> Backbone:
    return state_cubes.backbone(seed=2)


def parts(model: Backbone, sizes: tuple[int, ...]) -> list[StateCache]:
    out = []
    for number, size in enumerate(sizes):
        cache = model.cache()
        text = " ".join(state_cubes.TEXTS[(number + place) % 4] for place in range(size)) + "\n"
        model.prefill(model.encode(text), cache)
        out.append(cache)
    return out


def probes(model: Backbone) -> list[list[int]]:
    return [model.encode(question) for question in QUESTIONS]


def test_over_20_questions_and_3_splits_moving_beats_joining_and_mending_beats_moving(model: Backbone) -> None:
    found: dict[str, list[float]] = {"naive": [], "reposition": [], "repair": [], "whole": []}
    for sizes in ((1, 1), (2, 1), (1, 2, 1)):
        some = parts(model, sizes)
        exact = recompute(model, some)
        made = {
            "naive": naive(some),
            "reposition": reposition(some),
            "repair": repair(model, some, 30),
            "whole": repair(model, some, 10_000),
        }
        for name, cache in made.items():
            found[name].append(gap(model, cache, exact, probes(model)))
    mean = {name: sum(values) / len(values) for name, values in found.items()}
    assert mean["naive"] > mean["reposition"] > mean["repair"]
    assert mean["whole"] <= 1e-6


def test_a_moved_part_is_what_it_would_be_alone_at_its_place(model: Backbone) -> None:
    one, two = parts(model, (1, 1))
    moved = reposition([one, two])
    alone = model.cache()
    ids = two.tokens.ids.tolist()
    model.forward(ids, alone, positions=list(range(one.read, one.read + two.read)))
    for layer, other in zip(moved.layers, alone.layers, strict=True):
        assert torch.allclose(layer.uniform().keys[:, :, one.read :], other.uniform().keys, atol=1e-4)
        assert torch.allclose(layer.uniform().values[:, :, one.read :], other.uniform().values, atol=1e-4)


@pytest.mark.parametrize("mode", ["recompute", "reposition", "repair"])
def test_the_parts_stay_as_they_are_and_the_whole_has_read_them_all(model: Backbone, mode: str) -> None:
    some = parts(model, (1, 2))
    before = [part.clone().tensors() for part in some]
    whole = fuse(model, some, mode)  # type: ignore[arg-type]
    length = sum(part.read for part in some)
    assert (whole.read, whole.next_position, len(whole)) == (length, length, length)
    assert whole.tokens.ids.tolist() == [id for part in some for id in part.tokens.ids.tolist()]
    for layer in whole.layers:
        assert layer.uniform().positions[0].tolist() == list(range(length))
        assert layer.uniform().origins[0].tolist() == list(range(length))
    for part, old in zip(some, before, strict=True):
        assert all(torch.equal(torch.nan_to_num(t), torch.nan_to_num(old[n])) for n, t in part.tensors().items())


def test_a_single_part_is_itself(model: Backbone) -> None:
    (one,) = parts(model, (2,))
    for mode in ("reposition", "repair"):
        made = fuse(model, [one], mode)  # type: ignore[arg-type]
        assert torch.equal(made.layers[0].uniform().keys, one.layers[0].uniform().keys)


def test_what_is_too_far_from_the_exact_one_is_read_again(model: Backbone) -> None:
    some = parts(model, (1, 1, 1))
    strict = fuse_gated(model, some, probes(model)[:4], "reposition", most=0.0)
    assert (strict.mode, strict.divergence, strict.is_approximate) == ("recompute", 0.0, False)
    lax = fuse_gated(model, some, probes(model)[:4], "reposition", most=100.0)
    assert (lax.mode, lax.is_approximate) == ("reposition", True)
    assert lax.divergence > 0
    exact = fuse_gated(model, some, probes(model)[:4], "recompute")
    assert not exact.is_approximate


def test_what_was_cut_cannot_be_fused(model: Backbone) -> None:
    one, two = parts(model, (1, 1))
    two.keep_everywhere(torch.arange(5))
    with pytest.raises(BadInput, match="everything they have read"):
        reposition([one, two])
    with pytest.raises(BadInput, match="no states"):
        reposition([])
    with pytest.raises(BadInput, match="fused by"):
        fuse(model, [one], "glue")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="repaired"):
        repair(model, [one], -1)
    with pytest.raises(BadInput, match="without a probe"):
        gap(model, one, one, [])
