"""Files that are read again and again by a process that is killed: what is known of them must be one version, whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pinyon import Memory
from pinyon.importing import import_files

__all__ = ["look_at_files", "read_again_and_again"]

NAMES = ("0.md", "1.md", "2.md")


def _text(name: str, version: int) -> str:
    """Return a file whose parts all tell its version, but the first, which stays; their number changes too."""
    parts = (f"# Part {part}\n\n{name} says this in version {version}\n\n" for part in range(2 + version % 3))
    return f"# Title\n\n{name} is kept.\n\n{''.join(parts)}"


def _chunks(text: str) -> list[str]:
    return sorted(part.strip() for part in re.split(r"(?m)^(?=# )", text) if part.strip())


def read_again_and_again(memory: Memory, folder: Path) -> Iterator[tuple[str, int]]:
    """Write the files and import them, one version after the other; yield each name and version that was acknowledged.

    Args:
        memory: Where to.
        folder: For the files; made when absent.
    """
    folder.mkdir(exist_ok=True)
    for version in range(10**9):
        for name in NAMES:
            half = folder / f".{name}"
            half.write_text(_text(name, version), encoding="utf-8")
            half.replace(folder / name)  # a reader sees one version or the other
        for name in NAMES:
            (source,) = import_files(memory, [folder / name]).sources
            if source.outcome == "added":
                yield name, version


def look_at_files(memory: Memory, folder: Path, done: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Compare what is known of files with what was acknowledged, then read them again; yield what is wrong.

    Args:
        memory: What the killed process left.
        folder: Of the files.
        done: What it said was done.
    """
    least = {str(one["file"]): int(str(one["version"])) for one in done if "file" in one}
    for name in NAMES:
        said = _known(memory, folder / name)
        numbers = sorted({int(number) for text in said for number in re.findall(r"version (\d+)", text)})
        if len(numbers) > 1:
            yield f"{name} is known in the versions {numbers} at once"
        elif numbers and said != _chunks(_text(name, numbers[0])):
            yield f"{name} is known by half: {len(said)} chunks of version {numbers[0]}"
        if name in least and (not numbers or numbers[0] < least[name]):
            yield f"the acknowledged version {least[name]} of {name} is lost"
    for allowed in (("added", "unchanged"), ("unchanged",)):
        for path in (folder / name for name in NAMES if (folder / name).exists()):  # not what was being written
            (source,) = import_files(memory, [path]).sources
            if source.outcome not in allowed:
                yield f"{path.name} was {source.outcome} and not {' or '.join(allowed)}: {source.reason}"
            if _known(memory, path) != _chunks(path.read_text(encoding="utf-8")):
                yield f"{path.name} says something else than the memory, and it was {source.outcome}"


def _known(memory: Memory, path: Path) -> list[str]:
    return sorted(cube.text.strip() for cube in memory.iterate(where={"source": str(path.resolve())}))
