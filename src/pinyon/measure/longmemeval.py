"""LongMemEval: a question, some forty or five hundred dated sessions with an assistant, and those that answer it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.payload import Json
from ..errors import UnreadableSource
from .base import OVERALL, Item, Metric, Report, metric
from .session import ItemLog, MeasureBudget
from .stats import bootstrap
from .subject import Passage, Subject

__all__ = ["LongMemEval", "LongQuestion", "LongQuestions", "read_longmemeval"]

KS = (1, 5, 10, 20, 50)
SESSION_KS = (1, 3, 5, 10)
BUDGET_TOKENS = 3200
_SMALL = 40  # questions of a small run
_ABSTENTION = "_abs"  # at the end of a question_id, as published
_DATE = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})\D*(?:(\d{1,2}):(\d{2}))?")


@dataclass(frozen=True, slots=True)
class LongQuestion:
    """One question with its own history.

    Args:
        id: As published.
        kind: ``multi-session``, ``temporal-reasoning`` …
        text: The question.
        answer: The right one, as a text.
        asked: When it is asked, or None.
        passages: Every turn of the history; ids are ``<session>:<turn>``.
        turns: Ids of the turns that answer.
        sessions: Ids of the sessions that answer.
    """

    id: str
    kind: str
    text: str
    answer: str
    asked: datetime | None
    passages: tuple[Passage, ...]
    turns: tuple[str, ...]
    sessions: tuple[str, ...]

    @property
    def is_abstention(self) -> bool:
        """Whether the history does not answer it."""
        return self.id.endswith(_ABSTENTION)


@dataclass(frozen=True, slots=True)
class LongQuestions:
    """What a file holds.

    Args:
        questions: Those that could be read.
        skipped: Name of each that could not, with what is wrong with it.
    """

    questions: tuple[LongQuestion, ...]
    skipped: tuple[tuple[str, str], ...]


class LongMemEval:
    """Recall@k of the turns and of the sessions that answer, each question with its own history.

    Sessions are ranked by their best turn. Abstention questions have no evidence and are left out, as the authors do.

    Args:
        path: One of the published files.
        name: For tables.

    Source: Wu et al. 2024, arXiv 2410.10813.
    Deviates: turns of both sides are kept and searched, the authors' retrieval keeps those of the user; the date of the
        question is not given to the search. Items at which a subject fails count as not found.
    """

    def __init__(self, path: Path, *, name: str = "longmemeval") -> None:
        self.name = name
        self._path = path

    def run(self, subject: Subject, budget: MeasureBudget, log: ItemLog) -> Report:
        """Add each history, ask its question, and score.

        Args:
            subject: Fresh.
            budget: A small one takes 40 questions of all kinds.
            log: Filled in.

        Raises:
            UnreadableSource: The file is no LongMemEval file.
        """
        read = read_longmemeval(self._path)
        for name, why in read.skipped:
            log.skip(name, why)
        asked = budget.sample([q for q in read.questions if not q.is_abstention], _SMALL)
        log.expect(len(asked))
        for question in asked:
            log.run(question.id, _item(subject, question))
        return _report(self.name, asked, log, budget.seed)


def read_longmemeval(path: Path) -> LongQuestions:
    """Read a published file: ``longmemeval_s``, ``_m`` or ``_oracle``.

    A question whose data are malformed is named and left out; answers may be numbers.

    Raises:
        UnreadableSource: It is not such a file.
    """
    hint = "give a longmemeval_*.json as published"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableSource(f"{path.name!r} is no LongMemEval file: {error}", hint=hint) from error
    if not isinstance(entries, list):
        raise UnreadableSource(f"{path.name!r} is no LongMemEval file: it holds no list", hint=hint)
    questions: dict[str, LongQuestion] = {}
    skipped: list[tuple[str, str]] = []
    for number, entry in enumerate(entries):
        name = str(entry.get("question_id") or f"entry {number}") if isinstance(entry, Mapping) else f"entry {number}"
        try:
            if name in questions:
                raise ValueError("its id was there before")
            questions[name] = _question(name, entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"there is no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
            skipped.append(
                (name if name not in questions else f"{name} (entry {number})", f"{name} is left out: {why}")
            )
    if not questions:
        why = f": {skipped[0][1]}" if skipped else ""
        raise UnreadableSource(f"{path.name!r} holds no question of LongMemEval{why}", hint=hint)
    return LongQuestions(tuple(questions.values()), tuple(skipped))


def _question(name: str, entry: Mapping[str, Any]) -> LongQuestion:
    sessions, dates, names = entry["haystack_sessions"], entry["haystack_dates"], entry["haystack_session_ids"]
    if not len(sessions) == len(dates) == len(names):
        raise ValueError(f"{len(sessions)} sessions have {len(dates)} dates and {len(names)} ids")
    text = str(entry["question"]).strip()
    if not text:
        raise ValueError("the question is empty")
    passages: list[Passage] = []
    turns: list[str] = []
    unique = _unique([str(name) for name in names])
    for session, date, id in zip(sessions, dates, unique, strict=True):
        for passage, has_answer in _turns(id, _moment(str(date)), session):
            passages.append(passage)
            turns += [passage.id] if has_answer else []
    wanted = {str(one) for one in entry["answer_session_ids"]}
    answering = tuple(dict.fromkeys(id for id, plain in zip(unique, names, strict=True) if str(plain) in wanted))
    if not name.endswith(_ABSTENTION) and not answering:
        raise ValueError(f"none of its evidence sessions {sorted(wanted)} is in its history")
    asked = entry.get("question_date")
    return LongQuestion(
        name, str(entry["question_type"]), text, str(entry["answer"]), None if asked is None else _moment(str(asked)),
        tuple(passages), tuple(turns), answering,
    )  # fmt: skip


def _turns(session: str, moment: datetime, turns: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Passage, bool]]:
    for number, turn in enumerate(turns):
        text = str(turn["content"]).strip()
        if text:
            role = str(turn["role"])
            yield (
                Passage(f"{session}:{number}", text, time=moment, session=session, role=role),
                bool(turn.get("has_answer")),
            )


def _unique(names: Sequence[str]) -> list[str]:
    """Return names of which the second of the same becomes ``name#2``."""
    said: dict[str, int] = {}
    out = []
    for name in names:
        said[name] = said.get(name, 0) + 1
        out.append(name if said[name] == 1 else f"{name}#{said[name]}")
    return out


