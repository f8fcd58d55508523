"""The one unit of account: tokens, bytes and milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BadInput

__all__ = ["Budget", "Footprint"]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What something costs.

    Args:
        tokens: Prompt tokens, >= 0.
        bytes: Bytes in memory or on disk, >= 0.
        ms: Milliseconds, >= 0.
    """

    tokens: int = 0
    bytes: int = 0
    ms: float = 0.0

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(self.tokens + other.tokens, self.bytes + other.bytes, self.ms + other.ms)


@dataclass(frozen=True, slots=True)
class Budget:
    """An upper bound on a `Footprint`; a unit left as None is unbounded.

    Raises:
        BadInput: A bound is negative.

    Example:
        >>> Budget(tokens=10).allows(Footprint(tokens=10))
        True
        >>> Budget(tokens=10).allows(Footprint(tokens=11))
        False
    """

    tokens: int | None = None
    bytes: int | None = None
    ms: float | None = None

    def __post_init__(self) -> None:
        for unit in ("tokens", "bytes", "ms"):
            bound = getattr(self, unit)
            if bound is not None and not bound >= 0:
                raise BadInput(f"a budget of {bound!r} {unit} is not possible", hint="give a number >= 0")

    def allows(self, cost: Footprint) -> bool:
        """Return whether the cost stays within every bound."""
        return (
            (self.tokens is None or cost.tokens <= self.tokens)
            and (self.bytes is None or cost.bytes <= self.bytes)
            and (self.ms is None or cost.ms <= self.ms)
        )
