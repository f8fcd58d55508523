from __future__ import annotations

import numpy as np
import pytest

from pinyon.index._column import Codes, Column


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_a_column_grows_and_always_has_a_fill_value_behind_its_end(count: int) -> None:
    column = Column(np.int32, -1)
    for value in range(count):
        column.extend([value])
    assert column.view.tolist() == list(range(count))
    assert column.guarded.tolist() == [*range(count), -1]
    column.reach(count + 3)
    assert column.guarded.tolist() == [*range(count), -1, -1, -1, -1]


def test_a_column_copies_what_it_is_given() -> None:
    data = np.arange(3)
    column = Column(np.int64, 0, data)
    column.data[0] = 9
    assert data[0] == 0
    assert column.view.tolist() == [9, 1, 2]


def test_names_come_back_from_their_bytes() -> None:
    codes = Codes()
    assert codes.of_many(["a", None, "ü", "a", ""]) == [0, -1, 1, 0, 2]
    again = Codes.unpacked(*codes.packed())
    assert len(again) == 3
    assert again.find("ü") == 1
    assert (again.find("zz"), again.find(None)) == (-2, -1)
    assert again.of_many(["b", "a"]) == [3, 0]
    assert again.names == ["a", "ü", "", "b"]


def test_names_that_no_value_uses_are_dropped() -> None:
    codes = Codes(["a", "b", "c"])
    kept, column = codes.only(np.array([2, -1, 0, 2], dtype=np.int32))
    assert kept.names == ["a", "c"]
    assert column.tolist() == [1, -1, 0, 1]
