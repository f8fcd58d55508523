"""Planted facts: the conversation is what it says, and the score tells memories from windows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pinyon.errors import BadInput, UnreadableSource
from pinyon.measure.hema_memory import HemaMemory, HemaOverMemory
from pinyon.measure.planted import Planted, planted_talk, read_filler, reference_filler
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.subject import Context, Held, Passage, Ranked
from pinyon.testing import WordCounter
from pinyon.text.hema import HemaConfig

FILLER = reference_filler()


class Window:
    """Shows the last turns, and notes what it was given."""

    name = "window"

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.kept: list[Passage] = []
        self.added: list[int] = []

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        self.kept.extend(passages)
        self.added.append(len(self.kept))

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        return ()

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        shown = self.kept[-self.turns :]
        return Context("\n".join(p.text for p in shown), tuple(p.id for p in shown), 10 * len(shown))

    def ask(self, space: str, question: str) -> str | None:
        return None

    def footprint(self) -> Held:
        return Held(0, 0)

    def close(self) -> None:
        pass


def small(**more: object) -> Planted:
    return Planted(FILLER, **{"lengths": (60,), "facts": 10, "distance": 30, **more})  # type: ignore[arg-type]


def test_a_conversation_has_its_facts_where_it_says() -> None:
    talk = planted_talk(FILLER, 300, seed=4)
    assert len(talk.turns) == 300
    assert len(talk.facts) == 50
    for fact in talk.facts:
        assert talk.turns[fact.turn - 1] == fact.told
        assert fact.asked - fact.turn == 150
        assert fact.asked <= 300
        assert fact.answer in fact.told
        assert fact.answer not in fact.question
    assert len({fact.question for fact in talk.facts}) == 50
    assert talk == planted_talk(FILLER, 300, seed=4)
    assert talk != planted_talk(FILLER, 300, seed=5)


def test_too_little_room_or_filler_is_refused() -> None:
    with pytest.raises(BadInput, match="50 facts"):
        planted_talk(FILLER, 190, seed=1)
    with pytest.raises(BadInput, match="too few"):
        planted_talk(FILLER[:3], 300, seed=1)


def test_questions_are_asked_on_the_way_and_not_before() -> None:
    subject = Window(31)
    report = small().run(subject, MeasureBudget(), ItemLog())
    talk = planted_talk(FILLER, 60, seed=60, facts=10, distance=30)
    assert subject.added == sorted({fact.asked for fact in talk.facts})
    assert report.value("in the prompt") == 1.0  # 31 turns reach 30 back
    assert report.value("last turn there") == report.value("in order") == 1.0
    assert small().run(Window(30), MeasureBudget(), ItemLog()).value("in the prompt") == 0.0


def test_a_run_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    whole = small().run(Window(31), MeasureBudget(), ItemLog())
    with ItemLog(tmp_path / "log.jsonl") as log:
        small().run(Window(31), MeasureBudget(items=4), log)
    with ItemLog(tmp_path / "log.jsonl") as log:
        assert len(log.items) == 4
        again = small().run(Window(31), MeasureBudget(), log)
    assert [m for m in again.metrics if m.name == "in the prompt"] == [
        m for m in whole.metrics if m.name == "in the prompt"
    ]


def test_a_subject_that_fails_has_not_found_it() -> None:
    class Failing(Window):
        def recall(self, space: str, question: str, budget_tokens: int) -> Context:
            if len(self.added) == 3:
                raise ValueError("down")
            return super().recall(space, question, budget_tokens)

    report = small().run(Failing(31), MeasureBudget(), ItemLog())
    assert 0 < report.value("in the prompt") < 1
    assert report.n == 10


def test_hema_finds_what_windows_and_summaries_have_lost() -> None:
    measure = Planted(FILLER, lengths=(60,), facts=8, distance=40, budget_tokens=700)
    budget = MeasureBudget(seed=1)
    found = measure.run(HemaMemory(), budget, ItemLog())
    assert found.value("in the prompt") >= 0.95
    assert found.value("over budget") == 0
    assert found.value("last turn there") == 1
    over = HemaOverMemory()
    assert measure.run(over, budget, ItemLog()).value("in the prompt") >= 0.95
    over.close()
    assert measure.run(Window(9), budget, ItemLog()).value("in the prompt") == 0  # as many turns as the tokens hold
    alone = HemaMemory(config=HemaConfig(most=0, tail=0))
    assert measure.run(alone, budget, ItemLog()).value("words in the prompt") <= 0.5


@pytest.mark.parametrize("kind", [HemaMemory, HemaOverMemory])
def test_hema_counts_by_the_counter_it_was_given(kind: type[HemaMemory | HemaOverMemory]) -> None:
    subject = kind(tokens=WordCounter())
    subject.add("a", [Passage(f"turn {n}", f"bees number {n} at the mill", role="user") for n in range(1, 30)])
    context = subject.recall("a", "bees", 60)
    assert context.tokens == len(context.text.split()) <= 60
    assert context.tokens > 40  # tokens of words are fewer than those of a tokenizer: more fits
    subject.close()


def test_dialogues_are_read_once_each_without_their_spaces(tmp_path: Path) -> None:
    line = {"question": {"stem": "Hello , you ! ", "choices": [{"text": " Hi . "}, {"text": "Hello, you!"}]}}
    file = tmp_path / "dialogues.jsonl"
    file.write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert read_filler(file) == ["Hello, you!", "Hi."]
    file.write_text("{}\n", encoding="utf-8")
    with pytest.raises(UnreadableSource):
        read_filler(file)


@pytest.mark.skipif("PINYON_DATA" not in os.environ, reason="needs the dialogues in PINYON_DATA")
def test_the_dialogues_are_long_enough_to_push_facts_out_of_the_last_tokens() -> None:
    filler = read_filler(Path(os.environ["PINYON_DATA"]) / "dailydialog" / "dailydialog.jsonl")
    talk = planted_talk(filler, 300, seed=1)
    words = sum(len(text.split()) for text in talk.turns[-150:])
    assert words > 4000  # the last 4,000 tokens hold fewer words than that
