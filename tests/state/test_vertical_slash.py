"""Attention to the latest positions and some columns."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from state_worlds import numbers, tiny  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.state.vertical_slash import VerticalSlash, vertical_slash  # noqa: E402


def masked(queries, keys, values, *, columns, slash, scale):
    """The definition: full attention under an explicit mask."""
    groups, size = keys.shape[1:3]
    own, seen = torch.arange(size)[:, None], torch.arange(size)[None]
    parts = []
    for head in range(queries.shape[1]):
        kv_head = head // (queries.shape[1] // groups)
        visible = (seen <= own) & ((own - seen < slash) | torch.isin(seen, columns[kv_head]))
        products = (queries[:, head] @ keys[:, kv_head].transpose(1, 2)) * scale
        parts.append(products.masked_fill(~visible, -torch.inf).softmax(dim=-1) @ values[:, kv_head])
    return torch.stack(parts, dim=1)


def drawn(size, *, batch=1, heads=4, groups=2, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, size, 8), (batch, groups, size, 8), (batch, groups, size, 8)]
    return [torch.randn(shape, generator=draw) for shape in shapes]


@given(
    st.integers(1, 70), st.integers(1, 80), st.integers(0, 70), st.integers(1, 30), st.integers(1, 2), st.integers(0, 9)
)
@settings(max_examples=80, deadline=None)
def test_it_is_full_attention_under_the_mask(size, slash, count, block, batch, seed) -> None:
    queries, keys, values = drawn(size, batch=batch, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    columns = torch.stack([torch.randperm(size, generator=draw)[:count] for _ in range(2)])
    given_ = {"columns": columns, "slash": slash, "scale": 0.4}
    found = vertical_slash(queries, keys, values, **given_, block=block)
    assert torch.allclose(found, masked(queries, keys, values, **given_), atol=2e-6)


def test_every_column_is_plain_causal_attention() -> None:
    queries, keys, values = drawn(50)
    every = torch.arange(50).expand(2, -1)
    found = vertical_slash(queries, keys, values, columns=every, slash=3, scale=0.4, block=16)
    wide = (part.repeat_interleave(2, dim=1) for part in (keys, values))
    dense = torch.nn.functional.scaled_dot_product_attention(queries, *wide, is_causal=True, scale=0.4)
    assert torch.allclose(found, dense, atol=2e-6)


def test_what_later_queries_cannot_see_is_not_even_read() -> None:
    queries, keys, values = drawn(60)
    for part in (keys, values):
        part[:, :, 20] = torch.nan  # a masked product with what is no number would still be none
    found = vertical_slash(queries, keys, values, columns=torch.tensor([[2, 9], [4, 30]]), slash=5, scale=0.4, block=8)
    assert found[:, :, 20].isnan().all()
    assert not found[:, :, 40:].isnan().any()


class Choice:
    """Columns that were fixed before."""

    def __init__(self, columns, slash):
        self.columns, self.slash, self.asked = columns, slash, []

    def choose(self, layer, entries, queries):
        self.asked.append(layer)
        return self.columns

    def __call__(self, layer, entries, queries):
        assert entries.lengths() == [50, 50]


class Masked(Choice):
    """The definition, at the same place."""

    def read(self, layer, entries, queries, scale):
        group = entries.uniform()
        given_ = {"columns": self.columns, "slash": self.slash, "scale": scale}
        return masked(queries, group.keys, group.values, **given_)


def test_a_model_reads_with_it_as_under_the_mask() -> None:
    backbone, ids = tiny(), numbers(50)
    columns = torch.tensor([[0, 7, 19], [3, 4, 31]])
    choice = Choice(columns, 6)
    found = backbone.forward(ids, after_layer=VerticalSlash(6, choice.choose, choice), logits="all")
    assert choice.asked == [0, 1, 2]
    assert torch.allclose(found, backbone.forward(ids, after_layer=Masked(columns, 6), logits="all"), atol=1e-4)
    assert not torch.allclose(found, backbone.forward(ids, logits="all"), atol=1e-2)


def test_what_was_read_before_is_read_densely() -> None:
    backbone, ids = tiny(), numbers(50)
    dense, sparse = backbone.cache(), backbone.cache()
    for cache in (dense, sparse):
        backbone.prefill(ids[:20], cache)
    choice = Choice(torch.tensor([[0], [0]]), 3)
    found = backbone.forward(ids[20:], sparse, after_layer=VerticalSlash(3, choice.choose, choice))
    assert torch.equal(found, backbone.forward(ids[20:], dense))
    assert choice.asked == []


def test_a_slash_that_hides_a_query_from_itself_is_refused() -> None:
    choice = Choice(torch.tensor([[0], [0]]), 0)
    with pytest.raises(BadInput, match="at least itself"):
        VerticalSlash(0, choice.choose, choice)
