from __future__ import annotations

import pytest

from pinyon import Conversation, Turn
from pinyon.errors import BadInput
from pinyon.measure import Corpus, Question, Room, cross_validate


def _room(name: str) -> Room:
    """Evidence that only its neighbour names: a window finds it, the turn alone does not."""
    topics = [(a, b) for a in ("bees", "boats", "bread") for b in ("red", "blue", "green", "white")]
    turns = []
    for a, b in topics:
        turns += [
            Turn(f"What about the {b} {a}?"),
            Turn(f"Sold, {len(turns)} coins."),
            Turn("Hm."),
            Turn("Well."),
            Turn("Yes."),
        ]
    talk = tuple(Turn(t.text, metadata={"evidence": f"{name}{i}"}) for i, t in enumerate(turns))
    questions = tuple(Question(f"the {b} {a}", (f"{name}{5 * i + 1}",)) for i, (a, b) in enumerate(topics))
    return Room(name, (Conversation(talk, session="s"),), questions)


def test_weights_are_chosen_without_the_room_held_out() -> None:
    corpus = Corpus("toy", (_room("a"), _room("b")), lambda cube: (str(cube.header.metadata["evidence"]),))
    told: list[int] = []
    result = cross_validate(corpus, grid=(0.0, 0.5), progress=told.append)
    assert [fold.held_out for fold in result.folds] == ["a", "b"]
    assert all(fold.chosen.window1 + fold.chosen.window2 > 0 for fold in result.folds)
    assert result.held_out[0].n == 24
    assert told
    assert "| a | 12 |" in result.to_markdown()


def test_one_room_cannot_be_left_out() -> None:
    with pytest.raises(BadInput, match="one of 1"):
        cross_validate(Corpus("toy", (_room("a"),), lambda cube: (str(cube.header.metadata["evidence"]),)))
