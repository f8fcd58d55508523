"""Which token came from which memory."""

from __future__ import annotations

from itertools import pairwise

import pytest

pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from pinyon.errors import BadInput, Damaged
from pinyon.state.origins import Origins, Span, joined, laid_out, origins_from_json, origins_to_json

texts = st.lists(st.text(alphabet="ab \n", min_size=1, max_size=9), min_size=1, max_size=5)


@given(texts=texts, cuts=st.sets(st.integers(1, 60)))
def test_every_token_that_holds_a_character_of_a_memory_is_its(texts: list[str], cuts: set[int]) -> None:
    whole, pieces = laid_out([(str(n), 1, text) for n, text in enumerate(texts)], between="--")
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    offsets = list(pairwise(places))
    origins = Origins.of(pieces, offsets)
    owners = "".join(f"{n}" * len(text) + "--" for n, text in enumerate(texts))[: len(whole)]
    for token, (start, end) in enumerate(offsets):
        assert set(origins.at(token)) >= {owner for owner in owners[start:end] if owner != "-"}
    for n, text in enumerate(texts):
        assert whole[pieces[n].start : pieces[n].end] == text
        first = origins.first_of([str(n)])
        assert str(n) not in owners[: offsets[first][0]]


def test_what_lies_before_a_memory_knows_nothing_of_it() -> None:
    origins = Origins((Span("a", 1, 3, 5), Span("b", 2, 5, 9)), 10)
    assert origins.first_of(["b"]) == 5
    assert origins.first_of(["c"]) == 10
    assert origins.at(1) == ()
    assert origins.cut(6) == Origins((Span("a", 1, 3, 5), Span("b", 2, 5, 6)), 6)
    assert origins.sources == ("a", "b")


def test_states_after_each_other_keep_their_origins() -> None:
    both = joined([Origins((Span("a", 1, 0, 2),), 3), Origins((Span("b", 1, 1, 2),), 2)])
    assert both == Origins((Span("a", 1, 0, 2), Span("b", 1, 4, 5)), 5)


def test_they_are_read_as_they_were_written() -> None:
    origins = Origins((Span("a", 1, 0, 2), Span("b", 7, 1, 4)), 4)
    assert origins_from_json(origins_to_json(origins), 4) == origins


@pytest.mark.parametrize("data", [None, 3, [["a", 1, 0]], [["a", 1, 0, 9]], [["a", 1, 2, 1]], ["x"]])
def test_what_is_none_is_refused(data: object) -> None:
    with pytest.raises(Damaged):
        origins_from_json(data, 4)


def test_no_text_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one"):
        laid_out([])
