"""Run a scorer of the kvpress library as a policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..errors import BadInput
from .policy import CacheView, Positions, Uniform, attention_rows

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["KVPress", "Scorer"]

_EVERY = 1 << 40  # more queries than any text has
_EDGE = 1e-6  # of an entry, so that kvpress's own rounding, int(S * (1 - ratio)), gives the budget back


class Scorer(Protocol):
    """What the adapter asks of a press: the one method that every ``ScorerPress`` of kvpress has."""

    def score(
        self,
        module: Any,
        hidden_states: Tensor,
        keys: Tensor,
        values: Tensor,
        attentions: Tensor | None,
        kwargs: dict[str, Any],
    ) -> Tensor:
        """Return how much each entry is worth keeping, (B, G, S)."""
        ...


@dataclass(frozen=True, slots=True)
class KVPress(Uniform):
    """Score cache entries by a press of kvpress, for comparison under the same budgets and bytes.

    A press looks at the attention module and at the hidden states it reads, which caches do not hold. So reading goes
    on inside `watching`, which notes them by forward hooks of torch and takes the hooks off again; the press sees a
    copy of the module that also knows the rotary embedding, as kvpress puts it there, and the network stays as it is.

    What cannot work: presses that are no scorers (they change the forward pass or the decoding) or divide the budget
    among layers, presses that score while a long prompt is read in several chunks (they expect one hidden state for
    each key), and cuts of a cache after it was read outside `watching`, unless the press looks at keys and values
    alone. The library pins transformers below 5.3, where its own hooks end, but its scorers run here on what is newer;
    it need not be installed: any object with their `score` method serves. Importing it wraps transformers' attention
    functions for every model of the process; what a `Backbone` computes stays the same.

    Args:
        press: A scorer. Its ``compression_ratio``, if it has one, is what the budget says while it scores.
        attentions: Whether it is handed the whole attention matrix, as kvpress does with eager attention;
            ``ObservedAttentionPress`` needs it.

    Cost: that of the press; with `attentions` O(H S²) time and memory a layer besides.
    Source: NVIDIA kvpress, Apache-2.0: the public contract of ``ScorerPress.score``.
    Deviates: the selection and the cut are this room's; kvpress keeps ``int(S * (1 - ratio))`` entries, and among equal
        scores any.
    """

    press: Scorer
    attentions: bool = False
    _noted: dict[int, tuple[Any, Tensor, dict[str, Any]]] = field(default_factory=dict, repr=False, compare=False)

    shared: ClassVar[bool] = False
    positions: ClassVar[Positions] = "original"

    def __post_init__(self) -> None:
        kind = type(self.press)
        if not callable(getattr(self.press, "score", None)):
            raise BadInput(f"{kind.__name__} is no scorer: it has no method score")
        plain = next((base for base in kind.__mro__ if base.__name__ == "ScorerPress"), None)
        if plain is not None and getattr(kind, "compress", None) is not getattr(plain, "compress", None):
            raise BadInput(f"{kind.__name__} does more than score: it cuts in a way of its own, which is not run here")

    @property
    def name(self) -> str:
        """As reports name it."""
        return f"kvpress-{type(self.press).__name__}"

    @property
    def window(self) -> int:
        """Every query for the attention matrix, else none."""
        return _EVERY if self.attentions else 0

    @contextmanager
    def watching(self, backbone: Backbone) -> Iterator[None]:
        """Note what each attention module reads while the context lasts."""
        prepare = getattr(self.press, "post_init_from_model", None)
        if prepare is not None:
            prepare(backbone.network)
        parts = list(backbone.network.modules())
        rotary = next((part.rotary_emb for part in parts if hasattr(part, "rotary_emb")), None)
        note = partial(self._note, rotary)
        hooks = [part.register_forward_pre_hook(note, with_kwargs=True) for part in parts if hasattr(part, "layer_idx")]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._noted.clear()

    def score(self, view: CacheView) -> Tensor:
        """Return the scores of the press, (B, G, S).

        Raises:
            BadInput: The press needs what the layer read, and nothing was noted or it was read in several chunks; or
                its scores do not fit the entries.
        """
        module, hidden, given = self._noted.get(view.layer, (None, torch.empty(0), {}))
        size = view.keys.shape[2]
        seen = [size] + ([] if module is None else [hidden.shape[1]])
        if self.attentions:
            seen.append(0 if view.queries is None else view.queries.shape[2])
        if len(set(seen)) > 1:
            raise BadInput(
                f"{self.name} scores a text that is read at once; layer {view.layer} holds {size} entries "
                f"and {seen[1]} tokens were read last"
            )
        try:
            with self._cutting(1 - (view.room + _EDGE) / size):
                scores = self.press.score(module, hidden, view.keys, view.values, self._rows(view), given)
        except (AttributeError, KeyError, IndexError, RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise BadInput(
                f"the press {type(self.press).__name__} cannot score layer {view.layer}: {error!r}",
                hint="read the prompt at once, inside `watching`",
            ) from error
        if scores.shape != view.keys.shape[:3]:
            raise BadInput(f"{self.name} gave scores {tuple(scores.shape)} for entries {tuple(view.keys.shape[:3])}")
        return scores.float().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)

    @contextmanager
    def _cutting(self, ratio: float) -> Iterator[None]:
        """Let the press know which share of the entries goes; some weigh their scores by it."""
        press: Any = self.press
        before = getattr(press, "compression_ratio", None)
        if before is None:
            yield
            return
        press.compression_ratio = max(0.0, ratio)
        try:
            yield
        finally:
            press.compression_ratio = before

    def _rows(self, view: CacheView) -> Tensor | None:
        if not self.attentions or view.queries is None:
            return None
        rows = attention_rows(view.queries, view.keys, origins=view.origins, read=view.read, scaling=view.scaling)
        return rows.to(view.keys.dtype)

    def _note(self, rotary: Any, module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        hidden = named["hidden_states"] if "hidden_states" in named else given[0] if given else None
        if isinstance(hidden, Tensor) and hidden.ndim == 3:
            rest = {name: value for name, value in named.items() if name != "hidden_states"}
            self._noted[int(module.layer_idx)] = (_rotating(module, rotary), hidden.detach(), rest)


def _rotating(module: Any, rotary: Any) -> Any:
    """Return an attention module that knows the rotary embedding: a copy with the same weights where it does not."""
    if rotary is None or hasattr(module, "rotary_emb"):
        return module
    twin = copy.copy(module)
    twin._modules = {**module._modules, "rotary_emb": rotary}
    return twin
