"""Seals, ids and metadata of cubes."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import callers, drafts, headers, payloads

from pinyon.core.cube import Draft, check_metadata, cube_to_json, seal_hash, seal_id
from pinyon.core.header import Header
from pinyon.core.payload import Text, canonical
from pinyon.core.scope import Scope
from pinyon.errors import BadInput
from pinyon.store import MemoryEngine, Store
from pinyon.testing import FixedClock

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)
objects = st.dictionaries(st.text(), json_values, max_size=4)


def has_surrogates(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


# --- seals ---------------------------------------------------------------------------------------------------------


def test_an_id_is_the_same_on_every_machine() -> None:
    draft = Draft(Text("Ann keeps bees."))
    assert seal_id(draft, Scope(user="ann"), "main") == "404af0ad1f44b020f9b2afc18c266db0"


def test_a_seal_is_the_same_on_every_machine() -> None:
    seal = seal_hash(Text("Ann keeps bees."), Header(tags=("a",), metadata={"b": 1, "a": "é"}), "")
    assert seal == "7d1e2e7b3faa4df1b90b18c6d74c251b5736eaa1ff97a655f5db1d67b81b6b54"


@given(payload=payloads, header=headers)
def test_a_seal_is_the_same_each_time(payload: Text, header: Header) -> None:
    assert seal_hash(payload, header, "") == seal_hash(payload, header, "")


@pytest.mark.parametrize(
    "owner",
    [Scope(user="ann"), Scope(agent="ann"), Scope(tenant="ann"), Scope(user="None"), Scope(user="ann", agent="b")],
)
def test_every_wall_gives_an_id_of_its_own(owner: Scope) -> None:
    draft = Draft(Text("x"))
    assert seal_id(draft, owner, "main") != seal_id(draft, Scope(), "main")


@given(one=callers, other=callers, draft=drafts)
def test_ids_are_equal_only_within_the_same_walls(one: Scope, other: Scope, draft: Draft) -> None:
    walls = [(who.tenant, who.user, who.agent) for who in (one, other)]
    assert (seal_id(draft, one, "main") == seal_id(draft, other, "main")) == (walls[0] == walls[1])


def test_a_session_is_no_wall() -> None:
    draft = Draft(Text("x"))
    assert seal_id(draft, Scope(session="1"), "main") == seal_id(draft, Scope(session="2"), "main")


def test_spaces_and_repetitions_give_ids_of_their_own() -> None:
    draft = Draft(Text("x"))
    ids = [seal_id(draft, Scope(), "main"), seal_id(draft, Scope(), "work"), seal_id(draft, Scope(), "main", nonce=1)]
    assert len(set(ids)) == 3


@given(st.lists(drafts, max_size=4), callers)
def test_the_same_calls_give_the_same_bytes(made: list[Draft], owner: Scope) -> None:
    answers = []
    for _ in range(2):
        store = Store(MemoryEngine())
        placed = store.put(made, owner=owner, space="main", now=FixedClock().now())
        answers.append([canonical(cube_to_json(p.cube)) for p in placed] + [e.chain for e in store.journal()])
    assert answers[0] == answers[1]


# --- metadata ------------------------------------------------------------------------------------------------------


@given(objects)
def test_metadata_that_json_can_say_is_kept_as_it_is(value: dict[str, object]) -> None:
    if has_surrogates(value):
        with pytest.raises(BadInput):
            check_metadata(value)
    else:
        assert canonical(check_metadata(value)) == canonical(value)


def cyclic() -> dict[str, object]:
    value: dict[str, object] = {}
    value["self"] = value
    return value


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {"end": 1}
    for _ in range(levels - 1):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"a": math.nan},
        {"a": [math.inf]},
        {"a": b"bytes"},
        {"a": {1, 2}},
        {"a": object()},
        {1: "a"},
        {None: "a"},
        {"a": {1: "b"}},
        {"a": [{True: "b"}]},
        {"a": "\ud800"},
        {"\udfff": 1},
        {"a": 10**5000},
        cyclic(),
        nested(101),
        nested(5000),
        {"a": [[[[[0]]]]] * 2, "b": nested(100)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_that_json_cannot_say_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        check_metadata(value)


def test_metadata_of_a_hundred_levels_is_kept() -> None:
    assert check_metadata(nested(100)) == nested(100)


@pytest.mark.parametrize("value", [None, 1, "text", ["a"], [("a", 1)], b""])
def test_metadata_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match="JSON object"):
        check_metadata(value)


def test_metadata_is_a_copy() -> None:
    given_ = {"a": [1]}
    kept = check_metadata(given_)
    given_["a"].append(2)
    assert kept == {"a": [1]}


def test_tuples_become_lists() -> None:
    assert check_metadata({"a": (1, (2,))}) == {"a": [1, [2]]}
