"""Store keys and values in eight or four bits a number, and say how far that is off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import BadInput

__all__ = ["BITS", "Form", "Quantized", "dequantize", "quantize", "quantize_pair", "restore_pair"]

Form = Literal["full", "int8", "int4"]
"""How numbers rest: as the model holds them, or in eight or four bits."""

BITS: Mapping[str, int] = {"int8": 8, "int4": 4}
GROUP = 32  # KIVI, section 4: group size G
RESIDUAL = 128  # KIVI, section 4: the latest tokens stay as they are, R
_LARGEST_HALF = 6.0e4  # beyond it steps are kept in four bytes
_ULP = 2.0**-10  # twice the relative error of rounding to half precision
_TINY = 2.0**-23  # twice the smallest step of half precision


@dataclass(frozen=True, slots=True)
class Quantized:
    """Numbers as codes with a lowest value and a step for each group.

    Args:
        codes: uint8 (..., N); at four bits two codes a byte, the earlier in the lower half, (..., ceil(N / 2)).
        low: Value of code 0 of each group, float32.
        step: Distance of two codes of each group, the same shape, float16 where it fits.
        bits: 8 or 4.
        shape: Of the numbers.
        group: Numbers of a group.
        axis: Along which groups lie: -2 or -1.
    """

    codes: Tensor
    low: Tensor
    step: Tensor
    bits: int
    shape: tuple[int, ...]
    group: int
    axis: int

    @property
    def nbytes(self) -> int:
        """Bytes of codes, lowest values and steps."""
        return sum(part.numel() * part.element_size() for part in (self.codes, self.low, self.step))


def quantize(numbers: Tensor, *, bits: int, axis: int, group: int = GROUP) -> Quantized:
    """Write numbers as whole codes between the lowest and the highest of their group.

    With levels m = 2^bits - 1, lowest value l and step s = (h - l) / m of a group, x becomes round((x - l) / s). l
    is kept exactly and s in half precision, rounded up, so that no number falls outside: every error is at most s / 2.

    Args:
        numbers: (..., S, K), finite.
        bits: 8 or 4.
        axis: -2 groups along S (each channel by itself, as for keys), -1 along K (each token by itself, as for values).
        group: Numbers of a group, >= 1; the last one may be shorter.

    Raises:
        BadInput: Another number of bits or axis, or numbers that are not finite.
    """
    if bits not in BITS.values() or axis not in (-2, -1) or group < 1:
        raise BadInput(f"numbers cannot be stored in {bits!r} bits in groups of {group!r} along {axis!r}")
    wide = numbers.detach().to(torch.float32)
    if not bool(torch.isfinite(wide).all()):
        raise BadInput("a state holds numbers that are not finite", hint="build it in float32")
    grouped = _grouped(wide, group, axis)  # (..., groups, group, K) or (..., S, groups, group)
    low, high = grouped.amin(dim=axis, keepdim=True), grouped.amax(dim=axis, keepdim=True)
    levels = 2**bits - 1
    step = _step(low, high, levels)
    codes = ((grouped - low) / step.float().clamp(min=_TINY)).round_().clamp_(0, levels).to(torch.uint8)
    flat = _ungrouped(codes, axis, numbers.shape[axis])
    packed = flat if bits == 8 else _packed(flat)
    return Quantized(
        packed.contiguous(), low.squeeze(axis), step.squeeze(axis), bits, tuple(numbers.shape), group, axis
    )


def dequantize(stored: Quantized, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the numbers that codes stand for, of the shape they had."""
    flat = stored.codes if stored.bits == 8 else _unpacked(stored.codes, stored.shape[-1])
    grouped = _grouped(flat.to(torch.float32), stored.group, stored.axis)
    numbers = grouped.mul_(stored.step.float().unsqueeze(stored.axis)).add_(stored.low.unsqueeze(stored.axis))
    return _ungrouped(numbers, stored.axis, stored.shape[stored.axis]).reshape(stored.shape).to(dtype)


