"""The same results on every engine."""

from __future__ import annotations

import os
from importlib.util import find_spec
from math import factorial

import pytest

from pinyon.errors import BadInput, MissingExtra
from pinyon.schedule import ItemFailed, Spreading, spread

ENGINES: list[Spreading] = ["here", "process"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("number", [0, 1, 7])
def test_results_come_in_the_order_of_the_items(engine: Spreading, number: int) -> None:
    told: list[int] = []
    items = [number - n for n in range(number)]
    assert list(spread(factorial, items, workers=2, engine=engine, progress=told.append)) == [
        factorial(n) for n in items
    ]
    assert told == list(range(1, number + 1))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failure_names_its_item_after_the_results_before_it(engine: Spreading) -> None:
    results, got = spread(factorial, [3, 2, -1, 4], workers=2, engine=engine), []
    with pytest.raises(ItemFailed, match=r"item 2 \(-1\) failed: ValueError") as caught:
        got.extend(result for result in results)
    assert caught.value.place == 2
    assert isinstance(caught.value.__cause__, ValueError)


def test_results_before_a_failure_are_given() -> None:
    results = spread(factorial, [3, -1], engine="here")
    assert next(results) == 6
    with pytest.raises(ItemFailed):
        next(results)


def test_the_item_of_a_process_that_died_is_named() -> None:
    with pytest.raises(ItemFailed, match="item 0"):
        list(spread(os._exit, [1], workers=1))


def test_here_nothing_is_done_before_it_is_asked_for() -> None:
    done: list[int] = []
    results = spread(done.append, [1, 2], engine="here")
    assert done == []
    next(results)
    assert done == [1]


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(BadInput, match="workers"):
        spread(factorial, [1], workers=0)
    with pytest.raises(BadInput, match="'cloud'"):
        spread(factorial, [1], engine="cloud")  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_its_extra_is_named() -> None:
    with pytest.raises(MissingExtra):
        list(spread(factorial, [1], engine="ray"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # ray warns of its own
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_ray_gives_the_same() -> None:
    assert list(spread(factorial, [4, 0, 3], workers=2, engine="ray")) == [24, 1, 6]
    with pytest.raises(ItemFailed, match="item 1"):
        list(spread(factorial, [4, -1], workers=2, engine="ray"))
