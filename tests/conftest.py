"""What must happen before any test module is read."""

from __future__ import annotations

from importlib.util import find_spec

from hypothesis import settings

settings.register_profile("pinyon", settings.get_profile("default"), deadline=None)  # a busy machine is no failure
settings.load_profile("pinyon")

if find_spec("onnxruntime") is not None:
    import onnxruntime  # noqa: F401  # before usearch, which some tests import themselves: see pinyon.extras
