"""Answers that read on from several states at once: the first token, and how far off it is.

A memory holds texts and a state of each part of them; a question about all of them is asked in each way that `ask`
knows. Compared is with the very same prompt, read whole. Seconds are of the processor, the least of several.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from _state_prefix import facts_of
from torch import Tensor

from pinyon import Memory
from pinyon.measure.planted import reference_filler
from pinyon.models.backbone import Backbone, Continuation
from pinyon.models.cache import StateCache
from pinyon.results import Saved
from pinyon.state.prefix import divergence
from pinyon.testing import HashEmbedder

__all__ = ["run"]

_BUDGET = 6000  # words of passages: everything is shown
_WAYS = {"one state": "recompute", "reposition": "reposition", "repair": "repair"}
Said = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Seen:
    """An answer as the model met it.

    Args:
        seconds: Of processor time until the first token was known.
        ids: The whole prompt.
        told: What was foretold before each token of a true answer and after it, (N, V).
        saved: As the answer reports it.
    """

    seconds: float
    ids: tuple[int, ...]
    told: Tensor
    saved: Saved


class _Watched:
    """Looks at a model between the prompt and the answer, which is not written."""

    def __init__(self, backbone: Backbone) -> None:
        self.answer: list[int] = []
        self.seen: tuple[float, tuple[int, ...], Tensor] | None = None
        self.begun = 0.0
        self._backbone = backbone
        self._binding = backbone.binding

    def __enter__(self) -> _Watched:
        self._backbone.binding = self._bound  # type: ignore[method-assign]  # the first thing that is asked of a model
        self._backbone.continuation = self._continued  # type: ignore[method-assign,assignment]
        return self

    def __exit__(self, *_: object) -> None:
        del self._backbone.binding, self._backbone.continuation

    def _bound(self, *given: Any) -> dict[str, Any]:
        self.begun = time.process_time()
        return self._binding(*given)

    def _continued(self, _: Sequence[int], cache: StateCache, **__: Any) -> Continuation:
        seconds = time.process_time() - self.begun
        read = tuple(cache.tokens.ids.tolist())
        assert cache.logits is not None
        self.seen = (seconds, read, _told(self._backbone, cache, self.answer))
        return Continuation((), "seen", cache.logits, 0.0, 0.0)


def run(
    backbone: Backbone,
    *,
    splits: Sequence[int] = (2, 3),
    tokens: int = 250,
    questions: int = 3,
    say: Said = lambda _: None,
) -> dict[str, Any]:
    """Measure time to the first token and nats from the exact prompt, for several states of sentences and paragraphs.

    Args:
        backbone: The model.
        splits: How many states.
        tokens: Of the texts of each, about.
        questions: Asked of each memory.
        say: Told each row as soon as it is known.
    """
    rows: list[dict[str, Any]] = []
    for kind in ("sentences", "paragraphs"):
        for parts in splits:
            rows += _rows(backbone, kind, parts, tokens, questions)
            for row in rows[-len(_WAYS) :]:
                say(str(row))
    return {"rows": rows, "limits": _limits(rows)}


def _rows(backbone: Backbone, kind: str, parts: int, tokens: int, questions: int) -> list[dict[str, Any]]:
    found: dict[str, list[_Seen]] = {way: [] for way in _WAYS}
    first: dict[str, float] = {}
    free: dict[str, list[float]] = {}
    apart: dict[str, list[float]] = {way: [] for way in _WAYS}
    whole: list[float] = []
    read: dict[tuple[int, ...], Tensor] = {}
    with Memory.open(":memory:", embedder=HashEmbedder()) as memory, _Watched(backbone) as watched:
        asked = _filled(memory, backbone, kind, parts, tokens)
        some = [asked[number * len(asked) // questions] for number in range(questions)]
        for number, (fact, question) in enumerate(some):
            watched.answer = backbone.encode(fact)
            for way, fuse in _WAYS.items():
                if not number:
                    first[way] = _asked(memory, backbone, watched, question, fuse).seconds
                seen = _asked(memory, backbone, watched, question, fuse)
                found[way].append(seen)
                if number and fuse == "recompute":  # it is exact
                    continue
                if seen.ids not in read:
                    read[seen.ids], seconds = _exact(backbone, seen.ids, watched.answer)
                    whole.append(seconds)
                apart[way].append(_nats(read[seen.ids], seen.told))
                if fuse != "recompute":  # whatever the sample says of it
                    is_shown = seen.saved.fused is not None
                    free.setdefault(way, []).append(
                        apart[way][-1]
                        if is_shown
                        else _ungated(memory, backbone, watched, question, fuse, read[seen.ids])
                    )
    least = min(whole)
    return [
        {
            "texts": kind,
            "states": parts,
            "way": way,
            "questions": len(seen),
            "prompt": len(seen[-1].ids),
            "not read": seen[-1].saved.tokens,
            "put together": len(seen[-1].saved.states),
            "whole s": least,
            "s": min(one.seconds for one in seen),
            "saved %": 100 * (1 - min(one.seconds for one in seen) / least),
            "first time s": first[way],
            "said nats": seen[-1].saved.nats,
            "nats": statistics.fmean(apart[way]),
            "nats without the gate": statistics.fmean(free[way]) if way in free else None,
        }
        for way, seen in found.items()
    ]


def _asked(memory: Memory, backbone: Backbone, watched: _Watched, question: str, fuse: Any) -> _Seen:
    answer = memory.ask(question, generator=backbone, fuse=fuse, budget_tokens=_BUDGET)
    assert answer.saved is not None
    assert watched.seen is not None
    return _Seen(*watched.seen, answer.saved)


def _ungated(memory: Memory, backbone: Backbone, watched: _Watched, question: str, fuse: Any, exact: Tensor) -> float:
    """Return the nats that an answer would be off if nothing were measured before it."""
    desk = memory.caller.parts.desk
    known = dict(desk._nats)
    desk._nats.update(dict.fromkeys(known, 0.0))
    try:
        return _nats(exact, _asked(memory, backbone, watched, question, fuse).told)
    finally:
        desk._nats.update(known)


def _filled(memory: Memory, backbone: Backbone, kind: str, parts: int, tokens: int) -> list[tuple[str, str]]:
    """Fill a memory with parts of so many tokens, make a state of each, and return facts with their questions."""
    draw, filler = Random(f"{kind} {parts}"), list(reference_filler())
    facts = iter(facts_of(140, seed=parts))
    told: list[tuple[str, str]] = []
    for _ in range(parts):
        ids, count = [], 0
        while count < tokens:
            fact, question = next(facts)
            more = "" if kind == "sentences" else " " + " ".join(draw.sample(filler, 3))
            ids.append(memory.add(fact + more).cubes[0].id)
            count += len(backbone.encode(fact + more))
            told.append((fact, question))
        memory.convert(ids, backbone=backbone)
    return told


def _exact(backbone: Backbone, ids: Sequence[int], answer: Sequence[int]) -> tuple[Tensor, float]:
    """Return what is foretold when the whole prompt is read, and the seconds of reading it."""
    cache = backbone.cache()
    start = time.process_time()
    backbone.prefill(ids, cache)
    seconds = time.process_time() - start
    return _told(backbone, cache, answer), seconds


def _told(backbone: Backbone, cache: StateCache, answer: Sequence[int]) -> Tensor:
    """Return what is foretold before each token of an answer and after it, (N, V)."""
    before = cache.logits
    after = backbone.forward(answer, cache.clone(), logits="all")
    assert before is not None
    assert after is not None
    return torch.cat([before[None], after])


def _nats(exact: Tensor, other: Tensor) -> float:
    return statistics.fmean(divergence(one, two) for one, two in zip(exact, other, strict=True))


def _limits(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what must hold: what is shown stays within the gate, one state is exact, several save more than one."""
    out = []
    for row in rows:
        name = f"{row['states']} states of {row['texts']}, {row['way']}"
        most = 1e-3 if row["way"] == "one state" else 0.1
        out.append({"what": f"{name}: nats", "limit": f"<= {most}", "measured": row["nats"],
                    "holds": row["nats"] <= most})  # fmt: skip
    for row in rows:
        one = next(r for r in rows if (r["texts"], r["states"], r["way"]) == (row["texts"], row["states"], "one state"))
        if row["put together"] > 1:
            more = row["saved %"] - one["saved %"]
            what = f"{row['states']} states of {row['texts']}, {row['way']}: saved beyond one state, points"
            out.append({"what": what, "limit": "> 0", "measured": more, "holds": more > 0})
    return out
