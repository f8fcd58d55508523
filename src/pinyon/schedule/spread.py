"""Do the same thing to many items: here, in processes of this machine, or on others by ray."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, TypeVar

from ..errors import BadInput, PinyonError
from ..extras import require

__all__ = ["ItemFailed", "Spreading", "spread"]

A = TypeVar("A")
B = TypeVar("B")

Spreading = Literal["here", "process", "ray"]
"""``here``: this process; ``process``: processes of this machine; ``ray``: the cluster that ray is connected to."""

_AHEAD = 4  # items given out for each worker before results are waited for: keeps them busy, bounds memory


class ItemFailed(PinyonError, RuntimeError):
    """The function failed on an item; `place` is its number from 0, and the cause is chained."""

    def __init__(self, place: int, item: object, error: BaseException) -> None:
        said = f"{type(error).__name__}: {error}"
        super().__init__(f"item {place} ({_short(item)}) failed: {said}")
        self.place = place


def spread(
    function: Callable[[A], B],
    items: Sequence[A],
    *,
    workers: int | None = None,
    engine: Spreading = "process",
    progress: Callable[[int], object] | None = None,
) -> Iterator[B]:
    """Yield the function's result for each item, in order; the results are the same on every engine.

    For bulk embedding, measuring and training runs. Processes are started afresh, so `function` is a function of a
    module and it and the items can be pickled; a script that calls this does so under ``if __name__ == "__main__"``.

    Args:
        function: What is done; called in another process unless the engine is ``here``.
        items: What it is done to.
        workers: Processes; default the number of cores this process may use, and for ``ray`` what its cluster has.
        engine: Where.
        progress: Told the number of results so far, after each.

    Raises:
        BadInput: `workers` is below 1, or the engine is none of the three.
        ItemFailed: The function failed on an item, or its process died; results before it were given.
        MissingExtra: The engine is ``ray`` and it is not installed.

    Example:
        >>> list(spread(abs, [-3, 2], engine="here"))
        [3, 2]
    """
    if workers is not None and workers < 1:
        raise BadInput(f"workers must be >= 1, got {workers!r}")
    match engine:
        case "here":
            results = _here(function, items)
        case "process":
            results = _processes(function, items, workers or _cores())
        case "ray":
            results = _ray(function, items, workers)
        case _:
            raise BadInput(f"{engine!r} is no way to spread work", hint="here, process or ray")
    return _told(results, progress)


def _told(results: Iterator[B], progress: Callable[[int], object] | None) -> Iterator[B]:
    for number, result in enumerate(results, start=1):
        if progress is not None:
            progress(number)
        yield result


def _here(function: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
    for place, item in enumerate(items):
        try:
            result = function(item)
        except Exception as error:
            raise ItemFailed(place, item, error) from error
        yield result


def _processes(function: Callable[[A], B], items: Sequence[A], workers: int) -> Iterator[B]:
    from concurrent.futures import ProcessPoolExecutor  # 10 ms that a search should not cost
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(min(workers, max(1, len(items))), mp_context=get_context("spawn"))
    try:
        given = ((place, item, pool.submit(function, item)) for place, item in enumerate(items))
        waiting = deque(islice(given, workers * _AHEAD))
        while waiting:
            place, item, future = waiting.popleft()
            try:
                result = future.result()
            except Exception as error:  # what the function raised, or that its process is gone
                raise ItemFailed(place, item, error) from error
            yield result
            waiting.extend(islice(given, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ray(function: Callable[[A], B], items: Sequence[A], workers: int | None) -> Iterator[B]:
    ray: Any = require("ray", "spread work over machines")
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        remote = ray.remote(_called)
        given = ((place, item, remote.remote(function, item)) for place, item in enumerate(items))
        waiting = deque(islice(given, most * _AHEAD))
        while waiting:
            place, item, reference = waiting.popleft()
            try:
                result: B = ray.get(reference)
            except ray.exceptions.RayError as error:
                raise ItemFailed(place, item, getattr(error, "cause", None) or error) from error
            yield result
            waiting.extend(islice(given, 1))
    finally:
        if is_ours:
            ray.shutdown()


def _called(function: Callable[[A], B], item: A) -> B:
    """Call a function; ray takes no builtin as it is."""
    return function(item)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _short(item: object) -> str:
    text = repr(item)
    return text if len(text) <= 80 else f"{text[:77]}..."
