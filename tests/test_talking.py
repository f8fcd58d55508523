"""A talk keeps at hand what its questions are about, and never what its caller may not see."""

from __future__ import annotations

import pytest

from pinyon import Memory
from pinyon.errors import BadInput
from pinyon.schedule import replay
from pinyon.testing import FixedClock

FACTS = (
    "Ann keeps bees behind the old mill.", "The spare key hangs in the shed.", "Bob is allergic to peanuts.",
    "The pump in the cellar is bled on Mondays.", "The dentist is in Harbour Street.", "Carla plays the cello.",
)  # fmt: skip


def filled() -> Memory:
    memory = Memory.open(":memory:", user="ann", clock=FixedClock("2024-01-01"))
    for text in FACTS:
        memory.add(text)
    return memory


@pytest.mark.parametrize("policy", ["value", "semantic", "lru", "lfu", "label"])
def test_questions_bring_to_hand_what_they_are_about_within_the_budget(policy: str) -> None:
    with filled() as memory:
        log: list[dict] = []
        talk = memory.talk(budget_tokens=45, policy=policy, sink=log.append)
        heard = talk.hear("Where does the spare key hang?")
        assert heard.has_searched
        context = talk.context()
        assert context.footprint.tokens <= 45
        assert len(context.hits) < len(FACTS)
        if policy in ("value", "semantic"):
            assert "shed" in context.text
            assert not talk.hear("Where does the spare key hang?").has_searched
        assert replay(log) == log


def test_a_talk_opens_with_what_is_pinned_and_counts_what_it_shows_as_used() -> None:
    with filled() as memory:
        (cello,) = [cube for cube in memory.list().cubes if "cello" in cube.text]
        memory.pin(cello.id)
        talk = memory.talk(budget_tokens=20)
        assert [cube.id for cube in talk.cubes] == [cello.id]
        assert "cello" in talk.context().text
        assert memory.caller.parts.heat.usage([cello.row])[cello.row].count == 1


def test_what_is_gone_or_closed_is_not_shown_though_it_was_at_hand() -> None:
    with filled() as memory:
        talk = memory.talk(budget_tokens=500)
        assert len(talk.cubes) == len(FACTS)
        key, bees = (next(cube for cube in talk.cubes if word in cube.text) for word in ("key", "bees"))
        memory.forget([key.id])
        memory.rights.grant(bees.id, deny=["user:ann"])
        assert {key.id, bees.id} & {cube.id for cube in talk.cubes} == set()
        assert "bees" not in talk.context().text
        assert memory.talk(user="bob").cubes == ()


def test_a_talk_that_is_not_possible_is_refused() -> None:
    with filled() as memory:
        for wrong in ({"policy": "best"}, {"budget_tokens": 0}, {"as_of": "2020-01-01"}):
            with pytest.raises(BadInput):
                memory.talk(**wrong)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="empty"):
            memory.talk().hear(" ")
