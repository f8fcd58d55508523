from __future__ import annotations

import pytest

from pinyon.errors import BadInput
from pinyon.sources import Limits, readers


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(BadInput, match="max_depth must be >= 1"):
        Limits(max_depth=0)


def test_no_two_readers_claim_the_same_suffix() -> None:
    suffixes = [suffix for reader in readers() for suffix in reader.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in suffixes)
