"""Choose the weights of the first sum on all conversations but one, and look how they do on that one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..index import IndexConfig
from .base import Corpus
from .plain import Bench, Weights, benches, recalls, stacked, sums
from .stats import Interval, bootstrap, difference

__all__ = ["CrossValidation", "Fold", "cross_validate"]

GRID = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_KS = (10, 50)
_ROUNDS = 3  # of coordinate ascent; more change nothing on LoCoMo
_START = Weights(0.0, 0.0, 0.0, 0.0, 0.0)  # from nothing, so that the first sum as it is leaves no trace in the choice


@dataclass(frozen=True, slots=True)
class Fold:
    """One conversation held out.

    Args:
        held_out: Its name.
        chosen: Weights with the best mean of recall@10 and recall@50 on the others.
        recall: Recall@10 and @50 on the one held out with these.
        first_sum: The same with the weights of the first sum as it is.
        n: Its questions.
    """

    held_out: str
    chosen: Weights
    recall: tuple[float, float]
    first_sum: tuple[float, float]
    n: int


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What weights that never saw a conversation find in it.

    Args:
        folds: One a conversation.
        held_out: Recall@10 and @50 over all questions, each with the weights of its fold.
        first_sum: The same with the weights of the first sum as it is.
        gain: First sum less held out, paired: by how much the first sum may be tuned to these conversations.
        overall: Weights that are best on all conversations, seen.
        seen: Recall@10 and @50 with these: the most that tuning shows.
    """

    folds: tuple[Fold, ...]
    held_out: tuple[Interval, Interval]
    first_sum: tuple[Interval, Interval]
    gain: tuple[Interval, Interval]
    overall: Weights
    seen: tuple[float, float]

    def to_markdown(self) -> str:
        """Return a table of the folds and a line for all."""
        names = list(asdict(self.overall))
        head = ["held out", "n", *names, "@10", "@50", "first sum @10", "first sum @50"]
        lines = ["### LoCoMo, leave one conversation out", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for fold in self.folds:
            weights = [f"{value:g}" for value in asdict(fold.chosen).values()]
            figures = [f"{100 * v:.1f}" for v in (*fold.recall, *fold.first_sum)]
            lines.append(f"| {' | '.join([fold.held_out, str(fold.n), *weights, *figures])} |")
        seen = [f"{value:g}" for value in asdict(self.overall).values()]
        shown = [_percent(i) for i in (*self.held_out, *self.first_sum)]
        lines.append(f"| all | {self.held_out[0].n} | {' | '.join('' for _ in names)} | {' | '.join(shown)} |")
        lines += ["", f"First sum less held out: @10 {_points(self.gain[0])}, @50 {_points(self.gain[1])} points."]
        lines.append(
            f"Best on all, seen: {', '.join(f'{n} {v}' for n, v in zip(names, seen, strict=True))}: "
            f"@10 {100 * self.seen[0]:.1f}, @50 {100 * self.seen[1]:.1f}."
        )
        return "\n".join(lines) + "\n"


def cross_validate(
    corpus: Corpus,
    *,
    grid: Sequence[float] = GRID,
    progress: Callable[[int], object] | None = None,
) -> CrossValidation:
    """Choose window, section, dense and speaker weights with each room left out, by coordinate ascent over a grid.

    The turn's weight is 1 throughout, so these five are all there is to choose.

    Args:
        corpus: At least two rooms.
        grid: Values of a weight, each >= 0.
        progress: Told 1 after each set of weights.

    Raises:
        BadInput: There is nothing to leave out.

    Cost: some hundred sets of weights; 20 ms each on six conversations.
    """
    rooms = benches(corpus)
    if len(rooms) < 2:
        raise BadInput(f"leaving one of {len(rooms)} rooms out is not possible", hint="give at least two")
    trial = _Trial(rooms, progress)
    first_sum = Weights.of(IndexConfig())
    folds: list[Fold] = []
    mine: list[NDArray[np.float64]] = []
    for held, bench in enumerate(rooms):
        chosen = trial.best(grid, [number for number in range(len(rooms)) if number != held])
        found, usual = trial.recalls(chosen)[held], trial.recalls(first_sum)[held]
        mine.append(found)
        folds.append(Fold(bench.name, chosen, _means(found), _means(usual), len(found)))
    everything = list(range(len(rooms)))
    overall = trial.best(grid, everything)
    ours, usual = np.concatenate(mine), np.concatenate(trial.recalls(first_sum))
    return CrossValidation(
        tuple(folds),
        (bootstrap(ours[:, 0].tolist()), bootstrap(ours[:, 1].tolist())),
        (bootstrap(usual[:, 0].tolist()), bootstrap(usual[:, 1].tolist())),
        (
            difference(usual[:, 0].tolist(), ours[:, 0].tolist()),
            difference(usual[:, 1].tolist(), ours[:, 1].tolist()),
        ),
        overall,
        _means(np.concatenate(trial.recalls(overall))),
    )


class _Trial:
    """The legs of every question, and what each set of weights found, kept."""

    def __init__(self, rooms: Sequence[Bench], progress: Callable[[int], object] | None) -> None:
        self._rooms = rooms
        self._progress = progress
        self._found: dict[Weights, list[NDArray[np.float64]]] = {}
        self._legs = [stacked(bench) for bench in rooms]

    def recalls(self, weights: Weights) -> list[NDArray[np.float64]]:
        if weights not in self._found:
            self._found[weights] = [
                recalls(bench, sums(legs, weights), _KS) for bench, legs in zip(self._rooms, self._legs, strict=True)
            ]
            if self._progress is not None:
                self._progress(1)
        return self._found[weights]

    def best(self, grid: Sequence[float], rooms: Sequence[int]) -> Weights:
        def worth(weights: Weights) -> float:
            found = self.recalls(weights)
            return float(np.concatenate([found[room] for room in rooms]).mean())

        chosen = _START
        for _ in range(_ROUNDS):
            before = chosen
            for name in asdict(chosen):
                chosen = max([chosen, *(replace(chosen, **{name: value}) for value in grid)], key=worth)
            if chosen == before:
                break
        return chosen


def _means(found: NDArray[np.float64]) -> tuple[float, float]:
    at10, at50 = found.mean(axis=0).tolist()
    return at10, at50


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _points(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
