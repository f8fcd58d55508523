import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon import Condition
from pinyon.errors import BadInput
from pinyon.serve.words import condition_of, pair_of, value_of


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("topic=bees", Condition("topic", "eq", "bees")),
        ("topic==bees", Condition("topic", "eq", "bees")),
        (" topic = two words ", Condition("topic", "eq", "two words")),
        ("topic!=bees", Condition("topic", "ne", "bees")),
        ("year>3", Condition("year", "gt", 3)),
        ("year>=3.5", Condition("year", "ge", 3.5)),
        ("year<3", Condition("year", "lt", 3)),
        ("year<=3", Condition("year", "le", 3)),
        ("a.b=true", Condition("a.b", "eq", True)),
        ("code=007", Condition("code", "eq", "007")),
        ('year="2024"', Condition("year", "eq", "2024")),
        ("topic in bees, trees,3", Condition("topic", "in", ["bees", "trees", 3])),
        ('topic in ["a,b"]', Condition("topic", "in", ["a,b"])),
        ("url=a=b>c", Condition("url", "eq", "a=b>c")),
        ("mail box=x", Condition("mail box", "eq", "x")),
        ("empty=", Condition("empty", "eq", "")),
    ],
)
def test_a_condition_is_read_as_it_is_typed(text: str, condition: Condition) -> None:
    assert condition_of(text) == condition


@pytest.mark.parametrize("text", ["", "topic", "=x", ">3", "in a,b", "key in", "flag>true", "x={}"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        condition_of(text)


def test_metadata_are_json_when_they_can_be() -> None:
    assert pair_of("n=3") == ("n", 3)
    assert pair_of("list=[1, 2]") == ("list", [1, 2])
    assert pair_of("name=Ann = Bob") == ("name", "Ann = Bob")
    assert pair_of("not=NaN") == ("not", "NaN")
    assert pair_of("deep=" + "[" * 100_000)[1] == "[" * 100_000


@pytest.mark.parametrize("text", ["", "x", "=x", "  =x"])
def test_what_is_no_entry_of_metadata_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        pair_of(text)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()))
def test_every_json_value_is_read_back(value: object) -> None:
    assert value_of(json.dumps(value)) == value


@given(st.text())
def test_reading_a_condition_ends_in_a_condition_or_a_plain_refusal(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert condition_of(text).key
