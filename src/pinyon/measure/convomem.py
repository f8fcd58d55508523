"""ConvoMem put to any memory system: how well evidence is found while the history grows to 300 conversations."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..core.payload import Json
from ..errors import BadInput
from ..index import Analyzer
from ..models import Generator
from ._convomem_checks import (
    Reader,
    Validity,
    embedding_faults,
    exact_reader,
    generator_reader,
    is_found,
    question_faults,
    validity,
)
from ._convomem_file import Loaded, read_convomem
from ._convomem_items import (
    CATEGORIES,
    RUBRICS,
    Chat,
    EvidenceItem,
    TestCase,
    World,
    passages_of,
    world_bytes,
)
from ._convomem_items import Message as ChatMessage
from ._convomem_make import Templates
from ._convomem_mix import SIZES, Mode, batched, mixed, standard
from ._convomem_score import Judge, is_right, reader_prompt
from .base import OVERALL, Metric, Report, metric
from .session import ItemLog, Logged, MeasureBudget
from .stats import bootstrap
from .subject import Passage, Subject

__all__ = [
    "CATEGORIES", "SIZES", "Chat", "ChatMessage", "ConvoMem", "EvidenceItem", "Judge", "Loaded", "Mode", "Point",
    "Reader", "Templates", "TestCase", "Validity", "World", "batched", "cells", "choose_threshold", "dilution",
    "embedding_faults", "exact_reader", "generator_reader", "is_right", "mixed", "passages_of", "question_faults",
    "read_convomem", "standard", "validity", "world_bytes",
]  # fmt: skip

K = 10
_DEPTH = 50  # ranks beyond are not asked for
_BUDGET_TOKENS = 2000  # what mem0's prompt has at every size of the paper
_SMALL = 48
_SMALL_SIZES = (2, 10, 100)
_FULL_SIZES = (2, 10, 30, 100, 300)
_SUPPORT = 3  # hits that may carry the evidence
_ASKING = "tell mention suggest propose say said know remember remind recall recommend ever"  # of the asking itself
_GROUP = re.compile(r"(\w+), N=(\d+)")


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a dilution curve.

    Args:
        category: Kind of question.
        size: Conversations.
        value: Of the metric.
        low: Lower end of its interval.
        high: Upper end.
        n: Questions.
        k: Messages of evidence; 0 for all.
    """

    category: str
    size: int
    value: float
    low: float
    high: float
    n: int
    k: int = 0


