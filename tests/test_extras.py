"""Optional dependencies: declared once, asked for on use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pinyon.errors import MissingExtra
from pinyon.extras import EXTRAS, require


def test_what_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "surely_not_installed", "magic")
    with pytest.raises(MissingExtra, match="needed to do magic") as caught:
        require("surely_not_installed", "do magic")
    assert "pinyon[magic]" in caught.value.hint


def test_the_graph_and_onnx_work_in_one_process() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("usearch")
    script = (
        "from pinyon.extras import require\nrequire('usearch.index', 'x'); require('onnxruntime', 'x'); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "alive"
