"""Make the virtual environment of a rival outside the checkout and print its interpreter.

Example:
    python benchmarks/rivals.py            # environment of mem0, made once, reused afterwards
    python benchmarks/rivals.py --fresh    # made anew

The folder is ``$PINYON_BENCH_CACHE/mem0``, by default ``~/.cache/pinyon-bench/mem0``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["cache_folder", "make_mem0"]

# One pin a rival; the rest is what the static vectors need, so that both sides embed alike.
_MEM0 = ("mem0ai==2.2.1", "numpy", "safetensors", "tokenizers")
_WITHOUT_DEPENDENCIES = ("wordllama>=0.4,<0.5",)  # only its files are read, its own dependencies are not


def cache_folder() -> Path:
    """Return where environments and corpora are kept between runs."""
    named = os.environ.get("PINYON_BENCH_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pinyon-bench"


def make_mem0(folder: Path) -> Path:
    """Create the environment in `folder` unless it stands already; return its interpreter."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    recipe = json.dumps([_MEM0, _WITHOUT_DEPENDENCIES])
    mark = folder / "recipe.json"  # written last: an interrupted creation starts again
    if mark.exists() and mark.read_text(encoding="utf-8") == recipe:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *_MEM0], check=True, stdout=sys.stderr)
    subprocess.run([*pip, "--no-deps", *_WITHOUT_DEPENDENCIES], check=True, stdout=sys.stderr)
    mark.write_text(recipe, encoding="utf-8")
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="delete the environment first")
    options = parser.parse_args()
    folder = cache_folder() / "mem0"
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    print(make_mem0(folder))


if __name__ == "__main__":
    main()
