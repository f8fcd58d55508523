"""What must happen before any test module is read."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("onnxruntime") is not None:
    import onnxruntime  # noqa: F401  # before usearch, which some tests import themselves: see pinyon.extras
