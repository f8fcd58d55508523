"""Learn the weights of the second look from questions with known evidence, and say what they find elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..index import IndexConfig, RerankConfig
from ..memory import Memory
from .base import Corpus
from .stats import Interval, bootstrap

__all__ = ["Learned", "learn_weights"]

Array = NDArray[np.float32]
_KS = (10, 50)
_NEVER = 1 << 30  # rank of what is not among the candidates
_TAUGHT = 200  # candidates of a question that teach; more teach the same
_STEPS, _RATE, _SHRINK = 150, 0.05, 1e-2  # of Adam; a shrinkage of 0.003 to 0.03 changes recall by 0.3 points
_SHARED = 100  # best candidates on which the scores of the first sum and of the second look are brought together


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question: features of its candidates, their first scores, and where its evidence stands among them."""

    features: Array  # (M, F)
    base: Array  # (M,)
    gold: tuple[tuple[int, ...], ...]
    category: str


@dataclass(frozen=True, slots=True)
class Learned:
    """Weights, and what weights that never saw a room find in it.

    Args:
        names: Of the features.
        weights: Of all rooms, on the scale of the first sum.
        offset: What brings the scores to those of the first sum.
        held_out: By kind of question and ``overall``: recall@10 and @50, each room with weights of the others.
        seen: The same with the weights of all rooms.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    offset: float
    held_out: dict[str, tuple[Interval, Interval]]
    seen: dict[str, tuple[Interval, Interval]]

    def to_markdown(self) -> str:
        """Return a table of recall and the weights."""
        lines = ["### The second look, leave one conversation out", ""]
        lines += ["| questions | n | held out @10 | @50 | seen @10 | @50 |", "|---|---:|---:|---:|---:|---:|"]
        for kind, found in self.held_out.items():
            shown = [_percent(interval) for interval in (*found, *self.seen[kind])]
            lines.append(f"| {kind} | {found[0].n} | {' | '.join(shown)} |")
        lines += ["", f"OFFSET = {self.offset:.3f}", ""]
        lines += [f'    ("{name}", {weight:.3f}),' for name, weight in zip(self.names, self.weights, strict=True)]
        return "\n".join(lines) + "\n"


def learn_weights(corpus: Corpus, *, progress: Callable[[int], object] | None = None) -> Learned:
    """Learn one weight a feature by a softmax over the candidates of each question, with each room left out once.

    For the evidence p of a question and the candidates n that are none: mean over p of ln(1 + Σ exp(s_n − s_p)).

    Args:
        corpus: At least two rooms of conversations.
        progress: Told 1 after each question.

    Raises:
        BadInput: There is nothing to leave out.

    Cost: 30 ms a question, then seconds a room.
    """
    if len(corpus.rooms) < 2:
        raise BadInput(f"leaving one of {len(corpus.rooms)} rooms out is not possible", hint="give at least two")
    names, rooms = _collected(corpus, progress)
    folds = []
    for held in range(len(rooms)):
        others = [asked for number, room in enumerate(rooms) if number != held for asked in room]
        folds.append(_weights(others))
    overall = _weights([asked for room in rooms for asked in room])
    every = [asked for room in rooms for asked in room]
    first = np.concatenate([asked.base[:_SHARED] for asked in every])
    second = np.concatenate([asked.features[:_SHARED] @ overall for asked in every])
    scale = float(first.std() / second.std())
    return Learned(
        names,
        tuple((overall * scale).tolist()),
        float(first.mean() - scale * second.mean()),
        _recalls(rooms, folds),
        _recalls(rooms, [overall] * len(rooms)),
    )


def _collected(corpus: Corpus, progress: Callable[[int], object] | None) -> tuple[tuple[str, ...], list[list[_Asked]]]:
    """Put every question to a memory and keep what its second look is told."""
    looks: list[tuple[NDArray[np.int64], Array, Mapping[str, Array]]] = []

    def watch(rows: NDArray[np.int64], scores: Array, found: Mapping[str, Array]) -> None:
        looks.append((rows, scores, found))

    rooms: list[list[_Asked]] = []
    names: tuple[str, ...] = ()
    with Memory.open(":memory:", index=IndexConfig(rerank=RerankConfig(watch=watch))) as memory:
        for room in corpus.rooms:
            here = memory.at(space=room.space)
            here.add_many(room.experiences)
            carried = {cube.row: set(corpus.names(cube)) for cube in here.iterate()}
            rooms.append([])
            for question in (q for q in room.questions if q.is_counted):
                looks.clear()
                here.search(question.text, k=1)
                if not looks:
                    continue
                rows, scores, found = looks[-1]  # those before it looked for an event that dates the question
                names = tuple(found)
                gold = tuple(
                    tuple(at for at, row in enumerate(rows.tolist()) if name in carried[row])
                    for name in dict.fromkeys(question.evidence)
                )
                table = np.stack([found[name] for name in names], axis=1)
                rooms[-1].append(_Asked(table, scores, gold, question.category))
                if progress is not None:
                    progress(1)
    return names, rooms


def _weights(asked: Sequence[_Asked]) -> Array:
    """Return the weights that minimise the loss over questions, by Adam from nothing."""
    taught = [one for one in asked if any(place < _TAUGHT for places in one.gold for place in places)]
    width = taught[0].features.shape[1]
    features = np.zeros((len(taught), _TAUGHT, width), dtype=np.float32)
    gold, other = (np.zeros((len(taught), _TAUGHT), dtype=np.float32) for _ in range(2))
    for number, one in enumerate(taught):
        size = min(_TAUGHT, len(one.features))
        features[number, :size] = one.features[:size]
        other[number, :size] = 1
        for place in (place for places in one.gold for place in places if place < _TAUGHT):
            gold[number, place], other[number, place] = 1, 0
    flat = features.reshape(-1, width)
    spread = flat.std(axis=0) + np.float32(1e-6)
    flat = flat / spread
    weights, moment, square = (np.zeros(width, dtype=np.float32) for _ in range(3))
    pieces = gold.sum(axis=1, keepdims=True)
    for step in range(1, _STEPS + 1):
        scores = (flat @ weights).reshape(gold.shape)
        worth = np.exp(scores - scores.max(axis=1, keepdims=True))
        rest = (worth * other).sum(axis=1, keepdims=True)
        pull = rest / (rest + worth) * gold / pieces
        push = worth * other * ((gold / (rest + worth)).sum(axis=1, keepdims=True) / pieces)
        gradient = ((push - pull).reshape(-1) @ flat) / len(taught) + _SHRINK * weights
        moment = 0.9 * moment + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        weights = weights - _RATE * (moment / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    return np.asarray(weights / spread, dtype=np.float32)


def _recalls(rooms: Sequence[Sequence[_Asked]], weights: Sequence[Array]) -> dict[str, tuple[Interval, Interval]]:
    """Return recall@10 and @50 over all questions and by their kind, each room with its weights."""
    found: dict[str, list[tuple[float, float]]] = {"overall": []}
    for room, theirs in zip(rooms, weights, strict=True):
        for one in room:
            scores = one.features @ theirs
            rank = np.argsort(np.argsort(-scores, kind="stable")) + 1
            ranks = [min((int(rank[place]) for place in places), default=_NEVER) for places in one.gold]
            shares = (_share(ranks, _KS[0]), _share(ranks, _KS[1]))
            for kind in ("overall", one.category):
                found.setdefault(kind, []).append(shares)
    return {
        kind: (bootstrap([share for share, _ in shares]), bootstrap([share for _, share in shares]))
        for kind, shares in found.items()
    }


def _share(ranks: Sequence[int], k: int) -> float:
    return sum(rank <= k for rank in ranks) / len(ranks)


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
