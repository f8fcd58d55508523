"""Make the virtual environments of rivals outside the checkout and print their interpreters.

Example:
    python benchmarks/rivals.py                  # environment of mem0, made once, reused afterwards
    python benchmarks/rivals.py langgraph chroma # of these
    python benchmarks/rivals.py --all            # of all: some 2.5 GB
    python benchmarks/rivals.py --fresh mem0     # made anew

The folders are ``$PINYON_BENCH_CACHE/<name>``, by default ``~/.cache/pinyon-bench/<name>``: `pinyon measure` looks for
them there. The environment of mem0 serves both its subjects, word for word (mem0) and with a model (mem0-llm).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from pinyon.settings import load_settings

__all__ = ["RECIPES", "cache_folder", "make", "make_mem0"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is installed: with its dependencies, and without."""

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


RECIPES = {
    # static vectors beside mem0, so that benchmarks/mem0_add.py embeds alike; the others get theirs over a pipe
    "mem0": Recipe(("mem0ai==2.2.1", "numpy", "safetensors", "tokenizers"), ("wordllama>=0.4,<0.5",)),
    "langgraph": Recipe(("langgraph==1.2.22", "numpy")),
    "llamaindex": Recipe(("llama-index-core==0.14.25", "numpy")),
    "chroma": Recipe(("chromadb==1.5.9",)),
    "lancedb": Recipe(("lancedb==0.40.0",)),
    "kvpress": Recipe(("torch==2.13.0", "kvpress==0.5.5", "gguf")),  # it pins its own transformers
    "memos": Recipe(("MemoryOS==2.0.33", "qdrant-client==1.20.0")),
}
"""One pin a rival, by the name of its environment."""


def cache_folder() -> Path:
    """Return where environments and corpora are kept between runs."""
    return Path(load_settings().bench_cache).expanduser()


def make(name: str, folder: Path) -> Path:
    """Create the environment of a rival in `folder` unless it stands already; return its interpreter."""
    recipe = RECIPES[name]
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    said = json.dumps([recipe.packages, recipe.alone])
    mark = folder / "recipe.json"  # written last: an interrupted creation starts again
    if mark.exists() and mark.read_text(encoding="utf-8") == said:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *recipe.packages], check=True, stdout=sys.stderr)
    if recipe.alone:  # only their files are read
        subprocess.run([*pip, "--no-deps", *recipe.alone], check=True, stdout=sys.stderr)
    mark.write_text(said, encoding="utf-8")
    return python


def make_mem0(folder: Path) -> Path:
    """Create the environment of mem0; see `make`."""
    return make("mem0", folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RECIPES)}; default mem0")
    parser.add_argument("--all", action="store_true", help="make all of them")
    parser.add_argument("--fresh", action="store_true", help="delete the environments first")
    options = parser.parse_args()
    names = list(RECIPES) if options.all else options.names or ["mem0"]
    strange = sorted(set(names) - set(RECIPES))
    if strange:
        parser.error(f"there is no rival {strange[0]!r}; there are {', '.join(RECIPES)}")
    for name in names:
        folder = cache_folder() / name
        if options.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        print(make(name, folder))


if __name__ == "__main__":
    main()
