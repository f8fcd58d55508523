"""A command line that works in a folder of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pinyon import Conversation, Memory, Turn
from pinyon.core.clock import instant
from pinyon.models import Embedder, StaticEmbedder, embedder_from
from pinyon.serve.cli import main


@dataclass(frozen=True)
class Line:
    """One person's command line."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def path(self) -> Path:
        return self.folder / "memory.db"

    def __call__(self, *args: str, stdin: str | bytes = "") -> Result:
        """Run in this process; anything but a clean exit is an error of the test."""
        runner = CliRunner(env=dict(self.environment))
        return runner.invoke(main, [*args], input=stdin, catch_exceptions=False)

    def json(self, *args: str, stdin: str | bytes = "") -> Any:
        """Run with --json and return the document."""
        result = self("--json", *args, stdin=stdin)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def process(self, *args: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run as a process of its own."""
        command = [sys.executable, "-m", "pinyon", *args]
        return subprocess.run(command, env=self.whole_environment, capture_output=True, timeout=60, **options)

    @property
    def whole_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


@pytest.fixture(scope="session", autouse=True)
def one_static_embedder() -> Iterator[None]:
    """Load the tokenizer of the static embedder once, not in each of hundreds of calls."""
    shared = StaticEmbedder()

    def chosen(spec: str, *, api_key: str | None = None) -> Embedder:
        return shared if spec == "static" else embedder_from(spec, api_key=api_key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pinyon.memory.embedder_from", chosen)
        yield


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """An empty command line: no settings, no memory."""
    names = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data"}
    environment = {name: str(tmp_path / folder) for name, folder in names.items()}
    environment.update(PINYON_PATH=str(tmp_path / "memory.db"), NO_COLOR="", TERM="xterm")
    return Line(tmp_path, environment)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory of two turns and two notes, to be copied."""
    path = tmp_path_factory.mktemp("prepared") / "memory.db"
    with Memory.open(path) as memory:
        turns = (Turn("I am allergic to peanuts.", speaker="Ann"), Turn("I never knew that.", speaker="Bob"))
        memory.add(Conversation(turns, session="s1"), time=instant("2023-05-08"))
        memory.add("The spare key hangs behind the blue door.", tags=["home"], metadata={"year": 2024})
        memory.add("The bees live behind the old mill.", tags=["home", "bees"], metadata={"year": 2020})
    return path


@pytest.fixture
def told(line: Line, prepared: Path) -> Line:
    """A command line whose memory holds two turns and two notes."""
    shutil.copy(prepared, line.path)
    return line


Ids = Callable[[], list[str]]


@pytest.fixture
def ids(told: Line) -> Ids:
    """Ids of everything in memory, oldest first."""
    return lambda: [cube["id"] for cube in told.json("list", "--oldest-first")["cubes"]]
