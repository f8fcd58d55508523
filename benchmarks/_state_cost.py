"""What the machinery of policies costs: prefill of a long text with and without it, in turns, as ratios of one run.

The plain model is the same network with transformers' own cache and attention. The policies measured for the limit
score nothing: what they cost is the machinery alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pydoc_data.topics import topics
from typing import Any

import torch
from transformers import DynamicCache

from pinyon.models.backbone import Backbone
from pinyon.state import CachePolicy, Compressor, RandomKeep, SinkWindow

__all__ = ["run"]

_TOKENS = 2048
_LIMIT = 1.05
_SURPRISAL = "ours, no policy, surprisal noted"  # what `Surprisal` needs: the logits of every token; no limit


def run(backbone: Backbone, *, small: bool = False) -> dict[str, Any]:
    """Measure prefill of 2,048 tokens.

    Args:
        backbone: The model.
        small: Fewer rounds.
    """
    text = " ".join(topics[name] for name in sorted(topics))
    ids = backbone.encode(text[: 12 * _TOKENS])[:_TOKENS]
    ways: dict[str, Callable[[], object]] = {
        "transformers, DynamicCache": lambda: _plain(backbone, ids),
        "ours, no policy": lambda: _ours(backbone, ids),
        "ours, sink + window, a full budget": lambda: _ours(backbone, ids, SinkWindow(), _TOKENS),
        "ours, sink + window, a quarter": lambda: _ours(backbone, ids, SinkWindow(), _TOKENS // 4),
        "ours, random, a quarter": lambda: _ours(backbone, ids, RandomKeep(), _TOKENS // 4),
        _SURPRISAL: lambda: backbone.prefill(ids, backbone.cache(), chunk=len(ids), surprisal=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(2 if small else 5):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    base = seconds[names[0]]
    ratios = {name: statistics.median(a / b for a, b in zip(seconds[name], base, strict=True)) for name in names}
    rows = [
        {"prefill of 2,048 tokens": name, "seconds": statistics.median(seconds[name]), "ratio": ratios[name]}
        for name in names
    ]
    limits = [
        {"what": f"{name}: prefill beside the plain model", "limit": f"<= {_LIMIT}", "measured": round(ratios[name], 3),
         "holds": ratios[name] <= _LIMIT}
        for name in names[1:]
        if name != _SURPRISAL
    ]  # fmt: skip
    return {"rows": rows, "limits": limits}


def _plain(backbone: Backbone, ids: list[int]) -> None:
    with torch.inference_mode():
        backbone.network(torch.tensor([ids]), past_key_values=DynamicCache(), use_cache=True, logits_to_keep=1)


def _ours(backbone: Backbone, ids: list[int], policy: CachePolicy | None = None, entries: int = 0) -> None:
    cache = backbone.cache()
    if policy is None:
        backbone.prefill(ids, cache, chunk=len(ids))
        return
    cutter = Compressor(backbone, cache, policy, entries=entries)
    backbone.prefill(ids, cache, chunk=len(ids), after_layer=cutter.after_layer, after_chunk=cutter.after_chunk)
