"""Passages shown twice, asked for on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinyon.parts import Parts
from pinyon.testing import ScriptedModel

if TYPE_CHECKING:
    import pytest


def test_recall_shows_its_passages_twice_after_the_question(told: Any) -> None:
    once = told.json("recall", "where do the bees live", "--budget", "300")
    twice = told.json("recall", "where do the bees live", "--budget", "300", "--read-twice")
    assert twice["text"] == f"where do the bees live\n{once['text']}\n\n{once['text']}"
    assert once["tokens"] < twice["tokens"] <= 300
    few = ("recall", "where do the bees live", "--budget", str(once["tokens"]))
    assert told.json(*few, "--read-twice")["text"] == told.json(*few)["text"]  # two readings do not fit


def test_ask_gives_a_model_both_readings(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel(["Behind the old mill [1]."] * 2)
    monkeypatch.setattr(Parts, "generator", lambda *_: model)
    told.json("ask", "where do the bees live", "--model", "hf:any")
    assert told.json("ask", "where do the bees live", "--model", "hf:any", "--read-twice")["by"] == model.name
    once, twice = (prompt[-1].content.count("The bees live behind the old mill.") for prompt in model.asked)
    assert (once, twice) == (1, 2)


def test_quotations_cannot_be_read_twice(told: Any) -> None:
    result = told("ask", "where do the bees live", "--read-twice")
    assert result.exit_code == 1
    assert "read twice" in result.stderr
    assert "--model" in result.stderr
