"""A draft model says which tokens of a prompt stay; and both stages together."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from state_worlds import numbers, tiny  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.models.taps import AttentionRows, Taps  # noqa: E402
from pinyon.state import SpecKV, SpecKVPC, SpecPC  # noqa: E402
from pinyon.state.spec_pc import choose  # noqa: E402

SMALL = SpecPC(window=6, kernel=5, neighbours=4, skip_layers=1, lookahead=3)


def plain_scores(config, draft, ids):
    """Steps 1 to 3 of the specification, from the attention rows that taps record."""
    cache, steps, fed = draft.cache(), [], list(ids)
    for step in range(config.lookahead):
        taps = Taps(rows=AttentionRows(last=config.window if step == 0 else 1))
        logits = draft.forward(fed, cache, taps=taps)
        by_layer = []
        for layer in range(min(config.skip_layers, draft.n_layers - 1), draft.n_layers):
            rows = taps.rows[layer][0]  # (H, w, S)
            found = [0.0] * len(ids)
            for head in rows.tolist():
                for i, row in enumerate(head):
                    weight = i / (config.window - 1) if step == 0 and config.weighted else 1.0
                    found = [max(old, weight * new) for old, new in zip(found, row[: len(ids)], strict=True)]
            by_layer.append(found)
        steps.append([max(values) for values in zip(*by_layer, strict=True)])
        fed = [int(logits.argmax())]
    return [max(values) for values in zip(*steps, strict=True)]


def plain_choice(scores, kernel, neighbours, window, count):
    """Steps 4 to 7 of the specification, on lists."""
    size, left = len(scores), (kernel - 1) // 2
    pooled = [max(scores[max(0, j - left) : j - left + kernel]) for j in range(size)]
    order = sorted(range(size), key=lambda j: (pooled[j], j), reverse=True)[:count]
    wide = []
    for place in order:
        steps = sorted(range(-((neighbours - 1) // 2), math.ceil((neighbours - 1) / 2) + 1), key=lambda d: (abs(d), d))
        wide += [min(max(place + step, 0), size - 1) for step in steps]
    ordered = list(dict.fromkeys(list(range(size - window, size)) + wide))
    return sorted(ordered[:count])


@pytest.mark.parametrize("changed", [{}, {"weighted": False}, {"skip_layers": 0}, {"lookahead": 1}, {"skip_layers": 9}])
def test_scores_are_those_of_the_specification(changed) -> None:
    config, draft, ids = replace(SMALL, **changed), tiny(), numbers(50)
    cut = config.cut(draft, ids, entries=20)
    assert torch.allclose(torch.tensor(cut.scores), torch.tensor(plain_scores(config, draft, ids)), atol=1e-5)
    assert all(0 <= score <= 1 for score in cut.scores)
    assert len(cut.lookahead) == config.lookahead


def test_a_window_of_one_row_counts_whole() -> None:
    one, ids = replace(SMALL, window=1, lookahead=1), numbers(50)
    weighted, plain = (replace(one, weighted=flag).cut(tiny(), ids, entries=20) for flag in (True, False))
    assert weighted.scores == plain.scores
    assert max(weighted.scores) > 0


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=12, max_size=40),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(6, 11),
)
@settings(max_examples=60)
def test_the_choice_is_that_of_the_specification(scores, kernel, neighbours, window, count) -> None:
    from pinyon.state.policy import smooth

    pooled = smooth(torch.tensor([scores], dtype=torch.float64), kernel, "max")[0].tolist()
    fast = choose(pooled, count=count, window=window, neighbours=neighbours)
    assert fast == plain_choice(scores, kernel, neighbours, window, count)


def test_what_stays_is_a_part_of_the_prompt_in_its_order_with_its_end() -> None:
    ids = numbers(80)
    cut = SMALL.cut(tiny(), ids, entries=25)
    assert len(cut.ids) == len(cut.kept) == 25
    assert all(a < b for a, b in zip(cut.kept, cut.kept[1:], strict=False))
    assert [ids[place] for place in cut.kept] == list(cut.ids)
    assert cut.kept[-6:] == tuple(range(74, 80))


def test_a_prompt_within_its_budget_stays_whole() -> None:
    cut = SMALL.cut(tiny(), numbers(20), entries=20)
    assert cut.ids == tuple(numbers(20))
    assert cut.kept == tuple(range(20))
    assert cut.lookahead == ()


def test_a_mean_ranks_by_the_sum() -> None:
    cut = replace(SMALL, reduce="mean").cut(tiny(), numbers(50), entries=20)
    assert len(cut.kept) == 20


@pytest.mark.parametrize("given_", [{"window": 0}, {"kernel": 0}, {"neighbours": 0}, {"lookahead": -1}])
def test_settings_that_make_no_sense_are_refused(given_) -> None:
    with pytest.raises(BadInput):
        SpecPC(**given_)


@pytest.mark.parametrize(("ids", "entries"), [([], 10), (numbers(30), 5)])
def test_a_budget_that_makes_no_sense_is_refused(ids, entries) -> None:
    with pytest.raises(BadInput):
        SMALL.cut(tiny(), ids, entries=entries)


def test_both_stages_share_one_draft() -> None:
    backbone, draft, ids = tiny(), tiny(layers=2, seed=1), numbers(90)
    both = SpecKVPC(SMALL, SpecKV(queries=6), prompt_entries=40)
    found = both.prefill(backbone, draft, ids, entries=15, lookahead=5)
    assert len(found.prompt.ids) == 40
    assert found.looked.lookahead == found.prompt.lookahead
    assert found.looked.cache.layers[0].lengths() == [15, 15]
    origins = found.looked.cache.layers[0].uniform().origins[0].tolist()
    assert [ids[found.prompt.kept[origin]] for origin in origins[-6:]] == ids[-6:]


def test_the_second_stage_drafts_when_the_first_had_nothing_to_do() -> None:
    both = SpecKVPC(SMALL, SpecKV(queries=6), prompt_entries=100)
    found = both.prefill(tiny(), tiny(layers=2, seed=1), numbers(90), entries=15, lookahead=5)
    assert len(found.prompt.ids) == 90
    assert 0 < len(found.looked.lookahead) <= 5
