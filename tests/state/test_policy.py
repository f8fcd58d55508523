"""What several policies need: votes of queries, pooling, the choice of entries."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from state_worlds import tiny, view  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state.policy import attention_rows, kept_entries, scaling_of, shape_of, smooth, votes  # noqa: E402


def plain_votes(seen, reduce, pooling, kernel):
    """The votes as the pseudocode has them, one number at a time."""
    keys, queries = seen.keys[0].tolist(), seen.queries[0].tolist()
    heads, size, count = len(keys), len(keys[0]), len(queries[0])
    share = len(queries) // heads
    worth = [[[] for _ in range(size)] for _ in range(heads)]
    for head in range(heads):
        for query_head in range(head * share, (head + 1) * share):
            for number, query in enumerate(queries[query_head]):
                own = seen.read - count + number
                visible = [s for s in range(size) if seen.origins[head, s] <= own]
                raw = {s: sum(a * b for a, b in zip(query, keys[head][s], strict=True)) for s in visible}
                top = max(raw.values())
                weight = {s: math.exp((value - top) * seen.scaling) for s, value in raw.items()}
                total = sum(weight.values())
                for s in range(size):
                    worth[head][s].append(weight.get(s, 0.0) / total)
    out = []
    for head in range(heads):
        before = size - count
        rows = [max(w) if reduce == "max" else sum(w) / len(w) for w in worth[head][:before]]
        pooled = []
        for s in range(before):
            near = [rows[j] if 0 <= j < before else 0.0 for j in range(s - kernel // 2, s + kernel // 2 + 1)]
            pooled.append(max(near) if pooling == "max" else sum(near) / kernel)
        out.append(pooled + [0.0] * count)
    return out


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize(("pooling", "kernel"), [("max", 3), ("mean", 5), ("max", 1)])
@pytest.mark.parametrize("window", [1, 4])
def test_votes_are_those_of_a_plain_loop(reduce, pooling, kernel, window) -> None:
    seen = view(14, window=window, seed=window)
    fast = votes(seen, reduce=reduce, pooling=pooling, kernel=kernel)
    assert torch.allclose(fast[0], torch.tensor(plain_votes(seen, reduce, pooling, kernel)), atol=1e-6)


def test_votes_are_shares_of_attention() -> None:
    seen = view(20, window=3)
    worth = votes(seen, reduce="max", pooling="max", kernel=7)
    assert bool(((worth >= 0) & (worth <= 1)).all())


def test_votes_without_queries_are_refused() -> None:
    with pytest.raises(BadInput, match="queries"):
        votes(view(), reduce="max", pooling="max", kernel=3)


def test_rows_of_attention_are_causal_and_sum_to_one() -> None:
    seen = view(9, window=4)
    rows = attention_rows(seen.queries, seen.keys, origins=seen.origins, read=9, scaling=0.4)
    assert torch.allclose(rows.sum(dim=-1), torch.ones(1, 4, 4))
    assert torch.equal(rows[..., 5:].triu(diagonal=1), torch.zeros(1, 4, 4, 4))


@given(st.lists(st.floats(0, 9), min_size=1, max_size=20), st.integers(1, 9), st.sampled_from(["max", "mean"]))
def test_pooling_is_that_of_a_plain_loop(scores, kernel, pooling) -> None:
    left = (kernel - 1) // 2
    plain = []
    for place in range(len(scores)):
        near = range(place - left, place - left + kernel)
        found = [scores[i] if 0 <= i < len(scores) else 0.0 for i in near]
        plain.append(max(found) if pooling == "max" else sum(found) / kernel)
    fast = smooth(torch.tensor([scores], dtype=torch.float64), kernel, pooling)
    assert torch.allclose(fast, torch.tensor([plain], dtype=torch.float64))


def test_the_choice_is_increasing_and_among_equals_the_latest() -> None:
    scores = torch.tensor([[1.0, 1.0, 1.0, 2.0], [5.0, 0.0, 5.0, 5.0]])
    assert kept_entries(scores, 2).tolist() == [[2, 3], [2, 3]]
    assert kept_entries(scores[None], 3).tolist() == [[1, 2, 3], [0, 2, 3]]


def test_the_shape_counts_the_bytes_of_a_cache() -> None:
    backbone = tiny()
    cache = backbone.cache()
    backbone.forward([1, 2, 3], cache)
    shape = shape_of(backbone)
    assert shape.token_bytes == backbone.bytes_per_token
    assert cache.nbytes == 3 * shape.token_bytes
    assert shape.entries_within(5 * shape.token_bytes - 1) == 4
    assert scaling_of(backbone) == 16**-0.5
