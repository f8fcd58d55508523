"""The demo: real text remembered and found again, with reasons and timings."""

from .demo import run

__all__ = ["run"]