def quantize_pair(keys: Tensor, values: Tensor, form: Form, *, residual: int = RESIDUAL) -> dict[str, Tensor]:
    """Return the tensors in which the keys and values of some heads rest.

    Keys are grouped by channel along the tokens, values by token along the channels; the latest tokens stay as they
    are. In full form everything does.

    Args:
        keys: Rotated keys, (Gg, S, K).
        values: (Gg, S, K).
        form: Which.
        residual: Latest tokens that stay, >= 0; those that fill no whole group stay, too.

    Source: Liu et al. 2024, KIVI, arXiv 2402.02750, section 3.
    Deviates: groups of the values are cut at the end of a head, as in the released code; lowest values rest in single
        precision and steps are rounded up, which bounds the error; eight bits are offered beside the paper's four.
    """
    if form == "full":
        return {"keys": keys.contiguous(), "values": values.contiguous()}
    if form not in BITS:
        raise BadInput(f"a state cannot be stored as {form!r}", hint="use full, int8 or int4")
    length = keys.shape[-2]
    head = max(0, length - residual) // GROUP * GROUP
    out = {"keys.tail": keys[..., head:, :].contiguous(), "values.tail": values[..., head:, :].contiguous()}
    if head:
        for name, numbers, axis in (("keys", keys, -2), ("values", values, -1)):
            stored = quantize(numbers[..., :head, :], bits=BITS[form], axis=axis)
            out |= {f"{name}.codes": stored.codes, f"{name}.low": stored.low, f"{name}.step": stored.step}
    return out


def restore_pair(tensors: Mapping[str, Tensor], form: Form) -> tuple[Tensor, Tensor]:
    """Return keys and values (Gg, S, K) from what `quantize_pair` returned; in full form they are the same tensors."""
    if form == "full":
        return tensors["keys"], tensors["values"]
    out = []
    for name, axis in (("keys", -2), ("values", -1)):
        tail = tensors[f"{name}.tail"]
        if f"{name}.codes" in tensors:
            codes = tensors[f"{name}.codes"]
            width = tail.shape[-1]
            stored = Quantized(
                codes,
                tensors[f"{name}.low"],
                tensors[f"{name}.step"],
                BITS[form],
                (*codes.shape[:-1], width),
                GROUP,
                axis,
            )
            tail = torch.cat([dequantize(stored, tail.dtype), tail], dim=-2)
        out.append(tail)
    return out[0], out[1]


def _step(low: Tensor, high: Tensor, levels: int) -> Tensor:
    """Return the steps in half precision where they fit, rounded up so that the highest numbers lie inside."""
    exact = (high - low) / levels
    if float(exact.amax()) >= _LARGEST_HALF:
        return exact * (1 + 2.0**-22)
    return (exact * (1 + _ULP) + _TINY).to(torch.float16)


def _grouped(numbers: Tensor, group: int, axis: int) -> Tensor:
    """Split an axis into groups; a last short one is filled with its own last number."""
    length = numbers.shape[axis]
    short = -length % group
    if short:
        last = numbers.narrow(axis, length - 1, 1)
        numbers = torch.cat([numbers, *[last] * short], dim=axis)
    sizes = list(numbers.shape)
    place = len(sizes) + axis
    return numbers.reshape(*sizes[:place], -1, group, *sizes[place + 1 :])


def _ungrouped(numbers: Tensor, axis: int, length: int) -> Tensor:
    sizes = list(numbers.shape)
    place = len(sizes) + axis
    joined = numbers.reshape(*sizes[: place - 1], -1, *sizes[place + 1 :])
    return joined.narrow(axis, 0, length)


def _packed(codes: Tensor) -> Tensor:
    """Put two codes of four bits into a byte."""
    if codes.shape[-1] % 2:
        codes = torch.cat([codes, torch.zeros_like(codes[..., :1])], dim=-1)
    return codes[..., 0::2] | (codes[..., 1::2] << 4)


def _unpacked(packed: Tensor, width: int) -> Tensor:
    both = torch.stack([packed & 15, packed >> 4], dim=-1)
    return both.reshape(*packed.shape[:-1], -1)[..., :width]
