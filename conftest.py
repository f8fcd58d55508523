"""What holds for tests and doctests alike: threads of torch, and which modules are searched for doctests."""

from __future__ import annotations

import ast
import os
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks: threads that wait for each other cost more than they do

_ROOT = Path(__file__).parent / "src" / "pinyon"
_TORCH_ROOMS = ("nets", "state", "train", "weights")


def _names_torch(file: Path) -> bool:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return any(name.partition(".")[0] == "torch" for name in plain | parts)


_HELPERS = [file for file in sorted(Path(__file__).parent.glob("tests/*.py")) if not file.name.startswith("test_")]

collect_ignore = [
    str(file)
    for file in [*sorted(_ROOT.rglob("*.py")), *_HELPERS]
    if find_spec("torch") is None
    and (_names_torch(file) or (file not in _HELPERS and file.relative_to(_ROOT).parts[0] in _TORCH_ROOMS))
]
