"""Whether a model of the Hugging Face hub can be had, before anything waits for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..extras import require

__all__ = ["check_hub"]

_TIMEOUT_S = 5.0
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HINT = "give a folder with config.json, a .gguf file, or an id of the hub and a connection to it"


def check_hub(model: str) -> None:
    """Refuse at once what is no folder, not in the cache of the hub, and not to be had from it.

    Loading it would ask the hub again and again, for half a minute, and tell of each attempt.

    Args:
        model: Hub id or folder.

    Raises:
        ModelError: It cannot be had.
    """
    if Path(model).is_dir():
        return
    if not _ID.fullmatch(model):
        raise ModelError(f"the model {model!r} cannot be loaded: there is no such folder, and it is no id", hint=_HINT)
    hub: Any = require("huggingface_hub", "load a Hugging Face model")
    try:
        if not isinstance(hub.try_to_load_from_cache(model, "config.json"), str):
            hub.HfApi().model_info(model, timeout=_TIMEOUT_S)
    except Exception as error:  # of its own, of the network, of what is no id
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"the model {model!r} cannot be loaded: it is no folder, and the Hugging Face hub has it not: {reason}",
            hint=_HINT,
        ) from error
