"""Keep the entries that a draft of the answer attends to (SpecKV)."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..errors import BadInput
from .compress import Compressor
from .policy import CacheView, Pooling, Positions, Reduce, Uniform, scaling_of, votes
from .vertical_slash import VerticalSlash

if TYPE_CHECKING:
    from ..models.backbone import AfterLayer, Backbone
    from ..models.cache import CacheLayer, StateCache

__all__ = ["Looked", "SpecKV", "truncated"]


@dataclass(frozen=True, slots=True)
class Looked:
    """A prompt that was read under a budget after a look ahead.

    Args:
        cache: Holds exactly the budget of entries in each head, or the whole prompt when that is less.
        logits: (V,) after the prompt.
        lookahead: Tokens of the draft, which are not in the cache.
        draft_seconds: Time of the draft.
        prefill_seconds: Time of the reading.
    """

    cache: StateCache
    logits: Tensor
    lookahead: tuple[int, ...]
    draft_seconds: float
    prefill_seconds: float


@dataclass(frozen=True, slots=True)
class SpecKV(Uniform):
    """Score cache entries by the attention of the last tokens of a prompt and of a drafted answer.

    For long prompts whose answer needs other places than their end attends to: a draft model of the same tokenizer
    answers first, its answer is appended while the prompt is read, its queries vote, and it is cut off again. Each
    layer is cut as soon as it has been read, so the whole cache is never held. `prefill` does all of it; as a plain
    policy the object scores a cache whose last `lookahead` tokens are the draft::

        A = softmax(Q[-(W + n_la):] K^T / √D),  a_j = max over queries and query heads of A_j
        keep the C - W highest of maxpool(a, kernel) before the window, and the W tokens of the window

    A wrong draft keeps the wrong evidence; the votes of the window limit it.

    Where prompt and draft together exceed `vertical` + `slash` tokens, `prefill` reads them sparsely: in each layer a
    query sees its latest positions and the columns that the votes put first, nothing else::

        vertical = the P_v highest of maxpool(a, kernel) before the window, of each key/value head
        query i sees entry j <= i  where  i - j < P_w  or  j in vertical

    Args:
        queries: Last W tokens of the prompt, which vote and always stay, >= 1.
        lookahead: Tokens n_la at the end that are a draft, >= 0; `prefill` sets it.
        kernel: Width of the pooling over neighbours, odd.
        pooling: Of neighbours.
        reduce: Over the votes.
        vertical: Columns P_v that every query sees while a long prompt is read, >= 1.
        slash: Latest positions P_w that each query sees then, >= 1.

    Cost: the draft; one prefill of n_in + n_la tokens; O(H (W + n_la) S D) a layer for the votes, and O(H S (P_v +
        P_w) D) instead of O(H S² D) for attention when it is sparse.
    Source: Galim et al. 2025, arXiv 2506.08373 (ICLR 2026), and its release.
    Deviates: the last token of the prompt counts as one of the W, so the cache holds exactly C entries once it has
        been read again (released: C + 1); slashes are every distance below P_w (released: blocks of 64, as its kernel
        asks); layers with a sliding window or capped scores read densely (released: not supported); entries stay in
        the order of the text.
    """

    queries: int = 32  # released configurations
    lookahead: int = 0
    kernel: int = 7  # released configurations
    pooling: Pooling = "max"  # released configurations
    reduce: Reduce = "max"  # released configurations
    vertical: int = 2048  # released configurations
    slash: int = 2048  # released configurations

    positions: ClassVar[Positions] = "original"  # code
    shared: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.queries < 1 or self.lookahead < 0 or self.kernel < 1 or self.kernel % 2 == 0:
            raise BadInput(
                "queries must be >= 1, lookahead >= 0 and the kernel odd, "
                f"got {self.queries!r}, {self.lookahead!r} and {self.kernel!r}"
            )
        if min(self.vertical, self.slash) < 1:
            raise BadInput(f"vertical and slash must be >= 1, got {self.vertical!r} and {self.slash!r}")

    @property
    def name(self) -> str:
        """As reports name it."""
        return "spec-kv"

    @property
    def window(self) -> int:
        """The last tokens that vote: of the prompt and of the draft."""
        return self.queries + self.lookahead

    def score(self, view: CacheView) -> Tensor:
        """Return the votes for each entry, (B, G, S): infinite for the window, minus infinite for the draft."""
        worth = votes(view, reduce=self.reduce, pooling=self.pooling, kernel=self.kernel)
        worth = worth.masked_fill(view.origins >= view.read - self.window, torch.inf)
        return worth.masked_fill(view.origins >= view.read - self.lookahead, -torch.inf)

    def prefill(
        self,
        backbone: Backbone,
        ids: Sequence[int],
        *,
        entries: int,
        draft: Backbone | None = None,
        lookahead: int = 64,
        lookahead_ids: Sequence[int] | None = None,
    ) -> Looked:
        """Read a prompt so that each head holds at most some entries, after a draft looked ahead.

        Args:
            backbone: Reads.
            ids: The prompt, at least one token.
            entries: Budget of each head, more than the window.
            draft: Answers first; None for the backbone itself.
            lookahead: Most tokens of the draft, >= 0.
            lookahead_ids: A draft that exists already, instead of making one.

        Raises:
            BadInput: The budget does not exceed the window, prompt and draft exceed what the model reads, or the draft
            reads other tokens than the backbone.
        """
        if not ids or entries <= self.queries:
            raise BadInput(
                f"a budget of {entries!r} entries for {len(ids)} tokens must exceed the window of {self.queries} tokens"
            )
        ahead_most = len(lookahead_ids or ()) or lookahead
        if backbone.limit is not None and len(ids) + ahead_most > backbone.limit:
            raise BadInput(
                f"{len(ids)} tokens and {ahead_most} of a draft are more than the {backbone.limit} that the model reads"
            )
        started = time.perf_counter()
        needed = len(ids) > entries
        ahead = tuple(lookahead_ids or ())
        if lookahead_ids is None and needed and lookahead:
            ahead = look_ahead(draft or backbone, ids, lookahead, reader=backbone)
        drafted = time.perf_counter()
        cache = backbone.cache()
        if not needed:
            logits = backbone.prefill(ids, cache)
        else:
            logits = self._read(backbone, list(ids), ahead, entries, cache)
        return Looked(cache, logits, ahead, drafted - started, time.perf_counter() - drafted)

    def _read(
        self, backbone: Backbone, ids: list[int], ahead: tuple[int, ...], entries: int, cache: StateCache
    ) -> Tensor:
        policy = replace(self, lookahead=len(ahead))
        cutter = Compressor(backbone, cache, policy, entries=entries)
        after: AfterLayer = cutter.after_layer
        if len(ids) + len(ahead) > self.vertical + self.slash:
            after = VerticalSlash(self.slash, _Columns(policy, scaling_of(backbone)).choose, after)
        logits = backbone.forward([*ids, *ahead], cache, after_layer=after)
        cutter.after_chunk()
        if ahead:
            cache.crop(len(ids) - 1)  # the draft goes, and the last token of the prompt, which is read again
            logits = backbone.forward(ids[-1:], cache)
        assert logits is not None  # the last are always given
        return logits


@dataclass(frozen=True, slots=True)
class _Columns:
    """Chooses the columns that every query of a text sees: those that the votes put first."""

    policy: SpecKV
    scaling: float

    def choose(self, layer: int, entries: CacheLayer, queries: Tensor) -> Tensor:
        """Return them for each key/value head, int64 (G, P_v); all before the window where these are fewer."""
        group = entries.uniform()
        unknown = torch.full_like(group.origins, -1)
        count = max(0, min(self.policy.vertical, group.length - self.policy.window))
        view = CacheView(
            layer=layer,
            keys=group.keys,
            values=group.values,
            positions=group.positions,
            origins=group.origins,
            queries=queries[:, :, -self.policy.window :],
            token_ids=unknown,
            surprisal=torch.full(unknown.shape, torch.nan, device=unknown.device),
            turns=unknown,
            read=group.length,
            scaling=self.scaling,
            room=count,
        )
        worth = votes(view, reduce=self.policy.reduce, pooling=self.policy.pooling, kernel=self.policy.kernel)
        before = worth.amax(dim=0)[:, : group.length - self.policy.window]  # (G, N - w)
        return before.topk(count, dim=-1).indices


def look_ahead(draft: Backbone, ids: Sequence[int], count: int, *, reader: Backbone) -> tuple[int, ...]:
    """Return the greedy continuation of a prompt by a draft, at most some tokens; it may end earlier.

    Raises:
        BadInput: The draft has another vocabulary than the reader.
    """
    if _vocabulary(draft) != _vocabulary(reader):
        raise BadInput(
            f"the draft {draft.name!r} and the model {reader.name!r} do not share their tokenizer",
            hint="take a smaller model of the same family",
        )
    return draft.continuation(ids, max_tokens=count).ids


def truncated(backbone: Backbone, layers: int) -> Backbone:
    """Return a backbone of the first layers of another, sharing its weights: the cheapest draft of all.

    Args:
        backbone: Stays as it is.
        layers: How many stay, from 1 to all.

    Raises:
        BadInput: There are not so many layers, or they do not lie where those of decoders usually do.
    """
    from ..models.backbone import Backbone

    if not 1 <= layers <= backbone.n_layers:
        raise BadInput(f"a model of {backbone.n_layers} layers cannot be cut to {layers!r}")
    whole: Any = backbone.network
    if not hasattr(getattr(whole, "model", None), "layers"):
        raise BadInput(f"the layers of {type(whole).__name__} are not found under model.layers, so it cannot be cut")
    network = _shallow(whole)
    network.model = _shallow(whole.model)
    network.model.layers = torch.nn.ModuleList(list(whole.model.layers)[:layers])
    config = copy.deepcopy(whole.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    network.config = network.model.config = config
    return Backbone(network, backbone.tokenizer, f"{backbone.name}[:{layers}]")


def _shallow(module: Any) -> Any:
    """Return a module with the same parameters and a table of parts of its own."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def _vocabulary(backbone: Backbone) -> object:
    """Return what two models that share token ids have in common."""
    tokenizer: Any = backbone.tokenizer
    size = int(backbone.network.config.vocab_size)
    return size if tokenizer is None else (tokenizer.get_vocab() or size)
