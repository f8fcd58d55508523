"""Modules that need torch are not searched for doctests where it is missing."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).parent / "src" / "pinyon"
_TORCH_ROOMS = ("nets", "state", "train", "weights")


def _names_torch(file: Path) -> bool:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return any(name.partition(".")[0] == "torch" for name in plain | parts)


collect_ignore = [
    str(file)
    for file in sorted(_ROOT.rglob("*.py"))
    if find_spec("torch") is None and (file.relative_to(_ROOT).parts[0] in _TORCH_ROOMS or _names_torch(file))
]
