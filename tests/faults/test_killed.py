"""A process killed at any moment loses nothing it had acknowledged."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from faults import WORK, kill, traffic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system"),
]
TRIALS = 15  # of each kind a fifth; `python benchmarks/faults.py --trials 200` runs more
SECONDS = 6.0


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path, trial: int) -> None:
    work = list(WORK)[trial % len(WORK)]
    assert kill(work, tmp_path, random.Random(trial)).problems == ()


def test_writers_and_readers_at_once_lose_nothing_and_see_no_half(tmp_path: Path) -> None:
    shared = traffic(tmp_path, SECONDS)
    assert shared.problems == ()
    assert min(shared.updates, shared.adds, shared.reads) > 0
