"""The router: everything while it fits and pays, then extraction where there is one, then search; and it says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinyon.core.budget import Budget
from pinyon.core.cube import Cube
from pinyon.core.header import Header, Life, Provenance
from pinyon.core.payload import Text
from pinyon.core.scope import Scope
from pinyon.errors import BadInput
from pinyon.models import Message
from pinyon.testing import ScriptedModel, WordCounter
from pinyon.text import Hit, Hits, Pack, SizeRouter
from pinyon.text.blocks import BlockExtract, OnePassExtract
from pinyon.text.model_profile import Call, Curve, Metered, ModelProfile, measure_profile

DAY = datetime(2025, 3, 1, tzinfo=UTC)
PUBLISHED = {10: 12_800, 20: 24_600, 30: 36_500, 50: 61_800, 70: 87_000, 100: 125_000, 150: 228_000}


class WordShelf:
    def __init__(self, texts: Sequence[str]) -> None:
        self.cubes = [cube(n, text) for n, text in enumerate(texts)]
        self.searched: list[int] = []
        self.read: list[int] = []

    def tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def everything(self, limit: int) -> Sequence[Cube]:
        self.read.append(limit)
        return self.cubes[:limit]

    def search(self, question: str, k: int) -> Hits:
        self.searched.append(k)
        return Hits(tuple(Hit(each, 1.0) for each in self.cubes[:k]), len(self.cubes), {}, {"rank": 1.0}, ("said",))


def cube(number: int, text: str) -> Cube:
    header = Header(
        Provenance(unit="turn", thread=f"s{number // 2}", position=number, speaker="Ann"),
        life=Life(valid_from=DAY + timedelta(hours=number)),
    )
    return Cube(f"{number:032x}", number, 1, "main", Scope(session=f"s{number // 2}"), Text(text), header, DAY, DAY, "")


def shelf(size: int) -> WordShelf:
    return WordShelf([f"we spoke about topic{n}" for n in range(size)])


def test_by_default_everything_that_fits_is_read_in_order_and_nothing_is_searched() -> None:
    small = shelf(5)
    found = SizeRouter().route("topic3", small, Budget(tokens=200))
    assert found.decision.form == "full"
    assert [hit.cube.row for hit in found.hits.hits] == [0, 1, 2, 3, 4]
    assert small.searched == []
    assert found.hits.notes == ("all 5 memories fit into 200 tokens: nothing had to be searched",)


def test_by_default_the_rest_is_searched_without_reading_more_than_could_fit() -> None:
    large = shelf(500)
    found = SizeRouter().route("topic3", large, Budget(tokens=240))
    assert found.decision.form == "search"
    assert (large.searched, large.read) == ([12], [21])
    assert "chose hybrid retrieval for a history of more than" in found.hits.notes[-1]
    assert found.hits.notes[0] == "said"
    assert not found.decision.is_whole


def test_a_budget_without_tokens_is_searched() -> None:
    found = SizeRouter().route("topic3", shelf(3), Budget())
    assert found.decision.form == "search"


@pytest.mark.parametrize(("conversations", "tokens"), PUBLISHED.items())
def test_the_published_curve_with_five_seconds_ends_full_context_between_70_and_100(
    conversations: int, tokens: int
) -> None:
    router = SizeRouter(reader=ModelProfile(), most_seconds=5.0)
    decision = router.decide_by_size(tokens, 1, Budget(tokens=1_000_000))
    assert (decision.form == "full") == (conversations <= 70)


def test_a_budget_of_milliseconds_is_a_limit_of_time() -> None:
    decision = SizeRouter(reader=ModelProfile()).decide_by_size(125_000, 1, Budget(ms=5000))
    assert decision.form == "search"
    assert decision.outlooks[0].why_not == "5.8 s exceed 5 s"


def test_a_price_above_the_limit_ends_full_context() -> None:
    router = SizeRouter(reader=ModelProfile(), most_price=0.01)
    assert router.decide_by_size(36_500, 1, Budget()).form == "full"
    decision = router.decide_by_size(125_000, 1, Budget())
    assert decision.form == "search"
    assert "a price of 0.0171 exceeds 0.01" in decision.note


def test_what_does_not_fit_is_extracted_at_once_then_by_blocks_then_searched() -> None:
    cheap = ModelProfile("cheap", 50_000, Curve(((0, 0.5), (50_000, 1.0))), Curve(((0, 0.0), (50_000, 0.001))))
    helper = ScriptedModel([])
    router = SizeRouter(
        reader=ModelProfile(),
        helper=cheap,
        one_pass=OnePassExtract(helper, window_tokens=50_000),
        blocks=BlockExtract(helper),
        most_seconds=60.0,
    )
    forms = [router.decide_by_size(n, blocks, Budget(tokens=8_000)).form for n, blocks in BLOCKS]
    assert forms == ["full", "one_pass", "blocks", "search"]


BLOCKS = ((5_000, 1), (40_000, 4), (60_000, 5), (900_000, 70))


@given(st.integers(0, 2_000_000), st.integers(1, 200), st.integers(1, 10_000), st.floats(0.1, 100))
def test_the_choice_is_the_first_possible_form_and_never_breaks_a_limit(
    tokens: int, blocks: int, budget: int, seconds: float
) -> None:
    helper = ScriptedModel([])
    router = SizeRouter(
        reader=ModelProfile(), one_pass=OnePassExtract(helper), blocks=BlockExtract(helper), most_seconds=seconds
    )
    decision = router.decide_by_size(tokens, blocks, Budget(tokens=budget))
    chosen = next(each for each in decision.outlooks if each.is_possible)
    assert decision.form == chosen.form
    assert chosen.tokens <= budget
    if chosen.form != "search":
        assert chosen.seconds is not None
        assert chosen.seconds <= seconds


@given(st.lists(st.text(alphabet="ab ", min_size=1, max_size=80).filter(str.strip), max_size=15), st.integers(1, 150))
def test_the_packed_prompt_never_exceeds_the_budget_whatever_the_form(texts: list[str], tokens: int) -> None:
    here, budget = WordShelf(texts), Budget(tokens=tokens)
    for router in (SizeRouter(), SizeRouter(blocks=BlockExtract()), SizeRouter(one_pass=OnePassExtract())):
        hits = router.retrieve("aa bb ab", here, budget).hits
        assert Pack().compose(hits, here, budget).footprint.tokens <= tokens


def test_the_chosen_extraction_is_used_and_both_notes_are_in_the_trace() -> None:
    large = shelf(60)
    found = SizeRouter(blocks=BlockExtract(conversations=10)).route("topic33", large, Budget(tokens=100))
    assert found.decision.form == "blocks"
    assert [hit.cube.row for hit in found.hits.hits] == [33]
    assert "block extraction: read 60 memories" in found.hits.notes[0]
    assert found.hits.notes[1].startswith("chose block extraction")
    assert large.searched == []


def test_limits_without_a_model_are_refused() -> None:
    with pytest.raises(BadInput, match="without the figures"):
        SizeRouter(most_seconds=5.0)
    with pytest.raises(BadInput):
        SizeRouter(reader=ModelProfile(), most_price=0.0)


# --- figures of a model --------------------------------------------------------------------------------------------


def test_a_curve_goes_through_its_points() -> None:
    profile = ModelProfile()
    assert [round(profile.seconds(n), 1) for n in PUBLISHED.values()] == [2.2, 2.9, 3.3, 4.3, 4.9, 5.8, 13.6]


@pytest.mark.parametrize("points", [(), ((1, 1.0), (1, 2.0)), ((2, 1.0), (1, 2.0)), ((1, -1.0),), ((1, float("nan")),)])
def test_an_impossible_curve_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(BadInput):
        Curve(points)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 10)), min_size=1, max_size=12))
def test_measured_times_become_a_curve_that_never_falls(calls: list[tuple[int, float]]) -> None:
    profile = ModelProfile.from_calls("m", [Call(size, 5, took) for size, took in calls], window_tokens=100)
    values = [profile.seconds(size) for size in range(0, 60, 3)]
    assert all(a <= b + 1e-9 for a, b in pairwise(values))
    assert profile.is_measured


def test_rising_times_are_kept_as_they_are() -> None:
    calls = [Call(100, 10, 1.0), Call(200, 10, 1.5), Call(400, 10, 4.0)]
    profile = ModelProfile.from_calls("m", calls, window_tokens=1000)
    assert [profile.seconds(size) for size in (100, 200, 300, 400)] == [1.0, 1.5, 2.75, 4.0]


def test_prices_follow_from_tokens() -> None:
    calls = [Call(100, 50, 1.0)]
    profile = ModelProfile.from_calls("m", calls, window_tokens=1000, price_in=2.0, price_out=8.0, extract_tokens=150)
    assert profile.price(500_000) == pytest.approx(1.0 + 50 * 8e-6)
    assert profile.extract_price == pytest.approx(100 * 8e-6)
    assert profile.extract_seconds == pytest.approx(2.0)


class Slow:
    """A model that takes a second for every hundred words, on a clock of its own."""

    name = "slow"

    def __init__(self) -> None:
        self.now = 0.0

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        assert max_tokens > 0
        self.now += sum(len(message.content.split()) for message in messages) / 100
        return "fish"


def count() -> Callable[[str], int]:
    return WordCounter().count


def test_a_profile_is_measured_with_the_callers_own_model() -> None:
    model = Slow()
    profile = measure_profile(
        model, count=count(), window_tokens=3000, sizes=(100, 1000, 9000), clock=lambda: model.now
    )
    assert (profile.name, profile.is_measured) == ("slow", True)
    assert profile.seconds(2000) == pytest.approx(20, rel=0.01)


def test_the_choice_follows_the_measured_model() -> None:
    model = Slow()
    profile = measure_profile(model, count=count(), window_tokens=100_000, clock=lambda: model.now)
    router = SizeRouter(reader=profile, most_seconds=5.0)
    assert router.decide_by_size(400, 1, Budget()).form == "full"
    assert router.decide_by_size(600, 1, Budget()).form == "search"


def test_metered_calls_are_counted_and_passed_on() -> None:
    metered = Metered(ScriptedModel(["two words"]), count(), lambda: 0.0)
    assert metered.generate([Message("user", "one two three")]) == "two words"
    assert metered.calls == [Call(3, 2, 0.0)]


def test_a_profile_of_no_calls_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one call"):
        measure_profile(Slow(), count=count(), window_tokens=10, sizes=(50,))
