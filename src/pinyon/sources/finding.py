"""List the files that paths, folders and patterns stand for."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Final

from .base import STANDARD, Limits, Skipped

__all__ = ["find", "is_inside", "is_passed_over", "pattern_of"]

_FOLDERS: Final = frozenset({"node_modules", "__pycache__", "venv", "site-packages", "CVS"})
_ENVIRONMENT_MARK: Final = "pyvenv.cfg"  # stands in each virtual environment, whatever its name
_MEDIA: Final = frozenset(  # suffixes of files that hold no words
    """.png .jpg .jpeg .gif .bmp .webp .tif .tiff .heic .ico .svg .mp3 .wav .flac .ogg .m4a .mp4 .mov .avi .mkv .webm
    .pyc .pyo .so .dll .dylib .exe .o .a .class .jar .wasm .bin .iso .dmg .gz .bz2 .xz .zst .7z .rar .tar .tgz .whl
    .ttf .otf .woff .woff2 .db .sqlite .sqlite3 .safetensors .adapter .gguf .onnx .npy .npz .parquet""".split()
)
_MAGIC: Final = re.compile(r"[*?\[]")


def find(paths: Sequence[str | Path], *, limits: Limits = STANDARD) -> Iterator[Path | Skipped]:
    """Yield the files that paths, folders and patterns stand for, each once, in an order that repeats.

    Folders are walked to the bottom; inside them hidden files and folders, version control, installed packages,
    virtual environments and loops of links are passed over without a word, media and too large files with one.
    A path that is named itself is never passed over for its name.

    Args:
        paths: Files, folders, and patterns in which ``*``, ``?`` and ``[...]`` match within a name and ``**``
            matches any number of folders; a pattern stands for files only.
        limits: Largest file.

    Yields:
        Files, spelled as they were given, and what was skipped: missing, unreadable, too large, without words.

    Raises:
        TypeError: `paths` is a single text, which would be taken letter by letter.
    """
    if isinstance(paths, (str, bytes)):
        raise TypeError(f"expected a list of paths, got the text {paths!r}")
    files: set[tuple[int, int]] = set()
    folders: set[tuple[int, int]] = set()
    for given in paths:
        for found in _given(given, folders, limits):
            if isinstance(found, Skipped):
                yield found
                continue
            identity = _identity(found)
            if identity is None or identity not in files:
                files.update(() if identity is None else (identity,))
                yield found


def is_passed_over(name: str) -> bool:
    """Return whether files and folders of this name are left out of a walk."""
    return (name.startswith(".") and name not in (".", "..")) or name in _FOLDERS


def _given(given: str | Path, folders: set[tuple[int, int]], limits: Limits) -> Iterator[Path | Skipped]:
    path = Path(given)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a zero character in the name
        if isinstance(error, FileNotFoundError) and (pattern := pattern_of(path)) is not None:
            yield from _matching(path, *pattern, limits)
        else:
            missing = isinstance(error, FileNotFoundError)
            yield Skipped(str(given), "does not exist" if missing else f"cannot be opened: {error}")
        return
    if stat.S_ISDIR(mode):
        yield from _walk(path, folders, limits)
    elif stat.S_ISREG(mode):
        yield _sized(path, limits)
    else:
        yield Skipped(str(given), "is neither file nor folder")


def pattern_of(path: Path) -> tuple[Path, Callable[[str], bool]] | None:
    """Return where a pattern begins, and a test for paths relative to it with slashes; None for what is no pattern."""
    parts = path.parts
    first = next((index for index, part in enumerate(parts) if _MAGIC.search(part)), None)
    return None if first is None else (Path(*parts[:first]), _compile(parts[first:]))


def _matching(pattern: Path, base: Path, wanted: Callable[[str], bool], limits: Limits) -> Iterator[Path | Skipped]:
    is_found = False
    if base.is_dir():
        # Folders of their own: another pattern may want other files of the same folder.
        for found in _walk(base, set(), limits, wanted=wanted):
            is_found = True
            yield found
    if not is_found:
        yield Skipped(str(pattern), "matches no file")


def _compile(parts: Sequence[str]) -> Callable[[str], bool]:
    """Return a test for relative paths with slashes."""
    pieces = []
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        if part == "**":
            pieces.append(".+" if is_last else "(?:[^/]+/)*")
        else:
            inner = fnmatch.translate(part).removeprefix("(?s:").removesuffix(")\\Z")
            pieces.append(inner.replace(".*", "[^/]*") + ("" if is_last else "/"))
    expression = re.compile("".join(pieces), re.DOTALL)
    return lambda path: expression.fullmatch(path) is not None


def _walk(
    root: Path,
    seen: set[tuple[int, int]],
    limits: Limits,
    *,
    wanted: Callable[[str], bool] | None = None,
) -> Iterator[Path | Skipped]:
    """Yield files depth first, names sorted; an explicit stack, since folders may be deeper than Python's."""
    waiting = [root]
    while waiting:
        path = waiting.pop()
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                names = _names(path) if _enter(status, seen) else []
                waiting.extend(path / name for name in reversed(names) if not is_passed_over(name))
                continue
        except OSError as error:
            yield Skipped(str(path), f"cannot be opened: {error.strerror or error}")
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        if wanted is None or wanted(path.relative_to(root).as_posix()):
            if path.suffix.lower() in _MEDIA:
                yield Skipped(str(path), "holds no words that a reader could find")
            else:
                yield _sized(path, limits)


def _enter(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _names(folder: Path) -> list[str]:
    names = sorted(os.listdir(folder))
    return [] if _ENVIRONMENT_MARK in names else names


def _sized(path: Path, limits: Limits) -> Path | Skipped:
    try:
        size = path.stat().st_size
    except OSError as error:
        return Skipped(str(path), f"cannot be opened: {error.strerror or error}")
    if size > limits.max_file_bytes:
        return Skipped(str(path), f"has {size} bytes, more than {limits.max_file_bytes}")
    return path


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # gone since; reading it will say so
        return None
    return status.st_dev, status.st_ino


def is_inside(path: PurePath, root: PurePath) -> bool:
    """Return whether a walk over `root` would come to `path`, judged by its names."""
    return not any(is_passed_over(part) for part in path.relative_to(root).parts)
