"""Pipelines as they are declared: reading, order, values, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.errors import BadInput, NotFound
from pinyon.schedule import OPERATIONS, Pipeline, Step
from pinyon.schedule.pipeline import template, templates
from pinyon.stepping import PERFORMED

FILE = """
about = "Tidy up."
needs = ["question"]

[values]
k = 5

[[step]]
name = "find"
do = "search"
question = "${question} of ${question}"
k = "${k}"
where = { tags = ["${question}"], since = 2024-05-01 }

[[step]]
do = "archive"
from = "find"
on_error = "retry(2) skip"
"""


def test_a_file_says_steps_values_and_what_happens_on_errors() -> None:
    found = Pipeline.from_toml(FILE, "tidy")
    assert (found.name, found.about, dict(found.values)) == ("tidy", "Tidy up.", {"question": None, "k": 5})
    find, away = found.steps
    assert (find.on_error, find.tries, away.on_error, away.tries) == ("abort", 1, "skip", 3)
    assert (away.name, away.sources) == ("archive", ("find",))
    assert find.options["where"] == {"tags": ["${question}"], "since": "2024-05-01"}


def test_values_take_their_place_with_their_kind() -> None:
    found = Pipeline.from_toml(FILE)
    find, _ = found.ready(found.chosen({"question": "bees", "k": "7"}))
    assert find.options["question"] == "bees of bees"
    assert (find.options["k"], find.options["where"]["tags"]) == (7, ["bees"])  # type: ignore[index, call-overload]


def test_what_got_an_empty_value_counts_as_not_given() -> None:
    find = template("transfer").ready(template("transfer").chosen({"to": "farm"}))[0]
    assert find.options["where"] == {"kinds": ["text"]}
    condense = template("consolidation").ready({"question": "x", "k": 1, "tokens": 9, "by": "", "label": "c"})[1]
    assert "by" not in condense.options


def test_json_of_a_pipeline_reads_as_the_same_pipeline() -> None:
    for each in (*templates(), Pipeline.from_toml(FILE)):
        said = each.to_json()
        values = said["values"]
        needs = [name for name, value in values.items() if value is None]  # type: ignore[union-attr]
        given = {name: value for name, value in values.items() if value is not None}  # type: ignore[union-attr]
        again = Pipeline.from_json({**said, "values": given, "needs": needs})
        assert again.digest == each.digest


def test_the_figure_of_the_paper_is_in_the_library() -> None:
    assert {"transfer", "purification", "rollback"} <= {each.name for each in templates()}
    assert all(each.about.endswith(".") for each in templates())


def test_every_operation_of_a_file_is_done_by_something() -> None:
    assert set(OPERATIONS) == set(PERFORMED)


def refused(text: str) -> str:
    with pytest.raises(BadInput) as error:
        Pipeline.from_toml(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[step]\n", "no TOML"),
        ("", "has steps"),
        ("step = 3", "has steps"),
        ("steps = []", "takes no 'steps'"),
        ('[[step]]\nname = "a"', "does not say what it does"),
        ('[[step]]\ndo = "serach"', "nothing called 'serach'"),
        ('[[step]]\ndo = "search"', "needs 'question'"),
        ('[[step]]\ndo = "list"\nwere = {}', "takes no 'were'"),
        ('[[step]]\ndo = "list"\nlimit = "many"', "takes a whole number"),
        ('[[step]]\ndo = "list"\nlimit = -1', "takes a whole number"),
        ('[[step]]\ndo = "archive"', "needs memories"),
        ('[[step]]\ndo = "add"', "nothing to add"),
        ('[[step]]\ndo = "list"\n[[step]]\ndo = "list"', "two steps 'list'"),
        ('[[step]]\ndo = "archive"\nfrom = "find"', "'find', which is not there"),
        ('[[step]]\ndo = "list"\nafter = 3', "after names steps"),
        ('[[step]]\nname = "a b"\ndo = "list"', "cannot be called 'a b'"),
        ('[[step]]\ndo = "list"\non_error = "retry"', "on_error is 'retry'"),
        ('[[step]]\ndo = "list"\non_error = "retry(99)"', "tried 100 times"),
        ('[[step]]\ndo = "search"\nquestion = "${q}"', "names the value 'q'"),
        ('[[step]]\nname = "a"\ndo = "list"\nafter = "b"\n[[step]]\nname = "b"\ndo = "list"\nafter = "a"', "circle"),
        ('[[step]]\nname = "a"\ndo = "list"\nafter = "a"', "circle"),
        ('[[step]]\nname = "a"\ndo = "list"\n[[step]]\nname = "b"\ndo = "list"\nfrom = "a"', "works on no memories"),
    ],
)
def test_bad_files_are_refused_with_one_sentence(text: str, said: str) -> None:
    message = refused(text)
    assert said in message
    assert "\n" not in message.split("\nhint: ")[0]


def test_values_that_are_missing_or_strange_are_refused() -> None:
    found = Pipeline.from_toml(FILE)
    with pytest.raises(BadInput, match="needs 'question'"):
        found.chosen({})
    with pytest.raises(BadInput, match="takes no 'kk'"):
        found.chosen({"question": "x", "kk": 3})
    with pytest.raises(BadInput, match="takes a whole number"):
        found.ready(found.chosen({"question": "x", "k": "many"}))
    with pytest.raises(NotFound, match="no pipeline 'nothing'"):
        template("nothing")
    with pytest.raises(NotFound):
        template("../pipeline")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[step]]\ndo = "list"\nwhere = { tag = "x" }', "step 'list': where: there is no filter 'tag'"),
        ('[[step]]\ndo = "changed"\nsince = "someday"', "step 'changed': since: 'someday'"),
    ],
)
def test_filters_and_moments_are_read_before_anything_runs(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Pipeline.from_toml(text).ready({})


def test_a_value_of_a_caller_is_never_read_as_another_value() -> None:
    found = Pipeline.from_toml(FILE)
    find, _ = found.ready(found.chosen({"question": "${k}"}))
    assert find.options["question"] == "${k} of ${k}"


# --- order ----------------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: Any) -> list[tuple[str, frozenset[str]]]:
    names = [f"s{n}" for n in range(draw(st.integers(1, 8)))]
    return [(name, draw(st.frozensets(st.sampled_from(names), max_size=3))) for name in names]


def naive_order(graph: list[tuple[str, frozenset[str]]]) -> list[str] | None:
    """Return the order by looking at every path; None where a step waits for itself."""
    edges = dict(graph)

    def reached(name: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(edges[name])
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting += edges[each]
        return seen

    if any(name in reached(name) for name in edges):
        return None
    out: list[str] = []
    while len(out) < len(graph):
        out.append(next(name for name, _ in graph if name not in out and reached(name) <= set(out)))
    return out


@given(graph=graphs())
def test_random_graphs_run_as_a_naive_order_says_or_are_refused_for_a_circle(
    graph: list[tuple[str, frozenset[str]]],
) -> None:
    steps = tuple(Step(name, "list", after=tuple(sorted(after))) for name, after in graph)
    wanted = naive_order(graph)
    if wanted is None:
        with pytest.raises(BadInput, match="circle"):
            Pipeline("random", steps)
    else:
        assert [step.name for step in Pipeline("random", steps).order()] == wanted
