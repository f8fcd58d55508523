"""Model files that lie inside installed packages or folders."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..errors import MissingExtra

__all__ = ["package_folder", "sampled_digest", "whole_digest"]

_SAMPLES = 16
_SAMPLE_BYTES = 4096


def package_folder(package: str, *, purpose: str, hint: str) -> Path:
    """Return the folder of an installed package without importing it.

    Args:
        package: Top-level name.
        purpose: Completes "… is needed to …".
        hint: How to install it.

    Raises:
        MissingExtra: It is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(f"{package} is needed to {purpose} and is not installed", hint=hint)
    return Path(spec.submodule_search_locations[0])


def sampled_digest(*files: Path) -> str:
    """Return 16 hexadecimal digits that tell files apart, from their sizes, first, last and evenly spaced bytes.

    It is cheap because it reads at most 68 kB of each file; it is no defence against somebody who forges one.
    """
    import hashlib  # 5 ms, which importing this room should not cost

    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        last = max(0, size - _SAMPLE_BYTES)
        with file.open("rb") as stream:
            for sample in range(_SAMPLES + 1):
                stream.seek(last * sample // _SAMPLES)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def whole_digest(file: Path) -> str:
    """Return SHA-256 over all bytes of a file."""
    import hashlib  # 5 ms, which importing this room should not cost

    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
