"""On SmolLM2-135M-Instruct: the layers in which its retrieval heads lie, and what five of them carry."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pinyon.errors import MissingExtra  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.state.head_check import check_heads  # noqa: E402
from pinyon.state.head_profile import HeadProfile  # noqa: E402
from pinyon.state.needle_prompts import CHECK_FACTS, FIND_FACTS, find_span, needle_prompt  # noqa: E402
from pinyon.state.retrieval_heads import find_heads  # noqa: E402
from pinyon.testing import small_model  # noqa: E402

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    try:
        folder = small_model()
    except MissingExtra as error:
        pytest.skip(error.message)
    return Backbone.load(folder)


@pytest.fixture(scope="module")
def profile(backbone: Backbone) -> HeadProfile:
    return find_heads(backbone, lengths=(250,), trials=8)


def test_heads_that_copy_lie_in_layers_17_to_24_and_are_few(profile: HeadProfile) -> None:
    assert len(profile.counted) >= 4
    found = profile.retrieval_heads
    assert sum(17 <= layer <= 24 for layer, _ in found) >= 5
    assert 0.02 <= len(found) / len(profile.scores) <= 0.09
    assert all(17 <= layer <= 24 for layer, _ in found[:5])


def test_five_of_them_carry_what_five_others_do_not(backbone: Backbone, profile: HeadProfile) -> None:
    found = check_heads(backbone, profile, CHECK_FACTS[:6], counts=(5,), draws=3, lengths=(250,), max_tokens=16)
    top, others = found.points_lost(5)
    assert top >= 40
    assert others <= top / 2  # six facts and three draws; benchmarks/state.py has the figures


@pytest.mark.parametrize("spelled", [" They chose red wool.", "red wool was chosen."])
def test_words_are_found_behind_a_space_and_at_the_beginning(backbone: Backbone, spelled: str) -> None:
    ids = backbone.encode(spelled)
    start, end = find_span(backbone, ids, "red wool")
    assert backbone.decode(ids[start:end]).strip() == "red wool"


def test_every_fact_fits_a_prompt_and_is_found_in_it(backbone: Backbone) -> None:
    for fact in (*FIND_FACTS, *CHECK_FACTS):
        prompt = needle_prompt(backbone, fact, length=200, depth=0.5)
        start, end = prompt.span
        assert backbone.decode(prompt.ids[start:end]).strip() == fact.answer
        assert len(prompt.ids) == 200
