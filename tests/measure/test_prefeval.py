from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pinyon.errors import BadInput, UnreadableSource
from pinyon.measure._preference_rule import PreferenceRule, likes_and_dislikes
from pinyon.measure.prefeval import PrefEval, read_preferences
from pinyon.measure.session import ItemLog, MeasureBudget
from pinyon.measure.subject import Context, Held, Passage, Ranked
from pinyon.models import StaticEmbedder
from pinyon.testing import ScriptedModel

TRAINS = {
    "preference": "I strongly dislike crowded buses.",
    "question": "How should I get to the coast?",
    "classification_task_options": [
        "A quiet local train along the river.",
        "The crowded express bus.",
        "A crowded night bus with many stops.",
        "Buses of the city line, usually crowded.",
    ],
}
CHEESE = {
    "preference": '"I avoid cheese."',
    "question": "What could I cook tonight?",
    "classification_task_options": [
        "A bean stew without cheese.",
        "Macaroni with cheese.",
        "A cheese omelette.",
        "Grilled cheese on toast.",
    ],
}


def filler(exchanges: int) -> list[dict[str, object]]:
    turns = []
    for number in range(exchanges):
        turns.append({"role": "user", "content": f"Please explain topic {number} to a beginner."})
        turns.append({"role": "assistant", "content": f"Topic {number} is about numbers and their order."})
    return [{"conversation_id": "c", "conversation": turns}, {"conversation_id": "empty"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mcq_options").mkdir()
    broken = [{"preference": "I like tea."}, {**CHEESE, "classification_task_options": ["one"]}, 7]
    (tmp_path / "mcq_options" / "travel.json").write_text(json.dumps([TRAINS]), encoding="utf-8")
    (tmp_path / "mcq_options" / "food.json").write_text(json.dumps([CHEESE, *broken]), encoding="utf-8")
    (tmp_path / "filtered_inter_turns.json").write_text(json.dumps(filler(30)), encoding="utf-8")
    return tmp_path


@dataclass
class Keeps:
    """Finds the preference, or with `last` only what was said last."""

    last: int = 0
    name: str = "keeps"
    spaces: dict[str, list[Passage]] = field(default_factory=dict)

    def add(self, space: str, passages: Sequence[Passage]) -> None:
        self.spaces.setdefault(space, []).extend(passages)

    def found(self, space: str) -> list[Passage]:
        said = self.spaces[space]
        return said[::-1][: self.last] if self.last else said

    def search(self, space: str, question: str, k: int) -> Sequence[Ranked]:
        return [Ranked(p.id, -n) for n, p in enumerate(self.found(space)[:k])]

    def recall(self, space: str, question: str, budget_tokens: int) -> Context:
        found = self.found(space)[:3]
        return Context("\n".join(p.text for p in found), tuple(p.id for p in found), 30)

    def ask(self, space: str, question: str) -> str | None:
        return None

    def footprint(self) -> Held:
        return Held(0, 0)

    def close(self) -> None:
        pass


def test_malformed_preferences_are_named_and_left_out(folder: Path) -> None:
    preferences, talk, skipped = read_preferences(folder)
    assert [p.key for p in preferences] == ["food/0", "travel/0"]
    assert preferences[0].text == "I avoid cheese."
    assert len(talk) == 30
    assert [key for key, _ in skipped] == ["food/1", "food/2", "food/3"]
    assert "classification_task_options" in skipped[0][1]


def test_a_folder_without_preferences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no preferences"):
        read_preferences(tmp_path)


def test_a_file_that_is_no_list_is_refused(folder: Path) -> None:
    (folder / "filtered_inter_turns.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UnreadableSource, match="filtered_inter_turns"):
        read_preferences(folder)


def test_who_keeps_the_preference_finds_it_after_any_talk(folder: Path) -> None:
    log = ItemLog()
    report = PrefEval(folder, distances=(0, 10, 20)).run(Keeps(), MeasureBudget(), log)
    assert report.n == 6
    assert log.count("skipped") == 3
    assert {report.value("recall@1", g) for g in ("overall", "after 0 exchanges", "after 20 exchanges")} == {1.0}
    assert report.value("choice by rule", "after 20 exchanges") == report.value("choice by rule", "preference given")
    assert report.value("choice by rule") == 1.0


def test_who_keeps_the_last_turns_loses_it(folder: Path) -> None:
    report = PrefEval(folder, distances=(0, 10)).run(Keeps(last=3), MeasureBudget(), ItemLog())
    assert report.value("in 1,000 tokens", "after 0 exchanges") == 1.0
    assert report.value("in 1,000 tokens", "after 10 exchanges") == 0.0
    assert report.value("recall@10", "after 10 exchanges") == 0.0


def test_distances_beyond_the_talk_there_is_are_not_asked(folder: Path) -> None:
    report = PrefEval(folder).run(Keeps(), MeasureBudget(), ItemLog())
    assert {m.group for m in report.metrics} == {
        "overall", "after 0 exchanges", "after 10 exchanges", "preference given"
    }  # fmt: skip


def test_distances_must_ascend(folder: Path) -> None:
    with pytest.raises(BadInput, match="ascend"):
        PrefEval(folder, distances=(10, 0))


def test_a_generator_chooses_by_the_letter_of_the_shuffled_options(folder: Path) -> None:
    model = ScriptedModel(["A"] * 8)
    PrefEval(folder, distances=(0,), generator=model).run(Keeps(), MeasureBudget(), ItemLog())
    assert len(model.asked) == 2
    right = [
        asked[0].content.index(f"A. {entry['classification_task_options'][0]}") > 0
        if f"A. {entry['classification_task_options'][0]}" in asked[0].content
        else False
        for asked, entry in zip(model.asked, (CHEESE, TRAINS), strict=True)
    ]
    report = PrefEval(folder, distances=(0,), generator=ScriptedModel(["A"] * 8)).run(
        Keeps(), MeasureBudget(), ItemLog()
    )
    assert report.value("choice by generator") == sum(right) / 2
    assert all("crowded buses" in asked[0].content or "cheese" in asked[0].content for asked in model.asked)


def test_an_item_at_which_a_subject_fails_counts_as_not_found(folder: Path) -> None:
    class Broken(Keeps):
        def recall(self, space: str, question: str, budget_tokens: int) -> Context:
            raise RuntimeError("lost")

    log = ItemLog()
    report = PrefEval(folder, distances=(0,)).run(Broken(), MeasureBudget(), log)
    assert log.count("failed") == 2
    assert (report.n, report.value("recall@1"), report.value("choice by rule")) == (2, 0.0, 0.0)


@pytest.fixture(scope="module")
def rule() -> PreferenceRule:
    return PreferenceRule(StaticEmbedder())


def test_likes_and_dislikes_are_told_apart() -> None:
    assert likes_and_dislikes("I can't stand noise, but I love rain.") == ("love rain.", "stand noise")
    assert likes_and_dislikes("I do not eat meat.")[0] == ""


def test_an_option_that_lacks_what_is_disliked_wins(rule: PreferenceRule) -> None:
    scores = rule.scores("I am allergic to peanuts.", ["A bar free of peanuts", "A peanut bar", "Peanut-free toast"])
    assert scores.index(min(scores)) == 1


def test_the_statement_nearest_to_the_question_is_taken(rule: PreferenceRule) -> None:
    said = ["What is the time?", "I avoid dairy in my meals. Thanks!", "I prefer window seats on planes."]
    assert rule.statement("Which seat on the plane should I book?", said) == "I prefer window seats on planes."
    assert rule.statement("What shall I cook for dinner?", said) == "I avoid dairy in my meals."
    assert rule.statement("Anything?", ["Explain tensors.", "Sort this list."]) == ""


def test_the_rule_is_far_above_chance_on_the_published_choices(data: Path, rule: PreferenceRule) -> None:
    folder = data / "prefeval"
    if not (folder / "mcq_options").is_dir():
        pytest.skip("no PrefEval in the evaluation data")
    preferences, _, skipped = read_preferences(folder)
    sample = preferences[::5]
    right = 0
    for one in sample:
        scores = rule.scores(one.text, one.options)
        right += scores[0] > max(scores[1:])
    assert skipped == ()
    assert right / len(sample) > 0.5  # chance is 0.25; 0.66 over all 687
