"""The contract of a cache policy, and what several policies need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from ..core.select import top_entries
from ..errors import BadInput

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = [
    "CachePolicy",
    "CacheView",
    "ModelShape",
    "Uniform",
    "attention_rows",
    "check_policy",
    "kept_entries",
    "scaling_of",
    "shape_of",
    "smooth",
    "votes",
]

Positions = Literal["original", "cache"]
Reduce = Literal["max", "mean"]
Pooling = Literal["max", "mean"]


@dataclass(frozen=True, slots=True)
class ModelShape:
    """How large a cache of a model is.

    Args:
        layers: Number L of layers.
        heads: Number H of query heads.
        kv_heads: Number G of key/value heads.
        head_width: Width D of a head.
        item_bytes: Bytes of one number.
    """

    layers: int
    heads: int
    kv_heads: int
    head_width: int
    item_bytes: int

    @property
    def entry_bytes(self) -> int:
        """Bytes of the key and the value of one entry of one head."""
        return 2 * self.head_width * self.item_bytes

    @property
    def token_bytes(self) -> int:
        """Bytes of a token that every layer and head keeps."""
        return self.entry_bytes * self.layers * self.kv_heads

    def entries_within(self, size_bytes: int) -> int:
        """Return how many entries each head may hold so that all together stay within some bytes."""
        return size_bytes // self.token_bytes


@dataclass(frozen=True, slots=True)
class CacheView:
    """What a policy sees of one layer.

    Args:
        layer: Number of the layer; 0 when one choice serves all.
        keys: (B, G, S, D), rotated to `positions`.
        values: (B, G, S, D).
        positions: (G, S) positions that the keys are rotated to.
        origins: (G, S) which token of everything read each entry belongs to, from 0.
        queries: (B, H, w, D) of the last w tokens read, rotated; None when the policy wants none.
        token_ids: (G, S).
        surprisal: (G, S) in nats; not-a-number where it is unknown.
        turns: (G, S) turn of the conversation in which the token came, from 0.
        read: Tokens read so far, those of the queries included.
        scaling: Factor of the product of queries and keys.
        room: How many entries of each head will stay.
    """

    layer: int
    keys: Tensor
    values: Tensor
    positions: Tensor
    origins: Tensor
    queries: Tensor | None
    token_ids: Tensor
    surprisal: Tensor
    turns: Tensor
    read: int
    scaling: float
    room: int


@runtime_checkable
class CachePolicy(Protocol):
    """Says how much each entry of a cache is worth; selection under a budget is shared.

    Attributes:
        name: As reports name it; equal names with equal fields choose equally.
        window: Queries it wants to see, 0 for none.
        positions: "original": entries keep the position they were read at. "cache": they are renumbered by their
            place in the cache after every cut, so positions never grow beyond it.
        shared: One choice serves all layers and heads.
    """

    @property
    def name(self) -> str:
        """As reports name it."""
        ...

    @property
    def window(self) -> int:
        """Queries it wants to see, 0 for none."""
        ...

    @property
    def positions(self) -> Positions:
        """Whether entries keep their positions."""
        ...

    @property
    def shared(self) -> bool:
        """Whether one choice serves all layers and heads."""
        ...

    def score(self, view: CacheView) -> Tensor:
        """Return how much each entry is worth keeping, (B, G, S); higher stays, +inf must stay."""
        ...

    def entries(self, shape: ModelShape, budget_entries: int) -> Sequence[Sequence[int]] | None:
        """Return the entries of each layer and head, or None for `budget_entries` each.

        Their sum is at most what `budget_entries` each would be.
        """
        ...


class Uniform:
    """What a policy that gives every head the same number of entries says of heads."""

    __slots__ = ()

    def entries(self, shape: ModelShape, budget_entries: int) -> Sequence[Sequence[int]] | None:  # noqa: ARG002
        """Return None: every head keeps `budget_entries`."""
        return None


def check_policy(policy: object) -> None:
    """Refuse what cannot score entries.

    Raises:
        BadInput: It is no cache policy.
    """
    if not isinstance(policy, CachePolicy):
        name = type(policy).__name__
        own = f"call its own {name}.compress()" if hasattr(policy, "compress") else "for example SinkWindow()"
        raise BadInput(f"{name} is no cache policy: it does not score entries as they come", hint=own)


def shape_of(backbone: Backbone) -> ModelShape:
    """Return how large caches of a backbone are."""
    return ModelShape(
        layers=backbone.n_layers,
        heads=backbone.n_heads,
        kv_heads=backbone.n_kv_heads,
        head_width=backbone.head_width,
        item_bytes=backbone.dtype.itemsize,
    )


def scaling_of(backbone: Backbone) -> float:
    """Return the factor of the product of queries and keys in a backbone's attention."""
    own = (module for module in backbone.network.modules() if hasattr(module, "layer_idx"))
    scaling = next((float(module.scaling) for module in own if hasattr(module, "scaling")), None)
    return backbone.head_width**-0.5 if scaling is None else scaling


