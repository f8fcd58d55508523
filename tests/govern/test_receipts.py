from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pinyon.core.cube import Draft
from pinyon.core.payload import Text, canonical
from pinyon.core.scope import Scope
from pinyon.core.where import EVERY_STATE, View, Where
from pinyon.errors import BadInput
from pinyon.govern import (
    Receipt,
    Retained,
    carry_out,
    plan_forgetting,
    receipt_from_json,
    receipt_to_json,
    sign,
    verify,
)
from pinyon.govern.receipts import blinded
from pinyon.store import MemoryEngine, Store
from pinyon.testing import FixedClock

NOW = FixedClock().now()
ANN = Scope(user="ann", session="s1")


def add(store: Store, text: str) -> str:
    (placed,) = store.put([Draft(Text(text))], owner=ANN, space="main", now=NOW)
    return placed.cube.id


@pytest.fixture
def store() -> Store:
    return Store(MemoryEngine())


@pytest.fixture
def receipt(store: Store) -> Receipt:
    wanted = add(store, "bees")
    view = View(ANN, ("main",), Where(states=EVERY_STATE))
    return carry_out(store, plan_forgetting(store, view, ids=[wanted]), actor=ANN, now=NOW)


def test_a_receipt_holds_where_it_was_signed(store: Store, receipt: Receipt) -> None:
    add(store, "something later")
    assert verify(receipt, store.engine) == []


def test_a_receipt_goes_through_json_unchanged(store: Store, receipt: Receipt) -> None:
    back = receipt_from_json(json.loads(canonical(receipt_to_json(receipt))))
    assert back == receipt
    assert verify(back, store.engine) == []


@pytest.mark.parametrize("name", sorted(set(Receipt.__slots__) - {"store"}))
def test_any_change_breaks_the_signature(store: Store, receipt: Receipt, name: str) -> None:
    others: dict[str, Any] = {
        "actor": Scope(user="bob"), "asked": {"ids": []}, "erased": (), "index": True, "is_complete": False,
        "retained": (Retained("0" * 32, "main", "frozen"),),
        "time": FixedClock("2030-01-01").now(),
    }  # fmt: skip
    (problem,) = verify(replace(receipt, **{name: others.get(name, "0" * 64)}), store.engine)
    assert "changed after it was signed" in problem


def test_a_receipt_of_another_store_says_so(receipt: Receipt) -> None:
    other = MemoryEngine()
    assert "is of the store" in verify(receipt, other)[0]
    (problem,) = verify(replace(receipt, store=other.identity), other)
    assert "lost the key" in problem
    sign(receipt, other)
    (problem,) = verify(replace(receipt, store=other.identity), other)
    assert "signed by somebody else" in problem


def test_a_journal_that_is_not_the_one_of_the_receipt_is_named(store: Store, receipt: Receipt) -> None:
    longer = sign(replace(receipt, seq=99), store.engine)
    assert "ends before entry 99" in verify(longer, store.engine)[0]
    other = sign(replace(receipt, chain="f" * 64), store.engine)
    assert "another chain value" in verify(other, store.engine)[0]


def test_a_cube_that_is_still_there_is_named(store: Store, receipt: Receipt) -> None:
    there = add(store, "still here")
    (row,) = [event.row for event in store.journal() if event.cube == there]
    lying = sign(replace(receipt, erased=(replace(receipt.erased[0], id=there, row=row),)), store.engine)
    assert verify(lying, store.engine) == [f"cube {there} is here, receipt {receipt.id} says it went"]


def test_the_key_is_made_once_and_names_are_told_apart_by_it(store: Store) -> None:
    first = blinded(store.engine, "ann")
    assert first == blinded(store.engine, "ann") != blinded(store.engine, "bob")
    assert first != blinded(MemoryEngine(), "ann")
    assert len(bytes.fromhex(store.engine.setting("receipt_key") or "")) == 32


@pytest.mark.parametrize("data", [{}, {"format": 2}, {"format": 1, "id": 3}, {"format": 1, "erased": [{"x": 1}]}])
def test_what_is_no_receipt_is_refused(data: Any) -> None:
    with pytest.raises(BadInput):
        receipt_from_json(data)
