"""What a turn looks like apart from its topic: whether it asks, of whom it speaks, whether it names a day."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CUES", "cues_of", "unpacked"]

_FIRST = frozenset("i me my mine we us our ours".split())
_SECOND = frozenset("you your yours".split())
_TIMES = frozenset(
    """yesterday today tomorrow tonight ago last next week weeks weekend weekends month months year years day days
    monday tuesday wednesday thursday friday saturday sunday january february march april june july august september
    october november december morning evening since earlier recently soon summer winter spring autumn fall""".split()
)
_NUMBERS = frozenset("one two three four five six seven eight nine ten dozen couple several once twice".split())
_STOPS = frozenset(".!?\n")
_WORD = re.compile(r"\w+")
_CAPTION = re.compile(r"\[[^\]]*\]")  # what a picture shows is not said by anybody

CUES: Mapping[str, tuple[int, int]] = {
    "asks": (0, 1),
    "ends_asking": (1, 1),
    "first_person": (2, 3),
    "second_person": (4, 3),
    "exclaims": (6, 3),
    "capitals": (8, 3),
    "time": (10, 1),
    "number": (11, 1),
}
"""First bit and largest value of each."""


def cues_of(text: str) -> int:
    """Return the cues of a text packed into one number; English words, other languages show only marks and capitals.

    Example:
        >>> float(unpacked(np.array([cues_of("Is it Ann?")]))["asks"][0])
        1.0
    """
    said = _CAPTION.sub("", text) if "[" in text else text
    first = second = capitals = time = number = 0
    begins = True
    end = 0
    for found in _WORD.finditer(said):
        word = found.group()
        if not begins and found.start() - end > 1:
            begins = not _STOPS.isdisjoint(said[end : found.start()])
        end = found.end()
        lower = word.lower()
        first += lower in _FIRST
        second += lower in _SECOND
        time |= lower in _TIMES or (len(word) == 4 and word.isdecimal())
        number |= lower in _NUMBERS or word.isdecimal()
        capitals += not begins and word[0].isupper() and lower not in _FIRST
        begins = False
    values = {
        "asks": int("?" in said),
        "ends_asking": int(said.rstrip().endswith("?")),
        "first_person": first,
        "second_person": second,
        "exclaims": said.count("!"),
        "capitals": capitals,
        "time": int(time),
        "number": int(number),
    }
    return sum(min(values[name], most) << bit for name, (bit, most) in CUES.items())


def unpacked(packed: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Return each cue of packed ones, (N,) each, as a share of its largest value."""
    out: dict[str, NDArray[np.float32]] = {}
    for name, (bit, most) in CUES.items():
        out[name] = ((packed >> bit) & most).astype(np.float32) / np.float32(most)
    return out
