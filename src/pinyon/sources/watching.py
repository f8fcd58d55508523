"""Wait for files to change."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import UnreadableSource
from ..extras import require
from .finding import is_inside

__all__ = ["watch"]


def watch(paths: Sequence[str | Path], *, stop: threading.Event) -> Iterator[set[Path]]:
    """Yield what changed, whenever something does.

    For folders that are kept in memory as they grow. What `find` passes over by name stays unnoticed.

    Args:
        paths: Files and folders that exist.
        stop: Ends the waiting when set.

    Yields:
        Files that were made, changed or removed together; a removed one no longer exists.

    Raises:
        UnreadableSource: A path does not exist.
        MissingExtra: watchfiles is not installed.
    """
    roots = [Path(path).absolute() for path in paths]
    for root in roots:
        if not root.exists():
            raise UnreadableSource(f"{str(root)!r} does not exist, so it cannot be watched", hint="create it first")
    watchfiles = require("watchfiles", "watch files for changes")

    def is_wanted(_: object, changed: str) -> bool:
        path = Path(changed)
        return any(path.is_relative_to(root) and is_inside(path, root) for root in roots)

    for changes in watchfiles.watch(*roots, watch_filter=is_wanted, stop_event=stop, raise_interrupt=True):
        files = {Path(path) for _, path in changes if not Path(path).is_dir()}
        if files:
            yield files
