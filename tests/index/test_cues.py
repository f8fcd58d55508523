from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.index.cues import CUES, cues_of, unpacked


def _read(text: str) -> dict[str, float]:
    return {name: float(values[0]) for name, values in unpacked(np.array([cues_of(text)], dtype=np.int32)).items()}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("Bees fly.", {}),
        ("Is it far? No.", {"asks": 1.0}),
        ("Is it far?", {"asks": 1.0, "ends_asking": 1.0}),
        ("I like my bees!", {"first_person": 2 / 3, "exclaims": 1 / 3}),
        ("You saw Ann Stone.", {"second_person": 1 / 3, "capitals": 2 / 3}),
        ("He came in 2019", {"time": 1.0, "number": 1.0}),
        ("he came yesterday", {"time": 1.0}),
        ("two boats", {"number": 1.0}),
        ("Look [a photo of You and Ann?]", {}),
    ],
)
def test_a_text_shows_its_cues(text: str, wanted: dict[str, float]) -> None:
    assert {name: value for name, value in _read(text).items() if value} == pytest.approx(wanted)


@given(st.text(max_size=200))
def test_every_cue_is_a_share_and_fits_a_column(text: str) -> None:
    assert 0 <= cues_of(text) < 1 << 31
    assert all(0 <= value <= 1 for value in _read(text).values())


def test_no_two_cues_share_a_bit() -> None:
    bits = [bit + i for bit, most in CUES.values() for i in range(most.bit_length())]
    assert len(bits) == len(set(bits))
