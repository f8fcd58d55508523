"""Measure mem0's verbatim mode: add and search, one item at a time and as a list; run inside mem0's own environment.

Example:
    python benchmarks/rivals.py                     # makes the environment, prints its interpreter
    <that interpreter> benchmarks/mem0_add.py --turns turns.json --questions questions.json --count 300

The subject runs with telemetry off, a dummy key that is never used, Qdrant's local folder, ``infer=False`` (no model is
called) and the same static vectors as every other subject. Its optional spaCy and fastembed extras are not
installed: they would add work to each add and each search. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))


class _Embedder:
    """What mem0 asks of an embedder, answered by the shared static vectors."""

    def __init__(self) -> None:
        from _static import StaticVectors

        self._vectors = StaticVectors()

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:  # noqa: ARG002  # its callers pass it
        row: list[float] = self._vectors.rows([text])[0].tolist()
        return row

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:  # noqa: ARG002
        rows: list[list[float]] = self._vectors.rows(texts).tolist()
        return rows


def _open(folder: Path) -> Any:
    """Open a mem0 memory whose files all lie in `folder`."""
    os.environ["MEM0_TELEMETRY"] = "False"
    os.environ["MEM0_DIR"] = str(folder)
    os.environ["OPENAI_API_KEY"] = "unused"
    logging.disable(logging.WARNING)
    from _static import DIMENSIONS
    from mem0 import Memory

    memory = Memory.from_config(
        {
            "vector_store": {
                "provider": "qdrant",
                "config": {"path": str(folder / "qdrant"), "embedding_model_dims": DIMENSIONS, "on_disk": True},
            },
            "history_db_path": str(folder / "history.db"),
        }
    )
    memory.embedding_model = _Embedder()  # read at each call, so replacing it after opening is enough
    memory.embedding_model.embed("warm")
    return memory


def _disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _percentile(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(turns: list[dict[str, str]], questions: list[str], count: int) -> dict[str, Any]:
    """Add `count` turns singly, the same number as one list, and search; return times in ms and turns a second."""
    import importlib.metadata as metadata

    with tempfile.TemporaryDirectory(prefix="mem0-bench-") as name:
        memory = _open(Path(name))
        adds: list[float] = []
        for turn in turns[:count]:
            start = time.perf_counter()
            memory.add([{"role": "user", "name": turn["speaker"], "content": turn["text"]}], user_id="u", infer=False)
            adds.append(1000 * (time.perf_counter() - start))
        searches: list[float] = []
        for question in questions:
            start = time.perf_counter()
            memory.search(question, top_k=10, filters={"user_id": "u"})
            searches.append(1000 * (time.perf_counter() - start))
        found = memory.search(turns[count - 1]["text"], top_k=10, filters={"user_id": "u"})["results"]
        disk = _disk(Path(name))
        messages = [{"role": "user", "name": t["speaker"], "content": t["text"]} for t in turns[:count]]
        start = time.perf_counter()
        memory.add(messages, user_id="v", infer=False)
        listed = time.perf_counter() - start
        memory.close()
    return {
        "count": count,
        "add_ms": statistics.median(adds),
        "add_p95_ms": _percentile(adds, 0.95),
        "single_per_s": 1000 * count / sum(adds),
        "turns_per_s": count / listed,  # the rival's best bulk path: one call with the whole list
        "ms": statistics.median(searches),
        "p95_ms": _percentile(searches, 0.95),
        "disk_bytes": disk,
        "found_last": any(hit["memory"] == turns[count - 1]["text"] for hit in found),
        "version": metadata.version("mem0ai"),
        "qdrant_client": metadata.version("qdrant-client"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=Path, required=True, help="JSON list of {speaker, text}")
    parser.add_argument("--questions", type=Path, required=True, help="JSON list of questions")
    parser.add_argument("--count", type=int, default=300, help="turns to add (default 300)")
    options = parser.parse_args()
    turns = json.loads(options.turns.read_text(encoding="utf-8"))
    questions = json.loads(options.questions.read_text(encoding="utf-8"))
    print(json.dumps(measure(turns, questions, options.count)))


if __name__ == "__main__":
    main()
