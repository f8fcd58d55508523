"""Rotary positions: where a cached key stands, and how it is moved elsewhere without its text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput

__all__ = ["Rope", "rotate"]

_BY_LENGTH = ("dynamic", "longrope")  # their frequencies depend on how much was read


def rotate(keys: Tensor, old: Tensor, new: Tensor, frequencies: Tensor) -> Tensor:
    """Return keys as they would be at other positions.

    A key at position p is R(p)·k, so that R(new)·R(old)⁻¹ moves it. Both angles are computed as the model does, in
    float32, and their difference by the addition theorems: at high positions the rounded angle of ``new - old`` would
    be another one. A factor on cosine and sine (yarn) stays in the key.

    Args:
        keys: (..., S, D); the first 2·F of D features are rotated by halves, the rest pass.
        old: Where they stand, int64, (..., S) that broadcasts against `keys`.
        new: Where they shall stand, likewise.
        frequencies: Radians a position, float32 (F,).

    Returns:
        New keys (..., S, D) of the same type; where a position does not change, the same bits.
    """
    half = len(frequencies)
    precise = torch.promote_types(keys.dtype, torch.float32)
    before, after = (places[..., None].float() * frequencies for places in (old, new))  # (..., S, F)
    before_cos, before_sin = before.cos().to(precise), before.sin().to(precise)
    after_cos, after_sin = after.cos().to(precise), after.sin().to(precise)
    cos = after_cos * before_cos + after_sin * before_sin
    sin = after_sin * before_cos - after_cos * before_sin
    first, second = keys[..., :half].to(precise), keys[..., half : 2 * half].to(precise)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(keys.dtype)
    moved = torch.cat((turned, keys[..., 2 * half :]), dim=-1)
    return torch.where((old == new)[..., None], keys, moved)


@dataclass(frozen=True, slots=True)
class Rope:
    """How a network rotates its keys, layer by layer.

    Args:
        frequencies: Radians a position for each layer, float32 (F,).

    Example:
        >>> rope = Rope((torch.tensor([1.0, 0.1]),))
        >>> keys = torch.randn(1, 1, 3, 4)
        >>> there = rope.moved(keys, torch.tensor([[0, 1, 2]]), torch.tensor([[7, 8, 9]]), layer=0)
        >>> back = rope.moved(there, torch.tensor([[7, 8, 9]]), torch.tensor([[0, 1, 2]]), layer=0)
        >>> bool((back - keys).abs().max() < 1e-5)
        True
    """

    frequencies: tuple[Tensor, ...]

    @classmethod
    def of(cls, network: Any) -> Rope:
        """Read it from a transformers network.

        Args:
            network: A causal language model whose cosines and sines depend on the position only: plain, linear, llama3
                and yarn scaling; part of a head may pass unrotated.

        Raises:
            BadInput: It has no rotary positions, their scaling depends on the length read, or it pairs features in
                another way than by halves.
        """
        rotary = next((part for name, part in network.named_modules() if name.split(".")[-1] == "rotary_emb"), None)
        if rotary is None:
            raise BadInput(f"{type(network).__name__} has no rotary positions, so its keys cannot be moved")
        config = network.config.get_text_config(decoder=True)
        kinds = _kinds(rotary, config)
        for kind in dict.fromkeys(kinds):
            named = rotary.rope_type if kind is None else rotary.rope_type[kind]
            if any(word in str(named) for word in _BY_LENGTH):
                raise BadInput(f"the rotary scaling {named!r} depends on the length read, so keys cannot be moved")
            _check(network, rotary, kind, _frequencies(rotary, kind))
        return cls(tuple(_frequencies(rotary, kind) for kind in kinds))

    def moved(self, keys: Tensor, old: Tensor, new: Tensor, *, layer: int) -> Tensor:
        """Return a layer's keys as they would be at other positions.

        Args:
            keys: (B, Gg, S, D), rotated to `old`.
            old: int64 (Gg, S).
            new: int64 (Gg, S).
            layer: Which layer they are of.

        Raises:
            BadInput: There is no such layer.
        """
        if not 0 <= layer < len(self.frequencies):
            raise BadInput(f"there is no layer {layer!r} among {len(self.frequencies)}")
        if torch.equal(old, new):
            return keys
        return rotate(keys, old, new, self.frequencies[layer].to(keys.device))


def _kinds(rotary: Any, config: Any) -> Sequence[str | None]:
    """Return for each layer the name of its rotary parameters, None where all layers share them."""
    if isinstance(getattr(rotary, "rope_type", None), dict):
        return [str(kind) for kind in config.layer_types]
    return [None] * int(config.num_hidden_layers)


def _frequencies(rotary: Any, kind: str | None) -> Tensor:
    name = "inv_freq" if kind is None else f"{kind}_inv_freq"
    found: Tensor | None = getattr(rotary, name, None)
    if found is None:
        raise BadInput(f"{type(rotary).__name__} shows no frequencies, so keys cannot be moved")
    return found.detach().float().clone()


def _check(network: Any, rotary: Any, kind: str | None, frequencies: Tensor) -> None:
    """Compare with what the network itself does to one key: not every family pairs features by halves."""
    apply = getattr(sys.modules[type(network).__module__], "apply_rotary_pos_emb", None)
    if apply is None:
        raise BadInput(f"{type(network).__name__} rotates keys in a way that is not known, so they cannot be moved")
    width = int(getattr(network.config.get_text_config(decoder=True), "head_dim", None) or 2 * len(frequencies))
    device = frequencies.device
    key = torch.linspace(-1.0, 1.0, width, device=device).reshape(1, 1, 1, width)
    extra = () if kind is None else (kind,)
    with torch.no_grad():
        there, here = (
            apply(key, key, *rotary(key, torch.tensor([[place]], device=device), *extra))[1] for place in (11, 0)
        )
    moved = rotate(here, torch.tensor([[0]], device=device), torch.tensor([[11]], device=device), frequencies)
    if moved.shape != there.shape or not torch.allclose(moved, there, atol=1e-4):
        raise BadInput(
            f"{type(network).__name__} pairs features in another way than by halves, so keys cannot be moved"
        )
