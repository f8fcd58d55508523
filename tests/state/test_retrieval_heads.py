from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from head_worlds import ANSWER, FACT, FILLER, Scripted, profile_of, prompt_of, scripted  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from state_worlds import numbers, tiny, tokenizer, view  # noqa: E402

from pinyon.errors import BadInput  # noqa: E402
from pinyon.models.backbone import Backbone  # noqa: E402
from pinyon.models.taps import AttentionRows, Taps  # noqa: E402
from pinyon.state import (  # noqa: E402
    CachePolicy,
    ModelShape,
    RandomKeep,
    Session,
    SinkWindow,
    SnapKV,
    compress,
    shape_of,
)
from pinyon.state._head_trials import copied_by_heads  # noqa: E402
from pinyon.state.head_profile import HeadProfile, HeadTrial  # noqa: E402
from pinyon.state.mean_token import compress_with_mean  # noqa: E402
from pinyon.state.retrieval_heads import RetrievalHeads, find_heads  # noqa: E402


def naive_hits(backbone, prompt):
    """Read prompt and answer at once with every row, and look up the row before each written token."""
    written = backbone.encode(ANSWER)
    ids = [*prompt.ids, *written]
    taps = Taps(rows=AttentionRows(last=len(ids)))
    Backbone.forward(backbone, ids, backbone.cache(), taps=taps, logits="none")
    start, end = prompt.span
    out = {}
    for layer in range(backbone.n_layers):
        for head in range(backbone.n_heads):
            places = set()
            for step, token in enumerate(written):
                place = int(taps.rows[layer][0, head, len(prompt.ids) + step - 1].argmax())
                if start <= place < end and ids[place] == token:
                    places.add(place)
            if places:
                out[layer, head] = len(places) / (end - start)
    return out


def naive_looks(backbone, prompt):
    """Read the prompt at once with every row, and sum what each token of the question gives to the sentence."""
    taps = Taps(rows=AttentionRows(last=len(prompt.ids)))
    Backbone.forward(backbone, prompt.ids, backbone.cache(), taps=taps, logits="none")
    start, end = prompt.hidden[0].sentence
    out = {}
    for layer in range(backbone.n_layers):
        for head in range(backbone.n_heads):
            rows = taps.rows[layer][0, head, len(prompt.context) : len(prompt.ids) - 1]
            most = max(float(row[start:end].sum()) for row in rows)
            out |= {(layer, head): most} if most >= 0.05 else {}
    return out


def filled(backbone, count=40, seed=1):
    cache = backbone.cache()
    backbone.prefill(numbers(count, seed=seed), cache)
    return cache


@pytest.mark.parametrize("seed", range(6))
def test_hits_are_those_of_one_pass_with_every_row(seed: int) -> None:
    backbone = scripted(seed=seed)
    prompt = prompt_of(backbone, seed=seed)
    found = copied_by_heads(backbone, prompt, max_tokens=30)
    assert found.hits == naive_hits(backbone, prompt)
    assert found.looks == pytest.approx(naive_looks(backbone, prompt), abs=1e-3)
    assert found.looks
    assert (found.answer, found.recall) == (ANSWER, 1.0)
    assert all(0 < share <= 1 for share in found.hits.values())


def test_some_head_of_these_models_copies_by_chance() -> None:
    hits = [naive_hits(scripted(seed=seed), prompt_of(scripted(seed=seed), seed=seed)) for seed in range(6)]
    assert any(hits)  # or the test before would compare nothing


def test_only_trials_that_succeed_count() -> None:
    backbone = tiny()
    good = HeadTrial("a", 9, 0.0, 0, "a", 1.0, ((0, 1, 0.5),))
    bad = HeadTrial("b", 9, 0.0, 0, "x", 0.5, ((0, 2, 1.0),))
    other = HeadTrial("c", 9, 0.0, 0, "c", 0.9, ((0, 1, 1.0), (2, 0, 0.25)))
    found = profile_of(backbone, trials=(good, bad, other), threshold=0.2)
    assert found.counted == (good, other)
    assert (found.scores[0, 1], found.scores[0, 2], found.scores[2, 0]) == (0.75, 0.0, 0.125)
    assert (found.activation[0, 1], found.activation[2, 0]) == (1.0, 0.5)
    assert found.retrieval_heads == ((0, 1),)
    assert found.ranked[:2] == ((0, 1), (2, 0))
    assert found.kv_scores() == ((0.75, 0.0), (0.0, 0.0), (0.125, 0.0))


