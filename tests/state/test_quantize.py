"""Numbers in eight and four bits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state.quantize import dequantize, quantize, quantize_pair, restore_pair  # noqa: E402


def naive(numbers: torch.Tensor, bits: int, axis: int, group: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what one group after the other becomes, and the largest error that each number may have."""
    out, bound = numbers.clone(), torch.zeros_like(numbers)
    moved, moved_bound = out.movedim(axis, -1), bound.movedim(axis, -1)  # views
    rows, bounds = moved.reshape(-1, moved.shape[-1]), moved_bound.reshape(-1, moved.shape[-1])
    for row, most in zip(rows, bounds, strict=True):
        for start in range(0, len(row), group):
            part = row[start : start + group]
            low, high = float(part.min()), float(part.max())
            step = (high - low) / (2**bits - 1)
            codes = [round((float(x) - low) / step) if step else 0 for x in part]
            part[:] = torch.tensor([low + code * step for code in codes])
            most[start : start + group] = step
    shape = moved.shape
    return rows.reshape(shape).movedim(-1, axis), bounds.reshape(shape).movedim(-1, axis)


@settings(max_examples=40)
@given(
    heads=st.integers(1, 3),
    length=st.sampled_from([1, 7, 31, 32, 63]),
    width=st.sampled_from([1, 7, 16, 33]),
    bits=st.sampled_from([4, 8]),
    axis=st.sampled_from([-2, -1]),
    group=st.sampled_from([1, 5, 32]),
    scale=st.sampled_from([1e-4, 1.0, 50.0, 1e6]),
    seed=st.integers(0, 1000),
)
def test_codes_stand_for_nearly_what_was_written(
    heads: int, length: int, width: int, bits: int, axis: int, group: int, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    numbers = (torch.randn(heads, length, width) + torch.randn(heads, 1, width)) * scale
    stored = quantize(numbers, bits=bits, axis=axis, group=group)
    back = dequantize(stored)
    exact, step = naive(numbers, bits, axis, group)
    assert back.shape == numbers.shape
    slack = 2e-3 * float(numbers.abs().max()) + 1e-6  # outward rounding to half precision widens a step
    assert float(((back - numbers).abs() - step / 2).max()) <= slack
    assert float((back - exact).abs().max()) <= float(step.max()) + slack


@pytest.mark.parametrize("bits", [4, 8])
def test_every_error_is_at_most_half_a_stored_step(bits: int) -> None:
    torch.manual_seed(1)
    numbers = torch.randn(2, 64, 32) * torch.logspace(-2, 3, 32) + 40
    stored = quantize(numbers, bits=bits, axis=-2)
    step = stored.step.float().repeat_interleave(stored.group, dim=-2)
    assert bool(((dequantize(stored) - numbers).abs() <= step / 2 + 1e-6 * numbers.abs() + 1e-6).all())


def test_four_bits_take_about_a_sixth_and_eight_bits_less_than_a_third_of_the_bytes() -> None:
    keys, values = torch.randn(3, 1024, 64), torch.randn(3, 1024, 64)
    full = sum(part.nbytes for part in (keys, values))
    shares = {
        form: sum(part.nbytes for part in quantize_pair(keys, values, form, residual=0).values()) / full
        for form in ("int8", "int4")
    }
    assert shares["int8"] < 0.3
    assert shares["int4"] < 0.18


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("length", [1, 7, 32, 63, 200])
def test_the_latest_tokens_stay_as_they_are(form: str, length: int) -> None:
    torch.manual_seed(2)
    keys, values = torch.randn(2, length, 16), torch.randn(2, length, 16)
    back_keys, back_values = restore_pair(quantize_pair(keys, values, form, residual=40), form)
    assert torch.equal(back_keys[:, -40:], keys[:, -40:])
    assert torch.equal(back_values[:, -40:], values[:, -40:])
    assert float((back_keys - keys).abs().max()) < 0.5
    assert back_keys.shape == keys.shape


def test_full_form_is_the_same_numbers() -> None:
    keys, values = torch.randn(2, 9, 4), torch.randn(2, 9, 4)
    back = restore_pair(quantize_pair(keys, values, "full"), "full")
    assert torch.equal(back[0], keys)
    assert torch.equal(back[1], values)


def test_eight_bits_are_nearer_than_four() -> None:
    torch.manual_seed(3)
    keys, values = torch.randn(2, 256, 16), torch.randn(2, 256, 16)
    errors = [
        float((restore_pair(quantize_pair(keys, values, form, residual=0), form)[0] - keys).abs().mean())
        for form in ("int8", "int4")
    ]
    assert errors[0] * 8 < errors[1]


@pytest.mark.parametrize("wrong", [{"bits": 3}, {"axis": 0}, {"group": 0}])
def test_what_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="cannot be stored"):
        quantize(torch.zeros(1, 2, 2), **{"bits": 8, "axis": -1, **wrong})


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(BadInput, match="not finite"):
        quantize(torch.tensor([[[float("nan")]]]), bits=8, axis=-1)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(BadInput, match="int3"):
        quantize_pair(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), "int3")  # type: ignore[arg-type]
