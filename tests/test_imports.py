"""The structure of the package: which room may import which, and what starts without heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import pinyon

ROOT = Path(pinyon.__file__).parent
LEVELS = {
    "errors": -2, "extras": -1, "files": -1, "lazy": -1,
    "core": 0,
    "store": 1, "index": 1, "models": 1, "nets": 1, "sources": 1,
    "train": 2,
    "govern": 3, "schedule": 3, "text": 3, "state": 3, "weights": 3,
    "memory": 4, "recipes": 4, "searching": 4, "intake": 4, "importing": 4, "results": 4, "settings": 4, "aio": 4,
    "testing": 4, "parts": 4, "reading": 4, "writing": 4, "keeping": 4, "erasing": 4, "rights_desk": 4, "timeline": 4,
    "claims": 4,
    "rooms": 4, "past": 4, "branching": 4, "verifying": 4, "states": 4, "converting": 4, "promoting": 4, "attaching": 4,
    "places": 4, "reach": 4, "prompts": 4, "configuring": 4, "following": 4, "judging": 4, "talking": 4, "chatting": 4,
    "metering": 4,
    "sharing": 4, "subscribing": 4, "licences": 4, "sealing": 4, "dumping": 4,
    "mounting": 4, "generating": 4,
    "pipelining": 4, "stepping": 4, "holding": 4,
    "measure": 5, "serve": 6,
    "__main__": 7,
}  # fmt: skip
ONE_LEVEL_TOGETHER = {4}
UP_WHEN_CALLED = {"models/backbone.py": {"state"}}  # `Backbone.session` makes what stands above it, inside the method
MODULES = sorted(ROOT.rglob("*.py"))
TORCH_ROOMS = ("nets", "train", "state", "weights")
TORCH_FILES = {
    f"models/{name}.py"
    for name in (
        "_attention", "_entries", "_network", "_tokens", "backbone", "cache", "rope", "taps", "transformers",
    )
}  # fmt: skip


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[str]:
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = package[: len(package) - (node.level - 1)]
            full = (*base, *(node.module.split(".") if node.module else ()))
            yield from [full[0]] if full else [alias.name for alias in node.names]
        elif node.module and node.module.split(".")[0] == "pinyon":
            yield node.module.split(".")[1] if "." in node.module else "__init__"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_import_never_points_up_or_sideways(path: Path) -> None:
    mine = room_of(path)
    if mine == "__init__":
        return
    assert mine in LEVELS, f"the room {mine} has no level"
    up = UP_WHEN_CALLED.get(str(path.relative_to(ROOT)), set())
    for theirs in imported_rooms(path):
        if theirs == mine or theirs not in LEVELS or theirs in up:
            continue
        allowed = LEVELS[theirs] < LEVELS[mine] or (
            LEVELS[theirs] == LEVELS[mine] and LEVELS[mine] in ONE_LEVEL_TOGETHER
        )
        assert allowed, f"{path.relative_to(ROOT)} imports {theirs}"


@pytest.mark.parametrize("name", sorted(UP_WHEN_CALLED))
def test_an_arrow_that_may_point_up_does_so_when_it_is_called_only(name: str) -> None:
    body = ast.parse((ROOT / name).read_text(encoding="utf-8")).body
    at_import = [node for node in body if isinstance(node, ast.ImportFrom)]
    assert not [node for node in at_import if node.module and node.module.split(".")[0] in UP_WHEN_CALLED[name]]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, pinyon.{name[:-3].replace('/', '.')}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:  # else a package that it needs is not installed
        loaded = {module.split(".")[1] for module in done.stdout.split() if module.startswith("pinyon.")}
        assert loaded.isdisjoint(UP_WHEN_CALLED[name])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_is_named_only_where_it_may_be(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if room_of(path) in TORCH_ROOMS or name in TORCH_FILES:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not any(n.split(".")[0] in ("torch", "transformers") for n in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.name == "settings.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")), path


HEAVY = ("torch", "transformers", "onnxruntime", "httpx", "requests", "pydantic", "wordllama", "usearch")


def test_a_whole_use_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; from pinyon import Memory\n"
        f"m = Memory.open({str(tmp_path / 'm.db')!r})\n"
        "m.add('The key hangs behind the blue door.'); m.search('key'); m.ask('Where is the key?'); m.close()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


NOT_NEEDED = (
    "numpy.ma", "concurrent.futures.process", "multiprocessing", "pyexpat", "zipfile", "pinyon.sources",
    "pinyon.branching", "pinyon.generating", "pinyon.holding", "pinyon.mounting",
    "pinyon.past", "pinyon.pipelining", "pinyon.stepping", "pinyon.store.held",
    "pinyon.rights_desk", "pinyon.rooms", "pinyon.verifying",
    "pinyon.store.archive", "pinyon.store.encrypted", "pinyon.store.inmemory", "pinyon.store.vault",
    "pinyon.govern.conflict", "pinyon.govern.forgetting", "pinyon.govern.redact", "pinyon.govern.retention",
    "pinyon.schedule.lifecycle", "pinyon.schedule.listen", "pinyon.text.hema", "pinyon.text.summarize",
)  # fmt: skip
MOST_MODULES = {"search": 153, "recall": 153, "add": 153}  # of pinyon, command line included
NEEDED_BY = {"add": {"pinyon.govern.conflict"}}


@pytest.mark.parametrize("verb", sorted(MOST_MODULES))
def test_a_command_imports_what_it_needs(verb: str, tmp_path: Path) -> None:
    with pinyon.Memory.open(tmp_path / "m.db") as memory:
        memory.add("The key hangs behind the blue door.")
    script = (
        "import sys\nfrom pinyon.serve.cli import main\n"
        f"try: main(['--path', {str(tmp_path / 'm.db')!r}, {verb!r}, 'blue key'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split("\n")[-2].split())
    assert loaded & set(NOT_NEEDED) - NEEDED_BY.get(verb, set()) == set()
    assert len([name for name in loaded if name.split(".")[0] == "pinyon"]) <= MOST_MODULES[verb]


def test_the_package_exports_what_it_says() -> None:
    assert sorted(pinyon.__all__) == list(pinyon.__all__)
    assert all(hasattr(pinyon, name) for name in pinyon.__all__)


@pytest.mark.parametrize("room", sorted(p.parent.name for p in ROOT.glob("*/__init__.py")))
def test_a_room_exports_what_it_says(room: str) -> None:
    if room in TORCH_ROOMS:
        pytest.importorskip("torch")
    module = import_module(f"pinyon.{room}")
    exported = list(getattr(module, "__all__", []))
    assert exported == sorted(exported, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert all(hasattr(module, name) for name in exported)
    assert module.__doc__