def test_a_search_is_spread_counted_and_goes_on_where_it_ended(tmp_path) -> None:
    backbone = scripted()
    options = {
        "lengths": (260,), "depths": (0.1, 0.9), "trials": 5, "max_tokens": 20, "sentences": lambda: FILLER,
        "log": tmp_path / "trials.jsonl",
    }  # fmt: skip
    seen: list[tuple[int, int]] = []
    whole = find_heads(backbone, [FACT], **options, progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(n, 5) for n in range(1, 6)]
    assert len(whole.counted) == 5
    assert {trial.depth for trial in whole.trials} == {0.1, 0.9}
    calls = Scripted.calls
    assert find_heads(backbone, [FACT], **options) == whole
    assert Scripted.calls == calls  # nothing was read again
    lines = (tmp_path / "trials.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "trials.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:30])  # killed in the fourth trial
    assert find_heads(backbone, [FACT], **options) == whole
    assert len((tmp_path / "trials.jsonl").read_bytes().splitlines()) == 6


def test_a_log_of_another_setting_is_refused(tmp_path) -> None:
    options = {"lengths": (260,), "trials": 1, "max_tokens": 20, "sentences": lambda: FILLER}
    find_heads(scripted(), [FACT], **options, log=tmp_path / "log")
    for changed in ({"seed": 1}, {"max_tokens": 5}, {"lengths": (261,)}):
        with pytest.raises(BadInput, match="another model or setting"):
            find_heads(scripted(), [FACT], **{**options, **changed}, log=tmp_path / "log")
    with pytest.raises(BadInput, match="another model or setting"):
        find_heads(scripted(seed=5), [FACT], **options, log=tmp_path / "log")
    (tmp_path / "log").write_text("what?\n")
    with pytest.raises(BadInput, match="holds no trials"):
        find_heads(scripted(), [FACT], **options, log=tmp_path / "log")


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"max_tokens": 0}, {"lengths": ()}, {"depths": ()}])
def test_a_search_without_trials_is_refused(wrong) -> None:
    with pytest.raises(BadInput):
        find_heads(tiny(words=tokenizer()), [FACT], **wrong)


@pytest.mark.parametrize("mode", ["full", "shared"])
@settings(max_examples=40)
@given(
    st.integers(2, 300),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(0, 1)), max_size=8),
    st.none() | st.integers(1, 200),
)
def test_shares_are_those_of_an_even_budget(mode, budget: int, hits, length) -> None:
    backbone = tiny()
    policy = RetrievalHeads(profile_of(backbone, hits), mode, length=length)
    shape = shape_of(backbone)
    given_ = policy.entries(shape, budget)
    if given_ is None:
        assert not policy.full_heads or len(policy.full_heads) == 6 or mode == "shared" or (length or 999) <= budget
        return
    every = [count for heads in given_ for count in heads]
    assert [len(heads) for heads in given_] == [2, 2, 2]
    assert sum(every) <= budget * 6
    assert sum(every) == budget * 6 or (length is not None and set(every) == {length})
    assert min(every) >= 1
    assert max(every) <= (length or budget * 6)
    for layer, group in policy.full_heads:
        assert mode == "shared" or given_[layer][group] >= max(every) - 1


def test_heads_that_copy_get_the_whole_text_and_the_rest_is_shared() -> None:
    backbone = tiny()
    policy = RetrievalHeads(profile_of(backbone, [(1, 0, 1.0)]), recent=6, length=40)
    assert policy.full_heads == ((1, 0),)
    assert policy.entries(shape_of(backbone), 20) == [[16, 16], [40, 16], [16, 16]]
    assert policy.entries(shape_of(backbone), 40) is None
    wide = RetrievalHeads(profile_of(backbone, [(1, 0, 1.0)]), recent=6, length=1000)
    assert wide.entries(shape_of(backbone), 20) == [[10, 10], [70, 10], [10, 10]]
    by_score = RetrievalHeads(profile_of(backbone), "shared", base=0.5)
    assert by_score.entries(shape_of(backbone), 20) == [[10, 10], [53, 10], [10, 27]]


