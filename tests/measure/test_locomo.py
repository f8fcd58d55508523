from __future__ import annotations

import json
from pathlib import Path

import pytest

from pinyon.errors import UnreadableSource
from pinyon.measure import locomo, locomo_merged, read_locomo, run_locomo

TURNS = [
    {"speaker": "Ann", "dia_id": "D1:1", "text": "Look at my bees."},
    {"speaker": "Bob", "dia_id": "D1:2", "text": "Lovely!", "blip_caption": "a photo of a hive"},
]
ASKED = [
    {"question": "What does Ann keep?", "answer": "bees", "evidence": ["D1:1; D:1:02", "D9:9", "D"], "category": 1},
    {"question": "When was it?", "answer": 2023, "evidence": ["D1:2"], "category": 2},
    {"question": "Where?", "answer": "nowhere", "evidence": ["D4:4"], "category": 3},
    {"question": "Who?", "adversarial_answer": "Cleo", "evidence": ["D1:1"], "category": 5},
]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    talk = {
        "speaker_a": "Ann",
        "session_1": TURNS,
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_2_date_time": "2:00 pm on 9 May, 2023",
    }
    path = tmp_path / "locomo.json"
    path.write_text(json.dumps([{"sample_id": "conv-1", "conversation": talk, "qa": ASKED}]), encoding="utf-8")
    return path


def test_turns_follow_each_other_every_ten_seconds(toy: Path) -> None:
    [session] = read_locomo(toy)[0].sessions
    assert session.session == "session 1"
    assert [turn.time.isoformat() for turn in session.turns if turn.time] == [
        "2023-05-08T13:56:00+00:00",
        "2023-05-08T13:56:10+00:00",
    ]


def test_captions_stand_in_brackets_after_the_text(toy: Path) -> None:
    [session] = read_locomo(toy)[0].sessions
    assert session.turns[1].text == "Lovely! [a photo of a hive]"


def test_irregular_evidence_is_read_and_missing_turns_are_dropped(toy: Path) -> None:
    questions = read_locomo(toy)[0].questions
    assert [q.evidence for q in questions] == [("conv-1/D1:1", "conv-1/D1:2"), ("conv-1/D1:2",), ("conv-1/D1:1",)]


def test_categories_carry_the_official_names_and_adversarial_ones_do_not_count(toy: Path) -> None:
    questions = read_locomo(toy)[0].questions
    assert [(q.category, q.is_counted) for q in questions] == [
        ("multi-hop", True),
        ("temporal", True),
        ("adversarial", False),
    ]
    assert [q.answer for q in questions] == ["bees", "2023", "Cleo"]


def test_merged_sessions_keep_the_name_of_their_conversation(toy: Path) -> None:
    [room] = locomo_merged(toy).rooms
    assert [getattr(e, "session", None) for e in room.experiences] == ["conv-1 session 1"]
    assert room.questions == locomo(toy).rooms[0].questions


def test_what_is_no_locomo_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('[{"sample_id": 1}]', encoding="utf-8")
    with pytest.raises(UnreadableSource, match=r"other\.json"):
        read_locomo(path)


@pytest.mark.slow
def test_the_default_finds_what_it_found_when_it_was_chosen(locomo_file: Path) -> None:
    report = run_locomo(locomo_file, ks=(10, 50))
    assert report.value("recall@10") >= 0.74
    assert report.value("recall@50") >= 0.87
