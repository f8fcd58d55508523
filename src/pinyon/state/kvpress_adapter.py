"""Run a scorer of the kvpress library as a policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..errors import BadInput
from .policy import CacheView, Positions, Uniform

if TYPE_CHECKING:
    from ..models.backbone import Backbone

__all__ = ["KVPress", "Scorer"]


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
    on inside `watching`, which notes them by forward hooks of torch and takes the hooks off again.

    What cannot work: presses that are no scorers (they change the forward pass or the decoding), presses that want the
    whole attention matrix, presses that score while a long prompt is read in several chunks (they expect one hidden
    state for each key), and cuts of a cache after it was read, unless the press looks at keys and values alone. The
    library itself pins transformers below 5.3 and need not be installed: any object with its `score` method serves.

    Args:
        press: A scorer; its ``compression_ratio`` is not used, the budget decides.

    Cost: that of the press.
    Source: NVIDIA kvpress, Apache-2.0: the public contract of ``ScorerPress.score``.
    Deviates: the selection and the cut are this room's; kvpress keeps ``int(S * (1 - ratio))`` entries.
    """

    press: Scorer
    _noted: dict[int, tuple[Any, Tensor, dict[str, Any]]] = field(default_factory=dict, repr=False, compare=False)

    window: ClassVar[int] = 0
    shared: ClassVar[bool] = False
    positions: ClassVar[Positions] = "original"

    def __post_init__(self) -> None:
        if not callable(getattr(self.press, "score", None)):
            raise BadInput(f"{type(self.press).__name__} is no scorer: it has no method score")

    @property
    def name(self) -> str:
        """As reports name it."""
        return f"kvpress-{type(self.press).__name__}"

    @contextmanager
    def watching(self, backbone: Backbone) -> Iterator[None]:
        """Note what each attention module reads while the context lasts."""
        modules = [module for module in backbone.network.modules() if hasattr(module, "layer_idx")]
        hooks = [module.register_forward_pre_hook(self._note, with_kwargs=True) for module in modules]
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
        try:
            scores = self.press.score(module, hidden, view.keys, view.values, None, given)
        except (AttributeError, KeyError, IndexError, RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise BadInput(
                f"the press {type(self.press).__name__} cannot score layer {view.layer}: {error!r}",
                hint="read the prompt at once, inside `watching`",
            ) from error
        if scores.shape != view.keys.shape[:3]:
            raise BadInput(f"{self.name} gave scores {tuple(scores.shape)} for entries {tuple(view.keys.shape[:3])}")
        return scores.float().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)

    def _note(self, module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        hidden = named["hidden_states"] if "hidden_states" in named else given[0] if given else None
        if isinstance(hidden, Tensor) and hidden.ndim == 3:
            rest = {name: value for name, value in named.items() if name != "hidden_states"}
            self._noted[int(module.layer_idx)] = (module, hidden.detach(), rest)