def kept_entries(scores: Tensor, count: int) -> Tensor:
    """Return the indices of the best entries of each head in increasing order, (G, n).

    Args:
        scores: (B, G, S) or (G, S); with several sequences the best one of them speaks for an entry.
        count: How many stay.

    Raises:
        BadInput: A score is not a number.
    """
    rows = scores.amax(dim=0) if scores.ndim == 3 else scores  # (G, S)
    chosen = top_entries(rows.detach().to("cpu", torch.float64).numpy(), count)
    return torch.from_numpy(chosen).to(scores.device)


def attention_rows(queries: Tensor, keys: Tensor, *, origins: Tensor, read: int, scaling: float) -> Tensor:
    """Return the softmax rows of the last queries over the entries of a layer, float32 (B, H, w, S).

    Args:
        queries: (B, H, w, D) of the last w tokens read.
        keys: (B, G, S, D).
        origins: (G, S); an entry read after a query is hidden from it.
        read: Tokens read so far, those of the queries included.
        scaling: Factor of the products.

    Cost: O(H w S D) time, O(H w S) memory.
    """
    batch, heads, count, width = queries.shape
    groups = keys.shape[1]
    grouped = queries.float().reshape(batch, groups, heads // groups, count, width)
    products = torch.einsum("bghwd,bgsd->bghws", grouped, keys.float()) * scaling
    own = torch.arange(read - count, read, device=keys.device)  # origins of the queries
    hidden = origins[:, None, :] > own[None, :, None]  # (G, w, S)
    products = products.masked_fill(hidden[None, :, None], -math.inf)
    return products.softmax(dim=-1).reshape(batch, heads, count, -1)


def smooth(scores: Tensor, kernel: int, pooling: Pooling) -> Tensor:
    """Pool scores along the entries with a centred kernel, stride 1, zeros beyond the ends.

    An even kernel reaches ⌊(kernel - 1) / 2⌋ to the left and the rest to the right.

    Args:
        scores: (…, S), >= 0.
        kernel: >= 1; 1 changes nothing.
        pooling: Highest or mean value under the kernel.
    """
    if kernel == 1 or scores.shape[-1] == 0:
        return scores
    left = (kernel - 1) // 2
    flat = functional.pad(scores.reshape(-1, 1, scores.shape[-1]), (left, kernel - 1 - left))
    pooled = (
        functional.max_pool1d(flat, kernel, stride=1)
        if pooling == "max"
        else functional.avg_pool1d(flat, kernel, stride=1)
    )
    return pooled.reshape(scores.shape)


def votes(view: CacheView, *, reduce: Reduce, pooling: Pooling, kernel: int) -> Tensor:
    """Return how much the last queries attend to each entry that came before them, (B, G, S).

    Softmax rows of the queries of `view` are cut to the entries before the first of them, without renormalising,
    reduced over the rows and the query heads of each key/value head, and pooled. Entries of the queries' own tokens
    get 0.

    Raises:
        BadInput: The view has no queries.
    """
    if view.queries is None:
        raise BadInput("votes need the queries of the last tokens read")
    rows = attention_rows(view.queries, view.keys, origins=view.origins, read=view.read, scaling=view.scaling)
    batch, heads, count, size = rows.shape
    groups = view.keys.shape[1]
    rows = rows.reshape(batch, groups, heads // groups * count, size)
    worth = rows.amax(dim=2) if reduce == "max" else rows.mean(dim=2)  # (B, G, S)
    before = view.origins < view.read - count  # (G, S)
    worth = worth.masked_fill(~before[None], 0.0)
    return smooth(worth, kernel, pooling).masked_fill(~before[None], 0.0)
