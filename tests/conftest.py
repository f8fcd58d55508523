"""What must happen before any test module is read."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # of `past_worlds`, which several files share

settings.register_profile("pinyon", settings.get_profile("default"), deadline=None)  # a busy machine is no failure
settings.load_profile("pinyon")

if find_spec("onnxruntime") is not None:
    import onnxruntime  # noqa: F401  # before usearch, which some tests import themselves: see pinyon.extras