def _moment(text: str) -> datetime:
    """Return a date as the files have it, ``2023/05/20 (Sat) 02:21``."""
    found = _DATE.search(text)
    if found is None:
        raise ValueError(f"{text!r} is no date")
    year, month, day = (int(part) for part in found.groups()[:3])
    return datetime(year, month, day, int(found[4] or 0), int(found[5] or 0), tzinfo=UTC)


def _item(subject: Subject, question: LongQuestion) -> Callable[[], Mapping[str, Json]]:
    def work() -> Mapping[str, Json]:
        space = f"longmemeval-{question.id}"
        subject.add(space, question.passages)
        found = [hit.id for hit in subject.search(space, question.text, max(KS))]
        context = subject.recall(space, question.text, BUDGET_TOKENS)
        sessions = list(dict.fromkeys(id.rpartition(":")[0] for id in found))
        return {
            "turns": [found.index(id) + 1 if id in found else 0 for id in question.turns],
            "sessions": [sessions.index(id) + 1 if id in sessions else 0 for id in question.sessions],
            "held": sum(id in context.ids for id in question.turns) / max(1, len(question.turns)),
            "tokens": context.tokens,
        }

    return work


def _report(name: str, asked: Sequence[LongQuestion], log: ItemLog, seed: int) -> Report:
    noted = {item.key: item for item in log.items if item.state != "skipped"}
    groups: dict[str, list[Mapping[str, Any]]] = {OVERALL: []}
    items, tokens, passages = [], [], 0
    for question in asked:
        item = noted.get(question.id)
        if item is None:
            continue
        record: Mapping[str, Any] = item.record if item.state == "done" else _failed(question)
        groups[OVERALL].append(record)
        groups.setdefault(question.kind, []).append(record)
        ranks = tuple(record["turns"] or record["sessions"])
        items.append(Item(question.id, question.text, question.kind, ranks, 0.0))
        tokens.append(float(record["tokens"]))
        passages += len(question.passages)
    metrics = [m for group, records in groups.items() if records for m in _metrics(group, records, seed)]
    middle = sum(tokens) / len(tokens) if tokens else 0.0
    return Report(
        name, "", tuple(metrics), len(items), 0.0, cubes=passages, items=tuple(items), seed=seed, tokens=middle
    )


def _failed(question: LongQuestion) -> Mapping[str, Any]:
    return {"turns": [0] * len(question.turns), "sessions": [0] * len(question.sessions), "held": 0.0, "tokens": 0}


def _metrics(group: str, records: Sequence[Mapping[str, Any]], seed: int) -> Iterator[Metric]:
    turned = [r for r in records if r["turns"]]  # a few questions name sessions only
    for k in KS if turned else ():
        yield metric(f"recall@{k}", group, bootstrap([_share(r["turns"], k) for r in turned], seed=seed))
    for k in SESSION_KS:
        yield metric(f"session@{k}", group, bootstrap([_share(r["sessions"], k) for r in records], seed=seed))
    for k in SESSION_KS:
        every = [float(all(0 < rank <= k for rank in r["sessions"])) for r in records]
        yield metric(f"all sessions@{k}", group, bootstrap(every, seed=seed))
    if turned:
        yield metric(f"in {BUDGET_TOKENS:,} tokens", group, bootstrap([r["held"] for r in turned], seed=seed))


def _share(ranks: Sequence[int], k: int) -> float:
    return sum(0 < rank <= k for rank in ranks) / len(ranks)
