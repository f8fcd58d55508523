"""The verbs of a memory as one table; the command line and its reference are made from it, and services may be too."""

from __future__ import annotations

from ._keep_verbs import KEEP_VERBS
from ._limit_verbs import LIMIT_VERBS
from ._measure_verbs import MEASURE_VERBS
from ._memory_verbs import MEMORY_VERBS
from ._model_verbs import MODEL_VERBS
from ._mount_verbs import MOUNT_VERBS
from ._pipeline_verbs import PIPELINE_VERBS
from ._rights_verbs import RIGHTS_VERBS
from ._server_verbs import SERVER_VERBS
from ._share_verbs import SHARE_VERBS
from ._state_verbs import STATE_VERBS
from ._time_verbs import TIME_VERBS
from ._vault_verbs import VAULT_VERBS
from .verb import FILTERS, SCOPE, Given, Parameter, Role, Sort, Verb

__all__ = ["FILTERS", "SCOPE", "VERBS", "Given", "Parameter", "Role", "Sort", "Verb"]

VERBS: tuple[Verb, ...] = (
    *MEMORY_VERBS,
    *STATE_VERBS,
    *TIME_VERBS,
    *KEEP_VERBS,
    *PIPELINE_VERBS,
    *RIGHTS_VERBS,
    *LIMIT_VERBS,
    *VAULT_VERBS,
    *SHARE_VERBS,
    *MOUNT_VERBS,
    *SERVER_VERBS,
    *MEASURE_VERBS,
    *MODEL_VERBS,
)
"""Every verb, in the order in which help shows them."""
