"""Wait for files to change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UnreadableSource
from ..extras import require
from .base import Skipped
from .finding import find, is_inside, pattern_of

__all__ = ["watch"]


def watch(paths: Sequence[str | Path], *, stop: threading.Event) -> Iterator[set[Path]]:
    """Yield what changed, whenever something does.

    For folders that are kept in memory as they grow. What `find` passes over by name stays unnoticed.

    Args:
        paths: Files and folders that exist, and patterns, as `find` takes them, in folders that exist.
        stop: Ends the waiting when set.

    Yields:
        Files that were made, changed or removed together; a removed one no longer exists. Where the system cannot say
        which, because a name is no Unicode, all that there are.

    Raises:
        UnreadableSource: A path does not exist.
        MissingExtra: watchfiles is not installed.
    """
    watched = [_watched(Path(path).absolute()) for path in paths]
    watchfiles = require("watchfiles", "watch files for changes")

    def is_wanted(_: object, changed: str) -> bool:
        return any(each.holds(Path(changed)) for each in watched)

    roots = {each.root for each in watched}
    while not stop.is_set():
        try:
            for changes in watchfiles.watch(*roots, watch_filter=is_wanted, stop_event=stop, raise_interrupt=True):
                files = {Path(path) for _, path in changes if not Path(path).is_dir()}
                if files:
                    yield files
        except RuntimeError:  # the library's own, for a name that it cannot decode
            yield {path for path in find(paths) if not isinstance(path, Skipped)}


@dataclass(frozen=True, slots=True)
class _Watched:
    """A file, a folder, or the files of a folder that a pattern stands for."""

    root: Path
    wanted: Callable[[str], bool] | None

    def holds(self, path: Path) -> bool:
        """Return whether `find` would come to a path."""
        if not path.is_relative_to(self.root) or not is_inside(path, self.root):
            return False
        return self.wanted is None or self.wanted(path.relative_to(self.root).as_posix())


def _watched(path: Path) -> _Watched:
    if path.exists():
        return _Watched(path, None)
    root, wanted = pattern_of(path) or (path, None)
    if not root.exists():
        raise UnreadableSource(f"{str(root)!r} does not exist, so it cannot be watched", hint="create it first")
    return _Watched(root, wanted)
