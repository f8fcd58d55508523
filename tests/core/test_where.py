"""Filters and what they compare with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import KEYS, callers, conditions, headers, wheres

from pinyon import Memory
from pinyon.core.header import Header
from pinyon.core.scope import Scope
from pinyon.core.where import Condition, View, Where, conditions_from, facets, where_from
from pinyon.errors import BadInput
from pinyon.testing import HashEmbedder, WordCounter

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["text", "archived"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["eq", "gt", "x"]), inner, max_size=2),
    max_leaves=6,
)


def plain(header: Header, key: str) -> list[object]:
    """Return every scalar that stands at a path, by walking there."""
    found: list[object] = []

    def walk(path: str, value: object) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{path}.{name}" if path else name, inner)
        elif isinstance(value, list):
            for inner in value:
                walk(path, inner)
        elif path == key:
            found.append(value)

    walk("", dict(header.metadata))
    return found


def equal(a: object, b: object) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and a == b


@given(headers, conditions)
def test_a_condition_says_what_a_walk_through_the_metadata_says(header: Header, condition: Condition) -> None:
    values = plain(header, condition.key)
    wanted = condition.value
    match condition.op:
        case "eq" | "in":
            listed = wanted if isinstance(wanted, list) else [wanted]
            expected = any(equal(value, one) for value in values for one in listed)
        case "ne":
            expected = not any(equal(value, wanted) for value in values)
        case _:
            expected = any(
                {"gt": value > wanted, "ge": value >= wanted, "lt": value < wanted, "le": value <= wanted}[condition.op]
                for value in values
                if not isinstance(value, bool)
                and isinstance(value, str if isinstance(wanted, str) else (int, float))
                and (isinstance(value, str) or abs(value) < 1e308)
            )
    assert condition.holds(facets(header)) == expected


@given(headers)
def test_facets_are_distinct(header: Header) -> None:
    found = [(facet.key, facet.value) for facet in facets(header)]
    assert len(found) == len(set(found))


@given(wheres, callers)
def test_every_filter_can_be_kept_by_its_value(where: Where, caller: Scope) -> None:
    assert len({View(caller, ("main",), where), View(caller, ("main",), where)}) == 1


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("like", "x"),
        ("in", "x"),
        ("gt", None),
        ("gt", True),
        ("lt", [1]),
        ("gt", 10**400),
        ("gt", float("nan")),
        ("eq", float("inf")),
        ("eq", {"a": 1}),
        ("in", [[1]]),
        ("eq", 10**5000),
    ],
    ids=lambda value: str(value)[:9] if isinstance(value, str) else type(value).__name__,
)
def test_a_comparison_that_has_no_answer_is_refused(op: str, value: object) -> None:
    with pytest.raises(BadInput):
        Condition("k", op, value)  # type: ignore[arg-type]


@given(st.dictionaries(st.sampled_from([*Where.__slots__, "colour"]), json_values, max_size=4))
def test_any_json_is_a_filter_or_bad_input(filters: dict[str, object]) -> None:
    try:
        where = where_from(filters)
    except BadInput:
        return
    hash(where)
    assert isinstance(where.conditions, tuple)


@given(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=3))
def test_any_json_is_conditions_or_bad_input(metadata: dict[str, object]) -> None:
    try:
        made = conditions_from(metadata)
    except BadInput:
        return
    for condition in made:
        condition.holds(facets(Header(metadata={"k": 1, "m": "text", "a": {"b": None}})))


def test_a_filter_left_at_null_is_not_there() -> None:
    assert where_from(dict.fromkeys(Where.__slots__)) == Where()


def test_moments_of_filters_are_read() -> None:
    assert where_from({"since": "2024-05-01"}).since == datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "filters",
    [{"kinds": "picture"}, {"states": ["asleep"]}, {"tags": 7}, {"speaker": 7}, {"metadata": "x"}, {"colour": "red"}],
)
def test_a_filter_that_cannot_be_read_is_refused(filters: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        where_from(filters)


@pytest.mark.parametrize("value", [["a", "b"], {"gt": 3, "lt": 9}, True, None, "a", 5])
def test_a_memory_can_be_searched_with_every_form_of_condition(value: object) -> None:
    with Memory.open(":memory:", embedder=HashEmbedder(8), tokens=WordCounter()) as memory:
        for kept in ("a", 5, True, None):
            memory.add(f"bees {kept}", metadata={"k": kept})
        hits = memory.search("bees", where={"metadata": {"k": value}}).hits
    assert len(hits) == 1
