"""Caches as bytes."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

import state_cubes  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import load  # noqa: E402

from pinyon.errors import Damaged, StoreError, TooNew  # noqa: E402
from pinyon.models.cache import StateCache  # noqa: E402
from pinyon.state.tensor_file import cache_from, read_tensors, state_bytes, tensor_bytes  # noqa: E402

KINDS = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


def read(length: int = 40, seed: int = 0) -> StateCache:
    backbone = state_cubes.backbone(seed)
    cache = backbone.cache()
    backbone.prefill([5 + n % 90 for n in range(length)], cache)
    return cache


def same(one: StateCache, two: StateCache) -> bool:
    mine, theirs = one.tensors(), two.tensors()
    names = set(mine) - {"cache.logits"}
    return names == set(theirs) - {"cache.logits"} and all(
        torch.equal(torch.nan_to_num(mine[name]), torch.nan_to_num(theirs[name])) for name in names
    )


@settings(max_examples=40)
@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=5),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
)
def test_tensors_come_back_as_they_were(shapes: list[list[int]], kind: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    tensors = {f"t{n}": (torch.randn(shape) * 3).to(kind) for n, shape in enumerate(shapes)}
    data = tensor_bytes(tensors, {"note": "é"})
    found = read_tensors(data)
    assert found.facts["note"] == "é"
    assert set(found.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype is kind
        assert torch.equal(found.tensors[name], tensor)


def test_other_programs_read_the_file() -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(4)}
    assert all(torch.equal(load(tensor_bytes(tensors))[name], tensor) for name, tensor in tensors.items())


def test_equal_whole_numbers_are_kept_once_and_parts_of_a_storage_alone() -> None:
    places = torch.arange(1000)
    data = tensor_bytes({f"p{n}": places.clone() for n in range(20)} | {"part": torch.zeros(10_000)[:3]})
    assert len(data) < 2 * places.nbytes
    assert torch.equal(read_tensors(data).tensors["p17"], places)


def test_what_is_read_looks_into_the_bytes() -> None:
    data = bytearray(tensor_bytes({"a": torch.zeros(4)}))
    found = read_tensors(memoryview(data)).tensors["a"]
    data[-16:] = torch.full((4,), 7.0).numpy().tobytes()
    assert found.tolist() == [7.0] * 4


@pytest.mark.parametrize("length", [1, 7, 63])
def test_a_cache_comes_back_bit_for_bit(length: int) -> None:
    cache = read(length)
    back = cache_from(read_tensors(state_bytes(cache)), cache.rope)
    assert same(cache, back)
    assert (back.read, back.next_position) == (length, length)


def test_a_cut_cache_with_unequal_heads_comes_back() -> None:
    cache = read(30)
    cache.keep(1, [torch.tensor([0, 4, 29]), torch.arange(20)])
    for form in ("full", "int8", "int4"):
        back = cache_from(read_tensors(state_bytes(cache, form)), cache.rope)
        assert back.layers[1].lengths() == [3, 20]
    assert same(cache, cache_from(read_tensors(state_bytes(cache)), cache.rope))


@pytest.mark.parametrize(("form", "most"), [("int8", 0.03), ("int4", 0.5)])
def test_fewer_bits_are_near(form: str, most: float) -> None:
    cache = read(300)
    back = cache_from(read_tensors(state_bytes(cache, form)), cache.rope)
    apart = [
        float((one.uniform().keys - two.uniform().keys).abs().max())
        for one, two in zip(cache.layers, back.layers, strict=True)
    ]
    assert 0 < max(apart) < most
    assert back.layers[0].uniform().keys.dtype is torch.float32
    assert len(state_bytes(cache, form)) < 0.75 * len(state_bytes(cache))  # the latest 128 tokens stay whole


def test_what_becomes_of_a_cache_does_not_touch_the_file() -> None:
    data = bytearray(state_bytes(read(20)))
    file, before = read_tensors(memoryview(data)), bytes(data)
    cache = cache_from(file, None)
    for layer in cache.layers:
        layer.uniform().keys.fill_(9.0)
        layer.uniform().positions.add_(5)
    assert bytes(data) == before


@pytest.mark.parametrize("form", ["full", "int8"])
def test_a_cache_that_shares_its_tensors_never_writes_into_them(form: str) -> None:
    backbone = state_cubes.backbone(0)
    data = bytearray(state_bytes(read(30), form))  # type: ignore[arg-type]
    file, before = read_tensors(memoryview(data)), bytes(data)
    cache, apart = (cache_from(file, backbone.cache().rope, share=share) for share in (True, False))
    for one in (cache, apart):
        backbone.prefill([5, 6, 7], one)
        one.layers[0].keep([torch.arange(20 + head) for head in range(one.shape.kv_heads)])
        one.tokens.set_surprisal(torch.arange(5), torch.ones(5))
        one.reposition(2)
        one.crop(28)
        backbone.prefill([8, 9], one)
        one.sort()
        one.tokens.prune(torch.arange(9))
    assert same(cache, apart)
    assert bytes(data) == before


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_refused_or_read_as_tensors_and_never_anything_else(data: st.DataObject) -> None:
    good = tensor_bytes({"a": torch.arange(5), "b": torch.zeros(3, 2)}, {"form": "full"})
    place = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[place] ^= data.draw(st.integers(1, 255))
    cut = bytes(changed[: data.draw(st.integers(place, len(good)))])
    try:
        read_tensors(cut)
    except StoreError as error:
        assert "\n" not in error.message


@pytest.mark.parametrize("cut", [0, 3, 8, 50, -1])
def test_a_cut_file_is_damaged(cut: int) -> None:
    with pytest.raises(Damaged):
        read_tensors(state_bytes(read(9))[:cut])


def test_tensors_that_are_no_cache_are_damaged() -> None:
    with pytest.raises(Damaged, match="not those of a state"):
        cache_from(read_tensors(tensor_bytes({"a": torch.zeros(2)}, {"form": "full"})), None)


def test_a_later_format_is_named() -> None:
    said = json.dumps({"__metadata__": {"pinyon": json.dumps({"version": 99})}}).encode()
    with pytest.raises(TooNew, match="99"):
        read_tensors(len(said).to_bytes(8, "little") + said)