class ConvoMem:
    """Evidence recall among growing numbers of conversations, and answers where there are any.

    Without a path the questions come from templates: no model, no network, the same seed the same bytes. A judge
    decides about answers where one is given; without it facts are compared by their words, abstention by whether the
    answer admits it, and rubrics are left out.

    Args:
        path: Folder of the published files, or None for templates.
        templates: Makes the questions; None makes 360, or 48 for a small run, with the seed of the budget.
        sizes: Conversations in a history; None takes 2, 10, 100 and, in a full run, 30 and 300.
        mode: How evidence is mixed into filler.
        judge: Decides whether an answer is right; a generator becomes a `Judge`.
        reader: Answers from what a subject recalls, so that all subjects are read alike; None takes the answers of
            subjects that answer.
        budget_tokens: Of a recalled prompt.
        name: For tables.

    Source: Pakhomov, Nijkamp and Xiong 2025, arXiv 2511.10523, and its official code.
    Deviates: recall of evidence messages comes first, so that no model is needed; the templates' chats are a third as
        long; stitched histories hold one person each; conversations get a day each, so that order is known.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        templates: Templates | None = None,
        sizes: Sequence[int] | None = None,
        mode: Mode = "stitched",
        judge: Judge | Generator | None = None,
        reader: Generator | None = None,
        budget_tokens: int = _BUDGET_TOKENS,
        name: str = "convomem",
    ) -> None:
        if sizes is not None and (not sizes or min(sizes) < 1):
            raise BadInput(f"sizes must be at least 1, got {list(sizes)!r}")
        if budget_tokens < 1:
            raise BadInput("budget_tokens must be at least 1")
        self.name = name
        self._path = path
        self._templates = templates
        self._sizes = sizes
        self._mode = mode
        self._judge = Judge(judge) if isinstance(judge, Generator) else judge
        self._reader = reader
        self._budget_tokens = budget_tokens

    def run(self, subject: Subject, budget: MeasureBudget, log: ItemLog) -> Report:
        """Add histories of every size, ask, and score.

        Args:
            subject: Fresh.
            budget: A small one takes 48 questions and no history above 100 conversations.
            log: Filled in.

        Raises:
            UnreadableSource: The path holds no question.
        """
        world = self._world(budget, log)
        items = budget.sample(world.items, _SMALL)
        sizes = tuple(self._sizes) if self._sizes else _SMALL_SIZES if budget.small else _FULL_SIZES
        log.expect(len(items) * len(sizes))
        asked: list[tuple[str, EvidenceItem, int]] = []
        passages = 0
        for size in dict.fromkeys(sizes):
            for case in self._cases(items, size, world, budget.seed, log):
                keys = [f"{case.key} {item.id}" for item in case.items]
                asked.extend((key, item, size) for key, item in zip(keys, case.items, strict=True))
                if all(log.has(key) for key in keys):
                    continue
                there = passages_of(case.chats)
                subject.add(case.key, there)
                passages += len(there)
                history = _History(case, there)
                for key, item in zip(keys, case.items, strict=True):
                    log.run(key, self._item(subject, item, history))
        return _report(self.name, asked, log, passages, budget.seed, self._budget_tokens)

    def _world(self, budget: MeasureBudget, log: ItemLog) -> World:
        if self._path is None:
            if self._templates is not None:
                return self._templates.world()
            filler = max(_SMALL_SIZES[-1] if budget.small else _FULL_SIZES[-1], *(self._sizes or ()), 1)
            small = Templates(budget.seed, persons=4, items=2, filler=filler)  # 48 questions
            return (small if budget.small else Templates(budget.seed, filler=filler)).world()
        loaded = read_convomem(self._path)
        for number, why in enumerate(loaded.skipped):
            log.skip(f"malformed {number}", why)
        return loaded.world

    def _cases(
        self, items: Sequence[EvidenceItem], size: int, world: World, seed: int, log: ItemLog
    ) -> Iterator[TestCase]:
        """Yield the histories of a size; a person with too little filler is noted and left out."""
        people = dict.fromkeys(item.person for item in items)
        groups = [items] if self._mode == "batched" else [[i for i in items if i.person == one] for one in people]
        for group in groups:
            try:
                yield from mixed(group, size, world.filler, seed=seed, mode=self._mode)
            except BadInput as error:
                log.skip(f"{group[0].person}@{size}", error.message)

    def _item(self, subject: Subject, item: EvidenceItem, history: _History) -> Callable[[], Mapping[str, Json]]:
        def work() -> Mapping[str, Json]:
            space, evidence = history.case.key, history.evidence(item)
            found = subject.search(space, item.question, _DEPTH)
            ids = [hit.id for hit in found]
            context = subject.recall(space, item.question, self._budget_tokens)
            if self._reader is None:
                answer = subject.ask(space, item.question)
            else:
                answer = self._reader.generate(reader_prompt(item.question, context.text))
            record: dict[str, Json] = {
                "category": item.category,
                "k": item.k,
                "size": history.case.size,
                "ranks": [ids.index(id) + 1 if id in ids else 0 for id in evidence],
                "held": sum(id in context.ids for id in evidence) / len(evidence),
                "tokens": context.tokens,
                "support": history.support(item.question, ids[:_SUPPORT]),
            }
            if answer is not None:
                record["answer"] = answer
                is_judged = self._judge is not None or item.category not in RUBRICS
                record["right"] = is_right(item, answer, self._judge) if is_judged else None
            return record

        return work


class _History:
    """One history with what is known about its words."""

    def __init__(self, case: TestCase, passages: Sequence[Passage]) -> None:
        self.case = case
        self._analyzer = Analyzer()
        self._terms = {passage.id: set(self._analyzer.terms(passage.text)) for passage in passages}
        self._held = Counter(term for terms in self._terms.values() for term in terms)

    def evidence(self, item: EvidenceItem) -> tuple[str, ...]:
        """Return the names of the messages of evidence, in order."""
        return tuple(
            next(
                f"{chat.id}/{place}"
                for place, message in enumerate(chat.messages)
                if is_found(evidence, Chat("", "", (message,)))
            )
            for evidence, chat in zip(item.evidence, item.chats, strict=True)
        )

    def support(self, question: str, ids: Sequence[str]) -> float:
        """Return the largest share of the question's weight that one of some passages holds, 0 to 1.

        Words of the asking itself carry none; weights are squared, as in the cosine of two texts, so that one rare word
        that is missing tells more than several common ones that are there.
        """
        size = len(self._terms)
        asked = set(self._analyzer.terms(question)) - set(self._analyzer.terms(_ASKING))
        weights = {
            term: math.log(1 + (size - self._held[term] + 0.5) / (self._held[term] + 0.5)) ** 2
            for term in sorted(asked)
        }
        whole = math.fsum(weights.values())
        if not whole:
            return 0.0
        return max((math.fsum(weights[t] for t in weights if t in self._terms[id]) / whole for id in ids), default=0.0)


def dilution(report: Report, name: str = f"recall@{K}") -> tuple[Point, ...]:
    """Return the curves of a report: a metric over the number of conversations, for each category and overall.

    Args:
        report: Of `ConvoMem`.
        name: Of the metric.
    """
    found = [(each, _GROUP.fullmatch(each.group)) for each in report.metrics if each.name == name]
    points = [Point(group[1], int(group[2]), each.value, each.low, each.high, each.n) for each, group in found if group]
    return tuple(sorted(points, key=lambda point: (point.category, point.size)))


def cells(items: Iterable[Logged], *, seed: int = 0) -> tuple[Point, ...]:
    """Return recall@10 for each category, number of messages of evidence and number of conversations.

    Args:
        items: What is in the log of a run.
        seed: Of the intervals.
    """
    groups: dict[tuple[int, int, int], list[float]] = {}
    for item in items:
        if item.state == "done":
            record = cast("Mapping[str, Any]", item.record)  # written by `ConvoMem`
            key = (CATEGORIES.index(record["category"]), record["k"], record["size"])
            groups.setdefault(key, []).append(_share(record["ranks"], K))
    found = [(key, bootstrap(values, seed=seed)) for key, values in sorted(groups.items())]
    return tuple(Point(CATEGORIES[c], n, b.value, b.low, b.high, b.n, k) for (c, k, n), b in found)


def choose_threshold(answerable: Sequence[float], unanswerable: Sequence[float], *, most_false: float = 0.1) -> float:
    """Return the lowest score at which at most a share of the unanswerable questions would be answered.

    Among thresholds that let as few through, it is the middle of the gap to the next answerable question above.

    Args:
        answerable: Best scores of questions that can be answered.
        unanswerable: Best scores of questions that cannot.
        most_false: The share, 0 to 1.

    Raises:
        BadInput: There are no questions of one kind.
    """
    if not answerable or not unanswerable:
        raise BadInput("a threshold needs questions of both kinds")
    allowed = int(most_false * len(unanswerable))
    ordered = sorted(unanswerable, reverse=True)
    last = ordered[allowed] if allowed < len(ordered) else -math.inf  # the best that must stay below
    above = min((score for score in (*answerable, *ordered[:allowed]) if score > last), default=math.inf)
    if math.isinf(last) or math.isinf(above):
        return above if not math.isinf(above) else math.nextafter(last, math.inf)
    middle = (last + above) / 2
    return middle if middle > last else above  # between two neighbouring numbers there is none


# --- the figures ---------------------------------------------------------------------------------------------------


def _report(
    name: str,
    asked: Sequence[tuple[str, EvidenceItem, int]],
    log: ItemLog,
    passages: int,
    seed: int,
    budget_tokens: int,
) -> Report:
    noted = {item.key: item for item in log.items}
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for key, item, size in asked:
        logged = noted.get(key)
        if logged is None or logged.state == "skipped":
            continue
        record = cast("Mapping[str, Any]", logged.record) if logged.state == "done" else _failed(item, size)
        named = [item.category, f"{item.category}, N={size}"]
        if item.category != "abstention":  # what is near its questions is no evidence
            named += [OVERALL, f"{OVERALL}, N={size}"]
        for group in named:
            groups.setdefault(group, []).append(record)
    order = sorted(groups, key=_place)
    metrics = [found for group in order for found in _metrics(group, groups[group], seed, budget_tokens)]
    counted = groups.get(OVERALL, [])
    tokens = sum(float(r["tokens"]) for r in counted) / len(counted) if counted else 0.0
    notes = [
        f"{group.partition(', ')[2]}: {sum(float(r['tokens']) for r in groups[group]) / len(groups[group]):,.0f} tokens"
        " a prompt on average."
        for group in order
        if group.startswith(f"{OVERALL}, ")
    ]
    return Report(
        name, "", tuple(metrics), len(counted), 0.0, cubes=passages, seed=seed, tokens=tokens, notes=tuple(notes)
    )


def _place(group: str) -> tuple[int, int, int]:
    category, _, size = group.partition(", N=")
    return (
        0 if category == OVERALL else 1,
        CATEGORIES.index(category) if category in CATEGORIES else -1,
        int(size or 0),
    )


def _failed(item: EvidenceItem, size: int) -> Mapping[str, Any]:
    return {"category": item.category, "k": item.k, "size": size, "ranks": [0] * item.k, "held": 0.0, "tokens": 0}


def _metrics(group: str, records: Sequence[Mapping[str, Any]], seed: int, budget_tokens: int) -> Iterator[Metric]:
    for k in (1, K, _DEPTH):
        yield metric(f"recall@{k}", group, bootstrap([_share(r["ranks"], k) for r in records], seed=seed))
    yield metric(f"all@{K}", group, bootstrap([float(_share(r["ranks"], K) == 1) for r in records], seed=seed))
    yield metric(f"in {budget_tokens:,} tokens", group, bootstrap([float(r["held"]) for r in records], seed=seed))
    if group.startswith("changing"):
        yield metric("final state first", group, bootstrap([_is_final_first(r["ranks"]) for r in records], seed=seed))
    right = [float(r["right"]) for r in records if r.get("right") is not None]
    if right:
        yield metric("answered right", group, bootstrap(right, seed=seed))


def _share(ranks: Sequence[int], k: int) -> float:
    return sum(0 < rank <= k for rank in ranks) / len(ranks)


def _is_final_first(ranks: Sequence[int]) -> float:
    """Return 1 when the last state stands above all earlier ones."""
    return float(ranks[-1] > 0 and all(rank == 0 or ranks[-1] <= rank for rank in ranks))
