"""The bounded distance says what the whole table says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.distance import is_within

WORDS = st.text(alphabet="abc", max_size=9)


def distance(one: str, other: str) -> int:
    """The whole table, as the textbook has it."""
    rows = [[i + j if not i * j else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a != b))
    return rows[-1][-1]


@given(WORDS, WORDS, st.integers(0, 10))
def test_it_agrees_with_the_whole_table(one: str, other: str, most: int) -> None:
    assert is_within(one, other, most) == (distance(one, other) <= most)
