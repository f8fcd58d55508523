"""How many letters two texts differ by."""

from __future__ import annotations

__all__ = ["is_within"]


def is_within(one: str, other: str, most: int) -> bool:
    """Return whether one text becomes the other by at most so many insertions, deletions and replacements of letters.

    Args:
        one: Any text.
        other: Any text.
        most: The largest Levenshtein distance that counts, >= 0.

    Cost: O(length * most) time.

    Example:
        >>> is_within("kitten", "sitting", 3), is_within("kitten", "sitting", 2)
        (True, False)

    Source: Ukkonen 1985, "Algorithms for approximate string matching", the band around the diagonal.
    """
    if abs(len(one) - len(other)) > most:
        return False
    beyond = most + 1
    row = [column if column <= most else beyond for column in range(len(other) + 1)]
    for line, letter in enumerate(one, 1):
        first, last = max(1, line - most), min(len(other), line + most)
        fresh = [beyond] * (len(other) + 1)
        if line <= most:
            fresh[0] = line
        for column in range(first, last + 1):
            same = row[column - 1] + (letter != other[column - 1])
            fresh[column] = min(same, row[column] + 1, fresh[column - 1] + 1, beyond)
        if min(fresh[max(0, first - 1) : last + 1]) > most:
            return False
        row = fresh
    return row[-1] <= most