def test_heads_that_find_the_place_count_beside_those_that_copy() -> None:
    backbone = tiny()
    trials = [
        HeadTrial("a", 9, 0.0, 0, "a", 1.0, ((1, 0, 1.0),), ((0, 2, 0.9), (2, 0, 0.3))),
        HeadTrial("b", 9, 0.0, 0, "b", 1.0, (), ((0, 2, 0.3),)),
        HeadTrial("c", 9, 0.0, 0, "x", 0.0, (), ((2, 1, 1.0),)),
    ]
    profile = profile_of(backbone, trials=tuple(trials))
    assert (profile.finding[0, 2], profile.finding[2, 0], profile.finding[2, 1]) == pytest.approx((0.6, 0.15, 0.0))
    assert profile.kv_finding()[0] == pytest.approx((0.0, 0.6))
    assert RetrievalHeads(profile).full_heads == ((0, 1), (1, 0))
    assert RetrievalHeads(profile, finders=0.1).full_heads == ((0, 1), (1, 0), (2, 0))
    assert RetrievalHeads(profile, finders=None).full_heads == ((1, 0),)
    both = RetrievalHeads(profile, "shared", base=0.1).entries(shape_of(backbone), 20)
    assert both[0][1] > both[1][0] > both[2][0] > both[2][1] == 2  # 0.6, 0.5 and 0.15
    assert HeadProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_chosen_heads_take_the_place_of_those_of_the_profile() -> None:
    backbone = tiny()
    policy = RetrievalHeads(profile_of(backbone), recent=6, length=40, chosen=((0, 0), (0, 1)))
    shares = policy.entries(shape_of(backbone), 20)
    assert shares[0] == [40, 40]
    assert policy.full_heads == ((0, 0), (0, 1))


@pytest.mark.parametrize("mode", ["full", "shared"])
def test_a_cut_frees_the_bytes_it_says_and_is_exact(mode) -> None:
    backbone = tiny()
    cache = filled(backbone)
    hidden = cache.clone()
    policy = RetrievalHeads(profile_of(backbone), mode, recent=6, length=40)
    compress(backbone, cache, policy, entries=15)
    limits = policy.entries(shape_of(backbone), 15)
    lengths = [layer.lengths() for layer in cache.layers]
    assert lengths == limits
    assert len({length for layer in lengths for length in layer}) > 1
    assert cache.nbytes == 2 * 4 * 16 * sum(map(sum, lengths)) <= 15 * backbone.bytes_per_token
    held = [tensor for name, tensor in cache.tensors().items() if name.endswith((".keys", ".values"))]
    assert cache.nbytes == sum(tensor.numel() * tensor.element_size() for tensor in held)
    for layer, full in zip(cache.layers, hidden.layers, strict=True):
        for head in range(2):
            kept = layer.head(head).origins[0]
            gone = ~torch.isin(full.uniform().origins[head], kept)
            full.uniform().positions[head, gone] = 10**6  # after every query, so none sees it
    for count in (1, 5):
        ids = numbers(count, seed=8)
        ours = backbone.forward(ids, cache.clone(), logits="all")
        places = list(range(40, 40 + count))
        theirs = backbone.forward(ids, hidden.clone(), positions=places, logits="all")
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_streaming_heads_hold_sinks_and_the_latest_and_full_ones_everything() -> None:
    backbone = tiny()
    cache = filled(backbone)
    compress(backbone, cache, RetrievalHeads(profile_of(backbone, [(1, 0, 1.0)]), recent=6, length=40), entries=15)
    assert cache.layers[1].head(0).origins[0].tolist() == list(range(40))
    assert cache.layers[1].head(1).origins[0].tolist() == [0, 1, 2, 3, *range(34, 40)]
    assert cache.layers[0].head(0).origins[0].tolist() == [0, 1, 2, 3, *range(34, 40)]


def test_a_text_within_its_length_is_left_as_it_is() -> None:
    backbone = tiny()
    cache = filled(backbone)
    before = cache.clone()
    for mode in ("full", "shared"):
        compress(backbone, cache, RetrievalHeads(profile_of(backbone), mode, length=40), entries=40)
    assert all(torch.equal(part, cache.tensors()[name]) for name, part in before.tensors().items() if "keys" in name)
    assert torch.equal(backbone.forward([5], cache), backbone.forward([5], before))


def test_what_ranks_inside_a_head_is_the_other_policy_between_sinks_and_latest() -> None:
    seen = view(20, window=4)
    policy = RetrievalHeads(profile_of(tiny()), inner=SnapKV(queries=4), sinks=2, recent=3)
    worth = policy.score(seen)[0]
    inner = SnapKV(queries=4).score(seen)[0].double()
    assert bool(worth[:, :2].isposinf().all())
    middle = worth[:, 2:16]
    assert torch.equal(middle, inner[:, 2:16])
    assert bool((worth[:, 16:] > middle.max()).all())  # the four that vote, and the latest three among them
    assert bool((worth[:, 16:].diff(dim=1) > 0).all())
    assert (policy.window, policy.name, policy.positions) == (4, "retrieval-heads-full+snap-kv", "original")
    plain = RetrievalHeads(profile_of(tiny())).score(view(20))
    assert bool((plain[..., 4:].diff(dim=-1) > 0).all())
    assert isinstance(policy, CachePolicy)


