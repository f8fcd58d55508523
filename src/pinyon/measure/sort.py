"""SORT: which of two segments of a sequence came first, put to memories, to readers and to small networks.

The trials are made in `_sort_trials`, memories are asked in `_sort_order`, language models that see the text in
`_sort_reader`, and networks that are trained on the task in `_sort_nets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..core.payload import Json
from ..errors import BadInput
from ._sort_nets import Recalled, SyntheticSort, Trained, train_order
from ._sort_order import (
    Constant,
    MemoryOrder,
    Oracle,
    OrderMemory,
    Shuffled,
    SortOutcome,
    SubjectOrder,
    by_position,
    by_row,
    by_time,
    noisy,
    run_trials,
    session_passages,
    sort_metrics,
    trial_passages,
    undecided,
)
from ._sort_reader import (
    GeneratorReader,
    LocalReader,
    Reader,
    Reading,
    letter_said,
    order_prompt,
    read_trials,
    reading_outcomes,
)
from ._sort_spread import same_p, uniform_p
from ._sort_trials import (
    SortCell,
    SortExcerpt,
    SortPlan,
    SortText,
    SortTrial,
    book_texts,
    build_sort,
    prose,
    reference_texts,
    sequence,
    session_trials,
    sort_bins,
)
from .base import Item, Metric, Report
from .session import ItemLog, MeasureBudget
from .subject import Passage, Subject

__all__ = [
    "LENGTHS",
    "SEGMENTS",
    "Constant",
    "GeneratorReader",
    "LocalReader",
    "MemoryOrder",
    "Oracle",
    "OrderMemory",
    "Reader",
    "Reading",
    "Recalled",
    "Shuffled",
    "Sort",
    "SortCell",
    "SortExcerpt",
    "SortOutcome",
    "SortPlan",
    "SortText",
    "SortTrial",
    "SubjectOrder",
    "SyntheticSort",
    "Trained",
    "book_texts",
    "build_sort",
    "by_position",
    "by_row",
    "by_time",
    "letter_said",
    "noisy",
    "order_prompt",
    "prose",
    "read_trials",
    "reading_outcomes",
    "reference_texts",
    "run_trials",
    "same_p",
    "sequence",
    "session_passages",
    "session_trials",
    "sort_bins",
    "sort_metrics",
    "sort_texts",
    "train_order",
    "trial_passages",
    "undecided",
    "uniform_p",
]

LENGTHS = (250, 1000, 2500, 10_000, 20_000)
"""Words of an excerpt in the paper."""
SEGMENTS = (20, 50)
"""Words of a segment in the paper."""
_LENGTH = 2500
_SEGMENT = 50
_EXCERPTS = 50  # a text, four trials each: 200, as the specification asks
_SMALL = 20  # excerpts of a small run, over all texts


class Sort:
    """Does a search find the right place of each of two segments, so that their order is known.

    Every excerpt is a space of its own, added sentence by sentence; both segments are searched, and the places of
    what is found are compared. Chance is 50 %. What cannot be told is decided by a coin and counted apart.

    Args:
        folder: Books as text files; None takes the Python language reference.
        length: Words of an excerpt.
        segment: Words of a segment.
        excerpts: A text, at most.
        name: For tables.

    Raises:
        BadInput: There is no text that is long enough.

    Source: Pink et al. 2024, arXiv 2410.08133.
    Deviates: a memory is asked through its search instead of a language model through its prompt. A `Subject` gives
        ids and not times, so that its places are those in which the ids were added; `MemoryOrder` compares what a
        pinyon memory itself knows.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        length: int = _LENGTH,
        segment: int = _SEGMENT,
        excerpts: int = _EXCERPTS,
        name: str = "sort",
    ) -> None:
        self.name = name
        self._texts = sort_texts(folder, least=length + 1)
        self._length = length
        self._segment = segment
        self._excerpts = excerpts

    def run(self, subject: Subject, budget: MeasureBudget, log: ItemLog) -> Report:
        """Add the excerpts, ask the trials, and score.

        Args:
            subject: Fresh.
            budget: Its items are excerpts of four trials; a small one takes 20.
            log: Filled in.
        """
        cells = [build_sort(text, length=self._length, segment=self._segment, seed=budget.seed) for text in self._texts]
        every = [(cell, number) for cell in cells for number in range(min(self._excerpts, _tested(cell)))]
        chosen = budget.sample(every, _SMALL)
        log.expect(len(chosen))
        memory = SubjectOrder(subject)
        for cell, number in chosen:
            log.run(_key(cell, number), _asked(memory, cell, number))
        return self._report(chosen, log, budget.seed)

    def _report(self, chosen: Sequence[tuple[SortCell, int]], log: ItemLog, seed: int) -> Report:
        noted = {item.key: item for item in log.items}
        outcomes: list[SortOutcome] = []
        items: list[Item] = []
        passages = 0
        for cell, number in chosen:
            item = noted.get(_key(cell, number))
            if item is None:
                continue
            passages += len(cell.excerpts[number].pieces())
            for trial in _trials_of(cell, number):
                said = item.record.get(str(trial.high)) if item.state == "done" else None
                if isinstance(said, (int, float)):
                    outcomes.append(SortOutcome.of(trial, float(said), seed=seed))
                else:
                    outcomes.append(SortOutcome(trial, 0.5, "X"))  # a failure is wrong, not a coin
                right = int(outcomes[-1].is_right)
                items.append(Item(cell.text, trial.id, f"distance up to {trial.high}", (right,), 0.0))
        metrics: tuple[Metric, ...] = sort_metrics(outcomes)
        notes = ("Chance is 50 %. Order is that in which the passages found had been added.",)
        return Report(
            self.name, "", metrics, len(outcomes), 0.0, cubes=passages, items=tuple(items), seed=seed, notes=notes
        )


def sort_texts(folder: Path | None, *, least: int = _LENGTH + 1) -> tuple[SortText, ...]:
    """Return the books of a folder that are long enough, or the Python reference where there is none.

    Args:
        folder: Text files, or None.
        least: Words.

    Raises:
        BadInput: No text is long enough.
    """
    found = tuple(t for t in (book_texts(folder) if folder is not None else ()) if len(t) >= least)
    found = found or tuple(t for t in reference_texts() if len(t) >= least)
    if not found:
        raise BadInput(f"no text of {least} words was found", hint="give a folder with longer text files")
    return found


def _tested(cell: SortCell) -> int:
    return len({trial.excerpt for trial in cell.of_split("test")})


def _key(cell: SortCell, number: int) -> str:
    return f"{cell.text}/{cell.length}/{cell.segment}/{number}"


def _trials_of(cell: SortCell, number: int) -> list[SortTrial]:
    return [trial for trial in cell.trials if trial.excerpt == number]


def _asked(memory: SubjectOrder, cell: SortCell, number: int) -> Callable[[], Mapping[str, Json]]:
    def work() -> Mapping[str, Json]:
        space = f"sort-{_key(cell, number)}".replace("/", "-")
        passages = trial_passages(cell.excerpts[number])
        memory.write(space, [Passage(f"{space}:{p.id}", p.text, session=p.session) for p in passages])
        return {str(trial.high): memory.order(space, trial.a, trial.b) for trial in _trials_of(cell, number)}

    return work
