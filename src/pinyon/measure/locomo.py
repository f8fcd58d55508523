"""LoCoMo: long conversations in many sessions, with questions whose evidence turns are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..core.cube import Cube
from ..core.experience import Conversation, Turn
from ..errors import UnreadableSource
from ..index import IndexConfig
from ..models import Embedder
from .base import Corpus, Question, Report, Room
from .retrieval import KS, run_corpus

__all__ = [
    "CATEGORIES", "conversation_of", "locomo", "locomo_merged", "question_of", "read_locomo", "run_locomo",
    "run_locomo_merged",
]  # fmt: skip

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
"""By the id in the file, as the authors' own code has them; several published harnesses permute them."""

_EVIDENCE = re.compile(r"D:?(\d+):(\d+)")  # also finds both of "D8:6; D9:17", and "D:11:26"
_TURN_SECONDS = 10  # turns carry no time of their own; this keeps their order


@dataclass(frozen=True, slots=True)
class _Talk:
    name: str
    sessions: tuple[Conversation, ...]
    questions: tuple[Question, ...]


def read_locomo(path: Path) -> tuple[_Talk, ...]:
    """Read the official file (a list of samples).

    Turns that carry a picture say its caption in brackets after their text. Evidence that points at a turn which does
    not exist is dropped, and so are questions without any left.

    Raises:
        UnreadableSource: It is not such a file.
    """
    try:
        samples = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_talk(sample) for sample in samples)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableSource(
            f"{path.name!r} is no LoCoMo file: {error}", hint="give the official locomo10.json or a part of it"
        ) from error


def locomo(path: Path) -> Corpus:
    """Return LoCoMo with one room a conversation."""
    rooms = tuple(Room(talk.name, talk.sessions, talk.questions) for talk in read_locomo(path))
    return Corpus("LoCoMo, one memory a conversation", rooms, _names)


def locomo_merged(path: Path) -> Corpus:
    """Return LoCoMo with all conversations in one room; sessions are told apart by the name of the conversation."""
    talks = read_locomo(path)
    sessions = tuple(
        replace(session, session=f"{talk.name} {session.session}") for talk in talks for session in talk.sessions
    )
    questions = tuple(question for talk in talks for question in talk.questions)
    return Corpus("LoCoMo, all conversations in one space", (Room("merged", sessions, questions),), _names)


def run_locomo(
    path: Path,
    *,
    ks: Sequence[int] = KS,
    system: str = "default",
    index: IndexConfig | None = None,
    embedder: Embedder | str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """Measure recall@k on LoCoMo, each conversation in a space of its own.

    Categories 1 to 4 count; adversarial questions, whose evidence is of the wrong person, are reported beside them.

    Source: Maharana et al. 2024, arXiv 2402.17753.
    Deviates: recall is over evidence turns, not over the answer of a model; k counts turns, not sessions.
    """
    return run_corpus(locomo(path), ks=ks, system=system, index=index, embedder=embedder, progress=progress)


def run_locomo_merged(
    path: Path,
    *,
    ks: Sequence[int] = KS,
    system: str = "default",
    index: IndexConfig | None = None,
    embedder: Embedder | str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Report:
    """Measure recall@k on LoCoMo with all conversations in one space; see `run_locomo`."""
    return run_corpus(locomo_merged(path), ks=ks, system=system, index=index, embedder=embedder, progress=progress)


def _names(cube: Cube) -> tuple[str, ...]:
    name = cube.header.metadata.get("evidence")
    return (name,) if isinstance(name, str) else ()


def conversation_of(sample: Mapping[str, Any]) -> tuple[Conversation, ...]:  # the file's own JSON
    """Return the sessions of one sample; each turn's metadata name it as evidence does.

    Raises:
        ValueError: A turn or a date is malformed; KeyError and TypeError where something is missing.
    """
    name, talk = str(sample["sample_id"]), sample["conversation"]
    numbers = sorted(int(key[8:]) for key in talk if re.fullmatch(r"session_\d+", key))
    return tuple(_session(name, number, talk) for number in numbers if talk[f"session_{number}"])


def question_of(name: str, asked: Mapping[str, Any], there: Set[str]) -> Question | None:
    """Return a question, or None when no turn that exists is named as its evidence.

    Args:
        name: Of the conversation.
        asked: The file's own JSON.
        there: Turns that exist.

    Raises:
        ValueError: It is malformed; KeyError and TypeError where something is missing.
    """
    said = " ".join(map(str, asked.get("evidence", ())))
    wanted = dict.fromkeys(f"{name}/D{int(a)}:{int(b)}" for a, b in _EVIDENCE.findall(said))
    evidence = tuple(one for one in wanted if one in there)
    if not evidence:
        return None
    category = int(asked["category"])
    answer = str(asked.get("answer", asked.get("adversarial_answer", "")))
    text = " ".join(str(asked["question"]).split())
    return Question(text, evidence, CATEGORIES[category], answer, is_counted=category != 5)


def _talk(sample: Mapping[str, Any]) -> _Talk:
    name, sessions = str(sample["sample_id"]), conversation_of(sample)
    there = {str(turn.metadata["evidence"]) for session in sessions for turn in session.turns}
    found = (question_of(name, asked, there) for asked in sample["qa"])
    return _Talk(name, sessions, tuple(question for question in found if question is not None))


def _session(name: str, number: int, talk: Mapping[str, Any]) -> Conversation:
    start = datetime.strptime(talk[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
    turns = []
    for place, turn in enumerate(talk[f"session_{number}"]):
        caption = turn.get("blip_caption")
        text = " ".join(part for part in (turn["text"].strip(), f"[{caption}]" if caption else "") if part)
        if not text:
            continue
        moment = start + timedelta(seconds=_TURN_SECONDS * place)
        evidence = {"evidence": _qualified(name, turn["dia_id"])}
        turns.append(Turn(text, speaker=turn["speaker"], time=moment, metadata=evidence))
    return Conversation(tuple(turns), session=f"session {number}")


def _qualified(name: str, dia: str) -> str:
    found = _EVIDENCE.search(dia)
    if found is None:
        raise ValueError(f"{dia!r} names no turn")
    return f"{name}/D{int(found[1])}:{int(found[2])}"
