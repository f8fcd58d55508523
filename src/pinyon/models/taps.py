"""Record and replace what passes through a network, at named sites, without changing the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from torch import Tensor

from ..errors import BadInput

__all__ = ["AttentionRows", "Part", "Site", "Taps"]

Part = Literal["residual", "attention", "heads", "rows", "mlp"]


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a network where a tensor passes.

    Args:
        layer: From 0.
        part: "residual" is what leaves the layer, (B, q, width); "attention" and "mlp" are what these blocks leave,
            (B, q, width); "heads" is what each attention head read, before the output matrix, (B, q, H, D); "rows" are
            the softmax rows that the heads read by, float32 (B, H, q, S), which all of a long text make large.
    """

    layer: int
    part: Part

    def __post_init__(self) -> None:
        if self.part not in get_args(Part):
            raise BadInput(f"part must be one of {', '.join(get_args(Part))}, got {self.part!r}")
        if self.layer < 0:
            raise BadInput(f"layer must be >= 0, got {self.layer!r}")


@dataclass(frozen=True, slots=True)
class AttentionRows:
    """Which rows of attention to record.

    Args:
        layers: None is all.
        last: How many of the last queries, >= 1.
    """

    layers: tuple[int, ...] | None = None
    last: int = 1

    def __post_init__(self) -> None:
        if self.last < 1:
            raise BadInput(f"last must be >= 1, got {self.last!r}")


class Taps:
    """What to record and what to replace in forward passes, and what was recorded by the latest.

    Args:
        record: Sites whose tensors are kept.
        replace: Functions that get the tensor of a site and return another of the same shape; a site that is recorded
            too shows what was put in its place. By replaced rows the heads read as they stand: nothing is masked or
            normalised after them, and a row may look at what its query does not see.
        rows: Attention rows to record.

    Attributes:
        values: The recorded tensor of each site, detached.
        rows: By layer the softmax rows of the last queries, float32 (B, H, last, S); where heads hold unequal numbers
            of entries, S is the longest and missing ones are 0.
        row_origins: By layer the token each entry comes from, int64 (G, S); -1 where there is none. Known for layers
            whose rows are recorded or replaced, and before they are.
    """

    def __init__(
        self,
        record: Iterable[Site] = (),
        replace: Mapping[Site, Callable[[Tensor], Tensor]] | None = None,
        rows: AttentionRows | None = None,
    ) -> None:
        self._record = frozenset(record)
        self._replace = dict(replace or {})
        self._wanted = rows
        self.values: dict[Site, Tensor] = {}
        self.rows: dict[int, Tensor] = {}
        self.row_origins: dict[int, Tensor] = {}

    @property
    def sites(self) -> frozenset[Site]:
        """All sites it touches."""
        return self._record | frozenset(self._replace)

    @property
    def last(self) -> int:
        """Of how many queries rows are recorded."""
        return 0 if self._wanted is None else self._wanted.last

    def wants_rows(self, layer: int) -> bool:
        """Return whether a layer's attention rows are recorded."""
        return self._wanted is not None and (self._wanted.layers is None or layer in self._wanted.layers)

    def has_rows(self, layer: int) -> bool:
        """Return whether all rows of a layer are recorded or replaced."""
        return Site(layer, "rows") in self.sites

    def at_rows(self, layer: int, rows: Tensor, origins: Tensor) -> Tensor | None:
        """Record and replace a layer's rows, (B, H, q, S), of entries of some origins, (G, S); None leaves them."""
        site = Site(layer, "rows")
        self.row_origins[layer] = origins
        rows = self._pass(site, rows)
        if self.wants_rows(layer):
            self.note_rows(layer, rows[:, :, -self.last :], origins)
        return rows if site in self._replace else None

    def note_rows(self, layer: int, rows: Tensor, origins: Tensor) -> None:
        """Keep a layer's attention rows, (B, H, last, S), and the origins of its entries, (G, S)."""
        self.rows[layer], self.row_origins[layer] = rows.detach(), origins

    def at_heads(self, layer: int, read: Tensor) -> Tensor:
        """Record and replace what the heads of a layer read, (B, q, H, D)."""
        return self._pass(Site(layer, "heads"), read)

    @contextmanager
    def attached(self, layers: Mapping[int, Any], attentions: Mapping[int, Any]) -> Iterator[None]:
        """Hang on a network's own modules within the context; whatever happens, nothing stays behind.

        Args:
            layers: The decoder layers, by number.
            attentions: Their attention blocks.

        Raises:
            BadInput: A site names a layer that is not there, or a part that this network does not have.
        """
        self.values, self.rows, self.row_origins = {}, {}, {}
        with ExitStack() as hooks:
            for site in self.sites:
                module = _module(site, layers, attentions)
                if module is not None:
                    hooks.callback(module.register_forward_hook(partial(self._hook, site)).remove)
            yield

    def _hook(self, site: Site, module: Any, given: Any, output: Any) -> Any:  # noqa: ARG002  # torch's signature
        if isinstance(output, tuple):
            return (self._pass(site, output[0]), *output[1:])
        return self._pass(site, output)

    def _pass(self, site: Site, tensor: Tensor) -> Tensor:
        change = self._replace.get(site)
        if change is not None:
            changed = change(tensor)
            if changed.shape != tensor.shape:
                raise BadInput(f"{site!r} has shape {tuple(tensor.shape)}, its replacement {tuple(changed.shape)}")
            tensor = changed.to(tensor)
        if site in self._record:
            self.values[site] = tensor.detach().clone()
        return tensor


def _module(site: Site, layers: Mapping[int, Any], attentions: Mapping[int, Any]) -> Any:
    """Return the module whose output passes at a site; None for what the attention function shows itself."""
    if site.layer not in layers:
        raise BadInput(f"there is no layer {site.layer} in a network of {len(layers)}")
    if site.part in ("heads", "rows"):
        return None
    if site.part == "attention":
        return attentions[site.layer]
    if site.part == "residual":
        return layers[site.layer]
    block = getattr(layers[site.layer], "mlp", None)
    if block is None:
        raise BadInput(f"the layers of this network have no part {site.part!r}")
    return block
