"""The verbs of a memory as one table; the command line and its reference are made from it, and services may be too."""

from __future__ import annotations

from ._memory_verbs import MEMORY_VERBS
from .verb import FILTERS, SCOPE, Given, Parameter, Role, Sort, Verb

__all__ = ["FILTERS", "SCOPE", "VERBS", "Given", "Parameter", "Role", "Sort", "Verb"]

VERBS: tuple[Verb, ...] = MEMORY_VERBS
"""Every verb, in the order in which help shows them."""
