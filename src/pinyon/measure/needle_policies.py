"""Names of ways to keep a cache within a budget, as a command line has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInput, NotFound
from .needle_grid import Reading, cut_by

if TYPE_CHECKING:
    from ..models.backbone import Backbone
    from ..models.cache import StateCache
    from ..state.head_profile import HeadProfile

__all__ = ["POLICIES", "reading_called"]

POLICIES = (
    "none",
    "sink_window",
    "random",
    "key_norm",
    "snap_kv",
    "surprisal",
    "spec_kv",
    "kvzip",
    "retrieval_heads",
    "retrieval_heads_shared",
)
"""Every name, in the order in which they are listed."""

_LOOKAHEAD = 16  # tokens of a draft, about those of an answer
_SHARED_RECENT = 16  # latest tokens that stay in every head, whatever its score


def reading_called(name: str, backbone: Backbone, *, profile: Path | None = None, seed: int = 0) -> Reading | None:
    """Return how a text is read under the policy of that name; None for the one that keeps everything.

    Args:
        name: One of `POLICIES`.
        backbone: The model that reads.
        profile: File of its head profile; `pinyon heads` writes it.
        seed: Of random choices.

    Raises:
        NotFound: There is none of that name, or no such file.
        BadInput: The policy needs a profile, or the profile is of another model.
    """
    from .. import state

    if name == "none":
        return None
    if name.startswith("retrieval_heads") and name in POLICIES:
        return _by_heads(_profile(profile, backbone, name), is_shared=name.endswith("shared"))
    readings: dict[str, Callable[[], Reading]] = {
        "sink_window": lambda: cut_by(lambda _: state.SinkWindow(positions="original")),
        "random": lambda: cut_by(lambda _: state.RandomKeep(seed=seed)),
        "key_norm": lambda: cut_by(lambda _: state.KeyNorm()),
        "snap_kv": lambda: cut_by(lambda _: state.SnapKV()),
        "surprisal": lambda: cut_by(lambda _: state.Surprisal(), surprisal=True),
        "spec_kv": lambda: _drafted,
        "kvzip": lambda: _replayed,
    }
    if name not in readings:
        raise NotFound(f"there is no policy {name!r}", hint=f"there are {', '.join(POLICIES)}")
    return readings[name]()


def _drafted(backbone: Backbone, ids: Sequence[int], entries: int) -> StateCache:
    """Read with a look ahead that the model itself has drafted."""
    from ..state import SpecKV

    return SpecKV().prefill(backbone, list(ids), entries=entries, lookahead=_LOOKAHEAD).cache


def _replayed(backbone: Backbone, ids: Sequence[int], entries: int) -> StateCache:
    """Read twice and keep what the second reading looked at, weighed by the surprise of the first."""
    from ..state import KVzip

    cache = backbone.cache()
    backbone.prefill(ids, cache, surprisal=True)
    if entries < len(ids):
        KVzip(weigh="surprisal").compress(backbone, cache, entries=entries)
    return cache


def _by_heads(profile: HeadProfile, *, is_shared: bool) -> Reading:
    from ..state import SnapKV
    from ..state.retrieval_heads import RetrievalHeads

    if is_shared:
        return cut_by(lambda tokens: RetrievalHeads(profile, "shared", SnapKV(), recent=_SHARED_RECENT, length=tokens))
    return cut_by(lambda tokens: RetrievalHeads(profile, length=tokens))


def _profile(file: Path | None, backbone: Backbone, name: str) -> HeadProfile:
    from ..state.head_profile import HeadProfile

    if file is None:
        raise BadInput(f"{name} needs a head profile", hint="give --profile; `pinyon heads MODEL --out FILE` makes one")
    return HeadProfile.load(file, backbone)
