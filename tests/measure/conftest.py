from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from pinyon import Conversation, Cube, Turn
from pinyon.core.clock import instant
from pinyon.measure import Corpus, Question, Room

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def data() -> Path:
    folder = Path(os.environ.get("PINYON_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no evaluation data: set PINYON_DATA")
    return folder


@pytest.fixture(scope="session")
def locomo_file(data: Path) -> Path:
    files = sorted((data / "locomo").glob("*.json"))
    if not files:
        pytest.skip("no LoCoMo in the evaluation data")
    return files[0]


@pytest.fixture(scope="session")
def demo() -> Corpus:
    told = json.loads((ROOT / "src/pinyon/serve/demo/conversation.json").read_text(encoding="utf-8"))
    asked = json.loads((ROOT / "tests/data/demo_questions.json").read_text(encoding="utf-8"))
    sessions = tuple(
        Conversation(
            tuple(
                Turn(
                    turn["text"],
                    speaker=turn["speaker"],
                    time=instant(session["time"]),
                    metadata={"evidence": f"{session['session']}:{number}"},
                )
                for number, turn in enumerate(session["turns"], 1)
            ),
            session=session["session"],
        )
        for session in told["sessions"]
    )
    questions = tuple(
        Question(q["question"], tuple(q["evidence"]), q["kind"], q["answer"])
        for q in asked["questions"]
        if q["evidence"]
    )

    def names(cube: Cube) -> tuple[str, ...]:
        return (str(cube.header.metadata["evidence"]),)

    return Corpus("demo conversation", (Room("demo", sessions, questions),), names)
