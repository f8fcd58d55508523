"""A model that judges contradictions when something is added."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pinyon import Memory
from pinyon.errors import BadInput, ModelError
from pinyon.models import Message


class Model:
    """Says the same whatever it is asked.

    Args:
        said: That, or None to fail.
    """

    name = "model"

    def __init__(self, said: str | None) -> None:
        self.said = said
        self.asked: list[str] = []

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        self.asked.append(messages[-1].content)
        if self.said is None:
            raise ModelError("the model is away")
        return self.said


def moved(judge: object, first: str = "I live in Paris.", second: str = "I moved to Rome.") -> bool:
    """Add two statements and return whether the second took the place of the first."""
    with Memory.open(":memory:", user="ann", conflicts="rules", judge=judge) as memory:  # type: ignore[arg-type]
        old = memory.add(first, time="2024-01-01").cubes[0]
        memory.add(second, time="2024-02-01")
        return memory.get(old.id).header.life.superseded_by is not None


def test_a_judge_strikes_out_what_the_rules_claim_and_claims_what_they_do_not_read() -> None:
    assert moved(None)
    assert not moved(Model("Yes."))
    assert moved(Model("No."))
    assert moved(Model("unsure"))
    calm, cold = "The pool at the club is heated.", "The pool at the club has no heating any more."
    assert not moved(None, calm, cold)
    assert moved(Model("no"), calm, cold)


def test_a_judge_that_fails_leaves_it_to_the_rules(caplog: pytest.LogCaptureFixture) -> None:
    model = Model(None)
    assert moved(model)
    assert model.asked
    assert "the model is away" in caplog.text


def test_a_judge_of_ones_own_is_asked_and_what_is_none_is_refused() -> None:
    class Own:
        def contradicts(self, old: str, new: str) -> bool | None:
            return False

    assert not moved(Own())
    for wrong in (7, "no-such-model"):
        with pytest.raises(BadInput), Memory.open(":memory:", conflicts="rules", judge=wrong) as memory:  # type: ignore[arg-type]
            memory.add("I live in Paris.")


def test_nobody_is_asked_where_nothing_is_looked_for() -> None:
    model = Model("no")
    with Memory.open(":memory:", user="ann", conflicts="explicit", judge=model) as memory:
        memory.add("I live in Paris.")
        memory.add("I moved to Rome.")
    assert not model.asked
