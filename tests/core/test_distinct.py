"""Distinct values are what numpy says they are, without what numpy imports for it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.distinct import distinct


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_it_agrees_with_numpy(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    found = distinct(array)
    assert found.tolist() == np.unique(array).tolist()
    assert found.dtype == array.dtype


def test_masked_arrays_stay_out() -> None:
    script = "import sys, numpy; from pinyon.core.distinct import distinct; distinct(numpy.array([2, 1, 2]))\n"
    script += "print('numpy.ma' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
