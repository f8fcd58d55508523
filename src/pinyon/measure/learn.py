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
_TAUGHT = (150, 60)  # candidates of a question that teach: the best, and the nearest in meaning; more teach the same
_OTHERS = 0.3  # what all variants of a corpus together count beside it; more costs LoCoMo, less what shares no word
_STEPS, _RATE, _SHRINK = 300, 0.05, 1e-2  # of Adam; a shrinkage of 0.003 to 0.03 changes recall by 0.3 points
# 150 steps find 0.3 to 1.0 points less in other words and among documents, and 2 less of open-domain: one question
_SHARED = 100  # best candidates on which both scores are brought to one scale


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question: features of its candidates, their first scores, and where its evidence stands among them.

    Args:
        features: Of its candidates, (M, F).
        base: Their first scores, (M,).
        gold: Places of the candidates that carry each piece of its evidence.
        taught: Places of the candidates that teach, (T,).
        category: Kind of question.
        room: Where it was asked.
    """

    features: Array
    base: Array
    gold: tuple[tuple[int, ...], ...]
    taught: NDArray[np.intp]
    category: str
    room: str


@dataclass(frozen=True, slots=True)
class Learned:
    """Weights, and what weights that never saw a room find in it.

    Args:
        names: Of the features.
        weights: Of all rooms, on the scale of the first sum.
        held_out: By kind of question and ``overall``: recall@10 and @50, each room with weights of the others; then the
            same for each variant as a whole, by its name.
        seen: The same with the weights of all rooms.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    held_out: dict[str, tuple[Interval, Interval]]
    seen: dict[str, tuple[Interval, Interval]]

    def to_markdown(self) -> str:
        """Return a table of recall and the weights."""
        lines = ["### The second look, leave one conversation out", ""]
        lines += ["| questions | n | held out @10 | @50 | seen @10 | @50 |", "|---|---:|---:|---:|---:|---:|"]
        for kind, found in self.held_out.items():
            shown = [_percent(interval) for interval in (*found, *self.seen[kind])]
            lines.append(f"| {kind} | {found[0].n} | {' | '.join(shown)} |")
        lines += [""]
        lines += [f'    ("{name}", {weight:.3f}),' for name, weight in zip(self.names, self.weights, strict=True)]
        return "\n".join(lines) + "\n"


def learn_weights(
    corpus: Corpus, variants: Sequence[Corpus] = (), *, progress: Callable[[int], object] | None = None
) -> Learned:
    """Learn one weight a feature by a softmax over the candidates of each question, with each room left out once.

    For the evidence p of a question and the candidates n that are none: mean over p of ln(1 + Σ exp(s_n − s_p)). A
    question of a variant is asked in one of the variants alone; a room is left out of all.

    Args:
        corpus: At least two rooms of conversations.
        variants: The same rooms with other questions or in another order, as `other_words` makes them; they teach what
            the corpus has too few of.
        progress: Told 1 after each question.

    Raises:
        BadInput: There is nothing to leave out.

    Cost: 30 ms a question, then seconds a room.
    """
    if len(corpus.rooms) < 2:
        raise BadInput(f"leaving one of {len(corpus.rooms)} rooms out is not possible", hint="give at least two")
    names, own = _collected(corpus, slice(None), progress)
    others = [
        _collected(variant, slice(number, None, len(variants)), progress)[1] for number, variant in enumerate(variants)
    ]
    folds = {
        room.space: _weights(_without(own, room.space), [_without(each, room.space) for each in others])
        for room in corpus.rooms
    }
    overall = _weights(own, others)
    first = np.concatenate([asked.base[:_SHARED] for asked in own])
    second = np.concatenate([asked.features[:_SHARED] @ overall for asked in own])
    scale = float(first.std() / second.std())
    seen = dict.fromkeys(folds, overall)
    held = [_recalls(asked, folds) for asked in (own, *others)]
    known = [_recalls(asked, seen) for asked in (own, *others)]
    labels = [variant.name for variant in variants]
    return Learned(
        names,
        tuple((overall * scale).tolist()),
        held[0] | {name: found["overall"] for name, found in zip(labels, held[1:], strict=True)},
        known[0] | {name: found["overall"] for name, found in zip(labels, known[1:], strict=True)},
    )


def _without(asked: Sequence[_Asked], room: str) -> list[_Asked]:
    return [one for one in asked if one.room != room]


def _collected(
    corpus: Corpus, chosen: slice, progress: Callable[[int], object] | None
) -> tuple[tuple[str, ...], list[_Asked]]:
    """Put questions to a memory and keep what its second look is told."""
    looks: list[tuple[NDArray[np.int64], Array, Mapping[str, Array]]] = []

    def watch(rows: NDArray[np.int64], scores: Array, found: Mapping[str, Array]) -> None:
        looks.append((rows, scores, found))

    out: list[_Asked] = []
    names: tuple[str, ...] = ()
    with Memory.open(":memory:", index=IndexConfig(rerank=RerankConfig(watch=watch))) as memory:
        for room in corpus.rooms:
            here = memory.at(space=room.space)
            here.add_many(room.experiences)
            carried = {cube.row: set(corpus.names(cube)) for cube in here.iterate()}
            for question in [q for q in room.questions if q.is_counted][chosen]:
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
                best, nearest = _TAUGHT
                near = np.argsort(-found["question"], kind="stable")[:nearest]
                taught = np.union1d(np.arange(min(best, len(rows))), near)
                out.append(_Asked(table, scores, gold, taught, question.category, room.space))
                if progress is not None:
                    progress(1)
    return names, out


def _weights(own: Sequence[_Asked], others: Sequence[Sequence[_Asked]]) -> Array:
    """Return the weights that minimise the loss over questions, by Adam from nothing.

    Args:
        own: Questions of the corpus, that count 1 each.
        others: Questions of each variant, that share what all variants count.
    """
    taught, counts = [], []
    for asked, whole in [(own, float(len(own))), *((each, _OTHERS * len(own) / len(others)) for each in others)]:
        teaching = [one for one in asked if not set(_flat(one.gold)).isdisjoint(one.taught.tolist())]
        taught += teaching
        counts += [whole / max(1, len(asked))] * len(teaching)
    worth_of = np.array(counts, dtype=np.float32)[:, None]
    width, most = taught[0].features.shape[1], max(len(one.taught) for one in taught)
    features = np.zeros((len(taught), most, width), dtype=np.float32)
    gold, other = (np.zeros((len(taught), most), dtype=np.float32) for _ in range(2))
    for number, one in enumerate(taught):
        features[number, : len(one.taught)] = one.features[one.taught]
        is_gold = np.isin(one.taught, _flat(one.gold))
        gold[number, : len(one.taught)], other[number, : len(one.taught)] = is_gold, ~is_gold
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
        gradient = (((push - pull) * worth_of).reshape(-1) @ flat) / worth_of.sum() + _SHRINK * weights
        moment = 0.9 * moment + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        weights = weights - _RATE * (moment / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    return np.asarray(weights / spread, dtype=np.float32)


def _flat(gold: Sequence[Sequence[int]]) -> list[int]:
    return [place for places in gold for place in places]


def _recalls(asked: Sequence[_Asked], weights: Mapping[str, Array]) -> dict[str, tuple[Interval, Interval]]:
    """Return recall@10 and @50 over all questions and by their kind, each room with its weights."""
    found: dict[str, list[tuple[float, float]]] = {"overall": []}
    for one in asked:
        scores = one.features @ weights[one.room]
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
