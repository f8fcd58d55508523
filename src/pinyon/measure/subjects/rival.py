"""Other people's memories as subjects, each in a virtual environment of its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from ...errors import MissingExtra, ModelError
from ...models import Embedder, StaticEmbedder
from ..subject import Context, Held, Passage, Ranked
from .shown import Kept, introduced

__all__ = ["RIVALS", "Rival", "interpreter"]

RIVALS: Mapping[str, str] = {
    "mem0": "mem0 (infer=False)",
    "mem0-llm": "mem0 (infer=True)",
    "langgraph": "LangGraph InMemoryStore",
    "llamaindex": "LlamaIndex VectorStoreIndex",
    "chroma": "Chroma",
    "lancedb": "LanceDB",
    "memos": "MemOS GeneralTextMemory",
}
"""Name on the command line, and how tables call it."""

_WORKERS = Path(__file__).parent / "workers"
_ENVIRONMENTS = {"mem0-llm": "mem0"}  # all others have one of their own name
_FILES = {"langgraph": "langgraph_store.py"}  # all others are named as their environment
_SURROUNDINGS = {"mem0": {"MEM0_TELEMETRY": "False", "OPENAI_API_KEY": "unused", "MEM0_DIR": "{folder}"}}
_RECALLED = 200  # passages tried for a prompt; some 40 fill 3,200 tokens
_CLOSING_SECONDS = 10.0


def interpreter(environments: Path, name: str) -> Path:
    """Return the Python of a rival's environment.

    Args:
        environments: Folder that holds them.
        name: As in `RIVALS`.

    Raises:
        MissingExtra: It has not been made.
    """
    environment = _ENVIRONMENTS.get(name, name)
    for place in ("bin/python", "Scripts/python.exe"):
        if (python := environments / environment / place).exists():
            return python
    raise MissingExtra(
        f"the environment of {name!r} is not in {str(environments)!r}",
        hint=f"`python benchmarks/rivals.py {environment}` makes it; --rivals names another folder",
    )


class Rival:
    """A system that runs in another process and gets its vectors from this one.

    Args:
        name: As in `RIVALS`.
        python: Interpreter of its environment.
        folder: Where it may write.
        embedder: Of everything it wants embedded; None is the static one, which every system here gets.
        script: What is served, a file for `workers/worker.py`; None takes the one of `name`.
        writer: Model, base_url and api_key of the endpoint with which it writes its memories; None where it needs none.

    Raises:
        ModelError: It cannot be started.
    """

    is_elsewhere = True

    def __init__(
        self,
        name: str,
        python: Path,
        folder: Path,
        *,
        embedder: Embedder | None = None,
        script: Path | None = None,
        writer: Mapping[str, str] | None = None,
    ) -> None:
        self.name = RIVALS.get(name, name)
        self._writer = writer
        self._embedder = embedder or StaticEmbedder()
        self._embedder.embed_query("warm")  # loaded before anything is timed
        self._kept = Kept()
        folder.mkdir(parents=True, exist_ok=True)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the subject
        environment = _ENVIRONMENTS.get(name, name)
        script = script or _WORKERS / _FILES.get(environment, f"{environment}.py")
        with _surrounded(environment, folder):
            self._process = subprocess.Popen(
                [str(python), str(_WORKERS / "worker.py"), str(script), str(folder)],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                encoding="utf-8",
            )
        self._to = cast("IO[str]", self._process.stdin)  # pipes, as it was started
        self._from = cast("IO[str]", self._process.stdout)
        version = str(self._answer()["ready"])
        self.version = f"{version} with {writer['model']}" if writer else version

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        """Add passages; it gets the words as they are and as every control sees them."""
        self._kept.add(space, passages)
        told = [{"id": p.id, "text": p.text, "shown": introduced(p), "role": p.role or ""} for p in passages]
        self._asked({"do": "add", "space": space, "passages": told})

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        """Search."""
        found = self._asked({"do": "search", "space": space, "question": question, "k": k})
        return [Ranked(id, score) for id, score in found]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        """Pack the best of what it finds, in the layout that all share."""
        found = self.search(space, question, min(_RECALLED, max(1, len(self._kept.of(space)))))
        return self._kept.packed(space, [hit.id for hit in found], budget_tokens)

    def ask(self, space: str, question: str) -> str | None:  # noqa: ARG002  # the protocol's
        """Return None: without a model none of them answers."""
        return None

    def footprint(self) -> Held:
        """Return the growth of its process since its libraries were loaded, and its files."""
        return Held(*self._asked({"do": "held"}))

    def close(self) -> None:
        """End its process."""
        if self._process.poll() is None:
            try:
                self._send({"do": "close"})
                self._process.wait(_CLOSING_SECONDS)
            except (OSError, ModelError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        for stream in (self._to, self._from, self._said):
            _close(stream)

    def _asked(self, job: Mapping[str, Any]) -> Any:
        self._send(job)
        answer = self._answer()
        if "error" in answer:
            raise ModelError(f"{self.name}: {answer['error']}")
        return answer["done"]

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._to.write(json.dumps(message) + "\n")
            self._to.flush()
        except OSError as error:
            raise ModelError(f"{self.name} has ended: {self._last_words()}") from error

    def _answer(self) -> Mapping[str, Any]:
        """Return the next answer; embed whatever it wants embedded before."""
        while True:
            line = self._from.readline()
            if not line:
                raise ModelError(f"{self.name} has ended: {self._last_words()}")
            message: Mapping[str, Any] = json.loads(line)
            if "embed" in message:
                rows = self._embedder.embed(message["embed"]).astype("<f4")
                self._send({"vectors": [base64.b64encode(row.tobytes()).decode() for row in rows]})
            elif "dimensions" in message:
                self._send({"dimensions": self._embedder.dimensions, "writer": self._writer})
            else:
                return message

    def _last_words(self) -> str:
        self._process.wait(_CLOSING_SECONDS)
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"


@contextmanager
def _surrounded(name: str, folder: Path) -> Iterator[None]:
    """Let a process that is started now see the variables its library reads; this one does not see them."""
    variables = _SURROUNDINGS.get(name, {})
    for variable, value in variables.items():
        os.putenv(variable, value.replace("{folder}", str(folder)))
    yield
    for variable in variables:
        os.unsetenv(variable)


def _close(stream: IO[Any]) -> None:
    with suppress(OSError):  # what was still to be written has no reader any more
        stream.close()
