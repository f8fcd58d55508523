from __future__ import annotations

import pytest

from pinyon import Conversation, Turn
from pinyon.errors import BadInput
from pinyon.measure import Corpus, Question, Room
from pinyon.measure.learn import learn_weights


def _room(name: str) -> Room:
    """Evidence is the answer of Ann, never the question of Bo that shares its words."""
    turns, questions = [], []
    for number, thing in enumerate("bees boats bread mills lamps doors".split()):
        turns.append(Turn(f"Do you like {thing}?", speaker="Bo", metadata={"evidence": f"{name}q{number}"}))
        turns.append(Turn(f"I bought {thing} yesterday", speaker="Ann", metadata={"evidence": f"{name}a{number}"}))
        questions.append(Question(f"When did Ann buy {thing}?", (f"{name}a{number}",), "temporal"))
    return Room(name, (Conversation(tuple(turns), session="s"),), tuple(questions))


def _corpus(*names: str) -> Corpus:
    return Corpus("toy", tuple(map(_room, names)), lambda cube: (str(cube.header.metadata["evidence"]),))


def test_weights_learned_elsewhere_find_the_evidence() -> None:
    told: list[int] = []
    learned = learn_weights(_corpus("a", "b"), progress=told.append)
    assert sum(told) == 12
    assert learned.held_out["overall"][0].n == 12
    assert learned.held_out["temporal"][0].value == 1.0
    weights = dict(zip(learned.names, learned.weights, strict=True))
    assert weights["speaker"] > 0 > weights["ends_asking"]
    assert "| temporal | 12 |" in learned.to_markdown()


def test_one_room_cannot_teach_and_be_held_out() -> None:
    with pytest.raises(BadInput, match="one of 1"):
        learn_weights(_corpus("a"))
