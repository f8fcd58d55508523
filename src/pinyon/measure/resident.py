"""What a process and a folder hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["folder_bytes", "resident_bytes"]


def resident_bytes() -> int:
    """Return the memory of this process that is in use, 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the most it ever was: all that such systems say
    return most if sys.platform == "darwin" else most * 1024


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