def test_it_refuses_a_model_of_another_shape_and_what_is_out_of_range() -> None:
    profile = profile_of(tiny())
    with pytest.raises(BadInput, match="3 layers of 4 heads"):
        RetrievalHeads(profile).entries(ModelShape(4, 4, 2, 16, 4), 10)
    for wrong in (
        {"mode": "half"},
        {"sinks": -1},
        {"recent": 0},
        {"base": 0.0},
        {"length": 0},
        {"finders": 0.0},
        {"chosen": ((9, 0),)},
    ):
        with pytest.raises(BadInput):
            RetrievalHeads(profile, **wrong)


def test_policies_of_one_profile_are_told_apart_by_their_fields_alone() -> None:
    backbone = tiny()
    one, two = RetrievalHeads(profile_of(backbone)), RetrievalHeads(profile_of(backbone))
    assert (one, repr(one)) == (two, repr(two))
    assert repr(one) != repr(RetrievalHeads(profile_of(backbone, [(0, 0, 1.0)])))


def test_the_mean_stands_for_what_is_gone() -> None:
    backbone = tiny()
    cache, plain = filled(backbone), filled(backbone)
    whole = cache.clone()
    policy = RetrievalHeads(profile_of(backbone, [(1, 0, 1.0)]), recent=6, length=40)
    cut = compress_with_mean(backbone, cache, policy, entries=15)
    compress(backbone, plain, policy, entries=15)
    assert cut.bytes_after == cache.nbytes == plain.nbytes
    for layer in range(3):
        for head in range(2):
            ours, theirs = cache.layers[layer].head(head), plain.layers[layer].head(head)
            full = whole.layers[layer].head(head)
            assert torch.equal(ours.origins, theirs.origins)
            for name in ("keys", "values"):
                expected = getattr(theirs, name).clone()
                if (layer, head) != (1, 0):  # sinks 0 to 3 and the latest 34 to 39 stay; 34 stands for 4 to 34
                    expected[0, 0, 4] = getattr(full, name)[0, 0, 4:35].mean(dim=0)
                assert torch.allclose(getattr(ours, name), expected, atol=1e-6)


def test_the_mean_needs_entries_that_keep_their_positions_and_changes_nothing_without_a_cut() -> None:
    backbone = tiny()
    cache = filled(backbone)
    with pytest.raises(BadInput, match="renumbers"):
        compress_with_mean(backbone, cache, SinkWindow(), entries=10)
    before = cache.clone()
    compress_with_mean(backbone, cache, SinkWindow(positions="original"), entries=40)
    assert torch.equal(backbone.forward([5], cache), backbone.forward([5], before))
    compress_with_mean(backbone, cache, RandomKeep(positions="original"), entries=10)
    assert cache.nbytes == 10 * backbone.bytes_per_token


def test_a_profile_reads_back_as_it_was(tmp_path) -> None:
    backbone = tiny()
    profile = profile_of(backbone, threshold=0.3)
    assert HeadProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
    profile.save(tmp_path / "p.json")
    assert HeadProfile.load(tmp_path / "p.json", backbone) == profile
    shown = json.loads((tmp_path / "p.json").read_text())
    assert [(one["layer"], one["head"]) for one in shown["scores"]] == [(1, 0), (2, 3)]
    assert shown["binding"]["weights"] == backbone.fingerprint.weights
    assert [file.name for file in tmp_path.iterdir()] == ["p.json"]


@pytest.mark.parametrize("mode", ["full", "shared"])
def test_an_endless_session_stays_within_its_bytes_and_goes_on_where_it_was_saved(mode) -> None:
    backbone = tiny()
    policy = RetrievalHeads(profile_of(backbone), mode, recent=12)
    session = Session(backbone, policy, budget_bytes=30 * backbone.bytes_per_token)
    for turn in range(4):
        session.read(numbers(25, seed=turn))
        assert session.nbytes <= session.budget_bytes
    lengths = {length for layer in session.cache.layers for length in layer.lengths()}
    assert len(lengths) > 1
    again = Session.load(session.to_bytes(), backbone, policy)
    assert list(again.continuation(8)) == list(session.continuation(8))
    other = RetrievalHeads(profile_of(backbone, [(0, 0, 1.0)]), mode, recent=12)
    with pytest.raises(BadInput):
        Session.load(session.to_bytes(), backbone, other)
